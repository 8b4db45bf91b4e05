//! Timers.

use alloc::{boxed::Box, vec::Vec};

use linux_abi::Errno;
use packet::Packet;

use super::{
    Connection, Event, State,
    recovery::{Phase, ProbeKind},
};
use crate::rtt::{RTO_MAX_NS, RTO_MIN_NS};

/// How long an acknowledgement may wait for data to go with (Linux's `TCP_DELACK_MIN`).
pub(super) const DELAYED_ACK_NS: u64 = 40_000_000;

/// Retransmissions before a connection is given up: `net.ipv4.tcp_retries2`.
const RETRIES: u8 = 15;
/// The same for orphans (`net.ipv4.tcp_orphan_retries`, where 0 means 8).
const ORPHAN_RETRIES: u8 = 8;
/// SYN-ACKs that are sent again: `net.ipv4.tcp_synack_retries`.
pub(crate) const SYN_ACK_RETRIES: u8 = 5;

/// What the retransmission timer does when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retransmit {
    /// Sends the SYN again.
    Syn,
    /// Takes what is in flight for lost.
    Timeout,
    /// Sends a tail-loss probe.
    Probe,
    /// Asks for the window.
    Window,
}

/// When what is due, and how often it was.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pub(super) retransmit: Option<(u64, Retransmit)>,
    /// RACK decides on what may only be late.
    pub(super) reorder: Option<u64>,
    pub(super) acknowledge: Option<u64>,
    pub(super) keepalive: Option<u64>,
    pub(super) cork: Option<u64>,
    /// Since when the retransmission time-out runs.
    pub(super) retransmit_from_ns: u64,
    /// Doublings of the time-out.
    pub(super) backoff: u8,
    /// Time-outs since the last progress.
    pub(super) attempts: u8,
    pub(super) first_attempt_ns: Option<u64>,
    /// Probes of the window, or of the other end's life, that were not answered.
    pub(super) probes: u8,
    pub(super) keepalive_probes: u8,
    /// Since when the window has kept data back.
    pub(super) probing_since_ns: u64,
}

impl Timers {
    pub(super) fn is_probing_window(&self) -> bool {
        matches!(self.retransmit, Some((_, Retransmit::Window)))
    }
}

/// How long `retries` retransmissions take from the first on, with the least time-out (Linux's
/// `tcp_model_timeout`).
fn patience_ns(retries: u8) -> u64 {
    const LINEAR_FROM: u8 = 9;
    let doubling = retries.min(LINEAR_FROM);
    let linear = retries - doubling;
    ((2 << doubling) - 1) * RTO_MIN_NS + u64::from(linear) * RTO_MAX_NS
}

