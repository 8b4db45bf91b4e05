//! The vDSO (`vdso(7)`): functions of the kernel that run as the application's own, without a system call.
//!
//! The root of the shared object, which `build.rs` compiles: position independent, without data, relocations
//! or calls to anything else. What it cannot answer it passes to the system call of the same name, whose
//! answers it gives otherwise, to the bit (`kernel/src/syscall/time.rs`). The clock page lies one page before
//! the ELF header.
//!
//! As on Linux, a bad pointer faults in here, in the application.

#![no_std]

#[path = "../src/clock_page.rs"]
#[allow(dead_code, reason = "the writing half is the kernel's")]
mod clock_page;

use core::arch::{asm, global_asm};

use clock_page::{COARSE_RESOLUTION_NS, ClockPage, Clocks, CpuNumber};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// `struct timespec`.
#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

/// `struct timeval`.
#[repr(C)]
pub struct Timeval {
    sec: i64,
    usec: i64,
}

/// `struct timezone`.
#[repr(C)]
pub struct Timezone {
    minuteswest: i32,
    dsttime: i32,
}

/// Numbers of the system calls (`asm/unistd_64.h`).
mod number {
    pub const GETTIMEOFDAY: usize = 96;
    pub const TIME: usize = 201;
    pub const CLOCK_GETTIME: usize = 228;
    pub const CLOCK_GETRES: usize = 229;
    pub const GETCPU: usize = 309;
}

/// Clocks (`linux/time.h`).
mod clock {
    pub const REALTIME: i32 = 0;
    pub const MONOTONIC: i32 = 1;
    pub const MONOTONIC_RAW: i32 = 4;
    pub const REALTIME_COARSE: i32 = 5;
    pub const MONOTONIC_COARSE: i32 = 6;
    pub const BOOTTIME: i32 = 7;
    pub const TAI: i32 = 11;
}

fn page() -> &'static ClockPage {
    let page: *const ClockPage;
    // SAFETY: only computes an address; the kernel maps the clock page, readable for ever, before the ELF
    // header.
    unsafe {
        asm!("lea {}, [rip + __ehdr_start - 4096]", out(reg) page, options(pure, nomem, nostack, preserves_flags));
        &*page
    }
}

/// The time stamp counter, read after everything before has been read and before anything after is done: a
/// clock that another thread was shown is never ahead (Intel SDM vol. 2, RDTSC: LFENCE before it).
fn ordered_tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter that the kernel leaves readable. Without `nomem`, the compiler keeps memory
    // accesses on their side of it.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

fn now_ns(of: impl Fn(&Clocks, u64) -> u64) -> Option<u64> {
    page().read(|clocks| of(clocks, ordered_tsc()))
}

/// # Safety
/// As the system call's.
unsafe fn system_call(number: usize, arguments: [usize; 3]) -> isize {
    let result;
    // SAFETY: a system call keeps all registers but these.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") arguments[0], in("rsi") arguments[1],
             in("rdx") arguments[2], out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// `clock_gettime(2)`; returns 0 or a negative error number.
///
/// # Safety
/// `into` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(id: i32, into: *mut Timespec) -> i32 {
    let now = match id {
        clock::REALTIME | clock::REALTIME_COARSE | clock::TAI => now_ns(Clocks::realtime_ns),
        clock::MONOTONIC | clock::MONOTONIC_RAW | clock::MONOTONIC_COARSE | clock::BOOTTIME => {
            now_ns(Clocks::monotonic_ns)
        }
        _ => None,
    };
    match now {
        Some(ns) => {
            let time = Timespec { sec: (ns / NS_PER_SECOND) as i64, nsec: (ns % NS_PER_SECOND) as i64 };
            // SAFETY: the caller's promise.
            unsafe { into.write(time) };
            0
        }
        // SAFETY: the kernel checks the pointer.
        None => unsafe { system_call(number::CLOCK_GETTIME, [id as usize, into as usize, 0]) as i32 },
    }
}

