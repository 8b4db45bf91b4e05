//! Contents of a regular file: page frames, pages of the lower file, and holes between them.
//!
//! A file of the lower file system is read and mapped there until its first change. Then it is copied page by
//! page, each when it is first written: nothing is ever copied whole. Who has mapped a page that is copied is
//! given the copy with his next access, so a mapping, a descriptor and a name show the same bytes at any time.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use frames::{PAGE_SIZE, PageRef};
use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{FallocateFlags, Seals, Whence},
};
use vfs::{PageAccess, Part, ReadDst, WritePosition, WriteSrc, Written, replace_pages, transfer_parts};

use crate::{
    lower::{LowerFile, LowerPages},
    node::Node,
};

const PAGE: u64 = PAGE_SIZE as u64;
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// What a regular file holds.
pub(crate) struct Contents {
    lower: Option<LowerFile>,
    /// Everything is as in the lower file, which may be asked with no lock held. Never becomes true again.
    is_as_lower: AtomicBool,
    changes: Mutex<()>,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    size: u64,
    map: BTreeMap<u64, PageRef>,
    lower: LowerPages,
    /// How many pages in `map` hide one of `lower`.
    hidden_pages: u64,
    seals: Seals,
    /// Some page was given to a mapping.
    was_mapped: bool,
    /// Some page was given to a shared, writable mapping.
    was_mapped_writable: bool,
}

/// Where a page is.
enum Source {
    Own(PageRef),
    Lower,
    Hole,
}

impl Contents {
    pub(crate) fn new(seals: Seals) -> Self {
        Self::with(None, Pages { seals, ..Pages::default() })
    }

    /// What a file of the lower file system holds, of which these are the bytes.
    pub(crate) fn over(lower: LowerFile, pages: LowerPages, size: u64) -> Self {
        Self::with(Some(lower), Pages { size, lower: pages, ..Pages::default() })
    }

