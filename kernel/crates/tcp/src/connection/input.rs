//! What comes in (RFC 9293, 3.10.7).

use alloc::{boxed::Box, vec::Vec};

use linux_abi::Errno;
use packet::Packet;

use super::{
    Connection, Event, FIRST, IcmpError, State, Timestamping, Urgent,
    acknowledge::Acceptance,
    create::{QUICK_ACKNOWLEDGEMENTS, default_mss, initial_window},
    timer::DELAYED_ACK_NS,
};
use crate::{
    Flags, Path, Segment, SeqNumber,
    options::{BufferGrowth, BufferSize, limits},
    receive_queue::Placed,
};

/// How long a timestamp can be compared with (RFC 7323, 5.5).
const TIMESTAMP_VALID_NS: u64 = 24 * 24 * 3600 * 1_000_000_000;

/// The least that a path is believed to take: RFC 8200's minimum for IPv6, Linux's `min_pmtu` for IPv4.
fn least_mtu(is_ipv4: bool) -> u32 {
    if is_ipv4 { 552 } else { 1280 }
}

impl Connection {
    /// Takes a segment in. What is to be sent goes to `out`.
    pub fn segment(&mut self, now_ns: u64, segment: Segment, out: &mut Vec<Box<Packet>>) {
        let now_ns = self.clock(now_ns);
        self.counters.segments_in = self.counters.segments_in.wrapping_add(1);
        match self.state {
            State::Closed | State::TimeWait | State::Listen => return,
            State::SynSent => self.answer_to_syn(now_ns, segment, out),
            _ => self.synchronized(now_ns, segment, out),
        }
        self.transmit(now_ns, out);
        self.acknowledge_if_due(now_ns, out);
    }

    /// RFC 9293, 3.10.7.3.
    fn answer_to_syn(&mut self, now_ns: u64, segment: Segment, out: &mut Vec<Box<Packet>>) {
        let has_ack = segment.flags.contains(Flags::ACK);
        if has_ack && segment.acknowledgement != self.iss.add(1) {
            out.extend(crate::reset_for(&self.tuple, &segment));
            return;
        }
        if let (true, Some(timestamps), Some(_)) = (has_ack, segment.options.timestamps, self.timestamps)
            && timestamps.echo != 0
            && (self.timestamp_now(now_ns).wrapping_sub(timestamps.echo) as i32) < 0
        {
            // It echoes what we have never sent (Linux's PAWSACTIVEREJECTED).
            out.extend(crate::reset_for(&self.tuple, &segment));
            return;
        }
        if segment.flags.contains(Flags::RST) {
            if has_ack {
                self.finish(Some(Errno::ECONNREFUSED));
            }
            return;
        }
        if !segment.flags.contains(Flags::SYN) {
            return;
        }
        self.take_syn_options(now_ns, &segment);
        self.counters.last_received_ns = now_ns;
        if !has_ack {
            // Both ends have begun at the same time (RFC 9293, 3.5).
            self.state = State::SynReceived;
            self.timers.backoff = 0;
            self.send_syn(now_ns, out);
            self.arm_syn_timer(now_ns);
            return;
        }
        if self.timers.attempts == 0
            && let Some((at, _)) = self.timers.retransmit
        {
            let sent_ns = at - crate::rtt::RTO_INITIAL_NS;
            self.rtt.sample(now_ns, now_ns.saturating_sub(sent_ns));
        }
        self.take_handshake_acknowledgement(now_ns, &segment);
        self.establish(now_ns);
        self.acknowledging.is_pending = true;
        // Data that is there already can carry it (Linux waits for it only if told so, with `TCP_QUICKACK` off).
        self.acknowledging.is_urgent = self.acknowledging.quick > 0 || self.buffer.is_empty();
        if !segment.payload.is_empty() || segment.flags.contains(Flags::FIN) {
            self.take_payload(now_ns, FIRST + 1, segment.payload, segment.flags);
        }
    }

