//! A bucket and its queue of waiters.

use alloc::sync::Arc;
use core::num::NonZeroU32;

use crate::{
    Key,
    batch::Batch,
    sync::{AtomicUsize, BucketLock, NodeLock, Ordering, fence},
};

/// A thread, as the table sees it.
pub trait Waiter: Send + Sync + Sized {
    /// The thread's place in a queue.
    fn node(&self) -> &Node<Self>;

    /// Makes the thread look again at whether it [is queued](Node::is_queued). Called with no lock held,
    /// after the node has been taken off its queue. The thread may have noticed that by itself and be
    /// somewhere else by now, so this must be harmless then: the token of `ksync`'s `Parker` is.
    fn wake(&self);
}

/// What a thread needs in order to wait; a field of the thread object. A thread waits on one word at a time.
#[derive(Debug)]
pub struct Node<W> {
    /// 0 if the thread is on no queue, else the index of its bucket plus 1. Written under the lock of that
    /// bucket. Only the thread itself leaves 0.
    location: AtomicUsize,
    /// Belongs to the lock of the bucket; see the crate's documentation.
    links: NodeLock<Links<W>>,
}

#[derive(Debug)]
struct Links<W> {
    previous: Option<Arc<W>>,
    next: Option<Arc<W>>,
    ticket: Ticket,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) key: Key,
    pub(crate) bitset: NonZeroU32,
    /// Its place in the order in which the bucket's waiters came.
    sequence: u64,
}

const NOWHERE: usize = 0;

impl<W> Default for Node<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Node<W> {
    /// A node on no queue.
    pub fn new() -> Self {
        let ticket = Ticket { key: Key::Private { address: 0 }, bitset: NonZeroU32::MAX, sequence: 0 };
        Self {
            location: AtomicUsize::new(NOWHERE),
            links: NodeLock::new(Links { previous: None, next: None, ticket }),
        }
    }

    /// Whether the thread still waits: false once it has been woken or has cancelled. Everything that the
    /// waker did before is visible then.
    pub fn is_queued(&self) -> bool {
        self.location.load(Ordering::Acquire) != NOWHERE
    }

    /// The index of the bucket that the node is in.
    pub(crate) fn bucket(&self) -> Option<usize> {
        self.location.load(Ordering::Acquire).checked_sub(1)
    }
}

/// A bucket, in a cache line of its own.
#[repr(align(64))]
pub(crate) struct Bucket<W> {
    pub(crate) queue: BucketLock<Queue<W>>,
    /// At least as many as are in the queue. Raised before the word is looked at.
    waiters: AtomicUsize,
}

impl<W: Waiter> Bucket<W> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BucketLock::new(Queue { head: None, tail: None, next_sequence: 0 }),
            waiters: AtomicUsize::new(0),
        }
    }

    /// Says that someone is about to look at a word and then wait.
    ///
    /// Together with [`looks_empty`](Self::looks_empty) this is Dekker's pattern: the waiter raises the count
    /// and then reads the word, the waker writes the word (in the application) and then reads the count. With
    /// a full fence between the two steps on both sides, at least one of them sees what the other did.
    pub(crate) fn announce(&self) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether nobody waits here nor is about to, as far as the caller's earlier write to the word is
    /// concerned.
    pub(crate) fn looks_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiters.load(Ordering::Relaxed) == 0
    }

    /// Undoes as many announcements.
    pub(crate) fn gone(&self, count: usize) {
        if count != 0 {
            // Too high a count costs a look at the queue and nothing else, so no ordering is needed.
            self.waiters.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Announces those whom a requeue brings.
    pub(crate) fn come(&self, count: usize) {
        self.waiters.fetch_add(count, Ordering::Relaxed);
    }
}

/// The waiters of a bucket, in order of arrival.
pub(crate) struct Queue<W> {
    head: Option<Arc<W>>,
    tail: Option<Arc<W>>,
    next_sequence: u64,
}

/// Those who came before a point in time; who comes later, be it a woken thread that waits again, is not
/// concerned by an operation that was under way.
#[derive(Clone, Copy)]
pub(crate) struct Before(u64);

impl<W: Waiter> Queue<W> {
    /// Those who are here now.
    pub(crate) fn present(&self) -> Before {
        Before(self.next_sequence)
    }

    /// Puts a waiter at the end. `index` is this bucket's.
    pub(crate) fn push_back(&mut self, waiter: Arc<W>, index: usize, key: Key, bitset: NonZeroU32) {
        let previous = self.tail.replace(waiter.clone());
        let ticket = Ticket { key, bitset, sequence: self.next_sequence };
        self.next_sequence += 1;
        waiter.node().location.store(index + 1, Ordering::Release);
        match &previous {
            Some(previous) => previous.node().links.lock().next = Some(waiter.clone()),
            None => self.head = Some(waiter.clone()),
        }
        *waiter.node().links.lock() = Links { previous, next: None, ticket };
    }

    /// Takes a waiter that is on this queue off it.
    pub(crate) fn remove(&mut self, waiter: &W) {
        self.unlink(waiter);
        // Last: from here on the thread may wait again. Release, so that it sees what the waker did.
        waiter.node().location.store(NOWHERE, Ordering::Release);
    }

    /// Takes a waiter that is on this queue out of the chain, and leaves its location as it is.
    fn unlink(&mut self, waiter: &W) -> Ticket {
        let (previous, next, ticket) = {
            let mut links = waiter.node().links.lock();
            (links.previous.take(), links.next.take(), links.ticket)
        };
        // The references that the queue drops here are not the last ones: the caller has one.
        match &previous {
            Some(previous) => previous.node().links.lock().next = next.clone(),
            None => self.head = next.clone(),
        }
        match next {
            Some(next) => next.node().links.lock().previous = previous,
            None => self.tail = previous,
        }
        ticket
    }

    /// Moves a waiter of this queue to the end of another one, or of this one if there is no other, under a
    /// new key. It never looks as if it were on no queue: its thread would take that for a wake-up.
    pub(crate) fn transfer(&mut self, waiter: Arc<W>, target: Option<&mut Self>, index: usize, key: Key) {
        let ticket = self.unlink(&waiter);
        target.unwrap_or(self).push_back(waiter, index, key, ticket.bitset);
    }

    /// Moves to `batch` those who wait on `key` for any of `bitset`, in order of arrival, `limit` at most.
    pub(crate) fn take(
        &mut self,
        key: Key,
        bitset: NonZeroU32,
        before: Before,
        limit: usize,
        batch: &mut Batch<W>,
    ) {
        let mut left = limit;
        self.for_each(before, |queue, waiter, ticket| {
            if left == 0 || batch.is_full() {
                return Walk::Stop;
            }
            if ticket.key == key && ticket.bitset.get() & bitset.get() != 0 {
                queue.remove(&waiter);
                batch.push(waiter);
                left -= 1;
            }
            Walk::Continue
        });
    }

    /// Visits those who came before a point in time, in order. The visitor may remove the one it is given.
    pub(crate) fn for_each(
        &mut self,
        before: Before,
        mut visit: impl FnMut(&mut Self, Arc<W>, Ticket) -> Walk,
    ) {
        let mut cursor = self.head.clone();
        while let Some(waiter) = cursor {
            let (next, ticket) = {
                let links = waiter.node().links.lock();
                (links.next.clone(), links.ticket)
            };
            // The queue is sorted by sequence.
            if ticket.sequence >= before.0 || visit(self, waiter, ticket) == Walk::Stop {
                return;
            }
            cursor = next;
        }
    }
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
pub(crate) enum Walk {
    Continue,
    Stop,
}
