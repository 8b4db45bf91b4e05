//! The table and its operations.

use alloc::{boxed::Box, sync::Arc};
use core::num::NonZeroU32;

use crate::{
    Key, Waiter,
    batch::Batch,
    bucket::{Before, Bucket, Queue, Walk},
};

/// Buckets for each CPU, as in Linux (`futex_init`).
const BUCKETS_PER_CPU: usize = 256;

/// All the queues of waiters. One table serves the whole kernel.
pub struct FutexTable<W> {
    buckets: Box<[Bucket<W>]>,
}

/// How a race between giving up and being woken ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// The waiter has left its queue; nobody woke it nor will.
    Cancelled,
    /// It had been woken: the wait succeeded, whatever the clock or a signal says.
    AlreadyWoken,
}

/// What [`FutexTable::requeue`] did. `futex(2)` returns the sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requeued {
    /// How many were woken.
    pub woken: usize,
    /// How many were moved.
    pub moved: usize,
}

impl<W: Waiter> FutexTable<W> {
    /// The bitset that matches every waiter (`FUTEX_BITSET_MATCH_ANY`), for the calls that have none.
    pub const ANY: NonZeroU32 = NonZeroU32::MAX;

    /// A table for a machine with this many CPUs: 16 KiB for each.
    pub fn new(cpus: usize) -> Self {
        Self::with_buckets((BUCKETS_PER_CPU * cpus.max(1)).next_power_of_two())
    }

    /// A table with a number of buckets, a power of two.
    pub(crate) fn with_buckets(count: usize) -> Self {
        Self { buckets: (0..count).map(|_| Bucket::new()).collect() }
    }

    fn index_of(&self, key: Key) -> usize {
        key.hash() as usize & (self.buckets.len() - 1)
    }

    /// Puts the calling thread on the queue of `key` if `check`, which looks at the word, agrees. No wake-up
    /// on this key that follows a change of the word is missed from then on. The thread then parks until it
    /// [is no longer queued](crate::Node::is_queued), or calls [`cancel`](Self::cancel).
    ///
    /// `bitset` says which wake-ups are meant for it; [`ANY`](Self::ANY) for all.
    ///
    /// `check` runs under a spin lock: it must not wait. It returns `Err` if the word has changed (`EAGAIN`),
    /// or if it cannot be read without waiting; the thread is on no queue then.
    ///
    /// # Panics
    /// If the thread waits already.
    pub fn wait<E>(
        &self,
        key: Key,
        bitset: NonZeroU32,
        waiter: &Arc<W>,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(!waiter.node().is_queued(), "a thread waits on one futex at a time");
        let index = self.index_of(key);
        let bucket = &self.buckets[index];
        bucket.announce();
        let mut queue = bucket.queue.lock();
        let checked = check();
        if checked.is_ok() {
            queue.push_back(waiter.clone(), index, key, bitset);
        }
        drop(queue);
        if checked.is_err() {
            bucket.gone(1);
        }
        checked
    }

    /// Wakes up to `count` threads that wait on `key` with a bit of `bitset`, the longest waiting first, and
    /// says how many.
    ///
    /// (Linux wakes one even if `FUTEX_WAKE` is asked for none; that is for the system call to do.)
    pub fn wake(&self, key: Key, count: usize, bitset: NonZeroU32) -> usize {
        let bucket = &self.buckets[self.index_of(key)];
        if bucket.looks_empty() {
            return 0;
        }
        self.wake_batches(bucket, key, bitset, count, None)
    }

    /// Wakes batch after batch, letting go of the lock between them. Only those are woken who were there when
    /// it began, or at `before`: else threads that wait again at once could keep this busy for ever.
    fn wake_batches(
        &self,
        bucket: &Bucket<W>,
        key: Key,
        bitset: NonZeroU32,
        count: usize,
        mut before: Option<Before>,
    ) -> usize {
        let mut woken = 0;
        while woken < count {
            let mut batch = Batch::new();
            {
                let mut queue = bucket.queue.lock();
                let before = *before.get_or_insert(queue.present());
                queue.take(key, bitset, before, count - woken, &mut batch);
            }
            bucket.gone(batch.len());
            let full = batch.is_full();
            woken += batch.wake();
            if !full {
                break;
            }
        }
        woken
    }

