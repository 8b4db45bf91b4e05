//! What a machine's firmware says about it, from the ACPI tables.
//!
//! Responsible for finding and decoding the root pointer, RSDT/XSDT, MADT (CPUs and interrupt
//! controllers), MCFG (PCI Express configuration space), FADT (power-off and reset registers, PM
//! timer) and two facts of the DSDT: the `\_S5_` sleep type and virtio-mmio devices.
//!
//! Not responsible for AML in general. The two facts are static data in the tables that QEMU,
//! Cloud Hypervisor and Firecracker make, and a bounded scan for their encoding finds them. An AML
//! interpreter (the crate `acpi`: 13,000 lines, pre-release) would buy nothing more here.
//!
//! Tables are input, not trusted: every length is checked, a table with a wrong checksum or an
//! impossible length is left out and named in [`Platform::rejected`], and nothing panics. Byte
//! offsets are those of the ACPI specification 6.5, chapter 5.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aml;
mod bytes;
mod fadt;
mod madt;
mod root;

use alloc::vec::Vec;

pub use aml::{SoftOff, VirtioMmio};
pub use fadt::{AddressSpace, Fadt, GenericAddress, PmTimerWidth};
pub use madt::{InterruptOverride, IoApic, LocalApic, LocalApicState, Polarity, Trigger};
pub use root::Error;

/// Physical memory that can be read: in the kernel, through the direct map.
pub trait PhysMemory {
    /// The `len` bytes at physical address `phys`, or `None` if not all of them are memory.
    fn bytes(&self, phys: u64, len: usize) -> Option<&[u8]>;
}

/// A stretch of PCI Express configuration space (PCI Firmware Specification 3.3, table 4-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecam {
    /// Physical address of the configuration space of bus 0, device 0, function 0.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// First bus that is decoded.
    pub first_bus: u8,
    /// Last bus that is decoded, inclusive.
    pub last_bus: u8,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Physical address of the local APICs (the same for every CPU).
    pub local_apic_address: Option<u64>,
    /// CPUs, in the order of the table; the first is the one that booted.
    pub local_apics: Vec<LocalApic>,
    /// I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// ISA interrupts that do not arrive as GSI = IRQ, edge-triggered, active-high.
    pub overrides: Vec<InterruptOverride>,
    /// PCI Express configuration spaces.
    pub ecam: Vec<Ecam>,
    /// Fixed hardware.
    pub fadt: Option<Fadt>,
    /// The sleep types that mean soft-off, from `\_S5_`.
    pub soft_off: Option<SoftOff>,
    /// virtio-mmio devices (`LNRO0005`), by ascending address.
    pub virtio_mmio: Vec<VirtioMmio>,
    /// Signatures of tables that were left out because they are damaged.
    pub rejected: Vec<[u8; 4]>,
}

impl Platform {
    /// Reads the tables. `rsdp` is where the boot loader says the root pointer is (PVH start_info);
    /// without it the BIOS area is searched.
    pub fn read(memory: &dyn PhysMemory, rsdp: Option<u64>) -> Result<Self, Error> {
        let root = root::find(memory, rsdp)?;
        let mut platform = Self::default();
        for address in root::tables(memory, &root)? {
            match root::table(memory, address) {
                Ok((signature, table)) => platform.take(memory, signature, table),
                Err(signature) => platform.rejected.push(signature),
            }
        }
        Ok(platform)
    }

    fn take(&mut self, memory: &dyn PhysMemory, signature: [u8; 4], table: &[u8]) {
        match &signature {
            b"APIC" => madt::read(table, self),
            b"MCFG" => self.read_mcfg(table),
            b"FACP" => {
                let fadt = Fadt::read(table);
                // The FADT points to the DSDT; the root table does not list it.
                match fadt.dsdt.map(|address| root::table(memory, address)) {
                    Some(Ok((_, dsdt))) => self.read_definitions(dsdt),
                    Some(Err(signature)) => self.rejected.push(signature),
                    None => {}
                }
                self.fadt = Some(fadt);
            }
            b"SSDT" => self.read_definitions(table),
            _ => {}
        }
    }

    fn read_definitions(&mut self, table: &[u8]) {
        let code = table.get(root::HEADER_LEN..).unwrap_or_default();
        self.soft_off = self.soft_off.or_else(|| aml::find_soft_off(code));
        aml::find_virtio_mmio(code, &mut self.virtio_mmio);
        self.virtio_mmio.sort_unstable_by_key(|device| device.base);
        self.virtio_mmio.dedup_by_key(|device| device.base);
    }

    fn read_mcfg(&mut self, table: &[u8]) {
        const ENTRIES_AT: usize = 44;
        let entries = table.get(ENTRIES_AT..).unwrap_or_default().chunks_exact(16);
        self.ecam.extend(entries.filter_map(|entry| {
            let ecam = Ecam {
                base: bytes::u64_at(entry, 0)?,
                segment: bytes::u16_at(entry, 8)?,
                first_bus: entry[10],
                last_bus: entry[11],
            };
            (ecam.base != 0 && ecam.first_bus <= ecam.last_bus).then_some(ecam)
        }));
    }
}

#[cfg(test)]
mod tests;
