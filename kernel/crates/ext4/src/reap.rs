//! Freeing inodes that have neither names nor users.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux_abi::Errno;
use rsext4::{
    Ext4Result, FileExtent, FileExtentState, FileExtentTarget, InodeFlags, InodeNumber, RangeOperation,
};
use vfs::FileSystem;

use crate::{core_io::Mounted, core_mount::Core, discard::Freed, file_system::Ext4};

impl Ext4 {
    /// Frees the blocks of dead inodes. The sync before made the removal of their names durable: were
    /// blocks freed first, a crash could leave a name that leads to another file's data.
    pub(crate) fn reap(&self, core: &mut Core) -> Result<(), Errno> {
        if !self.reaps.swap(false, Ordering::AcqRel) && self.discards() || !self.may_write() {
            return Ok(());
        }
        let dead = core::mem::take(&mut *self.dead.lock());
        let mut freed = Freed::default();
        for number in dead {
            core.changes += 1;
            let blocks = self.freed_with(&mut core.mounted, number);
            if let Err(error) = free_unwritten(&mut core.mounted, number, self.max_file_bytes()) {
                log::warn!("ext4: what inode {number} has preallocated could not be freed: {error:?}");
            }
            match core.mounted.reap_unlinked_inode(number) {
                Ok(()) => freed.add(blocks),
                // The blocks stay allocated until the next mount, which finds the orphan again.
                Err(error) => {
                    log::warn!("ext4: inode {number} could not be freed: {error:?}");
                    self.failed(core, error);
                }
            }
        }
        self.space.update(&core.mounted);
        self.sync_and_give_back(core, freed);
        Ok(())
    }
}

/// All extents that there are below the inode's size.
pub(crate) fn extents_of(mounted: &mut Mounted, number: InodeNumber) -> Ext4Result<Vec<FileExtent>> {
    let map = mounted.inode_extents(number, 0, u64::MAX, FileExtentTarget::Data, usize::MAX)?;
    Ok(map.extents)
}

/// Frees what was preallocated and never written. rsext4 0.9.2 frees a dead inode's blocks by its initialized extents alone
/// (`inode_owned_blocks`); the others would stay marked as used and be nobody's.
fn free_unwritten(mounted: &mut Mounted, number: InodeNumber, max_bytes: u64) -> Ext4Result<()> {
    /// What i_blocks counts in (`struct stat`).
    const SECTOR_BYTES: u64 = 512;
    let info = mounted.inode(number)?;
    let is_regular = info.file_type() == rsext4::ext4::DirectoryEntryType::RegularFile;
    if !is_regular || !info.flags.contains(InodeFlags::EXTENTS) {
        return Ok(());
    }
    let is_unwritten = |extent: &FileExtent| extent.state == FileExtentState::Unwritten;
    let mut extents = extents_of(mounted, number)?;
    let bytes: u64 = extents.iter().map(|extent| extent.length).sum();
    if info.blocks * SECTOR_BYTES > bytes {
        // More than that: of the tree, or past the end of the file, where nobody can look. Nobody will see this size.
        mounted.truncate_inode(number, max_bytes)?;
        extents = extents_of(mounted, number)?;
    }
    extents.into_iter().filter(is_unwritten).try_for_each(|extent| {
        mounted.operate_inode_range(number, extent.logical_start, extent.length, RangeOperation::PunchHole)
    })
}
