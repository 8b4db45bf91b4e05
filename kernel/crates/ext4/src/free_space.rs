//! What of a file system is free, in the state that a power cut would leave now.
//!
//! That state is on the device and in the journal: blocks that the journal has are not where they belong until it is emptied. So the
//! journal is replayed into memory, above the device, which stays as it is; what has been replayed is bounded by the journal's size.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::ops::Range;

use block::SECTOR_BYTES;
use hashbrown::HashMap;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4FileSystem, Ext4Result, Ext4Timestamp,
    Jbd2Dev, MountOptions, SectorId,
    bmalloc::{AbsoluteBN, BGIndex},
    cache::bitmap::CacheKey,
    checksum::ext4_block_bitmap_csum32,
};

use crate::{
    core_io::{RealTime, device_error},
    disk::Disk,
};

/// Bitmaps have checksums (Linux Documentation/filesystems/ext4/super.rst).
const READ_ONLY_FEATURE_METADATA_CHECKSUMS: u32 = 0x400;

/// The device, with what is written to it kept in memory.
struct Overlay {
    disk: Arc<Disk>,
    written: HashMap<u64, Box<[u8]>>,
}

impl BlockIo for Overlay {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        for (sector, bytes) in (sector.raw()..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            self.written.insert(sector, bytes.into());
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get_mut(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        self.disk.device().read(sector.raw(), bytes).map_err(device_error)?;
        for (sector, bytes) in (sector.raw()..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
            if let Some(written) = self.written.get(&sector) {
                bytes.copy_from_slice(written);
            }
        }
        Ok(())
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR_BYTES as u32, self.disk.device().sector_count())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities { read_only: false, flush: true, fua: false, barrier: false, discard: false }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        Ok(())
    }
}

impl Clock for Overlay {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        RealTime.now()
    }
}

/// The bitmaps of the recovered state.
pub(crate) struct FreeSpace {
    device: Jbd2Dev<Overlay>,
    recovered: Ext4FileSystem,
}

impl FreeSpace {
    /// Everything was made durable, and `core` is locked.
    pub(crate) fn recovered(disk: &Arc<Disk>) -> Ext4Result<Self> {
        let overlay = Overlay { disk: disk.clone(), written: HashMap::new() };
        let mut device = Jbd2Dev::initial_jbd2dev(0, overlay, true);
        // Inodes without a name are left as they are: they are in use.
        let options = MountOptions { readonly: true, replay_journal: true, block_validity: false };
        let recovered = Ext4FileSystem::mount_with_options(&mut device, options)?;
        Ok(Self { device, recovered })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.recovered.superblock.blocks_count().saturating_mul(self.recovered.superblock.block_size())
    }

    pub(crate) fn group_bytes(&self) -> u64 {
        u64::from(self.recovered.superblock.s_blocks_per_group) * self.recovered.superblock.block_size()
    }

    pub(crate) fn group_count(&self) -> u32 {
        self.recovered.group_descs.len() as u32
    }

    /// The free ranges of a group, in bytes of the device. One that was never used has none: there is nothing to give back.
    pub(crate) fn of_group(&mut self, group: u32) -> Ext4Result<Vec<Range<u64>>> {
        let superblock = self.recovered.superblock;
        let descriptor = self.recovered.group_descs[group as usize];
        if descriptor.is_block_bitmap_uninit() {
            return Ok(Vec::new());
        }
        let key = CacheKey::new_block(BGIndex::new(group));
        let place = AbsoluteBN::new(descriptor.block_bitmap());
        let bitmap = self.recovered.bitmap_cache.get_or_load(&mut self.device, key, place)?;
        let has_checksums = superblock.s_feature_ro_compat & READ_ONLY_FEATURE_METADATA_CHECKSUMS != 0;
        let checksum = ext4_block_bitmap_csum32(&superblock, &bitmap.data);
        if has_checksums && !descriptor.block_bitmap_csum_matches(&superblock, checksum) {
            return Err(Ext4Error::checksum().with_operation("trim:block_bitmap"));
        }
        let per_group = u64::from(superblock.s_blocks_per_group);
        let first = u64::from(superblock.s_first_data_block) + u64::from(group) * per_group;
        let count = per_group.min(superblock.blocks_count().saturating_sub(first));
        let block_bytes = superblock.block_size();
        let ranges = zero_bits(&bitmap.data, count as usize);
        let free: usize = ranges.iter().map(Range::len).sum();
        if free != descriptor.free_blocks_count() as usize {
            return Err(Ext4Error::corrupted().with_operation("trim:free_count"));
        }
        let bytes = |index: usize| (first + index as u64) * block_bytes;
        Ok(ranges.into_iter().map(|range| bytes(range.start)..bytes(range.end)).collect())
    }
}

/// Where bits are clear among the first `count` of a bitmap.
fn zero_bits(bitmap: &[u8], count: usize) -> Vec<Range<usize>> {
    let is_set = |index: usize| bitmap.get(index / 8).is_none_or(|byte| byte >> (index % 8) & 1 != 0);
    let mut ranges = vec![];
    let mut index = 0;
    while index < count {
        let start = index;
        while index < count && !is_set(index) {
            index += 1;
        }
        if index > start {
            ranges.push(start..index);
        }
        index += 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_bits_are_found() {
        assert_eq!(zero_bits(&[0b1010_0110, 0xff, 0], 21), [0..1, 3..5, 6..7, 16..21]);
        assert_eq!(zero_bits(&[0b0001_0000], 8), [0..4, 5..8]);
        // What is past the bitmap is not free.
        assert_eq!(zero_bits(&[0b0001_0000], 12), [0..4, 5..8]);
        assert!(zero_bits(&[0xff; 4], 32).is_empty());
    }
}
