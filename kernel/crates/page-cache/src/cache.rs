//! Reading, writing and truncating through the cache.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use frames::{PAGE_SIZE, PageRef};
use ksync::{Mutex, MutexGuard, WaitQueue};
use linux_abi::Errno;
use vfs::{PageAccess, Part, ReadDst, WriteErrors, WritePosition, WriteSrc, Written, transfer_parts};

use crate::{
    PageSource,
    dirty::{DirtySet, PAYMENT_PAGES},
    eviction,
};

pub(crate) const PAGE: u64 = PAGE_SIZE as u64;

/// Pages read around a miss that follows no pattern: 64 KiB, aligned.
const CLUSTER_PAGES: u64 = 16;
/// Most pages read ahead of a sequential reader: 1 MiB. A request costs a virtual machine about as
/// much as copying that.
const MAX_AHEAD_PAGES: u64 = 256;
/// The largest file (`MAX_LFS_FILESIZE`).
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// The cached pages of one file.
pub struct PageCache {
    pub(crate) state: Mutex<State>,
    /// Serialises changes of the file: writes, and changes of size.
    changes: Mutex<()>,
    pub(crate) writebacks: Mutex<()>,
    /// Threads that wait for a page that is being filled.
    filled: WaitQueue,
    /// What failed when pages were written back.
    pub(crate) write_errors: WriteErrors,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) size: u64,
    pub(crate) pages: BTreeMap<u64, CachedPage>,
    pub(crate) dirty: DirtySet,
    /// The last write-back failed.
    pub(crate) is_failing: bool,
    /// Where the next eviction goes on.
    pub(crate) hand: u64,
    /// The index that a sequential reader asks for next, and how far to read ahead then.
    next_expected: u64,
    ahead_pages: u64,
}

pub(crate) struct CachedPage {
    pub(crate) page: PageRef,
    pub(crate) fill: Fill,
    /// Used since eviction last came by.
    pub(crate) recently_used: bool,
    /// Given to a shared, writable mapping: it may change for as long as somebody else has it.
    pub(crate) mapped_writable: bool,
}

/// Whether a page has its contents yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// A thread is reading it.
    UnderWay,
    /// It has.
    Done,
}

impl CachedPage {
    fn new(page: PageRef, fill: Fill) -> Self {
        Self { page, fill, recently_used: false, mapped_writable: false }
    }
}

/// Held while nothing else changes the file; see [`PageCache::lock_changes`].
pub struct ChangesGuard<'a>(#[allow(dead_code, reason = "held for its drop")] MutexGuard<'a, ()>);

impl PageCache {
    /// The cache of a file of `size` bytes, registered for eviction.
    pub fn new(size: u64) -> Arc<Self> {
        let cache = Arc::new(Self {
            state: Mutex::new(State { size, ..State::default() }),
            changes: Mutex::new(()),
            writebacks: Mutex::new(()),
            filled: WaitQueue::new(),
            write_errors: WriteErrors::new(),
        });
        eviction::register(&cache);
        cache
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// What failed when pages were written back, whoever did that.
    pub fn write_errors(&self) -> &WriteErrors {
        &self.write_errors
    }

    /// Pages in memory.
    pub fn page_count(&self) -> usize {
        self.state.lock().pages.len()
    }

    /// Whether the page at `index` is in memory.
    pub fn has_page(&self, index: u64) -> bool {
        self.state.lock().pages.contains_key(&index)
    }

    /// Keeps writes and changes of size out while the guard lives.
    pub fn lock_changes(&self) -> ChangesGuard<'_> {
        ChangesGuard(self.changes.lock())
    }

    /// Reads into `dst`; 0 at the end of the file.
    pub fn read(&self, source: &dyn PageSource, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        transfer_parts(|done| {
            let size = self.size();
            let Some(at) = offset.checked_add(done as u64).filter(|at| *at < size) else {
                return Ok(Part::END);
            };
            let start = (at % PAGE) as usize;
            let wanted = ((size - at).min(PAGE - start as u64) as usize).min(dst.remaining());
            if wanted == 0 {
                return Ok(Part::END);
            }
            let page = self.page(source, at / PAGE)?;
            Ok(Part { wanted, done: dst.put_page(&page, start, wanted)? })
        })
    }

