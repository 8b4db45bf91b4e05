//! What `/proc/self/maps` and `/proc/self/smaps` print.

use core::ops::Range;

use page_table::{EntryFlags, LeafSize};
use vfs::ObjectName;
use vma::{VmFlags, Vma};

use crate::{AddressSpace, ObjectRef, Tlb};

/// One area, for a row of `/proc/self/maps`.
#[derive(Clone, Debug)]
pub struct AreaReport {
    /// Its addresses.
    pub range: Range<usize>,
    /// Its properties.
    pub flags: VmFlags,
    /// Its object, and the offset in it in bytes.
    pub object: Option<(ObjectName, u64)>,
    /// Whether it is (part of) the heap of `brk(2)`.
    pub is_heap: bool,
}

/// What an area takes, in bytes, for `/proc/self/smaps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In memory.
    pub resident: usize,
    /// Each page divided by the number of its mappings. One process maps it, so this is `resident`.
    pub proportional: usize,
    /// Mapped by shared mappings, unchanged and changed. With one process Linux counts such pages as private
    /// too.
    pub private_clean: usize,
    /// Changed.
    pub private_dirty: usize,
    /// Accessed since that was last cleared.
    pub referenced: usize,
    /// Private anonymous.
    pub anonymous: usize,
    /// Of it, in huge pages.
    pub anonymous_huge: usize,
}

impl<T: Tlb> AddressSpace<T> {
    /// The first area that ends after `address`. A reader of all begins at 0 and goes on at each one's
    /// end, taking the lock for each anew: areas that change meanwhile are seen before or after.
    pub fn area_from(&self, address: usize) -> Option<AreaReport> {
        let (range, vma, heap): (_, Vma<ObjectRef>, _) = {
            let layout = self.layout.read();
            let (range, vma) = layout.areas.find_from(address)?;
            (range, vma.clone(), layout.heap.clone())
        };
        // Outside the lock: it may walk directories.
        let object = vma.backing.as_ref().map(|backing| {
            (backing.object.object().describe(), backing.page_offset * frames::PAGE_SIZE as u64)
        });
        // As Linux tells: an area that has some of the heap (`vma_is_initial_heap`).
        let is_heap = range.start < heap.end && range.end > heap.start && object.is_none();
        Some(AreaReport { range, flags: vma.flags, object, is_heap })
    }

    /// What the areas in `range` take.
    pub fn usage(&self, range: Range<usize>) -> Usage {
        let mut usage = Usage::default();
        let _layout = self.layout.read();
        self.table.for_each_leaf(range, |_, size, cell| {
            let entry = cell.load();
            if entry.is_empty() || entry.has(EntryFlags::ZERO_PAGE) {
                return;
            }
            let bytes = size.bytes();
            usage.resident += bytes;
            usage.proportional += bytes;
            if entry.has(EntryFlags::DIRTY) {
                usage.private_dirty += bytes;
            } else {
                usage.private_clean += bytes;
            }
            if entry.has(EntryFlags::ACCESSED) {
                usage.referenced += bytes;
            }
            if entry.has(EntryFlags::ANONYMOUS) {
                usage.anonymous += bytes;
                if size == LeafSize::Huge {
                    usage.anonymous_huge += bytes;
                }
            }
        });
        usage
    }
}
