//! Calls the functions of the shared object in this process, mapped by hand behind a clock page of the
//! test's.
//!
//! A clock that ticks as this machine's counter does is not compared with a wall clock, but with the counter
//! itself, read before and after; what goes to the kernel is compared with Linux, in the same way.

use std::{
    mem::{MaybeUninit, transmute},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use goblin::elf::Elf;
use libc::{clockid_t, timespec, timeval};
use vdso_image::{COARSE_RESOLUTION_NS, ClockPage, Clocks, CpuNumber, IMAGE, SHIFT, multiplier_of};

const PAGE_SIZE: usize = 4096;
const NS_PER_SECOND: u64 = 1_000_000_000;

type Getres = unsafe extern "C" fn(clockid_t, *mut timespec) -> i32;
type Gettime = Getres;
type Gettimeofday = unsafe extern "C" fn(*mut timeval, *mut [i32; 2]) -> i32;
type Time = unsafe extern "C" fn(*mut i64) -> i64;
type Getcpu = unsafe extern "C" fn(*mut u32, *mut u32, *mut u8) -> i32;

/// The object and its page, where the kernel would map them.
struct Mapped {
    page: &'static ClockPage,
    gettime: Gettime,
    getres: Getres,
    gettimeofday: Gettimeofday,
    time: Time,
    getcpu: Getcpu,
}

fn map() -> Mapped {
    let len = PAGE_SIZE + IMAGE.len();
    let elf = Elf::parse(IMAGE).unwrap();
    // SAFETY: fresh memory, never unmapped; the functions have the types that the vDSO's ABI gives them.
    unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(start, libc::MAP_FAILED);
        let image = start.add(PAGE_SIZE);
        image.cast::<u8>().copy_from_nonoverlapping(IMAGE.as_ptr(), IMAGE.len());
        assert_eq!(libc::mprotect(image, IMAGE.len(), libc::PROT_READ | libc::PROT_EXEC), 0);
        let address = |name: &str| {
            let symbol = elf.dynsyms.iter().find(|symbol| elf.dynstrtab.get_at(symbol.st_name) == Some(name));
            image.add(symbol.unwrap().st_value as usize)
        };
        Mapped {
            page: &*start.cast::<ClockPage>(),
            gettime: transmute::<*mut libc::c_void, Gettime>(address("__vdso_clock_gettime")),
            getres: transmute::<*mut libc::c_void, Getres>(address("__vdso_clock_getres")),
            gettimeofday: transmute::<*mut libc::c_void, Gettimeofday>(address("__vdso_gettimeofday")),
            time: transmute::<*mut libc::c_void, Time>(address("__vdso_time")),
            getcpu: transmute::<*mut libc::c_void, Getcpu>(address("__vdso_getcpu")),
        }
    }
}

fn ns(time: timespec) -> u64 {
    assert!((0..NS_PER_SECOND as i64).contains(&time.tv_nsec));
    time.tv_sec as u64 * NS_PER_SECOND + time.tv_nsec as u64
}

/// The answer of a call of this kind, in nanoseconds.
fn call(function: Getres, clock: clockid_t) -> Result<u64, i32> {
    let mut time = MaybeUninit::uninit();
    // SAFETY: the pointer is valid.
    match unsafe { function(clock, time.as_mut_ptr()) } {
        // SAFETY: it has succeeded.
        0 => Ok(ns(unsafe { time.assume_init() })),
        error => Err(error),
    }
}

/// The system call itself.
fn linux(number: libc::c_long, clock: clockid_t) -> Result<u64, i32> {
    let mut time = MaybeUninit::uninit();
    // SAFETY: as above.
    match unsafe { libc::syscall(number, clock, time.as_mut_ptr()) } {
        // SAFETY: it has succeeded.
        0 => Ok(ns(unsafe { time.assume_init() })),
        _ => Err(-std::io::Error::last_os_error().raw_os_error().unwrap()),
    }
}

