//! `siginfo_t`: why a signal was sent (`sigaction(2)`, "The siginfo_t argument"; uapi
//! `asm-generic/siginfo.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Signal;

/// Values of `si_code`. Positive ones come from the kernel, the others from the application.
pub mod code {
    /// Sent by `kill(2)`.
    pub const SI_USER: i32 = 0;
    /// Sent by the kernel, for no closer reason (a general-protection fault, for example).
    pub const SI_KERNEL: i32 = 0x80;
    /// Sent by `sigqueue(3)`.
    pub const SI_QUEUE: i32 = -1;
    /// A POSIX timer expired.
    pub const SI_TIMER: i32 = -2;
    /// A POSIX message queue changed its state.
    pub const SI_MESGQ: i32 = -3;
    /// Asynchronous I/O completed.
    pub const SI_ASYNCIO: i32 = -4;
    /// Queued `SIGIO`.
    pub const SI_SIGIO: i32 = -5;
    /// Sent by `tkill(2)` or `tgkill(2)`.
    pub const SI_TKILL: i32 = -6;

    /// `SIGILL`: illegal opcode.
    pub const ILL_ILLOPC: i32 = 1;
    /// `SIGILL`: illegal operand. What Linux reports for x86's #UD.
    pub const ILL_ILLOPN: i32 = 2;
    /// `SIGILL`: illegal addressing mode.
    pub const ILL_ILLADR: i32 = 3;
    /// `SIGILL`: illegal trap.
    pub const ILL_ILLTRP: i32 = 4;
    /// `SIGILL`: privileged opcode.
    pub const ILL_PRVOPC: i32 = 5;
    /// `SIGILL`: privileged register.
    pub const ILL_PRVREG: i32 = 6;
    /// `SIGILL`: coprocessor error.
    pub const ILL_COPROC: i32 = 7;
    /// `SIGILL`: internal stack error.
    pub const ILL_BADSTK: i32 = 8;

    /// `SIGFPE`: integer divided by zero (#DE).
    pub const FPE_INTDIV: i32 = 1;
    /// `SIGFPE`: integer overflow.
    pub const FPE_INTOVF: i32 = 2;
    /// `SIGFPE`: floating-point division by zero.
    pub const FPE_FLTDIV: i32 = 3;
    /// `SIGFPE`: floating-point overflow.
    pub const FPE_FLTOVF: i32 = 4;
    /// `SIGFPE`: floating-point underflow, and denormal operand.
    pub const FPE_FLTUND: i32 = 5;
    /// `SIGFPE`: inexact result.
    pub const FPE_FLTRES: i32 = 6;
    /// `SIGFPE`: invalid operation.
    pub const FPE_FLTINV: i32 = 7;
    /// `SIGFPE`: subscript out of range.
    pub const FPE_FLTSUB: i32 = 8;

    /// `SIGSEGV`: nothing is mapped at the address.
    pub const SEGV_MAPERR: i32 = 1;
    /// `SIGSEGV`: the mapping does not allow the access.
    pub const SEGV_ACCERR: i32 = 2;
    /// `SIGSEGV`: a bound check failed.
    pub const SEGV_BNDERR: i32 = 3;
    /// `SIGSEGV`: a protection key forbids the access.
    pub const SEGV_PKUERR: i32 = 4;

    /// `SIGBUS`: unaligned access (#AC).
    pub const BUS_ADRALN: i32 = 1;
    /// `SIGBUS`: no such physical address; also a page of a mapping past its file's end.
    pub const BUS_ADRERR: i32 = 2;
    /// `SIGBUS`: hardware error of the object.
    pub const BUS_OBJERR: i32 = 3;

    /// `SIGTRAP`: breakpoint. Linux reports `SI_KERNEL` for x86's `int3`.
    pub const TRAP_BRKPT: i32 = 1;
    /// `SIGTRAP`: single step.
    pub const TRAP_TRACE: i32 = 2;
    /// `SIGTRAP`: branch trap.
    pub const TRAP_BRANCH: i32 = 3;
    /// `SIGTRAP`: hardware breakpoint or watchpoint.
    pub const TRAP_HWBKPT: i32 = 4;