/// `clock_getres(2)`; returns 0 or a negative error number.
///
/// # Safety
/// `into` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(id: i32, into: *mut Timespec) -> i32 {
    let nsec = match id {
        clock::REALTIME | clock::TAI | clock::MONOTONIC | clock::MONOTONIC_RAW | clock::BOOTTIME => 1,
        clock::REALTIME_COARSE | clock::MONOTONIC_COARSE => COARSE_RESOLUTION_NS,
        // SAFETY: the kernel checks the pointer.
        _ => return unsafe { system_call(number::CLOCK_GETRES, [id as usize, into as usize, 0]) as i32 },
    };
    if !into.is_null() {
        // SAFETY: the caller's promise.
        unsafe { into.write(Timespec { sec: 0, nsec }) };
    }
    0
}

/// `gettimeofday(2)`; returns 0 or a negative error number.
///
/// # Safety
/// Each pointer is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(now: *mut Timeval, zone: *mut Timezone) -> i32 {
    let Some(ns) = now_ns(Clocks::realtime_ns) else {
        // SAFETY: the kernel checks the pointers.
        return unsafe { system_call(number::GETTIMEOFDAY, [now as usize, zone as usize, 0]) as i32 };
    };
    if !now.is_null() {
        let time = Timeval { sec: (ns / NS_PER_SECOND) as i64, usec: (ns % NS_PER_SECOND / 1000) as i64 };
        // SAFETY: the caller's promise.
        unsafe { now.write(time) };
    }
    if !zone.is_null() {
        // SAFETY: the caller's promise.
        unsafe { zone.write(Timezone { minuteswest: 0, dsttime: 0 }) };
    }
    0
}

/// `time(2)`.
///
/// # Safety
/// `into` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_time(into: *mut i64) -> i64 {
    let Some(ns) = now_ns(Clocks::realtime_ns) else {
        // SAFETY: the kernel checks the pointer.
        return unsafe { system_call(number::TIME, [into as usize, 0, 0]) as i64 };
    };
    let seconds = (ns / NS_PER_SECOND) as i64;
    if !into.is_null() {
        // SAFETY: the caller's promise.
        unsafe { into.write(seconds) };
    }
    seconds
}

/// `getcpu(2)`; returns 0 or a negative error number.
///
/// # Safety
/// `cpu` and `node` are null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, cache: *mut u8) -> i32 {
    // The number of the CPU in the low 12 bits and that of the node above, as Linux has it.
    let number: u32 = match page().cpu_number() {
        CpuNumber::Rdpid => {
            let number: u64;
            // SAFETY: the kernel says that the CPU has it. Volatile: the thread may move at any time.
            unsafe { asm!("rdpid {}", out(reg) number, options(nomem, nostack, preserves_flags)) };
            number as u32
        }
        CpuNumber::Rdtscp => {
            let number: u32;
            // SAFETY: as above.
            unsafe {
                asm!("rdtscp", out("ecx") number, out("eax") _, out("edx") _, options(nomem, nostack, preserves_flags));
            }
            number
        }
        CpuNumber::SystemCall => {
            let arguments = [cpu as usize, node as usize, cache as usize];
            // SAFETY: the kernel checks the pointers.
            return unsafe { system_call(number::GETCPU, arguments) as i32 };
        }
    };
    if !cpu.is_null() {
        // SAFETY: the caller's promise.
        unsafe { cpu.write(number & 0xfff) };
    }
    if !node.is_null() {
        // SAFETY: the caller's promise.
        unsafe { node.write(number >> 12) };
    }
    0
}

// The plain names are weak, as Linux has them: a program that is linked with this object keeps its own.
global_asm!(
    ".hidden __ehdr_start",
    ".weak clock_gettime",
    ".set clock_gettime, __vdso_clock_gettime",
    ".weak clock_getres",
    ".set clock_getres, __vdso_clock_getres",
    ".weak gettimeofday",
    ".set gettimeofday, __vdso_gettimeofday",
    ".weak time",
    ".set time, __vdso_time",
    ".weak getcpu",
    ".set getcpu, __vdso_getcpu",
);
