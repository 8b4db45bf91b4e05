//! One connection.
//!
//! Positions in both streams are 64 bits wide inside: [`FIRST`] is the SYN's, and they never wrap. Sequence numbers
//! are made from them, and turned into them, at the edge ([`Connection::wire`], [`Connection::acknowledged_position`],
//! [`Connection::received_position`]); so nothing in between can overflow or compare the wrong way around.

mod acknowledge;
mod application;
mod create;
mod events;
mod input;
mod output;
mod recovery;
mod report;
mod timer;

use alloc::{boxed::Box, vec::Vec};

use bitflags::bitflags;
use linux_abi::Errno;
use packet::Packet;

pub(crate) use create::{Handshake, announced_mss, default_mss, initial_window, receive_shift};
pub use events::{Event, Events};
use recovery::{Rack, Recovery};
pub(crate) use timer::SYN_ACK_RETRIES;
use timer::Timers;

use crate::{
    BufferGrowth, Options, Path, SeqNumber, TimeWait, Tuple, congestion::Congestion,
    receive_queue::ReceiveQueue, rtt::RoundTrip, scoreboard::Scoreboard, send_buffer::SendBuffer,
};

/// Position of a SYN. Far enough from 0 that what is up to a window older has a position too.
const FIRST: u64 = 1 << 32;

/// States (RFC 9293, 3.3.2) by the numbers that Linux gives them (uapi `linux/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the RFC's own names")]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

bitflags! {
    /// What `poll(2)` tells of a connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Readiness: u8 {
        /// `EPOLLIN | EPOLLRDNORM`: data (as much as `SO_RCVLOWAT` asks for), the end, or an error.
        const READABLE = 1;
        /// `EPOLLOUT | EPOLLWRNORM`: a third of the send buffer is free, or writing fails at once.
        const WRITABLE = 2;
        /// `EPOLLRDHUP`: the other end has sent its FIN, or reading was shut down here.
        const READ_HANG_UP = 4;
        /// `EPOLLHUP`: both directions are shut, or the connection is gone.
        const HANG_UP = 8;
        /// `EPOLLERR`: an error is pending.
        const ERROR = 16;
        /// `EPOLLPRI`: urgent data.
        const URGENT = 32;
    }
}

bitflags! {
    /// How to write.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WriteFlags: u8 {
        /// `MSG_MORE`: more comes soon; full segments only for now.
        const MORE = 1;
        /// `MSG_OOB`: the last byte is urgent.
        const URGENT = 2;
    }
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// What is read is gone.
    Take,
    /// `MSG_PEEK`: it stays; begin at this offset (`SO_PEEK_OFF`; else 0).
    Peek(usize),
}

/// Which direction to shut (`shutdown(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// What `close(2)` does with data that is not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// It is sent in the background. `SO_LINGER` with a time is the same here: the caller waits for
    /// [`Connection::has_unsent`] to become false.
    Background,
    /// `SO_LINGER` of 0 seconds: it is dropped, and the other end gets a RST.
    Reset,
}

/// What an ICMP error says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The other end, its network or its port cannot be reached. It ends a connection that is not yet established
    /// with this error; otherwise it is kept as the reason for a time-out (RFC 5461).
    Unreachable {
        /// What the application is told.
        errno: Errno,
    },
    /// A packet was too big for the path (RFC 1191, 8201).
    PacketTooBig {
        /// Largest IP packet in bytes.
        mtu: u32,
    },
}

/// The timestamps of a connection that has them.
#[derive(Clone, Copy, Debug)]
struct Timestamping {
    /// The value to be echoed (TS.Recent).
    recent: u32,
    /// When it came.
    recent_ns: u64,
}

/// When acknowledgements go out.
#[derive(Debug)]
struct Acknowledging {
    /// One is owed.
    is_pending: bool,
    /// It goes out with the call that is under way.
    is_urgent: bool,
    /// So many go out at once, not delayed (Linux's "quick" mode).
    quick: u8,
    /// What is received is answered with data, so that acknowledgements may wait for it ("pingpong").
    is_interactive: bool,
    /// When the last one that answered something useless went out: such answers are rationed (RFC 5961, 7).
    last_challenge_ns: Option<u64>,
}

