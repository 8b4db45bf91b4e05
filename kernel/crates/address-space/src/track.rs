//! Write tracking (crate `mmu-gc`) over the address space's page tables.
//!
//! The lock `layout` is held for reading while leaves are looked at, so that no table goes and no leaf is split, and faults
//! go on beside it; for writing to split. A dirty bit that is cleared here belongs to private anonymous memory, of which
//! nobody else asks it.

use core::{ops::Range, sync::atomic::Ordering};

use frames::{HUGE_PAGE_SIZE, PAGE_SIZE};
use ksync::platform;
use mmu_gc::{LeafTable, Run};
use page_table::{EntryCell, LeafSize};

use crate::{AddressSpace, Tlb};

impl<T: Tlb> LeafTable for AddressSpace<T> {
    type Leaf = EntryCell;

    fn for_each_run(&self, range: Range<usize>, each: impl FnMut(Run<'_, EntryCell>)) {
        let _layout = self.layout.read();
        self.table.for_each_run(range, each);
    }

    fn flush(&self, range: Range<usize>) {
        self.tlb.flush_range(range);
    }

    fn split(&self, start: usize) -> bool {
        let _layout = self.layout.write();
        // The area may have gone meanwhile, or the leaf.
        let is_huge = |address| matches!(self.table.query(address), Some((_, LeafSize::Huge)));
        if !start.is_multiple_of(HUGE_PAGE_SIZE) || !is_huge(start) {
            return false;
        }
        let inside = start + PAGE_SIZE;
        self.split_at_edges(&(inside..inside)).is_ok() && !is_huge(start)
    }

    fn now_ns(&self) -> u64 {
        platform::now_ns()
    }
}

impl<T: Tlb> AddressSpace<T> {
    /// How many write faults met a page that tracking had write-protected.
    pub fn write_traps(&self) -> u64 {
        self.write_traps.load(Ordering::Relaxed)
    }

    /// Whether all of `range` may be mapped by the application.
    pub fn may_map(&self, range: &Range<usize>) -> bool {
        self.config.bounds.start <= range.start && range.end <= self.config.bounds.end
    }
}
