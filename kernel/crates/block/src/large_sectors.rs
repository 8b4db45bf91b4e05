//! Devices whose blocks are larger than a sector, for those who think in sectors.
//!
//! Whole blocks go to the device as they are. Of a block that is written in part, the rest is read first; while that
//! goes on nobody else writes, since two such writes to one block would undo each other.

use alloc::{sync::Arc, vec, vec::Vec};

use ksync::RwLock;
use linux_abi::Errno;

use crate::{BlockDevice, SECTOR_BYTES, Unmap, WriteCache, checked_sectors};

/// The device itself if its blocks are sectors, else one of which each sector can be read and written alone.
pub fn with_small_sectors(device: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
    match (device.logical_block_bytes() / SECTOR_BYTES) as u64 {
        0 | 1 => device,
        block_sectors => Arc::new(LargeSectors { device, block_sectors, writes: RwLock::new(()) }),
    }
}

struct LargeSectors {
    device: Arc<dyn BlockDevice>,
    /// Sectors of a block.
    block_sectors: u64,
    /// Held for reading by writes of whole blocks, and for writing by others.
    writes: RwLock<()>,
}

impl LargeSectors {
    /// Whether every buffer and the place are whole blocks.
    fn is_whole(&self, sector: u64, mut lengths_bytes: impl Iterator<Item = usize>) -> bool {
        let block_bytes = self.block_sectors as usize * SECTOR_BYTES;
        sector.is_multiple_of(self.block_sectors)
            && lengths_bytes.all(|length| length.is_multiple_of(block_bytes))
    }

    /// The blocks around `sectors` sectors: where they begin, and a buffer for them.
    fn around(&self, sector: u64, sectors: u64) -> (u64, Vec<u8>) {
        let first = sector / self.block_sectors * self.block_sectors;
        let end = (sector + sectors).next_multiple_of(self.block_sectors);
        (first, vec![0; (end - first) as usize * SECTOR_BYTES])
    }

    /// Changes some sectors in the blocks around them.
    fn modify(&self, sector: u64, sectors: u64, change: impl FnOnce(&mut [u8])) -> Result<(), Errno> {
        let _alone = self.writes.write();
        let (first, mut bytes) = self.around(sector, sectors);
        self.device.read(first, &mut bytes)?;
        let start = (sector - first) as usize * SECTOR_BYTES;
        change(&mut bytes[start..start + sectors as usize * SECTOR_BYTES]);
        self.device.write(first, &bytes)
    }
}

impl BlockDevice for LargeSectors {
    fn sector_count(&self) -> u64 {
        // A block at the end that is not whole cannot be had.
        self.device.sector_count() / self.block_sectors * self.block_sectors
    }

    fn write_cache(&self) -> WriteCache {
        self.device.write_cache()
    }

    fn is_read_only(&self) -> bool {
        self.device.is_read_only()
    }

    fn physical_block_bytes(&self) -> usize {
        self.device.physical_block_bytes()
    }

    fn can_discard(&self) -> bool {
        self.device.can_discard()
    }

    fn discard(&self, sector: u64, sectors: u64) -> Result<(), Errno> {
        self.device.discard(sector, sectors)
    }

    fn write_zeroes(&self, sector: u64, sectors: u64, unmap: Unmap) -> Result<(), Errno> {
        let end =
            sector.checked_add(sectors).filter(|end| *end <= self.sector_count()).ok_or(Errno::EINVAL)?;
        let (first_whole, end_whole) =
            (sector.next_multiple_of(self.block_sectors), end / self.block_sectors * self.block_sectors);
        if first_whole >= end_whole {
            return Err(Errno::EOPNOTSUPP);
        }
        {
            let _others = self.writes.read();
            self.device.write_zeroes(first_whole, end_whole - first_whole, unmap)?;
        }
        for (from, to) in [(sector, first_whole), (end_whole, end)] {
            if from < to {
                self.modify(from, to - from, |bytes| bytes.fill(0))?;
            }
        }
        Ok(())
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        if self.is_whole(sector, buffers.iter().map(|buffer| buffer.len())) {
            return self.device.read_scattered(sector, buffers);
        }
        let sectors = checked_sectors(self.sector_count(), sector, buffers.iter().map(|b| b.len()))?;
        let (first, mut bytes) = self.around(sector, sectors);
        self.device.read(first, &mut bytes)?;
        let mut rest = &bytes[(sector - first) as usize * SECTOR_BYTES..];
        for buffer in buffers {
            let (part, after) = rest.split_at(buffer.len());
            buffer.copy_from_slice(part);
            rest = after;
        }
        Ok(())
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        if self.is_whole(sector, buffers.iter().map(|buffer| buffer.len())) {
            let _others = self.writes.read();
            return self.device.write_gathered(sector, buffers);
        }
        let sectors = checked_sectors(self.sector_count(), sector, buffers.iter().map(|b| b.len()))?;
        self.modify(sector, sectors, |mut bytes| {
            for buffer in buffers {
                let (part, after) = core::mem::take(&mut bytes).split_at_mut(buffer.len());
                part.copy_from_slice(buffer);
                bytes = after;
            }
        })
    }

