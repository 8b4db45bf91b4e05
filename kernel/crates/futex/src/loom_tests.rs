//! Every interleaving of the races that matter. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p futex --release`.

use std::sync::Arc;

use loom::{
    sync::{
        Notify,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use crate::{Cancel, FutexTable, Key, Node, Waiter};

struct Thread {
    node: Node<Self>,
    token: Notify,
}

impl Waiter for Thread {
    fn node(&self) -> &Node<Self> {
        &self.node
    }

    fn wake(&self) {
        self.token.notify();
    }
}

type Table = FutexTable<Thread>;

fn new_thread() -> Arc<Thread> {
    Arc::new(Thread { node: Node::new(), token: Notify::new() })
}

/// Two keys in the two buckets of a table.
fn keys() -> [Key; 2] {
    let first = Key::private(0).unwrap();
    let index = |key: Key| key.hash() & 1;
    let second = (1..).map(|n| Key::private(n * 4).unwrap()).find(|key| index(*key) != index(first));
    [first, second.unwrap()]
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Waits while the word is 0, as an application's loop does; ends only if no wake-up is lost.
fn wait_while_zero(table: &Table, key: Key, word: &AtomicU32, current: &Arc<Thread>) {
    while word.load(Ordering::Relaxed) == 0 {
        let waiting = table.wait(key, Table::ANY, current, || {
            if word.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(()) }
        });
        if waiting.is_ok() {
            while current.node.is_queued() {
                current.token.wait();
            }
        }
    }
}

#[test]
fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    model(|| {
        let table = Arc::new(Table::with_buckets(1));
        let word = Arc::new(AtomicU32::new(0));
        let key = Key::private(0).unwrap();
        let waker = thread::spawn({
            let (table, word) = (table.clone(), word.clone());
            move || {
                // Relaxed: the table itself must order this before its look at the count of waiters.
                word.store(1, Ordering::Relaxed);
                table.wake(key, 1, Table::ANY);
            }
        });
        wait_while_zero(&table, key, &word, &new_thread());
        waker.join().unwrap();
    });
}

#[test]
fn two_wake_ups_wake_two() {
    model(|| {
        let table = Arc::new(Table::with_buckets(1));
        let word = Arc::new(AtomicU32::new(0));
        let key = Key::private(0).unwrap();
        let waiter = thread::spawn({
            let (table, word) = (table.clone(), word.clone());
            move || wait_while_zero(&table, key, &word, &new_thread())
        });
        let waker = thread::spawn({
            let (table, word) = (table.clone(), word.clone());
            move || {
                word.store(1, Ordering::Relaxed);
                table.wake(key, usize::MAX, Table::ANY);
            }
        });
        wait_while_zero(&table, key, &word, &new_thread());
        waiter.join().unwrap();
        waker.join().unwrap();
    });
}

#[test]
fn a_cancel_and_a_wake_up_agree_on_who_came_first() {
    model(|| {
        let table = Arc::new(Table::with_buckets(1));
        let key = Key::private(0).unwrap();
        let current = new_thread();
        table.wait(key, Table::ANY, &current, || Ok::<_, ()>(())).unwrap();
        let waker = thread::spawn({
            let table = table.clone();
            move || table.wake(key, 1, Table::ANY)
        });
        let cancelled = table.cancel(&current);
        assert!(!current.node.is_queued());
        let woken = waker.join().unwrap();
        assert_eq!(woken, usize::from(cancelled == Cancel::AlreadyWoken));
    });
}

#[test]
fn a_woken_thread_may_wait_again_at_once() {
    model(|| {
        let table = Arc::new(Table::with_buckets(1));
        let key = Key::private(0).unwrap();
        let current = new_thread();
        table.wait(key, Table::ANY, &current, || Ok::<_, ()>(())).unwrap();
        let waker = thread::spawn({
            let table = table.clone();
            move || table.wake(key, 1, Table::ANY)
        });
        // Looks by itself, without a park: the wake-up that follows must find it harmless.
        if !current.node.is_queued() {
            table.wait(key, Table::ANY, &current, || Ok::<_, ()>(())).unwrap();
            assert_eq!(table.cancel(&current), Cancel::Cancelled);
        }
        assert_eq!(waker.join().unwrap(), 1);
    });
}

#[test]
fn a_cancel_finds_a_thread_that_is_being_moved() {
    model(|| {
        let table = Arc::new(Table::with_buckets(2));
        let [from, to] = keys();
        let current = new_thread();
        table.wait(from, Table::ANY, &current, || Ok::<_, ()>(())).unwrap();
        let mover = thread::spawn({
            let table = table.clone();
            move || {
                let moved = table.requeue(from, to, 0, 1, || Ok::<_, ()>(())).unwrap().moved;
                (moved, table.wake(to, 1, Table::ANY))
            }
        });
        let cancelled = table.cancel(&current);
        assert!(!current.node.is_queued());
        let (moved, woken) = mover.join().unwrap();
        assert!(woken <= moved);
        assert_eq!(woken, usize::from(cancelled == Cancel::AlreadyWoken));
        assert_eq!(table.wake(from, 1, Table::ANY) + table.wake(to, 1, Table::ANY), 0);
        assert_eq!(Arc::strong_count(&current), 1);
    });
}

#[test]
fn opposite_requeues_do_not_wait_for_each_other() {
    model(|| {
        let table = Arc::new(Table::with_buckets(2));
        let [first, second] = keys();
        let current = new_thread();
        table.wait(first, Table::ANY, &current, || Ok::<_, ()>(())).unwrap();
        let there = thread::spawn({
            let table = table.clone();
            move || table.requeue(first, second, 0, 1, || Ok::<_, ()>(())).unwrap()
        });
        table.requeue(second, first, 0, 1, || Ok::<_, ()>(())).unwrap();
        assert!(current.node.is_queued(), "a thread that is moved is never seen off the queues");
        there.join().unwrap();
        assert_eq!(table.wake(first, 1, Table::ANY) + table.wake(second, 1, Table::ANY), 1);
    });
}
