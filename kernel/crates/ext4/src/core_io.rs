//! What the `rsext4` crate is given: a device, a clock, and nothing else.

use alloc::{boxed::Box, sync::Arc};

use block::{BlockDevice, SECTOR_BYTES};
use ksync::platform;
use linux_abi::Errno;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, Ext4Timestamp,
    MountedServices, NoopObserver, SectorId,
};

/// The mounted file system, as the crate has it.
pub(crate) type Mounted = rsext4::Ext4<Device, MountedServices<(), NoopObserver, ()>>;

/// Bytes of a block that is kept; the crate reads nearly all metadata in such pieces.
const BLOCK_BYTES: usize = 4096;
const BLOCK_SECTORS: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;
/// Blocks that are kept: at most 512 KiB.
const KEPT_BLOCKS: usize = 128;

/// The device, with the blocks that were read last. The crate keeps few blocks itself and reads the same
/// inode tables and directories again and again. Each block has one place, so that whoever has the place
/// keeps no other state.
///
/// All that the crate writes goes through here and reaches the device at once. What the page cache reads goes
/// past it.
pub(crate) struct Device {
    device: Arc<dyn BlockDevice>,
    kept: Box<[Option<Kept>]>,
}

struct Kept {
    /// The device's block, in units of [`BLOCK_BYTES`].
    block: u64,
    bytes: Box<[u8]>,
}

impl Device {
    pub(crate) fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self { device, kept: core::iter::repeat_with(|| None).take(KEPT_BLOCKS).collect() }
    }

    fn place(&mut self, block: u64) -> &mut Option<Kept> {
        &mut self.kept[(block % KEPT_BLOCKS as u64) as usize]
    }

    fn read_block(&mut self, block: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let sector = block * BLOCK_SECTORS;
        if let Some(kept) = self.place(block).as_ref().filter(|kept| kept.block == block) {
            buffer.copy_from_slice(&kept.bytes);
            return Ok(());
        }
        self.device.read(sector, buffer)?;
        match self.place(block) {
            Some(kept) => {
                kept.block = block;
                kept.bytes.copy_from_slice(buffer);
            }
            place => *place = Some(Kept { block, bytes: buffer.into() }),
        }
        Ok(())
    }

    /// Drops what is kept of the blocks that `bytes` at `sector` touch, or replaces it by what was written.
    fn note_written(&mut self, sector: u64, bytes: &[u8]) {
        let end = sector + (bytes.len() / SECTOR_BYTES) as u64;
        for block in sector / BLOCK_SECTORS..end.div_ceil(BLOCK_SECTORS) {
            let place = self.place(block);
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

fn device_error(_: Errno) -> Ext4Error {
    Ext4Error::io()
}

impl BlockIo for Device {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        let result = self.device.write(sector.raw(), bytes);
        match result {
            Ok(()) => self.note_written(sector.raw(), bytes),
            // What is on the device now, nobody knows.
            Err(_) => self.kept.fill_with(|| None),
        }
        result.map_err(device_error)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get_mut(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        let sector = sector.raw();
        if bytes.len() == BLOCK_BYTES && sector.is_multiple_of(BLOCK_SECTORS) {
            self.read_block(sector / BLOCK_SECTORS, bytes)
        } else {
            self.device.read(sector, bytes)
        }
        .map_err(device_error)
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR_BYTES as u32, self.device.sector_count())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities {
            read_only: self.device.is_read_only(),
            // Without it the crate refuses to commit. A device without a volatile cache has nothing
            // to flush, and the block layer sends it no such command.
            flush: true,
            // Clear for good: the drivers have no FUA write, and the crate then flushes instead.
            fua: false,
            barrier: false,
            discard: false,
        }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.device.flush().map_err(device_error)
    }
}

/// The wall clock.
pub(crate) struct RealTime;

impl Clock for RealTime {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        let now = vfs::Timestamp::from_ns(platform::realtime_ns());
        Ok(Ext4Timestamp::new(now.seconds, now.nanoseconds))
    }
}
