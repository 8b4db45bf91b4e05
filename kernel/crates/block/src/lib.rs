//! The interface between file systems and block devices.
//!
//! A device moves whole sectors, synchronously for the calling thread, which may wait. Several
//! threads may have requests under way at once; the device orders nothing between them. What was
//! written is durable only after a [`flush`](BlockDevice::flush) that began after the write ended,
//! if the device has a [`WriteCache::Volatile`].

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod large_sectors;
mod memory_disk;

use alloc::vec;

use linux_abi::Errno;

pub use large_sectors::with_small_sectors;
pub use memory_disk::MemoryDisk;

/// Bytes in a sector, the unit of all addresses here, whatever the device uses itself.
pub const SECTOR_BYTES: usize = 512;

/// Whether a device may hold finished writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// A finished write is durable (or the device cannot be asked: there is no flush command).
    None,
    /// A finished write is durable only after a flush.
    Volatile,
}

/// Whether zeros may be made by giving the space back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// Yes: writing there later may fail for lack of space.
    Allowed,
    /// No: the space stays allocated.
    Forbidden,
}

/// A disk.
///
/// Every buffer lies in the direct map (heap or page frames, never a stack), is a whole number of
/// sectors long, and is reached by the device itself. A range past the end of the device, or one
/// that is not whole blocks of [`logical_block_bytes`](Self::logical_block_bytes), fails with `EINVAL`; a device
/// error with `EIO`. [`with_small_sectors`] is for those who cannot keep to larger blocks.
pub trait BlockDevice: Send + Sync {
    /// Size of the device.
    fn sector_count(&self) -> u64;

    /// Whether finished writes need a flush to be durable.
    fn write_cache(&self) -> WriteCache;

    /// Whether writes are possible.
    fn is_read_only(&self) -> bool {
        false
    }

    /// The device's own unit: all it reads and writes begins and ends at multiples of it. A power of two, at least
    /// [`SECTOR_BYTES`].
    fn logical_block_bytes(&self) -> usize {
        SECTOR_BYTES
    }

    /// What it writes without having to read what is around: a multiple of
    /// [`logical_block_bytes`](Self::logical_block_bytes).
    fn physical_block_bytes(&self) -> usize {
        self.logical_block_bytes()
    }

    /// Whether [`discard`](Self::discard) has any use.
    fn can_discard(&self) -> bool {
        false
    }

    /// Says that the contents of these sectors are of no use any more; what is read from them afterwards is anything.
    /// Blocks at the ends that are not whole stay as they are. `EOPNOTSUPP` if the device does not care.
    fn discard(&self, _sector: u64, _sectors: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes these sectors zeros, as [`write`](Self::write) of zeros would, without moving any.
    /// `EOPNOTSUPP` if the device has no such command: [`zero_out`](Self::zero_out) does without it.
    fn write_zeroes(&self, _sector: u64, _sectors: u64, _unmap: Unmap) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes these sectors zeros, in the best way that the device has.
    fn zero_out(&self, mut sector: u64, mut sectors: u64) -> Result<(), Errno> {
        /// Zeros that are written with one request: 64 KiB.
        const ZEROED_SECTORS: u64 = 128;
        match self.write_zeroes(sector, sectors, Unmap::Allowed) {
            Err(Errno::EOPNOTSUPP) => {}
            result => return result,
        }
        let zeros = vec![0; sectors.min(ZEROED_SECTORS) as usize * SECTOR_BYTES];
        while sectors > 0 {
            let part = sectors.min(ZEROED_SECTORS);
            self.write(sector, &zeros[..part as usize * SECTOR_BYTES])?;
            sector += part;
            sectors -= part;
        }
        Ok(())
    }

    /// Reads consecutive sectors into `buffers`, one after the other, as one request if the device
    /// can. This is how the page cache fills scattered page frames.
    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno>;

    /// Writes `buffers`, one after the other, to consecutive sectors.
    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno>;

    /// Makes all finished writes durable; does nothing where there is no write cache.
    fn flush(&self) -> Result<(), Errno>;

    /// Reads consecutive sectors into one buffer.
    fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.read_scattered(sector, &mut [buffer])
    }

    /// Writes one buffer to consecutive sectors.
    fn write(&self, sector: u64, buffer: &[u8]) -> Result<(), Errno> {
        self.write_gathered(sector, &[buffer])
    }
}

/// Checks that `lengths_bytes` are whole sectors that lie on a device of `sector_count` from
/// `sector` on, and returns their number.
pub fn checked_sectors(
    sector_count: u64,
    sector: u64,
    lengths_bytes: impl Iterator<Item = usize>,
) -> Result<u64, Errno> {
    let mut sectors = 0u64;
    for length in lengths_bytes {
        if length % SECTOR_BYTES != 0 {
            return Err(Errno::EINVAL);
        }
        sectors += (length / SECTOR_BYTES) as u64;
    }
    match sector.checked_add(sectors) {
        Some(end) if end <= sector_count => Ok(sectors),
        _ => Err(Errno::EINVAL),
    }
}
