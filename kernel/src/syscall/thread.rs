//! Creating and ending threads; what belongs to one.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use linux_abi::{
    Errno,
    process::{CSIGNAL, CloneArgs, CloneFlags, TASK_COMM_LENGTH, prctl},
};
use zerocopy::FromBytes;

use super::{Result, UserString};
use crate::{
    arch::layout::USER_END,
    power, refuse_once, sched, signal,
    task::{self, NewThread, Thread},
    user::UserPtr,
};

/// What a thread must share with its creator: there is one process.
const THREAD: CloneFlags = CloneFlags::VM
    .union(CloneFlags::FS)
    .union(CloneFlags::FILES)
    .union(CloneFlags::SIGHAND)
    .union(CloneFlags::THREAD);
/// What may be asked for besides.
const OPTIONAL: CloneFlags = CloneFlags::SYSVSEM
    .union(CloneFlags::SETTLS)
    .union(CloneFlags::PARENT_SETTID)
    .union(CloneFlags::CHILD_SETTID)
    .union(CloneFlags::CHILD_CLEARTID)
    .union(CloneFlags::DETACHED)
    .union(CloneFlags::PTRACE)
    .union(CloneFlags::UNTRACED)
    .union(CloneFlags::IO);

/// `clone(2)`, in the x86-64 order of arguments.
pub fn sys_clone(
    flags: u64,
    stack: u64,
    parent_tid: UserPtr<u32>,
    child_tid: UserPtr<u32>,
    tls: u64,
) -> Result {
    clone(CloneArgs {
        // The upper half of the register is not looked at.
        flags: CloneFlags::from_bits_retain(flags & 0xffff_ffff & !CSIGNAL),
        exit_signal: flags & CSIGNAL,
        stack,
        parent_tid: parent_tid.address(),
        child_tid: child_tid.address(),
        tls,
        ..Default::default()
    })
}

/// `clone3(2)`.
pub fn sys_clone3(arguments: UserPtr<u8>, size: usize) -> Result {
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < CloneArgs::SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = arguments.read_vec(size)?;
    if bytes.get(size_of::<CloneArgs>()..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
        return Err(Errno::E2BIG);
    }
    bytes.resize(size_of::<CloneArgs>(), 0);
    let mut arguments = CloneArgs::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    let flags = arguments.flags.bits();
    if flags & (CSIGNAL | CloneFlags::DETACHED.bits()) & !CloneFlags::CLEAR_SIGHAND.bits() != 0
        || arguments.exit_signal > CSIGNAL
        // A thread tells nobody of its end.
        || (arguments.flags.contains(CloneFlags::THREAD) && arguments.exit_signal != 0)
        || (arguments.stack == 0) != (arguments.stack_size == 0)
        || arguments.stack.checked_add(arguments.stack_size).is_none_or(|end| end > USER_END)
    {
        return Err(Errno::EINVAL);
    }
    arguments.stack += arguments.stack_size;
    clone(arguments)
}

/// Creates a thread; `arguments.stack` is its stack pointer, or 0 for the creator's.
fn clone(arguments: CloneArgs) -> Result {
    let flags = arguments.flags;
    flags.check_combination()?;
    if !flags.contains(THREAD) {
        return no_processes();
    }
    let unsupported = flags - (THREAD | OPTIONAL);
    if !unsupported.is_empty() || arguments.set_tid_size != 0 {
        refuse_once!("clone with {unsupported:?} is refused: EINVAL");
        return Err(Errno::EINVAL);
    }
    if flags.contains(CloneFlags::SETTLS) && arguments.tls >= USER_END {
        return Err(Errno::EPERM);
    }
    let creator = task::current();
    let mut frame = creator.frame().clone();
    frame.rax = 0;
    if arguments.stack != 0 {
        frame.rsp = arguments.stack;
    }
    let thread = task::create_thread(NewThread {
        frame,
        tls: if flags.contains(CloneFlags::SETTLS) { arguments.tls } else { sched::current_fs_base() },
        mask: signal::mask(),
        clear_child_tid: if flags.contains(CloneFlags::CHILD_CLEARTID) { arguments.child_tid } else { 0 },
    })?;
    sched::copy_extended_state(&thread);
    *thread.name.lock() = *creator.name.lock();
    thread.inherit(creator);
    sched::inherit(&thread, creator);
    let tid = thread.tid;
    // Before it runs, since it may look at them first. As on Linux, an address that cannot be written is the
    // caller's problem.
    if flags.contains(CloneFlags::PARENT_SETTID) {
        let _ = UserPtr::<u32>::new(arguments.parent_tid).write(tid);
    }
    if flags.contains(CloneFlags::CHILD_SETTID) {
        let _ = UserPtr::<u32>::new(arguments.child_tid).write(tid);
    }
    sched::start(thread);
    Ok(tid as usize)
}

/// There is one process, and no other can be started. glibc's `posix_spawn(3)` hands the error on, so that
/// Java's `ProcessBuilder` throws an `IOException` at once. Not `ENOSYS`, which makes glibc try the next
/// call.
fn no_processes() -> Result {
    refuse_once!("the program tried to start a process; a unikernel has one process only: EOPNOTSUPP");
    Err(Errno::EOPNOTSUPP)
}

/// `fork(2)`.
pub fn sys_fork() -> Result {
    no_processes()
}

/// `vfork(2)`.
pub fn sys_vfork() -> Result {
    no_processes()
}

/// `execve(2)`.
pub fn sys_execve(_path: UserString, _arguments: UserPtr<u64>, _environment: UserPtr<u64>) -> Result {
    no_processes()
}

