//! The map: areas by address, with splitting and coalescing.

use core::ops::Range;

use crate::{
    VmFlags, Vma,
    tree::{Index, NIL, Tree},
};

/// Most areas there may be (`/proc/sys/vm/max_map_count`); the system calls answer `ENOMEM` beyond.
pub const MAX_MAP_COUNT: usize = 65_530;

/// No memory for the map itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// An area with its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area<O> {
    /// First address, and the address after the last.
    pub range: Range<usize>,
    /// What is known of it.
    pub vma: Vma<O>,
}

/// What a search for a gap asks for.
#[derive(Clone, Debug)]
pub struct GapRequest {
    /// Bytes.
    pub len: usize,
    /// The gap lies inside.
    pub bounds: Range<usize>,
    /// The answer is a multiple of this power of two.
    pub align: usize,
}

/// The areas of an address space. Neighbours that could be one area are one.
pub struct VmaMap<O> {
    tree: Tree<Vma<O>>,
    /// Bytes mapped.
    total_bytes: usize,
    /// The most that it ever was.
    peak_bytes: usize,
}

impl<O: Clone + PartialEq> Default for VmaMap<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O: Clone + PartialEq> VmaMap<O> {
    /// A map with nothing in it.
    pub const fn new() -> Self {
        Self { tree: Tree::new(), total_bytes: 0, peak_bytes: 0 }
    }

    /// Number of areas.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes mapped.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// The most bytes that were ever mapped.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    fn entry(&self, index: Index) -> Option<(Range<usize>, &Vma<O>)> {
        (index != NIL).then(|| (self.tree.range(index), self.tree.value(index)))
    }

    /// The area that contains `address`.
    pub fn find(&self, address: usize) -> Option<(Range<usize>, &Vma<O>)> {
        self.find_from(address).filter(|(range, _)| range.start <= address)
    }

    /// The area that contains `address`, or else the next.
    pub fn find_from(&self, address: usize) -> Option<(Range<usize>, &Vma<O>)> {
        self.entry(self.tree.first_ending_after(address))
    }

    /// The last area that starts before `address`.
    pub fn find_before(&self, address: usize) -> Option<(Range<usize>, &Vma<O>)> {
        self.entry(self.tree.last_starting_before(address))
    }

    /// The areas that intersect `range`, in order; each as it is, not cut to the range.
    pub fn intersecting(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, &Vma<O>)> {
        let mut at = range.start;
        core::iter::from_fn(move || {
            let found = self.find_from(at).filter(|(found, _)| found.start < range.end)?;
            at = found.0.end;
            Some(found)
        })
    }

    /// Whether every address of `range` is mapped.
    pub fn covers(&self, range: Range<usize>) -> bool {
        let mut at = range.start;
        while at < range.end {
            match self.find(at) {
                Some((found, _)) => at = found.end,
                None => return false,
            }
        }
        true
    }

    /// Whether nothing is mapped in `range`.
    pub fn is_free(&self, range: Range<usize>) -> bool {
        self.intersecting(range).next().is_none()
    }

    /// Bytes mapped in `range`.
    pub fn mapped_bytes(&self, range: Range<usize>) -> usize {
        self.intersecting(range.clone())
            .map(|(found, _)| found.end.min(range.end) - found.start.max(range.start))
            .sum()
    }

    /// The highest address at which there is a gap as asked for.
    ///
    /// A gap is taken as large enough only if it is so wherever it begins, as Linux does
    /// (`vm_unmapped_area` looks for the length plus the alignment's mask).
    pub fn find_gap_top_down(&self, request: &GapRequest) -> Option<usize> {
        let wanted = request.len.checked_add(request.align - crate::PAGE_SIZE)?;
        let gap = self.tree.highest_gap(request.bounds.clone(), wanted)?;
        Some((gap.end - request.len) & !(request.align - 1))
    }

    /// The lowest address at which there is a gap as asked for.
    pub fn find_gap_bottom_up(&self, request: &GapRequest) -> Option<usize> {
        let wanted = request.len.checked_add(request.align - crate::PAGE_SIZE)?;
        let gap = self.tree.lowest_gap(request.bounds.clone(), wanted)?;
        Some(gap.start.next_multiple_of(request.align))
    }

    /// Makes sure that the next changes to the map need no memory: each adds two areas at most.
    pub fn reserve(&mut self, changes: usize) -> Result<(), OutOfMemory> {
        self.tree.reserve(2 * changes + 1).map_err(|_| OutOfMemory)
    }

    /// How many areas more there would be if the area that `address` is inside of were split there.
    pub fn splits_at(&self, address: usize) -> usize {
        usize::from(self.find(address).is_some_and(|(range, _)| range.start != address))
    }

    /// Maps `range`, in which nothing is mapped.
    pub fn insert(&mut self, mut range: Range<usize>, vma: Vma<O>) -> Result<(), OutOfMemory> {
        debug_assert!(!range.is_empty() && self.is_free(range.clone()));
        self.reserve(1)?;
        self.total_bytes += range.len();
        self.peak_bytes = self.peak_bytes.max(self.total_bytes);
        if let Some((next, next_vma)) = self.find_from(range.end)
            && next.start == range.end
            && vma.is_continued_by(range.len(), next_vma)
        {
            self.tree.remove(next.start);
            range.end = next.end;
        }
        if let Some((previous, previous_vma)) = self.find_before(range.start)
            && previous.end == range.start
            && previous_vma.is_continued_by(previous.len(), &vma)
        {
            // Most often a heap or a stack area grows, so this must not take the area out.
            self.tree.set_end(previous.start, range.end);
            return Ok(());
        }
        self.tree.insert(range, vma);
        Ok(())
    }

    /// Unmaps `range` and gives each piece that was mapped there to `each`.
    pub fn remove(&mut self, range: Range<usize>, mut each: impl FnMut(Area<O>)) -> Result<(), OutOfMemory> {
        self.reserve(1)?;
        self.take(range, &mut each);
        Ok(())
    }

    fn take(&mut self, range: Range<usize>, each: &mut dyn FnMut(Area<O>)) {
        while let Some((found, vma)) = self.find_from(range.start)
            && found.start < range.end
        {
            let cut = found.start.max(range.start)..found.end.min(range.end);
            let middle = vma.advanced(cut.start - found.start);
            let tail = (cut.end < found.end).then(|| vma.advanced(cut.end - found.start));
            if found.start < cut.start {
                self.tree.set_end(found.start, cut.start);
            } else {
                self.tree.remove(found.start);
            }
            if let Some(tail) = tail {
                self.tree.insert(cut.end..found.end, tail);
            }
            self.total_bytes -= cut.len();
            each(Area { range: cut, vma: middle });
        }
    }

    /// Changes the flags of what is mapped in `range`.
    pub fn update_flags(
        &mut self,
        range: Range<usize>,
        mut change: impl FnMut(VmFlags) -> VmFlags,
    ) -> Result<(), OutOfMemory> {
        let mut at = range.start;
        while at < range.end
            && let Some((found, vma)) = self.find_from(at)
            && found.start < range.end
        {
            let flags = change(vma.flags);
            let is_changed = flags != vma.flags;
            let cut = found.start.max(at)..found.end.min(range.end);
            at = cut.end;
            if is_changed {
                self.reserve(2)?;
                let mut piece = None;
                self.take(cut, &mut |area| piece = Some(area));
                if let Some(Area { range, vma }) = piece {
                    self.insert(range, Vma { flags, ..vma })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
