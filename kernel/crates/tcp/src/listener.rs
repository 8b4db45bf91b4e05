//! Listening: the SYN cache, and SYN cookies when it is full (RFC 4987).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::net::IpAddr;

use packet::Packet;

use crate::{
    Connection, Flags, IcmpError, Isn, Options, Path, Secrets, Segment, SeqNumber, Tuple,
    connection::{self, Handshake, timestamp_clock},
    cookie::{self, Extras},
    segment::{Header, TcpOptions, Timestamps},
};

/// How long an answered handshake may take: the first SYN-ACK is repeated after a second, and each time the wait
/// doubles.
const FIRST_TIMEOUT_NS: u64 = 1_000_000_000;

/// How often a SYN that comes again is answered at most.
const ANSWER_INTERVAL_NS: u64 = 500_000_000;

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

/// Where a handshake is found: the other end first, as that is what differs.
type Key = (IpAddr, u16, IpAddr, u16);

fn key(tuple: &Tuple) -> Key {
    (tuple.remote.ip(), tuple.remote.port(), tuple.local.ip(), tuple.local.port())
}

/// A handshake that waits for its last segment.
#[derive(Debug)]
struct Half {
    tuple: Tuple,
    path: Path,
    handshake: Handshake,
    /// The MSS and shift that were announced.
    announced_mss: u16,
    deadline_ns: u64,
    last_sent_ns: u64,
    /// SYN-ACKs that were sent again.
    repetitions: u8,
    /// The last segment came, but the connection is deferred until there is data or this has come.
    deferred_until_ns: Option<u64>,
}

/// One listening socket's half of the handshakes.
///
/// Memory is bounded by the backlog: at most that many handshakes are remembered, and what comes beyond is answered
/// with cookies, of which nothing is kept. They lie in a tree, so that nobody can choose addresses that make looking
/// them up slow.
#[derive(Debug)]
pub struct Listener {
    secrets: Arc<Secrets>,
    backlog: usize,
    halves: BTreeMap<Key, Half>,
    deadlines: BTreeSet<(u64, Key)>,
    last_cookie_ns: Option<u64>,
    /// Cookies that were sent, and that came back right.
    cookies: (u64, u64),
}

impl Listener {
    /// A listener that remembers up to `backlog` handshakes (`listen(2)`).
    pub fn new(secrets: Arc<Secrets>, backlog: usize) -> Self {
        Self {
            secrets,
            backlog,
            halves: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last_cookie_ns: None,
            cookies: (0, 0),
        }
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
        if self.halves.contains_key(&key(tuple)) {
            return self.continue_handshake(now_ns, tuple, segment, accept_queue, options, out);
        }
        let flags = segment.flags;
        if flags.contains(Flags::RST) {
            return Verdict::Done;
        }
        if flags.contains(Flags::ACK) {
            return self.take_cookie(now_ns, tuple, path, segment, accept_queue, options, out);
        }
        // RFC 9293, 3.10.7.2: what else there is, is dropped; a SYN with a FIN is nothing honest.
        if flags.contains(Flags::SYN) && !flags.contains(Flags::FIN) && accept_queue == AcceptQueue::HasRoom {
            self.begin_handshake(now_ns, tuple, path, &segment, isn, options, out);
        }
        Verdict::Done
    }

    #[allow(clippy::too_many_arguments, reason = "they are what the decision needs")]
    fn begin_handshake(
        &mut self,
        now_ns: u64,
        tuple: &Tuple,
        path: Path,
        segment: &Segment,
        isn: Option<Isn>,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) {
        let offered = &segment.options;
        let receive_shift = connection::receive_shift(options);
        let mut handshake = Handshake {
            isn: isn.unwrap_or_else(|| self.secrets.isn(now_ns, tuple)),
            irs: segment.sequence,
            peer_mss: offered.mss.filter(|&mss| mss > 0).unwrap_or(connection::default_mss(tuple)),
            window_scales: offered.window_scale.map(|shift| (shift, receive_shift)),
            sack: offered.sack_permitted,
            timestamp: offered.timestamps.map(|timestamps| timestamps.value),
            receive_window: connection::initial_window(options).into(),
            sent_ns: Some(now_ns),
        };
        let announced_mss = connection::announced_mss(tuple, path, options);
        if self.halves.len() >= self.backlog.max(1) {
            let mss = handshake.peer_mss.min(announced_mss);
            handshake.isn.sequence = cookie::make(&self.secrets, now_ns, tuple, segment.sequence, mss);
            let extras = Extras { window_scale: offered.window_scale, sack: offered.sack_permitted };
            if handshake.timestamp.is_none() {
                // There is nowhere to remember them.
                (handshake.window_scales, handshake.sack) = (None, false);
            }
            let timestamp = cookie::make_timestamp(now_ns, handshake.isn.timestamp_offset, extras);
            out.push(syn_ack(tuple, &handshake, announced_mss, timestamp));
            self.last_cookie_ns = Some(now_ns);
            self.cookies.0 += 1;
            return;
        }
        let half = Half {
            tuple: *tuple,
            path,
            handshake,
            announced_mss,
            deadline_ns: now_ns + FIRST_TIMEOUT_NS,
            last_sent_ns: now_ns,
            repetitions: 0,
            deferred_until_ns: None,
        };
        out.push(half.syn_ack(now_ns));
        self.deadlines.insert((half.deadline_ns, key(tuple)));
        self.halves.insert(key(tuple), half);
    }

