//! What the `rsext4` crate is given: a device, a clock, and nothing else.

use alloc::sync::Arc;

use block::SECTOR_BYTES;
use ksync::platform;
use linux_abi::Errno;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, Ext4Timestamp,
    MountedServices, NoopObserver, SectorId,
};

use crate::{
    disk::{BLOCK_BYTES, BLOCK_SECTORS, Disk},
    marks,
};

/// The mounted file system, as the crate has it.
pub(crate) type Mounted = rsext4::Ext4<Device, MountedServices<(), NoopObserver, ()>>;

/// The device as the crate has it. All that the crate writes reaches the device at once.
pub(crate) struct Device {
    disk: Arc<Disk>,
    view: View,
}

/// What the crate is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The device as it is.
    AsIs,
    /// A superblock that says neither that there is a journal nor that inodes are to be freed. The crate looks
    /// at both even when it only reads: it gives up if they are damaged, and maps each block of a journal that has
    /// nothing to tell, which took more instructions than the rest of a boot.
    WithoutJournal,
}

impl Device {
    pub(crate) fn new(disk: Arc<Disk>, view: View) -> Self {
        Self { disk, view }
    }
}

pub(crate) fn device_error(_: Errno) -> Ext4Error {
    Ext4Error::io()
}

impl BlockIo for Device {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        self.disk.write_for_core(sector.raw(), bytes).map_err(device_error)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get_mut(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        let sector = sector.raw();
        if bytes.len() == BLOCK_BYTES && sector.is_multiple_of(BLOCK_SECTORS) {
            self.disk.read_block(sector / BLOCK_SECTORS, bytes)
        } else {
            self.disk.read(sector, bytes)
        }
        .map_err(device_error)?;
        if self.view == View::WithoutJournal {
            marks::hide_journal(sector, bytes);
        }
        Ok(())
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR_BYTES as u32, self.disk.device().sector_count())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities {
            read_only: self.disk.device().is_read_only(),
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
        self.disk.flush().map_err(device_error)
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
