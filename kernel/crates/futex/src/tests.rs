//! Sequential semantics against a model, and real threads.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use linux_abi::Errno;
use proptest::prelude::*;

use crate::{Cancel, FutexTable, Key, Node, Requeued, Waiter, batch::BATCH};

/// A waiter that only notes that it was woken.
struct Noting {
    id: usize,
    node: Node<Self>,
    log: Arc<Mutex<Vec<usize>>>,
}

impl Waiter for Noting {
    fn node(&self) -> &Node<Self> {
        &self.node
    }

    fn wake(&self) {
        self.log.lock().unwrap().push(self.id);
    }
}

type Table = FutexTable<Noting>;

fn noting(count: usize) -> (Vec<Arc<Noting>>, Arc<Mutex<Vec<usize>>>) {
    let log = Arc::<Mutex<Vec<usize>>>::default();
    let waiters = (0..count).map(|id| Arc::new(Noting { id, node: Node::new(), log: log.clone() })).collect();
    (waiters, log)
}

fn key(n: u64) -> Key {
    Key::private(n * 4).unwrap()
}

const YES: fn() -> Result<(), Errno> = || Ok(());

fn ready(table: &Table, n: u64, waiter: &Arc<Noting>) {
    table.wait(key(n), Table::ANY, waiter, YES).unwrap();
}

#[test]
fn words_are_aligned() {
    assert_eq!(Key::private(0x1002), Err(Errno::EINVAL));
    assert_eq!(Key::shared(1, 7), Err(Errno::EINVAL));
    assert_ne!(Key::private(8), Key::shared(0, 8));
}

#[test]
fn a_bucket_fills_a_cache_line() {
    assert_eq!(size_of::<crate::bucket::Bucket<Noting>>(), 64);
}

#[test]
fn neighbouring_words_spread_over_the_buckets() {
    let mut counts = [0; 256];
    for n in 0..2560 {
        counts[key(0x1_0000 + n * 16).hash() as usize % 256] += 1;
    }
    assert!(counts.iter().all(|count| *count < 32), "{counts:?}");
}

#[test]
fn a_changed_word_is_not_waited_on() {
    let (waiters, _) = noting(1);
    let table = Table::new(1);
    assert_eq!(table.wait(key(1), Table::ANY, &waiters[0], || Err(Errno::EAGAIN)), Err(Errno::EAGAIN));
    assert!(!waiters[0].node.is_queued());
    assert_eq!(table.wake(key(1), usize::MAX, Table::ANY), 0);
    assert_eq!(Arc::strong_count(&waiters[0]), 1);
}

#[test]
fn the_longest_waiting_is_woken_first() {
    let (waiters, log) = noting(3);
    let table = Table::new(1);
    waiters.iter().for_each(|waiter| ready(&table, 1, waiter));
    assert_eq!(table.wake(key(1), 2, Table::ANY), 2);
    assert_eq!(*log.lock().unwrap(), [0, 1]);
    assert!(!waiters[0].node.is_queued() && waiters[2].node.is_queued());
    assert_eq!(table.cancel(&waiters[0]), Cancel::AlreadyWoken);
    assert_eq!(table.cancel(&waiters[2]), Cancel::Cancelled);
    assert_eq!(table.wake(key(1), 1, Table::ANY), 0);
    assert!(waiters.iter().all(|waiter| Arc::strong_count(waiter) == 1), "the table keeps nothing");
}

#[test]
fn more_than_a_batch_is_woken_in_order() {
    let count = BATCH * 3 + 1;
    let (waiters, log) = noting(count);
    let table = Table::new(1);
    waiters.iter().for_each(|waiter| ready(&table, 1, waiter));
    assert_eq!(table.wake(key(1), usize::MAX, Table::ANY), count);
    assert!(log.lock().unwrap().iter().copied().eq(0..count));
}

/// A thread that waits again as soon as it is woken, from within the wake-up.
struct Insistent {
    node: Node<Self>,
    table: Arc<FutexTable<Insistent>>,
    own: std::sync::OnceLock<std::sync::Weak<Insistent>>,
}

impl Waiter for Insistent {
    fn node(&self) -> &Node<Self> {
        &self.node
    }

    fn wake(&self) {
        let own = self.own.get().unwrap().upgrade().unwrap();
        self.table.wait(key(1), FutexTable::<Self>::ANY, &own, YES).unwrap();
    }
}

#[test]
fn waking_all_ends_though_the_woken_wait_again() {
    let table = Arc::new(FutexTable::new(1));
    let waiters: Vec<_> = (0..BATCH * 2)
        .map(|_| {
            let waiter = Arc::new(Insistent {
                node: Node::new(),
                table: table.clone(),
                own: std::sync::OnceLock::new(),
            });
            waiter.own.set(Arc::downgrade(&waiter)).unwrap();
            table.wait(key(1), FutexTable::<Insistent>::ANY, &waiter, YES).unwrap();
            waiter
        })
        .collect();
    assert_eq!(table.wake(key(1), usize::MAX, FutexTable::<Insistent>::ANY), waiters.len());
    assert!(waiters.iter().all(|waiter| table.cancel(waiter) == Cancel::Cancelled));
}

