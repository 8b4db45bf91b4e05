//! Scheduling calls, and barriers across CPUs.

use core::sync::atomic::Ordering;

use linux_abi::{
    Errno,
    process::{PRIO_PGRP, PRIO_PROCESS, PRIO_USER, SCHED_RESET_ON_FORK, SchedPolicy},
    time::Timespec,
};

use super::Result;
use crate::{
    arch::{apic, cpu, interrupt},
    refuse_once, sched, task,
    user::UserPtr,
};

/// `sched_yield(2)`.
pub fn sys_sched_yield() -> Result {
    sched::yield_now();
    Ok(0)
}

fn thread(tid: i32) -> core::result::Result<alloc::sync::Arc<task::Thread>, Errno> {
    task::thread_or_current(tid).map_err(|error| if tid < 0 { Errno::EINVAL } else { error })
}

/// `sched_setaffinity(2)`. CPUs that are not there do not count; none left is `EINVAL`.
pub fn sys_sched_setaffinity(tid: i32, len: usize, mask: UserPtr<u8>) -> Result {
    let mut bytes = [0; 8];
    let given = mask.read_vec(len.min(bytes.len()))?;
    bytes[..given.len()].copy_from_slice(&given);
    let thread = task::thread_or_current(tid).map_err(|_| Errno::ESRCH)?;
    let wanted = u64::from_le_bytes(bytes) & cpu::online_mask();
    if wanted == 0 {
        return Err(Errno::EINVAL);
    }
    sched::set_affinity(&thread, wanted);
    Ok(0)
}

/// `sched_getaffinity(2)`: returns the size of the kernel's set.
pub fn sys_sched_getaffinity(tid: i32, len: usize, mask: UserPtr<u8>) -> Result {
    let size = size_of::<u64>();
    if len < size || !len.is_multiple_of(size) {
        return Err(Errno::EINVAL);
    }
    let thread = task::thread_or_current(tid).map_err(|_| Errno::ESRCH)?;
    mask.write_slice(&sched::affinity(&thread).to_le_bytes())?;
    Ok(size)
}

/// `getcpu(2)`.
pub fn sys_getcpu(cpu_index: UserPtr<u32>, node: UserPtr<u32>, _cache: u64) -> Result {
    cpu_index.write_if_some(cpu::index() as u32)?;
    node.write_if_some(0)?;
    Ok(0)
}

/// Whether the policy is one of the fair ones, which is all that is offered; `EINVAL` for an unknown one.
fn check_policy(policy: i32) -> core::result::Result<SchedPolicy, Errno> {
    let policy = policy as u32 & !SCHED_RESET_ON_FORK;
    SchedPolicy::from_raw(policy).ok_or(Errno::EINVAL)
}

