//! The fair run queue of one CPU, in virtual time.
//!
//! Responsible for: which thread a CPU runs next and for how long, so that threads get the CPU in proportion
//! to their weights; who preempts whom; what a thread takes along when it sleeps or moves to another CPU.
//!
//! Not for: context switches, timers, choosing a CPU, locking. The kernel keeps each queue behind its CPU's
//! lock.
//!
//! # The algorithm
//!
//! Each thread has a *virtual runtime*: the time it ran, scaled by 1024 over its [`Weight`]. The CPU runs the
//! thread with the least. This is start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) as Linux's CFS
//! used it from 2.6.23 to 6.5. Between two threads that stay runnable, virtual runtimes never differ by more
//! than the longest slice, so nobody starves and shares follow the weights.
//!
//! Why not EEVDF (Stoica, Abdel-Wahab, 1995), which Linux has used since 6.6: its gain is a choice of latency
//! per thread, for which neither the JVM nor `nice(2)` has words, and it needs a tree that is augmented by
//! deadlines. What CFS was blamed for, credit for sleepers that grows by heuristics, is here one bound: a
//! thread that wakes up is at most [`SLEEPER_CREDIT_NS`] ahead of the queue, however long it slept, and no
//! further back than it was.
//!
//! A binary heap in a vector holds the queue: O(log n) to enter and to pick, and no allocation once its
//! capacity is reached ([`RunQueue::try_reserve`]).
//!
//! # The life of a thread
//!
//! ```
//! use run_queue::{Arrival, Entity, Nice, Preemption, RunQueue, Turn};
//!
//! let mut queue = RunQueue::new(0); // CPU 0
//! queue.enqueue("worker", Entity::new(Nice::DEFAULT), Arrival::New);
//! queue.enqueue("other", Entity::new(Nice::DEFAULT), Arrival::New);
//!
//! assert_eq!(queue.pick_next(), Some("worker"));
//! // Program the timer; with nobody else waiting there would be none.
//! let slice_ns = queue.slice_left_ns().unwrap();
//! // The timer interrupt, or any entry into the scheduler, charges what the thread ran.
//! assert_eq!(queue.account(slice_ns), Preemption::Now);
//! queue.put_back("worker", Turn::Preempted);
//!
//! assert_eq!(queue.pick_next(), Some("other"));
//! queue.account(1_000_000);
//! // It blocks: the thread keeps its entity until it wakes up, here or elsewhere.
//! let entity = queue.block();
//! if queue.enqueue("other", entity, Arrival::Wakeup { slept_ns: 5_000_000 }) == Preemption::Now {
//!     // Have the CPU look at its queue: by an IPI, if it is another one.
//! }
//! ```

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod heap;
mod idle;
#[cfg(all(test, loom))]
mod loom_tests;
mod queue;
mod weight;

pub use idle::IdleCpus;
pub use queue::{
    Arrival, Entity, LATENCY_NS, MIN_SLICE_NS, Preemption, RunQueue, SLEEPER_CREDIT_NS, Turn,
    WAKEUP_GRANULARITY_NS,
};
pub use weight::{Nice, Weight};

#[cfg(all(test, not(loom)))]
mod tests;
