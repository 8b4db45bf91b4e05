//! TIME_WAIT, and FIN_WAIT2 of orphans, in compact records (RFC 9293, 3.6.1, 3.10.7.4; RFC 6191).

use alloc::{boxed::Box, vec::Vec};

use packet::Packet;

use crate::{
    Flags, Isn, Segment, SeqNumber, State, Tuple,
    connection::timestamp_clock,
    segment::{Header, TcpOptions, Timestamps},
};

/// How long TIME_WAIT lasts (Linux's `TCP_TIMEWAIT_LEN`).
pub(crate) const TIME_WAIT_NS: u64 = 60_000_000_000;

/// How useless segments are answered at most.
const ANSWER_INTERVAL_NS: u64 = 500_000_000;

/// How far beyond the old connection's numbers a new one's begin (as Linux has it): beyond what a window without
/// scaling could have had in flight.
const ISN_DISTANCE: u32 = 65_535 + 2;

/// How long timestamps must have moved on before `connect(2)` may use the tuple again.
const REUSE_AFTER_NS: u64 = 1_000_000_000;

/// How long a timestamp can be compared with (RFC 7323, 5.5).
const TIMESTAMP_VALID_NS: u64 = 24 * 24 * 3600 * 1_000_000_000;

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

/// A connection as it ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) tuple: Tuple,
    pub(crate) state: State,
    pub(crate) send_next: SeqNumber,
    pub(crate) receive_next: SeqNumber,
    pub(crate) receive_window: u32,
    pub(crate) window_field: u16,
    pub(crate) timestamp_offset: u32,
    /// The other end's last timestamp and when it came, if there are timestamps.
    pub(crate) timestamp_recent: Option<(u32, u64)>,
    pub(crate) deadline_ns: u64,
    pub(crate) lasts_ns: u64,
}

/// What is left of a connection that has ended: it answers what is still under way, and keeps the tuple from being
/// used too soon.
#[derive(Clone, Debug)]
pub struct TimeWait {
    ended: Ended,
    last_answer_ns: Option<u64>,
}

impl TimeWait {
    pub(crate) fn new(ended: Ended) -> Self {
        Self { ended, last_answer_ns: None }
    }

    /// The connection's tuple.
    pub fn tuple(&self) -> &Tuple {
        &self.ended.tuple
    }

    /// [`State::TimeWait`], or [`State::FinWait2`] of a connection that its application has closed.
    pub fn state(&self) -> State {
        self.ended.state
    }

    /// When it is over. A segment may move it.
    pub fn deadline(&self) -> u64 {
        self.ended.deadline_ns
    }

    /// Takes a segment for the tuple.
    pub fn segment(&mut self, now_ns: u64, segment: &Segment, out: &mut Vec<Box<Packet>>) -> TimeWaitVerdict {
        let is_too_old = self.is_too_old(now_ns, segment);
        let offset = segment.sequence.distance(self.ended.receive_next);
        let len = segment.sequence_len();
        let end = i64::from(offset) + i64::from(len);
        if self.ended.state == State::FinWait2 {
            return self.in_fin_wait(now_ns, segment, is_too_old, offset, end, out);
        }
        let flags = segment.flags;
        if !is_too_old && offset == 0 && (len == 0 || flags.contains(Flags::RST)) {
            if flags.contains(Flags::RST) {
                return TimeWaitVerdict::Over;
            }
            self.remember_timestamp(now_ns, segment);
            return TimeWaitVerdict::Stays;
        }
        let is_opening = flags & (Flags::SYN | Flags::RST | Flags::ACK) == Flags::SYN;
        // RFC 9293, 3.6.1 and RFC 6191: what cannot be an old duplicate may begin anew.
        let has_newer_timestamp = match (self.ended.timestamp_recent, segment.options.timestamps) {
            (Some((recent, _)), Some(timestamps)) => (timestamps.value.wrapping_sub(recent) as i32) > 0,
            _ => false,
        };
        if is_opening && !is_too_old && (offset > 0 || has_newer_timestamp) {
            return TimeWaitVerdict::NewConnection(self.next_isn());
        }
        if !flags.contains(Flags::RST) && (is_too_old || flags.contains(Flags::ACK)) {
            if flags.contains(Flags::FIN) {
                // The other end has not seen our last acknowledgement: 2 MSL begin again.
                self.ended.deadline_ns = now_ns + self.ended.lasts_ns;
            }
            self.answer(now_ns, len > 0, out);
        }
        TimeWaitVerdict::Stays
    }

