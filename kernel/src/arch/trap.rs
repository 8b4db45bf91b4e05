//! Exceptions and interrupts: from a vector to the part of the kernel that serves it.

use core::fmt;

use x86_64::{instructions::interrupts, registers::control::Cr2};

use super::{interrupt, layout};
use crate::{mm, panic, signal, syscall, task};

/// All of the registers of what was interrupted, as `entry.s` lays them out.
#[repr(C)]
#[derive(Clone)]
pub struct TrapFrame {
    /// xmm0 to xmm15.
    pub xmm: [u128; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The vector, or the number of the system call.
    pub vector: u64,
    /// The exception's error code, or 0.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<TrapFrame>() == 432);

impl TrapFrame {
    /// Whether the application was interrupted, and not the kernel. Told by the address: all is ring 0.
    pub fn is_from_application(&self) -> bool {
        self.rip < layout::KERNEL_OFFSET
    }
}

impl fmt::Debug for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "vector {} error {:#x} rip {:#018x} rflags {:#x}",
            self.vector, self.error, self.rip, self.rflags
        )?;
        writeln!(
            f,
            "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
            self.rax, self.rbx, self.rcx, self.rdx
        )?;
        writeln!(
            f,
            "rsi {:016x} rdi {:016x} rbp {:016x} rsp {:016x}",
            self.rsi, self.rdi, self.rbp, self.rsp
        )?;
        writeln!(f, "r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}", self.r8, self.r9, self.r10, self.r11)?;
        write!(f, "r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", self.r12, self.r13, self.r14, self.r15)
    }
}

/// Exception vectors (SDM vol. 3, table 6-1).
pub mod vector {
    pub const DIVIDE_ERROR: u64 = 0;
    pub const DEBUG: u64 = 1;
    pub const NMI: u64 = 2;
    pub const BREAKPOINT: u64 = 3;
    pub const INVALID_OPCODE: u64 = 6;
    pub const DOUBLE_FAULT: u64 = 8;
    pub const SEGMENT_NOT_PRESENT: u64 = 11;
    pub const STACK_SEGMENT: u64 = 12;
    pub const GENERAL_PROTECTION: u64 = 13;
    pub const PAGE_FAULT: u64 = 14;
    pub const X87: u64 = 16;
    pub const ALIGNMENT_CHECK: u64 = 17;
    pub const MACHINE_CHECK: u64 = 18;
    pub const SIMD: u64 = 19;
    /// Vectors from here on are interrupts.
    pub const FIRST_INTERRUPT: u64 = 32;

    /// What the manual calls the exceptions that kernel code can cause, for the report of a panic.
    pub fn name(vector: u64) -> &'static str {
        match vector {
            DIVIDE_ERROR => "divide error",
            BREAKPOINT => "breakpoint",
            INVALID_OPCODE => "invalid opcode",
            DOUBLE_FAULT => "double fault",
            SEGMENT_NOT_PRESENT => "segment not present",
            STACK_SEGMENT => "stack-segment fault",
            GENERAL_PROTECTION => "general protection",
            ALIGNMENT_CHECK => "alignment check",
            MACHINE_CHECK => "machine check",
            X87 | SIMD => "floating-point exception",
            _ => "exception",
        }
    }
}

/// Bits of a page fault's error code (SDM vol. 3, 4.7).
pub mod page_fault_error {
    pub const WRITE: u64 = 1 << 1;
    /// By ring 3. Never set by the hardware here, where the application runs in ring 0.
    pub const USER: u64 = 1 << 2;
    pub const RESERVED: u64 = 1 << 3;
    pub const FETCH: u64 = 1 << 4;
}

/// Bits of the flags register (SDM vol. 1, 3.4.3).
pub mod rflags {
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const RF: u64 = 1 << 16;
}

unsafe extern "C" {
    static user_access_start: u8;
    static user_access_end: u8;
    static user_copy_end: u8;
    fn user_copy_fault();
    fn user_word_fault();
}

/// Where a fault of the kernel on the application's memory goes on, if `rip` is an access that expects one.
fn user_fault_fixup(rip: u64) -> Option<u64> {
    let address = |symbol: *const u8| symbol as u64;
    if !(address(&raw const user_access_start)..address(&raw const user_access_end)).contains(&rip) {
        return None;
    }
    if rip < address(&raw const user_copy_end) {
        Some(user_copy_fault as *const () as u64)
    } else {
        Some(user_word_fault as *const () as u64)
    }
}

/// Serves an exception or interrupt; interrupts are masked on entry and on return.
#[unsafe(no_mangle)]
extern "C" fn trap_handler(frame: &mut TrapFrame) {
    let from_application = frame.is_from_application();
    if frame.vector >= vector::FIRST_INTERRUPT {
        interrupt::dispatch(frame.vector as u8);
    } else if frame.vector == vector::PAGE_FAULT {
        let address = Cr2::read_raw();
        page_fault(frame, address);
    } else if from_application {
        signal::application_exception(frame);
    } else if let Some(fixup) = user_fault_fixup(frame.rip) {
        // #GP by a non-canonical address.
        frame.rip = fixup;
    } else {
        panic::unexpected_trap(frame);
    }
    if from_application {
        task::before_return_to_application(frame, syscall::Restart::No);
    }
}

fn page_fault(frame: &mut TrapFrame, address: u64) {
    if frame.error & page_fault_error::RESERVED != 0 {
        // A reserved bit is set in an entry that only the kernel writes: no fault handler can mend that.
        panic::unexpected_page_fault(frame, address);
    }
    let from_application = frame.is_from_application();
    let fixup = if from_application { None } else { user_fault_fixup(frame.rip) };
    if !from_application && (fixup.is_none() || address >= layout::USER_END) {
        match fixup {
            Some(fixup) => frame.rip = fixup,
            None => panic::unexpected_page_fault(frame, address),
        }
        return;
    }
    if let Some(fixup) = fixup
        && frame.rflags & rflags::IF == 0
    {
        // Under a spin lock (a futex's word): nothing may wait. The caller touches the page and comes again.
        frame.rip = fixup;
        return;
    }
    // A fault may wait for a page to be read: from here on we are an ordinary piece of kernel code on the
    // thread's own stack. The kernel touches the application's memory only where it may wait.
    interrupts::enable();
    let access = if frame.error & page_fault_error::FETCH != 0 {
        mm::Access::Execute
    } else if frame.error & page_fault_error::WRITE != 0 {
        mm::Access::Write
    } else {
        mm::Access::Read
    };
    let result = mm::fault(address, access);
    if let Err(error) = result {
        match fixup {
            Some(fixup) => {
                if error == mm::FaultError::OutOfMemory {
                    signal::out_of_memory();
                }
                frame.rip = fixup;
            }
            None => signal::application_fault(frame, address, error),
        }
    }
    interrupts::disable();
}

/// Serves the vectors that run on their own IST stack, whatever was going on.
#[unsafe(no_mangle)]
extern "C" fn trap_in_place_handler(frame: &mut TrapFrame) {
    match frame.vector {
        vector::NMI => panic::stop_if_panicking(),
        // One in the kernel can only be left over from a debugger: single steps are masked on entry.
        // (`entry.s` takes those of the application another way.)
        vector::DEBUG => frame.rflags &= !rflags::TF,
        // The frame of a page fault goes to the thread's stack; with that overflowed, this is what comes.
        vector::DOUBLE_FAULT if task::stack::is_guard(Cr2::read_raw()) => {
            panic::unexpected_page_fault(frame, Cr2::read_raw())
        }
        _ => panic::unexpected_trap(frame),
    }
}
