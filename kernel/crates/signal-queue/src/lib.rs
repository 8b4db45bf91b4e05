//! Pending signals, the choice of the next one, and what a process does with it: the rules of
//! `signal(7)` as Linux's `kernel/signal.c` has them.
//!
//! Responsible for:
//! * [`PendingSignals`]: what waits for a thread, or for the process as a whole. Standard signals
//!   coalesce, real-time ones queue in order, up to `RLIMIT_SIGPENDING` ([`Budget`]).
//! * [`take_next`] and [`take_any_of`]: which one comes next.
//! * [`Dispositions`]: the table of actions, and what follows from one when a signal is delivered.
//!
//! Not for: choosing the thread of a process that takes a signal, waking it, building its frame
//! (`linux_abi::signal::FrameLayout` has the arithmetic).
//!
//! **No job control.** There is one process and no shell above it: nobody could continue what has
//! stopped. A stop signal whose action is the default one is ignored, like `SIGCONT`; with a handler both are
//! delivered like any other signal. Linux does the same for a process of an orphaned group, but for
//! `SIGSTOP`, which here does nothing.
//!
//! **Locks.** Nothing here locks. The kernel guards the process's queue and table by one lock and may
//! guard each thread's queue by another; [`Budget`] is shared by all queues and is atomic.
//!
//! The life of a signal:
//!
//! ```
//! use std::sync::Arc;
//! use linux_abi::signal::{SigInfo, SigSet, Signal};
//! use signal_queue::{Budget, Delivery, Dispositions, PendingSignals, Queued, take_next};
//!
//! let budget = Arc::new(Budget::new(1000)); // RLIMIT_SIGPENDING
//! let mut dispositions = Dispositions::new();
//! let mut thread = PendingSignals::new(budget.clone());
//! let mut process = PendingSignals::new(budget);
//! let mut blocked = SigSet::EMPTY;
//!
//! // kill(getpid(), SIGTERM): dropped only if no thread blocks it and it is ignored.
//! if !dispositions.is_ignored(Signal::SIGTERM) {
//!     let queued = process.queue(Signal::SIGTERM, SigInfo::kill(Signal::SIGTERM, 1, 0));
//!     assert_eq!(queued, Ok(Queued::Added));
//! }
//! // On the way back to the application:
//! while let Some(info) = take_next(&mut thread, &mut process, blocked) {
//!     match dispositions.deliver(info.signal().unwrap()) {
//!         Delivery::Ignore => continue,
//!         Delivery::Terminate => break, // and so on
//!         Delivery::Core => break,
//!         Delivery::Handler(handler) => blocked = handler.blocked_during(blocked),
//!     }
//! }
//! ```

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod budget;
mod dispositions;
mod pending;

pub use budget::Budget;
pub use dispositions::{Delivery, Dispositions, Handler, Replaced};
pub use pending::{PendingSignals, Queued, take_any_of, take_next};
