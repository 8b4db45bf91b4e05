//! What is written into superblocks, or read out of them, behind the crate's back: that a file system is damaged, and
//! whether there may be something in its journal (Linux Documentation/filesystems/ext4/super.rst and journal.rst).

use alloc::{vec, vec::Vec};

use block::{BlockDevice, SECTOR_BYTES};
use linux_abi::Errno;

use crate::superblock::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET};

const FIRST_SECTOR: u64 = SUPERBLOCK_OFFSET / SECTOR_BYTES as u64;
const CHECKSUM: usize = 0x3fc;
const STATE: usize = 0x3a;
const STATE_ERRORS: u32 = 2;
const COMPATIBLE_FEATURES: usize = 0x5c;
const HAS_JOURNAL: u32 = 4;
const INCOMPATIBLE_FEATURES: usize = 0x60;
const NEEDS_RECOVERY: u32 = 4;
const READ_ONLY_FEATURES: usize = 0x64;
const METADATA_CHECKSUMS: u32 = 0x400;
const JOURNAL_INODE: usize = 0xe0;
const LAST_ORPHAN: usize = 0xe8;

/// Where the descriptors of block groups lie, and what they are of.
pub(crate) struct GroupLayout {
    pub(crate) block_bytes: u64,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_bytes: u16,
    pub(crate) groups: u32,
    pub(crate) descriptor_bytes: u16,
    /// Offset of the first descriptor on the device.
    pub(crate) table: u64,
}

impl GroupLayout {
    /// Out of the superblock; `None` if it says what cannot be.
    pub(crate) fn read(device: &dyn BlockDevice) -> Result<Option<Self>, Errno> {
        const BIT64: u32 = 0x80;
        let superblock = Draft::read(device)?;
        let half = |at: usize| u16::from_le_bytes([superblock.bytes[at], superblock.bytes[at + 1]]);
        let (log_block, first, per_group) =
            (superblock.word(0x18), superblock.word(0x14), superblock.word(0x20));
        let is_64bit = superblock.word(INCOMPATIBLE_FEATURES) & BIT64 != 0;
        let high = if is_64bit { superblock.word(0x150) } else { 0 };
        let blocks = u64::from(high) << 32 | u64::from(superblock.word(0x4));
        let descriptor_bytes = if is_64bit { half(0xfe) } else { 32 };
        let has_old_inodes = superblock.word(0x4c) == 0;
        let inode_bytes = if has_old_inodes { 128 } else { half(0x58) };
        let inodes_per_group = superblock.word(0x28);
        let is_possible = log_block <= 6
            && per_group > 0
            && inodes_per_group > 0
            && (32..=1024).contains(&descriptor_bytes)
            && descriptor_bytes.is_power_of_two()
            && (128..=1024 << log_block).contains(&u32::from(inode_bytes))
            && inode_bytes.is_power_of_two()
            && u64::from(first) < blocks;
        let Some(groups) = is_possible
            .then(|| (blocks - u64::from(first)).div_ceil(per_group.into()))
            .and_then(|groups| u32::try_from(groups).ok())
        else {
            return Ok(None);
        };
        let block_bytes = 1024 << log_block;
        let table = (u64::from(first) + 1) * block_bytes;
        Ok(Some(Self { block_bytes, inodes_per_group, inode_bytes, groups, descriptor_bytes, table }))
    }
}