#[test]
fn a_requeue_that_disagrees_does_nothing() {
    let (waiters, _) = noting(1);
    let table = Table::new(1);
    ready(&table, 1, &waiters[0]);
    assert_eq!(table.requeue(key(1), key(2), 1, 1, || Err(Errno::EAGAIN)), Err(Errno::EAGAIN));
    assert_eq!(table.wake_op(key(1), 1, key(2), 1, || Err(Errno::EFAULT)), Err(Errno::EFAULT));
    assert!(waiters[0].node.is_queued());
}

#[test]
fn a_requeue_may_wake_more_than_a_batch_before_it_moves() {
    let (waiters, log) = noting(BATCH * 2 + 10);
    let table = Table::new(1);
    waiters.iter().for_each(|waiter| ready(&table, 1, waiter));
    let done = table.requeue(key(1), key(2), BATCH * 2, 5, YES).unwrap();
    assert_eq!(done, Requeued { woken: BATCH * 2, moved: 5 });
    assert!(log.lock().unwrap().iter().copied().eq(0..BATCH * 2));
    assert_eq!(table.wake(key(2), usize::MAX, Table::ANY), 5);
    assert_eq!(table.wake(key(1), usize::MAX, Table::ANY), 5);
}

#[derive(Clone, Debug)]
enum Step {
    Wait { id: usize, word: u64, bitset: u32 },
    Wake { word: u64, count: usize, bitset: u32 },
    Requeue { from: u64, to: u64, wake: usize, moves: usize },
    WakeOp { word: u64, count: usize, second: u64, second_count: usize, wake_second: bool },
    Cancel { id: usize },
}

const WAITERS: usize = 80;

fn any_step() -> impl Strategy<Value = Step> {
    let word = 0..5u64;
    let count = prop_oneof![3 => 0..4usize, 1 => Just(usize::MAX)];
    let bitset = prop_oneof![3 => Just(u32::MAX), 1 => 1..8u32];
    prop_oneof![
        6 => (0..WAITERS, word.clone(), bitset.clone())
            .prop_map(|(id, word, bitset)| Step::Wait { id, word, bitset }),
        2 => (word.clone(), count.clone(), bitset)
            .prop_map(|(word, count, bitset)| Step::Wake { word, count, bitset }),
        2 => (word.clone(), word.clone(), count.clone(), count.clone())
            .prop_map(|(from, to, wake, moves)| Step::Requeue { from, to, wake, moves }),
        1 => (word.clone(), count.clone(), word, count, any::<bool>()).prop_map(
            |(word, count, second, second_count, wake_second)| Step::WakeOp {
                word, count, second, second_count, wake_second
            }
        ),
        2 => (0..WAITERS).prop_map(|id| Step::Cancel { id }),
    ]
}

/// All waiters in order of arrival: id, word, bitset.
#[derive(Default)]
struct Model(Vec<(usize, u64, u32)>);

impl Model {
    fn wake(&mut self, word: u64, count: usize, bitset: u32) -> Vec<usize> {
        let woken: Vec<_> =
            self.0.iter().filter(|w| w.1 == word && w.2 & bitset != 0).take(count).map(|w| w.0).collect();
        self.0.retain(|w| !woken.contains(&w.0));
        woken
    }

