//! How connections begin: by a SYN of ours, or by a handshake that a listener has seen through.

use alloc::{boxed::Box, vec::Vec};

use packet::Packet;

use super::{
    Acknowledging, Connection, Counters, Events, FIRST, ReadRate, State, Timestamping, Urgent,
    recovery::Recovery, timer::Timers,
};
use crate::{
    Isn, Options, Path, SeqNumber, Tuple,
    congestion::Congestion,
    options::{BufferGrowth, BufferSize, limits},
    receive_queue::ReceiveQueue,
    rtt::RoundTrip,
    scoreboard::Scoreboard,
    segment::{HEADER_BYTES, MAX_WINDOW_SCALE, TIMESTAMP_BYTES},
    send_buffer::SendBuffer,
};

/// Acknowledgements that are not delayed when a connection begins (`TCP_MAX_QUICKACKS`).
pub(super) const QUICK_ACKNOWLEDGEMENTS: u8 = 16;

/// What two ends have agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) isn: Isn,
    pub(crate) irs: SeqNumber,
    /// The other end's MSS option, or what stands for it.
    pub(crate) peer_mss: u16,
    /// Shifts of the windows that we send to and announce, if scaling was agreed on.
    pub(crate) window_scales: Option<(u8, u8)>,
    pub(crate) sack: bool,
    /// The other end's last timestamp, if timestamps were agreed on.
    pub(crate) timestamp: Option<u32>,
    /// The window that the SYN-ACK promised.
    pub(crate) receive_window: u32,
    /// When the SYN-ACK went out, if it did so once only.
    pub(crate) sent_ns: Option<u64>,
}

/// Bytes of an IP header without options or extensions.
pub(crate) fn ip_header_bytes(tuple: &Tuple) -> u32 {
    if tuple.remote.is_ipv4() { 20 } else { 40 }
}

/// The segment size to be announced: what the path takes, less headers without options (RFC 6691).
pub(crate) fn announced_mss(tuple: &Tuple, path: Path, options: &Options) -> u16 {
    // No IP packet is larger, whatever the link takes.
    let largest = path.mtu.min(65_535).saturating_sub(ip_header_bytes(tuple) + HEADER_BYTES as u32);
    let mss = largest.clamp(limits::MIN_MSS.into(), u16::MAX.into()) as u16;
    match options.max_segment {
        0 => mss,
        set => mss.min(set),
    }
}

/// What stands for a missing MSS option (RFC 9293, 3.7.1).
pub(crate) fn default_mss(tuple: &Tuple) -> u16 {
    if tuple.remote.is_ipv4() { 536 } else { 1220 }
}

/// The shift to announce: so that the largest buffer that there may be can be told.
pub(crate) fn receive_shift(options: &Options) -> u8 {
    let largest = match options.receive_buffer {
        BufferSize::Automatic(bytes) => bytes.max(limits::RECEIVE_BUFFER[2]),
        BufferSize::Fixed(bytes) => bytes,
    };
    let largest = if options.window_clamp > 0 { largest.min(options.window_clamp) } else { largest };
    (32 - (largest >> 16).leading_zeros()).min(MAX_WINDOW_SCALE.into()) as u8
}

/// The window of a SYN, which is not scaled: half of the buffer, as the other half is for what packets take beside
/// their payload.
pub(crate) fn initial_window(options: &Options) -> u16 {
    let window = options.receive_buffer.bytes() / 2;
    let window = if options.window_clamp > 0 { window.min(options.window_clamp) } else { window };
    window.min(65_535) as u16
}

impl Connection {
    /// Begins a connection: sends a SYN. `isn` comes from [`Secrets::isn`](crate::Secrets::isn) or
    /// [`TimeWait::reuse`](crate::TimeWait::reuse).
    pub fn connect(
        now_ns: u64,
        tuple: Tuple,
        path: Path,
        isn: Isn,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) -> Self {
        let mut connection = Self::new(now_ns, State::SynSent, tuple, path, isn, options);
        connection.receive_shift = receive_shift(options);
        connection.has_sack = true;
        connection.timestamps = Some(Timestamping { recent: 0, recent_ns: now_ns });
        connection.next = FIRST + 1;
        connection.send_syn(now_ns, out);
        connection.arm_syn_timer(now_ns);
        connection
    }

    /// A connection whose SYN-ACK is to be acknowledged by the segment that it gets next.
    pub(crate) fn accept(
        now_ns: u64,
        tuple: Tuple,
        path: Path,
        handshake: Handshake,
        options: &Options,
    ) -> Self {
        let mut connection = Self::new(now_ns, State::SynReceived, tuple, path, handshake.isn, options);
        connection.irs = handshake.irs;
        connection.peer_mss = handshake.peer_mss;
        if let Some((send, receive)) = handshake.window_scales {
            (connection.send_shift, connection.receive_shift) = (send, receive);
            connection.has_window_scaling = true;
        }
        connection.has_sack = handshake.sack;
        connection.timestamps = handshake.timestamp.map(|recent| Timestamping { recent, recent_ns: now_ns });
        connection.next = FIRST + 1;
        connection.begin_receiving(now_ns, handshake.receive_window);
        connection.update_mss();
        if let Some(sent_ns) = handshake.sent_ns {
            connection.rtt.sample(now_ns, now_ns.saturating_sub(sent_ns));
        }
        connection.arm_syn_timer(now_ns);
        connection
    }

