//! Processes, threads and what a process may use: `clone(2)`, `wait4(2)`, `prctl(2)`, `arch_prctl(2)`,
//! `uname(2)`, `sysinfo(2)`, `getrusage(2)`, `getrlimit(2)`, `sched_setscheduler(2)`, `getrandom(2)` (uapi
//! `linux/sched.h`, `linux/prctl.h`, `asm/prctl.h`, `linux/resource.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;
use crate::time::Timeval;

/// The bits of `clone(2)`'s flags that hold the signal for the parent.
pub const CSIGNAL: u64 = 0xff;

abi_flags! {
    /// Flags of [`clone(2)`](https://man7.org/linux/man-pages/man2/clone.2.html) and `clone3`, without
    /// [`CSIGNAL`]. `clone` ignores unknown bits, `clone3` refuses them with `EINVAL`.
    pub struct CloneFlags: u64 {
        /// The same address space.
        const VM = 0x100;
        /// The same working directory, root and umask.
        const FS = 0x200;
        /// The same descriptors.
        const FILES = 0x400;
        /// The same signal handlers; needs `VM`.
        const SIGHAND = 0x800;
        /// A descriptor of the child is stored.
        const PIDFD = 0x1000;
        /// Traced if the parent is.
        const PTRACE = 0x2000;
        /// The parent waits until the child executes or ends.
        const VFORK = 0x4000;
        /// The caller's parent is the parent.
        const PARENT = 0x8000;
        /// The same process: a thread; needs `SIGHAND`.
        const THREAD = 0x0001_0000;
        /// New mount namespace.
        const NEWNS = 0x0002_0000;
        /// The same System V semaphore adjustments.
        const SYSVSEM = 0x0004_0000;
        /// FS base is the `tls` argument.
        const SETTLS = 0x0008_0000;
        /// The tid is stored for the parent.
        const PARENT_SETTID = 0x0010_0000;
        /// At the thread's end its tid word is cleared and a futex wake done there.
        const CHILD_CLEARTID = 0x0020_0000;
        /// Ignored by `clone`; `EINVAL` for `clone3`.
        const DETACHED = 0x0040_0000;
        /// Cannot be traced.
        const UNTRACED = 0x0080_0000;
        /// The tid is stored for the child.
        const CHILD_SETTID = 0x0100_0000;
        /// New cgroup namespace.
        const NEWCGROUP = 0x0200_0000;
        /// New UTS namespace.
        const NEWUTS = 0x0400_0000;
        /// New IPC namespace.
        const NEWIPC = 0x0800_0000;
        /// New user namespace.
        const NEWUSER = 0x1000_0000;
        /// New PID namespace.
        const NEWPID = 0x2000_0000;
        /// New network namespace.
        const NEWNET = 0x4000_0000;
        /// The same I/O context.
        const IO = 0x8000_0000;
        /// Handlers become the default; `clone3` only.
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// In the given cgroup; `clone3` only.
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

impl CloneFlags {
    /// What glibc's `pthread_create` asks for, on every version since 2.4 (in another order).
    pub const PTHREAD: Self = Self::VM
        .union(Self::FS)
        .union(Self::FILES)
        .union(Self::SIGHAND)
        .union(Self::THREAD)
        .union(Self::SYSVSEM)
        .union(Self::SETTLS)
        .union(Self::PARENT_SETTID)
        .union(Self::CHILD_CLEARTID);

    /// The combinations that Linux refuses with `EINVAL` (`copy_process` in `kernel/fork.c`), as far as they
    /// concern threads.
    pub const fn check_combination(self) -> Result<(), Errno> {
        let thread_without_handlers = self.contains(Self::THREAD) && !self.contains(Self::SIGHAND);
        let handlers_without_memory = self.contains(Self::SIGHAND) && !self.contains(Self::VM);
        let namespace_with_fs = self.contains(Self::NEWNS) && self.contains(Self::FS);
        let cleared_and_shared = self.contains(Self::CLEAR_SIGHAND) && self.contains(Self::SIGHAND);
        if thread_without_handlers || handlers_without_memory || namespace_with_fs || cleared_and_shared {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    }
}

/// `struct clone_args` of `clone3(2)`. Shorter ones are versions: [`CloneArgs::SIZE_VER0`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CloneArgs {
    /// See [`CloneFlags`]; the signal is apart.
    pub flags: CloneFlags,
    /// Where a pidfd is stored.
    pub pidfd: u64,
    /// Where the tid is stored for the child.
    pub child_tid: u64,
    /// Where the tid is stored for the parent.
    pub parent_tid: u64,
    /// Signal for the parent at the end; 0 for a thread.
    pub exit_signal: u64,
    /// The lowest address of the stack.
    pub stack: u64,
    /// Its bytes.
    pub stack_size: u64,
    /// FS base.
    pub tls: u64,
    /// Array of tids to be given.
    pub set_tid: u64,
    /// Its length.
    pub set_tid_size: u64,
    /// Descriptor of a cgroup.
    pub cgroup: u64,
}

assert_layout!(CloneArgs, size = 88, exit_signal @ 32, stack @ 40, tls @ 56, set_tid @ 64, cgroup @ 80);

impl CloneArgs {
    /// The size of the first version, and the least allowed: `EINVAL` below. Above the present size, bytes
    /// that are not zero are `E2BIG`, and so is a size over a page.
    pub const SIZE_VER0: usize = 64;
}

abi_flags! {
    /// Options of [`wait4(2)` and `waitid(2)`](https://man7.org/linux/man-pages/man2/wait.2.html); uapi
    /// `linux/wait.h`.
    pub struct WaitOptions: u32 {
        /// Do not wait.
        const NOHANG = 1;
        /// Also stopped children (`WSTOPPED` for `waitid`).
        const UNTRACED = 2;
        /// Children that ended; `waitid` only.
        const EXITED = 4;
        /// Also continued children.
        const CONTINUED = 8;
        /// Leave the child as it is; `waitid` only.
        const NOWAIT = 0x0100_0000;
        /// Not of other threads of the process.
        const NOTHREAD = 0x2000_0000;
        /// Of any kind.
        const ALL = 0x4000_0000;
        /// Of kind "clone" only.
        const CLONE = 0x8000_0000;
    }
}

/// Bytes of each string of [`Utsname`].
pub const UTSNAME_LENGTH: usize = 65;

/// `struct new_utsname` of `uname(2)`: NUL-terminated strings.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Utsname {
    /// "Linux".
    pub sysname: [u8; UTSNAME_LENGTH],
    /// The host's name.
    pub nodename: [u8; UTSNAME_LENGTH],
    /// The kernel's version, which glibc and others parse as numbers.
    pub release: [u8; UTSNAME_LENGTH],
    /// Build of the kernel.
    pub version: [u8; UTSNAME_LENGTH],
    /// "x86_64".
    pub machine: [u8; UTSNAME_LENGTH],
    /// NIS domain; "(none)".
    pub domainname: [u8; UTSNAME_LENGTH],
}

assert_layout!(Utsname, size = 390);

impl Utsname {
    /// A field that holds a string, cut after 64 bytes.
    pub const fn field(text: &str) -> [u8; UTSNAME_LENGTH] {
        let mut field = [0; UTSNAME_LENGTH];
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() && i < UTSNAME_LENGTH - 1 {
            field[i] = bytes[i];
            i += 1;
        }
        field
    }
}

/// `struct sysinfo` of `sysinfo(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysinfo {
    /// Seconds since boot, rounded up.
    pub uptime: i64,
    /// Load averages of 1, 5 and 15 minutes, shifted left by 16.
    pub loads: [u64; 3],
    /// Memory, in `mem_unit` bytes like all that follow.
    pub totalram: u64,
    /// Free memory.
    pub freeram: u64,
    /// In tmpfs and shared mappings.
    pub sharedram: u64,
    /// In buffers.
    pub bufferram: u64,
    /// Swap.
    pub totalswap: u64,
    /// Free swap.
    pub freeswap: u64,
    /// Threads.
    pub procs: u16,
    /// Zero.
    pub padding1: [u16; 3],
    /// Zero on x86-64.
    pub totalhigh: u64,
    /// Zero on x86-64.
    pub freehigh: u64,
    /// The unit in bytes: 1 on a 64-bit system.
    pub mem_unit: u32,
    /// Zero.
    pub padding2: u32,
}