    fn requeue(&mut self, from: u64, to: u64, count: usize) -> usize {
        let moved: Vec<_> = self.0.iter().filter(|w| w.1 == from).take(count).copied().collect();
        self.0.retain(|w| !moved.contains(w));
        self.0.extend(moved.iter().map(|w| (w.0, to, w.2)));
        moved.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_table_behaves_like_a_list(buckets in 0..4u32, steps in prop::collection::vec(any_step(), 0..200)) {
        let (waiters, log) = noting(WAITERS);
        let table = Table::with_buckets(1 << buckets);
        let mut model = Model::default();
        for step in steps {
            let mut expected = Vec::new();
            match step {
                Step::Wait { id, word, bitset } => {
                    if !waiters[id].node.is_queued() {
                        let bits = NonZeroU32::new(bitset).unwrap();
                        table.wait(key(word), bits, &waiters[id], YES).unwrap();
                        model.0.push((id, word, bitset));
                    }
                }
                Step::Wake { word, count, bitset } => {
                    expected = model.wake(word, count, bitset);
                    prop_assert_eq!(
                        table.wake(key(word), count, NonZeroU32::new(bitset).unwrap()), expected.len());
                }
                Step::Requeue { from, to, wake, moves } => {
                    expected = model.wake(from, wake, u32::MAX);
                    let moved = model.requeue(from, to, moves);
                    prop_assert_eq!(
                        table.requeue(key(from), key(to), wake, moves, YES),
                        Ok(Requeued { woken: expected.len(), moved }));
                }
                Step::WakeOp { word, count, second, second_count, wake_second } => {
                    expected = model.wake(word, count, u32::MAX);
                    if wake_second {
                        expected.extend(model.wake(second, second_count, u32::MAX));
                    }
                    let woken = table.wake_op(
                        key(word), count, key(second), second_count, || Ok::<_, Errno>(wake_second));
                    prop_assert_eq!(woken, Ok(expected.len()));
                }
                Step::Cancel { id } => {
                    let waiting = model.0.iter().any(|w| w.0 == id);
                    model.0.retain(|w| w.0 != id);
                    let expected = if waiting { Cancel::Cancelled } else { Cancel::AlreadyWoken };
                    prop_assert_eq!(table.cancel(&waiters[id]), expected);
                }
            }
            prop_assert_eq!(core::mem::take(&mut *log.lock().unwrap()), expected);
            for waiter in &waiters {
                let queued = model.0.iter().any(|w| w.0 == waiter.id);
                prop_assert_eq!(waiter.node.is_queued(), queued);
            }
        }
        for waiter in &waiters {
            table.cancel(waiter);
            prop_assert_eq!(Arc::strong_count(waiter), 1);
        }
    }
}

/// A thread of the standard library.
struct Std {
    thread: thread::Thread,
    node: Node<Self>,
}

impl Waiter for Std {
    fn node(&self) -> &Node<Self> {
        &self.node
    }

    fn wake(&self) {
        self.thread.unpark();
    }
}

thread_local! {
    static CURRENT: Arc<Std> = Arc::new(Std { thread: thread::current(), node: Node::new() });
}

/// `FUTEX_WAIT` as the kernel would do it, over threads of the standard library.
fn futex_wait(
    table: &FutexTable<Std>,
    word: &AtomicU32,
    expected: u32,
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    let key = Key::private(word.as_ptr() as u64).unwrap();
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    CURRENT.with(|current| {
        table.wait(key, FutexTable::<Std>::ANY, current, || {
            if word.load(Ordering::SeqCst) == expected { Ok(()) } else { Err(Errno::EAGAIN) }
        })?;
        while current.node.is_queued() {
            match deadline {
                None => thread::park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return match table.cancel(current) {
                            Cancel::Cancelled => Err(Errno::ETIMEDOUT),
                            Cancel::AlreadyWoken => Ok(()),
                        };
                    }
                    thread::park_timeout(left);
                }
            }
        }
        Ok(())
    })
}

fn futex_wake(table: &FutexTable<Std>, word: &AtomicU32, count: usize) -> usize {
    table.wake(Key::private(word.as_ptr() as u64).unwrap(), count, FutexTable::<Std>::ANY)
}

/// Drepper's second mutex ("Futexes are tricky", section 6), with waits that time out now and then.
#[test]
fn a_mutex_made_of_it_excludes_and_never_hangs() {
    const ROUNDS: u64 = 3_000;
    let table = Arc::new(FutexTable::<Std>::with_buckets(2));
    let lock = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let sums = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let threads: Vec<_> = (0..6)
        .map(|id: u64| {
            let (table, lock, sums) = (table.clone(), lock.clone(), sums.clone());
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    let which = ((id + round) % 2) as usize;
                    let (lock, sum) = (&lock[which], &sums[which]);
                    if lock.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                        while lock.swap(2, Ordering::SeqCst) != 0 {
                            let timeout = (round % 7 == 0).then_some(Duration::from_micros(20));
                            let _ = futex_wait(&table, lock, 2, timeout);
                        }
                    }
                    let seen = sum.load(Ordering::Relaxed);
                    if round % 64 == 0 {
                        thread::yield_now();
                    }
                    sum.store(seen + 1, Ordering::Relaxed);
                    if lock.swap(0, Ordering::SeqCst) == 2 {
                        futex_wake(&table, lock, 1);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sums[0].load(Ordering::Relaxed) + sums[1].load(Ordering::Relaxed), 6 * ROUNDS);
}

#[test]
fn a_wait_times_out() {
    let table = FutexTable::new(1);
    let word = AtomicU32::new(7);
    assert_eq!(futex_wait(&table, &word, 7, Some(Duration::from_millis(1))), Err(Errno::ETIMEDOUT));
    assert_eq!(futex_wait(&table, &word, 8, None), Err(Errno::EAGAIN));
    assert_eq!(futex_wake(&table, &word, 1), 0);
}
