//! What the `rsext4` crate is given: a device, a clock, and nothing else.

use alloc::sync::Arc;

use block::{BlockDevice, SECTOR_BYTES};
use ksync::platform;
use linux_abi::Errno;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, Ext4Timestamp,
    MountedServices, NoopObserver, SectorId,
};

/// The mounted file system, as the crate has it.
pub(crate) type Mounted = rsext4::Ext4<Device, MountedServices<(), NoopObserver, ()>>;

/// The device.
pub(crate) struct Device(pub(crate) Arc<dyn BlockDevice>);

fn device_error(_: Errno) -> Ext4Error {
    Ext4Error::io()
}

impl BlockIo for Device {
    fn write(&mut self, buffer: &[u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        self.0.write(sector.raw(), bytes).map_err(device_error)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, count: u32) -> Ext4Result<()> {
        let bytes = buffer.get_mut(..count as usize * SECTOR_BYTES).ok_or_else(Ext4Error::invalid_input)?;
        self.0.read(sector.raw(), bytes).map_err(device_error)
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR_BYTES as u32, self.0.sector_count())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities {
            read_only: self.0.is_read_only(),
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
        self.0.flush().map_err(device_error)
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