    /// Reads into `dst` what storage has, and keeps none of it but what others use. With requests as large as what is
    /// asked for, and not larger.
    pub fn read_direct(
        &self,
        source: &dyn PageSource,
        offset: u64,
        dst: &mut dyn ReadDst,
    ) -> Result<usize, Errno> {
        let end = offset.saturating_add(dst.remaining() as u64).min(self.size());
        if offset >= end {
            return Ok(0);
        }
        let (first, last) = (offset / PAGE, end.div_ceil(PAGE));
        self.write_back(source, first, last)?;
        self.drop_clean(first..last);
        let mut index = first;
        while index < last {
            let piece = index..last.min(index + MAX_AHEAD_PAGES);
            if self.has_page(index) {
                index += 1;
                continue;
            }
            // Another thread may have been faster, in parts; `read` gets what is missing then.
            self.fill(source, index, piece.clone())?;
            index = piece.end;
        }
        let result = self.read(source, offset, dst);
        self.drop_clean(first..last);
        result
    }

    /// The page at `index` if it is in memory, without waiting for anything.
    pub fn cached_page(&self, index: u64) -> Option<PageRef> {
        let mut state = self.state.try_lock()?;
        if index >= state.size.div_ceil(PAGE) {
            return None;
        }
        let cached = state.pages.get_mut(&index)?;
        cached.recently_used = true;
        (cached.fill == Fill::Done).then(|| cached.page.clone())
    }

    /// The page at `index` for a mapping; `EFAULT` past the end of the file.
    pub fn mapped_page(
        &self,
        source: &dyn PageSource,
        index: u64,
        access: PageAccess,
    ) -> Result<PageRef, Errno> {
        if index >= self.size().div_ceil(PAGE) {
            return Err(Errno::EFAULT);
        }
        if access == PageAccess::SharedWrite {
            self.may_dirty()?;
        }
        let page = self.page(source, index)?;
        if access == PageAccess::SharedWrite {
            self.make_dirty(source, index, |cached| cached.mapped_writable = true)?;
            self.balance(source);
        }
        Ok(page)
    }

    /// The page at `index`, read if need be.
    fn page(&self, source: &dyn PageSource, index: u64) -> Result<PageRef, Errno> {
        loop {
            let mut must_wait = false;
            {
                let mut state = self.state.lock();
                if let Some(cached) = state.pages.get_mut(&index) {
                    if cached.fill == Fill::Done {
                        cached.recently_used = true;
                        return Ok(cached.page.clone());
                    }
                    must_wait = true;
                }
            }
            if must_wait {
                self.filled.wait_uninterruptible(|| {
                    let state = self.state.lock();
                    let filling = state.pages.get(&index).is_some_and(|c| c.fill == Fill::UnderWay);
                    (!filling).then_some(())
                });
            } else if let Some(page) = self.fill_around(source, index)? {
                return Ok(page);
            }
        }
    }

    /// Which pages to read for a miss at `index`.
    fn window(&self, index: u64) -> core::ops::Range<u64> {
        let mut state = self.state.lock();
        let pages = state.size.div_ceil(PAGE);
        let (first, wanted) = if index == state.next_expected && index != 0 {
            state.ahead_pages = (state.ahead_pages * 2).clamp(CLUSTER_PAGES, MAX_AHEAD_PAGES);
            (index, state.ahead_pages)
        } else {
            state.ahead_pages = CLUSTER_PAGES;
            (index / CLUSTER_PAGES * CLUSTER_PAGES, CLUSTER_PAGES)
        };
        // Only what is missing, around the page that is wanted.
        let end = (first + wanted).min(pages).max(index + 1);
        let end = state.pages.range(index + 1..end).next().map_or(end, |(present, _)| *present);
        let first = state.pages.range(first..index).next_back().map_or(first, |(present, _)| *present + 1);
        state.next_expected = end;
        first..end
    }

    /// Reads the page at `index` and some around it. `None` if another thread was faster.
    fn fill_around(&self, source: &dyn PageSource, index: u64) -> Result<Option<PageRef>, Errno> {
        let window = self.window(index);
        match self.fill(source, index, window.clone()) {
            // What else was to be read must not fail the page that is wanted.
            Err(_) if window.end - window.start > 1 => self.fill(source, index, index..index + 1),
            result => result,
        }
    }

