//! A disk in memory.

use alloc::vec::Vec;

use ksync::Mutex;
use linux_abi::Errno;

use crate::{BlockDevice, SECTOR_BYTES, Unmap, WriteCache, checked_sectors};

/// A disk whose sectors are the bytes of a vector; for tests, and for images that a loader left in
/// memory.
#[derive(Debug)]
pub struct MemoryDisk {
    sector_count: u64,
    bytes: Mutex<Vec<u8>>,
}

impl MemoryDisk {
    /// A disk with these contents; a tail that is no whole sector is left out.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let sector_count = bytes.len() / SECTOR_BYTES;
        bytes.truncate(sector_count * SECTOR_BYTES);
        Self { sector_count: sector_count as u64, bytes: Mutex::new(bytes) }
    }

    fn fill(&self, sector: u64, sectors: u64, value: u8) -> Result<(), Errno> {
        let end = sector.checked_add(sectors).filter(|end| *end <= self.sector_count).ok_or(Errno::EINVAL)?;
        self.bytes.lock()[sector as usize * SECTOR_BYTES..end as usize * SECTOR_BYTES].fill(value);
        Ok(())
    }

    /// A copy of the contents.
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }
}

impl BlockDevice for MemoryDisk {
    fn sector_count(&self) -> u64 {
        self.sector_count
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::None
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        checked_sectors(self.sector_count, sector, buffers.iter().map(|b| b.len()))?;
        let bytes = self.bytes.lock();
        let mut at = sector as usize * SECTOR_BYTES;
        for buffer in buffers {
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        checked_sectors(self.sector_count, sector, buffers.iter().map(|b| b.len()))?;
        let mut bytes = self.bytes.lock();
        let mut at = sector as usize * SECTOR_BYTES;
        for buffer in buffers {
            bytes[at..at + buffer.len()].copy_from_slice(buffer);
            at += buffer.len();
        }
        Ok(())
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn discard(&self, sector: u64, sectors: u64) -> Result<(), Errno> {
        // Something that nobody expects: who reads it has made a mistake.
        const DISCARDED: u8 = 0xdd;
        self.fill(sector, sectors, DISCARDED)
    }

    fn write_zeroes(&self, sector: u64, sectors: u64, _unmap: Unmap) -> Result<(), Errno> {
        self.fill(sector, sectors, 0)
    }

    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_reads_see_gathered_writes() {
        let disk = MemoryDisk::new(vec![0; 8 * SECTOR_BYTES + 100]);
        assert_eq!(disk.sector_count(), 8);
        disk.write_gathered(2, &[&[1; 512], &[2; 1024]]).unwrap();
        let (mut first, mut second) = ([0; 1024], [0; 512]);
        disk.read_scattered(2, &mut [&mut first, &mut second]).unwrap();
        assert_eq!(
            (&first[..512], &first[512..], &second[..]),
            (&[1; 512][..], &[2; 512][..], &[2; 512][..])
        );
    }

    #[test]
    fn zeroed_and_discarded_ranges_are() {
        let disk = MemoryDisk::new(vec![7; 300 * SECTOR_BYTES]);
        disk.zero_out(1, 200).unwrap();
        disk.discard(298, 2).unwrap();
        let contents = disk.contents();
        assert!(contents[512..201 * 512].iter().all(|byte| *byte == 0));
        assert!(contents[..512].iter().chain(&contents[201 * 512..298 * 512]).all(|byte| *byte == 7));
        assert!(contents[298 * 512..].iter().all(|byte| *byte == 0xdd));
        assert_eq!(disk.discard(299, 2), Err(Errno::EINVAL));
        assert_eq!(disk.zero_out(u64::MAX, 2), Err(Errno::EINVAL));
    }

    #[test]
    fn ranges_off_the_device_are_refused() {
        let disk = MemoryDisk::new(vec![0; 4 * SECTOR_BYTES]);
        assert_eq!(disk.read(3, &mut [0; 1024]), Err(Errno::EINVAL));
        assert_eq!(disk.read(u64::MAX, &mut [0; 512]), Err(Errno::EINVAL));
        assert_eq!(disk.write(0, &[0; 100]), Err(Errno::EINVAL));
    }
}