    fn new(now_ns: u64, state: State, tuple: Tuple, path: Path, isn: Isn, options: &Options) -> Self {
        let mut connection = Self {
            tuple,
            state,
            options: options.clone(),
            path,
            iss: isn.sequence,
            irs: SeqNumber(0),
            timestamps: None,
            timestamp_offset: isn.timestamp_offset,
            has_sack: false,
            has_window_scaling: false,
            send_shift: 0,
            receive_shift: 0,
            peer_mss: default_mss(&tuple),
            mss: 0,
            unacknowledged: FIRST,
            next: FIRST,
            window: 0,
            largest_window: 0,
            window_sequence: 0,
            buffer: SendBuffer::new(FIRST + 1),
            board: Scoreboard::default(),
            fin: None,
            small_end: 0,
            urgent_end: 0,
            is_more_expected: false,
            is_window_limited: false,
            congestion: Congestion::new(options.congestion, 1),
            rtt: RoundTrip::default(),
            rack: Default::default(),
            recovery: Recovery::default(),
            timers: Timers::default(),
            latest_ns: now_ns,
            received: ReceiveQueue::new(FIRST + 1),
            peer_fin: None,
            is_fin_received: false,
            promised: FIRST + 1 + u64::from(initial_window(options)),
            acknowledged: FIRST,
            acknowledging: Acknowledging {
                is_pending: false,
                is_urgent: false,
                quick: QUICK_ACKNOWLEDGEMENTS,
                is_interactive: false,
                last_challenge_ns: None,
            },
            receive_mss: 0,
            read_rate: ReadRate { since_ns: now_ns, position: FIRST + 1, bytes: 0, rtt_ns: 0 },
            urgent: Urgent::None,
            buffer_growth: BufferGrowth::Allowed,
            error: None,
            soft_error: None,
            is_read_shut: false,
            is_write_shut: false,
            is_orphan: false,
            was_established: false,
            time_wait: None,
            counters: Counters {
                last_received_ns: now_ns,
                last_ack_received_ns: now_ns,
                last_data_received_ns: now_ns,
                last_data_sent_ns: now_ns,
                ..Counters::default()
            },
            events: Events::default(),
        };
        connection.update_mss();
        connection
    }

    /// The other end's first number is known.
    pub(super) fn begin_receiving(&mut self, now_ns: u64, window: u32) {
        self.received = ReceiveQueue::new(FIRST + 1);
        self.promised = FIRST + 1 + u64::from(window);
        self.acknowledged = FIRST + 1;
        self.read_rate = ReadRate { since_ns: now_ns, position: FIRST + 1, bytes: 0, rtt_ns: 0 };
    }

    /// Works out the payload of a full segment anew.
    pub(super) fn update_mss(&mut self) {
        let announced = announced_mss(&self.tuple, self.path, &self.options);
        let mss = u32::from(self.peer_mss.max(limits::MIN_MSS).min(announced));
        let options = if self.timestamps.is_some() { TIMESTAMP_BYTES as u32 } else { 0 };
        let mss = mss.saturating_sub(options).max(u32::from(limits::MIN_MSS) - TIMESTAMP_BYTES as u32);
        if mss != self.mss {
            self.mss = mss;
            self.congestion.set_mss(mss);
        }
    }

    /// The handshake is over.
    pub(super) fn establish(&mut self, now_ns: u64) {
        self.state = State::Established;
        self.was_established = true;
        self.update_mss();
        self.receive_mss = self.mss.min(536);
        let slots = u64::from(announced_mss(&self.tuple, self.path, &self.options)) * 4;
        if let BufferSize::Automatic(bytes) = self.options.receive_buffer {
            // Some full segments at least, on paths where these are large.
            let bytes = u64::from(bytes).max(slots * 2).min(limits::RECEIVE_BUFFER[2].into());
            self.options.receive_buffer = BufferSize::Automatic(bytes as u32);
        }
        self.read_rate.since_ns = now_ns;
        self.read_rate.bytes = u64::from(self.receive_mss) * 10;
        self.grow_send_buffer();
        self.arm_keepalive(now_ns);
    }

    /// The send buffer is to hold twice the congestion window, with what Linux reckons that packets take beside their
    /// payload (`tcp_sndbuf_expand`).
    pub(super) fn grow_send_buffer(&mut self) {
        let BufferSize::Automatic(bytes) = self.options.send_buffer else { return };
        if self.buffer_growth == BufferGrowth::Stopped {
            return;
        }
        let per_segment = (u64::from(self.mss) + TIMESTAMP_BYTES as u64 + 640).next_power_of_two() + 256;
        let segments = (self.congestion.window() / u64::from(self.mss)).max(10);
        let wanted = (2 * segments * per_segment).min(limits::SEND_BUFFER[2].into()) as u32;
        if wanted > bytes {
            self.options.send_buffer = BufferSize::Automatic(wanted);
        }
    }
}
