//! What a superblock tells before anything is mounted: size, condition, and features that are not known here.
//!
//! Reads only; all else about the format is the `rsext4` crate's. The layout is that of the kernel's documentation
//! (filesystems/ext4/super.rst), little-endian throughout.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use block::{BlockDevice, SECTOR_BYTES};
use linux_abi::Errno;

/// Where the superblock is on a device, in bytes.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
/// How long it is.
pub const SUPERBLOCK_BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;

const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;

/// Names of incompatible features as mke2fs has them (ext4(5)); those that `rsext4` 0.9.2 implements have none here.
const INCOMPATIBLE: [(u32, &str); 9] = [
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const KNOWN_INCOMPATIBLE: u32 = 0x2 | INCOMPAT_RECOVER | 0x40 | INCOMPAT_64BIT | 0x100 | 0x200 | 0x2000;

/// The same for those that make writing, and not reading, impossible.
const READ_ONLY_COMPATIBLE: [(u32, &str); 9] = [
    (0x4, "btree_dir"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];
const KNOWN_READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | 0x2000;

/// In what order a file system was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In order.
    Clean,
    /// In use when its machine ended: the journal is to be replayed, or files that were removed are to be freed.
    NeedsRecovery,
    /// Somebody found it damaged and noted that, or it was in use when its machine ended and has no journal.
    Damaged,
}

/// The superblock of a device.
pub struct Superblock {
    bytes: Box<[u8]>,
}

impl Superblock {
    /// Reads it; `EINVAL` if there is no ext4 on the device.
    pub fn read(device: &dyn BlockDevice) -> Result<Self, Errno> {
        let sector = SUPERBLOCK_OFFSET / SECTOR_BYTES as u64;
        if device.sector_count() < sector + (SUPERBLOCK_BYTES / SECTOR_BYTES) as u64 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = alloc::vec![0; SUPERBLOCK_BYTES];
        device.read(sector, &mut bytes)?;
        Self::parse(&bytes).ok_or(Errno::EINVAL)
    }

    /// Takes the [`SUPERBLOCK_BYTES`] at [`SUPERBLOCK_OFFSET`]; `None` if they are no superblock.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SUPERBLOCK_BYTES)?;
        let superblock = Self { bytes: bytes.into() };
        (superblock.u16_at(0x38) == MAGIC).then_some(superblock)
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }

    /// A number of blocks, whose upper half counts only in large file systems.
    fn blocks_at(&self, low: usize, high: usize) -> u64 {
        let high = if self.incompatible() & INCOMPAT_64BIT != 0 { self.u32_at(high) } else { 0 };
        u64::from(self.u32_at(low)) | u64::from(high) << 32
    }

    fn incompatible(&self) -> u32 {
        self.u32_at(0x60)
    }

    /// In what order the file system was left.
    pub fn condition(&self) -> Condition {
        let state = self.u16_at(0x3a);
        if state & STATE_ERRORS != 0 {
            return Condition::Damaged;
        }
        let has_journal = self.u32_at(0x5c) & COMPAT_HAS_JOURNAL != 0;
        let was_in_use = state & STATE_VALID == 0 || self.incompatible() & INCOMPAT_RECOVER != 0;
        match (was_in_use, has_journal) {
            (true, false) => Condition::Damaged,
            (true, true) => Condition::NeedsRecovery,
            // The head of the list of inodes without a name.
            (false, _) if self.u32_at(0xe8) != 0 => Condition::NeedsRecovery,
            (false, _) => Condition::Clean,
        }
    }

    /// Whether there are changes that are in the journal only.
    pub fn has_journal_to_replay(&self) -> bool {
        self.incompatible() & INCOMPAT_RECOVER != 0
    }

    /// Bytes of a block, if that is possible at all.
    pub fn block_bytes(&self) -> Option<u64> {
        let log = self.u32_at(0x18);
        (log <= 6).then(|| 1024 << log)
    }

    /// Size of the file system in bytes; `None` if that is nonsense.
    pub fn total_bytes(&self) -> Option<u64> {
        self.blocks_at(0x4, 0x150).checked_mul(self.block_bytes()?)
    }

    /// Names of the features for which it cannot be mounted, not even for reading.
    pub fn unknown_features(&self) -> Vec<String> {
        names(self.incompatible() & !KNOWN_INCOMPATIBLE, &INCOMPATIBLE)
    }

    /// Names of the features for which it cannot be mounted for writing.
    pub fn read_only_features(&self) -> Vec<String> {
        names(self.u32_at(0x64) & !KNOWN_READ_ONLY_COMPATIBLE, &READ_ONLY_COMPATIBLE)
    }
}

fn names(features: u32, known: &[(u32, &str)]) -> Vec<String> {
    let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| features & bit != 0);
    bits.map(|bit| match known.iter().find(|(feature, _)| *feature == bit) {
        Some((_, name)) => (*name).into(),
        None => format!("{bit:#x}"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(changes: &[(usize, u32)]) -> Superblock {
        let mut bytes = alloc::vec![0; SUPERBLOCK_BYTES];
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x3a] = STATE_VALID as u8;
        bytes[0x5c] = COMPAT_HAS_JOURNAL as u8;
        for (at, value) in changes {
            bytes[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        Superblock::parse(&bytes).unwrap()
    }

    #[test]
    fn conditions_are_told_apart() {
        assert_eq!(superblock(&[]).condition(), Condition::Clean);
        assert_eq!(superblock(&[(0x60, INCOMPAT_RECOVER)]).condition(), Condition::NeedsRecovery);
        assert_eq!(superblock(&[(0x3a, 0)]).condition(), Condition::NeedsRecovery);
        assert_eq!(superblock(&[(0xe8, 12)]).condition(), Condition::NeedsRecovery);
        assert_eq!(superblock(&[(0x3a, 3)]).condition(), Condition::Damaged);
        assert_eq!(superblock(&[(0x3a, 0), (0x5c, 0)]).condition(), Condition::Damaged);
    }

    #[test]
    fn sizes_and_features_are_read() {
        let plain = superblock(&[(0x4, 1 << 20), (0x18, 2), (0x150, 1)]);
        assert_eq!(plain.total_bytes(), Some(4 << 30));
        assert!(plain.unknown_features().is_empty() && plain.read_only_features().is_empty());
        let large = superblock(&[(0x4, 0), (0x18, 0), (0x150, 1), (0x60, INCOMPAT_64BIT)]);
        assert_eq!(large.total_bytes(), Some(1 << 42));
        assert_eq!(superblock(&[(0x18, 7)]).total_bytes(), None);
        let odd = superblock(&[(0x60, 0x8000 | 0x40 | 0x4000_0000), (0x64, 0x200)]);
        assert_eq!(odd.unknown_features(), ["inline_data", "0x40000000"]);
        assert_eq!(odd.read_only_features(), ["bigalloc"]);
        assert!(Superblock::parse(&[0; SUPERBLOCK_BYTES]).is_none());
        assert!(Superblock::parse(&[0; 10]).is_none());
    }
}