    fn with(lower: Option<LowerFile>, pages: Pages) -> Self {
        Self {
            is_as_lower: AtomicBool::new(lower.is_some()),
            lower,
            changes: Mutex::new(()),
            pages: Mutex::new(pages),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.pages.lock().size
    }

    /// Pages of memory that it takes.
    pub(crate) fn page_count(&self) -> usize {
        self.pages.lock().map.len()
    }

    /// Pages that it takes, here and in the lower file system.
    pub(crate) fn taken_pages(&self) -> u64 {
        let pages = self.pages.lock();
        let own = pages.map.len() as u64;
        let Some(lower) = &self.lower else { return own };
        if self.is_as_lower.load(Ordering::Relaxed) {
            return lower.taken_pages;
        }
        // The lower file may have holes; where they lie it is not worth asking.
        own + (pages.lower.count() - pages.hidden_pages).min(lower.taken_pages)
    }

    /// The lower file, if all is as there.
    fn unchanged(&self) -> Option<&LowerFile> {
        self.lower.as_ref().filter(|_| self.is_as_lower.load(Ordering::Acquire))
    }

    /// The contents are about to differ from the lower file's.
    fn diverge(&self) {
        self.is_as_lower.store(false, Ordering::Release);
    }

    /// The page at `index` of the lower file.
    fn lower_page(&self, index: u64) -> Result<PageRef, Errno> {
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        // Past its end there is nothing, and no range reaches there.
        lower.object.page(index, PageAccess::Read)
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
        if let Some(lower) = self.unchanged() {
            return lower.inode.read_at(offset, dst);
        }
        transfer_parts(|done| {
            let (at, source, wanted) = {
                let pages = self.pages.lock();
                let Some(at) = offset.checked_add(done as u64).filter(|at| *at < pages.size) else {
                    return Ok(Part::END);
                };
                let wanted = (pages.size - at).min(PAGE - at % PAGE) as usize;
                (at, pages.source(at / PAGE), wanted.min(dst.remaining()))
            };
            if wanted == 0 {
                return Ok(Part::END);
            }
            let start = (at % PAGE) as usize;
            let done = match source {
                Source::Own(page) => dst.put_page(&page, start, wanted)?,
                Source::Lower => dst.put_page(&self.lower_page(at / PAGE)?, start, wanted)?,
                Source::Hole => dst.put_zeros(wanted)?,
            };
            Ok(Part { wanted, done })
        })
    }

    pub(crate) fn write(
        &self,
        node: &Node,
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
            match self.write_in_page(node, offset / PAGE, in_page as usize, wanted, src) {
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

    /// Writes up to `wanted` bytes at `start` of the page at `index`.
    fn write_in_page(
        &self,
        node: &Node,
        index: u64,
        start: usize,
        wanted: usize,
        src: &mut dyn WriteSrc,
    ) -> Result<usize, Errno> {
        let is_copied_first =
            self.lower.is_some() && matches!(self.pages.lock().source(index), Source::Lower);
        if is_copied_first && wanted == PAGE_SIZE {
            // All of it is overwritten: what the lower file has there need not be read.
            let page = node.file_system.new_page(PageRef::new_zeroed)?;
            let taken = src.take_page(&page, 0, PAGE_SIZE);
            if taken == Ok(PAGE_SIZE) && self.insert(node, index, page.clone()) == page {
                return taken;
            }
            node.file_system.uncharge(1);
            src.untake(taken?);
        }
        let page = self.page_for_write(node, index)?;
        src.take_page(&page, start, wanted)
    }

    /// The page at `index`, made if it is a hole, copied if it is the lower file's.
    fn page_for_write(&self, node: &Node, index: u64) -> Result<PageRef, Errno> {
        let source = self.pages.lock().source(index);
        let page = match source {
            Source::Own(page) => return Ok(page),
            Source::Hole => node.file_system.new_page(PageRef::new_zeroed)?,
            Source::Lower => {
                let lower = self.lower_page(index)?;
                node.file_system.new_page(|| lower.duplicate())?
            }
        };
        let inserted = self.insert(node, index, page.clone());
        if inserted != page {
            node.file_system.uncharge(1);
        }
        Ok(inserted)
    }

    /// Puts a new page in, and has the lower one that it replaces taken out of mappings. Returns the page
    /// that is there now: another if a fault was faster.
    fn insert(&self, node: &Node, index: u64, page: PageRef) -> PageRef {
        self.diverge();
        {
            let mut pages = self.pages.lock();
            if let Some(other) = pages.map.get(&index) {
                return other.clone();
            }
            pages.map.insert(index, page.clone());
            if !pages.lower.contains(index) {
                return page;
            }
            pages.hidden_pages += 1;
            if !pages.was_mapped {
                return page;
            }
        }
        replace_pages(node, index..index + 1);
        page
    }

    /// The page at `index` for a mapping; `EFAULT` past the end.
    pub(crate) fn mapped_page(&self, node: &Node, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        let source = {
            let mut pages = self.pages.lock();
            if index >= pages.size.div_ceil(PAGE) {
                return Err(Errno::EFAULT);
            }
            pages.was_mapped = true;
            if access == PageAccess::SharedWrite {
                pages.was_mapped_writable = true;
            }
            pages.source(index)
        };
        match (source, access) {
            (Source::Lower, PageAccess::Read) => self.lower_page(index),
            _ => self.page_for_write(node, index),
        }
    }

    pub(crate) fn cached_page(&self, index: u64) -> Option<PageRef> {
        let source = {
            let mut pages = self.pages.try_lock()?;
            if index >= pages.size.div_ceil(PAGE) {
                return None;
            }
            pages.was_mapped = true;
            pages.source(index)
        };
        match source {
            Source::Own(page) => Some(page),
            Source::Lower => self.lower.as_ref()?.object.cached_page(index),
            Source::Hole => None,
        }
    }

    pub(crate) fn truncate(&self, node: &Node, size: u64) -> Result<(), Errno> {
        if size > MAX_FILE_BYTES {
            return Err(Errno::EFBIG);
        }
        let _alone = self.changes.lock();
        if size < self.size() {
            self.copy_lower_page_of(node, size)?;
        }
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
            self.diverge();
            let gone = pages.map.split_off(&size.div_ceil(PAGE));
            pages.give_up_lower(size.div_ceil(PAGE)..u64::MAX, &gone);
            gone
        };
        node.file_system.uncharge(gone.len());
        Ok(())
    }

    /// Copies the page that `offset` lies inside of, if it is the lower file's: part of it is to become zeros.
    fn copy_lower_page_of(&self, node: &Node, offset: u64) -> Result<(), Errno> {
        let index = offset / PAGE;
        if offset.is_multiple_of(PAGE) || !matches!(self.pages.lock().source(index), Source::Lower) {
            return Ok(());
        }
        self.page_for_write(node, index).map(drop)
    }

    pub(crate) fn allocate(
        &self,
        node: &Node,
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
            self.copy_lower_page_of(node, offset)?;
            self.copy_lower_page_of(node, end)?;
            node.file_system.uncharge(self.punch(offset, end));
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
        let mut made = Vec::new();
        for index in first..end.div_ceil(PAGE) {
            // Pages of the lower file too: what is allocated can be written without an error.
            let is_missing = !self.pages.lock().map.contains_key(&index);
            if is_missing {
                if let Err(error) = self.page_for_write(node, index) {
                    // All or nothing, as `shmem_fallocate`.
                    let mut pages = self.pages.lock();
                    for index in &made {
                        pages.map.remove(index);
                        pages.hidden_pages -= u64::from(pages.lower.contains(*index));
                    }
                    drop(pages);
                    node.file_system.uncharge(made.len());
                    replace_pages(node, first..end.div_ceil(PAGE));
                    return Err(error);
                }
                made.push(index);
            }
        }
        if grows {
            self.diverge();
            self.pages.lock().size = end;
        }
        Ok(())
    }

    /// Makes a hole and returns how many pages it freed.
    fn punch(&self, start: u64, end: u64) -> usize {
        let (first_whole, end_whole) = (start.div_ceil(PAGE), end / PAGE);
        let mut pages = self.pages.lock();
        self.diverge();
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
        pages.give_up_lower(first_whole..end_whole, &gone);
        drop(pages);
        gone.len()
    }

    pub(crate) fn seek_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        if let Some(lower) = self.unchanged() {
            return lower.inode.seek_region(offset, whence);
        }
        let mut at = offset;
        loop {
            let (size, region) = {
                let pages = self.pages.lock();
                (pages.size, pages.region_at(at / PAGE))
            };
            // Past the end there is only the hole there, for who started before it.
            if at >= size {
                let is_hole_at_end = whence == Whence::Hole && offset < size;
                return if is_hole_at_end { Ok(size) } else { Err(Errno::ENXIO) };
            }
            at = match (region, whence) {
                (Region::Data, Whence::Data) | (Region::Hole { .. }, Whence::Hole) => return Ok(at),
                (Region::Data, _) => (at / PAGE + 1) * PAGE,
                (Region::Hole { next }, _) => next.map_or(u64::MAX, |next| next * PAGE),
                (Region::Lower { end }, _) => {
                    let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
                    match lower.seek_region(at, end * PAGE, whence)? {
                        Some(found) if found < size => return Ok(found),
                        _ => end * PAGE,
                    }
                }
            };
        }
    }
}

/// What begins at a page, and at which page it ends.
enum Region {
    Data,
    Lower { end: u64 },
    Hole { next: Option<u64> },
}

impl Pages {
    fn source(&self, index: u64) -> Source {
        match self.map.get(&index) {
            Some(page) => Source::Own(page.clone()),
            None if self.lower.contains(index) => Source::Lower,
            None => Source::Hole,
        }
    }

    /// `range` becomes a hole; `gone` are the pages that were in `map` there.
    fn give_up_lower(&mut self, range: Range<u64>, gone: &BTreeMap<u64, PageRef>) {
        let unhidden = gone.keys().filter(|index| self.lower.contains(**index)).count();
        self.hidden_pages -= unhidden as u64;
        self.lower.remove(range);
    }

    fn region_at(&self, index: u64) -> Region {
        let next_own = match self.map.range(index..).next() {
            Some((own, _)) if *own == index => return Region::Data,
            own => own.map(|(own, _)| *own),
        };
        match self.lower.range_at(index) {
            Some(range) => Region::Lower { end: next_own.map_or(range.end, |own| own.min(range.end)) },
            None => Region::Hole { next: next_own.into_iter().chain(self.lower.next_start(index)).min() },
        }
    }

    fn zero_to_page_end(&self, offset: u64) {
        let in_page = (offset % PAGE) as usize;
        if in_page != 0
            && let Some(page) = self.map.get(&(offset / PAGE))
        {
            page.zero(in_page, PAGE_SIZE - in_page);
        }
    }
}
