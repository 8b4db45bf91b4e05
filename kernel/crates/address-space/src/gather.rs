//! Frames on their way from leaves to the allocator: they wait for a flush.

use alloc::vec::Vec;
use core::ops::Range;

use frames::{Block, HUGE_PAGE_ORDER, PageRef};
use page_table::{Entry, EntryFlags, LeafSize};

use crate::{AddressSpace, ObjectRef, Tlb, space::PageKind};

/// How many references wait at most before a flush is made for them.
const BATCH: usize = 1024;

/// What was taken out of the page table and not yet flushed or freed.
///
/// [`flush`](Self::flush) is called with the lock held, before the addresses can be mapped anew; the drop,
/// which frees, may come after.
pub(crate) struct Gather<'a, T: Tlb> {
    space: &'a AddressSpace<T>,
    range: Option<Range<usize>>,
    /// There are page tables among `pages`.
    has_tables: bool,
    pages: Vec<PageRef>,
    blocks: Vec<Block>,
    /// References to objects: their drop may run a file system.
    objects: Vec<ObjectRef>,
}

impl<'a, T: Tlb> Gather<'a, T> {
    pub fn new(space: &'a AddressSpace<T>) -> Self {
        Self {
            space,
            range: None,
            has_tables: false,
            pages: Vec::new(),
            blocks: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// A TLB may hold something of `range`.
    pub fn stale(&mut self, range: Range<usize>) {
        self.range = Some(match self.range.take() {
            None => range,
            Some(old) => old.start.min(range.start)..old.end.max(range.end),
        });
    }

    /// Takes over what a leaf that was emptied refers to.
    pub fn leaf(&mut self, address: usize, size: LeafSize, entry: Entry) {
        if entry.is_empty() {
            return;
        }
        if entry.is_present() {
            self.stale(address..address + size.bytes());
        }
        if let Some(kind) = PageKind::of(entry) {
            self.space.resident.add(kind, -((size.bytes() / frames::PAGE_SIZE) as isize));
        }
        // SAFETY: the leaf owned what it referred to, it was emptied in one step, and we got its value.
        unsafe {
            match size {
                LeafSize::Huge => self.blocks.push(Block::from_raw(entry.address(), HUGE_PAGE_ORDER)),
                LeafSize::Small if entry.has(EntryFlags::ZERO_PAGE) => {}
                LeafSize::Small => self.pages.push(PageRef::from_raw(entry.address())),
            }
        }
        if self.pages.len() >= BATCH || self.blocks.len() >= BATCH {
            self.flush();
            self.pages.clear();
            self.blocks.clear();
        }
    }

    /// Takes over a page table.
    pub fn table(&mut self, address: usize, table: PageRef) {
        self.has_tables = true;
        self.stale(address..address + frames::PAGE_SIZE);
        self.pages.push(table);
    }

    /// Takes over an area's reference to its object.
    pub fn object(&mut self, object: ObjectRef) {
        self.objects.push(object);
    }

    /// Flushes what was collected, if anything needs it.
    pub fn flush(&mut self) {
        if let Some(range) = self.range.take() {
            if core::mem::take(&mut self.has_tables) {
                self.space.tlb.flush_range_and_tables(range);
            } else {
                self.space.tlb.flush_range(range);
            }
        }
    }
}

impl<T: Tlb> Drop for Gather<'_, T> {
    fn drop(&mut self) {
        debug_assert!(self.range.is_none(), "frames would be freed before the flush");
        self.flush();
    }
}
