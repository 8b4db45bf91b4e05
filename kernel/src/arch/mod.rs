//! The machine: everything that is x86-64, and the only place for raw instructions.
//!
//! * [`boot`](self): `boot.s` brings each CPU to 64-bit mode, `entry.s` holds every way into and out of
//!   the kernel, `memory.s` the copies.
//! * [`cpu`]: what belongs to one CPU, found through GS. [`tables`]: GDT, TSS, IDT.
//! * [`trap`]: what an exception or interrupt does. [`interrupt`]: vectors and their handlers; [`apic`]: the
//!   interrupt controllers. [`smp`]: the other CPUs.
//! * [`clock`]: time stamp counter and wall clock. [`fpu`]: extended state. [`paging`]: the kernel's own
//!   mappings.

use core::arch::global_asm;

pub mod apic;
pub mod clock;
pub mod cpu;
pub mod fpu;
pub mod interrupt;
pub mod layout;
pub mod paging;
pub mod smp;
pub mod tables;
pub mod trap;

global_asm!(include_str!("boot.s"), options(att_syntax));
global_asm!(include_str!("entry.s"), options(att_syntax));
global_asm!(include_str!("memory.s"), options(att_syntax));

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// The symbols that the prebuilt `core`, compiled with unwinding, refers to. Nothing unwinds here.
mod unwinding {
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() -> ! {
        super::halt_forever()
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        super::halt_forever()
    }
}
