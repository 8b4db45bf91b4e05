//! The orderly end: what was written is made durable, the host tool is told how it ended, the machine is
//! switched off.

use console::control::GuestMessage;
use linux_abi::signal::Signal;
use x86_64::instructions::port::Port;

use crate::{
    arch::{self, clock},
    device, fs, task,
};

/// How the program ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// With an exit status.
    Exited(u8),
    /// By a signal.
    Killed(Signal),
}

/// QEMU's isa-debug-exit device; the host tool always adds it.
const DEBUG_EXIT_PORT: u16 = 0xf4;
/// What is written there when the kernel cannot end in order.
const DEBUG_EXIT_PANIC: u32 = 0x3f;

/// Ends the machine after the program.
pub fn end(end: End) -> ! {
    let ended = GuestMessage::Boot { name: "end", ns: clock::now_ns() };
    log::info!("the program has ended: {end:?}");
    if matches!(end, End::Killed(_)) {
        // While its file system is still there.
        device::control::send_crash_report();
    }
    fs::at_exit();
    report_damage();
    if log::log_enabled!(log::Level::Debug) {
        let (used, size) = (task::stack::deepest_use_bytes(), task::stack::STACK_SIZE);
        log::debug!("kernel stacks: {used} of {size} bytes were used at most");
    }
    match end {
        End::Exited(status) => device::control::send(format_args!("{ended}\n{}", GuestMessage::Exit(status))),
        End::Killed(signal) => {
            device::control::send(format_args!("{ended}\n{}", GuestMessage::Signal(signal.number() as u8)));
        }
    }
    device::flush_output();
    device::power_off()
}

/// Ends the machine because there is no program that could run. `why` is a sentence.
pub fn not_started(why: &str) -> ! {
    log::error!("{why}");
    fs::at_exit();
    report_damage();
    device::control::send(GuestMessage::NotStarted(why));
    device::flush_output();
    device::power_off()
}

/// A program may make of a damaged file whatever it likes: the host tool says what lies behind it.
fn report_damage() {
    if let Some(how) = ext4::first_damage() {
        device::control::send(GuestMessage::Damaged(how));
    }
}

/// Tells the host tool of a panic, with nothing but polling.
pub fn report_panic(message: core::fmt::Arguments<'_>) {
    device::control::send_in_panic(format_args!("panic {message}"));
}

/// Ends the machine at once, whatever state it is in.
pub fn emergency_exit() -> ! {
    // SAFETY: the port belongs to the exit device, or to nobody.
    unsafe { Port::<u32>::new(DEBUG_EXIT_PORT).write(DEBUG_EXIT_PANIC) };
    arch::halt_forever()
}