assert_layout!(Sysinfo, size = 112, loads @ 8, totalram @ 32, procs @ 80, totalhigh @ 88, mem_unit @ 104);

/// `struct rusage` of `getrusage(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rusage {
    /// CPU time in the application.
    pub utime: Timeval,
    /// CPU time in the kernel.
    pub stime: Timeval,
    /// Largest resident set, in KiB.
    pub maxrss_kib: i64,
    /// Always 0 on Linux.
    pub ixrss: i64,
    /// Always 0 on Linux.
    pub idrss: i64,
    /// Always 0 on Linux.
    pub isrss: i64,
    /// Page faults without I/O.
    pub minflt: i64,
    /// Page faults with I/O.
    pub majflt: i64,
    /// Always 0 on Linux.
    pub nswap: i64,
    /// Blocks of 512 bytes read.
    pub inblock: i64,
    /// Blocks of 512 bytes written.
    pub oublock: i64,
    /// Always 0 on Linux.
    pub msgsnd: i64,
    /// Always 0 on Linux.
    pub msgrcv: i64,
    /// Always 0 on Linux.
    pub nsignals: i64,
    /// Voluntary context switches.
    pub nvcsw: i64,
    /// Involuntary ones.
    pub nivcsw: i64,
}

assert_layout!(Rusage, size = 144, maxrss_kib @ 32, minflt @ 64, nvcsw @ 128);

