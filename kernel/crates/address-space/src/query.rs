//! `mincore(2)` and `msync(2)`.

use alloc::vec::Vec;
use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::{Errno, memory::MsyncFlags};
use vma::VmFlags;

use crate::{AddressSpace, ObjectRef, Tlb, mmap::page_align};

impl<T: Tlb> AddressSpace<T> {
    /// Whether something is mapped everywhere in `range`.
    pub fn is_mapped(&self, range: Range<usize>) -> bool {
        self.layout.read().areas.covers(range)
    }

    /// Tells for each page of `len` bytes from `address` whether it is in memory (bit 0), by calls of `put`
    /// with some pages' answers at a time. `put` is called without locks and may fault.
    pub fn mincore(
        &self,
        address: usize,
        len: usize,
        mut put: impl FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let end = page_align(len).and_then(|len| address.checked_add(len)).ok_or(Errno::ENOMEM)?;
        if end > self.config.bounds.end {
            return Err(Errno::ENOMEM);
        }
        let mut at = address;
        while at < end {
            let mut answers = [0; 512];
            let count = ((end - at) / PAGE_SIZE).min(answers.len());
            let part = at..at + count * PAGE_SIZE;
            {
                let layout = self.layout.read();
                // Linux answers for what lies before a gap, and then with an error.
                if !layout.areas.covers(part.clone()) {
                    return Err(Errno::ENOMEM);
                }
                self.table.for_each_leaf(part.clone(), |first, size, _| {
                    let leaf = first.max(part.start)..(first + size.bytes()).min(part.end);
                    answers[(leaf.start - part.start) / PAGE_SIZE..(leaf.end - part.start) / PAGE_SIZE]
                        .fill(1);
                });
                for (area, vma) in layout.areas.intersecting(part.clone()) {
                    let Some(backing) = &vma.backing else { continue };
                    for page in (area.start.max(part.start)..area.end.min(part.end)).step_by(PAGE_SIZE) {
                        let answer = &mut answers[(page - part.start) / PAGE_SIZE];
                        if *answer == 0 {
                            let index = backing.page_offset + ((page - area.start) / PAGE_SIZE) as u64;
                            *answer = u8::from(backing.object.object().cached_page(index).is_some());
                        }
                    }
                }
            }
            put(&answers[..count])?;
            at = part.end;
        }
        Ok(())
    }

    /// Writes changed pages of shared mappings back. `flags` as the application gave them.
    pub fn msync(&self, address: usize, len: usize, flags: u32) -> Result<(), Errno> {
        let flags = MsyncFlags::from_raw(flags)?;
        if !address.is_multiple_of(PAGE_SIZE) || flags.contains(MsyncFlags::ASYNC | MsyncFlags::SYNC) {
            return Err(Errno::EINVAL);
        }
        // Linux lets the rounding overflow, to nothing.
        let end = address.checked_add(page_align(len).unwrap_or(0)).ok_or(Errno::ENOMEM)?;
        let range = address..end;
        let mut work: Vec<(ObjectRef, Range<u64>)> = Vec::new();
        let is_covered = {
            let layout = self.layout.read();
            for (area, vma) in layout.areas.intersecting(range.clone()) {
                if flags.contains(MsyncFlags::INVALIDATE) && vma.flags.contains(VmFlags::LOCKED) {
                    return Err(Errno::EBUSY);
                }
                // MS_ASYNC has nothing to begin: dirty pages are written back in time (Linux since 2.6.19).
                if flags.contains(MsyncFlags::SYNC)
                    && vma.flags.contains(VmFlags::SHARED)
                    && let Some(backing) = &vma.backing
                {
                    let cut = area.start.max(range.start)..area.end.min(range.end);
                    let first = backing.page_offset + ((cut.start - area.start) / PAGE_SIZE) as u64;
                    work.push((backing.object.clone(), first..first + (cut.len() / PAGE_SIZE) as u64));
                }
            }
            layout.areas.covers(range)
        };
        for (object, pages) in work {
            object.sync(pages)?;
        }
        if is_covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }
}