    /// The other end's SYN.
    fn take_syn_options(&mut self, now_ns: u64, segment: &Segment) {
        let options = &segment.options;
        self.irs = segment.sequence;
        self.peer_mss = options.mss.filter(|&mss| mss > 0).unwrap_or(default_mss(&self.tuple));
        match options.window_scale {
            Some(shift) => {
                self.send_shift = shift;
                self.has_window_scaling = true;
            }
            None => (self.send_shift, self.receive_shift) = (0, 0),
        }
        self.has_sack &= options.sack_permitted;
        self.timestamps = self
            .timestamps
            .and(options.timestamps)
            .map(|timestamps| Timestamping { recent: timestamps.value, recent_ns: now_ns });
        self.begin_receiving(now_ns, initial_window(&self.options).into());
        self.window = segment.window.into();
        self.largest_window = self.window;
        self.window_sequence = FIRST;
        self.update_mss();
    }

    /// Our SYN is acknowledged. The window of a SYN is never scaled (RFC 7323, 2.2).
    fn take_handshake_acknowledgement(&mut self, now_ns: u64, segment: &Segment) {
        self.unacknowledged = FIRST + 1;
        let is_syn = segment.flags.contains(Flags::SYN);
        self.window = u64::from(segment.window) << if is_syn { 0 } else { self.send_shift };
        self.largest_window = self.largest_window.max(self.window);
        self.window_sequence = self.received_position(segment.sequence);
        self.timers.retransmit = None;
        self.timers.backoff = 0;
        self.timers.attempts = 0;
        self.timers.first_attempt_ns = None;
        self.counters.last_ack_received_ns = now_ns;
    }

    /// RFC 9293, 3.10.7.4, with RFC 7323's and RFC 5961's additions.
    fn synchronized(&mut self, now_ns: u64, segment: Segment, out: &mut Vec<Box<Packet>>) {
        let start = self.received_position(segment.sequence);
        let end = start + u64::from(segment.sequence_len());
        let flags = segment.flags;
        let is_reset = flags.contains(Flags::RST);
        if self.is_too_old(now_ns, &segment) && !is_reset {
            if start < end {
                self.received.note_duplicate(start, end);
            }
            self.answer_useless(now_ns, start < end, out);
            return;
        }
        if end < self.acknowledged || start > self.promised.max(self.receive_next()) {
            if !is_reset {
                self.answer_out_of_window(now_ns, start, end, flags, out);
            }
            return;
        }
        if is_reset {
            // RFC 5961, 3.2: only the very number that is expected is believed.
            if start == self.receive_next() {
                self.take_reset();
            } else {
                self.send_challenge(now_ns, out);
            }
            return;
        }
        if flags.contains(Flags::SYN) {
            if self.state == State::SynReceived && start == FIRST {
                self.send_syn(now_ns, out);
                if !flags.contains(Flags::ACK) {
                    return;
                }
            } else {
                // RFC 5961, 4.2.
                self.send_challenge(now_ns, out);
                return;
            }
        }
        if !flags.contains(Flags::ACK) {
            return;
        }
        self.counters.last_received_ns = now_ns;
        self.timers.keepalive_probes = 0;
        self.remember_timestamp(now_ns, start, &segment);
        if self.state == State::SynReceived && !self.take_last_of_handshake(now_ns, &segment, out) {
            return;
        }
        if self.take_acknowledgement(now_ns, &segment, out) == Acceptance::Useless {
            return;
        }
        self.close_after_acknowledgement(now_ns);
        if self.state == State::Closed {
            return;
        }
        if flags.contains(Flags::URG) {
            self.take_urgent_pointer(start, segment.urgent);
        }
        // A SYN takes the first number; only simultaneous openings bring one here.
        let data_start = start + u64::from(flags.contains(Flags::SYN));
        self.measure_receiver_round_trip(now_ns, &segment);
        if end > data_start {
            self.take_data(now_ns, data_start, end, segment.payload, flags, out);
        }
    }

    /// PAWS (RFC 7323, 5.3).
    fn is_too_old(&self, now_ns: u64, segment: &Segment) -> bool {
        match (self.timestamps, segment.options.timestamps) {
            (Some(known), Some(timestamps)) => {
                (timestamps.value.wrapping_sub(known.recent) as i32) < 0
                    && now_ns - known.recent_ns < TIMESTAMP_VALID_NS
            }
            _ => false,
        }
    }

