use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use vfs::Blocking;

use super::*;
use crate::{
    eventfd::{EventFd, Take},
    pipe::{Mode, pipe},
};

/// An open file, as far as an instance sees it.
struct Open {
    file: Arc<dyn File>,
    close_watch: CloseWatch,
}

impl Open {
    fn new(file: Arc<dyn File>) -> Self {
        Self { file, close_watch: CloseWatch::new() }
    }

    fn at(&self, fd: i32) -> Target<'_> {
        Target { fd, file: &self.file, close_watch: &self.close_watch }
    }
}

fn counter() -> (Arc<EventFd>, Open) {
    let counter = Arc::new(EventFd::new(0, Take::All));
    (counter.clone(), Open::new(counter))
}

fn event(events: EpollEvents, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

fn drain(file: &EventFd) {
    let _ = file.read_at(0, &mut &mut [0; 8][..], Blocking::No);
}

fn wait(epoll: &Epoll, max: usize, deadline_ns: Option<u64>) -> Vec<(u64, EpollEvents)> {
    let mut events = Vec::new();
    let n = epoll.wait(max, deadline_ns, &mut |event| {
        events.push((event.data, event.events));
        Ok(())
    });
    assert_eq!(n, Ok(events.len()));
    events
}

fn now(epoll: &Epoll) -> Vec<u64> {
    wait(epoll, 100, Some(0)).into_iter().map(|event| event.0).collect()
}

const IN: EpollEvents = EpollEvents::IN;
const ET: EpollEvents = EpollEvents::ET;

#[test]
fn levels_stay_edges_pass_and_one_shots_need_a_reminder() {
    let epoll = Epoll::new();
    let (file, open) = counter();
    for (fd, mode) in [(1, EpollEvents::empty()), (2, ET), (3, EpollEvents::ONESHOT)] {
        epoll.add(open.at(fd), event(IN | mode, fd as u64)).unwrap();
    }
    assert_eq!(now(&epoll), []);
    file.signal(1);
    assert_eq!(now(&epoll), [1, 2, 3]);
    assert_eq!(now(&epoll), [1]);
    file.signal(1);
    assert_eq!(now(&epoll), [1, 2]);
    epoll.modify(open.at(3), event(IN | EpollEvents::ONESHOT, 33)).unwrap();
    assert_eq!(now(&epoll), [1, 33]);
    drain(&file);
    assert_eq!(now(&epoll), []);
    epoll.modify(open.at(2), event(IN | EpollEvents::OUT | ET, 2)).unwrap();
    assert_eq!(wait(&epoll, 9, Some(0)), [(2, EpollEvents::OUT)]);
}

#[test]
fn errors_are_linuxs() {
    struct AlwaysReady;
    impl File for AlwaysReady {
        fn as_any(&self) -> &dyn Any {
            self
        }
    }
    let epoll = Epoll::new();
    let itself = Open::new(epoll.clone());
    let regular = Open::new(Arc::new(AlwaysReady));
    let (_, open) = counter();
    let exclusive = EpollEvents::EXCLUSIVE;
    assert_eq!(epoll.add(regular.at(5), event(IN, 0)), Err(Errno::EPERM));
    assert_eq!(epoll.add(itself.at(5), event(IN, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.remove(open.at(5)), Err(Errno::ENOENT));
    assert_eq!(epoll.modify(open.at(5), event(IN, 0)), Err(Errno::ENOENT));
    assert_eq!(epoll.add(open.at(5), event(IN, 0)), Ok(()));
    assert_eq!(epoll.add(open.at(5), event(IN, 0)), Err(Errno::EEXIST));
    assert_eq!(epoll.add(open.at(6), event(IN, 0)), Ok(()), "another number is another entry");
    assert_eq!(epoll.add(open.at(7), event(IN | exclusive | EpollEvents::ONESHOT, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.add(open.at(7), event(IN | exclusive, 0)), Ok(()));
    assert_eq!(epoll.modify(open.at(7), event(IN, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.modify(open.at(5), event(IN | exclusive, 0)), Err(Errno::EINVAL));
    assert_eq!(Epoll::new().add(itself.at(5), event(IN | exclusive, 0)), Err(Errno::EINVAL));
    assert_eq!((epoll.remove(open.at(5)), epoll.remove(open.at(5))), (Ok(()), Err(Errno::ENOENT)));
    assert_eq!(epoll.len(), 2);
}

#[test]
fn the_last_close_removes_also_if_the_object_lives_on() {
    let epoll = Epoll::new();
    let (file, open) = counter();
    let other = Open::new(file.clone());
    epoll.add(open.at(4), event(IN, 1)).unwrap();
    epoll.add(open.at(5), event(IN, 2)).unwrap();
    epoll.add(other.at(4), event(IN, 3)).unwrap();
    file.signal(1);
    assert_eq!(now(&epoll).len(), 3);
    drop(open);
    assert_eq!((now(&epoll), epoll.len()), (vec![3], 1));
    drop(other);
    assert_eq!((now(&epoll), epoll.len()), (vec![], 0));
    assert_eq!(Arc::strong_count(&file), 1);
    // And the instance's end leaves nothing at the file.
    let open = Open::new(file.clone());
    epoll.add(open.at(4), event(IN, 1)).unwrap();
    drop(epoll);
    assert_eq!(Arc::strong_count(&file), 2);
}

#[test]
fn a_hang_up_is_reported_unasked() {
    let epoll = Epoll::new();
    let (r, w) = pipe(Mode::Stream);
    let r = Open::new(r);
    epoll.add(r.at(3), event(EpollEvents::empty(), 7)).unwrap();
    assert_eq!(now(&epoll), []);
    drop(w);
    assert_eq!(wait(&epoll, 1, None), [(7, EpollEvents::HUP)]);
}

#[test]
fn a_fault_loses_no_event_and_few_places_are_shared_fairly() {
    let epoll = Epoll::new();
    let files: Vec<_> = (0..5).map(|_| counter()).collect();
    for (n, (file, open)) in files.iter().enumerate() {
        epoll.add(open.at(n as i32), event(IN, n as u64)).unwrap();
        file.signal(1);
    }
    assert_eq!(epoll.wait(9, Some(0), &mut |_| Err(Errno::EFAULT)), Err(Errno::EFAULT));
    let mut left = 2;
    let n = epoll.wait(9, Some(0), &mut |_| {
        left -= 1;
        if left < 0 { Err(Errno::EFAULT) } else { Ok(()) }
    });
    assert_eq!(n, Ok(2));
    let in_turn: Vec<u64> = (0..5).flat_map(|_| wait(&epoll, 2, Some(0))).map(|event| event.0).collect();
    assert_eq!(in_turn, [2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
}

#[test]
fn instances_watch_instances_up_to_five_in_a_chain() {
    for outermost_first in [true, false] {
        let chain: Vec<_> = (0..6).map(|_| Epoll::new()).collect();
        let opens: Vec<_> = chain.iter().map(|epoll| Open::new(epoll.clone())).collect();
        let (file, open) = counter();
        let link = |outer: usize| chain[outer].add(opens[outer + 1].at(9), event(IN, 9));
        let order: Vec<usize> = if outermost_first { (0..5).collect() } else { (0..5).rev().collect() };
        let results: Vec<_> = order.iter().map(|outer| link(*outer)).collect();
        assert_eq!(results, [Ok(()), Ok(()), Ok(()), Ok(()), Err(Errno::ELOOP)]);
        // The innermost instance of the chain that came to be.
        let (outermost, innermost) = if outermost_first { (0, 4) } else { (1, 5) };
        assert_eq!(chain[innermost].add(opens[outermost].at(1), event(IN, 1)), Err(Errno::ELOOP), "a cycle");
        chain[innermost].add(open.at(3), event(IN, 3)).unwrap();
        assert_eq!(now(&chain[outermost]), []);
        file.signal(1);
        assert_eq!(now(&chain[outermost]), [9]);
        drain(&file);
        assert_eq!((now(&chain[outermost]), opens[outermost].file.poll()), (vec![], PollEvents::empty()));
        let waiter = thread::spawn({
            let outermost = chain[outermost].clone();
            move || wait(&outermost, 1, None).len()
        });
        file.signal(1);
        assert_eq!(waiter.join().unwrap(), 1);
    }
}

/// Waits in `threads` threads at once for whatever `mode` is told of one `signal`, and returns how many woke.
/// The wait ends when `expected` have, and goes on for a moment to see whether one more does.
fn woken_by_one_signal(mode: EpollEvents, threads: usize, expected: usize) -> usize {
    let epoll = Epoll::new();
    let (file, open) = counter();
    epoll.add(open.at(1), event(IN | mode, 1)).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..threads)
        .map(|_| {
            let (epoll, woken) = (epoll.clone(), woken.clone());
            thread::spawn(move || {
                let events = wait(&epoll, 1, None);
                woken.fetch_add(usize::from(events[0].0 == 1), Ordering::SeqCst);
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(10));
    file.signal(1);
    while woken.load(Ordering::SeqCst) < expected {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(10));
    let result = woken.load(Ordering::SeqCst);
    let (end, end_open) = counter();
    drop(open);
    end.signal(1);
    epoll.add(end_open.at(2), event(IN, 2)).unwrap();
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    result
}

#[test]
fn an_edge_wakes_one_thread_and_a_level_wakes_all() {
    assert_eq!(woken_by_one_signal(ET, 4, 1), 1);
    assert_eq!(woken_by_one_signal(EpollEvents::ONESHOT, 4, 1), 1);
    assert_eq!(woken_by_one_signal(EpollEvents::empty(), 4, 4), 4);
}

#[test]
fn an_exclusive_file_wakes_one_of_several_instances() {
    let (file, open) = counter();
    let epolls: Vec<_> = (0..4).map(|_| Epoll::new()).collect();
    let woken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (fd, epoll) in epolls.iter().enumerate() {
            epoll.add(open.at(fd as i32), event(IN | ET | EpollEvents::EXCLUSIVE, 1)).unwrap();
            scope.spawn(|| woken.fetch_add(wait(epoll, 1, None).len(), Ordering::SeqCst));
        }
        while epolls.iter().any(|epoll| epoll.ready.waiters.is_empty()) {
            thread::yield_now();
        }
        for signalled in 1..=4 {
            file.signal(1);
            while woken.load(Ordering::SeqCst) < signalled {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(5));
            assert_eq!(woken.load(Ordering::SeqCst), signalled);
        }
    });
}

#[test]
fn no_edge_is_lost_between_many_producers_and_waiters() {
    const FILES: usize = 16;
    const SIGNALS: usize = 3_000;
    let epoll = Epoll::new();
    let files: Vec<_> = (0..FILES).map(|_| counter()).collect();
    for (n, (_, open)) in files.iter().enumerate() {
        epoll.add(open.at(n as i32), event(IN | ET, n as u64)).unwrap();
    }
    let (_stop_file, stop) = counter();
    let total = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    for (n, _) in wait(&epoll, 3, None) {
                        if n == u64::MAX {
                            return;
                        }
                        let mut buffer = [0; 8];
                        if files[n as usize].0.read_at(0, &mut &mut buffer[..], Blocking::No).is_ok() {
                            total.fetch_add(u64::from_ne_bytes(buffer) as usize, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        let producers: Vec<_> = (0..3)
            .map(|seed| {
                let files = &files;
                scope.spawn(move || (0..SIGNALS).for_each(|i| files[(i * 7 + seed) % FILES].0.signal(1)))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        while total.load(Ordering::SeqCst) < 3 * SIGNALS {
            thread::yield_now();
        }
        _stop_file.signal(1);
        epoll.add(stop.at(99), event(IN, u64::MAX)).unwrap();
    });
    assert_eq!(total.load(Ordering::SeqCst), 3 * SIGNALS);
}

#[test]
fn files_come_and_go_while_threads_wait_and_signal() {
    let epoll = Epoll::new();
    let (stop_file, stop) = counter();
    epoll.add(stop.at(0), event(IN, 0)).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| while !wait(&epoll, 4, None).iter().any(|event| event.0 == 0) {});
        }
        let changers: Vec<_> = (1..3)
            .map(|fd| {
                let epoll = &epoll;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let (file, open) = counter();
                        epoll.add(open.at(fd), event(IN, 1)).unwrap();
                        file.signal(1);
                        match round % 3 {
                            0 => epoll.remove(open.at(fd)).unwrap(),
                            1 => epoll.modify(open.at(fd), event(EpollEvents::OUT | ET, 1)).unwrap(),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        changers.into_iter().for_each(|changer| changer.join().unwrap());
        stop_file.signal(1);
    });
    assert_eq!(epoll.len(), 1);
}

#[derive(Clone, Debug)]
enum Operation {
    Add(usize, bool),
    Modify(usize, bool),
    Remove(usize),
    Signal(usize),
    Drain(usize),
    Wait(usize),
    Reopen(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let file = 0..6_usize;
    prop_oneof![
        (file.clone(), any::<bool>()).prop_map(|(n, out)| Operation::Add(n, out)),
        (file.clone(), any::<bool>()).prop_map(|(n, out)| Operation::Modify(n, out)),
        file.clone().prop_map(Operation::Remove),
        file.clone().prop_map(Operation::Signal),
        file.clone().prop_map(Operation::Drain),
        (1..8_usize).prop_map(Operation::Wait),
        file.prop_map(Operation::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Level-triggered reports are what asking every watched file gives, and every file has its turn.
    #[test]
    fn levels_are_those_of_a_naive_poll(operations in proptest::collection::vec(operation(), 1..150)) {
        let epoll = Epoll::new();
        let mut files: Vec<_> = (0..6).map(|_| counter()).collect();
        let mut model: BTreeMap<usize, PollEvents> = BTreeMap::new();
        let wanted = |out| if out { PollEvents::IN | PollEvents::OUT } else { PollEvents::IN };
        for operation in operations {
            match operation {
                Operation::Add(n, out) => {
                    let event = event(EpollEvents::from_bits_retain(wanted(out).bits()), n as u64);
                    let expected = if model.contains_key(&n) { Err(Errno::EEXIST) } else { Ok(()) };
                    prop_assert_eq!(epoll.add(files[n].1.at(n as i32), event), expected);
                    model.entry(n).or_insert(wanted(out));
                }
                Operation::Modify(n, out) => {
                    let event = event(EpollEvents::from_bits_retain(wanted(out).bits()), n as u64);
                    let expected = if model.contains_key(&n) { Ok(()) } else { Err(Errno::ENOENT) };
                    prop_assert_eq!(epoll.modify(files[n].1.at(n as i32), event), expected);
                    model.entry(n).and_modify(|events| *events = wanted(out));
                }
                Operation::Remove(n) => {
                    let expected = model.remove(&n).map(|_| ()).ok_or(Errno::ENOENT);
                    prop_assert_eq!(epoll.remove(files[n].1.at(n as i32)), expected);
                }
                Operation::Signal(n) => files[n].0.signal(1),
                Operation::Drain(n) => drain(&files[n].0),
                Operation::Reopen(n) => {
                    files[n] = counter();
                    model.remove(&n);
                }
                Operation::Wait(max) => {
                    let naive: BTreeMap<u64, u32> = model
                        .iter()
                        .map(|(n, events)| (*n as u64, files[*n].1.file.poll().intersection(*events).bits()))
                        .filter(|(_, events)| *events != 0)
                        .collect();
                    let mut seen = BTreeMap::new();
                    for _ in 0..naive.len().div_ceil(max).max(1) {
                        let some = wait(&epoll, max, Some(0));
                        prop_assert_eq!(some.len(), max.min(naive.len()));
                        seen.extend(some.into_iter().map(|(n, events)| (n, events.bits())));
                    }
                    prop_assert_eq!(seen, naive);
                }
            }
        }
    }
}