    fn fill(
        &self,
        source: &dyn PageSource,
        index: u64,
        window: core::ops::Range<u64>,
    ) -> Result<Option<PageRef>, Errno> {
        // Frames first: getting them may evict pages of this very file.
        let mut frames = Vec::new();
        for _ in window.clone() {
            // SAFETY: a source writes every byte; until it has, nobody gets the page.
            match unsafe { PageRef::new_uninit() } {
                Ok(frame) => frames.push(frame),
                Err(_) if frames.is_empty() => return Err(Errno::ENOMEM),
                Err(_) => break,
            }
        }
        let first = if (frames.len() as u64) < window.end - window.start { index } else { window.start };
        let filling = {
            let mut state = self.state.lock();
            if state.pages.contains_key(&index) {
                return Ok(None);
            }
            let mut filling: Vec<(u64, PageRef)> = Vec::new();
            for (at, frame) in (first..window.end).zip(frames) {
                if state.pages.contains_key(&at) {
                    // Another thread got here first. One request reads neighbours only.
                    if at > index {
                        break;
                    }
                    for (undone, _) in filling.drain(..) {
                        state.pages.remove(&undone);
                    }
                    continue;
                }
                state.pages.insert(at, CachedPage::new(frame.clone(), Fill::UnderWay));
                filling.push((at, frame));
            }
            filling
        };
        // If frames ran out just there, the caller comes back and asks for less.
        let Some(position) = filling.iter().position(|(at, _)| *at == index) else {
            self.end_fill(&filling, Err(Errno::ENOMEM));
            return Err(Errno::ENOMEM);
        };
        let result = {
            // SAFETY: the pages are marked as being filled, so nobody else gets or evicts them; they
            // are distinct frames, and `filling` keeps them.
            let mut buffers: Vec<&mut [u8]> =
                filling.iter().map(|(_, page)| unsafe { &mut page.bytes_mut()[..] }).collect();
            source.read_pages(filling[0].0, &mut buffers)
        };
        self.end_fill(&filling, result);
        result?;
        Ok(Some(filling[position].1.clone()))
    }

    fn end_fill(&self, filling: &[(u64, PageRef)], result: Result<(), Errno>) {
        {
            let mut state = self.state.lock();
            let size = state.size;
            for (index, page) in filling {
                // The file's last page may have been read while its end lay elsewhere.
                let past_end = size.saturating_sub(index * PAGE).min(PAGE) as usize;
                page.zero(past_end, PAGE_SIZE - past_end);
                match result {
                    Ok(()) => {
                        if let Some(cached) = state.pages.get_mut(index) {
                            cached.fill = Fill::Done;
                        }
                    }
                    Err(_) => {
                        state.pages.remove(index);
                    }
                }
            }
        }
        self.filled.wake_all();
    }