    fn flush(&self) -> Result<(), Errno> {
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::MemoryDisk;

    /// A disk of blocks of 4096 bytes, which takes nothing less.
    struct Strict(MemoryDisk);

    const BLOCK: usize = 4096;

    fn check(sector: u64, mut lengths: impl Iterator<Item = usize>) -> Result<(), Errno> {
        let is_whole = sector.is_multiple_of(8) && lengths.all(|length| length % BLOCK == 0);
        if is_whole { Ok(()) } else { Err(Errno::EINVAL) }
    }

    impl BlockDevice for Strict {
        fn sector_count(&self) -> u64 {
            self.0.sector_count()
        }
        fn write_cache(&self) -> WriteCache {
            WriteCache::None
        }
        fn logical_block_bytes(&self) -> usize {
            BLOCK
        }
        fn write_zeroes(&self, sector: u64, sectors: u64, unmap: Unmap) -> Result<(), Errno> {
            check(sector, [sectors as usize * SECTOR_BYTES].into_iter())?;
            self.0.write_zeroes(sector, sectors, unmap)
        }
        fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
            check(sector, buffers.iter().map(|b| b.len()))?;
            self.0.read_scattered(sector, buffers)
        }
        fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
            check(sector, buffers.iter().map(|b| b.len()))?;
            self.0.write_gathered(sector, buffers)
        }
        fn flush(&self) -> Result<(), Errno> {
            Ok(())
        }
    }

    fn disk() -> Arc<dyn BlockDevice> {
        with_small_sectors(Arc::new(Strict(MemoryDisk::new(
            (0..64 * 512).map(|i| (i / 512) as u8).collect(),
        ))))
    }

    fn all(disk: &dyn BlockDevice) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 512];
        disk.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn small_devices_are_left_alone() {
        let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(vec![0; 512]));
        assert!(Arc::ptr_eq(&disk, &with_small_sectors(disk.clone())));
    }

    #[test]
    fn each_range_can_be_read_written_and_zeroed() {
        let disk = disk();
        let mut model = all(&*disk);
        assert_eq!(model[9 * 512], 9);
        for (round, (sector, sectors)) in
            [(0, 1), (7, 1), (3, 10), (8, 8), (13, 40), (63, 1), (0, 64)].into_iter().enumerate()
        {
            let range = sector * 512..(sector + sectors) * 512;
            let mut back = vec![0; sectors * 512];
            disk.read(sector as u64, &mut back).unwrap();
            assert_eq!(back, model[range.clone()]);
            let new = vec![0x80 + round as u8; sectors * 512];
            let (first, second) = new.split_at(512);
            disk.write_gathered(sector as u64, &[first, second]).unwrap();
            model[range.clone()].copy_from_slice(&new);
            assert_eq!(all(&*disk), model);
            let inner = range.start + if sectors > 2 { 512 } else { 0 }..range.end;
            disk.zero_out((inner.start / 512) as u64, (inner.len() / 512) as u64).unwrap();
            model[inner].fill(0);
            assert_eq!(all(&*disk), model);
        }
        assert_eq!(disk.read(64, &mut [0; 512]), Err(Errno::EINVAL));
        assert_eq!(disk.write(0, &[0; 100]), Err(Errno::EINVAL));
    }

    #[test]
    fn writers_of_one_block_do_not_undo_each_other() {
        let disk = disk();
        thread::scope(|scope| {
            for sector in 0..8u64 {
                let disk = &disk;
                scope.spawn(move || {
                    for round in 0..50u8 {
                        disk.write(sector, &[round; 512]).unwrap();
                        let mut back = [0; 512];
                        disk.read(sector, &mut back).unwrap();
                        assert_eq!(back, [round; 512]);
                    }
                });
            }
        });
    }
}