    /// Wakes up to `wake_count` of those who wait on `from`, and moves up to `move_count` of the others, in
    /// order, to the end of the queue of `to`, if `check` agrees (`FUTEX_CMP_REQUEUE`; for `FUTEX_REQUEUE` it
    /// agrees always). A moved thread keeps its bitset, and does not notice; its [`cancel`](Self::cancel)
    /// finds it.
    ///
    /// `check` runs under spin locks, as in [`wait`](Self::wait). If it returns an error, nothing has been
    /// done.
    pub fn requeue<E>(
        &self,
        from: Key,
        to: Key,
        wake_count: usize,
        move_count: usize,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<Requeued, E> {
        let (from_index, to_index) = (self.index_of(from), self.index_of(to));
        let (source, target) = (&self.buckets[from_index], &self.buckets[to_index]);
        let mut check = Some(check);
        let mut done = Requeued { woken: 0, moved: 0 };
        let mut before = None;
        loop {
            let mut batch = Batch::new();
            let finished = self.with_pair(from_index, to_index, |queue, mut other| {
                // Once it has agreed, it is not asked again: what follows counts as done at that moment.
                if let Some(check) = check.take() {
                    check()?;
                }
                let before = *before.get_or_insert(queue.present());
                queue.take(from, Self::ANY, before, wake_count - done.woken, &mut batch);
                if batch.is_full() && done.woken + batch.len() < wake_count {
                    return Ok(false);
                }
                queue.for_each(before, |queue, waiter, ticket| {
                    if done.moved == move_count {
                        return Walk::Stop;
                    }
                    if ticket.key == from {
                        target.come(1);
                        queue.transfer(waiter, other.as_deref_mut(), to_index, to);
                        source.gone(1);
                        done.moved += 1;
                    }
                    Walk::Continue
                });
                Ok(true)
            })?;
            source.gone(batch.len());
            done.woken += batch.wake();
            if finished {
                return Ok(done);
            }
        }
    }

    /// Changes a second word by `operate`, then wakes up to `count` threads that wait on `key`, and, if
    /// `operate` said so, up to `second_count` that wait on `second` (`FUTEX_WAKE_OP`;
    /// `linux_abi::futex::WakeOp` has the arithmetic). Returns how many were woken in all.
    ///
    /// `operate` runs under spin locks, as `check` in [`wait`](Self::wait), and must change the word
    /// atomically, for the application does too. If it returns an error, nobody has been woken.
    pub fn wake_op<E>(
        &self,
        key: Key,
        count: usize,
        second: Key,
        second_count: usize,
        operate: impl FnOnce() -> Result<bool, E>,
    ) -> Result<usize, E> {
        let (index, second_index) = (self.index_of(key), self.index_of(second));
        // What is to be woken is fixed under both locks; the waking itself needs them one at a time.
        let (before, second_before) = self.with_pair(index, second_index, |queue, other| {
            let wake_second = operate()?;
            let second_before = other.as_deref().unwrap_or(queue).present();
            Ok((queue.present(), wake_second.then_some(second_before)))
        })?;
        let mut woken = self.wake_batches(&self.buckets[index], key, Self::ANY, count, Some(before));
        if second_before.is_some() {
            let bucket = &self.buckets[second_index];
            woken += self.wake_batches(bucket, second, Self::ANY, second_count, second_before);
        }
        Ok(woken)
    }

    /// Takes a thread off whatever queue it is on: its time is over, or a signal came. Only the thread itself
    /// may call this.
    ///
    /// [`Cancel::AlreadyWoken`] means that a wake-up was counted for this thread, so that the wait must be
    /// reported as a success. It is also the answer if the thread has not waited.
    pub fn cancel(&self, waiter: &Arc<W>) -> Cancel {
        loop {
            let Some(index) = waiter.node().bucket() else { return Cancel::AlreadyWoken };
            let bucket = &self.buckets[index];
            let mut queue = bucket.queue.lock();
            // It may have been woken or moved before the lock was taken; it can be neither from here on.
            if waiter.node().bucket() == Some(index) {
                queue.remove(waiter);
                drop(queue);
                bucket.gone(1);
                return Cancel::Cancelled;
            }
        }
    }

    /// Runs `f` with the queues of two buckets; the second is `None` if it is the same as the first.
    fn with_pair<R>(
        &self,
        first: usize,
        second: usize,
        f: impl FnOnce(&mut Queue<W>, Option<&mut Queue<W>>) -> R,
    ) -> R {
        let lock = |index: usize| self.buckets[index].queue.lock();
        if first == second {
            return f(&mut lock(first), None);
        }
        // By ascending index, so that two such calls cannot wait for each other.
        if first < second {
            let mut queue = lock(first);
            let mut other = lock(second);
            f(&mut queue, Some(&mut other))
        } else {
            let mut other = lock(second);
            let mut queue = lock(first);
            f(&mut queue, Some(&mut other))
        }
    }
}
