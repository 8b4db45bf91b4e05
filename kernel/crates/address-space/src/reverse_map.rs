//! From an object's pages to the leaves that map them.
//!
//! An object changes under its mappings when it is truncated (the pages must go) and when its dirty pages are
//! written back (the next write must fault, so that the page becomes dirty again). It first changes its own
//! state, so that [`page`](vfs::MemoryObject::page) gives what is true from now on, and then calls here.
//!
//! A fault may at that moment hold a page that it got before and that is in no leaf yet. So the epoch grows
//! before the leaves are looked at, and a fault looks at the epoch after it has put its leaf in: whichever
//! comes second sees the other. Both steps are locked operations, which x86 does not reorder (SDM vol. 3,
//! 8.2.3.9).

use core::{ops::Range, sync::atomic::Ordering};

use frames::PAGE_SIZE;
use page_table::{Entry, EntryFlags};
use vfs::{MemoryObject, PrivateCopies};
use vma::VmFlags;

use crate::{AddressSpace, Tlb, gather::Gather, object::key_of, space::Areas};

impl<T: Tlb> AddressSpace<T> {
    /// Unmaps `pages` of `object`: with private copies of them, as truncation does, or without. On return no
    /// CPU can reach them.
    ///
    /// The object has already made sure that `page` does not give these pages any more, and holds no lock
    /// that its `page` or `cached_page` takes.
    pub fn unmap_object_range(&self, object: &dyn MemoryObject, pages: Range<u64>, copies: PrivateCopies) {
        self.object_epoch.fetch_add(1, Ordering::SeqCst);
        let mut gather = Gather::new(self);
        {
            let layout = self.layout.read();
            self.for_each_mapping(&layout.areas, object, &pages, |range, _| match copies {
                PrivateCopies::Unmap => self.zap(range, &mut gather),
                PrivateCopies::Keep => self.zap_shown(range, &mut gather),
            });
            gather.flush();
        }
    }

    /// Takes the leaves in `range` out that show an object's own pages.
    fn zap_shown(&self, range: Range<usize>, gather: &mut Gather<'_, T>) {
        self.table.for_each_leaf(range, |address, size, cell| {
            let is_shown = |entry: Entry| !entry.is_empty() && !entry.has(EntryFlags::ANONYMOUS);
            let take = |entry| is_shown(entry).then_some(Entry::EMPTY);
            if let Some(taken) = cell.update(take) {
                gather.leaf(address, size, taken);
            }
        });
    }

    /// Takes the right to write `pages` of `object` from shared mappings, so that the next write asks the
    /// object for [`SharedWrite`](vfs::PageAccess::SharedWrite) again. Returns whether any could have been
    /// written since. On return no CPU can write them.
    ///
    /// The object has already marked the pages clean, copies them out after this, and holds no lock
    /// that its `page` or `cached_page` takes.
    pub fn write_protect_object_range(&self, object: &dyn MemoryObject, pages: Range<u64>) -> bool {
        self.object_epoch.fetch_add(1, Ordering::SeqCst);
        let mut gather = Gather::new(self);
        let mut any = false;
        let layout = self.layout.read();
        self.for_each_mapping(&layout.areas, object, &pages, |range, flags| {
            if !flags.contains(VmFlags::SHARED) {
                return;
            }
            self.table.for_each_leaf(range, |address, size, cell| {
                let protect = |entry: Entry| {
                    let writable = entry.flags().intersects(EntryFlags::WRITABLE | EntryFlags::DIRTY);
                    writable.then(|| entry.without(EntryFlags::WRITABLE | EntryFlags::DIRTY))
                };
                if cell.update(protect).is_some() {
                    any = true;
                    gather.stale(address..address + size.bytes());
                }
            });
        });
        gather.flush();
        any
    }

    /// Calls `each` with every range of addresses that shows some of `pages`, and the flags of its area.
    fn for_each_mapping(
        &self,
        areas: &Areas,
        object: &dyn MemoryObject,
        pages: &Range<u64>,
        mut each: impl FnMut(Range<usize>, VmFlags),
    ) {
        let key = key_of(object);
        if !self.mapped_objects.lock().contains(&key) {
            return;
        }
        let mut is_mapped = false;
        for (area, vma) in areas.intersecting(self.config.bounds.clone()) {
            let Some(backing) = &vma.backing else { continue };
            if backing.object.key() != key {
                continue;
            }
            is_mapped = true;
            let shown = backing.page_offset..backing.page_offset + (area.len() / PAGE_SIZE) as u64;
            let first = shown.start.max(pages.start);
            let last = shown.end.min(pages.end);
            if first < last {
                let address = |page: u64| area.start + (page - shown.start) as usize * PAGE_SIZE;
                each(address(first)..address(last), vma.flags);
            }
        }
        if !is_mapped {
            // Mapping it takes the lock for writing, so nobody has done so meanwhile.
            self.mapped_objects.lock().remove(&key);
        }
    }
}