fn tsc() -> u64 {
    // SAFETY: the instructions are there on every 64-bit CPU.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

fn a_clock() -> Clocks {
    Clocks {
        tsc_base: tsc(),
        multiplier: multiplier_of(2_345_678_901),
        realtime_offset_ns: 1_700_000_000 * NS_PER_SECOND + 123_456_789,
    }
}

/// Calls `read` and checks its answer against `expected` at a counter before and after.
fn check_between<R: PartialOrd + std::fmt::Debug>(read: impl Fn() -> R, expected: impl Fn(u64) -> R) {
    for _ in 0..1000 {
        let before = expected(tsc());
        let answer = read();
        let after = expected(tsc());
        assert!(before <= answer && answer <= after, "{before:?} <= {answer:?} <= {after:?}");
    }
}

#[test]
fn clocks_follow_the_counter() {
    let vdso = map();
    let clocks = a_clock();
    vdso.page.write(&clocks, || ());
    for clock in
        [libc::CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC_RAW, libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_BOOTTIME]
    {
        check_between(|| call(vdso.gettime, clock), |tsc| Ok(clocks.monotonic_ns(tsc)));
    }
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE, libc::CLOCK_TAI] {
        check_between(|| call(vdso.gettime, clock), |tsc| Ok(clocks.realtime_ns(tsc)));
    }
    let of_day = || {
        let mut now = timeval { tv_sec: 0, tv_usec: 0 };
        let mut zone = [7; 2];
        // SAFETY: the pointers are valid.
        assert_eq!(unsafe { (vdso.gettimeofday)(&raw mut now, &raw mut zone) }, 0);
        assert_eq!(zone, [0, 0]);
        (now.tv_sec, now.tv_usec)
    };
    check_between(of_day, |tsc| {
        let us = clocks.realtime_ns(tsc) / 1000;
        ((us / 1_000_000) as i64, (us % 1_000_000) as i64)
    });
    // SAFETY: null is allowed.
    assert_eq!(unsafe { (vdso.gettimeofday)(ptr::null_mut(), ptr::null_mut()) }, 0);
    let seconds = || {
        let mut into = 0;
        // SAFETY: the pointer is valid, and may be null.
        let returned = unsafe { (vdso.time)(&raw mut into) };
        assert_eq!(returned, into);
        // SAFETY: as above.
        unsafe { (vdso.time)(ptr::null_mut()) }
    };
    check_between(seconds, |tsc| (clocks.realtime_ns(tsc) / NS_PER_SECOND) as i64);
}

#[test]
fn a_counter_before_the_base_shows_zero() {
    let vdso = map();
    vdso.page.write(&Clocks { tsc_base: u64::MAX, multiplier: 1 << SHIFT, realtime_offset_ns: 42 }, || ());
    assert_eq!(call(vdso.gettime, libc::CLOCK_MONOTONIC), Ok(0));
    assert_eq!(call(vdso.gettime, libc::CLOCK_REALTIME), Ok(42));
}

#[test]
fn a_long_uptime_does_not_overflow() {
    let a_century_of_ticks = 3_000_000_000 * 100 * 366 * 86_400;
    let clocks = Clocks { tsc_base: 0, multiplier: multiplier_of(3_000_000_000), realtime_offset_ns: 0 };
    let ns = clocks.monotonic_ns(a_century_of_ticks);
    let exact = 100 * 366 * 86_400 * NS_PER_SECOND;
    // The multiplier is rounded down, by less than 2^-32 of a nanosecond for each tick.
    assert!(ns <= exact && exact - ns <= a_century_of_ticks >> SHIFT, "{ns} and {exact}");
}

#[test]
fn other_clocks_are_the_kernels() {
    let vdso = map();
    vdso.page.write(&a_clock(), || ());
    for clock in [libc::CLOCK_PROCESS_CPUTIME_ID, libc::CLOCK_THREAD_CPUTIME_ID] {
        let before = linux(libc::SYS_clock_gettime, clock).unwrap();
        let answer = call(vdso.gettime, clock).unwrap();
        let after = linux(libc::SYS_clock_gettime, clock).unwrap();
        assert!(before <= answer && answer <= after);
        assert_eq!(call(vdso.getres, clock), linux(libc::SYS_clock_getres, clock));
    }
    for clock in [10, 12, 31, 32, 43, 64, 1000, i32::MAX, -1, i32::MIN] {
        assert_eq!(
            call(vdso.gettime, clock).is_ok(),
            linux(libc::SYS_clock_gettime, clock).is_ok(),
            "{clock}"
        );
        if let Err(error) = call(vdso.gettime, clock) {
            assert_eq!(error, -libc::EINVAL, "{clock}");
        }
        assert_eq!(call(vdso.getres, clock), linux(libc::SYS_clock_getres, clock), "{clock}");
    }
}