impl Connection {
    /// When [`poll`](Self::poll) is next to be called.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        // Written out, as it is asked for after each turn.
        let timers = &self.timers;
        let never = u64::MAX;
        let first = timers
            .retransmit
            .map_or(never, |(at, _)| at)
            .min(timers.reorder.unwrap_or(never))
            .min(timers.acknowledge.unwrap_or(never))
            .min(timers.keepalive.unwrap_or(never))
            .min(timers.cork.unwrap_or(never));
        (first != never).then_some(first)
    }

    /// Does what is due: retransmission, probes, delayed acknowledgements, time-outs.
    pub fn poll(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let now_ns = self.clock(now_ns);
        let is_due = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now_ns);
        if is_due(self.timers.acknowledge) {
            // Nobody has answered in time: the next acknowledgements need not wait.
            self.acknowledging.is_interactive = false;
            self.events.note(Event::AcknowledgementDelayed);
            self.send_acknowledgement(now_ns, out);
        }
        if is_due(self.timers.cork) {
            self.push_held_back(now_ns, out);
        }
        if is_due(self.timers.reorder) {
            self.timers.reorder = None;
            if self.detect_loss(now_ns) {
                self.react_to_loss();
                self.control_congestion(now_ns, 0, false);
                self.transmit(now_ns, out);
            }
        }
        if let Some((at, kind)) = self.timers.retransmit
            && at <= now_ns
        {
            self.timers.retransmit = None;
            match kind {
                Retransmit::Syn => self.retransmit_syn(now_ns, out),
                Retransmit::Timeout => self.retransmit_after_timeout(now_ns, out),
                Retransmit::Probe => self.probe_tail(now_ns, out),
                Retransmit::Window => self.probe_window(now_ns, out),
            }
        }
        if is_due(self.timers.keepalive) {
            self.timers.keepalive = None;
            self.keep_alive(now_ns, out);
        }
    }

    /// The cork has held back long enough.
    fn push_held_back(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        self.timers.cork = None;
        self.is_more_expected = false;
        let cork = core::mem::replace(&mut self.options.cork, false);
        let nodelay = core::mem::replace(&mut self.options.nodelay, true);
        self.transmit(now_ns, out);
        (self.options.cork, self.options.nodelay) = (cork, nodelay);
    }

    pub(super) fn arm_syn_timer(&mut self, now_ns: u64) {
        let timeout_ns = self.rtt.timeout(self.timers.backoff).max(crate::rtt::RTO_INITIAL_NS);
        self.timers.retransmit = Some((now_ns + timeout_ns, Retransmit::Syn));
    }

    fn retransmit_syn(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let retries = if self.state == State::SynSent { self.options.syn_retries } else { SYN_ACK_RETRIES };
        let first_ns = *self.timers.first_attempt_ns.get_or_insert(now_ns);
        let user_ns = u64::from(self.options.user_timeout_ms) * 1_000_000;
        if self.timers.attempts >= retries || user_ns > 0 && now_ns - first_ns >= user_ns {
            return self.time_out(now_ns, out);
        }
        self.timers.attempts += 1;
        self.timers.backoff = self.timers.backoff.saturating_add(1);
        self.events.note(Event::SynRetransmitted);
        self.events.note(Event::Retransmitted);
        self.send_syn(now_ns, out);
        self.arm_syn_timer(now_ns);
    }

    /// The other end is gone.
    fn time_out(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let error = self.soft_error.take().unwrap_or(Errno::ETIMEDOUT);
        self.events.note(Event::GivenUp);
        // Linux says nothing more to whom it takes for dead, except for orphans, and after keep-alive.
        if self.is_orphan && self.state != State::SynSent {
            self.send_reset(now_ns, out);
        }
        self.finish(Some(error));
    }

    /// Sets the retransmission timer for what is in flight.
    pub(super) fn arm_retransmit(&mut self, now_ns: u64) {
        if self.board.is_empty() {
            if !self.timers.is_probing_window() {
                self.timers.retransmit = None;
            }
            return;
        }
        let timeout =
            (self.timers.retransmit_from_ns + self.rtt.timeout(self.timers.backoff), Retransmit::Timeout);
        self.timers.retransmit = match self.probe_deadline(now_ns) {
            Some(probe) if probe.0 < timeout.0 => Some(probe),
            _ => Some(timeout),
        };
    }

    /// Sets the timer after sending, or having found that nothing can be sent.
    pub(super) fn arm_after_sending(&mut self, now_ns: u64) {
        if self.board.is_empty() {
            let window_room = (self.unacknowledged + self.window).saturating_sub(self.next);
            let unsent = self.buffer.end().saturating_sub(self.next).max(1);
            let is_held_by_window = window_room < unsent.min(self.mss.into());
            if !self.has_unsent_data_or_fin() || !is_held_by_window {
                if self.timers.is_probing_window() {
                    self.timers.retransmit = None;
                }
            } else if !self.timers.is_probing_window() {
                self.timers.probing_since_ns = now_ns;
                self.arm_window_probe(now_ns);
            }
            return;
        }
        match self.timers.retransmit {
            // The time-out runs since the oldest was sent; a probe is put off by each that is sent.
            Some((_, Retransmit::Timeout)) => {}
            Some((_, Retransmit::Probe)) => self.arm_retransmit(now_ns),
            _ => {
                self.timers.retransmit_from_ns = now_ns;
                self.arm_retransmit(now_ns);
            }
        }
    }

    fn retransmit_after_timeout(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let Some(first) = self.board.first().copied() else { return };
        let since_ns = *self.timers.first_attempt_ns.get_or_insert(first.sent_ns);
        if now_ns - since_ns >= self.patience(RETRIES) {
            return self.time_out(now_ns, out);
        }
        self.events.note(Event::Timeout);
        self.enter_loss(now_ns);
        self.timers.attempts = self.timers.attempts.saturating_add(1);
        self.timers.backoff = self.timers.backoff.saturating_add(1);
        let end = first.end.min(first.start + u64::from(self.mss));
        self.send_again(now_ns, first.start, end, out);
        self.timers.retransmit_from_ns = now_ns;
        self.arm_retransmit(now_ns);
    }

    /// How long to go on without progress.
    fn patience(&self, retries: u8) -> u64 {
        match self.options.user_timeout_ms {
            _ if self.is_orphan => patience_ns(ORPHAN_RETRIES),
            0 => patience_ns(retries),
            set => u64::from(set) * 1_000_000,
        }
    }

    /// Sends something so that an acknowledgement comes that tells of losses at the end (RFC 8985, 7.3).
    fn probe_tail(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        self.events.note(Event::LossProbe);
        if self.send_probe_segment(now_ns, out) {
            self.recovery.probe = Some((self.next, ProbeKind::NewData));
        } else if let Some(last) = self.board.last().copied() {
            let start = last.end.saturating_sub(self.mss.into()).max(last.start);
            let end = self.send_again(now_ns, start, last.end, out);
            self.recovery.probe = Some((end, ProbeKind::Retransmission));
        }
        // What follows is a time-out, counted from now.
        self.timers.retransmit_from_ns = now_ns;
        self.timers.retransmit = Some((now_ns + self.rtt.timeout(self.timers.backoff), Retransmit::Timeout));
    }

    fn arm_window_probe(&mut self, now_ns: u64) {
        let timeout_ns = self.rtt.timeout(self.timers.backoff);
        self.timers.retransmit = Some((now_ns + timeout_ns, Retransmit::Window));
    }

    /// The window is closed: asks whether it still is (RFC 9293, 3.8.6.1).
    fn probe_window(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let waited_ns = now_ns - self.timers.probing_since_ns;
        let is_given_up = if self.is_orphan {
            // It may answer for ever without reading: nobody here waits for that.
            self.timers.backoff >= ORPHAN_RETRIES
        } else if self.options.user_timeout_ms > 0 {
            self.timers.probes > 0 && waited_ns >= u64::from(self.options.user_timeout_ms) * 1_000_000
        } else {
            self.timers.probes >= RETRIES
        };
        if is_given_up {
            return self.time_out(now_ns, out);
        }
        self.timers.probes = self.timers.probes.saturating_add(1);
        self.events.note(Event::WindowProbe);
        self.timers.backoff = self.timers.backoff.saturating_add(1);
        self.send_window_probe(now_ns, out);
        if self.board.is_empty() {
            self.arm_window_probe(now_ns);
        } else {
            self.timers.retransmit_from_ns = now_ns;
            self.arm_retransmit(now_ns);
        }
    }

    pub(super) fn arm_keepalive(&mut self, now_ns: u64) {
        let idle_ns = u64::from(self.options.keepalive_idle_s) * 1_000_000_000;
        self.timers.keepalive = (self.options.keepalive
            && !matches!(self.state, State::Closed | State::SynSent | State::SynReceived))
        .then(|| now_ns.max(self.counters.last_received_ns + idle_ns));
    }

    /// RFC 9293, 3.8.4.
    fn keep_alive(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let idle_ns = u64::from(self.options.keepalive_idle_s) * 1_000_000_000;
        let quiet_ns = now_ns - self.counters.last_received_ns;
        if quiet_ns < idle_ns || !self.board.is_empty() || self.has_unsent_data_or_fin() {
            // Something came meanwhile, or other timers watch over the other end.
            self.timers.keepalive = Some(now_ns + idle_ns.saturating_sub(quiet_ns).max(1_000_000_000));
            return;
        }
        let is_given_up = match self.options.user_timeout_ms {
            0 => self.timers.keepalive_probes >= self.options.keepalive_probes,
            set => quiet_ns >= u64::from(set) * 1_000_000 && self.timers.keepalive_probes > 0,
        };
        if is_given_up {
            self.send_reset(now_ns, out);
            let error = self.soft_error.take().unwrap_or(Errno::ETIMEDOUT);
            self.events.note(Event::GivenUp);
            return self.finish(Some(error));
        }
        self.timers.keepalive_probes = self.timers.keepalive_probes.saturating_add(1);
        self.events.note(Event::KeepAlive);
        self.send_bare(now_ns, self.unacknowledged - 1, out);
        let interval_ns = u64::from(self.options.keepalive_interval_s) * 1_000_000_000;
        self.timers.keepalive = Some(now_ns + interval_ns);
    }

    /// Whether losses are being repaired.
    pub(super) fn is_repairing(&self) -> bool {
        self.recovery.phase != Phase::Open
    }
}
