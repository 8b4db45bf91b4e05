//! Finding out what was lost, and how fast to send it again: RACK (RFC 8985) with SACK, duplicate acknowledgements
//! (RFC 6582) without, proportional rate reduction (RFC 6937), and undoing what turns out not to have been a loss
//! (RFC 3522's timestamps).

use super::{Connection, Event, timer::Retransmit};
use crate::{
    congestion::{Acknowledgement, Before},
    scoreboard::Fate,
};

/// Duplicate acknowledgements, or segments acknowledged selectively, that mean a loss.
const DUPLICATE_THRESHOLD: u64 = 3;

/// How the connection stands with losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// There are none that are known.
    #[default]
    Open,
    /// Some are being repaired while acknowledgements come in.
    Recovery,
    /// The retransmission timer has expired.
    Loss,
}

/// A repair that is under way.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    pub(super) phase: Phase,
    /// It is over when this is acknowledged.
    pub(super) point: u64,
    /// Bytes that came through since it began (RFC 6937: prr_delivered), and that were sent (prr_out).
    delivered: u64,
    sent: u64,
    /// Bytes in flight when it began (RecoverFS).
    flight: u64,
    undo: Option<Undo>,
    /// Duplicate acknowledgements, without SACK, since the last that was none, and what they stand for.
    duplicates: u64,
    duplicate_bytes: u64,
    /// A tail-loss probe that was sent: where it ended, and whether it was a retransmission.
    pub(super) probe: Option<(u64, ProbeKind)>,
}

/// What a tail-loss probe carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeKind {
    NewData,
    Retransmission,
}

#[derive(Debug)]
struct Undo {
    before: Before,
    /// Timestamp of the first retransmission, once there was one.
    first_timestamp: Option<u32>,
}

impl Recovery {
    /// What duplicate acknowledgements say has left the network.
    pub(super) fn duplicate_bytes(&self) -> u64 {
        self.duplicate_bytes
    }

    pub(super) fn note_retransmission(&mut self, timestamp: u32) {
        if let Some(undo) = &mut self.undo {
            undo.first_timestamp.get_or_insert(timestamp);
        }
    }

    pub(super) fn note_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    fn begin(&mut self, phase: Phase, point: u64, flight: u64, before: Option<Before>) {
        if let Some(before) = before {
            self.undo = Some(Undo { before, first_timestamp: None });
        }
        self.phase = phase;
        self.point = point;
        (self.delivered, self.sent, self.flight) = (0, 0, flight.max(1));
        self.probe = None;
    }

    /// What is lost was not lost to congestion, and the window stays: like after a time-out, but without its
    /// reduction.
    pub(super) fn repair_without_reduction(&mut self, point: u64) {
        self.begin(Phase::Loss, point, 0, None);
    }

    fn end(&mut self) {
        self.phase = Phase::Open;
        self.undo = None;
    }
}

/// The most recently sent segment that has arrived, and what follows from it (RFC 8985, 5.2).
#[derive(Debug, Default)]
pub(super) struct Rack {
    sent_ns: u64,
    end: u64,
    pub(super) rtt_ns: u64,
    /// The highest position that was delivered (RACK.fack).
    highest: u64,
    pub(super) has_reordering: bool,
    window_multiplier: u64,
    /// Recoveries that a wider window still lasts for.
    window_persists: u8,
    /// The window was widened for duplicates of what was sent up to here.
    duplicate_round: u64,
}

/// What an acknowledgement has delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivery {
    pub(super) bytes: u64,
    /// When the oldest of what was sent once only was sent, for the round-trip time.
    pub(super) first_sent_ns: Option<u64>,
    pub(super) has_retransmitted: bool,
    pub(super) has_reordering: bool,
}

impl Rack {
    /// Something has arrived that was sent at `sent_ns` (RFC 8985, 6.2, step 2).
    pub(super) fn delivered(
        &mut self,
        now_ns: u64,
        sent: &crate::scoreboard::Sent,
        least_rtt_ns: Option<u64>,
        delivery: &mut Delivery,
    ) {
        delivery.bytes += sent.end - sent.start;
        let rtt_ns = now_ns.saturating_sub(sent.sent_ns);
        if sent.retransmitted {
            delivery.has_retransmitted = true;
            // It may be the original that has arrived.
            if least_rtt_ns.is_some_and(|least| rtt_ns < least) {
                return;
            }
        } else {
            delivery.first_sent_ns =
                Some(delivery.first_sent_ns.map_or(sent.sent_ns, |first| first.min(sent.sent_ns)));
            if sent.end < self.highest {
                self.has_reordering = true;
                delivery.has_reordering = true;
            }
        }
        self.highest = self.highest.max(sent.end);
        self.rtt_ns = rtt_ns;
        if (sent.sent_ns, sent.end) > (self.sent_ns, self.end) {
            (self.sent_ns, self.end) = (sent.sent_ns, sent.end);
        }
    }

