//! Acknowledgements of what we have sent.

use alloc::{boxed::Box, vec::Vec};

use arrayvec::ArrayVec;
use packet::Packet;

use super::{Connection, Event, State, recovery::Delivery};
use crate::{Flags, Segment};

/// Whether a segment is to be looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    Acceptable,
    /// It is dropped.
    Useless,
}

impl Connection {
    /// Takes the acknowledgement, the window and the selective acknowledgements of a segment (RFC 9293, 3.10.7.4,
    /// fifth step).
    pub(super) fn take_acknowledgement(
        &mut self,
        now_ns: u64,
        segment: &Segment,
        out: &mut Vec<Box<Packet>>,
    ) -> Acceptance {
        let position = self.acknowledged_position(segment.acknowledgement);
        let is_too_old = position + self.largest_window.max(1) < self.unacknowledged;
        if position > self.next || is_too_old {
            // RFC 5961, 5.2.
            self.send_challenge(now_ns, out);
            return Acceptance::Useless;
        }
        self.counters.last_ack_received_ns = now_ns;
        let was_limited = self.is_window_limited || self.is_congestion_window_used();
        let has_new_window = self.update_window(position, segment);
        let acknowledged = position.saturating_sub(self.unacknowledged);
        let mut delivery = Delivery::default();
        if acknowledged > 0 {
            self.advance(now_ns, position, &mut delivery);
        }
        let is_duplicate_told = self.has_sack && !segment.options.sack.is_empty() && {
            self.take_selective(now_ns, position, segment, &mut delivery)
        };
        let is_plain_duplicate = acknowledged == 0
            && segment.payload.is_empty()
            && !segment.flags.intersects(Flags::SYN | Flags::FIN)
            && !has_new_window
            && position == self.unacknowledged;
        if self.board.is_empty() && delivery.bytes == 0 {
            self.after_quiet_acknowledgement(now_ns, acknowledged);
            return Acceptance::Acceptable;
        }
        self.measure_round_trip(now_ns, acknowledged, &delivery, segment);
        self.settle_probe(position, is_duplicate_told, is_plain_duplicate);
        if acknowledged > 0 {
            self.undo_if_spurious(segment.options.timestamps.map(|timestamps| timestamps.echo));
        }
        if self.has_sack {
            if self.board.sacked_bytes() > 0 || self.recovery.phase != Default::default() {
                self.detect_loss(now_ns);
            } else {
                self.timers.reorder = None;
            }
        } else if is_plain_duplicate && !self.board.is_empty() {
            self.count_duplicate();
        } else if acknowledged > 0 {
            self.clear_duplicates(acknowledged);
        }
        self.counters.delivered += delivery.bytes;
        self.counters.reorderings += u32::from(delivery.has_reordering);
        self.react_to_loss();
        let delivered =
            delivery.bytes + if is_plain_duplicate && !self.has_sack { u64::from(self.mss) } else { 0 };
        self.control_congestion(now_ns, delivered, was_limited && acknowledged > 0);
        if acknowledged > 0 {
            self.after_progress(now_ns);
        }
        Acceptance::Acceptable
    }

    /// Whether the congestion window was in use so far that its size mattered (RFC 7661, as Linux's
    /// `tcp_is_cwnd_limited`): in slow start, half of it is enough.
    fn is_congestion_window_used(&self) -> bool {
        let window = self.congestion.window();
        window < self.congestion.threshold() && window < 2 * self.board.total_bytes()
    }

    /// Takes the window, unless the segment is older than the one that told it (RFC 9293, 3.10.7.4). Whether it has
    /// changed.
    fn update_window(&mut self, position: u64, segment: &Segment) -> bool {
        let sequence = self.received_position(segment.sequence);
        let window = u64::from(segment.window) << self.send_shift;
        let is_newer = position > self.unacknowledged
            || sequence > self.window_sequence
            || position == self.unacknowledged && sequence == self.window_sequence && window != self.window;
        if position < self.unacknowledged || !is_newer {
            return false;
        }
        self.window_sequence = sequence;
        let has_changed = window != self.window;
        self.window = window;
        self.largest_window = self.largest_window.max(window);
        has_changed
    }

    /// The first `position` bytes have arrived.
    fn advance(&mut self, now_ns: u64, position: u64, delivery: &mut Delivery) {
        let least_rtt_ns = self.rtt.least();
        let Self { board, rack, .. } = self;
        board.acknowledge(position, |sent| rack.delivered(now_ns, sent, least_rtt_ns, delivery));
        let data_end = self.fin.map_or(position, |fin| position.min(fin));
        self.counters.bytes_acknowledged += data_end.saturating_sub(self.buffer.start());
        self.buffer.acknowledge(data_end);
        self.unacknowledged = position;
    }

