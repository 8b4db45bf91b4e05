//! Room for dirty pages: promised when they are written, taken when they are written back.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_abi::Errno;

use crate::core_io::Mounted;

/// Room for dirty pages that have no blocks yet, and for what leads to them.
#[derive(Default)]
pub(crate) struct Space {
    free_bytes: AtomicU64,
    promised_bytes: AtomicU64,
}

/// Kept back for metadata: half of it for new names, all of it for what leads to contents that were promised room.
const METADATA_RESERVE_BYTES: u64 = 1 << 20;

/// What contents may need at most, with the blocks of extents: these hold at least 170 each (half of the 340 in a block
/// of 4096 bytes), and each page has one of its own at worst.
fn with_metadata(bytes: u64) -> u64 {
    bytes + bytes / 128
}

impl Space {
    pub(crate) fn update(&self, mounted: &Mounted) {
        let statistics = mounted.statfs();
        let free = statistics.free_blocks.saturating_mul(statistics.block_size);
        self.free_bytes.store(free, Ordering::Relaxed);
    }

    /// Promises room, if there is.
    pub(crate) fn promise(&self, bytes: u64) -> Result<(), Errno> {
        let promised = self.promised_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if with_metadata(promised) + METADATA_RESERVE_BYTES <= self.free_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.withdraw(bytes);
        Err(Errno::ENOSPC)
    }

    /// Whether so much can be taken at once.
    pub(crate) fn has_room(&self, bytes: u64) -> Result<(), Errno> {
        self.promise(bytes).map(|()| self.withdraw(bytes))
    }

    /// Whether there is room for new names.
    pub(crate) fn has_room_for_names(&self) -> Result<(), Errno> {
        let promised = with_metadata(self.promised_bytes());
        if promised + METADATA_RESERVE_BYTES / 2 <= self.free_bytes.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Errno::ENOSPC)
        }
    }

    /// Promises room that is known to be there.
    pub(crate) fn force(&self, bytes: u64) {
        self.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes a promise back.
    pub(crate) fn withdraw(&self, bytes: u64) {
        self.promised_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What is promised now.
    pub(crate) fn promised_bytes(&self) -> u64 {
        self.promised_bytes.load(Ordering::Relaxed)
    }
}
