//! Giving freed blocks back to the device, so that the host's file becomes small again.
//!
//! A block may be discarded only if no state that a power cut can leave refers to it, now or after the journal is
//! replayed; and only before it has a new owner. Both hold for a block that is free just after a sync, as long as `core` stays locked: what is
//! recovered after a power cut is the state of the last sync, and nobody can allocate without the lock. So blocks are given back under
//! that lock, between a sync and the next change, or not at all:
//!
//! * of removed files when they are freed ([`Ext4::reap`](crate::Ext4)), which is done for many at a time and not for an `fsync`;
//! * of files that shrink, or get holes, at once: a sync comes after that anyway;
//! * all others, what `FITRIM` asks for: the bitmaps of that very state are read ([`FreeSpace`]).

use alloc::{sync::Arc, vec::Vec};
use core::{ops::Range, sync::atomic::Ordering};

use block::SECTOR_BYTES;
use linux_abi::Errno;
use rsext4::{Ext4Result, FileExtent, InodeNumber};

use crate::{
    core_io::Mounted, core_mount::Core, disk::Disk, errno, file_system::Ext4, free_space::FreeSpace,
    reap::extents_of,
};

/// What is freed at a time and is less than this stays as it is: a request for each block costs more than it gives.
const LEAST_BYTES: u64 = 64 << 10;
/// Pieces that are given back with the lock held. Of more the largest are; `FITRIM` finds the others.
const MOST_PIECES: usize = 1024;

/// Whether a file system gives back what is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Always, if the device has a use for it: the mount option `discard` on Linux.
    Online,
    /// When it is asked to ([`trim`](vfs::FileSystem::trim)).
    OnRequest,
}

/// Ranges of the device, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Freed(Vec<Range<u64>>);

impl Freed {
    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What is in `before` and not in `after`.
    fn between(before: &[FileExtent], after: &[FileExtent]) -> Self {
        let place = |extent: &FileExtent| extent.physical_start..extent.physical_start + extent.length;
        let mut kept: Vec<_> = after.iter().map(place).collect();
        kept.sort_unstable_by_key(|range| range.start);
        let mut freed = Vec::new();
        for mut range in before.iter().map(place) {
            let first = kept.partition_point(|kept| kept.end <= range.start);
            for kept in kept[first..].iter().take_while(|kept| kept.start < range.end) {
                if kept.start > range.start {
                    freed.push(range.start..kept.start);
                }
                range.start = kept.end.min(range.end);
            }
            if !range.is_empty() {
                freed.push(range);
            }
        }
        Self(freed)
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// As few pieces as possible, and no more than [`MOST_PIECES`].
    fn pieces(mut self) -> Vec<Range<u64>> {
        self.0.sort_unstable_by_key(|range| range.start);
        let mut pieces: Vec<Range<u64>> = Vec::new();
        for range in self.0 {
            match pieces.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => pieces.push(range),
            }
        }
        if pieces.len() > MOST_PIECES {
            pieces.sort_unstable_by_key(|piece| piece.start.wrapping_sub(piece.end));
            pieces.truncate(MOST_PIECES);
        }
        pieces
    }
}

impl Ext4 {
    /// Says whether what is freed from now on is given back.
    pub fn set_discard(&self, discard: Discard) {
        let is_online = discard == Discard::Online && self.disk.device().can_discard();
        self.discards.store(is_online, Ordering::Relaxed);
    }

    pub(crate) fn discards(&self) -> bool {
        self.discards.load(Ordering::Relaxed)
    }

    /// What there is to give back once this inode is freed: its contents. One that cannot be told has nothing; that
    /// it is damaged shows when it is freed.
    pub(crate) fn freed_with(&self, mounted: &mut Mounted, number: InodeNumber) -> Freed {
        if !self.discards() {
            return Freed::default();
        }
        extents_of(mounted, number).map_or_else(|_| Freed::default(), |extents| Freed::between(&extents, &[]))
    }

    /// Does something that takes blocks from an inode, which had `extents`, and makes that durable: freed blocks must not get a new owner
    /// before. Then gives them back.
    pub(crate) fn free_blocks(
        &self,
        mounted: &mut Mounted,
        number: InodeNumber,
        extents: &[FileExtent],
        operation: impl FnOnce(&mut Mounted) -> Ext4Result<()>,
    ) -> Ext4Result<()> {
        operation(mounted)?;
        mounted.sync()?;
        if !extents.is_empty()
            && let Ok(after) = extents_of(mounted, number)
        {
            self.give_back(Freed::between(extents, &after));
        }
        Ok(())
    }