    /// `SIGCHLD`: the child exited.
    pub const CLD_EXITED: i32 = 1;
    /// `SIGCHLD`: the child was killed.
    pub const CLD_KILLED: i32 = 2;
    /// `SIGCHLD`: the child was killed and dumped core.
    pub const CLD_DUMPED: i32 = 3;
    /// `SIGCHLD`: a traced child has trapped.
    pub const CLD_TRAPPED: i32 = 4;
    /// `SIGCHLD`: the child stopped.
    pub const CLD_STOPPED: i32 = 5;
    /// `SIGCHLD`: the child continued.
    pub const CLD_CONTINUED: i32 = 6;

    /// `SIGIO`: data can be read.
    pub const POLL_IN: i32 = 1;
    /// `SIGIO`: data can be written.
    pub const POLL_OUT: i32 = 2;
    /// `SIGIO`: a message can be read.
    pub const POLL_MSG: i32 = 3;
    /// `SIGIO`: I/O error.
    pub const POLL_ERR: i32 = 4;
    /// `SIGIO`: urgent data.
    pub const POLL_PRI: i32 = 5;
    /// `SIGIO`: the other end hung up.
    pub const POLL_HUP: i32 = 6;

    /// `SIGSYS`: a seccomp filter said so.
    pub const SYS_SECCOMP: i32 = 1;
}

/// A word that the sender adds to a signal (`union sigval`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigVal(pub u64);

/// The kernel's `siginfo_t`: 128 bytes, of which the first 16 are common to all signals and the rest is
/// a union that `signo` and `code` tell apart.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    /// The signal's number.
    pub signo: i32,
    /// Nearly always 0.
    pub errno: i32,
    /// Why; see [`code`].
    pub code: i32,
    padding: i32,
    /// The union, by 64-bit words.
    fields: [u64; 14],
}

assert_layout!(SigInfo, size = 128, signo @ 0, errno @ 4, code @ 8, fields @ 16);

/// Two neighbouring 32-bit fields as the word that they form.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    const fn new(signal: Signal, code: i32) -> Self {
        Self { signo: signal.number() as i32, errno: 0, code, padding: 0, fields: [0; 14] }
    }

    const fn with_fields(mut self, first: u64, second: u64) -> Self {
        self.fields[0] = first;
        self.fields[1] = second;
        self
    }

    /// Sent to the process by `kill(2)`, by a process with this pid and uid.
    pub const fn kill(signal: Signal, pid: u32, uid: u32) -> Self {
        Self::new(signal, code::SI_USER).with_fields(pair(pid, uid), 0)
    }

    /// Sent to a thread by `tkill(2)` or `tgkill(2)`.
    pub const fn tkill(signal: Signal, pid: u32, uid: u32) -> Self {
        Self::new(signal, code::SI_TKILL).with_fields(pair(pid, uid), 0)
    }

    /// Sent by `sigqueue(3)` with a value.
    pub const fn queue(signal: Signal, pid: u32, uid: u32, value: SigVal) -> Self {
        Self::new(signal, code::SI_QUEUE).with_fields(pair(pid, uid), value.0)
    }

    /// Sent by the kernel without a closer reason: `SI_KERNEL`, and pid, uid and `si_addr` are 0. This is
    /// what a general-protection fault and `int3` give on x86-64.
    pub const fn kernel(signal: Signal) -> Self {
        Self::new(signal, code::SI_KERNEL)
    }

    /// Raised by the thread's own instruction: `SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL` or `SIGTRAP`.
    /// `address` is the one accessed (`SIGSEGV`, `SIGBUS`), else that of the instruction.
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self::new(signal, code).with_fields(address, 0)
    }

    /// A child changed its state. `status` is the exit status or the number of the signal; the times are in
    /// clock ticks (`AT_CLKTCK`).
    pub const fn child(
        code: i32,
        pid: u32,
        uid: u32,
        status: i32,
        utime_ticks: u64,
        stime_ticks: u64,
    ) -> Self {
        let mut info = Self::new(Signal::SIGCHLD, code).with_fields(pair(pid, uid), status as u32 as u64);
        info.fields[2] = utime_ticks;
        info.fields[3] = stime_ticks;
        info
    }

    /// A POSIX timer (`timer_create(2)`) expired, and did so `overrun` times more before this was delivered.
    pub const fn timer(signal: Signal, timer_id: i32, overrun: i32, value: SigVal) -> Self {
        Self::new(signal, code::SI_TIMER).with_fields(pair(timer_id as u32, overrun as u32), value.0)
    }

    /// I/O became possible on a descriptor (`F_SETSIG` in `fcntl(2)`); `band` is the `POLL*` bits.
    pub const fn poll(signal: Signal, code: i32, band: i64, fd: i32) -> Self {
        Self::new(signal, code).with_fields(band as u64, fd as u32 as u64)
    }

    /// The signal, if `signo` is one; an application can queue any number (`rt_sigqueueinfo(2)`).
    pub const fn signal(&self) -> Option<Signal> {
        Signal::new(self.signo as u32)
    }

    /// `si_addr`: meaningful for a fault only.
    pub const fn address(&self) -> u64 {
        self.fields[0]
    }

    /// `si_pid`: meaningful for `kill`, `tkill`, `queue` and `child`.
    pub const fn pid(&self) -> u32 {
        self.fields[0] as u32
    }

    /// `si_uid`: meaningful where [`SigInfo::pid`] is.
    pub const fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// `si_status`: meaningful for `child`.
    pub const fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// `si_value`: meaningful for `queue` and `timer`.
    pub const fn value(&self) -> SigVal {
        SigVal(self.fields[1])
    }

    /// `si_overrun`: meaningful for `timer`.
    pub const fn overrun(&self) -> i32 {
        (self.fields[0] >> 32) as u32 as i32
    }

    /// Sent by the kernel rather than by the application (`SI_FROMKERNEL`).
    pub const fn is_from_kernel(&self) -> bool {
        self.code > 0
    }
}

