//! Asking for memory back before an allocation fails.
//!
//! One thread reclaims at a time and the others wait for it. A callback may allocate; if that fails
//! it fails at once, so reclaim never recurses. With interrupts masked nothing is reclaimed, as a
//! callback may wait.

use alloc::sync::Arc;
use core::ptr;

use ksync::{SpinLock, WaitQueue, platform};

/// Most callbacks there can be.
const MAX_RECLAIMERS: usize = 8;

/// Frees memory if it can: takes the number of frames wanted, returns the number it set free.
type Reclaimer = fn(frames_wanted: usize) -> usize;

struct State {
    reclaimers: [Option<Reclaimer>; MAX_RECLAIMERS],
    /// The thread that is reclaiming, by the address of its parker; null if none is.
    running: *const (),
}

// SAFETY: `running` is compared, never dereferenced.
unsafe impl Send for State {}

static STATE: SpinLock<State> =
    SpinLock::new(State { reclaimers: [None; MAX_RECLAIMERS], running: ptr::null() });
static ENDED: WaitQueue = WaitQueue::new();

/// Registers a callback that is asked for frames before an allocation fails. It may wait and may
/// allocate, and must not hold a lock that an allocating thread could hold.
pub fn register_reclaimer(reclaimer: Reclaimer) {
    let mut state = STATE.lock();
    let slot = state.reclaimers.iter_mut().find(|slot| slot.is_none());
    *slot.expect("more reclaimers than there is room for") = Some(reclaimer);
}

/// What to do after an attempt to reclaim.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something may have become free.
    TryAgain,
    /// Nothing more is to be had.
    GiveUp,
}

/// Has the callbacks free memory, or waits for the thread that is doing that already.
pub fn reclaim(frames_wanted: usize) -> Outcome {
    if !platform::may_wait() {
        return Outcome::GiveUp;
    }
    let thread = platform::current();
    let this = Arc::as_ptr(&thread).cast::<()>();
    let reclaimers = {
        let mut state = STATE.lock();
        if state.running == this || state.reclaimers[0].is_none() {
            return Outcome::GiveUp;
        }
        if !state.running.is_null() {
            drop(state);
            ENDED.wait_uninterruptible(|| STATE.lock().running.is_null().then_some(()));
            return Outcome::TryAgain;
        }
        state.running = this;
        state.reclaimers
    };
    let mut freed = 0;
    for reclaimer in reclaimers.into_iter().flatten() {
        if freed >= frames_wanted {
            break;
        }
        freed += reclaimer(frames_wanted - freed);
    }
    STATE.lock().running = ptr::null();
    ENDED.wake_all();
    if freed > 0 { Outcome::TryAgain } else { Outcome::GiveUp }
}
