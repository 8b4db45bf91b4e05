//! The device below a mounted file system, shared by the crate, which reads and writes through `core_io`, and by
//! the contents of files that go past the crate.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc};
use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use block::{BlockDevice, SECTOR_BYTES};
use ksync::Mutex;
use linux_abi::Errno;

use crate::marks;

/// Bytes of a block that is kept; the crate reads nearly all metadata in such pieces.
pub(crate) const BLOCK_BYTES: usize = 4096;
pub(crate) const BLOCK_SECTORS: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;
/// Blocks that are kept: at most 512 KiB.
const KEPT_BLOCKS: usize = 128;
/// How many data blocks to remember that the crate may have in its own cache. That holds 32 blocks in rsext4
/// 0.9.2 (`DATABLOCK_CACHE_MAX`), the least recently used goes first: what came before the last 64 is gone.
const REMEMBERED_BLOCKS: usize = 64;

/// The device, with the blocks of metadata that were read last. The crate keeps few blocks itself and reads
/// the same inode tables and directories again and again. Each block has one place, so that whoever has the
/// place keeps no other state.
pub(crate) struct Disk {
    device: Arc<dyn BlockDevice>,
    kept: Mutex<Box<[Option<Kept>]>>,
    /// Blocks of contents that the crate may have in its cache, the last one last.
    in_core: Mutex<VecDeque<InCore>>,
    /// Writes that have ended.
    writes: AtomicU64,
    /// How many of them are known to be durable.
    durable_writes: AtomicU64,
    /// Blocks that the crate has written one at a time: nearly all of them are the journal's.
    small_writes: AtomicU64,
}

struct Kept {
    /// The device's block, in units of [`BLOCK_BYTES`].
    block: u64,
    bytes: Box<[u8]>,
}

/// A block of a file's contents that was last written through the crate's cache.
struct InCore {
    physical: u64,
    /// What the crate has yet to write.
    pending: Option<Box<[u8]>>,
}

impl Disk {
    pub(crate) fn new(device: Arc<dyn BlockDevice>) -> Arc<Self> {
        Arc::new(Self {
            device,
            kept: Mutex::new(core::iter::repeat_with(|| None).take(KEPT_BLOCKS).collect()),
            in_core: Mutex::default(),
            writes: AtomicU64::new(0),
            durable_writes: AtomicU64::new(0),
            small_writes: AtomicU64::new(0),
        })
    }