    /// Writes what `src` has.
    pub fn write(
        &self,
        source: &dyn PageSource,
        position: WritePosition,
        src: &mut dyn WriteSrc,
    ) -> Result<Written, Errno> {
        let _alone = self.changes.lock();
        let start = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => self.size(),
        };
        if src.remaining() > 0 && start >= MAX_FILE_BYTES {
            return Err(Errno::EFBIG);
        }
        self.may_dirty()?;
        let mut offset = start;
        let mut balanced = start;
        let mut outcome = Ok(());
        while src.remaining() > 0 && offset < MAX_FILE_BYTES {
            let in_page = (offset % PAGE) as usize;
            let wanted = src.remaining().min(PAGE_SIZE - in_page);
            match self.write_in_page(source, offset, wanted, src) {
                Ok(done) => {
                    offset += done as u64;
                    if done < wanted {
                        break;
                    }
                    if offset - balanced >= PAYMENT_PAGES as u64 * PAGE {
                        self.balance(source);
                        balanced = offset;
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
        self.balance(source);
        Ok(Written { bytes: (offset - start) as usize, end: offset })
    }

    /// Writes up to `wanted` bytes at `offset`, which lie in one page.
    fn write_in_page(
        &self,
        source: &dyn PageSource,
        offset: u64,
        wanted: usize,
        src: &mut dyn WriteSrc,
    ) -> Result<usize, Errno> {
        let (index, in_page) = (offset / PAGE, (offset % PAGE) as usize);
        // A page that is written whole, or lies past the end, need not be read. Nobody may see it
        // before it has its contents, so it is filled before it is entered.
        let old_size = self.size();
        let is_fresh = index * PAGE >= old_size;
        if (wanted == PAGE_SIZE || is_fresh) && !self.has_page(index) {
            let page = PageRef::new_zeroed().map_err(|_| Errno::ENOMEM)?;
            let done = src.take_page(&page, in_page, wanted)?;
            if done == 0 {
                return Ok(0);
            }
            if done == wanted || is_fresh {
                source.reserve_page()?;
                let mut state = self.state.lock();
                // Only a fault or read-ahead can have been faster, as writers exclude each other.
                if !state.pages.contains_key(&index) {
                    Self::extend(&mut state, offset + done as u64);
                    let mut cached = CachedPage::new(page, Fill::Done);
                    cached.recently_used = true;
                    state.pages.insert(index, cached);
                    state.dirty.insert(index);
                    return Ok(done);
                }
                drop(state);
                source.release_pages(1);
            }
            src.untake(done);
        }
        let page = self.page(source, index)?;
        self.make_dirty(source, index, |_| ())?;
        if offset > old_size && old_size / PAGE == index {
            // What a mapping may have left between the old end and here.
            let old_end = (old_size % PAGE) as usize;
            page.zero(old_end, in_page - old_end);
        }
        let done = src.take_page(&page, in_page, wanted)?;
        let mut state = self.state.lock();
        Self::extend(&mut state, offset + done as u64);
        // Again: a writeback may have come between.
        if state.dirty.insert(index) {
            drop(state);
            source.retain_page();
        }
        Ok(done)
    }

    /// Moves the end of the file to `end` if it lies before. What a mapping may have left past the
    /// old end, in its page, becomes zeros first.
    fn extend(state: &mut State, end: u64) {
        let old = state.size;
        if end <= old {
            return;
        }
        let in_page = (old % PAGE) as usize;
        if in_page != 0
            && old / PAGE != (end - 1) / PAGE
            && let Some(cached) = state.pages.get(&(old / PAGE))
        {
            cached.page.zero(in_page, PAGE_SIZE - in_page);
        }
        state.size = end;
    }

    /// Marks the page at `index`, which the caller has a reference to, as dirty.
    fn make_dirty(
        &self,
        source: &dyn PageSource,
        index: u64,
        mark: impl FnOnce(&mut CachedPage),
    ) -> Result<(), Errno> {
        let is_dirty = self.state.lock().dirty.contains(index);
        if !is_dirty {
            source.reserve_page()?;
        }
        let mut state = self.state.lock();
        // It may be gone: a truncation came between.
        let newly = match state.pages.get_mut(&index) {
            Some(cached) => {
                mark(cached);
                cached.recently_used = true;
                state.dirty.insert(index)
            }
            None => false,
        };
        drop(state);
        if !is_dirty && !newly {
            source.release_pages(1);
        }
        Ok(())
    }

    /// Changes the size. `apply` does the same to the storage, while neither changes nor writebacks
    /// are under way; if it fails nothing has changed here.
    pub fn truncate(
        &self,
        source: &dyn PageSource,
        size: u64,
        apply: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if size > MAX_FILE_BYTES {
            return Err(Errno::EFBIG);
        }
        let _alone = self.changes.lock();
        let _no_writeback = self.writebacks.lock();
        let old = self.size();
        apply()?;
        if size >= old {
            Self::extend_to(&mut self.state.lock(), size);
            return Ok(());
        }
        // From here on no read looks behind the new end; those that are reading there are awaited.
        self.state.lock().size = size;
        let first_gone = size.div_ceil(PAGE);
        self.wait_for_fills(first_gone..u64::MAX);
        let (gone, dirty) = {
            let mut state = self.state.lock();
            let gone = state.pages.split_off(&first_gone);
            let dirty = state.dirty.remove_from(first_gone);
            let in_page = (size % PAGE) as usize;
            if in_page != 0
                && let Some(cached) = state.pages.get(&(size / PAGE))
            {
                cached.page.zero(in_page, PAGE_SIZE - in_page);
            }
            (gone, dirty)
        };
        drop(gone);
        source.release_pages(dirty);
        Ok(())
    }

    fn extend_to(state: &mut State, size: u64) {
        let in_page = (state.size % PAGE) as usize;
        if in_page != 0
            && let Some(cached) = state.pages.get(&(state.size / PAGE))
        {
            cached.page.zero(in_page, PAGE_SIZE - in_page);
        }
        state.size = size;
    }

    fn wait_for_fills(&self, range: core::ops::Range<u64>) {
        self.filled.wait_uninterruptible(|| {
            let state = self.state.lock();
            let filling = state.pages.range(range.clone()).any(|(_, c)| c.fill == Fill::UnderWay);
            (!filling).then_some(())
        });
    }

    /// Makes the bytes `start..end` zeros. `apply` does the same to the storage. Cached pages are
    /// zeroed in place, so that mappings of them see it.
    pub fn zero_range(
        &self,
        start: u64,
        end: u64,
        apply: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let _alone = self.changes.lock();
        let _no_writeback = self.writebacks.lock();
        apply()?;
        self.wait_for_fills(start / PAGE..end.div_ceil(PAGE));
        let state = self.state.lock();
        for (index, cached) in state.pages.range(start / PAGE..end.div_ceil(PAGE)) {
            let from = start.saturating_sub(index * PAGE).min(PAGE) as usize;
            let to = (end - index * PAGE).min(PAGE) as usize;
            cached.page.zero(from, to - from);
        }
        Ok(())
    }

    /// The size, changed by the storage's owner without any page (`fallocate(2)` past the end).
    pub fn grow(&self, size: u64) {
        let mut state = self.state.lock();
        if size > state.size {
            Self::extend_to(&mut state, size);
        }
    }
}