    /// A segment of a handshake that is remembered (RFC 9293, 3.10.7.4 in SYN-RECEIVED).
    fn continue_handshake(
        &mut self,
        now_ns: u64,
        tuple: &Tuple,
        segment: Segment,
        accept_queue: AcceptQueue,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) -> Verdict {
        let Some(half) = self.halves.get_mut(&key(tuple)) else { return Verdict::Done };
        let flags = segment.flags;
        let handshake = &mut half.handshake;
        let next = handshake.irs.add(1);
        if flags & (Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN && segment.sequence == handshake.irs {
            // Our answer was lost, or is late.
            if now_ns.saturating_sub(half.last_sent_ns) >= ANSWER_INTERVAL_NS {
                half.last_sent_ns = now_ns;
                handshake.sent_ns = None;
                out.push(half.syn_ack(now_ns));
            }
            return Verdict::Done;
        }
        let offset = segment.sequence.distance(next);
        let is_too_old = match (handshake.timestamp, segment.options.timestamps) {
            (Some(recent), Some(timestamps)) => (timestamps.value.wrapping_sub(recent) as i32) < 0,
            _ => false,
        };
        let is_in_window = offset >= 0 && offset.unsigned_abs() <= handshake.receive_window;
        if is_too_old || !is_in_window {
            if !flags.contains(Flags::RST) && now_ns.saturating_sub(half.last_sent_ns) >= ANSWER_INTERVAL_NS {
                half.last_sent_ns = now_ns;
                out.push(half.acknowledgement(now_ns));
            }
            return Verdict::Done;
        }
        if flags.contains(Flags::RST) {
            // RFC 5961, 3.2: a connection that does not exist yet answers no RST, but believes only exact ones.
            if offset == 0 {
                self.forget(tuple);
            }
            return Verdict::Done;
        }
        if flags.contains(Flags::SYN) {
            self.forget(tuple);
            out.extend(crate::reset_for(tuple, &segment));
            return Verdict::Done;
        }
        if !flags.contains(Flags::ACK) {
            return Verdict::Done;
        }
        if segment.acknowledgement != handshake.isn.sequence.add(1) {
            out.extend(crate::reset_for(tuple, &segment));
            return Verdict::Done;
        }
        if options.defer_accept_s > 0 && segment.sequence_len() == 0 {
            let until = half
                .deferred_until_ns
                .get_or_insert(now_ns + u64::from(options.defer_accept_s) * 1_000_000_000);
            if now_ns < *until {
                let until = *until;
                self.reschedule(tuple, until);
                return Verdict::Done;
            }
        }
        if accept_queue == AcceptQueue::Full {
            // It comes again: the SYN-ACK is going to be repeated.
            return Verdict::Done;
        }
        let Some(half) = self.forget(tuple) else { return Verdict::Done };
        let mut connection =
            Box::new(Connection::accept(now_ns, half.tuple, half.path, half.handshake, options));
        connection.segment(now_ns, segment, out);
        Verdict::Established(connection)
    }

    /// An acknowledgement of something that is not remembered: perhaps of a cookie.
    #[allow(clippy::too_many_arguments, reason = "they are what the decision needs")]
    fn take_cookie(
        &mut self,
        now_ns: u64,
        tuple: &Tuple,
        path: Path,
        segment: Segment,
        accept_queue: AcceptQueue,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) -> Verdict {
        let irs = segment.sequence.sub(1);
        let sequence = segment.acknowledgement.sub(1);
        // Outside of a flood there is nothing to be guessed.
        let were_sent =
            self.last_cookie_ns.is_some_and(|last| now_ns.saturating_sub(last) <= cookie::VALID_NS);
        let mss = if were_sent && !segment.flags.contains(Flags::SYN) {
            cookie::check(&self.secrets, now_ns, tuple, irs, sequence)
        } else {
            None
        };
        let Some(peer_mss) = mss else {
            out.extend(crate::reset_for(tuple, &segment));
            return Verdict::Done;
        };
        if accept_queue == AcceptQueue::Full {
            return Verdict::Done;
        }
        self.cookies.1 += 1;
        let timestamp_offset = self.secrets.timestamp_offset(tuple);
        let extras = segment
            .options
            .timestamps
            .map(|timestamps| cookie::check_timestamp(timestamps.echo, timestamp_offset));
        let receive_shift = connection::receive_shift(options);
        let handshake = Handshake {
            isn: Isn { sequence, timestamp_offset },
            irs,
            peer_mss,
            window_scales: extras.and_then(|extras| extras.window_scale).map(|shift| (shift, receive_shift)),
            sack: extras.is_some_and(|extras| extras.sack),
            timestamp: segment.options.timestamps.map(|timestamps| timestamps.value),
            receive_window: connection::initial_window(options).into(),
            sent_ns: None,
        };
        let mut connection = Box::new(Connection::accept(now_ns, *tuple, path, handshake, options));
        connection.segment(now_ns, segment, out);
        Verdict::Established(connection)
    }

    fn forget(&mut self, tuple: &Tuple) -> Option<Half> {
        let half = self.halves.remove(&key(tuple))?;
        self.deadlines.remove(&(half.deadline_ns, key(tuple)));
        Some(half)
    }

    fn reschedule(&mut self, tuple: &Tuple, deadline_ns: u64) {
        if let Some(half) = self.halves.get_mut(&key(tuple)) {
            self.deadlines.remove(&(half.deadline_ns, key(tuple)));
            half.deadline_ns = deadline_ns;
            self.deadlines.insert((deadline_ns, key(tuple)));
        }
    }

    /// When [`poll`](Self::poll) is next of use.
    pub fn deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_ns, _)| deadline_ns)
    }

    /// Repeats SYN-ACKs that were not answered, and forgets handshakes that took too long. `send` gets what is to be
    /// sent, and where.
    pub fn poll(&mut self, now_ns: u64, send: &mut dyn FnMut(&Tuple, Box<Packet>)) {
        while let Some(&(deadline_ns, key)) = self.deadlines.first()
            && deadline_ns <= now_ns
        {
            self.deadlines.pop_first();
            let Some(half) = self.halves.get_mut(&key) else { continue };
            if half.repetitions >= connection::SYN_ACK_RETRIES {
                self.halves.remove(&key);
                continue;
            }
            half.repetitions += 1;
            half.handshake.sent_ns = None;
            half.last_sent_ns = now_ns;
            half.deadline_ns = now_ns + (FIRST_TIMEOUT_NS << half.repetitions);
            self.deadlines.insert((half.deadline_ns, key));
            send(&half.tuple, half.syn_ack(now_ns));
        }
    }

    /// An ICMP error quotes a segment of ours of this tuple, which is in the cache or not.
    pub fn icmp_error(&mut self, tuple: &Tuple, quoted_sequence: SeqNumber, error: IcmpError) {
        let Some(half) = self.halves.get_mut(&key(tuple)) else { return };
        if half.handshake.isn.sequence != quoted_sequence {
            return;
        }
        match error {
            IcmpError::Unreachable { .. } => {
                self.forget(tuple);
            }
            IcmpError::PacketTooBig { mtu } => half.path.mtu = half.path.mtu.min(mtu),
        }
    }

    /// Handshakes that it remembers: for `/proc/net/tcp`, in state SYN_RECV.
    pub fn pending(&self) -> impl Iterator<Item = &Tuple> {
        self.halves.values().map(|half| &half.tuple)
    }

    /// Cookies that were sent, and that came back right (`SyncookiesSent`, `SyncookiesRecv` of `/proc/net/netstat`).
    pub fn cookie_counts(&self) -> (u64, u64) {
        self.cookies
    }
}