#[test]
fn without_a_clock_the_kernel_is_asked() {
    let vdso = map();
    for clock in
        [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_MONOTONIC_RAW]
    {
        let before = linux(libc::SYS_clock_gettime, clock);
        let answer = call(vdso.gettime, clock);
        let after = linux(libc::SYS_clock_gettime, clock);
        assert!(before <= answer && answer <= after, "clock {clock}: {before:?} <= {answer:?} <= {after:?}");
    }
    let seconds = || linux(libc::SYS_clock_gettime, libc::CLOCK_REALTIME_COARSE).unwrap() / NS_PER_SECOND;
    let before = seconds();
    let mut now = timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the pointers are valid or null.
    let answer = unsafe {
        assert_eq!((vdso.gettimeofday)(&raw mut now, ptr::null_mut()), 0);
        (vdso.time)(ptr::null_mut()) as u64
    };
    // The precise clock may be a second further than the coarse one.
    for answer in [answer, now.tv_sec as u64] {
        assert!(before <= answer && answer <= seconds() + 1);
    }
}

#[test]
fn resolutions() {
    let vdso = map();
    for clock in [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_MONOTONIC_RAW,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_TAI,
    ] {
        assert_eq!(call(vdso.getres, clock), Ok(1));
    }
    for clock in [libc::CLOCK_REALTIME_COARSE, libc::CLOCK_MONOTONIC_COARSE] {
        assert_eq!(call(vdso.getres, clock), Ok(COARSE_RESOLUTION_NS as u64));
    }
    // SAFETY: null is allowed.
    assert_eq!(unsafe { (vdso.getres)(libc::CLOCK_REALTIME, ptr::null_mut()) }, 0);
}

#[test]
fn values_that_are_written_meanwhile_belong_together() {
    let vdso = map();
    // Whatever `tsc_base` is, the two cancel each other out, unless they are of different writes.
    let clocks = |base| Clocks { tsc_base: base, multiplier: 1 << SHIFT, realtime_offset_ns: base };
    vdso.page.write(&clocks(1), || ());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let far = tsc() / 2;
            for round in 0..200_000 {
                vdso.page.write(&clocks(if round % 2 == 0 { far } else { 1 }), || ());
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            check_between(|| call(vdso.gettime, libc::CLOCK_REALTIME), Ok);
        }
    });
}

#[test]
fn the_kernel_has_the_new_time_before_a_reader_does() {
    let page = ClockPage::default();
    assert_eq!(page.read(|clocks| *clocks), None);
    let mut kernel_knows = false;
    page.write(&a_clock(), || kernel_knows = true);
    assert!(kernel_knows);
    assert!(page.read(|clocks| *clocks).is_some());
}

#[test]
fn getcpu_is_the_kernels_or_the_cpus() {
    let vdso = map();
    let has_rdtscp = core::arch::x86_64::__cpuid(0x8000_0001).edx & 1 << 27 != 0;
    let has_rdpid = core::arch::x86_64::__cpuid_count(7, 0).ecx & 1 << 22 != 0;
    let ways =
        [(CpuNumber::SystemCall, true), (CpuNumber::Rdtscp, has_rdtscp), (CpuNumber::Rdpid, has_rdpid)];
    for (how, _) in ways.into_iter().filter(|(_, is_there)| *is_there) {
        vdso.page.set_cpu_number(how);
        assert_eq!(vdso.page.cpu_number(), how);
        // A thread may be moved between two questions: once they must agree.
        let agree = (0..10_000).any(|_| {
            let (mut cpu, mut node, mut true_cpu, mut true_node) = (u32::MAX, u32::MAX, 0u32, 0u32);
            // SAFETY: the pointers are valid.
            unsafe {
                assert_eq!((vdso.getcpu)(&raw mut cpu, &raw mut node, ptr::null_mut()), 0);
                let none = ptr::null_mut::<u8>();
                assert_eq!(libc::syscall(libc::SYS_getcpu, &raw mut true_cpu, &raw mut true_node, none), 0);
            }
            (cpu, node) == (true_cpu, true_node)
        });
        assert!(agree, "{how:?}");
        // SAFETY: null is allowed.
        assert_eq!(unsafe { (vdso.getcpu)(ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) }, 0);
    }
}
