//! Bitmaps of inodes that `mke2fs` left to be written when they are needed.
//!
//! A group may say that its bitmap was never written (`INODE_UNINIT`). rsext4 0.9.2 begins such a bitmap with zeros when it puts the first
//! inode into the group, and leaves those past the group's last inode clear, where Linux sets them and e2fsck wants them set. So all of them
//! are written before the crate gets to make an inode: once in the life of a file system that somebody else made. Those that
//! the tool makes for volumes of several groups have no such bits.
//!
//! It is done by the crate's own journal, so a power cut leaves a group as it was or as it is to be.

use alloc::{sync::Arc, vec};

use block::{BlockDevice, SECTOR_BYTES};
use linux_abi::Errno;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4FileSystem, Ext4Result, Ext4Timestamp,
    Jbd2Dev, MountOptions, SectorId,
    blockgroup_description::Ext4GroupDesc,
    bmalloc::{AbsoluteBN, BGIndex},
    cache::bitmap::CacheKey,
    checksum::ext4_inode_bitmap_csum32,
};

use crate::{
    core_io::{Device, RealTime, View, device_error},
    disk::Disk,
    marks::GroupLayout,
};

/// Offset of `bg_flags` in a group descriptor (Linux Documentation/filesystems/ext4/group_descr.rst).
const FLAGS: usize = 0x12;

/// The device, with the clock that the crate's lower interface wants of it.
struct Timed(Device);

impl BlockIo for Timed {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        self.0.write(buffer, sector, count)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        self.0.read(buffer, sector, count)
    }

    fn geometry(&self) -> DeviceGeometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.capabilities()
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.0.flush()
    }
}

impl Clock for Timed {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        RealTime.now()
    }
}

/// Whether the crate could leave bits clear that are to be set. There is nothing in the journal.
pub(crate) fn are_missing(device: &dyn BlockDevice) -> Result<bool, Errno> {
    let Some(layout) = GroupLayout::read(device)? else { return Ok(false) };
    if u64::from(layout.inodes_per_group) >= layout.block_bytes * 8 {
        return Ok(false);
    }
    let bytes = u64::from(layout.groups) * u64::from(layout.descriptor_bytes);
    let mut sectors = vec![0; 64 * SECTOR_BYTES];
    let mut done = 0;
    while done < bytes {
        let part = (bytes - done).min(sectors.len() as u64);
        let sector = (layout.table + done) / SECTOR_BYTES as u64;
        let whole = (part as usize).next_multiple_of(SECTOR_BYTES);
        device.read(sector, &mut sectors[..whole])?;
        let descriptors = sectors[..part as usize].chunks_exact(layout.descriptor_bytes as usize);
        let is_unwritten = |descriptor: &[u8]| {
            let flags = u16::from_le_bytes([descriptor[FLAGS], descriptor[FLAGS + 1]]);
            flags & Ext4GroupDesc::EXT4_BG_INODE_UNINIT != 0
        };
        if descriptors.into_iter().any(is_unwritten) {
            return Ok(true);
        }
        done += part;
    }
    Ok(false)
}

/// Writes them, if they are missing. Nobody has the file system mounted, and nothing is in its journal.
pub(crate) fn write(disk: &Arc<Disk>) -> Ext4Result<()> {
    if !are_missing(&**disk.device()).map_err(device_error)? {
        return Ok(());
    }
    let mut device = Jbd2Dev::initial_jbd2dev(0, Timed(Device::new(disk.clone(), View::AsIs)), true);
    let mut mounted = Ext4FileSystem::mount_with_options(&mut device, MountOptions::read_write())?;
    let superblock = mounted.superblock;
    for index in 0..mounted.group_descs.len() {
        let descriptor = mounted.group_descs[index];
        if !descriptor.is_inode_bitmap_uninit() {
            continue;
        }
        let group = BGIndex::new(index as u32);
        let key = CacheKey::new_inode(group);
        let place = AbsoluteBN::new(descriptor.inode_bitmap());
        let mut checksum = 0;
        mounted.bitmap_cache.modify(&mut device, key, place, |bitmap| {
            fill(bitmap, superblock.s_inodes_per_group as usize);
            checksum = ext4_inode_bitmap_csum32(&superblock, bitmap);
        })?;
        let descriptor = mounted.get_group_desc_mut(group).ok_or_else(Ext4Error::corrupted)?;
        descriptor.bg_inode_bitmap_csum_lo = checksum as u16;
        descriptor.bg_inode_bitmap_csum_hi = (checksum >> 16) as u16;
        descriptor.bg_flags &= !Ext4GroupDesc::EXT4_BG_INODE_UNINIT;
    }
    mounted.umount(&mut device)
}

/// A bitmap of so many free inodes: what is past them counts as used.
fn fill(bitmap: &mut [u8], inodes: usize) {
    bitmap.fill(0xff);
    let (whole, rest) = (inodes / 8, inodes % 8);
    bitmap[..whole].fill(0);
    if rest > 0 {
        bitmap[whole] = 0xff << rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inodes_are_free() {
        let mut bitmap = [0x55; 4];
        fill(&mut bitmap, 16);
        assert_eq!(bitmap, [0, 0, 0xff, 0xff]);
        fill(&mut bitmap, 11);
        assert_eq!(bitmap, [0, 0b1111_1000, 0xff, 0xff]);
        fill(&mut bitmap, 32);
        assert_eq!(bitmap, [0; 4]);
    }
}