impl Half {
    fn syn_ack(&self, now_ns: u64) -> Box<Packet> {
        let value = timestamp_clock(now_ns).wrapping_add(self.handshake.isn.timestamp_offset);
        syn_ack(&self.tuple, &self.handshake, self.announced_mss, value)
    }

    fn acknowledgement(&self, now_ns: u64) -> Box<Packet> {
        let handshake = &self.handshake;
        let shift = handshake.window_scales.map_or(0, |(_, receive)| receive);
        let value = timestamp_clock(now_ns).wrapping_add(handshake.isn.timestamp_offset);
        let header = Header {
            sequence: handshake.isn.sequence.add(1),
            acknowledgement: handshake.irs.add(1),
            flags: Flags::ACK,
            window: (handshake.receive_window >> shift).min(u16::MAX.into()) as u16,
            urgent: 0,
            options: TcpOptions {
                timestamps: handshake.timestamp.map(|echo| Timestamps { value, echo }),
                ..TcpOptions::default()
            },
        };
        header.packet(&self.tuple)
    }
}

fn syn_ack(tuple: &Tuple, handshake: &Handshake, mss: u16, timestamp: u32) -> Box<Packet> {
    let header = Header {
        sequence: handshake.isn.sequence,
        acknowledgement: handshake.irs.add(1),
        flags: Flags::SYN | Flags::ACK,
        window: handshake.receive_window.min(u16::MAX.into()) as u16,
        urgent: 0,
        options: TcpOptions {
            mss: Some(mss),
            window_scale: handshake.window_scales.map(|(_, receive)| receive),
            sack_permitted: handshake.sack,
            timestamps: handshake.timestamp.map(|echo| Timestamps { value: timestamp, echo }),
            ..TcpOptions::default()
        },
    };
    header.packet(tuple)
}
