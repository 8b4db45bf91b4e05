//! PCI: configuration space by ECAM where ACPI's MCFG tells where that is, by ports otherwise, and what
//! is found in it.
//!
//! `SPACE` guards configuration space: its accesses come in pairs (address and data ports, or mapping a
//! bus before its first use). After boot only the network and hot-plug would use it.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ptr::NonNull;

use acpi_tables::Ecam;
use ksync::SpinLock;
use pci_config::{
    Bar, BarRegion, Command, ConfigSpace, Device, Function, MemoryWindow, MsixCapability, MsixEnable,
    assign_bars, command, enumerate, msix_capability, read_bars, set_command, set_msix_enable,
    virtio_capabilities,
};
use virtio::{PciRegisters, RegisterBlock};
use x86_64::instructions::port::Port;

use super::platform;
use crate::arch::paging;

/// A function with its BARs.
#[derive(Clone, Debug)]
pub struct PciDevice {
    /// What it is.
    pub device: Device,
    /// What it decodes.
    pub bars: [Option<Bar>; 6],
}

/// Bytes of configuration space of a function, and of a bus, in ECAM (PCI Express 7.2.2).
const ECAM_FUNCTION_LEN: usize = 4096;
const ECAM_BUS_LEN: usize = 256 * ECAM_FUNCTION_LEN;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Ways to configuration space.
enum Space {
    /// The ports: 256 bytes of each function.
    Ports,
    /// Memory; a bus is mapped when it is first looked at.
    Ecam { ecam: Ecam, buses: SpinLock<BTreeMap<u8, RegisterBlock>> },
}

static SPACE: SpinLock<Option<Space>> = SpinLock::new(None);

impl Space {
    fn new() -> Self {
        let ecam = platform::get()
            .and_then(|platform| platform.ecam.iter().find(|ecam| ecam.segment == 0 && ecam.first_bus == 0));
        match ecam {
            Some(ecam) => Self::Ecam { ecam: *ecam, buses: SpinLock::new(BTreeMap::new()) },
            None => Self::Ports,
        }
    }

    fn bus(ecam: &Ecam, buses: &SpinLock<BTreeMap<u8, RegisterBlock>>, bus: u8) -> Option<RegisterBlock> {
        if bus > ecam.last_bus {
            return None;
        }
        let mut buses = buses.lock();
        if let Some(registers) = buses.get(&bus) {
            return Some(*registers);
        }
        let phys = ecam.base.checked_add(u64::from(bus) * ECAM_BUS_LEN as u64)?;
        let registers = map(phys, ECAM_BUS_LEN)?;
        buses.insert(bus, registers);
        Some(registers)
    }
}

fn ecam_offset(function: Function, offset: u16) -> usize {
    let index = usize::from(function.device) << 3 | usize::from(function.function);
    index * ECAM_FUNCTION_LEN + usize::from(offset)
}

fn select(function: Function, offset: u16) {
    let address = CONFIG_ENABLE
        | u32::from(function.bus) << 16
        | u32::from(function.device) << 11
        | u32::from(function.function) << 8
        | u32::from(offset);
    // SAFETY: the address port only selects what the data port is about; `SPACE` makes them a pair.
    unsafe { Port::new(CONFIG_ADDRESS).write(address) };
}

impl ConfigSpace for Space {
    fn read(&self, function: Function, offset: u16) -> u32 {
        match self {
            Self::Ecam { ecam, buses } => Self::bus(ecam, buses, function.bus)
                .map_or(u32::MAX, |registers| registers.read_u32(ecam_offset(function, offset))),
            Self::Ports if offset < 256 => {
                select(function, offset);
                // SAFETY: reading configuration space changes nothing; without a host bridge it is
                // all ones.
                unsafe { Port::new(CONFIG_DATA).read() }
            }
            Self::Ports => u32::MAX,
        }
    }

    fn write(&self, function: Function, offset: u16, value: u32) {
        match self {
            Self::Ecam { ecam, buses } => {
                if let Some(registers) = Self::bus(ecam, buses, function.bus) {
                    registers.write_u32(ecam_offset(function, offset), value);
                }
            }
            Self::Ports if offset < 256 => {
                select(function, offset);
                // SAFETY: what is written are BARs, command registers and capabilities of devices that
                // no driver uses meanwhile.
                unsafe { Port::new(CONFIG_DATA).write(value) }
            }
            Self::Ports => {}
        }
    }
}

