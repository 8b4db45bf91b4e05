//! Every interleaving of reports and waits. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p ready-list --release loom`.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{End, ReadyList, SlotIndex};

const FILES: usize = 2;

/// Files that each become ready, and are then as a level-triggered epoll instance sees them.
struct Instance {
    list: ReadyList,
    ready: [AtomicBool; FILES],
}

impl Instance {
    fn new() -> Arc<Self> {
        let instance = Self { list: ReadyList::new(), ready: [(); FILES].map(|()| AtomicBool::new(false)) };
        instance.list.grow_to(FILES as SlotIndex - 1);
        Arc::new(instance)
    }

    fn report(&self, file: SlotIndex) {
        // Relaxed: the list must order this before the look of whoever takes the file off.
        self.ready[file as usize].store(true, Ordering::Relaxed);
        self.list.put(file);
    }

    /// Takes a file that is ready, and uses it up.
    fn collect(&self) -> Option<SlotIndex> {
        while !self.list.is_empty() {
            let Some(file) = self.list.pop() else { continue };
            if self.ready[file as usize].swap(false, Ordering::Relaxed) {
                return Some(file);
            }
        }
        None
    }

    /// `epoll_wait` for one event.
    fn wait(&self) -> SlotIndex {
        let file = self.list.waiters.wait_uninterruptible(|| self.collect());
        if !self.list.is_empty() {
            self.list.waiters.wake_one();
        }
        file
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn a_report_between_the_look_and_the_wait_is_seen() {
    model(|| {
        let instance = Instance::new();
        let reporter = thread::spawn({
            let instance = instance.clone();
            move || instance.report(1)
        });
        assert_eq!(instance.wait(), 1);
        reporter.join().unwrap();
        assert!(instance.list.is_empty());
    });
}

#[test]
fn two_reports_reach_two_waiters() {
    model(|| {
        let instance = Instance::new();
        let waiter = thread::spawn({
            let instance = instance.clone();
            move || instance.wait()
        });
        let reporter = thread::spawn({
            let instance = instance.clone();
            move || (0..FILES as SlotIndex).for_each(|file| instance.report(file))
        });
        let mut seen = [instance.wait(), waiter.join().unwrap()];
        reporter.join().unwrap();
        seen.sort();
        assert_eq!(seen, [0, 1]);
    });
}

#[test]
fn a_file_that_is_taken_off_and_put_back_is_on_the_list_once() {
    model(|| {
        let instance = Instance::new();
        instance.list.put(0);
        let reporter = thread::spawn({
            let instance = instance.clone();
            move || instance.list.put(0)
        });
        if let Some(file) = instance.list.pop() {
            instance.list.requeue(file, End::Back);
        }
        reporter.join().unwrap();
        assert_eq!(instance.list.len(), 1);
        assert_eq!(instance.list.pop(), Some(0));
        assert_eq!(instance.list.pop(), None);
    });
}
