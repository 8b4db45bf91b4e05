//! Queues of threads that wait for a condition.

use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    pin::pin,
    ptr::{self, NonNull},
};

use linux_abi::Errno;

use crate::{
    platform::{self, Parker},
    primitive::{AtomicUsize, ListLock, Ordering, constant_unless_loom, fence},
};

/// Whether a signal ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruptible {
    /// An unmasked signal ends the wait with [`WaitError::Interrupted`].
    Yes,
    /// The wait goes on; for waits that are known to be short, such as for a disk.
    No,
}

/// Why a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The deadline passed.
    TimedOut,
    /// A signal came.
    Interrupted,
}

impl From<WaitError> for Errno {
    /// As most system calls answer: a call that a signal ends is restarted if its action says so.
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => Errno::ETIMEDOUT,
            WaitError::Interrupted => Errno::ERESTARTSYS,
        }
    }
}

/// Threads waiting for something to happen, in order of arrival.
///
/// The nodes live on the stacks of the waiting threads, so a wait allocates nothing and a waiter
/// leaves in constant time. The list, and the fields of each node on it, belong to the queue's lock.
///
/// A wake-up of a queue on which nobody waits takes no lock. The waker has made the condition true, and looks at
/// the number of waiters; a waiter has put itself on the list, and looks at the condition. With a full fence on
/// either side between the two, one of them sees the other.
pub struct WaitQueue {
    list: ListLock<List>,
    /// Nodes on the list; written under its lock.
    waiting: AtomicUsize,
}

struct List {
    head: *mut Node,
    tail: *mut Node,
}

// SAFETY: the nodes behind the pointers are reached only under the queue's lock.
unsafe impl Send for List {}

struct Node {
    thread: Arc<dyn Parker>,
    links: UnsafeCell<Links>,
    _pinned: PhantomPinned,
}

struct Links {
    previous: *mut Node,
    next: *mut Node,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    /// On the list.
    Waiting,
    /// Taken off by a wake-up that this waiter has not used yet.
    Woken,
}

impl List {
    /// # Safety
    /// `node` is on no list, and stays where it is until it has been removed.
    unsafe fn push_back(&mut self, node: NonNull<Node>) {
        let node = node.as_ptr();
        // SAFETY: nodes on the list are alive, and the lock (we have `&mut self`) owns their links.
        unsafe {
            *(*node).links.get() =
                Links { previous: self.tail, next: ptr::null_mut(), state: State::Waiting };
            match self.tail.as_ref() {
                Some(tail) => (*tail.links.get()).next = node,
                None => self.head = node,
            }
        }
        self.tail = node;
    }

