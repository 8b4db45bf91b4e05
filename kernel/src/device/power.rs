//! Switching the machine off, and resetting it.
//!
//! Nothing here takes a lock or waits for a device, so that a dying kernel can use it.

use acpi_tables::{AddressSpace, GenericAddress};
use pc_devices::power::{pm1_control, sleep_control};
use x86_64::instructions::port::Port;

use super::platform;
use crate::arch::{self, layout};

/// QEMU's `isa-debug-exit`: ends QEMU with status 2 * value + 1.
const DEBUG_EXIT: u16 = 0xf4;

/// What the debug exit is told after an orderly power-off that ACPI could not do, so that QEMU ends
/// with status 1.
const DEBUG_EXIT_POWER_OFF: u32 = 0;

/// How long the machine may take to stop, and how often the clock is read meanwhile: it may not run.
const POWER_OFF_NS: u64 = 2_000_000_000;
const POWER_OFF_POLLS: u64 = 1 << 30;

/// Registers in memory that are written here lie below this; the direct map has them.
const MAPPED: u64 = 4 << 30;

/// Writes a byte-wide register.
fn write_u8(register: GenericAddress, value: u8) {
    match register.space {
        // SAFETY: a port that the firmware gives for this purpose.
        AddressSpace::Io => unsafe { Port::<u8>::new(register.address as u16).write(value) },
        AddressSpace::Memory if register.address < MAPPED => {
            // SAFETY: a register that the firmware gives for this purpose, in the direct map. That maps
            // it cacheable, but the range registers of a PC make it uncached all the same.
            unsafe { layout::direct::<u8>(register.address).write_volatile(value) }
        }
        AddressSpace::Memory => {}
    }
}

fn acpi_power_off() {
    let Some(platform) = platform::get() else { return };
    let (Some(fadt), Some(soft_off)) = (&platform.fadt, platform.soft_off) else { return };
    if let Some(register) = fadt.sleep_control {
        write_u8(register, sleep_control(soft_off.type_a));
        return;
    }
    for (register, sleep_type) in [(fadt.pm1a_control, soft_off.type_a), (fadt.pm1b_control, soft_off.type_b)]
    {
        if let Some(GenericAddress { space: AddressSpace::Io, address }) = register {
            let mut port = Port::<u16>::new(address as u16);
            // SAFETY: the PM1 control register.
            unsafe {
                let now = port.read();
                port.write(pm1_control(now, sleep_type));
            }
        }
    }
}

/// Switches the machine off: by ACPI, by QEMU's debug exit, by a reset, or by stopping for good. What is
/// to be written back or sent must have been.
pub fn power_off() -> ! {
    acpi_power_off();
    // The hypervisor stops the machine when its main loop comes to it, which the debug exit, done at
    // once, would overtake.
    let deadline_ns = ksync::platform::now_ns().saturating_add(POWER_OFF_NS);
    for _ in 0..POWER_OFF_POLLS {
        if ksync::platform::now_ns() >= deadline_ns {
            break;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the port of isa-debug-exit, at which nothing else is on these machines.
    unsafe { Port::new(DEBUG_EXIT).write(DEBUG_EXIT_POWER_OFF) };
    // A hypervisor without either ends the machine when it is reset (Firecracker; QEMU with -no-reboot).
    reset()
}

/// Resets the machine: by ACPI's reset register, or by the keyboard controller.
fn reset() -> ! {
    if let Some((register, value)) =
        platform::get().and_then(|platform| platform.fadt.as_ref()).and_then(|fadt| fadt.reset)
    {
        write_u8(register, value);
    }
    // SAFETY: the command "pulse the reset line" of the keyboard controller.
    unsafe { Port::<u8>::new(0x64).write(0xfe) };
    arch::halt_forever()
}
