//! Contents of regular files: between the page cache and the device.
//!
//! What has its place on the device goes past the crate: the extents tell where the bytes lie, neighbouring
//! blocks are read with one request straight into page frames, and written without a word to the journal or
//! a lock that others wait for. Only what is new goes through the crate, which allocates, and keeps
//! blocks unwritten until their data is there. Whole blocks it writes at once. A part of a block, at the end
//! of a file, it may hold back in its block cache: `Disk` remembers which those are, and they are read and
//! written through the crate.

use alloc::{sync::Arc, vec};
use core::{ops::Range, sync::atomic::Ordering};

use block::SECTOR_BYTES;
use frames::{PAGE_SIZE, PageRef};
use linux_abi::{
    Errno,
    file::{FallocateFlags, Whence},
};
use page_cache::{PageSource, Protection};
use rsext4::{
    Ext4Result, FileExtent, FileExtentState, FileExtentTarget, PreallocationOptions, RangeOperation,
    ZeroRangeOptions,
};
use vfs::{FileSystem, MemoryObject, ObjectName, PageAccess, SyncKind, WriteErrors, write_protect_pages};

use crate::{core_io::Mounted, inode::Ext4Inode};

const PAGE: u64 = PAGE_SIZE as u64;

/// What a change does to the blocks that a file has.
enum Blocks {
    Kept,
    /// Some of them may be another's afterwards.
    Freed,
}

impl Ext4Inode {
    fn extents(&self) -> Result<Arc<[FileExtent]>, Errno> {
        // The lock is held while the crate is asked: what it then says is forgotten by a change that
        // comes after, never remembered past one.
        let mut known = self.extents.lock();
        if let Some(extents) = &*known {
            return Ok(extents.clone());
        }
        let map = self.file_system.read(|mounted| {
            // In whole pages; an empty range would be an error.
            let bytes = mounted.inode(self.number)?.size.next_multiple_of(PAGE).max(PAGE);
            mounted.inode_extents(self.number, 0, bytes, FileExtentTarget::Data, usize::MAX)
        })?;
        let mut extents = map.extents;
        extents.sort_unstable_by_key(|extent| extent.logical_start);
        let is_sane = extents.windows(2).all(|pair| {
            pair[0].logical_start.checked_add(pair[0].length).is_some_and(|end| end <= pair[1].logical_start)
        });
        if !is_sane {
            return Err(Errno::EUCLEAN);
        }
        let extents: Arc<[FileExtent]> = extents.into();
        *known = Some(extents.clone());
        Ok(extents)
    }

    /// Where the contents lie, if what is freed of them is to be given back.
    fn extents_to_give_back(&self) -> Result<Option<Arc<[FileExtent]>>, Errno> {
        if self.has_extents && self.file_system.discards() { self.extents().map(Some) } else { Ok(None) }
    }

    /// The crate has changed contents or where they lie.
    fn forget_extents(&self) {
        *self.extents.lock() = None;
        self.settled_by.store(self.file_system.commits.next(), Ordering::Release);
    }

    /// The crate is about to change parts of the blocks at these places in the file, in its cache.
    fn core_changes_blocks(&self, places: &[u64]) -> Result<(), Errno> {
        let extents = self.extents()?;
        for place in places {
            let block = place / self.file_system.block_bytes * self.file_system.block_bytes;
            if let Some(extent) = extent_with(&extents, block) {
                let physical = extent.physical_start + (block - extent.logical_start);
                self.file_system.disk.note_in_core(physical, None);
            }
        }
        Ok(())
    }