/// `who` of `getrusage(2)`: the process.
pub const RUSAGE_SELF: i32 = 0;
/// `who` of `getrusage(2)`: children that were waited for.
pub const RUSAGE_CHILDREN: i32 = -1;
/// `who` of `getrusage(2)`: the calling thread.
pub const RUSAGE_THREAD: i32 = 1;

/// `struct rlimit64` of `prlimit64(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rlimit {
    /// The soft limit.
    pub current: u64,
    /// The hard limit; `EINVAL` if it is below the soft one.
    pub maximum: u64,
}

assert_layout!(Rlimit, size = 16, current @ 0, maximum @ 8);

impl Rlimit {
    /// `RLIM_INFINITY`.
    pub const INFINITY: u64 = u64::MAX;

    /// No limit.
    pub const UNLIMITED: Self = Self { current: Self::INFINITY, maximum: Self::INFINITY };
}

abi_enum! {
    /// A limited resource: [`getrlimit(2)`](https://man7.org/linux/man-pages/man2/getrlimit.2.html).
    pub enum Resource: u32 {
        /// Seconds of CPU time.
        Cpu = 0, "RLIMIT_CPU";
        /// Bytes of a file.
        Fsize = 1, "RLIMIT_FSIZE";
        /// Bytes of the data segment.
        Data = 2, "RLIMIT_DATA";
        /// Bytes of the main thread's stack.
        Stack = 3, "RLIMIT_STACK";
        /// Bytes of a core file.
        Core = 4, "RLIMIT_CORE";
        /// Without effect.
        Rss = 5, "RLIMIT_RSS";
        /// Threads of a user.
        Nproc = 6, "RLIMIT_NPROC";
        /// One more than the highest descriptor.
        Nofile = 7, "RLIMIT_NOFILE";
        /// Bytes of locked memory.
        Memlock = 8, "RLIMIT_MEMLOCK";
        /// Bytes of the address space.
        As = 9, "RLIMIT_AS";
        /// Without effect.
        Locks = 10, "RLIMIT_LOCKS";
        /// Queued signals.
        Sigpending = 11, "RLIMIT_SIGPENDING";
        /// Bytes in POSIX message queues.
        Msgqueue = 12, "RLIMIT_MSGQUEUE";
        /// 20 less the lowest nice value.
        Nice = 13, "RLIMIT_NICE";
        /// Highest real-time priority.
        Rtprio = 14, "RLIMIT_RTPRIO";
        /// Microseconds of CPU time that a real-time thread may take without a pause.
        Rttime = 15, "RLIMIT_RTTIME";
    }
}

