//! The Crema unikernel.
//!
//! See ARCHITECTURE.md for the map. This file is the order in which the kernel comes up.

#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod boot_info;
mod device;
mod fs;
mod futex;
mod heap;
mod ipc;
mod log;
mod mm;
mod net;
mod panic;
mod platform;
mod power;
mod sched;
mod signal;
mod symbols;
mod syscall;
mod task;
mod time;
mod user;
mod vdso;

use alloc::vec::Vec;

use arch::{apic, clock, cpu, fpu, layout, paging, smp, tables};
use boot_info::BootInfo;

/// Memory set aside for the first page tables: enough for a direct map of 256 GiB in 2 MiB pages.
const EARLY_TABLES_SIZE: u64 = 2 << 20;

/// First Rust code, on the boot CPU and its boot stack, under the boot page tables.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry(start_info: u64) -> ! {
    clock::mark_entry();
    // SAFETY: the first thing of all.
    unsafe { cpu::init_boot_cpu() };
    clock::begin_measurement();
    log::init();
    // SAFETY: the address comes from the loader by way of `boot.s`.
    let mut boot = match unsafe { BootInfo::read(start_info) } {
        Ok(boot) => boot,
        Err(error) => panic!("{error}"),
    };
    let command_line = boot.command_line();
    let all_memory = boot.memory.clone();
    let early = take_early_memory(&mut boot);
    // SAFETY: once, and `early` is free memory that nobody else has.
    let unused = unsafe { paging::init(&all_memory, early) };
    boot.memory.push(unused);
    // SAFETY: the ranges are free memory, all in the direct map.
    unsafe { frames::init(&boot.memory, layout::DIRECT_MAP as usize) };

    fpu::init();
    // SAFETY: once on this CPU.
    unsafe { tables::init() };
    apic::init();
    clock::init();
    cpu::set_online();
    // SAFETY: once on this CPU, before any thread.
    unsafe { sched::adopt_idle_thread() };
    let machine = device::discover(boot.rsdp, command_line);
    if let Some(seconds) = device::cmos::wall_clock_seconds() {
        // The clock shows whole seconds: half a second more is wrong by the least (Linux drivers/rtc/class.c,
        // `rtc_hctosys`, does the same).
        clock::set_realtime_ns(seconds * 1_000_000_000 + 500_000_000);
    } else {
        ::log::warn!("the machine has no clock: the time starts in 1970");
    }
    clock::finish_timer_measurement();
    let apic_ids: Vec<u32> = machine.apic_ids().collect();
    smp::start(&apic_ids);
    ::log::info!(
        "{} CPUs, {} MiB, TSC {} MHz by {}, {}",
        cpu::count(),
        boot.total_memory() >> 20,
        clock::scale().map_or(0, |scale| scale.hz / 1_000_000),
        clock::source(),
        machine.description(),
    );
    if task::spawn_kernel_thread("init", init, 0).is_err() {
        panic!("no memory for the first thread");
    }
    sched::run_idle_loop()
}

/// Takes the front of a large range below 4 GiB for the page tables.
fn take_early_memory(boot: &mut BootInfo) -> core::ops::Range<u64> {
    for range in &mut boot.memory {
        if range.end <= 4 << 30 && range.end - range.start >= 2 * EARLY_TABLES_SIZE {
            let early = range.start..range.start + EARLY_TABLES_SIZE;
            range.start = early.end;
            return early;
        }
    }
    panic!("less than {} MiB of memory in one piece", (2 * EARLY_TABLES_SIZE) >> 20);
}

/// The rest of the start, in a thread, so that it may wait for devices: then the program.
extern "C" fn init(_: usize) -> ! {
    if vdso::init().is_err() {
        panic!("no memory for the vDSO");
    }
    let hooks = device::control::Hooks {
        signal: host_signal,
        power_off: host_power_off,
        crash_report: fs::crash_report,
    };
    if let Err(error) = device::start(hooks) {
        ::log::error!("cannot listen to the host: {error:?}");
    }
    let error = match task::exec::start_program() {
        Ok(()) => task::park_forever(),
        Err(error) => error,
    };
    power::not_started(&error)
}

/// The host tool sends the process a signal, as `kill(2)` from outside of it would.
fn host_signal(number: u8) {
    let Some(signal) = linux_abi::signal::Signal::new(number.into()) else { return };
    if let Err(error) = signal::send_to_process(signal, linux_abi::signal::SigInfo::kill(signal, 0, 0)) {
        ::log::warn!("signal {number} from the host is lost: {error:?}");
    }
}

/// The host tool switches the machine off, without asking the program.
fn host_power_off() {
    power::end(power::End::Killed(linux_abi::signal::Signal::SIGKILL))
}