    /// Makes durable that these blocks are free, and gives them back. Since they were freed nothing else has changed.
    pub(crate) fn sync_and_give_back(&self, core: &mut Core, freed: Freed) {
        if freed.bytes() >= LEAST_BYTES && self.sync_core(core).is_ok() {
            self.give_back(freed);
        }
    }

    /// Gives back what is durably free.
    fn give_back(&self, freed: Freed) {
        if freed.bytes() < LEAST_BYTES {
            return;
        }
        for piece in freed.pieces() {
            if let Err(error) = self.disk.discard(piece) {
                // Nothing is lost by it, but the host's space.
                log::warn!("ext4: the device takes no freed blocks back: {error:?}");
                self.discards.store(false, Ordering::Relaxed);
                return;
            }
        }
    }

    /// See [`FileSystem::trim`](vfs::FileSystem::trim). `EINVAL` where Linux's ext4 says so (`ext4_trim_fs`): a range that begins past the end
    /// or is less than a block, pieces that are larger than a group.
    pub(crate) fn trim_range(&self, range: Range<u64>, least: u64) -> Result<u64, Errno> {
        if !self.disk.device().can_discard() {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.may_write() {
            return Err(Errno::EROFS);
        }
        // What was removed is to be free.
        self.commit()?;
        let mut core = self.core.lock();
        self.sync_core(&mut core)?;
        self.disk.flush()?;
        let mut space = FreeSpace::recovered(&self.disk).map_err(errno)?;
        let is_possible = range.start < space.bytes()
            && range.end.saturating_sub(range.start) >= self.block_bytes
            && least <= space.group_bytes();
        if !is_possible {
            return Err(Errno::EINVAL);
        }
        let mut trimmed = 0;
        for group in 0..space.group_count() {
            for piece in space.of_group(group).map_err(errno)? {
                let piece = piece.start.max(range.start)..piece.end.min(range.end);
                if !piece.is_empty() && piece.end - piece.start >= least {
                    trimmed += piece.end - piece.start;
                    self.disk.discard(piece)?;
                }
            }
        }
        Ok(trimmed)
    }
}

impl Disk {
    /// Gives back what lies in this range of bytes: whole sectors, of no use to anybody.
    fn discard(self: &Arc<Self>, range: Range<u64>) -> Result<(), Errno> {
        let sector = range.start.div_ceil(SECTOR_BYTES as u64);
        let end = range.end / SECTOR_BYTES as u64;
        if sector >= end {
            return Ok(());
        }
        self.forget(sector..end);
        self.device().discard(sector, end - sector)
    }
}

#[cfg(test)]
mod tests {
    use rsext4::FileExtentState;

    use super::*;

    fn extent(physical_start: u64, length: u64) -> FileExtent {
        let state = FileExtentState::Initialized;
        FileExtent { logical_start: 0, physical_start, length, state, merged: false }
    }

    #[test]
    fn what_a_file_has_no_longer_is_freed() {
        let before = [extent(100, 50), extent(10, 20), extent(200, 5)];
        let after = [extent(110, 10), extent(10, 5), extent(140, 10)];
        let freed = Freed::between(&before, &after);
        assert_eq!(freed.bytes(), 10 + 20 + 15 + 5);
        assert_eq!(freed.pieces(), [15..30, 100..110, 120..140, 200..205]);
        assert!(Freed::between(&after, &before).pieces().is_empty());
    }

    #[test]
    fn neighbours_are_one_piece_and_the_largest_come_first() {
        let pieces = Freed(vec![5..10, 0..5, 20..30, 8..12]).pieces();
        assert_eq!(pieces, [0..12, 20..30]);
        let many = (0..2000).map(|i| i * 10_000..i * 10_000 + 1 + i).collect();
        let pieces = Freed(many).pieces();
        assert_eq!(pieces.len(), MOST_PIECES);
        assert!(pieces.iter().all(|piece| piece.end - piece.start > 2000 - MOST_PIECES as u64));
    }
}
