//! How a device's interrupt reaches a CPU.

use acpi_tables::{Polarity, Trigger};
use ksync::SpinLock;
use pci_config::{Function, Message, MsixCapability, MsixEnable, MsixEntry, set_msix_enable};
use virtio::RegisterBlock;

use super::pci;
use crate::arch::{apic, cpu, interrupt};

/// The entry of a device's MSI-X table that all its queues use, if it has one line.
pub const MSIX_ENTRY: u16 = 0;

/// A device's way to interrupt.
pub enum Line {
    /// By messages.
    Msix {
        /// The device.
        function: Function,
        /// Its capability.
        capability: MsixCapability,
        /// Its table, mapped.
        table: RegisterBlock,
    },
    /// By a wire to an I/O APIC.
    Wired {
        /// Global system interrupt.
        gsi: u32,
        /// How the wire signals.
        trigger: apic::Trigger,
    },
    /// Not at all: it is polled.
    None,
}

/// The I/O APIC's word for an interrupt as ACPI describes it. Edge-triggered and active-low is a
/// combination that no device here has.
pub fn trigger(trigger: Trigger, polarity: Polarity) -> Option<apic::Trigger> {
    match (trigger, polarity) {
        (Trigger::Edge, Polarity::ActiveHigh) => Some(apic::Trigger::EdgeHigh),
        (Trigger::Level, Polarity::ActiveHigh) => Some(apic::Trigger::LevelHigh),
        (Trigger::Level, Polarity::ActiveLow) => Some(apic::Trigger::LevelLow),
        (Trigger::Edge, Polarity::ActiveLow) => None,
    }
}

/// The CPU that takes the next line: devices are spread over the CPUs in turn.
static NEXT_CPU: SpinLock<usize> = SpinLock::new(0);

/// Index of the CPU for the first of `lines` lines; the others' are those that follow.
fn next_cpu(lines: usize) -> usize {
    let mut next = NEXT_CPU.lock();
    let first = *next;
    *next = (first + lines) % cpu::count().max(1);
    first
}

fn apic_id(index: usize) -> u32 {
    let index = index % cpu::count().max(1);
    // Messages and I/O APIC entries have eight bits for the destination; the boot CPU always fits.
    cpu::all()
        .nth(index)
        .map(|cpu| cpu.apic_id())
        .filter(|id| *id <= 0xfe)
        .unwrap_or_else(|| cpu::by_index(0).map_or(0, |cpu| cpu.apic_id()))
}

impl Line {
    /// Whether the device must be told that its interrupt was taken.
    pub fn is_wired(&self) -> bool {
        matches!(self, Self::Wired { .. })
    }

    /// Sends the device's interrupts to `handler`. `false`, and a line in the log, if that cannot be:
    /// the device goes on polled.
    pub fn enable(&self, handler: impl Fn() + Send + Sync + 'static) -> bool {
        let (Self::Msix { .. } | Self::Wired { .. }) = self else { return false };
        let Some(vector) = interrupt::allocate(handler) else {
            log::warn!("no interrupt vector left: a device is polled");
            return false;
        };
        let apic_id = apic_id(next_cpu(1));
        match self {
            Self::Wired { gsi, trigger } => {
                let routed = apic::route(*gsi, vector, apic_id, *trigger);
                if !routed {
                    log::warn!("no I/O APIC has interrupt {gsi}: a device is polled");
                }
                routed
            }
            Self::Msix { function, capability, table } => {
                let Some(message) = Message::fixed(apic_id, vector) else { return false };
                write_entry(table, MSIX_ENTRY, MsixEntry::new(message));
                pci::with_space(|space| set_msix_enable(space, *function, capability, MsixEnable::On));
                true
            }
            Self::None => false,
        }
    }

    /// How many kinds of message the device can send; none if it has a wire.
    pub fn vectors(&self) -> u16 {
        match self {
            Self::Msix { capability, .. } => capability.vectors,
            Self::Wired { .. } | Self::None => 0,
        }
    }

    /// Sends message `n + 1` of the device, that of its queue `n`, to `handler` on CPU `n`, for all messages below
    /// `count`. Message 0 stays off. `false`, and a line in the log, if that cannot be.
    pub fn enable_queues(&self, count: u16, handler: impl Fn(u16) + Clone + Send + Sync + 'static) -> bool {
        let Self::Msix { function, capability, table } = self else { return false };
        for entry in 1..count.min(capability.vectors) {
            let handler = handler.clone();
            let Some(vector) = interrupt::allocate(move || handler(entry)) else {
                log::warn!("no interrupt vector left: a device is polled");
                return false;
            };
            let Some(message) = Message::fixed(apic_id(usize::from(entry) - 1), vector) else { return false };
            write_entry(table, entry, MsixEntry::new(message));
        }
        pci::with_space(|space| set_msix_enable(space, *function, capability, MsixEnable::On));
        true
    }

    /// Sends the device's first `count` messages to `handler`, which gets their numbers. The first is for what is
    /// rare; the others go to one CPU after the other. `false`, and a line in the log, if that cannot be.
    pub fn enable_vectors(&self, count: u16, handler: impl Fn(u16) + Clone + Send + Sync + 'static) -> bool {
        let Self::Msix { function, capability, table } = self else { return false };
        let first_cpu = next_cpu(usize::from(count.saturating_sub(1)));
        for entry in 0..count.min(capability.vectors) {
            let handler = handler.clone();
            let Some(vector) = interrupt::allocate(move || handler(entry)) else {
                log::warn!("no interrupt vector left: a device is polled");
                return false;
            };
            let cpu = first_cpu + usize::from(entry.saturating_sub(1));
            let Some(message) = Message::fixed(apic_id(cpu), vector) else { return false };
            write_entry(table, entry, MsixEntry::new(message));
        }
        pci::with_space(|space| set_msix_enable(space, *function, capability, MsixEnable::On));
        true
    }
}

/// Bytes of an entry.
const ENTRY_LEN: usize = 16;
/// Offset of the word with the mask bit.
const VECTOR_CONTROL: usize = 12;

/// Writes an entry of the table; masked while its parts do not fit together (PCI 3.0, 6.8.3.5).
pub fn write_entry(table: &RegisterBlock, index: u16, entry: MsixEntry) {
    let at = usize::from(index) * ENTRY_LEN;
    table.write_u32(at + VECTOR_CONTROL, MsixEntry::MASKED.0[3]);
    for (word, value) in entry.0.into_iter().enumerate() {
        table.write_u32(at + 4 * word, value);
    }
}