/// The measurement of how fast the application reads, after which the receive buffer grows.
#[derive(Debug)]
struct ReadRate {
    since_ns: u64,
    /// Position of the first unread byte then.
    position: u64,
    /// Bytes that were read in the last round trip before.
    bytes: u64,
    /// Round-trip time as a receiver sees it.
    rtt_ns: u64,
}

/// What urgent data are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgent {
    None,
    /// The byte at this position is urgent, and has not come yet.
    Announced(u64),
    /// The byte at this position is urgent, and here.
    Here(u64, u8),
    /// It was read out of line; the stream is not there yet.
    Read(u64),
}

#[derive(Debug, Default)]
struct Counters {
    segments_in: u32,
    segments_out: u32,
    data_segments_in: u32,
    data_segments_out: u32,
    bytes_acknowledged: u64,
    bytes_received: u64,
    bytes_sent: u64,
    bytes_retransmitted: u64,
    retransmissions: u32,
    delivered: u64,
    duplicates_told: u32,
    ahead: u32,
    reorderings: u32,
    last_data_sent_ns: u64,
    last_data_received_ns: u64,
    last_ack_received_ns: u64,
    last_received_ns: u64,
}

/// A connection, from the SYN to the end.
#[derive(Debug)]
pub struct Connection {
    tuple: Tuple,
    state: State,
    options: Options,
    path: Path,

    // What the handshake has agreed on.
    iss: SeqNumber,
    irs: SeqNumber,
    timestamps: Option<Timestamping>,
    timestamp_offset: u32,
    has_sack: bool,
    has_window_scaling: bool,
    send_shift: u8,
    receive_shift: u8,
    peer_mss: u16,

    // Sending.
    /// Payload of a full segment.
    mss: u32,
    unacknowledged: u64,
    next: u64,
    window: u64,
    largest_window: u64,
    window_sequence: u64,
    buffer: SendBuffer,
    board: Scoreboard,
    /// Position of the FIN, once everything before it is written.
    fin: Option<u64>,
    /// Where the last segment that was not full ended (Minshall's variation of Nagle's algorithm).
    small_end: u64,
    urgent_end: u64,
    /// The last write said that more comes.
    is_more_expected: bool,
    /// The congestion window, not the application or the other end, held back what there is.
    is_window_limited: bool,
    congestion: Congestion,
    rtt: RoundTrip,
    rack: Rack,
    recovery: Recovery,

    timers: Timers,
    latest_ns: u64,

    // Receiving.
    received: ReceiveQueue,
    /// The FIN's position, if it came, in order or not.
    peer_fin: Option<u64>,
    is_fin_received: bool,
    /// The right edge of the window that was promised.
    promised: u64,
    /// What was acknowledged last.
    acknowledged: u64,
    acknowledging: Acknowledging,
    /// Largest segment that came lately: what the other end takes for full.
    receive_mss: u32,
    read_rate: ReadRate,
    urgent: Urgent,

    // The application.
    buffer_growth: BufferGrowth,
    error: Option<Errno>,
    soft_error: Option<Errno>,
    is_read_shut: bool,
    is_write_shut: bool,
    is_orphan: bool,
    was_established: bool,
    time_wait: Option<TimeWait>,
    counters: Counters,
    events: Events,
}

impl Connection {
    /// The sequence number of a position in our stream.
    fn wire(&self, position: u64) -> SeqNumber {
        self.iss.add(position.wrapping_sub(FIRST) as u32)
    }

    /// The position in our stream that an acknowledgement number means: the one next to what is acknowledged.
    fn acknowledged_position(&self, number: SeqNumber) -> u64 {
        self.unacknowledged.saturating_add_signed(number.distance(self.wire(self.unacknowledged)).into())
    }

    /// The sequence number of a position in the other end's stream.
    fn peer_wire(&self, position: u64) -> SeqNumber {
        self.irs.add(position.wrapping_sub(FIRST) as u32)
    }

