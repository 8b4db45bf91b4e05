//! The Multiple APIC Description Table: CPUs and interrupt controllers (ACPI 6.5, 5.2.12).

use crate::{Platform, bytes};

/// Whether a CPU can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalApicState {
    /// It is there.
    Enabled,
    /// It may be plugged in later.
    OnlineCapable,
}

/// One CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalApic {
    /// The number that interprocessor interrupts are addressed to; above 254 only with x2APIC.
    pub apic_id: u32,
    /// Whether it is there.
    pub state: LocalApicState,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its APIC ID.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// Global system interrupt of its first input.
    pub gsi_base: u32,
}

/// Which level of an interrupt line means a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// High.
    ActiveHigh,
    /// Low.
    ActiveLow,
}

/// When an interrupt line makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// When it becomes active.
    Edge,
    /// As long as it is active.
    Level,
}

/// How an ISA interrupt really arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptOverride {
    /// The ISA interrupt number, 0-15.
    pub irq: u8,
    /// The global system interrupt that it is wired to.
    pub gsi: u32,
    /// Its polarity there.
    pub polarity: Polarity,
    /// Its trigger mode there.
    pub trigger: Trigger,
}

const LOCAL_APIC: u8 = 0;
const IO_APIC: u8 = 1;
const INTERRUPT_SOURCE_OVERRIDE: u8 = 2;
const LOCAL_APIC_ADDRESS_OVERRIDE: u8 = 5;
const LOCAL_X2APIC: u8 = 9;

const ENTRIES_AT: usize = 44;

pub fn read(table: &[u8], platform: &mut Platform) {
    platform.local_apic_address = bytes::u32_at(table, 36).map(u64::from);
    let mut entries = table.get(ENTRIES_AT..).unwrap_or_default();
    // An entry is at least its type and length, so that the walk always moves on.
    while let [kind, len, ..] = *entries {
        let len = usize::from(len);
        if len < 2 || len > entries.len() {
            platform.rejected.push(*b"APIC");
            return;
        }
        let (entry, rest) = entries.split_at(len);
        entries = rest;
        // An entry too short for its kind says nothing, and is passed over.
        let _ = read_entry(kind, entry, platform);
    }
}

fn read_entry(kind: u8, entry: &[u8], platform: &mut Platform) -> Option<()> {
    match kind {
        LOCAL_APIC => {
            let apic_id = u32::from(bytes::u8_at(entry, 3)?);
            add_cpu(platform, apic_id, bytes::u32_at(entry, 4)?);
        }
        LOCAL_X2APIC => {
            let apic_id = bytes::u32_at(entry, 4)?;
            add_cpu(platform, apic_id, bytes::u32_at(entry, 8)?);
        }
        IO_APIC => platform.io_apics.push(IoApic {
            id: bytes::u8_at(entry, 2)?,
            address: bytes::u32_at(entry, 4)?,
            gsi_base: bytes::u32_at(entry, 8)?,
        }),
        INTERRUPT_SOURCE_OVERRIDE => {
            let flags = bytes::u16_at(entry, 8)?;
            // "Conforms to the bus" (00) is active high and edge triggered on ISA (table 5.26).
            platform.overrides.push(InterruptOverride {
                irq: bytes::u8_at(entry, 3)?,
                gsi: bytes::u32_at(entry, 4)?,
                polarity: if flags & 0b11 == 0b11 { Polarity::ActiveLow } else { Polarity::ActiveHigh },
                trigger: if flags >> 2 & 0b11 == 0b11 { Trigger::Level } else { Trigger::Edge },
            });
        }
        LOCAL_APIC_ADDRESS_OVERRIDE => platform.local_apic_address = Some(bytes::u64_at(entry, 4)?),
        _ => {}
    }
    Some(())
}

fn add_cpu(platform: &mut Platform, apic_id: u32, flags: u32) {
    let state = match flags {
        flags if flags & 1 != 0 => LocalApicState::Enabled,
        flags if flags & 2 != 0 => LocalApicState::OnlineCapable,
        _ => return,
    };
    // Firmware may list one CPU as both kinds of entry.
    if platform.local_apics.iter().all(|cpu| cpu.apic_id != apic_id) {
        platform.local_apics.push(LocalApic { apic_id, state });
    }
}
