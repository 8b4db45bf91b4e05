//! `futex(2)` and the robust list.

use core::num::NonZeroU32;

use linux_abi::{
    Errno,
    futex::{Command, FutexFlags, RobustListHead, WakeOp, decode},
    time::Timespec,
};

use super::Result;
use crate::{
    arch::clock,
    futex::{self, Scope},
    task,
    user::UserPtr,
};

/// `futex(2)`: the argument after `value` is a timeout or a second count, as the operation has it.
pub fn sys_futex(
    address: UserPtr<u32>,
    operation: u32,
    value: u32,
    timeout_or_value2: u64,
    address2: UserPtr<u32>,
    value3: u32,
) -> Result {
    let (command, flags) = decode(operation)?;
    let scope = if flags.contains(FutexFlags::PRIVATE) { Scope::Private } else { Scope::Shared };
    let count = |value: u32| if (value as i32) < 0 { usize::MAX } else { value as usize };
    let bitset = || NonZeroU32::new(value3).ok_or(Errno::EINVAL);
    match command {
        Command::Wait => {
            let timeout = read_timeout(timeout_or_value2)?;
            let deadline_ns = timeout.map(|ns| clock::now_ns().saturating_add(ns));
            wait(address, scope, value, NonZeroU32::MAX, deadline_ns)
        }
        Command::WaitBitset => {
            let bitset = bitset()?;
            let timeout = read_timeout(timeout_or_value2)?;
            let deadline_ns = timeout.map(|ns| match flags.contains(FutexFlags::CLOCK_REALTIME) {
                true => ns.saturating_sub(clock::realtime_offset_ns()),
                false => ns,
            });
            wait(address, scope, value, bitset, deadline_ns)
        }
        // Linux wakes one even if asked for none.
        Command::Wake => check_aligned(address)
            .and_then(|()| futex::wake(address, scope, count(value).max(1), NonZeroU32::MAX)),
        Command::WakeBitset => {
            let bitset = bitset()?;
            check_aligned(address)?;
            futex::wake(address, scope, count(value).max(1), bitset)
        }
        Command::Requeue | Command::CmpRequeue => {
            let expected = (command == Command::CmpRequeue).then_some(value3);
            let moved = timeout_or_value2 as u32;
            if (value as i32) < 0 || (moved as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            check_aligned(address).and_then(|()| check_aligned(address2))?;
            let done = futex::requeue(address, address2, scope, value as usize, moved as usize, expected)?;
            Ok(done.woken + done.moved)
        }
        Command::WakeOp => {
            let operation = WakeOp::decode(value3)?;
            check_aligned(address).and_then(|()| check_aligned(address2))?;
            futex::wake_op(
                address,
                address2,
                scope,
                count(value).max(1),
                count(timeout_or_value2 as u32).max(1),
                operation,
            )
        }
        _ => {
            crate::refuse_once!("futex operation {command:?} is not offered: ENOSYS");
            Err(Errno::ENOSYS)
        }
    }
}

fn wait(
    address: UserPtr<u32>,
    scope: Scope,
    value: u32,
    bitset: NonZeroU32,
    deadline_ns: Option<u64>,
) -> Result {
    check_aligned(address)?;
    match futex::wait(address, scope, value, bitset, deadline_ns) {
        Ok(()) => Ok(0),
        // With a relative timeout the call must not begin again with all of it, and Linux treats both kinds
        // alike: a wait with a timeout is never made again after a handler has run, SA_RESTART or not.
        Err(Errno::ERESTARTSYS) if deadline_ns.is_some() => {
            *task::current().restart.lock() =
                Some(alloc::boxed::Box::new(move || wait(address, scope, value, bitset, deadline_ns)));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        Err(error) => Err(error),
    }
}

fn read_timeout(address: u64) -> core::result::Result<Option<u64>, Errno> {
    UserPtr::<Timespec>::new(address).non_null().map(|timeout| timeout.read()?.to_ns()).transpose()
}

fn check_aligned(address: UserPtr<u32>) -> core::result::Result<(), Errno> {
    if !address.address().is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if address.address() >= crate::arch::layout::USER_END { Err(Errno::EFAULT) } else { Ok(()) }
}

/// `set_robust_list(2)`.
pub fn sys_set_robust_list(head: u64, len: usize) -> Result {
    if len != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    task::current().robust_list.store(head, core::sync::atomic::Ordering::Relaxed);
    Ok(0)
}

/// `get_robust_list(2)`.
pub fn sys_get_robust_list(tid: i32, head: UserPtr<u64>, len: UserPtr<usize>) -> Result {
    let thread = task::thread_or_current(tid).map_err(|_| Errno::ESRCH)?;
    len.write(size_of::<RobustListHead>())?;
    head.write(thread.robust_list.load(core::sync::atomic::Ordering::Relaxed))?;
    Ok(0)
}
