//! The machine's devices.
//!
//! Responsible for finding devices (ACPI tables, PCI, virtio-mmio), bringing up the disks, the network cards, the
//! entropy source and the serial ports, and for what the rest of the kernel gets of them: block devices, random
//! bytes, links, the program's standard streams, the channel to the host tool, the wall clock, power-off. What
//! devices and their protocols are is in the pure crates (`acpi-tables`, `pci-config`, `virtio`,
//! `pc-devices`, `console`, `csprng`); here is only what touches the machine.
//!
//! Not responsible for the local and I/O APICs, the timer and the kernel log, which are `arch`'s and
//! `log`'s.
//!
//! The boot goes through two stages, each called once:
//! 1. [`discover`], on the boot CPU with interrupts masked: what the firmware says, and devices, polled;
//!    disks can be read;
//! 2. [`start`], in a thread, when interrupts work: those who wait for a device sleep from then on.
//!
//! Everything that is found is kept in [`Once`] cells and never changes after.

pub mod cmos;
pub mod control;
pub mod crema;
mod dma;
pub mod fw_cfg;
mod interrupt;
pub mod network;
mod pci;
pub mod platform;
mod power;
pub mod random;
pub mod streams;
mod uart;
mod virtio;

use alloc::{string::String, sync::Arc, vec::Vec};

use ::virtio::{block::Disk, serial::SerialDevice};
use acpi_tables::{LocalApicState, Platform};
use linux_abi::Errno;
use spin::Once;

use self::interrupt::Line;
pub use self::power::power_off;
use crate::arch::{apic, cpu};

/// A device and how it interrupts.
struct Attached<T> {
    device: Arc<T>,
    line: Line,
}

static DISKS: Once<Vec<Attached<Disk>>> = Once::new();
static SERIAL: Once<Attached<SerialDevice>> = Once::new();

/// What was found.
pub struct Machine {
    platform: &'static Platform,
}

impl Machine {
    /// APIC ids of the CPUs that can be started, the running one among them.
    pub fn apic_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let enabled = |cpu: &&acpi_tables::LocalApic| cpu.state == LocalApicState::Enabled;
        self.platform.local_apics.iter().filter(enabled).map(|cpu| cpu.apic_id)
    }

    /// What there is, for the log.
    pub fn description(&self) -> String {
        let bus = if self.platform.ecam.is_empty() { "virtio-mmio" } else { "PCI Express" };
        let serial = if serial().is_some() { "virtio-serial" } else { "COM1 only" };
        let (disks, cards) = (disks().count(), network::cards().count());
        alloc::format!("{bus}, {disks} disks, {cards} network cards, {serial}")
    }
}

/// Where the first I/O APIC is after a reset.
const IO_APIC_ADDRESS: u64 = 0xfec0_0000;

/// Reads what the firmware says, takes the I/O APICs into use, and brings all devices up, polled.
/// `rsdp` is where the boot loader says that the tables begin; `command_line` may name virtio-mmio
/// devices, on machines without ACPI.
pub fn discover(rsdp: Option<u64>, command_line: &str) -> Machine {
    let platform = platform::read(rsdp);
    for io_apic in &platform.io_apics {
        apic::add_io_apic(io_apic.address.into(), io_apic.gsi_base);
    }
    if platform.io_apics.is_empty() {
        // Nothing says so, but a PC has one here (Intel 82093AA datasheet, 3.0).
        apic::add_io_apic(IO_APIC_ADDRESS, 0);
    }
    let machine = Machine { platform };
    let cpus = machine.apic_ids().count().clamp(1, cpu::MAX_CPUS);
    let found = virtio::probe(command_line, cpus);
    if let Some(source) = found.entropy {
        random::set_source(source);
    }
    random::init();
    if let Some(serial) = found.serial {
        SERIAL.call_once(|| serial);
    }
    DISKS.call_once(|| found.disks);
    network::attach(found.network, cpus);
    machine
}

/// Lets devices interrupt from now on, opens the control channel and starts to listen to it. `hooks`
/// says what the host's messages do.
pub fn start(hooks: control::Hooks) -> Result<(), Errno> {
    for disk in DISKS.get().into_iter().flatten() {
        let handler = disk.device.clone();
        let wired = disk.line.is_wired();
        let enabled = match disk.device.vectors_used() {
            0 | 1 => disk.line.enable(move || {
                if wired {
                    handler.acknowledge_interrupt();
                }
                handler.handle_interrupt();
            }),
            vectors => disk.line.enable_queues(vectors, move |vector| handler.handle_vector(vector)),
        };
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
        } else {
            serial.device.use_timer();
        }
    } else {
        uart::use_interrupts();
    }
    network::start();
    control::open();
    control::listen(hooks)
}

/// The disk with the root file system: the only one, or the one that says so, or the first.
pub fn root_disk() -> Option<Arc<Disk>> {
    let marked = || disk_with_serial(run_config::volume::ROOT_SERIAL);
    if disks().count() > 1 { marked().or_else(|| disks().next()) } else { disks().next() }
}

/// The disk that identifies itself by this serial.
pub fn disk_with_serial(serial: &str) -> Option<Arc<Disk>> {
    disks().find(|disk| disk.id().is_ok_and(|id| id == serial))
}

/// The disks, in the order of their places on the bus.
pub fn disks() -> impl Iterator<Item = Arc<Disk>> {
    DISKS.get().into_iter().flatten().map(|disk| disk.device.clone())
}

/// The serial device with the named ports, if the machine has one.
fn serial() -> Option<&'static Arc<SerialDevice>> {
    SERIAL.get().map(|serial| &serial.device)
}

/// How long a host that does not read holds the end of the machine up.
const FLUSH_NS: u64 = 10_000_000_000;

/// Waits until the host has taken all output and all messages, within reason.
pub fn flush_output() {
    let deadline_ns = ksync::platform::now_ns().saturating_add(FLUSH_NS);
    streams::drain(deadline_ns);
    control::drain(deadline_ns);
}
