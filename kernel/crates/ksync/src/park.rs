//! The token by which a thread is parked and unparked.

use crate::primitive::{AtomicU32, Ordering, constant_unless_loom};

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// What a thread that wants to park does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parking {
    /// It stops, until somebody whom [`ParkToken::notify`] told so makes it runnable, once; then it calls
    /// [`ParkToken::finish`].
    Stop,
    /// It goes on: it was unparked before.
    GoOn,
}

/// Whom an unpark leaves something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparking {
    /// The thread has stopped, or is about to: the caller, and nobody else, makes it runnable.
    MakeRunnable,
    /// Nothing: the thread has not parked, or somebody else makes it runnable.
    Done,
}

/// The state of one thread's parking, for implementations of [`Parker`](crate::platform::Parker).
///
/// Three states, as in the standard library's parker: an unpark leaves its token whether or not the thread has
/// parked, and of several unparks of one park only the first makes the thread runnable.
#[derive(Debug)]
pub struct ParkToken(AtomicU32);

impl Default for ParkToken {
    fn default() -> Self {
        Self::new()
    }
}

impl ParkToken {
    constant_unless_loom! {
        /// No token, and not parked.
        pub fn new() -> Self {
            Self(AtomicU32::new(EMPTY))
        }
    }

    /// The thread itself is about to stop.
    pub fn prepare(&self) -> Parking {
        match self.0.compare_exchange(EMPTY, PARKED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Parking::Stop,
            Err(_) => {
                self.finish();
                Parking::GoOn
            }
        }
    }

    /// The thread itself runs again, and takes the token.
    pub fn finish(&self) {
        // A swap, for it has to see what came before the *last* unpark: one that found the token already given has
        // made nobody runnable, and no other lock orders what its thread did before.
        self.0.swap(EMPTY, Ordering::SeqCst);
    }

    /// Gives the token.
    pub fn notify(&self) -> Unparking {
        match self.0.swap(NOTIFIED, Ordering::SeqCst) {
            PARKED => Unparking::MakeRunnable,
            _ => Unparking::Done,
        }
    }
}
