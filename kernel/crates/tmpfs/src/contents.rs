//! Contents of a regular file: page frames, and holes between them.

use alloc::collections::BTreeMap;

use frames::{PAGE_SIZE, PageRef};
use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{FallocateFlags, Seals, Whence},
};
use vfs::{Part, ReadDst, WritePosition, WriteSrc, Written, transfer_parts};

use crate::Tmpfs;

const PAGE: u64 = PAGE_SIZE as u64;
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// What a regular file holds.
pub(crate) struct Contents {
    changes: Mutex<()>,
    pages: Mutex<Pages>,
}

struct Pages {
    size: u64,
    map: BTreeMap<u64, PageRef>,
    seals: Seals,
    /// Some page was given to a shared, writable mapping.
    was_mapped_writable: bool,
}

impl Contents {
    pub(crate) fn new(seals: Seals) -> Self {
        let pages = Pages { size: 0, map: BTreeMap::new(), seals, was_mapped_writable: false };
        Self { changes: Mutex::new(()), pages: Mutex::new(pages) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.pages.lock().size
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.lock().map.len()
    }

    pub(crate) fn seals(&self) -> Seals {
        self.pages.lock().seals
    }

    /// Adds seals (`F_ADD_SEALS` in `fcntl(2)`).
    pub(crate) fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let _alone = self.changes.lock();
        let mut pages = self.pages.lock();
        if pages.seals.contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        if seals.contains(Seals::WRITE)
            && pages.was_mapped_writable
            && pages.map.values().any(|page| page.ref_count() > 1)
        {
            return Err(Errno::EBUSY);
        }
        pages.seals |= seals;
        Ok(())
    }

    pub(crate) fn read(&self, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        transfer_parts(|done| {
            let (page, start, wanted) = {
                let pages = self.pages.lock();
                let Some(at) = offset.checked_add(done as u64).filter(|at| *at < pages.size) else {
                    return Ok(Part::END);
                };
                let wanted = (pages.size - at).min(PAGE - at % PAGE) as usize;
                (pages.map.get(&(at / PAGE)).cloned(), (at % PAGE) as usize, wanted.min(dst.remaining()))
            };
            let done = match page {
                Some(page) => dst.put_page(&page, start, wanted)?,
                None => dst.put_zeros(wanted)?,
            };
            Ok(Part { wanted, done })
        })
    }

