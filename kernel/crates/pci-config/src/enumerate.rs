//! Finding what is on the buses.

use alloc::{vec, vec::Vec};

use crate::{ConfigSpace, Function, register};

/// A function that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it is.
    pub function: Function,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Base class, sub-class and programming interface, as in `0x010802`.
    pub class: u32,
    /// Revision ID.
    pub revision: u8,
    /// Subsystem vendor and device ID (0 on bridges).
    pub subsystem: (u16, u16),
    /// The INTx pin: 0 none, 1 INTA to 4 INTD.
    pub interrupt_pin: u8,
    /// How many BARs its header has: 6, or 2 on a bridge.
    pub bar_count: u8,
}

const NO_VENDOR: u16 = 0xffff;
const DEVICES_PER_BUS: u8 = 32;
const FUNCTIONS_PER_DEVICE: u8 = 8;
const MULTI_FUNCTION: u8 = 0x80;
const HEADER_PCI_BRIDGE: u8 = 1;

/// All functions on `root_bus` and on the buses behind bridges, as firmware numbered them.
pub fn enumerate(space: &dyn ConfigSpace, root_bus: u8) -> Vec<Device> {
    let mut found = Vec::new();
    // Each bus once, whatever the bridges claim.
    let mut seen = [false; 256];
    let mut buses = vec![root_bus];
    while let Some(bus) = buses.pop() {
        if core::mem::replace(&mut seen[usize::from(bus)], true) {
            continue;
        }
        for device in 0..DEVICES_PER_BUS {
            for function in 0..FUNCTIONS_PER_DEVICE {
                let function = Function { bus, device, function };
                let Some(device) = read(space, function) else {
                    if function.function == 0 {
                        break;
                    }
                    continue;
                };
                found.push(device);
                let header = (space.read(function, register::HEADER_TYPE) >> 16) as u8;
                if header & !MULTI_FUNCTION == HEADER_PCI_BRIDGE {
                    let secondary = (space.read(function, register::BUS_NUMBERS) >> 8) as u8;
                    if secondary > bus {
                        buses.push(secondary);
                    }
                }
                if function.function == 0 && header & MULTI_FUNCTION == 0 {
                    break;
                }
            }
        }
    }
    found.sort_unstable_by_key(|device| device.function);
    found
}

fn read(space: &dyn ConfigSpace, function: Function) -> Option<Device> {
    let id = space.read(function, register::ID);
    let vendor = id as u16;
    if vendor == NO_VENDOR || vendor == 0 {
        return None;
    }
    let class = space.read(function, register::CLASS);
    let header = (space.read(function, register::HEADER_TYPE) >> 16) as u8 & !MULTI_FUNCTION;
    let (bar_count, subsystem) = match header {
        0 => (6, space.read(function, register::SUBSYSTEM)),
        HEADER_PCI_BRIDGE => (2, 0),
        _ => (0, 0),
    };
    Some(Device {
        function,
        vendor,
        device: (id >> 16) as u16,
        class: class >> 8,
        revision: class as u8,
        subsystem: (subsystem as u16, (subsystem >> 16) as u16),
        interrupt_pin: (space.read(function, register::INTERRUPT) >> 8) as u8,
        bar_count,
    })
}