/// A superblock that is changed.
struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    fn read(device: &dyn BlockDevice) -> Result<Self, Errno> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        device.read(FIRST_SECTOR, &mut bytes)?;
        Ok(Self { bytes })
    }

    /// The superblock in `bytes`, which lie from `sector` on, if it is there. One with a wrong checksum is none.
    fn within(sector: u64, bytes: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let at = FIRST_SECTOR.checked_sub(sector)? as usize * SECTOR_BYTES;
        let bytes = bytes.get_mut(at..at.checked_add(SUPERBLOCK_BYTES)?)?;
        let mut superblock = Self { bytes: bytes.to_vec() };
        superblock.seal();
        (superblock.bytes == bytes).then_some((superblock, bytes))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    fn set_word(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    fn has_journal(&self) -> bool {
        self.word(COMPATIBLE_FEATURES) & HAS_JOURNAL != 0
    }

    /// Puts the checksum right.
    fn seal(&mut self) {
        if self.word(READ_ONLY_FEATURES) & METADATA_CHECKSUMS != 0 {
            let checksum = crc32c(&self.bytes[..CHECKSUM]);
            self.bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        }
    }

    fn write(mut self, device: &dyn BlockDevice) -> Result<(), Errno> {
        self.seal();
        device.write(FIRST_SECTOR, &self.bytes)?;
        device.flush()
    }
}

/// The inode that has the journal, if there is one.
pub(crate) fn journal_inode(device: &dyn BlockDevice) -> Result<Option<u32>, Errno> {
    let superblock = Draft::read(device)?;
    Ok(superblock.has_journal().then(|| superblock.word(JOURNAL_INODE)))
}

/// Notes on the device that the file system is damaged: whoever mounts it next knows, and `e2fsck` looks at all of
/// it.
pub(crate) fn mark_damaged(device: &dyn BlockDevice) -> Result<(), Errno> {
    let mut superblock = Draft::read(device)?;
    superblock.set_word(STATE, superblock.word(STATE) | STATE_ERRORS);
    superblock.write(device)
}

/// Notes on the device that there is nothing in the journal. All else has to be durable.
pub(crate) fn mark_journal_empty(device: &dyn BlockDevice) -> Result<(), Errno> {
    let mut superblock = Draft::read(device)?;
    superblock.set_word(INCOMPATIBLE_FEATURES, superblock.word(INCOMPATIBLE_FEATURES) & !NEEDS_RECOVERY);
    superblock.write(device)
}

/// If `bytes`, from `sector` on, hold the superblock: takes the journal and the inodes that are to be freed
/// out of it.
pub(crate) fn hide_journal(sector: u64, bytes: &mut [u8]) {
    let Some((mut superblock, bytes)) = Draft::within(sector, bytes) else { return };
    superblock.set_word(COMPATIBLE_FEATURES, superblock.word(COMPATIBLE_FEATURES) & !HAS_JOURNAL);
    superblock.set_word(INCOMPATIBLE_FEATURES, superblock.word(INCOMPATIBLE_FEATURES) & !NEEDS_RECOVERY);
    superblock.set_word(LAST_ORPHAN, 0);
    superblock.seal();
    bytes.copy_from_slice(&superblock.bytes);
}

/// If `bytes`, which are to be written from `sector` on, hold a superblock that says there is nothing in the
/// journal: what to write in their place, where it says that there may be.
pub(crate) fn with_journal_in_use(sector: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    if sector > FIRST_SECTOR {
        return None;
    }
    let mut bytes = bytes.to_vec();
    let (mut superblock, place) = Draft::within(sector, &mut bytes)?;
    let features = superblock.word(INCOMPATIBLE_FEATURES);
    if !superblock.has_journal() || features & NEEDS_RECOVERY != 0 {
        return None;
    }
    superblock.set_word(INCOMPATIBLE_FEATURES, features | NEEDS_RECOVERY);
    superblock.seal();
    place.copy_from_slice(&superblock.bytes);
    Some(bytes)
}

/// Notes the same in the journal's superblock, which lies at `offset`: replay of the journal may put an older
/// copy of the file system's superblock back. All its numbers are big endian.
pub(crate) fn mark_journal(device: &dyn BlockDevice, offset: u64) -> Result<(), Errno> {
    const MAGIC: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();
    const FEATURES: usize = 0x28;
    const CHECKSUMS: u32 = 0x8 | 0x10;
    const ERROR: usize = 0x20;
    const CHECKSUM: usize = 0xfc;
    let sector = offset / SECTOR_BYTES as u64;
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    device.read(sector, &mut bytes)?;
    if bytes[..4] != MAGIC {
        return Err(Errno::EUCLEAN);
    }
    bytes[ERROR..ERROR + 4].copy_from_slice(&(-(Errno::EIO as i32)).to_be_bytes());
    let features = [bytes[FEATURES], bytes[FEATURES + 1], bytes[FEATURES + 2], bytes[FEATURES + 3]];
    if u32::from_be_bytes(features) & CHECKSUMS != 0 {
        bytes[CHECKSUM..CHECKSUM + 4].fill(0);
        let checksum = crc32c(&bytes);
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
    }
    device.write(sector, &bytes)
}

/// CRC-32C as ext4 has it: begun with all ones, and not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ REMAINDERS[usize::from(crc as u8 ^ byte)])
}

/// What each value of a byte adds to a CRC.
static REMAINDERS: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut remainders = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        remainders[byte] = crc;
        byte += 1;
    }
    remainders
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