impl Resource {
    /// How many there are.
    pub const COUNT: usize = 16;
}

abi_enum! {
    /// Scheduling policy:
    /// [`sched_setscheduler(2)`](https://man7.org/linux/man-pages/man2/sched_setscheduler.2.html).
    pub enum SchedPolicy: u32 {
        /// Fair (`SCHED_OTHER`).
        Normal = 0, "SCHED_NORMAL";
        /// Real time, without slices.
        Fifo = 1, "SCHED_FIFO";
        /// Real time, with slices.
        RoundRobin = 2, "SCHED_RR";
        /// Fair, not interactive.
        Batch = 3, "SCHED_BATCH";
        /// When nothing else runs.
        Idle = 5, "SCHED_IDLE";
        /// By deadline.
        Deadline = 6, "SCHED_DEADLINE";
    }
}

/// Or'd to a policy: a child begins with the normal one.
pub const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

/// `which` of `getpriority(2)`: a process (a thread, on Linux).
pub const PRIO_PROCESS: u32 = 0;
/// `which` of `getpriority(2)`: a process group.
pub const PRIO_PGRP: u32 = 1;
/// `which` of `getpriority(2)`: a user.
pub const PRIO_USER: u32 = 2;

/// Bytes of a thread's name with its NUL (`TASK_COMM_LEN`).
pub const TASK_COMM_LENGTH: usize = 16;

#[allow(missing_docs, reason = "prctl(2) and the uapi header say what each does")]
pub mod prctl {
    pub const PR_SET_PDEATHSIG: u32 = 1;
    pub const PR_GET_PDEATHSIG: u32 = 2;
    pub const PR_GET_DUMPABLE: u32 = 3;
    pub const PR_SET_DUMPABLE: u32 = 4;
    pub const PR_GET_KEEPCAPS: u32 = 7;
    pub const PR_SET_KEEPCAPS: u32 = 8;
    pub const PR_SET_NAME: u32 = 15;
    pub const PR_GET_NAME: u32 = 16;
    pub const PR_GET_SECCOMP: u32 = 21;
    pub const PR_SET_SECCOMP: u32 = 22;
    pub const PR_CAPBSET_READ: u32 = 23;
    pub const PR_CAPBSET_DROP: u32 = 24;
    pub const PR_GET_TSC: u32 = 25;
    pub const PR_SET_TSC: u32 = 26;
    pub const PR_SET_TIMERSLACK: u32 = 29;
    pub const PR_GET_TIMERSLACK: u32 = 30;
    pub const PR_SET_MM: u32 = 35;
    pub const PR_SET_CHILD_SUBREAPER: u32 = 36;
    pub const PR_GET_CHILD_SUBREAPER: u32 = 37;
    pub const PR_SET_NO_NEW_PRIVS: u32 = 38;
    pub const PR_GET_NO_NEW_PRIVS: u32 = 39;
    pub const PR_GET_TID_ADDRESS: u32 = 40;
    pub const PR_SET_THP_DISABLE: u32 = 41;
    pub const PR_GET_THP_DISABLE: u32 = 42;
    pub const PR_CAP_AMBIENT: u32 = 47;
    pub const PR_GET_SPECULATION_CTRL: u32 = 52;
    pub const PR_SET_SPECULATION_CTRL: u32 = 53;
    pub const PR_SET_PTRACER: u32 = 0x5961_6d61;
    pub const PR_SET_VMA: u32 = 0x5356_4d41;
    pub const PR_SET_VMA_ANON_NAME: u64 = 0;

