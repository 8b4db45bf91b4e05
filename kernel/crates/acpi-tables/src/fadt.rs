//! The Fixed ACPI Description Table: power-off, reset and the PM timer (ACPI 6.5, 5.2.9).

use crate::bytes;

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSpace {
    /// In memory.
    Memory,
    /// Behind `in` and `out`.
    Io,
}

/// A register (ACPI 6.5, 5.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenericAddress {
    /// Memory or I/O ports.
    pub space: AddressSpace,
    /// Its address there.
    pub address: u64,
}

/// What is used of the fixed hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fadt {
    /// Physical address of the DSDT.
    pub dsdt: Option<u64>,
    /// PM1a control register: SLP_TYP and SLP_EN (4.8.3.2.1).
    pub pm1a_control: Option<GenericAddress>,
    /// PM1b control register, on the rare hardware that splits it.
    pub pm1b_control: Option<GenericAddress>,
    /// The PM timer, 3.579545 MHz, and whether it counts in 32 bits rather than 24.
    pub pm_timer: Option<(GenericAddress, PmTimerWidth)>,
    /// The reset register, and the value that resets.
    pub reset: Option<(GenericAddress, u8)>,
    /// The sleep control register of hardware-reduced ACPI (4.8.3.7).
    pub sleep_control: Option<GenericAddress>,
    /// The sleep status register of hardware-reduced ACPI.
    pub sleep_status: Option<GenericAddress>,
}

/// Bits of the PM timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmTimerWidth {
    /// 24 bits: it wraps every 4.7 seconds.
    Bits24,
    /// 32 bits: it wraps every 20 minutes.
    Bits32,
}

const RESET_REG_SUP: u32 = 1 << 10;
const TMR_VAL_EXT: u32 = 1 << 8;
const HW_REDUCED_ACPI: u32 = 1 << 20;

impl Fadt {
    /// Reads what a table of any revision has: fields beyond its end are absent.
    pub fn read(table: &[u8]) -> Self {
        let flags = bytes::u32_at(table, 112).unwrap_or(0);
        let dsdt = bytes::u64_at(table, 140)
            .filter(|address| *address != 0)
            .or_else(|| bytes::u32_at(table, 40).map(u64::from))
            .filter(|address| *address != 0);
        let reset = (flags & RESET_REG_SUP != 0)
            .then(|| Some((generic(table, 116)?, bytes::u8_at(table, 128)?)))
            .flatten();
        let mut fadt = Self { dsdt, reset, ..Self::default() };
        if flags & HW_REDUCED_ACPI != 0 {
            fadt.sleep_control = generic(table, 244);
            fadt.sleep_status = generic(table, 256);
        } else {
            fadt.pm1a_control = generic(table, 172).or_else(|| port(table, 64));
            fadt.pm1b_control = generic(table, 184).or_else(|| port(table, 68));
            let width = if flags & TMR_VAL_EXT != 0 { PmTimerWidth::Bits32 } else { PmTimerWidth::Bits24 };
            fadt.pm_timer = generic(table, 208).or_else(|| port(table, 76)).map(|register| (register, width));
        }
        fadt
    }
}

fn generic(table: &[u8], at: usize) -> Option<GenericAddress> {
    let space = match bytes::u8_at(table, at)? {
        0 => AddressSpace::Memory,
        1 => AddressSpace::Io,
        _ => return None,
    };
    let address = bytes::u64_at(table, at + 4)?;
    let fits = space == AddressSpace::Memory || address <= u64::from(u16::MAX);
    (address != 0 && fits).then_some(GenericAddress { space, address })
}

/// A register that an ACPI 1.0 field gives as a port.
fn port(table: &[u8], at: usize) -> Option<GenericAddress> {
    let address = bytes::u32_at(table, at)?;
    (address != 0 && address <= u32::from(u16::MAX))
        .then_some(GenericAddress { space: AddressSpace::Io, address: address.into() })
}
