//! The process: its place among processes, limits, usage.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use linux_abi::{
    Errno,
    process::{RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD, Resource, Rlimit, Rusage},
    time::Timeval,
};
use spin::LazyLock;

use super::{Result, time::process_cpu_ns};
use crate::{
    mm, power, sched,
    task::{self, PID},
    user::UserPtr,
};

/// `getpid(2)`.
pub fn sys_getpid() -> Result {
    Ok(PID as usize)
}

/// `getppid(2)`: the first process has none.
pub fn sys_getppid() -> Result {
    Ok(0)
}

/// `getpgrp(2)`. Group and session are the process's own, as for a program that a shell started.
pub fn sys_getpgrp() -> Result {
    Ok(PID as usize)
}

/// Whether `pid` means the process.
pub(super) fn check_pid(pid: i32) -> core::result::Result<(), Errno> {
    if pid == 0 || pid == PID as i32 { Ok(()) } else { Err(Errno::ESRCH) }
}

/// `getpgid(2)`.
pub fn sys_getpgid(pid: i32) -> Result {
    check_pid(pid).map(|()| PID as usize)
}

/// `getsid(2)`.
pub fn sys_getsid(pid: i32) -> Result {
    check_pid(pid).map(|()| PID as usize)
}

/// `setpgid(2)`: a session leader cannot change its group.
pub fn sys_setpgid(pid: i32, group: i32) -> Result {
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    check_pid(pid)?;
    Err(Errno::EPERM)
}

/// `setsid(2)`: it leads a group already.
pub fn sys_setsid() -> Result {
    Err(Errno::EPERM)
}

/// `personality(2)`: only asked for, or set to what it is.
pub fn sys_personality(persona: u32) -> Result {
    const QUERY: u32 = 0xffff_ffff;
    match persona {
        0 | QUERY => Ok(0),
        _ => {
            crate::refuse_once!("personality {persona:#x} is not offered: EINVAL");
            Err(Errno::EINVAL)
        }
    }
}

/// `wait4(2)`: there are no children.
pub fn sys_wait4(_pid: i32, _status: UserPtr<i32>, options: u32, _usage: UserPtr<u8>) -> Result {
    const KNOWN: u32 = 0xe000_000b;
    if options & !KNOWN != 0 { Err(Errno::EINVAL) } else { Err(Errno::ECHILD) }
}

/// `waitid(2)`.
pub fn sys_waitid(kind: u32, _id: i32, _info: UserPtr<u8>, options: u32, _usage: UserPtr<u8>) -> Result {
    const EVENTS: u32 = 2 | 4 | 8;
    if kind > 3 || options & EVENTS == 0 { Err(Errno::EINVAL) } else { Err(Errno::ECHILD) }
}

/// `reboot(2)`: switches the machine off, or on again.
pub fn sys_reboot(magic1: u32, magic2: u32, command: u32, _argument: u64) -> Result {
    const MAGIC1: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    if magic1 != MAGIC1 || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL);
    }
    match command {
        0x4321_fedc | 0xcdef_0123 => task::exit_process(power::End::Exited(0)),
        0x0000_0000 | 0x89ab_cdef => Ok(0), // Ctrl-Alt-Del off and on
        _ => Err(Errno::EINVAL),
    }
}

/// The limits, current and maximum, by [`Resource`]. Those that nobody heeds in [`set_limit`] are what Linux
/// gives root.
static LIMITS: LazyLock<[[AtomicU64; 2]; Resource::COUNT]> = LazyLock::new(|| {
    const MIB: u64 = 1 << 20;
    core::array::from_fn(|index| {
        let [current, maximum] = match Resource::from_raw(index as u32) {
            Some(Resource::Stack) => [8 * MIB, Rlimit::INFINITY],
            Some(Resource::Core) => [0, Rlimit::INFINITY],
            Some(Resource::Nofile) => [1024, 1 << 20],
            Some(Resource::Nproc) => [task::THREADS_MAX as u64; 2],
            Some(Resource::Memlock) => [8 * MIB; 2],
            Some(Resource::Sigpending) => [crate::signal::BUDGET.limit() as u64; 2],
            Some(Resource::Msgqueue) => [819_200; 2],
            Some(Resource::Nice | Resource::Rtprio) => [0, 0],
            _ => [Rlimit::INFINITY; 2],
        };
        [AtomicU64::new(current), AtomicU64::new(maximum)]
    })
});