    /// Which way the contents at `offset`, a multiple of the page size, go to the device, and how many of the
    /// `length` bytes do. They end at the end of a page or of the file.
    fn route(&self, offset: u64, length: u64) -> Result<(Route, u64), Errno> {
        let page = length.min(PAGE);
        if !self.has_extents {
            return Ok((Route::CoreCache, page));
        }
        let block_bytes = self.file_system.block_bytes;
        let stored = self.stored_size();
        // All blocks but one that is not whole.
        let fresh = |limit: u64| match limit.min(length) / block_bytes * block_bytes {
            0 => (Route::CoreCache, page),
            whole => (Route::Core, whole),
        };
        if offset >= stored {
            return Ok(fresh(length));
        }
        let extents = self.extents()?;
        let after = extents.partition_point(|extent| extent.logical_start + extent.length <= offset);
        let Some(next) = extents[after..].iter().find(|extent| is_readable(extent)) else {
            return Ok(fresh(length));
        };
        if next.logical_start >= offset + page {
            return Ok(fresh(next.logical_start / PAGE * PAGE - offset));
        }
        // What does not change the size, and has blocks.
        let (in_extent, end) = (next.logical_start + next.length, offset + length);
        let mut limit = in_extent.min(stored / PAGE * PAGE).min(end);
        if end == stored && in_extent >= stored {
            limit = end;
        }
        if next.logical_start > offset || limit <= offset || (limit < end && limit - offset < PAGE) {
            return Ok((Route::CoreCache, page));
        }
        if limit < end {
            limit = limit / PAGE * PAGE;
        }
        let physical = next.physical_start + (offset - next.logical_start);
        let range = physical..physical + (limit - offset);
        match self.file_system.disk.first_in_core(range) {
            Some(first) if (first - physical) < PAGE => Ok((Route::CoreCache, page)),
            Some(first) => Ok((Route::Device(physical), (first - physical) / PAGE * PAGE)),
            None => Ok((Route::Device(physical), limit - offset)),
        }
    }

    /// Writes to blocks that are the file's.
    fn write_to_device(&self, physical: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.file_system.check_writable()?;
        let disk = &self.file_system.disk;
        let sector = physical / SECTOR_BYTES as u64;
        let block_bytes = self.file_system.block_bytes as usize;
        if bytes.len().is_multiple_of(block_bytes) {
            return disk.write(sector, bytes);
        }
        // The end of the file: the rest of its last block is zeros.
        let mut whole = bytes.to_vec();
        whole.resize(bytes.len().next_multiple_of(block_bytes), 0);
        disk.write(sector, &whole)
    }

    /// Writes through the crate, which may have to allocate.
    fn write_to_core(&self, offset: u64, bytes: &[u8], keeps: Keeps) -> Result<(), Errno> {
        let block_bytes = self.file_system.block_bytes;
        let result = self.file_system.change(|mounted| {
            mounted.write_inode(self.number, offset, bytes)?;
            if keeps == Keeps::Nothing {
                return Ok(());
            }
            let map = mounted.inode_extents(
                self.number,
                offset,
                bytes.len() as u64,
                FileExtentTarget::Data,
                usize::MAX,
            )?;
            for (block, bytes) in
                (offset..).step_by(block_bytes as usize).zip(bytes.chunks(block_bytes as usize))
            {
                let Some(extent) = map.extents.iter().find(|extent| {
                    (extent.logical_start..extent.logical_start + extent.length).contains(&block)
                }) else {
                    continue;
                };
                let mut whole = bytes.to_vec();
                whole.resize(block_bytes as usize, 0);
                let physical = extent.physical_start + (block - extent.logical_start);
                self.file_system.disk.note_in_core(physical, Some(whole.into()));
            }
            Ok(())
        });
        self.forget_extents();
        result
    }

    /// Whether all contents are on the device.
    fn is_settled(&self) -> bool {
        !self.is_inline && self.settled_by.load(Ordering::Acquire) <= self.file_system.commits.last_done()
    }