    pub(crate) fn write(
        &self,
        file_system: &Tmpfs,
        position: WritePosition,
        src: &mut dyn WriteSrc,
    ) -> Result<Written, Errno> {
        let _alone = self.changes.lock();
        let (size, seals) = {
            let pages = self.pages.lock();
            (pages.size, pages.seals)
        };
        let start = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => size,
        };
        if src.remaining() == 0 {
            return Ok(Written { bytes: 0, end: start });
        }
        if seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
            return Err(Errno::EPERM);
        }
        let limit = if seals.contains(Seals::GROW) { size } else { MAX_FILE_BYTES };
        if start >= limit {
            return Err(if limit == size { Errno::EPERM } else { Errno::EFBIG });
        }
        let mut offset = start;
        let mut outcome = Ok(());
        while src.remaining() > 0 && offset < limit {
            let in_page = offset % PAGE;
            let wanted = (src.remaining() as u64).min(PAGE - in_page).min(limit - offset) as usize;
            let result = self
                .page_for_write(file_system, offset / PAGE)
                .and_then(|page| src.take_page(&page, in_page as usize, wanted));
            match result {
                Ok(done) => {
                    offset += done as u64;
                    let mut pages = self.pages.lock();
                    pages.size = pages.size.max(offset);
                    if done < wanted {
                        break;
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if offset == start {
            outcome?;
        }
        Ok(Written { bytes: (offset - start) as usize, end: offset })
    }

    /// The page at `index`, made if it is a hole.
    fn page_for_write(&self, file_system: &Tmpfs, index: u64) -> Result<PageRef, Errno> {
        if let Some(page) = self.pages.lock().map.get(&index) {
            return Ok(page.clone());
        }
        file_system.charge(1)?;
        let page = PageRef::new_zeroed().map_err(|_| {
            file_system.uncharge(1);
            Errno::ENOSPC
        })?;
        let mut pages = self.pages.lock();
        if let Some(other) = pages.map.get(&index) {
            // A fault was faster.
            file_system.uncharge(1);
            return Ok(other.clone());
        }
        pages.map.insert(index, page.clone());
        Ok(page)
    }

    /// The page at `index` for a mapping; `EFAULT` past the end.
    pub(crate) fn mapped_page(
        &self,
        file_system: &Tmpfs,
        index: u64,
        access: vfs::PageAccess,
    ) -> Result<PageRef, Errno> {
        {
            let mut pages = self.pages.lock();
            if index >= pages.size.div_ceil(PAGE) {
                return Err(Errno::EFAULT);
            }
            if access == vfs::PageAccess::SharedWrite {
                pages.was_mapped_writable = true;
            }
        }
        self.page_for_write(file_system, index)
    }

    pub(crate) fn cached_page(&self, index: u64) -> Option<PageRef> {
        let pages = self.pages.try_lock()?;
        if index >= pages.size.div_ceil(PAGE) {
            return None;
        }
        pages.map.get(&index).cloned()
    }

    pub(crate) fn truncate(&self, file_system: &Tmpfs, size: u64) -> Result<(), Errno> {
        if size > MAX_FILE_BYTES {
            return Err(Errno::EFBIG);
        }
        let _alone = self.changes.lock();
        let gone = {
            let mut pages = self.pages.lock();
            if (size < pages.size && pages.seals.contains(Seals::SHRINK))
                || (size > pages.size && pages.seals.contains(Seals::GROW))
            {
                return Err(Errno::EPERM);
            }
            // Bytes past the end are zeros, whatever a mapping left there.
            pages.zero_to_page_end(size.min(pages.size));
            pages.size = size;
            pages.map.split_off(&size.div_ceil(PAGE))
        };
        file_system.uncharge(gone.len());
        Ok(())
    }

    pub(crate) fn allocate(
        &self,
        file_system: &Tmpfs,
        flags: FallocateFlags,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let end = offset.checked_add(length).filter(|end| *end <= MAX_FILE_BYTES).ok_or(Errno::EFBIG)?;
        let _alone = self.changes.lock();
        let (size, seals) = {
            let pages = self.pages.lock();
            (pages.size, pages.seals)
        };
        if flags == FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE {
            if seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            file_system.uncharge(self.punch(offset, end));
            return Ok(());
        }
        if !FallocateFlags::KEEP_SIZE.contains(flags) {
            return Err(Errno::EOPNOTSUPP);
        }
        let grows = end > size && !flags.contains(FallocateFlags::KEEP_SIZE);
        if grows && seals.contains(Seals::GROW) {
            return Err(Errno::EPERM);
        }
        let first = offset / PAGE;
        let mut made = alloc::vec::Vec::new();
        for index in first..end.div_ceil(PAGE) {
            let is_hole = !self.pages.lock().map.contains_key(&index);
            if is_hole {
                if let Err(error) = self.page_for_write(file_system, index) {
                    // All or nothing, as `shmem_fallocate`.
                    let mut pages = self.pages.lock();
                    made.iter().for_each(|index| drop(pages.map.remove(index)));
                    file_system.uncharge(made.len());
                    return Err(error);
                }
                made.push(index);
            }
        }
        if grows {
            self.pages.lock().size = end;
        }
        Ok(())
    }

    /// Makes a hole and returns how many pages it freed.
    fn punch(&self, start: u64, end: u64) -> usize {
        let (first_whole, end_whole) = (start.div_ceil(PAGE), end / PAGE);
        let mut pages = self.pages.lock();
        for (index, page) in pages.map.range(start / PAGE..end.div_ceil(PAGE)) {
            if !(first_whole..end_whole).contains(index) {
                let from = start.saturating_sub(index * PAGE) as usize;
                let to = (end - index * PAGE).min(PAGE) as usize;
                page.zero(from, to - from);
            }
        }
        if first_whole >= end_whole {
            return 0;
        }
        let mut gone = pages.map.split_off(&first_whole);
        let mut rest = gone.split_off(&end_whole);
        pages.map.append(&mut rest);
        drop(pages);
        gone.len()
    }

    pub(crate) fn seek_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        let pages = self.pages.lock();
        if offset >= pages.size {
            return Err(Errno::ENXIO);
        }
        match whence {
            Whence::Data => match pages.map.range(offset / PAGE..).next() {
                Some((index, _)) if index * PAGE < pages.size => Ok(offset.max(index * PAGE)),
                _ => Err(Errno::ENXIO),
            },
            _ => {
                let mut index = offset / PAGE;
                for (present, _) in pages.map.range(index..) {
                    if *present != index {
                        break;
                    }
                    index += 1;
                }
                Ok(offset.max(index * PAGE).min(pages.size))
            }
        }
    }
}

impl Pages {
    fn zero_to_page_end(&self, offset: u64) {
        let in_page = (offset % PAGE) as usize;
        if in_page != 0
            && let Some(page) = self.map.get(&(offset / PAGE))
        {
            page.zero(in_page, PAGE_SIZE - in_page);
        }
    }
}