    /// RFC 7323, 4.3: the timestamp of what holds the last acknowledged number.
    fn remember_timestamp(&mut self, now_ns: u64, start: u64, segment: &Segment) {
        if let (Some(known), Some(timestamps)) = (&mut self.timestamps, segment.options.timestamps)
            && start <= self.acknowledged
        {
            (known.recent, known.recent_ns) = (timestamps.value, now_ns);
        }
    }

    fn answer_out_of_window(
        &mut self,
        now_ns: u64,
        start: u64,
        end: u64,
        flags: Flags,
        out: &mut Vec<Box<Packet>>,
    ) {
        if self.state == State::SynReceived && start == FIRST && flags.contains(Flags::SYN) {
            self.send_syn(now_ns, out);
            return;
        }
        let has_data = start < end && !flags.contains(Flags::SYN);
        if has_data && end <= self.receive_next() {
            self.received.note_duplicate(start, end);
        }
        self.answer_useless(now_ns, has_data, out);
    }

    /// Data deserves an answer each time: the other end may have lost the last one. What has none is answered rarely,
    /// or two ends could go on for ever.
    fn answer_useless(&mut self, now_ns: u64, has_data: bool, out: &mut Vec<Box<Packet>>) {
        self.acknowledging.quick = QUICK_ACKNOWLEDGEMENTS;
        if has_data {
            self.send_acknowledgement(now_ns, out);
        } else {
            self.send_challenge(now_ns, out);
        }
    }

    fn take_reset(&mut self) {
        let error = match self.state {
            State::SynReceived => Errno::ECONNREFUSED,
            State::CloseWait => Errno::EPIPE,
            _ => Errno::ECONNRESET,
        };
        self.finish(Some(error));
    }

    /// Whether the segment acknowledges our SYN; if not, it is answered with a RST.
    fn take_last_of_handshake(&mut self, now_ns: u64, segment: &Segment, out: &mut Vec<Box<Packet>>) -> bool {
        let position = self.acknowledged_position(segment.acknowledgement);
        if position <= FIRST || position > self.next {
            out.extend(crate::reset_for(&self.tuple, segment));
            return false;
        }
        self.take_handshake_acknowledgement(now_ns, segment);
        self.establish(now_ns);
        if self.fin.is_some() {
            self.state = State::FinWait1;
        }
        true
    }

    /// Text and FIN (RFC 9293, 3.10.7.4, seventh and eighth step).
    fn take_data(
        &mut self,
        now_ns: u64,
        start: u64,
        end: u64,
        payload: Box<Packet>,
        flags: Flags,
        out: &mut Vec<Box<Packet>>,
    ) {
        if self.is_fin_received {
            // Beyond the end there is nothing; what came before it was lost on its way is acknowledged again.
            self.acknowledging.is_pending = true;
            self.acknowledging.is_urgent = true;
            return;
        }
        let has_new = end - u64::from(flags.contains(Flags::FIN)) > self.receive_next();
        if has_new && (self.is_orphan || self.is_read_shut && self.state != State::Established) {
            // Nobody is ever going to read it (RFC 9293, 3.10.7.4: "if the user has closed").
            self.fail(now_ns, Errno::ECONNRESET, out);
            return;
        }
        self.take_payload(now_ns, start, payload, flags);
    }

