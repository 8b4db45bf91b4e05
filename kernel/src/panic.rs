//! The end of the kernel: panics, faults that nobody can serve, and the report of a crash of the application.
//!
//! A report has the registers, what was running, and a backtrace by frame pointers. The host tool names the
//! functions (see [`symbols`]).

use core::{
    fmt::Write,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use linux_abi::signal::Signal;
use x86_64::instructions::interrupts;

use crate::{
    arch::{
        self, apic, cpu, layout,
        trap::{self, TrapFrame, page_fault_error},
    },
    log::write_in_panic,
    power, symbols, task,
};

/// The CPU that panics, or `usize::MAX`.
static PANICKING: AtomicUsize = AtomicUsize::new(usize::MAX);
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Most frames of a backtrace.
const MAX_FRAMES: usize = 48;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    write_in_panic(format_args!("kernel panic: {info}\n"));
    let frame_pointer: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack)) };
    backtrace(frame_pointer);
    end(format_args!("{}", info.message()))
}

/// An exception in the kernel that it does not expect.
pub fn unexpected_trap(frame: &TrapFrame) -> ! {
    begin();
    let what = trap::vector::name(frame.vector);
    write_in_panic(format_args!("kernel panic: {what} in the kernel\n{frame:?}\n"));
    write_in_panic(format_args!("  at {}\n", symbols::describe(frame.rip)));
    backtrace(frame.rbp);
    end(format_args!("{what} (vector {}) in the kernel at {}", frame.vector, symbols::describe(frame.rip)))
}

/// A page fault in the kernel that it does not expect.
pub fn unexpected_page_fault(frame: &TrapFrame, address: u64) -> ! {
    begin();
    let what = if task::stack::is_guard(address) {
        "kernel stack overflow"
    } else if frame.error & page_fault_error::RESERVED != 0 {
        "damaged page table"
    } else {
        "page fault in the kernel"
    };
    write_in_panic(format_args!("kernel panic: {what} at address {address:#x}\n{frame:?}\n"));
    write_in_panic(format_args!("  at {}\n", symbols::describe(frame.rip)));
    backtrace(frame.rbp);
    end(format_args!("{what}, address {address:#x}, at {}", symbols::describe(frame.rip)))
}

/// Stops the other CPUs. A second panic, on any CPU, ends at once.
fn begin() {
    interrupts::disable();
    let here = cpu::index();
    if let Err(first) = PANICKING.compare_exchange(usize::MAX, here, Ordering::SeqCst, Ordering::SeqCst) {
        if first == here {
            write_in_panic(format_args!("panic while panicking\n"));
            power::emergency_exit();
        }
        arch::halt_forever();
    }
    for other in cpu::all().filter(|cpu| cpu.index != here) {
        apic::send_nmi(other);
    }
}

fn end(message: core::fmt::Arguments<'_>) -> ! {
    let current = cpu::this().current.get();
    if !current.is_null() {
        let thread = task::current();
        let call = thread.syscall.load(Ordering::Relaxed);
        write_in_panic(format_args!("running on CPU {}: thread {}", cpu::index(), thread.tid));
        match crate::syscall::name(call as u64) {
            Some(name) => write_in_panic(format_args!(", in {name}\n")),
            None => write_in_panic(format_args!("\n")),
        }
    }
    if !REPORTED.swap(true, Ordering::SeqCst) {
        power::report_panic(message);
    }
    power::emergency_exit()
}

/// Another CPU has panicked: this one stops, whatever it does.
pub fn stop_if_panicking() {
    let panicking = PANICKING.load(Ordering::SeqCst);
    if panicking != usize::MAX && panicking != cpu::index() {
        arch::halt_forever();
    }
}

/// Walks the frame pointers, as far as they stay in kernel memory that is surely mapped.
fn backtrace(mut frame_pointer: u64) {
    for _ in 0..MAX_FRAMES {
        if frame_pointer < layout::DIRECT_MAP || !frame_pointer.is_multiple_of(8) {
            return;
        }
        // SAFETY: a frame pointer of kernel code points into a kernel stack, to the saved pointer and the
        // return address.
        let [next, return_address] = unsafe { (frame_pointer as *const [u64; 2]).read() };
        if !layout::Image::is_text(return_address) {
            return;
        }
        // The call is before the address to return to.
        write_in_panic(format_args!("  by {}\n", symbols::describe(return_address - 1)));
        if next <= frame_pointer {
            return;
        }
        frame_pointer = next;
    }
}

/// Logs the registers and the stack of the application when a signal that it does not handle ends it.
pub fn report_application_crash(signal: Signal, frame: &TrapFrame) {
    let thread = task::current();
    log::error!(
        "the program was ended by {} in thread {} ({})",
        signal.name().unwrap_or("a signal"),
        thread.tid,
        thread.name_text()
    );
    log::error!("{frame:?}");
    let mut line = alloc::string::String::new();
    let mut frame_pointer = frame.rbp;
    let _ = write!(line, "at {}", crate::mm::describe_code(frame.rip));
    log::error!("{line}");
    for _ in 0..MAX_FRAMES {
        let Ok([next, return_address]) = crate::user::UserPtr::<[u64; 2]>::new(frame_pointer).read() else {
            break;
        };
        if return_address == 0 {
            break;
        }
        // As above: the call is before the address to return to.
        log::error!("by {}", crate::mm::describe_code(return_address - 1));
        if next <= frame_pointer {
            break;
        }
        frame_pointer = next;
    }
}
