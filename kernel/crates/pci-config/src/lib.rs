//! PCI configuration space, decoded.
//!
//! Responsible for enumeration, base address registers (sizing and, where firmware left them
//! unassigned, assignment), the capability list, MSI-X and virtio's vendor capabilities. How the
//! space is reached (ECAM, or ports 0xCF8/0xCFC) is behind [`ConfigSpace`].
//!
//! What a device answers is input: lists are walked with a bound, offsets are checked against the
//! BAR that they lie in, and nothing panics. Register layouts are those of the PCI Local Bus
//! Specification 3.0, chapter 6.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod bar;
mod capability;
mod enumerate;
mod msix;
#[cfg(test)]
mod tests;

use core::fmt;

pub use bar::{Bar, BarWidth, MemoryWindow, assign_bars, read_bars};
pub use capability::{BarRegion, Capability, VirtioCapabilities, capabilities, virtio_capabilities};
pub use enumerate::{Device, enumerate};
pub use msix::{Message, MsixCapability, MsixEnable, MsixEntry, msix_capability, set_msix_enable};

/// Bus, device and function number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// Bus number.
    pub bus: u8,
    /// Device number, below 32.
    pub device: u8,
    /// Function number, below 8.
    pub function: u8,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A way to reach configuration space.
pub trait ConfigSpace {
    /// The dword at `offset`, a multiple of 4; all ones if nothing answers.
    fn read(&self, function: Function, offset: u16) -> u32;

    /// Writes the dword at `offset`, a multiple of 4.
    fn write(&self, function: Function, offset: u16, value: u32);
}

/// Offsets of the header's registers.
mod register {
    pub const ID: u16 = 0x00;
    pub const COMMAND: u16 = 0x04;
    pub const CLASS: u16 = 0x08;
    pub const HEADER_TYPE: u16 = 0x0c;
    pub const BAR0: u16 = 0x10;
    pub const BUS_NUMBERS: u16 = 0x18;
    pub const SUBSYSTEM: u16 = 0x2c;
    pub const CAPABILITIES: u16 = 0x34;
    pub const INTERRUPT: u16 = 0x3c;
}

bitflags::bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers in I/O space.
        const IO_SPACE = 1 << 0;
        /// Answers in memory space.
        const MEMORY_SPACE = 1 << 1;
        /// May access memory itself, and send message-signalled interrupts.
        const BUS_MASTER = 1 << 2;
        /// Does not use its INTx line.
        const INTX_DISABLE = 1 << 10;
    }
}

/// The command register of `function`.
pub fn command(space: &dyn ConfigSpace, function: Function) -> Command {
    Command::from_bits_retain(space.read(function, register::COMMAND) as u16)
}

/// Sets the command register. The status register beside it is not changed: its bits clear by
/// writing ones.
pub fn set_command(space: &dyn ConfigSpace, function: Function, command: Command) {
    space.write(function, register::COMMAND, command.bits().into());
}