    fn take_payload(&mut self, now_ns: u64, start: u64, mut payload: Box<Packet>, flags: Flags) {
        let fin = flags.contains(Flags::FIN).then_some(start + payload.len() as u64);
        if let Some(fin) = fin {
            // A second FIN elsewhere is a lie.
            self.peer_fin.get_or_insert(fin);
        }
        let end = self.peer_fin.map_or(self.promised, |fin| fin.min(self.promised));
        // What does not fit the window, or lies beyond the end, is cut off.
        payload.truncate(end.saturating_sub(start) as usize);
        let len = payload.len() as u64;
        self.acknowledging.is_pending = true;
        if len > 0 {
            let before = self.received.next();
            let limit = self.receive_limit();
            self.note_segment_size(&payload);
            let had_ahead = self.received.has_ahead();
            let is_ahead = start > before;
            let placed = self.received.insert(start, payload, limit);
            let saved = self.received.take_savings();
            self.events.add(Event::Collapsed, saved.collapsed);
            self.events.add(Event::AheadPruned, saved.pruned);
            match placed {
                Placed::InOrder => {
                    let gained = self.received.next() - before;
                    self.counters.bytes_received += gained;
                    self.counters.data_segments_in = self.counters.data_segments_in.wrapping_add(1);
                    self.acknowledging.is_urgent |= had_ahead;
                    self.catch_urgent_byte();
                }
                Placed::Ahead => {
                    self.counters.ahead = self.counters.ahead.wrapping_add(1);
                    self.events.note(Event::Ahead);
                    self.acknowledging.quick = QUICK_ACKNOWLEDGEMENTS;
                    self.acknowledging.is_urgent = true;
                }
                Placed::Duplicate => {
                    self.acknowledging.quick = QUICK_ACKNOWLEDGEMENTS;
                    self.acknowledging.is_urgent = true;
                }
                Placed::Dropped => {
                    self.acknowledging.is_urgent = true;
                    self.events.add(Event::AheadDropped, is_ahead.into());
                }
            }
            self.counters.last_data_received_ns = now_ns;
        } else if fin.is_none() {
            // Outside of the window, though it touched it.
            self.acknowledging.is_urgent = true;
        }
        if self.peer_fin == Some(self.received.next()) {
            self.take_fin(now_ns);
        }
    }

