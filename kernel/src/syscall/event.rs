//! Event counters, timers and signals that are files.

use alloc::sync::Arc;

use ipc::{
    eventfd::{EventFd, Take},
    signalfd::SignalFd,
    timerfd::TimerFd,
};
use linux_abi::{
    Errno,
    event::{EventfdFlags, SignalfdFlags, TimerfdFlags},
    file::OpenFlags,
    signal::SigSet,
    time::{Clock, Itimerspec, TimerFlags},
};
use vfs::AccessMode;

use super::Result;
use crate::{
    ipc::{SignalQueues, install, open_file},
    user::UserPtr,
};

/// `eventfd(2)`, the call without flags.
pub fn sys_eventfd(initial: u32) -> Result {
    sys_eventfd2(initial, 0)
}

/// `eventfd(2)`.
pub fn sys_eventfd2(initial: u32, flags: u32) -> Result {
    let flags = EventfdFlags::from_raw(flags)?;
    let take = if flags.contains(EventfdFlags::SEMAPHORE) { Take::One } else { Take::All };
    let status = flags.difference(EventfdFlags::SEMAPHORE).bits();
    let file = Arc::new(EventFd::new(initial, take));
    Ok(install(file, AccessMode::ReadWrite, OpenFlags::from_bits_retain(status))? as usize)
}

/// `timerfd_create(2)`.
pub fn sys_timerfd_create(clock: i32, flags: u32) -> Result {
    let flags = TimerfdFlags::from_raw(flags)?;
    let file = TimerFd::new(Clock::from_raw(clock)?)?;
    Ok(install(file, AccessMode::ReadWrite, OpenFlags::from_bits_retain(flags.bits()))? as usize)
}

fn with_timer<T>(
    fd: i32,
    act: impl FnOnce(&TimerFd) -> core::result::Result<T, Errno>,
) -> core::result::Result<T, Errno> {
    let open = open_file(fd)?;
    act(open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?)
}

/// `timerfd_settime(2)`.
pub fn sys_timerfd_settime(
    fd: i32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> Result {
    let new = new.read()?;
    let flags = TimerFlags::from_raw(flags)?;
    let former = with_timer(fd, |timer| timer.set(flags, new))?;
    old.write_if_some(former)?;
    Ok(0)
}

/// `timerfd_gettime(2)`.
pub fn sys_timerfd_gettime(fd: i32, into: UserPtr<Itimerspec>) -> Result {
    into.write(with_timer(fd, |timer| Ok(timer.get()))?)?;
    Ok(0)
}

/// `signalfd(2)`, the call without flags.
pub fn sys_signalfd(fd: i32, mask: UserPtr<u64>, mask_size: usize) -> Result {
    sys_signalfd4(fd, mask, mask_size, 0)
}

/// `signalfd(2)`: makes a file, or changes the mask of one.
pub fn sys_signalfd4(fd: i32, mask: UserPtr<u64>, mask_size: usize, flags: u32) -> Result {
    if mask_size != size_of::<SigSet>() {
        return Err(Errno::EINVAL);
    }
    let mask = SigSet::from_bits(mask.read()?);
    let flags = SignalfdFlags::from_raw(flags)?;
    if fd == -1 {
        let file = Arc::new(SignalFd::new(mask, Arc::new(SignalQueues)));
        return Ok(install(file, AccessMode::ReadWrite, OpenFlags::from_bits_retain(flags.bits()))? as usize);
    }
    let open = open_file(fd)?;
    let file: &SignalFd = open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    file.set_mask(mask);
    Ok(fd as usize)
}
