//! Arming a range, and collecting what was written.

use core::ops::Range;

use crate::{Armed, Engine, HUGE_PAGE_BYTES, HUGE_PAGE_PAGES, Leaf, LeafTable, PAGE_BYTES, Run};

/// Huge leaves that one arming splits at most. A split takes a shoot-down and a lock for writing, and those who wait
/// for it are stopped; what is not split now is split later.
const SPLITS_PER_ARMING: usize = 32;

/// The range is not of whole pages, or not inside what is armed, or the bitmap is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTracked;

/// What arming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmReport {
    /// Leaves looked at.
    pub entries_scanned: u64,
    /// Shoot-downs made, without those of splits.
    pub shoot_downs: u64,
    /// Time of those.
    pub shoot_down_ns: u64,
    /// Huge leaves split.
    pub splits: u64,
}

/// What a collection found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Pages that may have been written.
    pub dirty_pages: u64,
    /// Leaves looked at.
    pub entries_scanned: u64,
}

/// Tracks writes to one range of pages. All of its state about writes is in the page tables.
#[derive(Debug)]
pub struct WriteTracker {
    armed: Option<(Range<usize>, Engine)>,
}

impl Default for WriteTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteTracker {
    /// One that tracks nothing.
    pub const fn new() -> Self {
        Self { armed: None }
    }

    /// What is armed.
    pub fn armed(&self) -> Option<(Range<usize>, Engine)> {
        self.armed.clone()
    }

    /// Takes all pages of `range` for unwritten from now on.
    ///
    /// A huge leaf that was written since the last arming is split, as the next write to it would make 512 pages dirty at
    /// once: 4096 cards to be scanned for one that was meant. One that was not is left whole: it costs nothing, and
    /// most old memory is never written again. At the first arming every leaf is dirty, since it was just filled, so
    /// none is split then.
    pub fn arm<T: LeafTable>(
        &mut self,
        table: &T,
        range: Range<usize>,
        engine: Engine,
    ) -> Result<ArmReport, NotTracked> {
        if range.is_empty() || !is_page_aligned(&range) {
            return Err(NotTracked);
        }
        let tracked_before = self.armed.take().map_or(0..0, |(range, _)| range);
        let mut report = ArmReport::default();
        let mut is_stale = false;
        let mut to_split = [0; SPLITS_PER_ARMING];
        let mut split_count = 0;
        table.for_each_run(range.clone(), |run| match run {
            Run::Small { leaves, .. } => {
                report.entries_scanned += leaves.len() as u64;
                for leaf in leaves {
                    is_stale |= leaf.arm(engine) == Armed::Stale;
                }
            }
            Run::Huge { start, leaf } => {
                report.entries_scanned += 1;
                let was_tracked =
                    tracked_before.start <= start && start + HUGE_PAGE_BYTES <= tracked_before.end;
                if was_tracked && leaf.is_dirty() && split_count < SPLITS_PER_ARMING {
                    to_split[split_count] = start;
                    split_count += 1;
                }
                is_stale |= leaf.arm(engine) == Armed::Stale;
            }
        });
        if is_stale {
            let start_ns = table.now_ns();
            table.flush(range.clone());
            report.shoot_downs = 1;
            report.shoot_down_ns = table.now_ns().saturating_sub(start_ns);
        }
        for &start in &to_split[..split_count] {
            report.splits += u64::from(table.split(start));
        }
        self.armed = Some((range, engine));
        Ok(report)
    }

    /// Sets the bit of each page of `range` that may have been written since it was armed; `bitmap` is all clear,
    /// and bit `n % 64` of its word `n / 64` is page `n` of the range. Nothing is armed anew.
    pub fn collect<T: LeafTable>(
        &self,
        table: &T,
        range: Range<usize>,
        bitmap: &mut [u64],
    ) -> Result<CollectReport, NotTracked> {
        let Some((armed, _)) = &self.armed else { return Err(NotTracked) };
        let is_inside = armed.start <= range.start && range.end <= armed.end;
        if !is_inside || !is_page_aligned(&range) || bitmap.len() * 64 < range.len() / PAGE_BYTES {
            return Err(NotTracked);
        }
        let mut report = CollectReport::default();
        table.for_each_run(range.clone(), |run| match run {
            Run::Small { start, leaves } => {
                let first = (start - range.start) / PAGE_BYTES;
                report.entries_scanned += leaves.len() as u64;
                for (index, leaf) in leaves.iter().enumerate() {
                    if leaf.is_dirty() {
                        set_bit(bitmap, first + index);
                        report.dirty_pages += 1;
                    }
                }
            }
            Run::Huge { start, leaf } => {
                report.entries_scanned += 1;
                if leaf.is_dirty() {
                    // The leaf may reach out of the range at both ends.
                    let end = (start + HUGE_PAGE_PAGES * PAGE_BYTES).min(range.end);
                    let first = (start.max(range.start) - range.start) / PAGE_BYTES;
                    for page in first..(end - range.start) / PAGE_BYTES {
                        set_bit(bitmap, page);
                        report.dirty_pages += 1;
                    }
                }
            }
        });
        Ok(report)
    }

    /// Ends tracking. Write-protected leaves stay so: whoever writes next faults once, and finds the area writable.
    pub fn disarm(&mut self) {
        self.armed = None;
    }
}

fn is_page_aligned(range: &Range<usize>) -> bool {
    range.start.is_multiple_of(PAGE_BYTES) && range.end.is_multiple_of(PAGE_BYTES)
}

fn set_bit(bitmap: &mut [u64], bit: usize) {
    bitmap[bit / 64] |= 1 << (bit % 64);
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