    /// Takes selective acknowledgements (RFC 2018, RFC 2883). Whether one of them tells of a duplicate.
    fn take_selective(
        &mut self,
        now_ns: u64,
        position: u64,
        segment: &Segment,
        delivery: &mut Delivery,
    ) -> bool {
        let mut is_duplicate_told = false;
        let mut blocks: ArrayVec<(u64, u64), 4> = ArrayVec::new();
        for (index, &(start, end)) in segment.options.sack.iter().enumerate() {
            let (start, end) = (self.acknowledged_position(start), self.acknowledged_position(end));
            if start >= end || end > self.next {
                continue;
            }
            let within_next = || {
                segment.options.sack.get(1).is_some_and(|&(next_start, next_end)| {
                    self.acknowledged_position(next_start) <= start
                        && end <= self.acknowledged_position(next_end)
                })
            };
            if index == 0 && (end <= position || start < position || within_next()) {
                is_duplicate_told = true;
                continue;
            }
            // In an acknowledgement that was overtaken, others may have come before.
            if end > self.unacknowledged {
                blocks.push((start.max(self.unacknowledged), end));
            }
        }
        if is_duplicate_told {
            self.events.note(Event::DuplicateTold);
            self.counters.duplicates_told = self.counters.duplicates_told.wrapping_add(1);
            self.rack.note_duplicate(self.unacknowledged, self.next);
        }
        // In order of the stream, or it would look like reordering.
        blocks.sort_unstable();
        let least_rtt_ns = self.rtt.least();
        let mss = u64::from(self.mss);
        let Self { board, rack, .. } = self;
        for (start, end) in blocks {
            board.sack(start, end, mss, |sent| rack.delivered(now_ns, sent, least_rtt_ns, delivery));
        }
        is_duplicate_told
    }

    /// RFC 6298, 3 (Karn's algorithm), RFC 7323, 4: what was sent twice is measured by its timestamp only.
    fn measure_round_trip(&mut self, now_ns: u64, acknowledged: u64, delivery: &Delivery, segment: &Segment) {
        if delivery.bytes == 0 {
            return;
        }
        if let Some(sent_ns) = delivery.first_sent_ns.filter(|_| !delivery.has_retransmitted) {
            self.rtt.sample(now_ns, now_ns - sent_ns);
            self.congestion.round_trip(now_ns - sent_ns);
        } else if acknowledged > 0
            && let Some(timestamps) = segment.options.timestamps
            && timestamps.echo != 0
            && self.timestamps.is_some()
        {
            let elapsed_ms = self.timestamp_now(now_ns).wrapping_sub(timestamps.echo);
            if elapsed_ms < 1 << 24 {
                self.rtt.sample(now_ns, u64::from(elapsed_ms).max(1) * 1_000_000);
            }
        }
    }

    /// Nothing is in flight: at most it answers a probe of the window.
    fn after_quiet_acknowledgement(&mut self, now_ns: u64, acknowledged: u64) {
        self.timers.probes = 0;
        if acknowledged > 0 {
            self.after_progress(now_ns);
        } else if self.window > 0 && self.timers.is_probing_window() {
            let window_room = (self.unacknowledged + self.window).saturating_sub(self.next);
            if window_room >= u64::from(self.mss).min(self.buffer.end().saturating_sub(self.next)) {
                self.timers.backoff = 0;
                self.timers.retransmit = None;
            }
        }
    }

    /// New data was acknowledged.
    fn after_progress(&mut self, now_ns: u64) {
        self.timers.attempts = 0;
        self.timers.backoff = 0;
        self.timers.first_attempt_ns = None;
        self.timers.probes = 0;
        self.soft_error = None;
        self.timers.retransmit_from_ns = now_ns;
        self.arm_retransmit(now_ns);
    }

    /// What acknowledging our FIN brings.
    pub(super) fn close_after_acknowledgement(&mut self, now_ns: u64) {
        if !self.is_fin_acknowledged() {
            return;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                self.await_fin_as_orphan(now_ns);
            }
            State::Closing => self.enter_time_wait(now_ns, State::TimeWait),
            State::LastAck => self.finish(None),
            _ => {}
        }
    }

    /// An orphan in FIN_WAIT2 is kept as a record only.
    pub(super) fn await_fin_as_orphan(&mut self, now_ns: u64) {
        if self.is_orphan && self.state == State::FinWait2 {
            self.enter_time_wait(now_ns, State::FinWait2);
        }
    }
}