    pub(crate) fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    pub(crate) fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.device.read(sector, buffer)
    }

    /// Reads a block of [`BLOCK_BYTES`], and keeps it.
    pub(crate) fn read_block(&self, block: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let place = (block % KEPT_BLOCKS as u64) as usize;
        if let Some(kept) = self.kept.lock()[place].as_ref().filter(|kept| kept.block == block) {
            buffer.copy_from_slice(&kept.bytes);
            return Ok(());
        }
        // Nobody else writes this block meanwhile: the crate reads it, which has it alone, or a file whose
        // contents nobody may change now.
        self.device.read(block * BLOCK_SECTORS, buffer)?;
        match &mut self.kept.lock()[place] {
            Some(kept) => {
                kept.block = block;
                kept.bytes.copy_from_slice(buffer);
            }
            place => *place = Some(Kept { block, bytes: (&*buffer).into() }),
        }
        Ok(())
    }

    pub(crate) fn write(&self, sector: u64, bytes: &[u8]) -> Result<(), Errno> {
        let result = self.device.write(sector, bytes);
        self.writes.fetch_add(1, Ordering::AcqRel);
        match result {
            Ok(()) => self.note_written(sector, bytes),
            // What is on the device now, nobody knows.
            Err(_) => self.kept.lock().fill_with(|| None),
        }
        result
    }

    /// The same for what the crate writes: it has less in its cache then, and more in its journal.
    ///
    /// When it unmounts it writes a superblock that says so along with all else that was in the journal only:
    /// after a power cut that lost the rest, nobody would look there. On the device the journal therefore
    /// stays in use until [`marks::mark_journal_empty`].
    pub(crate) fn write_for_core(&self, sector: u64, bytes: &[u8]) -> Result<(), Errno> {
        if is_journal_record(bytes) {
            self.write_pending()?;
        }
        match marks::with_journal_in_use(sector, bytes) {
            Some(superblock) => self.write(sector, &superblock)?,
            None => self.write(sector, bytes)?,
        }
        if bytes.len() <= BLOCK_BYTES {
            self.small_writes.fetch_add(1, Ordering::Relaxed);
        }
        let written = sector * SECTOR_BYTES as u64..sector * SECTOR_BYTES as u64 + bytes.len() as u64;
        for block in self.in_core.lock().iter_mut().filter(|block| written.contains(&block.physical)) {
            block.pending = None;
        }
        Ok(())
    }

    /// Makes all writes that have ended durable. If that is so already, the device is not asked again.
    pub(crate) fn flush(&self) -> Result<(), Errno> {
        let writes = self.writes.load(Ordering::Acquire);
        if self.durable_writes.load(Ordering::Acquire) < writes {
            self.device.flush()?;
            self.durable_writes.fetch_max(writes, Ordering::AcqRel);
        }
        Ok(())
    }

    /// How many blocks the crate has written one at a time so far.
    pub(crate) fn small_writes(&self) -> u64 {
        self.small_writes.load(Ordering::Relaxed)
    }

    /// Forgets what the crate may have in its cache, which is gone.
    pub(crate) fn core_is_new(&self) {
        self.in_core.lock().clear();
    }

    /// The crate may have the block of contents at `physical` in its cache, and has yet to write `pending`.
    ///
    /// The crate lets the extent that leads to new contents be committed whenever its transaction is full,
    /// whether the contents have been written or not: after a power cut the file would then have what was
    /// there before, of another file. So they are written here before the commit.
    pub(crate) fn note_in_core(&self, physical: u64, pending: Option<Box<[u8]>>) {
        let mut in_core = self.in_core.lock();
        in_core.retain(|block| block.physical != physical);
        in_core.push_back(InCore { physical, pending });
        if in_core.len() > REMEMBERED_BLOCKS {
            in_core.pop_front();
        }
    }

    /// The first of the blocks in this range of the device that the crate may have in its cache.
    pub(crate) fn first_in_core(&self, range: Range<u64>) -> Option<u64> {
        let in_core = self.in_core.lock();
        in_core.iter().map(|block| block.physical).filter(|physical| range.contains(physical)).min()
    }

    /// Forgets what is kept of these sectors.
    pub(crate) fn forget(&self, sectors: Range<u64>) {
        let blocks = sectors.start / BLOCK_SECTORS..sectors.end.div_ceil(BLOCK_SECTORS);
        for place in self.kept.lock().iter_mut() {
            if place.as_ref().is_some_and(|kept| blocks.contains(&kept.block)) {
                *place = None;
            }
        }
    }

    fn write_pending(&self) -> Result<(), Errno> {
        loop {
            let next = self.in_core.lock().iter_mut().find_map(|block| {
                let bytes = block.pending.take()?;
                Some((block.physical, bytes))
            });
            let Some((physical, bytes)) = next else { return Ok(()) };
            self.write(physical / SECTOR_BYTES as u64, &bytes)?;
        }
    }

    /// Drops what is kept of the blocks that `bytes` at `sector` touch, or replaces it by what was written.
    fn note_written(&self, sector: u64, bytes: &[u8]) {
        let end = sector + (bytes.len() / SECTOR_BYTES) as u64;
        let mut kept = self.kept.lock();
        for block in sector / BLOCK_SECTORS..end.div_ceil(BLOCK_SECTORS) {
            let place = &mut kept[(block % KEPT_BLOCKS as u64) as usize];
            let Some(kept) = place.as_mut().filter(|kept| kept.block == block) else { continue };
            let start =
                (block * BLOCK_SECTORS).checked_sub(sector).map(|sectors| sectors as usize * SECTOR_BYTES);
            match start.and_then(|start| bytes.get(start..start + BLOCK_BYTES)) {
                Some(whole) => kept.bytes.copy_from_slice(whole),
                None => *place = None,
            }
        }
    }
}

/// Whether a block begins like one of the journal (Linux Documentation/filesystems/ext4/journal.rst). Contents
/// of a file that begin so do no harm: what is written early is written.
fn is_journal_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&0xc03b_3998_u32.to_be_bytes())
}