/// Does something with configuration space, and nobody else meanwhile.
pub fn with_space<T>(f: impl FnOnce(&dyn ConfigSpace) -> T) -> T {
    let mut space = SPACE.lock();
    f(space.get_or_insert_with(Space::new))
}

/// Longest stretch of registers that is mapped: far more than any device here has.
const MAX_MAPPED_LEN: usize = 16 << 20;
/// Physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4).
const MAX_PHYS: u64 = 1 << 52;

/// Maps registers, or `None` if they cannot be where the device says.
pub fn map(phys: u64, len: usize) -> Option<RegisterBlock> {
    let end = phys.checked_add(len as u64)?;
    if phys == 0 || len == 0 || len > MAX_MAPPED_LEN || end > MAX_PHYS {
        return None;
    }
    let base = NonNull::new(paging::map_mmio(phys, len))?;
    // SAFETY: mapped for good, uncached; drivers own their devices' registers.
    Some(unsafe { RegisterBlock::new(base, len) })
}

fn map_region(region: BarRegion) -> Option<RegisterBlock> {
    map(region.base, region.len as usize)
}

/// Where BARs go that the firmware left unassigned: below the I/O APICs, above all assigned ones.
const WINDOW: core::ops::Range<u64> = 0xe000_0000..0xfec0_0000;

/// The functions of one vendor, with their memory BARs assigned. No device is on yet. Those of other
/// vendors are left alone: each look at a BAR's size makes the hypervisor remap it.
pub fn scan(vendor: u16) -> Vec<PciDevice> {
    with_space(|space| {
        let devices = enumerate(space, 0);
        let with_bars = |device: &Device| PciDevice { bars: read_bars(space, device), device: *device };
        let (wanted, others): (Vec<Device>, Vec<Device>) =
            devices.into_iter().partition(|device| device.vendor == vendor);
        let mut found: Vec<PciDevice> = wanted.iter().map(with_bars).collect();
        if found.iter().any(PciDevice::is_unassigned) {
            let others: Vec<PciDevice> = others.iter().map(with_bars).collect();
            let end = found
                .iter()
                .chain(&others)
                .flat_map(|device| device.bars.iter().flatten())
                .filter_map(|bar| match bar {
                    Bar::Memory { base, len, .. } if *base != 0 => Some(base.saturating_add(*len)),
                    _ => None,
                })
                .filter(|end| WINDOW.contains(end))
                .max();
            assign(space, &mut found, MemoryWindow::new(end.unwrap_or(WINDOW.start), WINDOW.end));
        }
        found
    })
}

fn assign(space: &dyn ConfigSpace, devices: &mut [PciDevice], mut window: MemoryWindow) {
    for device in devices {
        let function = device.device.function;
        match assign_bars(space, function, &mut device.bars, &mut window) {
            Some(count) => log::debug!("PCI {function}: assigned {count} BARs"),
            None => log::warn!("PCI {function}: no room for its BARs"),
        }
    }
}

impl PciDevice {
    /// Whether the firmware left a memory BAR without an address.
    fn is_unassigned(&self) -> bool {
        self.bars.iter().flatten().any(|bar| matches!(bar, Bar::Memory { base: 0, .. }))
    }

    /// Lets the device answer in memory space and access memory itself, with its INTx line off.
    pub fn enable(&self) {
        with_space(|space| {
            let function = self.device.function;
            let wanted = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTX_DISABLE;
            set_command(space, function, command(space, function) | wanted);
        });
    }

    /// The registers of a modern virtio device, mapped.
    pub fn virtio_registers(&self) -> Option<PciRegisters> {
        let regions = with_space(|space| virtio_capabilities(space, self.device.function, &self.bars))?;
        Some(PciRegisters {
            common: map_region(regions.common)?,
            notify: map_region(regions.notify.0)?,
            notify_multiplier: regions.notify.1,
            isr: map_region(regions.isr)?,
            device: match regions.device {
                Some(region) => Some(map_region(region)?),
                None => None,
            },
        })
    }

    /// Switches the device to message-signalled interrupts, all of them masked, and gives its table. The
    /// entries are masked too, as a reset leaves them (PCI 3.0, 6.8.2.9).
    pub fn use_msix(&self) -> Option<(MsixCapability, RegisterBlock)> {
        let function = self.device.function;
        with_space(|space| {
            let capability = msix_capability(space, function, &self.bars)?;
            let table = map_region(capability.table)?;
            set_msix_enable(space, function, &capability, MsixEnable::Masked);
            Some((capability, table))
        })
    }
}
