//! Times to the nanosecond, and beyond 2038: rsext4 0.9.2 tells whole seconds only, in 32 bits.
//!
//! They are read out of the inode itself (Linux Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps"), which is possible where it belongs
//! on the device: as long as the file system is not written to, and nothing is in its journal.

use block::{BlockDevice, SECTOR_BYTES};
use linux_abi::Errno;
use rsext4::InodeNumber;
use vfs::Timestamp;

use crate::marks::GroupLayout;

/// The times of an inode.
pub(crate) struct FineTimes {
    pub(crate) accessed: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) changed: Timestamp,
    pub(crate) born: Timestamp,
}

/// Where the inode says how much of it beyond 128 bytes is in use, and what has to be.
const EXTRA_SIZE: usize = 0x80;
const NEEDED_BYTES: usize = 0x98;

impl FineTimes {
    /// `None` if the inode has no room for them.
    pub(crate) fn read(
        device: &dyn BlockDevice,
        layout: &GroupLayout,
        number: InodeNumber,
    ) -> Result<Option<Self>, Errno> {
        let inode_bytes = usize::from(layout.inode_bytes);
        if inode_bytes < NEEDED_BYTES {
            return Ok(None);
        }
        let index = number.raw() - 1;
        let descriptor =
            layout.table + u64::from(index / layout.inodes_per_group) * u64::from(layout.descriptor_bytes);
        let descriptor = read(device, descriptor, layout.descriptor_bytes.into())?;
        let high = if descriptor.len() >= 64 { word(&descriptor, 0x28) } else { 0 };
        let table = u64::from(high) << 32 | u64::from(word(&descriptor, 0x8));
        let at = table
            .checked_mul(layout.block_bytes)
            .and_then(|at| at.checked_add(u64::from(index % layout.inodes_per_group) * inode_bytes as u64))
            .ok_or(Errno::EUCLEAN)?;
        let inode = read(device, at, inode_bytes)?;
        let extra = usize::from(u16::from_le_bytes([inode[EXTRA_SIZE], inode[EXTRA_SIZE + 1]]));
        if EXTRA_SIZE + extra < NEEDED_BYTES {
            return Ok(None);
        }
        let time = |seconds, extra| decode(word(&inode, seconds), word(&inode, extra));
        Ok(Some(Self {
            accessed: time(0x8, 0x8c),
            modified: time(0x10, 0x88),
            changed: time(0xc, 0x84),
            born: time(0x90, 0x94),
        }))
    }
}

/// `count` bytes at `offset`, which lie in one sector or are whole ones.
fn read(device: &dyn BlockDevice, offset: u64, count: usize) -> Result<alloc::vec::Vec<u8>, Errno> {
    let within = (offset % SECTOR_BYTES as u64) as usize;
    let mut bytes = alloc::vec![0; (within + count).next_multiple_of(SECTOR_BYTES)];
    device.read(offset / SECTOR_BYTES as u64, &mut bytes)?;
    bytes.truncate(within + count);
    bytes.drain(..within);
    Ok(bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Signed seconds, to which two bits of the other word are added above, and nanoseconds in the rest of that.
fn decode(seconds: u32, extra: u32) -> Timestamp {
    const EPOCH_BITS: u32 = 2;
    let epoch = i64::from(extra & ((1 << EPOCH_BITS) - 1));
    let nanoseconds = (extra >> EPOCH_BITS).min(999_999_999);
    Timestamp { seconds: i64::from(seconds.cast_signed()) + (epoch << 32), nanoseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_decoded_as_documented() {
        let at = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
        assert_eq!(decode(5, 7 << 2), at(5, 7));
        assert_eq!(decode(u32::MAX, 0), at(-1, 0));
        assert_eq!(decode(0x8000_0000, 1), at(0x8000_0000, 0));
        assert_eq!(decode(0x7fff_ffff, 999_999_999 << 2 | 3), at(0x3_7fff_ffff, 999_999_999));
    }
}