    /// The position in the other end's stream that a sequence number means.
    fn received_position(&self, number: SeqNumber) -> u64 {
        let next = self.receive_next();
        next.saturating_add_signed(number.distance(self.peer_wire(next)).into())
    }

    /// RCV.NXT.
    fn receive_next(&self) -> u64 {
        self.received.next() + u64::from(self.is_fin_received)
    }

    /// The time, which never goes back: what a caller has read before it had to wait for the connection's lock, or what
    /// another CPU's clock shows, may be a little older than what was seen here.
    fn clock(&mut self, now_ns: u64) -> u64 {
        self.latest_ns = self.latest_ns.max(now_ns);
        self.latest_ns
    }

    /// The clock that timestamps show, in milliseconds.
    fn timestamp_now(&self, now_ns: u64) -> u32 {
        timestamp_clock(now_ns).wrapping_add(self.timestamp_offset)
    }

    /// Whether our FIN was sent, and acknowledged.
    fn is_fin_acknowledged(&self) -> bool {
        self.fin.is_some_and(|fin| self.unacknowledged > fin)
    }

    fn receive_limit(&self) -> usize {
        self.options.receive_buffer.bytes() as usize
    }

    /// It is over; `error` is what the application is told.
    fn finish(&mut self, error: Option<Errno>) {
        if matches!(self.state, State::Established | State::CloseWait) {
            self.events.note(Event::EstablishedReset);
        }
        self.state = State::Closed;
        if error.is_some() {
            self.error = error;
        }
        self.is_read_shut = true;
        self.is_write_shut = true;
        self.buffer.purge();
        self.board.clear();
        self.timers = Timers::default();
        self.acknowledging.is_pending = false;
        self.acknowledging.is_urgent = false;
        if self.is_orphan {
            self.received.purge();
        }
    }

    /// Leaves what is needed to answer late segments.
    fn enter_time_wait(&mut self, now_ns: u64, state: State) {
        let lasts_ns = match state {
            State::FinWait2 => self.orphan_fin_wait_ns(),
            _ => crate::time_wait::TIME_WAIT_NS,
        };
        self.time_wait = Some(TimeWait::new(crate::time_wait::Ended {
            tuple: self.tuple,
            state,
            send_next: self.wire(self.next),
            receive_next: self.peer_wire(self.receive_next()),
            receive_window: self.promised.saturating_sub(self.receive_next()) as u32,
            window_field: self.window_field(self.promised.saturating_sub(self.receive_next())),
            timestamp_offset: self.timestamp_offset,
            timestamp_recent: self.timestamps.map(|timestamps| (timestamps.recent, timestamps.recent_ns)),
            deadline_ns: now_ns + lasts_ns,
            lasts_ns,
        }));
        self.finish(None);
    }

    /// How long an orphan waits for the other end's FIN.
    fn orphan_fin_wait_ns(&self) -> u64 {
        match self.options.linger2_s {
            ..=0 => crate::time_wait::TIME_WAIT_NS,
            seconds => u64::from(seconds.unsigned_abs().min(120)) * 1_000_000_000,
        }
    }

    fn window_field(&self, window: u64) -> u16 {
        (window >> self.receive_shift).min(u64::from(u16::MAX)) as u16
    }

    /// Ends at once with a RST: too many orphans, a listener that is closed, `connect` to `AF_UNSPEC`.
    pub fn abort(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let now_ns = self.clock(now_ns);
        self.fail(now_ns, Errno::ECONNABORTED, out);
    }

    /// Ends with a RST, if the other end knows of us, and an error.
    fn fail(&mut self, now_ns: u64, error: Errno, out: &mut Vec<Box<Packet>>) {
        if !matches!(self.state, State::Closed | State::SynSent) {
            self.send_reset(now_ns, out);
        }
        if self.state != State::Closed {
            self.finish(Some(error));
        }
    }
}

/// Milliseconds of the machine's clock, as timestamps count them.
pub(crate) fn timestamp_clock(now_ns: u64) -> u32 {
    (now_ns / 1_000_000) as u32
}