    /// What we have sent came twice: reordering is wider than it was taken for (RFC 8985, 6.2, step 4).
    pub(super) fn note_duplicate(&mut self, acknowledged: u64, next: u64) {
        if acknowledged >= self.duplicate_round {
            self.duplicate_round = next;
            self.window_multiplier += 1;
            self.window_persists = 16;
        }
    }

    /// A repair is over.
    fn recovery_ended(&mut self) {
        self.window_persists = self.window_persists.saturating_sub(1);
        if self.window_persists == 0 {
            self.window_multiplier = 0;
        }
    }
}

impl Connection {
    /// How long a segment may be overtaken (RACK_update_reo_wnd).
    fn reordering_window(&self) -> u64 {
        let seen = self.board.sacked_bytes() / u64::from(self.mss).max(1);
        if !self.rack.has_reordering && (self.recovery.phase != Phase::Open || seen >= DUPLICATE_THRESHOLD) {
            return 0;
        }
        let quarter = self.rtt.least().unwrap_or(0) / 4;
        (quarter * (1 + self.rack.window_multiplier)).min(self.rtt.smoothed().unwrap_or(0))
    }

    /// Takes for lost what was sent well before something that has arrived (RACK_detect_loss). Sets the timer for what
    /// is not decided yet.
    pub(super) fn detect_loss(&mut self, now_ns: u64) -> bool {
        let (sent_ns, end) = (self.rack.sent_ns, self.rack.end);
        let patience_ns = self.rack.rtt_ns + self.reordering_window();
        let (oldest, any) = self.board.mark_lost_by_time(|at_ns, at_end| {
            (at_ns, at_end) < (sent_ns, end) && now_ns >= at_ns + patience_ns
        });
        self.timers.reorder =
            oldest.filter(|&oldest| oldest < (sent_ns, end)).map(|(at_ns, _)| at_ns + patience_ns);
        any
    }

    /// Goes into recovery if there is a loss, and is not there yet.
    pub(super) fn react_to_loss(&mut self) {
        if self.board.lost_bytes() > 0 && self.recovery.phase == Phase::Open {
            self.enter_recovery();
        }
    }

    fn enter_recovery(&mut self) {
        self.events.note(if self.has_sack { Event::SackRecovery } else { Event::RenoRecovery });
        let before = self.congestion.reduce();
        self.recovery.begin(Phase::Recovery, self.next, self.board.total_bytes(), Some(before));
    }

    /// A duplicate acknowledgement came, and there is no SACK (RFC 6582).
    pub(super) fn count_duplicate(&mut self) {
        let mss = u64::from(self.mss);
        self.recovery.duplicates += 1;
        let most = self.board.total_bytes().saturating_sub(mss);
        self.recovery.duplicate_bytes = (self.recovery.duplicate_bytes + mss).min(most);
        if self.recovery.duplicates == DUPLICATE_THRESHOLD
            && self.recovery.phase == Phase::Open
            && self.unacknowledged >= self.recovery.point
        {
            self.board.mark_first_lost(mss);
            self.react_to_loss();
        }
    }

    /// Data was acknowledged, and there is no SACK.
    pub(super) fn clear_duplicates(&mut self, acknowledged: u64) {
        self.recovery.duplicates = 0;
        if self.recovery.phase == Phase::Recovery && self.unacknowledged < self.recovery.point {
            // A partial acknowledgement: the next hole begins here. What filled up to it had left already.
            let mss = u64::from(self.mss);
            self.recovery.duplicate_bytes =
                self.recovery.duplicate_bytes.saturating_sub(acknowledged.saturating_sub(mss));
            self.board.mark_first_lost(mss);
        } else {
            self.recovery.duplicate_bytes = 0;
        }
    }

    /// Moves the congestion window after an acknowledgement that delivered something, or found a loss.
    /// `may_grow` says that more would have been sent if the window were larger, and that the first byte that was
    /// missing has come.
    pub(super) fn control_congestion(&mut self, now_ns: u64, delivered: u64, may_grow: bool) {
        if self.recovery.phase != Phase::Open && self.unacknowledged >= self.recovery.point {
            if self.recovery.phase == Phase::Recovery {
                self.congestion.set_window(self.congestion.threshold());
            }
            self.recovery.end();
            self.rack.recovery_ended();
            return;
        }
        match self.recovery.phase {
            Phase::Recovery => self.reduce_proportionally(delivered),
            _ if delivered > 0 && may_grow => {
                let rtt_ns = self.rtt.smoothed().unwrap_or(0);
                self.congestion.acknowledged(Acknowledgement {
                    now_ns,
                    bytes: delivered,
                    position: self.unacknowledged,
                    next: self.next,
                    rtt_ns,
                });
                self.grow_send_buffer();
            }
            _ => {}
        }
    }

