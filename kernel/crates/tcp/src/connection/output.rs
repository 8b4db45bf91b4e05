//! What goes out, and when.

use alloc::{boxed::Box, vec::Vec};

use arrayvec::ArrayVec;
use packet::{Packet, Segmentation, SegmentationKind};

use super::{
    Connection, Event, FIRST, State,
    create::{self, announced_mss, initial_window},
    recovery::Phase,
};
use crate::segment::{Flags, HEADER_BYTES, Header, TcpOptions, Timestamps};

/// Most payload of one packet to be cut: what an IP packet of 65,535 bytes has room for, beside the largest headers.
const LARGEST_PAYLOAD: u64 = 65_535 - 40 - 60;

/// Below this, a window is not halved to find how large segments may be (Linux's `TCP_MSS_DEFAULT`).
const TINY_WINDOW: u64 = 536;

/// How long a cork, or `MSG_MORE`, holds back less than a full segment (`tcp(7)`).
const CORK_NS: u64 = 200_000_000;

/// Small packets that may always be in flight, with `TCP_NODELAY`.
const MOST_SMALL_PACKETS: u64 = 1024;

/// How useless segments are answered at most (Linux's `tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL_NS: u64 = 500_000_000;

impl Connection {
    fn timestamps_option(&self, now_ns: u64) -> Option<Timestamps> {
        self.timestamps
            .map(|timestamps| Timestamps { value: self.timestamp_now(now_ns), echo: timestamps.recent })
    }

    /// A header for what begins at `position`, which acknowledges all that was received.
    fn header(&mut self, now_ns: u64, position: u64, flags: Flags) -> Header {
        let window = self.select_window();
        let receive_next = self.receive_next();
        self.acknowledged = receive_next;
        self.counters.segments_out = self.counters.segments_out.wrapping_add(1);
        Header {
            sequence: self.wire(position),
            acknowledgement: self.peer_wire(receive_next),
            flags: flags | Flags::ACK,
            window: self.window_field(window),
            urgent: 0,
            options: TcpOptions { timestamps: self.timestamps_option(now_ns), ..TcpOptions::default() },
        }
    }

    /// The window to be announced; its right edge never moves back, and moves on only by so much that the other end
    /// can make good use of it (RFC 9293, 3.8.6.2.2).
    fn select_window(&mut self) -> u64 {
        let next = self.receive_next();
        let current = self.promised.saturating_sub(next);
        let room = self.receive_room();
        let unit = 1_u64 << self.receive_shift;
        let whole = room / unit * unit;
        let full = self.received.payload_of(self.receive_limit());
        let least_step = u64::from(self.receive_mss.max(1)).min(full / 2).max(1);
        let window = if whole >= current + least_step {
            whole
        } else {
            // The edge stays, though it may not be expressible exactly.
            current.next_multiple_of(unit)
        };
        let window = window.min(u64::from(u16::MAX) << self.receive_shift);
        self.promised = self.promised.max(next + window);
        window
    }

    /// Payload that there is room for.
    pub(super) fn receive_room(&self) -> u64 {
        let room = self.received.room(self.receive_limit());
        match self.options.window_clamp {
            0 => room,
            clamp => room.min(clamp.into()),
        }
    }

    /// Whether announcing the window as it would be now is worth a segment of its own: it was small, and is at least
    /// twice as large (Linux's `__tcp_cleanup_rbuf`).
    pub(super) fn is_window_update_due(&self) -> bool {
        let current = self.promised.saturating_sub(self.receive_next());
        let room = self.receive_room();
        let full = self.received.payload_of(self.receive_limit());
        2 * current <= full && room >= (2 * current).max(u64::from(self.receive_mss).min(full / 2)).max(1)
    }