    /// Writes contents, each part of them the way that it has to go.
    fn write_parts(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let (mut at, mut rest) = (offset, bytes);
        let mut through_core = false;
        while !rest.is_empty() {
            let (route, length) = self.route(at, rest.len() as u64)?;
            let (part, after) = rest.split_at(length as usize);
            match route {
                Route::Device(physical) => self.write_to_device(physical, part)?,
                Route::Core => self.write_to_core(at, part, Keeps::Nothing)?,
                Route::CoreCache => self.write_to_core(at, part, Keeps::All)?,
            }
            through_core |= !matches!(route, Route::Device(_));
            (at, rest) = (at + length, after);
        }
        if through_core { self.refresh() } else { Ok(()) }
    }

    fn read_from_core(&self, first: u64, pages: &mut [&mut [u8]]) -> Result<(), Errno> {
        // The crate reads runs of blocks itself; one buffer for all makes them long.
        let mut bytes = vec![0; pages.len() * PAGE_SIZE];
        self.file_system.read(|mounted| mounted.read_inode(self.number, first * PAGE, &mut bytes))?;
        for (page, bytes) in pages.iter_mut().zip(bytes.chunks_exact(PAGE_SIZE)) {
            page.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Reads a page in pieces: for blocks that are smaller than pages, and extents that end inside.
    fn read_pieces(&self, extents: &[FileExtent], offset: u64, page: &mut [u8]) -> Result<(), Errno> {
        page.fill(0);
        for extent in extents.iter().filter(|extent| is_readable(extent)) {
            let start = extent.logical_start.max(offset);
            let end = (extent.logical_start + extent.length).min(offset + PAGE);
            if start < end {
                let sector = (extent.physical_start + (start - extent.logical_start)) / SECTOR_BYTES as u64;
                let piece = &mut page[(start - offset) as usize..(end - offset) as usize];
                self.file_system.disk.read(sector, piece)?;
            }
        }
        Ok(())
    }

    /// Has the crate do something to blocks at these offsets, and gives back what that frees.
    fn change_blocks(
        &self,
        offsets: &[u64],
        blocks: Blocks,
        operation: impl Fn(&mut Mounted) -> Ext4Result<()>,
    ) -> Result<(), Errno> {
        if self.has_extents {
            self.core_changes_blocks(offsets)?;
        }
        let result = match blocks {
            Blocks::Kept => self.file_system.change(operation),
            Blocks::Freed => {
                let before = self.extents_to_give_back()?;
                let before = before.as_deref().unwrap_or(&[]);
                let free =
                    |mounted: &mut _| self.file_system.free_blocks(mounted, self.number, before, &operation);
                self.file_system.change(free)
            }
        };
        self.forget_extents();
        result?;
        self.refresh()
    }

    pub(crate) fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.pages.truncate(self, size, || {
            if size == self.stored_size() {
                return Ok(());
            }
            let blocks = if size < self.stored_size() { Blocks::Freed } else { Blocks::Kept };
            self.change_blocks(&[size, self.stored_size()], blocks, |mounted| {
                mounted.truncate_inode(self.number, size)
            })
        })
    }

    pub(crate) fn allocate_range(
        &self,
        flags: FallocateFlags,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let keep_size = flags.contains(FallocateFlags::KEEP_SIZE);
        let operation = match flags.difference(FallocateFlags::KEEP_SIZE) {
            none if none.is_empty() && keep_size => RangeOperation::Allocate(PreallocationOptions::KEEP_SIZE),
            none if none.is_empty() => RangeOperation::Allocate(PreallocationOptions::EXTEND_SIZE),
            FallocateFlags::PUNCH_HOLE if keep_size => RangeOperation::PunchHole,
            FallocateFlags::ZERO_RANGE if keep_size => RangeOperation::Zero(ZeroRangeOptions::KEEP_SIZE),
            FallocateFlags::ZERO_RANGE => RangeOperation::Zero(ZeroRangeOptions::EXTEND_SIZE),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let blocks = if operation == RangeOperation::PunchHole { Blocks::Freed } else { Blocks::Kept };
        let apply = || {
            if operation == RangeOperation::PunchHole {
                self.split_extents_at_ends(offset, end)?;
            }
            self.change_blocks(&[offset, end, self.stored_size()], blocks, |mounted| {
                mounted.operate_inode_range(self.number, offset, length, operation)
            })
        };
        // Pages that are dirty have no blocks yet, or sizes that the crate does not know of.
        self.pages.write_back_all(self)?;
        match operation {
            RangeOperation::Allocate(_) => {
                let missing = self.missing_bytes(offset, end)?;
                self.file_system.make_room(|space| space.has_room(missing))?;
                let _alone = self.pages.lock_changes();
                apply()?;
            }
            _ => self.pages.zero_range(offset, end, apply)?,
        }
        if !keep_size {
            self.pages.grow(end);
        }
        Ok(())
    }

    /// How much of a range of the file has no blocks yet.
    fn missing_bytes(&self, offset: u64, end: u64) -> Result<u64, Errno> {
        let block_bytes = self.file_system.block_bytes;
        let end = end.checked_next_multiple_of(block_bytes).ok_or(Errno::EFBIG)?;
        let start = offset / block_bytes * block_bytes;
        let present: u64 = self
            .extents()?
            .iter()
            .map(|extent| {
                let extent_end = extent.logical_start + extent.length;
                extent_end.min(end).saturating_sub(extent.logical_start.max(start))
            })
            .sum();
        Ok((end - start).saturating_sub(present))
    }

    /// Makes extents begin and end where a hole will, by making the blocks at its two ends unwritten.
    ///
    /// rsext4 0.9.2 takes a hole out of the middle of an extent without making room for the extent that
    /// this adds: with a full node it fails and says that the node is damaged. Changing blocks to
    /// unwritten does make room.
    fn split_extents_at_ends(&self, offset: u64, end: u64) -> Result<(), Errno> {
        let block_bytes = self.file_system.block_bytes;
        let (first, after) = (offset.next_multiple_of(block_bytes), end / block_bytes * block_bytes);
        if first >= after {
            return Ok(());
        }
        for block in [first, after - block_bytes] {
            let extents = self.extents()?;
            let index = extents.partition_point(|extent| extent.logical_start <= block);
            let is_inside = index.checked_sub(1).is_some_and(|index| {
                let extent = &extents[index];
                let extent_end = extent.logical_start + extent.length;
                block < extent_end && (extent.logical_start < first || extent_end > after)
            });
            if is_inside {
                let operation = RangeOperation::Zero(ZeroRangeOptions::KEEP_SIZE);
                let result = self.file_system.change(|mounted| {
                    mounted.operate_inode_range(self.number, block, block_bytes, operation)
                });
                self.forget_extents();
                result?;
            }
        }
        Ok(())
    }

    pub(crate) fn find_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        let size = self.pages.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        if self.is_inline {
            return Ok(if whence == Whence::Data { offset } else { size });
        }
        self.pages.write_back_all(self)?;
        let mut hole = offset;
        for extent in self.extents()?.iter().filter(|extent| is_readable(extent)) {
            let end = extent.logical_start + extent.length;
            if end <= offset {
                continue;
            }
            match whence {
                Whence::Data if extent.logical_start < size => return Ok(offset.max(extent.logical_start)),
                Whence::Data => return Err(Errno::ENXIO),
                _ if extent.logical_start > hole => return Ok(hole),
                _ => hole = end,
            }
        }
        if whence == Whence::Data { Err(Errno::ENXIO) } else { Ok(hole.min(size)) }
    }
}

/// How contents come to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// At once, to this place.
    Device(u64),
    /// Through the crate, which writes them at once.
    Core,
    /// Through the crate, which may keep them in its cache.
    CoreCache,
}