/// `execveat(2)`.
pub fn sys_execveat(
    _directory: i32,
    _path: UserString,
    _arguments: UserPtr<u64>,
    _environment: UserPtr<u64>,
    _flags: u32,
) -> Result {
    no_processes()
}

/// `unshare(2)`: threads share what they share; only nothing can be had apart.
pub fn sys_unshare(flags: u64) -> Result {
    if flags == 0 {
        return Ok(0);
    }
    refuse_once!(
        "unshare({flags:#x}) is refused: there are no name spaces, and threads share their files: EINVAL"
    );
    Err(Errno::EINVAL)
}

/// `exit(2)`: ends this thread.
pub fn sys_exit(status: i32) -> Result {
    task::exit_thread(status)
}

/// `exit_group(2)`: ends the process.
pub fn sys_exit_group(status: i32) -> Result {
    task::exit_process(power::End::Exited(status as u8))
}

/// `gettid(2)`.
pub fn sys_gettid() -> Result {
    Ok(task::current().tid as usize)
}

/// `set_tid_address(2)`.
pub fn sys_set_tid_address(address: u64) -> Result {
    let thread = task::current();
    thread.clear_child_tid.store(address, Ordering::Relaxed);
    Ok(thread.tid as usize)
}

/// `arch_prctl(2)`.
pub fn sys_arch_prctl(code: u32, address: u64) -> Result {
    match code {
        prctl::ARCH_SET_FS if address >= USER_END => Err(Errno::EPERM),
        prctl::ARCH_SET_FS => {
            sched::set_current_fs_base(address);
            Ok(0)
        }
        prctl::ARCH_GET_FS => UserPtr::<u64>::new(address).write(sched::current_fs_base()).map(|()| 0),
        // GS belongs to the kernel, which shares the application's ring.
        prctl::ARCH_SET_GS => {
            refuse_once!("arch_prctl(ARCH_SET_GS) is refused: EPERM");
            Err(Errno::EPERM)
        }
        prctl::ARCH_GET_GS => UserPtr::<u64>::new(address).write(0).map(|()| 0),
        prctl::ARCH_GET_CPUID => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether a core may be dumped (`PR_SET_DUMPABLE`). None ever is; the value is kept for those who ask.
static DUMPABLE: AtomicU32 = AtomicU32::new(1);

/// `prctl(2)`.
pub fn sys_prctl(option: u32, a: u64, b: u64, c: u64, d: u64) -> Result {
    let thread = task::current();
    match option {
        prctl::PR_SET_NAME => {
            let bytes = UserPtr::<u8>::new(a).read_c_bytes_truncated(TASK_COMM_LENGTH - 1)?;
            let mut name = [0; TASK_COMM_LENGTH];
            name[..bytes.len()].copy_from_slice(&bytes);
            *thread.name.lock() = name;
            Ok(0)
        }
        prctl::PR_GET_NAME => UserPtr::<[u8; 16]>::new(a).write(*thread.name.lock()).map(|()| 0),
        prctl::PR_GET_DUMPABLE => Ok(DUMPABLE.load(Ordering::Relaxed) as usize),
        prctl::PR_SET_DUMPABLE if a > 1 => Err(Errno::EINVAL),
        prctl::PR_SET_DUMPABLE => {
            DUMPABLE.store(a as u32, Ordering::Relaxed);
            Ok(0)
        }
        prctl::PR_GET_KEEPCAPS | prctl::PR_GET_SECCOMP => Ok(0),
        // A range of memory gets a name, which is for show only.
        prctl::PR_SET_VMA if a == prctl::PR_SET_VMA_ANON_NAME => Ok(0),
        // Timers are exact, whatever is allowed; what was asked for is told again.
        prctl::PR_SET_TIMERSLACK => {
            let slack_ns = if a == 0 { task::DEFAULT_TIMER_SLACK_NS } else { a };
            thread.timer_slack_ns.store(slack_ns, Ordering::Relaxed);
            Ok(0)
        }
        prctl::PR_GET_TIMERSLACK => Ok(thread.timer_slack_ns.load(Ordering::Relaxed) as usize),
        prctl::PR_SET_NO_NEW_PRIVS if a == 1 && b == 0 && c == 0 && d == 0 => Ok(0),
        prctl::PR_SET_NO_NEW_PRIVS => Err(Errno::EINVAL),
        prctl::PR_GET_NO_NEW_PRIVS => Ok(0),
        prctl::PR_GET_TID_ADDRESS => {
            UserPtr::<u64>::new(a).write(thread.clear_child_tid.load(Ordering::Relaxed)).map(|()| 0)
        }
        prctl::PR_CAPBSET_READ => {
            if a <= 40 {
                Ok(1)
            } else {
                Err(Errno::EINVAL)
            }
        }
        prctl::PR_SET_PDEATHSIG if a > 64 => Err(Errno::EINVAL),
        // There is no parent whose death could be told, nor a child to be reaped.
        prctl::PR_SET_PDEATHSIG | prctl::PR_SET_CHILD_SUBREAPER => Ok(0),
        prctl::PR_GET_PDEATHSIG | prctl::PR_GET_CHILD_SUBREAPER => {
            UserPtr::<u32>::new(a).write(0).map(|()| 0)
        }
        _ => {
            refuse_once!("prctl option {option} is refused: EINVAL");
            Err(Errno::EINVAL)
        }
    }
}

/// The threads that a system call may mean by an id of this process.
pub fn in_process(pid: i32, tid: i32) -> core::result::Result<Arc<Thread>, Errno> {
    if pid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    if pid as u32 != task::PID {
        return Err(Errno::ESRCH);
    }
    task::thread(tid as u32).ok_or(Errno::ESRCH)
}