    /// Sends the SYN, or the SYN with an acknowledgement if the other end's has come.
    pub(super) fn send_syn(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let is_answer = self.state == State::SynReceived;
        let announced = announced_mss(&self.tuple, self.path, &self.options);
        let scale = self.receive_shift;
        let header = Header {
            sequence: self.iss,
            acknowledgement: if is_answer { self.peer_wire(self.receive_next()) } else { Default::default() },
            flags: if is_answer { Flags::SYN | Flags::ACK } else { Flags::SYN },
            window: initial_window(&self.options),
            urgent: 0,
            options: TcpOptions {
                mss: Some(announced),
                window_scale: (!is_answer || self.has_window_scaling).then_some(scale),
                sack_permitted: self.has_sack,
                timestamps: self.timestamps_option(now_ns),
                sack: ArrayVec::new(),
            },
        };
        self.counters.segments_out = self.counters.segments_out.wrapping_add(1);
        out.push(header.packet(&self.tuple));
    }

    /// Sends an acknowledgement without data.
    pub(super) fn send_acknowledgement(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        self.send_bare(now_ns, self.next, out);
        self.acknowledging.is_pending = false;
        self.acknowledging.is_urgent = false;
        self.acknowledging.quick = self.acknowledging.quick.saturating_sub(1);
        self.timers.acknowledge = None;
    }

    /// Sends an acknowledgement that seems to come from `position`.
    pub(super) fn send_bare(&mut self, now_ns: u64, position: u64, out: &mut Vec<Box<Packet>>) {
        let mut header = self.header(now_ns, position, Flags::empty());
        if self.has_sack && self.received.has_sack_ranges() {
            let room = if self.timestamps.is_some() { 3 } else { 4 };
            let (irs, first) = (self.irs, FIRST);
            let wire = |position: u64| irs.add(position.wrapping_sub(first) as u32);
            header.options.sack = self
                .received
                .take_sack_ranges()
                .take(room)
                .map(|(start, end)| (wire(start), wire(end)))
                .collect();
        }
        out.push(header.packet(&self.tuple));
    }

    /// Answers something useless, but not too often (RFC 5961, 7; RFC 9293, 3.10.7.4).
    pub(super) fn send_challenge(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let last = self.acknowledging.last_challenge_ns;
        if last.is_none_or(|last| now_ns - last >= CHALLENGE_INTERVAL_NS) {
            self.acknowledging.last_challenge_ns = Some(now_ns);
            self.events.note(Event::Challenge);
            self.send_acknowledgement(now_ns, out);
        }
    }

    pub(super) fn send_reset(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let header = self.header(now_ns, self.next, Flags::RST);
        out.push(header.packet(&self.tuple));
    }

    /// Sends what may be sent: first what was lost, then what is new.
    pub(super) fn transmit(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        if !matches!(
            self.state,
            State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck
        ) {
            return;
        }
        if self.board.lost_bytes() > 0 {
            self.retransmit_lost(now_ns, out);
        }
        self.send_new(now_ns, out);
    }

    /// Bytes that the congestion window lets go out.
    fn congestion_room(&self) -> u64 {
        let in_flight = self.board.in_flight().saturating_sub(self.recovery.duplicate_bytes());
        self.congestion.window().saturating_sub(in_flight)
    }

    fn retransmit_lost(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let mss = u64::from(self.mss);
        while let Some(lost) = self.board.first_lost() {
            let room = self.congestion_room();
            // The window may have been taken back; its first byte can be tried.
            let window_end = self.unacknowledged + self.window;
            if room < mss.min(lost.end - lost.start)
                || lost.start >= window_end && lost.start != self.unacknowledged
            {
                return;
            }
            let most = (room / mss * mss).max(mss).min(self.largest_payload());
            if self.send_again(now_ns, lost.start, lost.end.min(lost.start + most), out) == lost.start {
                return;
            }
        }
    }

    /// Sends the bytes of `start..end`, which were sent before, as one packet. Returns where that ended.
    pub(super) fn send_again(
        &mut self,
        now_ns: u64,
        start: u64,
        end: u64,
        out: &mut Vec<Box<Packet>>,
    ) -> u64 {
        let stop = self.send_data(now_ns, start, end, out);
        if stop > start {
            self.board.retransmit(start, stop, now_ns);
            self.recovery.note_retransmission(self.timestamp_now(now_ns));
            self.recovery.note_sent(stop - start);
            let segments = (stop - start).div_ceil(u64::from(self.mss).max(1)) as u32;
            self.counters.retransmissions = self.counters.retransmissions.wrapping_add(segments);
            self.events.add(Event::Retransmitted, segments);
            self.counters.bytes_retransmitted += stop - start;
        }
        stop
    }

