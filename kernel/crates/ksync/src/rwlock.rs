//! A readers-writer lock that may be held across a wait.

use core::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
};

use crate::{
    WaitQueue, platform,
    primitive::{AtomicU32, Ordering, constant_unless_loom, sequential},
};

/// The bit of [`RwLock::state`] that says that a writer holds the lock; below it the readers count.
const WRITER: u32 = 1 << 31;

/// A readers-writer lock whose waiters sleep, and whose waiting writers hold new readers off.
///
/// A thread that holds it for reading must not take it for reading again: a writer between the two
/// would wait for the first and be waited for by the second.
pub struct RwLock<T: ?Sized> {
    state: AtomicU32,
    /// Writers that wait; while there are any, no new reader enters.
    writers_waiting: AtomicU32,
    waiters: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: readers share the value (`Sync`), a writer has it alone and may take it over (`Send`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: the lock owns its value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> RwLock<T> {
    constant_unless_loom! {
        /// Makes an unlocked lock around `value`.
        pub fn new(value: T) -> Self {
            Self {
                state: AtomicU32::new(0),
                writers_waiting: AtomicU32::new(0),
                waiters: WaitQueue::new(),
                value: UnsafeCell::new(value),
            }
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading, waiting for writers that hold it or came first.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> ReadGuard<'_, T> {
        platform::assert_may_wait();
        self.try_read().unwrap_or_else(|| self.waiters.wait_uninterruptible(|| self.try_read()))
    }

    /// Takes the lock for reading if no writer holds or awaits it.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        if self.writers_waiting.load(Ordering::SeqCst) != 0 {
            return None;
        }
        self.state
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |state| {
                (state & WRITER == 0).then_some(state + 1)
            })
            .is_ok()
            .then(|| ReadGuard { lock: self })
    }

    /// Takes the lock for writing, waiting until nobody else holds it.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> WriteGuard<'_, T> {
        platform::assert_may_wait();
        if let Some(guard) = self.try_write() {
            return guard;
        }
        self.writers_waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.waiters.wait_uninterruptible(|| self.try_write());
        self.writers_waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// Takes the lock for writing if nobody holds it.
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.state
            .compare_exchange(0, WRITER, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
            .then(|| WriteGuard { lock: self })
    }
}

/// Shared access to the value of a held [`RwLock`]; its drop unlocks.
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the lock is held for reading.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // The last reader out lets a writer in. Readers do not wait for readers, so no one else.
        if self.lock.state.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        sequential();
        if self.lock.writers_waiting.load(Ordering::SeqCst) != 0 {
            self.lock.waiters.wake_all();
        }
    }
}

/// Exclusive access to the value of a held [`RwLock`]; its drop unlocks.
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the lock is held for writing.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while the lock is held for writing, and is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.state.store(0, Ordering::SeqCst);
        self.lock.waiters.wake_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn writers_exclude_everybody_and_nobody_hangs() {
        let pair = Arc::new(RwLock::new((0u64, 0u64)));
        let writers = (0..2).map(|_| {
            let pair = pair.clone();
            thread::spawn(move || {
                for _ in 0..5_000 {
                    let mut pair = pair.write();
                    pair.0 += 1;
                    pair.1 += 1;
                }
            })
        });
        let readers = (0..3).map(|_| {
            let pair = pair.clone();
            thread::spawn(move || {
                for _ in 0..5_000 {
                    let pair = pair.read();
                    assert_eq!(pair.0, pair.1);
                }
            })
        });
        let threads: Vec<_> = writers.chain(readers).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*pair.read(), (10_000, 10_000));
    }
}
