//! Every interleaving of the races that matter, on a platform of loom's threads. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p ksync --release loom`.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use crate::{Interruptible, Mutex, RwLock, WaitError, WaitQueue, loom_platform::current, platform::Parker};

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Takes one from a count.
fn take(count: &AtomicU32) -> Option<()> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).ok().map(drop)
}

#[test]
fn the_last_of_several_unparks_is_seen() {
    model(|| {
        // Each unparker makes a half of the condition true. Relaxed: only the token orders it.
        let halves = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let parked = current();
        let unparkers = [0, 1].map(|half| {
            let (halves, parked) = (halves.clone(), parked.clone());
            thread::spawn(move || {
                halves[half].store(1, Ordering::Relaxed);
                parked.unpark();
            })
        });
        while halves.iter().any(|half| half.load(Ordering::Relaxed) == 0) {
            parked.park(None);
        }
        unparkers.into_iter().for_each(|unparker| unparker.join().unwrap());
    });
}

#[test]
fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    model(|| {
        let state = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let waker = thread::spawn({
            let state = state.clone();
            move || {
                // Relaxed: the queue must order this before its look at the number of waiters.
                state.1.store(1, Ordering::Relaxed);
                state.0.wake_one();
            }
        });
        state.0.wait_uninterruptible(|| (state.1.load(Ordering::Relaxed) == 1).then_some(()));
        waker.join().unwrap();
        assert!(state.0.is_empty());
    });
}

#[test]
fn two_wake_ups_reach_two_waiters() {
    model(|| {
        let state = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let wait = |state: &(WaitQueue, AtomicU32)| state.0.wait_uninterruptible(|| take(&state.1));
        let waiter = thread::spawn({
            let state = state.clone();
            move || wait(&state)
        });
        let waker = thread::spawn({
            let state = state.clone();
            move || {
                for _ in 0..2 {
                    state.1.fetch_add(1, Ordering::Relaxed);
                    state.0.wake_one();
                }
            }
        });
        wait(&state);
        waiter.join().unwrap();
        waker.join().unwrap();
        assert!(state.0.is_empty());
    });
}

#[test]
fn one_wake_all_reaches_all_waiters() {
    model(|| {
        let state = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let wait = |state: &(WaitQueue, AtomicU32)| {
            state.0.wait_uninterruptible(|| (state.1.load(Ordering::Relaxed) == 1).then_some(()))
        };
        let waiter = thread::spawn({
            let state = state.clone();
            move || wait(&state)
        });
        let waker = thread::spawn({
            let state = state.clone();
            move || {
                state.1.store(1, Ordering::Relaxed);
                state.0.wake_all();
            }
        });
        wait(&state);
        waiter.join().unwrap();
        waker.join().unwrap();
    });
}

#[test]
fn a_waiter_that_gives_up_passes_its_wake_up_on() {
    model(|| {
        let state = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let patient = thread::spawn({
            let state = state.clone();
            move || state.0.wait_uninterruptible(|| take(&state.1))
        });
        let waker = thread::spawn({
            let state = state.clone();
            let impatient = current();
            move || {
                impatient.interrupt();
                state.1.fetch_add(1, Ordering::Relaxed);
                state.0.wake_one();
            }
        });
        let taken = state.0.wait(Interruptible::Yes, None, || take(&state.1));
        waker.join().unwrap();
        match taken {
            // The other one is still waiting for one of its own.
            Ok(()) => {
                state.1.fetch_add(1, Ordering::Relaxed);
                state.0.wake_one();
            }
            Err(error) => assert_eq!(error, WaitError::Interrupted),
        }
        patient.join().unwrap();
        assert!(state.0.is_empty());
    });
}

#[test]
fn a_mutex_excludes_and_wakes_those_who_sleep_for_it() {
    model(|| {
        let counter = Arc::new(Mutex::new(0));
        let threads = [(); 2].map(|()| {
            let counter = counter.clone();
            thread::spawn(move || *counter.lock() += 1)
        });
        *counter.lock() += 1;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*counter.lock(), 3);
    });
}

#[test]
fn readers_and_a_writer_do_not_lose_each_other() {
    model(|| {
        let value = Arc::new(RwLock::new([0, 0]));
        let writer = thread::spawn({
            let value = value.clone();
            move || {
                let mut value = value.write();
                value[0] += 1;
                value[1] += 1;
            }
        });
        let reader = thread::spawn({
            let value = value.clone();
            move || {
                let value = value.read();
                assert_eq!(value[0], value[1]);
            }
        });
        {
            let value = value.read();
            assert_eq!(value[0], value[1]);
        }
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(*value.read(), [1, 1]);
    });
}