    fn largest_payload(&self) -> u64 {
        let mss = u64::from(self.mss);
        if self.path.segmentation_offload { (LARGEST_PAYLOAD / mss * mss).max(mss) } else { mss }
    }

    /// Payload of a segment that makes good use of the window: with tiny windows, half of the largest that there was
    /// (RFC 9293, 3.8.6.2.1).
    fn useful_segment(&self) -> u64 {
        let mss = u64::from(self.mss);
        match self.largest_window {
            0 => mss,
            largest if largest > TINY_WINDOW => mss.min(largest / 2),
            largest => mss.min(largest),
        }
    }

    fn send_new(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        self.is_window_limited = false;
        self.timers.cork = None;
        let end = self.buffer.end();
        let segment = self.useful_segment();
        while self.has_unsent_data_or_fin() {
            let unsent = end.saturating_sub(self.next);
            let window_room = (self.unacknowledged + self.window).saturating_sub(self.next);
            if unsent == 0 {
                // Only the FIN is left, which the congestion window does not hold back.
                if window_room == 0 || !self.send_part(now_ns, end, out) {
                    break;
                }
                continue;
            }
            let congestion_room = self.congestion_room();
            let largest = if segment < self.mss.into() { segment } else { self.largest_payload() };
            let most = unsent.min(window_room).min(congestion_room).min(largest);
            let whole = most / segment * segment;
            let len = if most == unsent && whole < most && !self.may_send_small() {
                if self.is_corked() {
                    self.timers.cork = Some(now_ns + CORK_NS);
                }
                whole
            } else if most == unsent {
                most
            } else {
                self.is_window_limited |= congestion_room < unsent.min(window_room);
                whole
            };
            if len == 0 || !self.send_part(now_ns, self.next + len, out) {
                break;
            }
        }
        self.arm_after_sending(now_ns);
    }

    /// Whether there is something that was never sent.
    pub(super) fn has_unsent_data_or_fin(&self) -> bool {
        self.next < self.buffer.end() || self.fin.is_some_and(|fin| self.next <= fin)
    }

    fn is_corked(&self) -> bool {
        (self.options.cork || self.is_more_expected) && self.fin.is_none() && self.urgent_end <= self.next
    }

    /// Whether less than a full segment may go out, if it is all there is (RFC 9293, 3.7.4, with Minshall's
    /// variation: only another small segment in flight holds it back).
    fn may_send_small(&self) -> bool {
        if self.is_corked() {
            return false;
        }
        self.options.nodelay && self.may_send_one_more()
            || self.fin.is_some()
            || self.urgent_end > self.next
            || self.board.is_empty()
            || self.small_end <= self.unacknowledged
    }

    /// Whether small packets in flight are not too many: what does not go out at once goes out together. Linux counts
    /// its congestion window in packets, and is stricter.
    fn may_send_one_more(&self) -> bool {
        let window = self.congestion.window() / u64::from(self.mss).max(1);
        (self.board.records() as u64) < window.max(MOST_SMALL_PACKETS)
    }

    /// Sends new data up to `end`, and the FIN if it follows. Whether anything went out.
    fn send_part(&mut self, now_ns: u64, end: u64, out: &mut Vec<Box<Packet>>) -> bool {
        let start = self.next;
        if self.board.is_empty() && start == self.unacknowledged {
            self.restart_after_idling(now_ns);
        }
        let fin_position = match self.fin {
            Some(fin) if fin == end => fin + 1,
            _ => end,
        };
        let stop = self.send_data(now_ns, start, fin_position, out);
        if stop == start {
            return false;
        }
        self.next = stop;
        if !(stop - start).is_multiple_of(u64::from(self.mss)) {
            self.small_end = stop;
        }
        self.board.send(start, stop, now_ns);
        self.recovery.note_sent(stop - start);
        true
    }