/// The limit of a resource.
pub fn limit(resource: Resource) -> Rlimit {
    let [current, maximum] = &LIMITS[resource as usize];
    Rlimit { current: current.load(Ordering::Relaxed), maximum: maximum.load(Ordering::Relaxed) }
}

fn set_limit(resource: Resource, new: Rlimit) -> core::result::Result<(), Errno> {
    if new.current > new.maximum {
        return Err(Errno::EINVAL);
    }
    // Linux does not let anybody have more descriptors than fs.nr_open.
    if resource == Resource::Nofile && new.maximum > 1 << 20 {
        return Err(Errno::EPERM);
    }
    let [current, maximum] = &LIMITS[resource as usize];
    current.store(new.current, Ordering::Relaxed);
    maximum.store(new.maximum, Ordering::Relaxed);
    // `INFINITY` is no limit here as well.
    let store_bytes = |limit: &AtomicUsize| limit.store(new.current as usize, Ordering::Relaxed);
    match resource {
        Resource::Nofile => crate::fs::set_descriptor_limit(new.current as usize),
        Resource::Fsize => vfs::set_file_size_limit(new.current),
        Resource::Stack => store_bytes(&mm::space().limits().stack_bytes),
        Resource::As => store_bytes(&mm::space().limits().address_space_bytes),
        Resource::Data => store_bytes(&mm::space().limits().data_bytes),
        Resource::Sigpending => crate::signal::BUDGET.set_limit(new.current as usize),
        _ => {}
    }
    Ok(())
}

/// `prlimit64(2)`.
pub fn sys_prlimit64(pid: i32, resource: u32, new: UserPtr<Rlimit>, old: UserPtr<Rlimit>) -> Result {
    let resource = Resource::from_raw(resource).ok_or(Errno::EINVAL)?;
    let new = new.non_null().map(UserPtr::read).transpose()?;
    check_pid(pid)?;
    let former = limit(resource);
    if let Some(new) = new {
        set_limit(resource, new)?;
    }
    old.write_if_some(former)?;
    Ok(0)
}

/// `getrlimit(2)`.
pub fn sys_getrlimit(resource: u32, into: UserPtr<Rlimit>) -> Result {
    let resource = Resource::from_raw(resource).ok_or(Errno::EINVAL)?;
    into.write(limit(resource)).map(|()| 0)
}

/// `setrlimit(2)`.
pub fn sys_setrlimit(resource: u32, new: UserPtr<Rlimit>) -> Result {
    let resource = Resource::from_raw(resource).ok_or(Errno::EINVAL)?;
    set_limit(resource, new.read()?).map(|()| 0)
}

/// `getrusage(2)`. All time is counted as the application's: kernel and application are one program here.
pub fn sys_getrusage(who: i32, into: UserPtr<Rusage>) -> Result {
    let mut usage = Rusage::default();
    let mut add = |thread: &task::Thread| {
        let (voluntary, involuntary) = sched::switch_counts(thread);
        usage.nvcsw += voluntary as i64;
        usage.nivcsw += involuntary as i64;
        usage.minflt += thread.minor_faults.load(Ordering::Relaxed) as i64;
        usage.majflt += thread.major_faults.load(Ordering::Relaxed) as i64;
    };
    let time_ns = match who {
        RUSAGE_SELF => {
            task::threads().iter().for_each(|thread| add(thread));
            process_cpu_ns()
        }
        RUSAGE_THREAD => {
            add(task::current());
            sched::cpu_time_ns(task::current())
        }
        RUSAGE_CHILDREN => 0,
        _ => return Err(Errno::EINVAL),
    };
    usage.utime = Timeval::from_ns(time_ns);
    if who != RUSAGE_CHILDREN {
        usage.maxrss_kib = (mm::peak_resident_bytes() / 1024) as i64;
    }
    into.write(usage).map(|()| 0)
}