/// What the crate keeps in its cache of what it is given to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Nothing,
    All,
}

/// The extent that has the byte at `offset`, if one does.
fn extent_with(extents: &[FileExtent], offset: u64) -> Option<&FileExtent> {
    let after = extents.partition_point(|extent| extent.logical_start <= offset);
    let extent = extents.get(after.checked_sub(1)?)?;
    (extent.logical_start + extent.length > offset).then_some(extent)
}

/// Whether an extent's blocks hold data: unwritten ones read as zeros.
fn is_readable(extent: &FileExtent) -> bool {
    extent.state == FileExtentState::Initialized
}

/// The extent that has all of the page at `offset`, if one does.
fn extent_of_page(extents: &[FileExtent], offset: u64) -> Option<&FileExtent> {
    let extent = extent_with(extents, offset)?;
    (extent.logical_start + extent.length >= offset + PAGE).then_some(extent)
}

impl PageSource for Ext4Inode {
    fn read_pages(&self, first: u64, pages: &mut [&mut [u8]]) -> Result<(), Errno> {
        let is_settled = self.is_settled();
        if !is_settled && !self.has_extents {
            return self.read_from_core(first, pages);
        }
        let extents = self.extents()?;
        let disk = &self.file_system.disk;
        let mut done = 0;
        while done < pages.len() {
            let offset = (first + done as u64) * PAGE;
            let Some(extent) = extent_of_page(&extents, offset).filter(|extent| is_readable(extent)) else {
                let is_in_core = !is_settled
                    && extents.iter().any(|extent| {
                        let start = extent.logical_start.max(offset);
                        let end = (extent.logical_start + extent.length).min(offset + PAGE);
                        let physical = extent.physical_start + start.saturating_sub(extent.logical_start);
                        start < end && disk.first_in_core(physical..physical + (end - start)).is_some()
                    });
                if is_in_core {
                    self.read_from_core(first + done as u64, &mut pages[done..=done])?;
                } else {
                    self.read_pieces(&extents, offset, pages[done])?;
                }
                done += 1;
                continue;
            };
            let into = offset - extent.logical_start;
            let mut run = (((extent.length - into) / PAGE) as usize).min(pages.len() - done);
            let physical = extent.physical_start + into;
            if !is_settled && let Some(in_core) = disk.first_in_core(physical..physical + run as u64 * PAGE) {
                run = ((in_core - physical) / PAGE) as usize;
                if run == 0 {
                    self.read_from_core(first + done as u64, &mut pages[done..=done])?;
                    done += 1;
                    continue;
                }
            }
            disk.device().read_scattered(physical / SECTOR_BYTES as u64, &mut pages[done..done + run])?;
            done += run;
        }
        Ok(())
    }

    fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.write_parts(offset, bytes).inspect_err(|error| self.file_system.write_errors.record(*error))
    }

    fn write_protect(&self, pages: Range<u64>) -> Protection {
        if write_protect_pages(self, pages) { Protection::Done } else { Protection::Impossible }
    }

    fn reserve_page(&self) -> Result<(), Errno> {
        self.file_system.promise(PAGE)
    }

    fn retain_page(&self) {
        self.file_system.space.force(PAGE);
    }

    fn release_pages(&self, count: usize) {
        self.file_system.space.withdraw(count as u64 * PAGE);
    }
}

impl MemoryObject for Ext4Inode {
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        self.pages.mapped_page(self, index, access)
    }

    fn cached_page(&self, index: u64) -> Option<PageRef> {
        self.pages.cached_page(index)
    }

    fn sync_pages(&self, first: u64, last: u64) -> Result<(), Errno> {
        self.pages.write_back(self, first, last)?;
        self.make_durable(SyncKind::Data)
    }

    fn write_errors(&self) -> Option<&WriteErrors> {
        Some(self.pages.write_errors())
    }

    fn describe(&self) -> ObjectName {
        ObjectName {
            device: self.file_system.device(),
            inode: self.number.raw().into(),
            path: self.known_as.text(),
        }
    }
}
