//! TIME_WAIT, and FIN_WAIT2 of orphans, in compact records (RFC 9293, 3.6.1).

use alloc::{boxed::Box, vec::Vec};

use packet::Packet;

use crate::{Isn, Segment, State, Tuple};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWaitVerdict {
    /// It stays.
    Stays,
    /// It is over: the caller forgets it.
    Over,
    /// The segment is a SYN that begins a new connection: the caller forgets the record, and gives the segment to the
    /// listener with this, or answers it with [`reset_for`](crate::reset_for) if there is none.
    NewConnection(Isn),
}

/// What is left of a connection that has ended: it answers what is still under way, and keeps the tuple from being
/// used too soon.
#[derive(Clone, Debug)]
pub struct TimeWait {
    tuple: Tuple,
    deadline_ns: u64,
}

impl TimeWait {
    /// The connection's tuple.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// [`State::TimeWait`], or [`State::FinWait2`] of a connection that its application has closed.
    pub fn state(&self) -> State {
        State::TimeWait
    }

    /// When it is over. A segment may move it.
    pub fn deadline(&self) -> u64 {
        self.deadline_ns
    }

    /// Takes a segment for the tuple.
    pub fn segment(&mut self, now_ns: u64, segment: &Segment, out: &mut Vec<Box<Packet>>) -> TimeWaitVerdict {
        let _ = (now_ns, segment, out);
        TimeWaitVerdict::Stays
    }

    /// Numbers with which `connect(2)` may use the tuple again already: there are timestamps, and their clock has
    /// moved on (RFC 6191; `tcp_tw_reuse`). The caller forgets the record then.
    pub fn reuse(&self, now_ns: u64) -> Option<Isn> {
        let _ = now_ns;
        None
    }
}
