//! The futex table: who waits on which word, and who is woken (`futex(2)`).
//!
//! Responsible for: the queues of waiters, and the promises that programs rely on: no wake-up is lost between
//! the look at the word and the wait; waiters on a word are woken in the order in which they came; a time-out
//! or signal that races with a wake-up or a requeue ends in exactly one of the two.
//!
//! Not for: reading the word (the caller's `check`), parking threads ([`Waiter`]), clocks, robust lists.
//! Priority inheritance is not offered.
//!
//! # How it is built
//!
//! A fixed array of buckets, chosen by the hash of the key. Each bucket has a lock and a doubly linked queue
//! whose links lie in the waiters themselves ([`Node`]): waiting allocates nothing, and leaving takes
//! constant time. Each bucket stands in a cache line of its own and counts its waiters, so that a wake-up on
//! a word that nobody waits on, which is the most frequent call of all, takes no lock.
//!
//! # Locks
//!
//! | operation | bucket of the key | bucket of the second key | node |
//! |---|---|---|---|
//! | [`wait`](FutexTable::wait), around `check` | held | | one at a time, for an instant |
//! | [`wake`](FutexTable::wake) | held; let go before each batch is woken | | the same |
//! | [`requeue`](FutexTable::requeue), [`wake_op`](FutexTable::wake_op), around `check` and `operate` | held | held | the same |
//! | [`cancel`](FutexTable::cancel) | held: the waiter's present one | | the same |
//!
//! Two bucket locks are taken by ascending index. A node's lock is taken only by who holds the lock of the
//! bucket that the node is in, so it is always free; it exists because the compiler cannot see that. Bucket
//! locks are `ksync::SpinLock`s: interrupts are masked, so **`check` and `operate` must not wait**. If the
//! word's page is absent they return an error of the caller's, who faults the page in and calls again.
//! [`Waiter::wake`] is called with no lock held.
//!
//! How long interrupts stay masked: a wake-up walks past waiters on other words that share the bucket (fewer
//! than ten on average with 10,000 threads and 4 CPUs), and a requeue moves all that it moves in one go, as
//! in Linux.
//!
//! # The life of a wait
//!
//! ```
//! use std::{num::NonZeroU32, sync::{Arc, atomic::{AtomicU32, Ordering}}};
//! use futex::{Cancel, FutexTable, Key, Node, Waiter};
//!
//! struct Thread { thread: std::thread::Thread, node: Node<Self> }
//!
//! impl Waiter for Thread {
//!     fn node(&self) -> &Node<Self> { &self.node }
//!     fn wake(&self) { self.thread.unpark(); }
//! }
//!
//! let table: Arc<FutexTable<Thread>> = Arc::new(FutexTable::new(2));
//! let word = Arc::new(AtomicU32::new(0));
//! let key = Key::private(0x1000).unwrap();
//!
//! let other = std::thread::spawn({
//!     let (table, word) = (table.clone(), word.clone());
//!     move || {
//!         word.store(1, Ordering::SeqCst);
//!         table.wake(key, 1, FutexTable::<Thread>::ANY)
//!     }
//! });
//!
//! let current = Arc::new(Thread { thread: std::thread::current(), node: Node::new() });
//! let waiting = table.wait(key, FutexTable::<Thread>::ANY, &current, || {
//!     if word.load(Ordering::SeqCst) == 0 { Ok(()) } else { Err("EAGAIN") }
//! });
//! if waiting.is_ok() {
//!     // A park may end for no reason, so look each time. On a time-out or signal: cancel.
//!     while current.node.is_queued() {
//!         std::thread::park();
//!     }
//!     assert_eq!(table.cancel(&current), Cancel::AlreadyWoken);
//! }
//! other.join().unwrap();
//! ```

#![cfg_attr(not(any(test, loom)), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod batch;
mod bucket;
mod key;
mod sync;
mod table;

pub use bucket::{Node, Waiter};
pub use key::Key;
pub use table::{Cancel, FutexTable, Requeued};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