    /// RFC 6937, 3.1.
    fn reduce_proportionally(&mut self, delivered: u64) {
        let mss = u64::from(self.mss);
        let threshold = self.congestion.threshold();
        let in_flight = self.board.in_flight().saturating_sub(self.recovery.duplicate_bytes);
        let recovery = &mut self.recovery;
        recovery.delivered += delivered;
        let may_send = if in_flight > threshold {
            let share = u128::from(recovery.delivered) * u128::from(threshold);
            (share.div_ceil(u128::from(recovery.flight)) as u64).saturating_sub(recovery.sent)
        } else {
            let limit = recovery.delivered.saturating_sub(recovery.sent).max(delivered) + mss;
            limit.min(threshold - in_flight)
        };
        // The first retransmission is not held back.
        let may_send = if recovery.sent == 0 { may_send.max(mss) } else { may_send };
        self.congestion.set_window(in_flight + may_send);
    }

    /// The first new acknowledgement echoes a timestamp from before the first retransmission: it was for the
    /// original, which was late but not lost (RFC 3522, RFC 4015).
    pub(super) fn undo_if_spurious(&mut self, echo: Option<u32>) {
        let Some(undo) = &self.recovery.undo else { return };
        if let (Some(echo), Some(first)) = (echo.filter(|&echo| echo != 0), undo.first_timestamp)
            && (echo.wrapping_sub(first) as i32) < 0
        {
            self.events.note(Event::Undone);
            self.congestion.undo(undo.before);
            self.board.unmark_lost();
            self.recovery.end();
            self.recovery.duplicate_bytes = 0;
            self.rack.has_reordering = true;
        } else if undo.first_timestamp.is_some() {
            // Later acknowledgements say nothing about the first retransmission.
            self.recovery.undo = None;
        }
    }

    /// The retransmission timer has expired (RFC 8985, 6.3; RFC 5681, 3.1).
    pub(super) fn enter_loss(&mut self, now_ns: u64) {
        let is_first = self.recovery.phase != Phase::Loss || self.timers.attempts == 0;
        let before = is_first.then(|| self.congestion.reduce());
        // The first byte is missing and yet acknowledged selectively: it was dropped after all.
        let has_reneged = self.board.first().is_some_and(|first| first.fate == Fate::Sacked);
        if has_reneged {
            self.events.note(Event::Reneged);
            self.board.renege();
        }
        if self.has_sack && !has_reneged {
            let first = self.unacknowledged;
            let patience_ns = self.rack.rtt_ns + self.reordering_window();
            self.board.mark_lost_where(|sent| sent.start == first || now_ns >= sent.sent_ns + patience_ns);
        } else {
            self.board.mark_lost_where(|_| true);
        }
        (self.recovery.duplicates, self.recovery.duplicate_bytes) = (0, 0);
        self.recovery.begin(Phase::Loss, self.next, self.board.total_bytes(), before);
        self.timers.reorder = None;
        self.congestion.set_window(self.board.in_flight() + u64::from(self.mss));
    }

    /// Takes note of what an acknowledgement says about a tail-loss probe (RFC 8985, 7.4.2).
    pub(super) fn settle_probe(&mut self, position: u64, is_duplicate_told: bool, is_plain_duplicate: bool) {
        let Some((end, kind)) = self.recovery.probe else { return };
        if position < end {
            return;
        }
        match kind {
            ProbeKind::NewData => self.recovery.probe = None,
            // The original had arrived, too.
            ProbeKind::Retransmission if is_duplicate_told || is_plain_duplicate && position == end => {
                self.recovery.probe = None;
            }
            ProbeKind::Retransmission if position > end => {
                // Only the probe has arrived: there was a loss, which it has repaired.
                self.recovery.probe = None;
                if self.recovery.phase == Phase::Open {
                    self.congestion.reduce();
                    self.congestion.set_window(self.congestion.threshold());
                }
            }
            ProbeKind::Retransmission => {}
        }
    }

    /// When to send a tail-loss probe, if one is of use (RFC 8985, 7.2).
    pub(super) fn probe_deadline(&self, now_ns: u64) -> Option<(u64, Retransmit)> {
        let is_possible = self.has_sack
            && self.recovery.phase == Phase::Open
            && self.recovery.probe.is_none()
            && self.board.sacked_bytes() == 0
            && self.board.lost_bytes() == 0
            && self.timers.attempts == 0;
        let smoothed_ns = self.rtt.smoothed().filter(|_| is_possible)?;
        // A single segment may wait for a delayed acknowledgement.
        let is_single = self.board.total_bytes() <= u64::from(self.mss);
        let slack_ns = if is_single { crate::rtt::RTO_MIN_NS } else { 2_000_000 };
        Some((now_ns + 2 * smoothed_ns + slack_ns, Retransmit::Probe))
    }
}