    pub const ARCH_SET_GS: u32 = 0x1001;
    pub const ARCH_SET_FS: u32 = 0x1002;
    pub const ARCH_GET_FS: u32 = 0x1003;
    pub const ARCH_GET_GS: u32 = 0x1004;
    pub const ARCH_GET_CPUID: u32 = 0x1011;
    pub const ARCH_SET_CPUID: u32 = 0x1012;
    pub const ARCH_GET_XCOMP_SUPP: u32 = 0x1021;
    pub const ARCH_GET_XCOMP_PERM: u32 = 0x1022;
    pub const ARCH_REQ_XCOMP_PERM: u32 = 0x1023;
    /// What ld.so asks first, to learn of shadow stacks; `EINVAL` where there are none.
    pub const ARCH_CET_STATUS: u32 = 0x3001;
}

abi_flags! {
    /// Flags of [`getrandom(2)`](https://man7.org/linux/man-pages/man2/getrandom.2.html). `RANDOM` with
    /// `INSECURE` is `EINVAL`.
    pub struct GetrandomFlags: u32 {
        /// Do not wait for entropy.
        const NONBLOCK = 1;
        /// From the source of /dev/random.
        const RANDOM = 2;
        /// Never wait, even without entropy.
        const INSECURE = 4;
    }
}

/// In `wait4(2)`'s status: the process exited with this code.
pub const fn wait_status_exited(code: u8) -> u32 {
    (code as u32) << 8
}

/// In `wait4(2)`'s status: the process died of this signal.
pub const fn wait_status_signaled(signal: crate::signal::Signal) -> u32 {
    signal.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        for (ours, theirs) in [
            (CloneFlags::VM, libc::CLONE_VM),
            (CloneFlags::SIGHAND, libc::CLONE_SIGHAND),
            (CloneFlags::THREAD, libc::CLONE_THREAD),
            (CloneFlags::SYSVSEM, libc::CLONE_SYSVSEM),
            (CloneFlags::SETTLS, libc::CLONE_SETTLS),
            (CloneFlags::PARENT_SETTID, libc::CLONE_PARENT_SETTID),
            (CloneFlags::CHILD_CLEARTID, libc::CLONE_CHILD_CLEARTID),
            (CloneFlags::CHILD_SETTID, libc::CLONE_CHILD_SETTID),
            (CloneFlags::IO, libc::CLONE_IO),
        ] {
            assert_eq!(ours.bits(), u64::from(theirs as u32), "{ours:?}");
        }
        assert_eq!(Resource::Nofile.raw(), libc::RLIMIT_NOFILE);
        assert_eq!(Resource::Rttime.raw(), libc::RLIMIT_RTTIME);
        assert_eq!(size_of::<Sysinfo>(), size_of::<libc::sysinfo>());
        assert_eq!(size_of::<Rusage>(), size_of::<libc::rusage>());
        assert_eq!(size_of::<Utsname>(), size_of::<libc::utsname>());
        assert_eq!(size_of::<CloneArgs>(), size_of::<libc::clone_args>());
        assert_eq!(prctl::PR_SET_VMA, libc::PR_SET_VMA as u32);
    }

    #[test]
    fn clone_flags_are_checked_as_on_linux() {
        assert_eq!(CloneFlags::PTHREAD.check_combination(), Ok(()));
        assert_eq!((CloneFlags::PTHREAD - CloneFlags::SIGHAND).check_combination(), Err(Errno::EINVAL));
        assert_eq!((CloneFlags::PTHREAD - CloneFlags::VM).check_combination(), Err(Errno::EINVAL));
        assert_eq!((CloneFlags::VM | CloneFlags::VFORK).check_combination(), Ok(()));
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(&Utsname::field("Linux")[..6], b"Linux\0");
        let field = Utsname::field(core::str::from_utf8(&[b'x'; 70]).unwrap());
        assert_eq!((field[63], field[64]), (b'x', 0));
    }
}