    /// Sends a small part though the window is smaller than a useful segment: a probe with data.
    pub(super) fn send_window_probe(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let window_room = (self.unacknowledged + self.window).saturating_sub(self.next);
        let unsent = self.buffer.end().saturating_sub(self.next);
        let len = window_room.min(unsent).min(self.mss.into());
        if len == 0 || !self.send_part(now_ns, self.next + len, out) {
            // An old number: whoever gets it answers with what it waits for, and its window.
            self.send_bare(now_ns, self.unacknowledged - 1, out);
        }
    }

    /// Sends one full segment beyond the congestion window: a tail-loss probe of new data. Whether there was any.
    pub(super) fn send_probe_segment(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) -> bool {
        let window_room = (self.unacknowledged + self.window).saturating_sub(self.next);
        let unsent = self.buffer.end().saturating_sub(self.next);
        let len = window_room.min(unsent).min(self.mss.into());
        len > 0 && self.send_part(now_ns, self.next + len, out)
    }

    /// Puts the bytes of `start..end` into a packet; the FIN's position stands for the FIN. Returns where that ended.
    fn send_data(&mut self, now_ns: u64, start: u64, end: u64, out: &mut Vec<Box<Packet>>) -> u64 {
        let mss = u64::from(self.mss);
        let data_end = end.min(self.buffer.end());
        let mut packet = Box::new(Packet::new());
        let mut stop = start;
        if start < data_end {
            stop = self.buffer.copy_to(start, data_end, &mut packet);
            if stop < data_end && stop - start > mss {
                // Fragments ran out: whole segments only.
                stop = start + (stop - start) / mss * mss;
                packet.truncate((stop - start) as usize);
            }
        }
        let mut flags = Flags::empty();
        if stop == self.buffer.end() && stop > start {
            flags |= Flags::PSH;
        }
        let payload = stop - start;
        if stop == data_end && end > data_end {
            flags |= Flags::FIN;
            stop = end;
        }
        if stop == start {
            return stop;
        }
        let mut header = self.header(now_ns, start, flags);
        if self.urgent_end > start {
            header.flags |= Flags::URG;
            header.urgent = (self.urgent_end - start).min(u64::from(u16::MAX)) as u16;
        }
        header.put_on(&self.tuple, &mut packet);
        if payload > mss {
            let options = header.options.timestamps.map_or(0, |_| crate::segment::TIMESTAMP_BYTES);
            packet.segmentation = Some(Segmentation {
                kind: if create::ip_header_bytes(&self.tuple) == 20 {
                    SegmentationKind::Tcp4
                } else {
                    SegmentationKind::Tcp6
                },
                // Not above 65,495, as no MSS is.
                segment_bytes: mss as u16,
                header_bytes: (HEADER_BYTES + options) as u16,
            });
        }
        out.push(packet);
        self.counters.data_segments_out = self.counters.data_segments_out.wrapping_add(1);
        self.counters.bytes_sent += payload;
        self.note_data_sent(now_ns);
        stop
    }

    /// Data carries the acknowledgement that was owed.
    fn note_data_sent(&mut self, now_ns: u64) {
        self.counters.last_data_sent_ns = now_ns;
        if self.acknowledging.is_pending {
            self.acknowledging.quick = self.acknowledging.quick.saturating_sub(1);
        }
        self.acknowledging.is_pending = false;
        self.timers.acknowledge = None;
        // What came shortly before was a question to this answer: the next may wait for its answer, too.
        if now_ns - self.counters.last_data_received_ns < super::timer::DELAYED_ACK_NS {
            self.acknowledging.is_interactive = true;
        }
        // What tells of gaps has no room beside data.
        self.acknowledging.is_urgent &= self.received.has_sack_ranges();
    }

    fn restart_after_idling(&mut self, now_ns: u64) {
        let idle_ns = now_ns - self.counters.last_data_sent_ns;
        let timeout_ns = self.rtt.timeout(0);
        if idle_ns > timeout_ns && self.recovery.phase == Phase::Open && self.counters.data_segments_out > 0 {
            self.congestion.idle(idle_ns, timeout_ns);
        }
    }
}
