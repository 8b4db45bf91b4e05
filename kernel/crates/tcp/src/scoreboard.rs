//! What is in flight: which parts of the stream were sent when, and what became of them (RFC 6675, RFC 8985).
//!
//! Transmissions are kept twice: by their place in the stream (`records`, contiguous from the first unacknowledged
//! byte to the last that was sent), and in the order in which they were sent (`order`), so that loss by time looks at
//! the oldest only. Entries of `order` go stale rather than being searched for. Every step is O(log n) in the number
//! of segments in flight, amortized; only a retransmission time-out, and taking one back, walk them all. Selective
//! acknowledgements cut records no longer where there are [`MOST_PIECES`]: the other end chooses where they cut, and
//! each cut moves what lies beside it.

use alloc::collections::{BTreeSet, VecDeque};

use crate::{range_set::RangeSet, work};

/// Records beyond which none is cut for a selective acknowledgement: as many segments as the largest send buffer has
/// on an Ethernet. What a range covers in part then counts as not acknowledged, and may be sent again.
const MOST_PIECES: usize = 4096;

/// What became of a transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is under way.
    InFlight,
    /// It is taken to be lost, and waits to be sent again.
    Lost,
    /// It was acknowledged selectively.
    Sacked,
}

/// A part of the stream that was sent as one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When it was sent the last time.
    pub(crate) sent_ns: u64,
    pub(crate) fate: Fate,
    /// Whether that was not the first time.
    pub(crate) retransmitted: bool,
}

impl Sent {
    fn len(&self) -> u64 {
        self.end - self.start
    }
}

#[derive(Clone, Copy, Debug)]
struct Transmission {
    start: u64,
    end: u64,
    sent_ns: u64,
}

