//! Message-signalled interrupts (6.8.2): what a device writes, and where, to interrupt a CPU.

use crate::{
    Bar, BarRegion, ConfigSpace, Function,
    capability::{ID_MSIX, capabilities, region},
};

/// Bytes of an entry of the vector table.
const ENTRY_LEN: u32 = 16;

const CONTROL_TABLE_SIZE: u32 = 0x7ff << 16;
const CONTROL_FUNCTION_MASK: u32 = 1 << 30;
const CONTROL_ENABLE: u32 = 1 << 31;

/// A device's MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixCapability {
    /// Where in configuration space it is.
    pub offset: u16,
    /// Vectors in the table, 1 to 2048.
    pub vectors: u16,
    /// The table.
    pub table: BarRegion,
}

/// State of a function's MSI-X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsixEnable {
    /// INTx is used.
    Off,
    /// Vectors are used, and all of them are masked.
    Masked,
    /// Vectors are used.
    On,
}

/// Finds the MSI-X capability, if its table lies within a memory BAR.
pub fn msix_capability(
    space: &dyn ConfigSpace,
    function: Function,
    bars: &[Option<Bar>; 6],
) -> Option<MsixCapability> {
    let offset = capabilities(space, function).find(|capability| capability.id == ID_MSIX)?.offset;
    if offset > 256 - 12 {
        return None;
    }
    let vectors = ((space.read(function, offset) & CONTROL_TABLE_SIZE) >> 16) as u16 + 1;
    let place = space.read(function, offset + 4);
    let table = region(bars, (place & 0b111) as u8, place & !0b111, u32::from(vectors) * ENTRY_LEN)?;
    Some(MsixCapability { offset, vectors, table })
}

/// Turns MSI-X on or off.
pub fn set_msix_enable(
    space: &dyn ConfigSpace,
    function: Function,
    msix: &MsixCapability,
    enable: MsixEnable,
) {
    let control = space.read(function, msix.offset) & !(CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
    let bits = match enable {
        MsixEnable::Off => 0,
        MsixEnable::Masked => CONTROL_ENABLE | CONTROL_FUNCTION_MASK,
        MsixEnable::On => CONTROL_ENABLE,
    };
    space.write(function, msix.offset, control | bits);
}

/// The memory write that is an interrupt (Intel SDM volume 3, 11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Address: the local APIC of the destination.
    pub address: u64,
    /// Data: the vector and how it is delivered.
    pub data: u32,
}

impl Message {
    /// An edge-triggered, fixed interrupt `vector` for one CPU, or `None` if its APIC ID does not
    /// fit: that takes interrupt remapping, which these machines do not have.
    pub fn fixed(apic_id: u32, vector: u8) -> Option<Self> {
        let apic_id = u8::try_from(apic_id).ok()?;
        Some(Self { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: vector.into() })
    }
}

/// An entry of the vector table, as the four dwords to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixEntry(pub [u32; 4]);

impl MsixEntry {
    /// An entry that sends nothing.
    pub const MASKED: Self = Self([0, 0, 0, 1]);

    /// An entry that sends `message`.
    pub const fn new(message: Message) -> Self {
        Self([message.address as u32, (message.address >> 32) as u32, message.data, 0])
    }
}
