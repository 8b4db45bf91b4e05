//! Finding virtio devices, and bringing up those that have drivers.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use ::virtio::{
    DeviceKind, InitError, MmioTransport, NO_VECTOR, PciTransport, Transport,
    block::{Disk, Vectors},
    entropy::EntropySource,
    parse_command_line_device,
    serial::SerialDevice,
};
use acpi_tables::VirtioMmio;

use super::{
    Attached,
    dma::DIRECT_MAP,
    interrupt::{self, Line, MSIX_ENTRY},
    pci, platform,
};
use crate::arch::apic;

/// virtio's PCI vendor ID.
const VIRTIO_VENDOR: u16 = 0x1af4;

/// What was found and works.
#[derive(Default)]
pub struct Found {
    pub disks: Vec<Attached<Disk>>,
    pub entropy: Option<EntropySource>,
    pub serial: Option<Attached<SerialDevice>>,
    /// Network cards, whose drivers need random numbers first.
    pub network: Vec<Candidate>,
}

/// A device that is reachable, before its driver.
pub struct Candidate {
    pub transport: Box<dyn Transport>,
    pub line: Line,
}

/// Looks on PCI, among ACPI's devices and on the command line. Disks have queues for `cpus` CPUs.
pub fn probe(command_line: &str, cpus: usize) -> Found {
    let mut found = Found::default();
    for candidate in on_pci().into_iter().chain(on_mmio(command_line)) {
        let kind = candidate.transport.kind();
        if let Err(error) = found.attach(candidate, cpus) {
            log::warn!("virtio {kind:?}: {error}");
        }
    }
    found
}

impl Found {
    fn attach(&mut self, candidate: Candidate, cpus: usize) -> Result<(), InitError> {
        let Candidate { transport, line } = candidate;
        let vector = if matches!(line, Line::Msix { .. }) { MSIX_ENTRY } else { NO_VECTOR };
        match transport.kind() {
            DeviceKind::Block => {
                let vectors = match line.vectors() {
                    0 => Vectors::None,
                    all => Vectors::Messages(all),
                };
                let disk = Arc::new(Disk::new(transport, &DIRECT_MAP, vectors, cpus)?);
                self.disks.push(Attached { device: disk, line });
            }
            DeviceKind::Entropy if self.entropy.is_none() => {
                self.entropy = Some(EntropySource::new(transport, &DIRECT_MAP)?);
            }
            DeviceKind::Console if self.serial.is_none() => {
                let serial = Arc::new(SerialDevice::new(transport, &DIRECT_MAP, vector)?);
                self.serial = Some(Attached { device: serial, line });
            }
            DeviceKind::Network => self.network.push(Candidate { transport, line }),
            kind => log::debug!("virtio {kind:?}: no driver, or one too many"),
        }
        Ok(())
    }
}

fn on_pci() -> Vec<Candidate> {
    pci::scan(VIRTIO_VENDOR)
        .into_iter()
        .filter_map(|device| {
            let function = device.device.function;
            let kind = PciTransport::kind_of(device.device.device)?;
            device.enable();
            let Some(registers) = device.virtio_registers() else {
                log::warn!("PCI {function}: not a modern virtio device");
                return None;
            };
            let line = match device.use_msix() {
                Some((capability, table)) => Line::Msix { function, capability, table },
                None => {
                    // Which I/O APIC input its INTx goes to is known to AML only (_PRT).
                    log::warn!("PCI {function}: no MSI-X; the device is polled");
                    Line::None
                }
            };
            Some(Candidate { transport: Box::new(PciTransport::new(kind, registers)), line })
        })
        .collect()
}

fn on_mmio(command_line: &str) -> Vec<Candidate> {
    let mut places: Vec<VirtioMmio> =
        platform::get().map(|platform| platform.virtio_mmio.clone()).unwrap_or_default();
    // Without ACPI, QEMU's microvm names its devices on the command line. Their interrupts are edges
    // there (microvm.c uses ISA interrupts then).
    places.extend(command_line.split_ascii_whitespace().filter_map(parse_command_line_device).map(
        |(len, base, gsi)| VirtioMmio {
            base,
            len,
            gsi,
            trigger: acpi_tables::Trigger::Edge,
            polarity: acpi_tables::Polarity::ActiveHigh,
        },
    ));
    places.sort_by_key(|place| place.base);
    places.dedup_by_key(|place| place.base);
    let mut candidates: Vec<Candidate> = places.iter().filter_map(mmio_candidate).collect();
    // QEMU fills the slots of microvm from the last: the first device on its command line has the
    // highest address.
    candidates.reverse();
    candidates
}

fn mmio_candidate(place: &VirtioMmio) -> Option<Candidate> {
    let registers = pci::map(place.base, usize::try_from(place.len).ok()?)?;
    let transport = match MmioTransport::new(registers) {
        Ok(transport) => transport?,
        Err(error) => {
            log::warn!("virtio-mmio at {:#x}: {error}", place.base);
            return None;
        }
    };
    let trigger: Option<apic::Trigger> = interrupt::trigger(place.trigger, place.polarity);
    let line = trigger.map_or(Line::None, |trigger| Line::Wired { gsi: place.gsi, trigger });
    Some(Candidate { transport: Box::new(transport), line })
}