/// All that is in flight.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    records: VecDeque<Sent>,
    order: VecDeque<Transmission>,
    sacked: RangeSet,
    total_bytes: u64,
    sacked_bytes: u64,
    lost_bytes: u64,
    /// Where lost records begin.
    lost: BTreeSet<u64>,
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes in the network, as far as one can tell: neither lost nor acknowledged (RFC 6675's pipe).
    pub(crate) fn in_flight(&self) -> u64 {
        self.total_bytes - self.sacked_bytes - self.lost_bytes
    }

    /// Parts of the stream that are kept apart: at least as many as there are packets in flight.
    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(crate) fn sacked_bytes(&self) -> u64 {
        self.sacked_bytes
    }

    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    pub(crate) fn first(&self) -> Option<&Sent> {
        self.records.front()
    }

    pub(crate) fn last(&self) -> Option<&Sent> {
        self.records.back()
    }

    /// A part of the stream that was never sent before is sent; it follows what was sent before it.
    pub(crate) fn send(&mut self, start: u64, end: u64, now_ns: u64) {
        debug_assert!(self.records.back().is_none_or(|last| last.end == start) && start < end);
        self.records.push_back(Sent {
            start,
            end,
            sent_ns: now_ns,
            fate: Fate::InFlight,
            retransmitted: false,
        });
        self.order.push_back(Transmission { start, end, sent_ns: now_ns });
        self.total_bytes += end - start;
    }

    /// The stream is acknowledged up to `position`. Calls `delivered` for each part of it that was not acknowledged
    /// selectively before.
    pub(crate) fn acknowledge(&mut self, position: u64, mut delivered: impl FnMut(&Sent)) {
        while let Some(first) = self.records.front_mut()
            && first.start < position
        {
            work::step();
            let part = Sent { end: first.end.min(position), ..*first };
            let is_whole = part.end == first.end;
            if part.fate == Fate::Lost {
                self.lost.remove(&part.start);
                if !is_whole {
                    self.lost.insert(part.end);
                }
            }
            if is_whole {
                self.records.pop_front();
            } else {
                first.start = part.end;
            }
            self.total_bytes -= part.len();
            match part.fate {
                Fate::Sacked => self.sacked_bytes -= part.len(),
                Fate::Lost => self.lost_bytes -= part.len(),
                Fate::InFlight => {}
            }
            if part.fate != Fate::Sacked {
                delivered(&part);
            }
        }
        self.sacked.remove_below(position);
        while self.order.front().is_some_and(|oldest| oldest.end <= position) {
            self.order.pop_front();
        }
        if self.records.is_empty() {
            self.order.clear();
            self.records.shrink_to(16);
            self.order.shrink_to(16);
        }
    }

    /// The range is acknowledged selectively. Calls `delivered` for each part that was not before. Records are cut at
    /// multiples of `mss` only: who acknowledges single bytes does not make us keep books of them.
    pub(crate) fn sack(&mut self, start: u64, end: u64, mss: u64, mut delivered: impl FnMut(&Sent)) {
        let Some((start, end)) = self.whole_segments(start, end, mss) else { return };
        let Self { records, lost, sacked, sacked_bytes, lost_bytes, .. } = self;
        sacked.insert(start, end, |start, end| {
            let mut index = split_at(records, lost, start);
            split_at(records, lost, end);
            while let Some(record) = records.get_mut(index)
                && record.end <= end
            {
                work::step();
                if record.fate == Fate::Lost {
                    *lost_bytes -= record.len();
                    lost.remove(&record.start);
                }
                *sacked_bytes += record.len();
                delivered(record);
                record.fate = Fate::Sacked;
                index += 1;
            }
        });
    }

    /// The range, cut to borders of segments within the records.
    fn whole_segments(&self, start: u64, end: u64, mss: u64) -> Option<(u64, u64)> {
        let first = &self.records.get(self.index_of(start))?;
        let last = &self.records.get(self.index_of(end.checked_sub(1)?))?;
        let may_cut = self.records.len() < MOST_PIECES;
        let start = match start.saturating_sub(first.start) {
            0 => first.start,
            skip if may_cut => first.end.min(first.start + skip.next_multiple_of(mss)),
            _ => first.end,
        };
        let end = match end - last.start {
            len if end < last.end && may_cut => last.start + len / mss * mss,
            _ if end < last.end => last.start,
            _ => last.end,
        };
        (start < end).then_some((start, end))
    }

    /// Index of the record that has the byte at `position`, or of the first one after it.
    fn index_of(&self, position: u64) -> usize {
        self.records.partition_point(|record| record.end <= position)
    }

    /// Takes everything in flight that was sent so long ago that `is_lost` for lost, oldest first, and stops at the
    /// first that is not. Returns when that one was sent and where it ends, and whether anything was lost.
    pub(crate) fn mark_lost_by_time(
        &mut self,
        is_lost: impl Fn(u64, u64) -> bool,
    ) -> (Option<(u64, u64)>, bool) {
        let mut any = false;
        while let Some(&oldest) = self.order.front() {
            work::step();
            let mut index = self.index_of(oldest.start);
            let mut live = None;
            while let Some(record) = self.records.get(index)
                && record.start < oldest.end
            {
                work::step();
                if record.fate == Fate::InFlight && record.sent_ns == oldest.sent_ns {
                    live = Some((index, record.end));
                    break;
                }
                index += 1;
            }
            let Some((index, end)) = live else {
                self.order.pop_front();
                continue;
            };
            // What of it comes before this is settled; it need not be looked at again.
            let start = self.records[index].start;
            if let Some(oldest) = self.order.front_mut() {
                oldest.start = start;
            }
            if !is_lost(oldest.sent_ns, end) {
                return (Some((oldest.sent_ns, end)), any);
            }
            any = true;
            self.mark_lost(index);
        }
        (None, any)
    }

    fn mark_lost(&mut self, index: usize) {
        let record = &mut self.records[index];
        if record.fate == Fate::InFlight {
            record.fate = Fate::Lost;
            self.lost_bytes += record.len();
            self.lost.insert(record.start);
        }
    }

    /// Takes the first segment of `mss` bytes for lost: what duplicate acknowledgements say.
    pub(crate) fn mark_first_lost(&mut self, mss: u64) {
        if let Some(first) = self.records.front() {
            let end = first.start + mss;
            split_at(&mut self.records, &mut self.lost, end);
            self.mark_lost(0);
        }
    }

    /// Takes all that is in flight and that `is_lost` for lost.
    pub(crate) fn mark_lost_where(&mut self, is_lost: impl Fn(&Sent) -> bool) {
        for index in 0..self.records.len() {
            if is_lost(&self.records[index]) {
                self.mark_lost(index);
            }
        }
    }

    /// Forgets what was acknowledged selectively: the other end has dropped it (RFC 2018, 8).
    pub(crate) fn renege(&mut self) {
        for record in &mut self.records {
            if record.fate == Fate::Sacked {
                record.fate = Fate::InFlight;
                record.retransmitted = true;
            }
        }
        self.sacked_bytes = 0;
        self.sacked.clear();
    }

    /// What was taken for lost was not: it is in flight again.
    pub(crate) fn unmark_lost(&mut self) {
        if self.lost_bytes > 0 {
            for record in &mut self.records {
                work::step();
                if record.fate == Fate::Lost {
                    record.fate = Fate::InFlight;
                    self.order.push_back(Transmission {
                        start: record.start,
                        end: record.end,
                        sent_ns: record.sent_ns,
                    });
                }
            }
            self.lost_bytes = 0;
            self.lost.clear();
            // They are older than what was sent after them.
            self.order.make_contiguous().sort_by_key(|transmission| transmission.sent_ns);
        }
    }

    /// The first lost record.
    pub(crate) fn first_lost(&self) -> Option<Sent> {
        self.records.get(self.index_of(*self.lost.first()?)).copied()
    }

    /// The part from `start`, where a record begins, to `end` was sent again.
    pub(crate) fn retransmit(&mut self, start: u64, end: u64, now_ns: u64) {
        let mut index = split_at(&mut self.records, &mut self.lost, start);
        split_at(&mut self.records, &mut self.lost, end);
        while let Some(record) = self.records.get_mut(index)
            && record.end <= end
        {
            work::step();
            if record.fate == Fate::Lost {
                self.lost_bytes -= record.len();
                self.lost.remove(&record.start);
                record.fate = Fate::InFlight;
            }
            record.sent_ns = now_ns;
            record.retransmitted = true;
            index += 1;
        }
        self.order.push_back(Transmission { start, end, sent_ns: now_ns });
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What `SO_SNDBUF` is compared with, beside the data: single bytes in packets of their own are not free.
    pub(crate) fn accounted_bytes(&self) -> usize {
        self.records.len() * (size_of::<Sent>() + size_of::<Transmission>())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Sent>()
            + self.order.capacity() * size_of::<Transmission>()
            + self.lost.len() * size_of::<u64>()
    }
}

/// Cuts the record that has `position` in its middle, and returns the index of the first record at or after it.
fn split_at(records: &mut VecDeque<Sent>, lost: &mut BTreeSet<u64>, position: u64) -> usize {
    let index = records.partition_point(|record| record.end <= position);
    match records.get_mut(index) {
        Some(record) if record.start < position => {
            let second = Sent { start: position, ..*record };
            record.end = position;
            if second.fate == Fate::Lost {
                lost.insert(position);
            }
            // So many are moved.
            work::steps(index.min(records.len() - index) as u64);
            records.insert(index + 1, second);
            index + 1
        }
        _ => index,
    }
}

#[cfg(test)]
mod tests;
