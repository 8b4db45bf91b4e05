//! Listening: the SYN cache, and SYN cookies when it is full.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use packet::Packet;

use crate::{Connection, IcmpError, Isn, Options, Path, Secrets, Segment, Tuple};

/// Whether the queue of connections to be accepted takes one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptQueue {
    /// It does.
    HasRoom,
    /// It does not: SYNs are dropped, and what would be established waits for a retransmission.
    Full,
}

/// What became of a segment.
#[derive(Debug)]
pub enum Verdict {
    /// It is dealt with.
    Done,
    /// There is a new connection, for the accept queue. It has taken the segment in already, data and all.
    Established(Box<Connection>),
}

/// One listening socket's half of the handshakes.
///
/// Memory is bounded by the backlog: at most that many handshakes are remembered, and what comes beyond is answered
/// with cookies, of which nothing is kept.
pub struct Listener {
    secrets: Arc<Secrets>,
    backlog: usize,
}

impl Listener {
    /// A listener that remembers up to `backlog` handshakes (`listen(2)`).
    pub fn new(secrets: Arc<Secrets>, backlog: usize) -> Self {
        Self { secrets, backlog }
    }

    /// Changes the backlog (a second `listen(2)`).
    pub fn set_backlog(&mut self, backlog: usize) {
        self.backlog = backlog;
    }

    /// Takes a segment that belongs to no connection. `options` are the listening socket's. `isn` is what
    /// [`TimeWaitVerdict::NewConnection`](crate::TimeWaitVerdict::NewConnection) gave, if it did.
    #[allow(clippy::too_many_arguments, reason = "they are what the decision needs")]
    pub fn segment(
        &mut self,
        now_ns: u64,
        tuple: &Tuple,
        path: Path,
        segment: Segment,
        isn: Option<Isn>,
        accept_queue: AcceptQueue,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) -> Verdict {
        let _ = (now_ns, tuple, path, segment, isn, accept_queue, options, out, &self.secrets);
        Verdict::Done
    }

    /// When [`poll`](Self::poll) is next of use.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    /// Repeats SYN-ACKs that were not answered, and forgets handshakes that took too long. `send` gets what is to be
    /// sent, and where.
    pub fn poll(&mut self, now_ns: u64, send: &mut dyn FnMut(&Tuple, Box<Packet>)) {
        let _ = (now_ns, send);
    }

    /// An ICMP error quotes a segment of ours of this tuple, which is in the cache or not.
    pub fn icmp_error(&mut self, tuple: &Tuple, quoted_sequence: crate::SeqNumber, error: IcmpError) {
        let _ = (tuple, quoted_sequence, error);
    }

    /// Handshakes that it remembers: for `/proc/net/tcp`, in state SYN_RECV.
    pub fn pending(&self) -> impl Iterator<Item = &Tuple> {
        core::iter::empty()
    }
}