    /// # Safety
    /// `node` is on this list.
    unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: as for `push_back`; the neighbours of a node on the list are on it too.
        unsafe {
            let links = &mut *node.as_ref().links.get();
            match links.previous.as_ref() {
                Some(previous) => (*previous.links.get()).next = links.next,
                None => self.head = links.next,
            }
            match links.next.as_ref() {
                Some(next) => (*next.links.get()).previous = links.previous,
                None => self.tail = links.previous,
            }
            links.state = State::Woken;
        }
    }

    fn pop_front(&mut self) -> Option<Arc<dyn Parker>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: the head is on the list, hence alive: its owner takes the lock before it leaves.
        unsafe {
            let thread = node.as_ref().thread.clone();
            self.remove(node);
            Some(thread)
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    constant_unless_loom! {
        /// Makes an empty queue.
        pub fn new() -> Self {
            Self {
                list: ListLock::new(List { head: ptr::null_mut(), tail: ptr::null_mut() }),
                waiting: AtomicUsize::new(0),
            }
        }
    }

    /// Waits until `condition` gives a value, a signal comes (if `interruptible`), or the monotonic
    /// clock passes `deadline_ns`. Whoever makes the condition true must then wake this queue.
    ///
    /// `condition` runs with no lock of the queue held and may take any lock that may be taken here, also one
    /// that it has to wait for. It must not wake this queue: the caller is on it, and could be the one that
    /// is woken in place of another. A waiter that leaves something for the next one wakes it after `wait`
    /// has returned.
    pub fn wait<T>(
        &self,
        interruptible: Interruptible,
        deadline_ns: Option<u64>,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if let Some(value) = condition() {
            return Ok(value);
        }
        platform::assert_may_wait();
        let node = pin!(Node {
            thread: platform::current(),
            links: UnsafeCell::new(Links {
                previous: ptr::null_mut(),
                next: ptr::null_mut(),
                state: State::Woken
            }),
            _pinned: PhantomPinned,
        });
        let node = NonNull::from(&*node);
        loop {
            {
                let mut list = self.list.lock();
                // SAFETY: the node is pinned on this stack frame, and `leave` takes it off before the
                // frame ends; its links are ours to read under the lock.
                unsafe {
                    if (*node.as_ref().links.get()).state == State::Woken {
                        list.push_back(node);
                        self.count(|waiting| waiting + 1);
                    }
                }
            }
            // Only now look: a wake-up from here on finds the node and leaves a token.
            fence(Ordering::SeqCst);
            let result = if let Some(value) = condition() {
                Some(Ok(value))
            } else if interruptible == Interruptible::Yes
                // SAFETY: the node is alive and its thread never changes.
                && unsafe { node.as_ref() }.thread.interrupted()
            {
                Some(Err(WaitError::Interrupted))
            } else if deadline_ns.is_some_and(|deadline_ns| platform::now_ns() >= deadline_ns) {
                Some(Err(WaitError::TimedOut))
            } else {
                None
            };
            if let Some(result) = result {
                let was_woken = self.leave(node);
                if was_woken {
                    // A wake-up must not end with one that gave up, nor with one that needs none: this waiter may have
                    // its value from a change that came before it was on the list, and the wake-up be for another.
                    self.wake_one();
                }
                return result;
            }
            // A condition that waited itself (for a mutex) may have used up the token of a wake-up that came
            // meanwhile; the node still shows it. From this look on no token is lost.
            if self.is_waiting(node) {
                // SAFETY: as above.
                unsafe { node.as_ref() }.thread.park(deadline_ns);
            }
        }
    }

    /// Waits like [`wait`](Self::wait), with no deadline, and not ended by signals.
    pub fn wait_uninterruptible<T>(&self, condition: impl FnMut() -> Option<T>) -> T {
        match self.wait(Interruptible::No, None, condition) {
            Ok(value) => value,
            Err(_) => unreachable!("the wait has neither a deadline nor signals"),
        }
    }

    /// Whether the node is on the list: no wake-up has taken it off since it was put there.
    fn is_waiting(&self, node: NonNull<Node>) -> bool {
        let _list = self.list.lock();
        // SAFETY: the caller's node is alive, and its links are ours under the lock.
        unsafe { (*node.as_ref().links.get()).state == State::Waiting }
    }

    /// Takes the node off the list and says whether a wake-up had done so already.
    fn leave(&self, node: NonNull<Node>) -> bool {
        let mut list = self.list.lock();
        // SAFETY: the caller's node is alive, its links are ours under the lock, and a node in state
        // `Waiting` is on this list.
        unsafe {
            let was_woken = (*node.as_ref().links.get()).state == State::Woken;
            if !was_woken {
                list.remove(node);
                self.count(|waiting| waiting - 1);
            }
            was_woken
        }
    }

    /// Changes the number of waiters. With the list's lock held.
    fn count(&self, change: impl FnOnce(usize) -> usize) {
        self.waiting.store(change(self.waiting.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Wakes the thread that has waited longest, if any does. Callable from interrupts.
    pub fn wake_one(&self) -> bool {
        fence(Ordering::SeqCst);
        !self.is_empty() && self.wake_first()
    }

    /// Wakes all threads that wait now. Callable from interrupts.
    pub fn wake_all(&self) -> usize {
        fence(Ordering::SeqCst);
        // No more than there are now: a woken thread that waits again at once must not be woken for ever.
        let waiting = self.waiting.load(Ordering::Relaxed);
        (0..waiting).take_while(|_| self.wake_first()).count()
    }

    fn wake_first(&self) -> bool {
        let thread = {
            let mut list = self.list.lock();
            list.pop_front().inspect(|_| self.count(|waiting| waiting - 1))
        };
        thread.inspect(|thread| thread.unpark()).is_some()
    }

    /// Whether no thread waits. Only a hint, as the answer may be old when it arrives; but who has made a
    /// condition true, and has a [`fence`] behind that, needs to wake nobody if this says so.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    #[test]
    fn a_true_condition_does_not_wait() {
        assert_eq!(WaitQueue::new().wait(Interruptible::Yes, Some(0), || Some(7)), Ok(7));
    }

    #[test]
    fn times_out_and_leaves_the_queue() {
        let queue = WaitQueue::new();
        let deadline = platform::now_ns() + 1_000_000;
        assert_eq!(queue.wait(Interruptible::No, Some(deadline), || None::<()>), Err(WaitError::TimedOut));
        assert!(queue.is_empty());
    }

    #[test]
    fn no_wake_up_is_lost_between_many_producers_and_consumers() {
        let state = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
        let take = |available: &AtomicUsize| {
            available.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok()
        };
        let consumers: Vec<_> = (0..4)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || {
                    (0..5_000).for_each(|_| {
                        state.0.wait_uninterruptible(|| take(&state.1));
                    })
                })
            })
            .collect();
        let producers: Vec<_> = (0..4)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || {
                    (0..5_000).for_each(|_| {
                        state.1.fetch_add(1, Ordering::SeqCst);
                        state.0.wake_one();
                    })
                })
            })
            .collect();
        producers.into_iter().chain(consumers).for_each(|thread| thread.join().unwrap());
        assert_eq!(state.1.load(Ordering::SeqCst), 0);
        assert!(state.0.is_empty());
    }

    #[test]
    fn wake_all_wakes_every_waiter() {
        let state = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || {
                    state.0.wait_uninterruptible(|| (state.1.load(Ordering::SeqCst) == 1).then_some(()))
                })
            })
            .collect();
        state.1.store(1, Ordering::SeqCst);
        state.0.wake_all();
        waiters.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_wake_up_during_a_condition_that_waits_is_not_lost() {
        let queue = WaitQueue::new();
        let mut looks = 0;
        queue.wait_uninterruptible(|| {
            looks += 1;
            if looks == 2 {
                // The node is on the list now. The wake-up comes, and then a wait inside uses its token.
                assert!(queue.wake_one());
                platform::current().park(None);
            }
            (looks == 3).then_some(())
        });
    }
}
