//! Epoll.

use ipc::epoll::{Epoll, Target};
use linux_abi::{
    Errno,
    event::{EpollCreateFlags, EpollEvent, EpollOp},
    file::OpenFlags,
    time::Timespec,
};
use vfs::AccessMode;

use super::{
    Result,
    poll::{MaskedCall, deadline_in_ms, deadline_of},
};
use crate::{
    ipc::{install, open_file},
    user::{UserPtr, UserSlice},
};

/// The most events that one call is asked for (`EP_MAX_EVENTS` in `fs/eventpoll.c`).
const MAX_EVENTS: usize = i32::MAX as usize / size_of::<EpollEvent>();

/// `epoll_create(2)`: the size means nothing but must be positive.
pub fn sys_epoll_create(size: i32) -> Result {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    sys_epoll_create1(0)
}

/// `epoll_create1(2)`.
pub fn sys_epoll_create1(flags: u32) -> Result {
    let flags = EpollCreateFlags::from_raw(flags)?;
    Ok(install(Epoll::new(), AccessMode::ReadWrite, OpenFlags::from_bits_retain(flags.bits()))? as usize)
}

/// `epoll_ctl(2)`.
pub fn sys_epoll_ctl(epoll: i32, operation: u32, fd: i32, event: UserPtr<EpollEvent>) -> Result {
    let operation = EpollOp::from_raw(operation);
    // Linux reads the event for anything but a removal, also for an operation that there is not.
    let event = if operation == Some(EpollOp::Del) { None } else { Some(event.read()?) };
    let instance = open_file(epoll)?;
    let open = open_file(fd)?;
    open.file().pollee().ok_or(Errno::EPERM)?;
    let instance: &Epoll = instance.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    let target = Target { fd, file: open.file(), close_watch: open.close_watch() };
    match (operation, event) {
        (Some(EpollOp::Add), Some(event)) => instance.add(target, event)?,
        (Some(EpollOp::Mod), Some(event)) => instance.modify(target, event)?,
        (Some(EpollOp::Del), _) => instance.remove(target)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn wait(epoll: i32, events: UserPtr<EpollEvent>, max: i32, deadline_ns: Option<u64>) -> Result {
    let max = usize::try_from(max).ok().filter(|max| (1..=MAX_EVENTS).contains(max)).ok_or(Errno::EINVAL)?;
    UserSlice::new(events.address(), max * size_of::<EpollEvent>())?;
    let instance = open_file(epoll)?;
    let instance: &Epoll = instance.file().as_any().downcast_ref().ok_or(Errno::EINVAL)?;
    let mut place = events;
    instance.wait(max, deadline_ns, &mut |event| {
        place.write(event)?;
        place = place.add(1);
        Ok(())
    })
}

/// `epoll_wait(2)`.
pub fn sys_epoll_wait(epoll: i32, events: UserPtr<EpollEvent>, max: i32, timeout_ms: i32) -> Result {
    wait(epoll, events, max, deadline_in_ms(timeout_ms))
}

/// `epoll_pwait(2)`.
pub fn sys_epoll_pwait(
    epoll: i32,
    events: UserPtr<EpollEvent>,
    max: i32,
    timeout_ms: i32,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> Result {
    let deadline_ns = deadline_in_ms(timeout_ms);
    MaskedCall::begin(mask, mask_size)?.end(wait(epoll, events, max, deadline_ns))
}

/// `epoll_pwait2(2)`.
pub fn sys_epoll_pwait2(
    epoll: i32,
    events: UserPtr<EpollEvent>,
    max: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<u64>,
    mask_size: usize,
) -> Result {
    let deadline_ns = deadline_of(timeout)?;
    MaskedCall::begin(mask, mask_size)?.end(wait(epoll, events, max, deadline_ns))
}
