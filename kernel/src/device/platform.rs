//! What the firmware says about the machine.

use acpi_tables::{PhysMemory, Platform};
use spin::Once;

use crate::arch::layout;

/// Physical memory that is in the direct map whole, holes included (see `arch::paging::init`). Firmware
/// leaves its tables here.
const MAPPED: u64 = 4 << 30;

struct DirectMap;

impl PhysMemory for DirectMap {
    fn bytes(&self, phys: u64, len: usize) -> Option<&[u8]> {
        let end = phys.checked_add(len as u64)?;
        // SAFETY: mapped for good; the tables are in reserved memory, which nobody writes.
        (end <= MAPPED && phys != 0)
            .then(|| unsafe { core::slice::from_raw_parts(layout::direct(phys), len) })
    }
}

static PLATFORM: Once<Platform> = Once::new();

/// Reads the tables. `rsdp` is where the boot loader says that they begin.
pub fn read(rsdp: Option<u64>) -> &'static Platform {
    PLATFORM.call_once(|| {
        let platform = Platform::read(&DirectMap, rsdp).unwrap_or_else(|error| {
            log::warn!("{error}: one CPU, and devices by the command line only");
            Platform::default()
        });
        for signature in &platform.rejected {
            log::warn!("ACPI table {} is damaged and left out", signature.escape_ascii());
        }
        platform
    })
}

/// What [`read`] found; nothing before it has run.
pub fn get() -> Option<&'static Platform> {
    PLATFORM.get()
}