impl core::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut debug = f.debug_struct("SigInfo");
        match self.signal() {
            Some(signal) => debug.field("signal", &signal),
            None => debug.field("signo", &self.signo),
        };
        debug.field("code", &self.code).field("first", &format_args!("{:#x}", self.fields[0])).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same bytes as libc's type, whose accessors are an independent account of the layout.
    fn libc_view(info: SigInfo) -> libc::siginfo_t {
        const { assert!(size_of::<SigInfo>() == size_of::<libc::siginfo_t>()) };
        // SAFETY: both are plain data of one size, and libc's type has no invalid values.
        #[allow(unsafe_code)]
        unsafe {
            core::mem::transmute(info)
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn fields_stand_where_libc_reads_them() {
        let kill = libc_view(SigInfo::kill(Signal::SIGTERM, 7, 1000));
        assert_eq!((kill.si_signo, kill.si_code, kill.si_errno), (libc::SIGTERM, libc::SI_USER, 0));
        // SAFETY: the accessors read fields of a plain 128-byte structure.
        unsafe {
            assert_eq!((kill.si_pid(), kill.si_uid()), (7, 1000));
            let fault = libc_view(SigInfo::fault(Signal::SIGSEGV, code::SEGV_ACCERR, 0x1234_5678_9abc));
            assert_eq!(fault.si_addr() as u64, 0x1234_5678_9abc);
            let queue = libc_view(SigInfo::queue(Signal::SIGRTMIN, 1, 2, SigVal(99)));
            assert_eq!((queue.si_pid(), queue.si_value().sival_ptr as u64), (1, 99));
            let child = libc_view(SigInfo::child(code::CLD_EXITED, 5, 6, -3, 11, 12));
            assert_eq!((child.si_pid(), child.si_status()), (5, -3));
            assert_eq!((child.si_utime(), child.si_stime()), (11, 12));
            let timer = libc_view(SigInfo::timer(Signal::SIGALRM, 3, 4, SigVal(5)));
            assert_eq!((timer.si_overrun(), timer.si_value().sival_ptr as u64), (4, 5));
        }
    }

    #[test]
    fn a_signal_outside_the_range_is_none() {
        let mut info = SigInfo::kernel(Signal::SIGSEGV);
        assert_eq!(info.signal(), Some(Signal::SIGSEGV));
        for signo in [0, -1, 65, i32::MIN] {
            info.signo = signo;
            assert_eq!(info.signal(), None);
        }
    }
}