    /// The other end's data has ended.
    fn take_fin(&mut self, now_ns: u64) {
        self.is_fin_received = true;
        self.received.prune_ahead();
        self.acknowledging.is_pending = true;
        self.acknowledging.is_urgent = true;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            // The record answers in our place, so the FIN is acknowledged first: see `acknowledge_if_due`.
            State::FinWait2 => self.state = State::TimeWait,
            _ => {}
        }
        self.counters.last_received_ns = now_ns;
    }

    /// What the other end takes for a full segment.
    fn note_segment_size(&mut self, payload: &Packet) {
        let size = match payload.segmentation {
            Some(segmentation) => segmentation.segment_bytes.into(),
            None => payload.len() as u32,
        };
        // Not more than it may send us, whatever was put together on the way.
        self.receive_mss = self.receive_mss.max(size.min(self.mss.max(536)));
    }

    fn acknowledge_if_due(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        if self.acknowledging.is_pending || self.acknowledging.is_urgent {
            let unacknowledged = self.receive_next() - self.acknowledged;
            // Every second full segment (RFC 9293, 3.8.6.3); as many more as one call brings are one with it.
            let is_due = self.acknowledging.is_urgent
                || unacknowledged > u64::from(self.receive_mss)
                || self.acknowledging.quick > 0 && !self.acknowledging.is_interactive;
            if is_due {
                self.send_acknowledgement(now_ns, out);
            } else if self.timers.acknowledge.is_none() {
                self.timers.acknowledge = Some(now_ns + DELAYED_ACK_NS);
            }
        }
        if self.state == State::TimeWait {
            self.enter_time_wait(now_ns, State::TimeWait);
        }
    }

    /// RFC 6093: the pointer is to the byte after the urgent one, as everybody has it.
    fn take_urgent_pointer(&mut self, start: u64, pointer: u16) {
        let Some(position) = (start + u64::from(pointer)).checked_sub(1) else { return };
        if position < self.received.next() || pointer == 0 {
            return;
        }
        let known = match self.urgent {
            Urgent::None => None,
            Urgent::Announced(at) | Urgent::Here(at, _) | Urgent::Read(at) => Some(at),
        };
        if known.is_none_or(|at| position > at) {
            self.urgent = Urgent::Announced(position);
        }
    }

    fn catch_urgent_byte(&mut self) {
        if let Urgent::Announced(position) = self.urgent
            && let Some(byte) = self.received.byte_at(position)
        {
            self.urgent = Urgent::Here(position, byte);
        }
    }

    /// A receiver's round-trip time: since what it echoes was sent (dynamic right-sizing).
    fn measure_receiver_round_trip(&mut self, now_ns: u64, segment: &Segment) {
        if let (Some(_), Some(timestamps)) = (self.timestamps, segment.options.timestamps)
            && timestamps.echo != 0
            && segment.payload.len() as u32 >= self.receive_mss
        {
            let elapsed_ms = self.timestamp_now(now_ns).wrapping_sub(timestamps.echo);
            if elapsed_ms < 1 << 16 {
                let sample_ns = u64::from(elapsed_ms.max(1)) * 1_000_000;
                let known_ns = &mut self.read_rate.rtt_ns;
                *known_ns = if *known_ns == 0 || sample_ns < *known_ns {
                    sample_ns
                } else {
                    *known_ns - *known_ns / 8 + sample_ns / 8
                };
            }
        }
    }

    /// The application has read. If it reads as fast as the window allows, the buffer grows to twice what it reads in
    /// a round trip, and what that leaves for growth (Linux's `tcp_rcv_space_adjust`).
    pub(super) fn adjust_receive_buffer(&mut self, now_ns: u64) {
        let BufferSize::Automatic(bytes) = self.options.receive_buffer else { return };
        let rtt_ns = match self.read_rate.rtt_ns {
            0 => self.rtt.smoothed().unwrap_or(0),
            known => known,
        };
        if rtt_ns == 0 || now_ns - self.read_rate.since_ns < rtt_ns {
            return;
        }
        let read = self.received.read_position() - self.read_rate.position;
        let before = self.read_rate.bytes.max(1);
        if read > before {
            let window = 2 * read + 16 * u64::from(self.receive_mss);
            let growth = u128::from(window) * u128::from(read - before) / u128::from(before);
            let window = window + 2 * growth.min(u128::from(limits::RECEIVE_BUFFER[2])) as u64;
            let wanted = self.received.memory_of(window).min(limits::RECEIVE_BUFFER[2].into()) as u32;
            if wanted > bytes && self.buffer_growth == BufferGrowth::Allowed {
                self.options.receive_buffer = BufferSize::Automatic(wanted);
            }
            self.read_rate.bytes = read;
        }
        self.read_rate.since_ns = now_ns;
        self.read_rate.position = self.received.read_position();
    }

    /// An ICMP error quotes a segment of ours that began with `quoted_sequence`.
    pub fn icmp_error(
        &mut self,
        now_ns: u64,
        quoted_sequence: SeqNumber,
        error: IcmpError,
        out: &mut Vec<Box<Packet>>,
    ) {
        let now_ns = self.clock(now_ns);
        let position = self.acknowledged_position(quoted_sequence);
        // What quotes something that is not in flight is forged, or late (RFC 5927, 4.1).
        if self.state == State::Closed || position < self.unacknowledged || position >= self.next {
            return;
        }
        match error {
            IcmpError::PacketTooBig { mtu } => self.lower_mtu(now_ns, mtu, out),
            IcmpError::Unreachable { errno } => match self.state {
                State::SynSent | State::SynReceived => self.finish(Some(errno)),
                _ => self.soft_error = Some(errno),
            },
        }
    }

    fn lower_mtu(&mut self, now_ns: u64, mtu: u32, out: &mut Vec<Box<Packet>>) {
        let mtu = mtu.max(least_mtu(self.tuple.remote.is_ipv4()));
        if mtu >= self.path.mtu {
            return;
        }
        let former = u64::from(self.mss);
        self.set_path(Path { mtu, ..self.path });
        let mss = u64::from(self.mss);
        if mss < former {
            // It was not congestion: what was too big is sent again, and the windows stay (RFC 1191, 6.5).
            self.board.mark_lost_where(|sent| sent.end - sent.start > mss);
            if self.board.lost_bytes() > 0 && !self.is_repairing() {
                self.recovery.repair_without_reduction(self.next);
            }
            self.transmit(now_ns, out);
        }
    }

    /// The route has changed.
    pub fn set_path(&mut self, path: Path) {
        if path != self.path {
            self.path = path;
            self.update_mss();
        }
    }
}