/// `sched_setscheduler(2)`: real-time policies are refused, as to a program without the right to them.
pub fn sys_sched_setscheduler(tid: i32, policy: i32, parameter: UserPtr<i32>) -> Result {
    if policy < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = parameter.non_null().ok_or(Errno::EINVAL)?.read()?;
    let thread = thread(tid)?;
    match check_policy(policy)? {
        policy @ (SchedPolicy::Normal | SchedPolicy::Batch | SchedPolicy::Idle) if priority == 0 => {
            sched::set_policy(&thread, policy);
            Ok(0)
        }
        SchedPolicy::Fifo | SchedPolicy::RoundRobin if (1..=99).contains(&priority) => {
            refuse_once!("real-time scheduling is not offered: EPERM");
            Err(Errno::EPERM)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_getscheduler(2)`.
pub fn sys_sched_getscheduler(tid: i32) -> Result {
    Ok(sched::policy(&*thread(tid)?) as usize)
}

/// `sched_setparam(2)`.
pub fn sys_sched_setparam(tid: i32, parameter: UserPtr<i32>) -> Result {
    let priority = parameter.non_null().ok_or(Errno::EINVAL)?.read()?;
    thread(tid)?;
    if priority == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `sched_getparam(2)`.
pub fn sys_sched_getparam(tid: i32, parameter: UserPtr<i32>) -> Result {
    let parameter = parameter.non_null().ok_or(Errno::EINVAL)?;
    thread(tid)?;
    parameter.write(0).map(|()| 0)
}

/// `sched_get_priority_max(2)`.
pub fn sys_sched_get_priority_max(policy: i32) -> Result {
    priority_bound(policy, 99)
}

/// `sched_get_priority_min(2)`.
pub fn sys_sched_get_priority_min(policy: i32) -> Result {
    priority_bound(policy, 1)
}

fn priority_bound(policy: i32, realtime: usize) -> Result {
    match SchedPolicy::from_raw(policy as u32).ok_or(Errno::EINVAL)? {
        SchedPolicy::Fifo | SchedPolicy::RoundRobin => Ok(realtime),
        _ => Ok(0),
    }
}

/// `sched_rr_get_interval(2)`: the slice that a thread gets when others wait.
pub fn sys_sched_rr_get_interval(tid: i32, interval: UserPtr<Timespec>) -> Result {
    thread(tid)?;
    interval.write(Timespec::from_ns(run_queue::LATENCY_NS / 2))?;
    Ok(0)
}

/// The thread of a `getpriority(2)`: the process's group and user are all of it, and its nice value is the
/// main thread's.
fn priority_target(which: i32, who: i32) -> core::result::Result<alloc::sync::Arc<task::Thread>, Errno> {
    match which as u32 {
        PRIO_PROCESS => task::thread_or_current(who).map_err(|_| Errno::ESRCH),
        PRIO_PGRP if who == 0 || who as u32 == task::PID => Ok(task::current_arc()),
        PRIO_USER if who == 0 => Ok(task::current_arc()),
        PRIO_PGRP | PRIO_USER => Err(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

/// `getpriority(2)`: 20 minus the nice value, so that no result looks like an error.
pub fn sys_getpriority(which: i32, who: i32) -> Result {
    let thread = priority_target(which, who)?;
    Ok((20 - sched::nice(&thread)) as usize)
}

/// `setpriority(2)`.
pub fn sys_setpriority(which: i32, who: i32, nice: i32) -> Result {
    let thread = priority_target(which, who)?;
    sched::set_nice(&thread, nice.clamp(-20, 19));
    Ok(0)
}

/// Commands of `membarrier(2)` (uapi `linux/membarrier.h`).
mod membarrier {
    pub const QUERY: u32 = 0;
    pub const GLOBAL: u32 = 1 << 0;
    pub const GLOBAL_EXPEDITED: u32 = 1 << 1;
    pub const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
    pub const PRIVATE_EXPEDITED: u32 = 1 << 3;
    pub const REGISTER_PRIVATE_EXPEDITED: u32 = 1 << 4;
    pub const PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 5;
    pub const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 6;
}

/// `membarrier(2)`: every CPU that runs one of our threads passes a full barrier, and since an interrupt
/// serialises, its instruction stream is fresh as well (`SYNC_CORE`).
pub fn sys_membarrier(command: u32, flags: u32, _cpu: i32) -> Result {
    use core::sync::atomic::AtomicU32;

    use membarrier::*;
    static REGISTERED: AtomicU32 = AtomicU32::new(0);
    const ALL: u32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED
        | PRIVATE_EXPEDITED_SYNC_CORE
        | REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    match command {
        QUERY => return Ok(ALL as usize),
        REGISTER_GLOBAL_EXPEDITED | REGISTER_PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED_SYNC_CORE => {
            REGISTERED.fetch_or(command, Ordering::SeqCst);
            return Ok(0);
        }
        // Must have been registered for, and the bit of that is the next one up.
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE
            if REGISTERED.load(Ordering::SeqCst) & command << 1 == 0 =>
        {
            return Err(Errno::EPERM);
        }
        GLOBAL | GLOBAL_EXPEDITED | PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE => {}
        _ => return Err(Errno::EINVAL),
    }
    barrier_on_all_cpus();
    Ok(0)
}

/// Makes every other CPU that is not idle pass a barrier, and waits until all have.
fn barrier_on_all_cpus() {
    core::sync::atomic::fence(Ordering::SeqCst);
    let here = cpu::index();
    // An idle CPU passes barriers of its own before it runs a thread again.
    let others = || cpu::all().filter(|cpu| cpu.index != here && !cpu.idle.load(Ordering::SeqCst));
    let waiting: alloc::vec::Vec<_> = others()
        .map(|cpu| (cpu, sched::barriers_passed(cpu.index)))
        .inspect(|(cpu, _)| apic::send_ipi(cpu, interrupt::BARRIER))
        .collect();
    for (cpu, before) in waiting {
        while sched::barriers_passed(cpu.index) == before && !cpu.idle.load(Ordering::SeqCst) {
            core::hint::spin_loop();
        }
    }
}