    fn in_fin_wait(
        &mut self,
        now_ns: u64,
        segment: &Segment,
        is_too_old: bool,
        offset: i32,
        end: i64,
        out: &mut Vec<Box<Packet>>,
    ) -> TimeWaitVerdict {
        let flags = segment.flags;
        let is_in_window = end >= 0 && i64::from(offset) <= i64::from(self.ended.receive_window);
        if is_too_old || !is_in_window {
            if !flags.contains(Flags::RST) {
                self.answer(now_ns, segment.sequence_len() > 0, out);
            }
            return TimeWaitVerdict::Stays;
        }
        if flags.contains(Flags::RST) {
            // RFC 5961, 3.2.
            if offset == 0 {
                return TimeWaitVerdict::Over;
            }
            self.answer(now_ns, false, out);
            return TimeWaitVerdict::Stays;
        }
        if flags.contains(Flags::SYN) {
            self.answer(now_ns, false, out);
            return TimeWaitVerdict::Stays;
        }
        if !flags.contains(Flags::ACK) {
            return TimeWaitVerdict::Stays;
        }
        if end <= 0 {
            if segment.sequence_len() > 0 {
                self.answer(now_ns, true, out);
            }
            return TimeWaitVerdict::Stays;
        }
        if !flags.contains(Flags::FIN) || end != 1 {
            // Data that nobody is ever going to read.
            out.extend(crate::reset_for(&self.ended.tuple, segment));
            return TimeWaitVerdict::Over;
        }
        self.ended.receive_next = self.ended.receive_next.add(1);
        self.ended.state = State::TimeWait;
        self.ended.lasts_ns = TIME_WAIT_NS;
        self.ended.deadline_ns = now_ns + TIME_WAIT_NS;
        self.remember_timestamp(now_ns, segment);
        self.answer(now_ns, true, out);
        TimeWaitVerdict::Stays
    }

    fn is_too_old(&self, now_ns: u64, segment: &Segment) -> bool {
        match (self.ended.timestamp_recent, segment.options.timestamps) {
            (Some((recent, at_ns)), Some(timestamps)) => {
                (timestamps.value.wrapping_sub(recent) as i32) < 0
                    && now_ns.saturating_sub(at_ns) < TIMESTAMP_VALID_NS
            }
            _ => false,
        }
    }

    fn remember_timestamp(&mut self, now_ns: u64, segment: &Segment) {
        if let (Some(recent), Some(timestamps)) =
            (&mut self.ended.timestamp_recent, segment.options.timestamps)
        {
            *recent = (timestamps.value, now_ns);
        }
    }

    /// Acknowledges what was received; rarely, where the segment had no data.
    fn answer(&mut self, now_ns: u64, has_data: bool, out: &mut Vec<Box<Packet>>) {
        if !has_data {
            if self.last_answer_ns.is_some_and(|last| now_ns.saturating_sub(last) < ANSWER_INTERVAL_NS) {
                return;
            }
            self.last_answer_ns = Some(now_ns);
        }
        let ended = &self.ended;
        let header = Header {
            sequence: ended.send_next,
            acknowledgement: ended.receive_next,
            flags: Flags::ACK,
            window: ended.window_field,
            urgent: 0,
            options: TcpOptions {
                timestamps: ended.timestamp_recent.map(|(recent, _)| Timestamps {
                    value: timestamp_clock(now_ns).wrapping_add(ended.timestamp_offset),
                    echo: recent,
                }),
                ..TcpOptions::default()
            },
        };
        out.push(header.packet(&ended.tuple));
    }

    fn next_isn(&self) -> Isn {
        Isn {
            sequence: self.ended.send_next.add(ISN_DISTANCE),
            timestamp_offset: self.ended.timestamp_offset,
        }
    }

    /// Numbers with which `connect(2)` may use the tuple again already: there are timestamps, and their clock has
    /// moved on (RFC 6191; `tcp_tw_reuse`). The caller forgets the record then.
    pub fn reuse(&self, now_ns: u64) -> Option<Isn> {
        let (_, at_ns) = self.ended.timestamp_recent?;
        let is_time_wait = self.ended.state == State::TimeWait;
        (is_time_wait && now_ns.saturating_sub(at_ns) > REUSE_AFTER_NS).then(|| self.next_isn())
    }
}
