//! The machine's devices.
//!
//! Responsible for finding devices (ACPI tables, PCI, virtio-mmio), bringing up the disks, the entropy
//! source and the serial ports, and for what the rest of the kernel gets of them: block devices, random
//! bytes, the program's standard streams, the channel to the host tool, the wall clock, power-off. What
//! devices and their protocols are is in the pure crates (`acpi-tables`, `pci-config`, `virtio`,
//! `pc-devices`, `console`, `csprng`); here is only what touches the machine.
//!
//! Not responsible for the local and I/O APICs, the timer and the kernel log, which are `arch`'s and
//! `log`'s.
//!
//! The boot goes through three stages, each called once on the boot CPU:
//! 1. [`platform::read`], as soon as there is a heap: what the firmware says, for `arch` too;
//! 2. [`init`]: devices work, polled; disks can be read and the streams written;
//! 3. [`use_interrupts`], when interrupts work: those who wait for a device may sleep.
//!
//! Everything that is found is kept in [`Once`] cells and never changes after stage 2.

pub mod cmos;
pub mod control;
mod dma;
pub mod fw_cfg;
mod interrupt;
pub mod pci;
pub mod platform;
pub mod power;
pub mod random;
pub mod streams;
pub mod uart;
mod virtio;

use alloc::{sync::Arc, vec::Vec};

use ::virtio::{block::Disk, serial::SerialDevice};
use spin::Once;

use self::interrupt::Line;

/// A device and how it interrupts.
struct Attached<T> {
    device: Arc<T>,
    line: Line,
}

static DISKS: Once<Vec<Attached<Disk>>> = Once::new();
static SERIAL: Once<Attached<SerialDevice>> = Once::new();

/// Brings all devices up, polled. `command_line` may name virtio-mmio devices, on machines without
/// ACPI.
pub fn init(command_line: &str) {
    let found = virtio::probe(command_line);
    if let Some(source) = found.entropy {
        random::set_source(source);
    }
    random::init();
    if let Some(serial) = found.serial {
        SERIAL.call_once(|| serial);
    }
    DISKS.call_once(|| found.disks);
}

/// Lets devices interrupt from now on.
pub fn use_interrupts() {
    for disk in DISKS.get().into_iter().flatten() {
        let handler = disk.device.clone();
        let wired = disk.line.is_wired();
        let enabled = disk.line.enable(move || {
            if wired {
                handler.acknowledge_interrupt();
            }
            handler.handle_interrupt();
        });
        if enabled {
            disk.device.set_completion_mode(::virtio::block::CompletionMode::Interrupts);
        }
    }
    if let Some(serial) = SERIAL.get() {
        let handler = serial.device.clone();
        let wired = serial.line.is_wired();
        let enabled = serial.line.enable(move || {
            if wired {
                handler.acknowledge_interrupt();
            }
            handler.handle_interrupt();
        });
        if enabled {
            serial.device.use_interrupts();
        }
    } else {
        uart::use_interrupts();
    }
}

/// The disks, in the order of their places on the bus. The first is the root disk.
pub fn disks() -> impl Iterator<Item = Arc<Disk>> {
    DISKS.get().into_iter().flatten().map(|disk| disk.device.clone())
}

/// The serial device with the named ports, if the machine has one.
fn serial() -> Option<&'static Arc<SerialDevice>> {
    SERIAL.get().map(|serial| &serial.device)
}
