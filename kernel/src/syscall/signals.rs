//! Signal calls.

use linux_abi::{
    Errno,
    signal::{How, SigAction, SigInfo, SigSet, Signal, StackT, code},
    time::Timespec,
};

use super::{Result, thread::in_process};
use crate::{
    arch::clock,
    signal,
    task::{self, PID},
    user::UserPtr,
};

/// Bytes of a signal set: every call is told, and takes no other.
const SET_SIZE: usize = size_of::<u64>();

fn check_set_size(size: usize) -> core::result::Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

fn read_set(set: UserPtr<u64>) -> core::result::Result<SigSet, Errno> {
    set.read().map(SigSet::from_bits)
}

/// The signal with this number; `EINVAL` if there is none. `None` for 0, which only asks whether a signal
/// could be sent.
fn decode(number: u32) -> core::result::Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { Signal::new(number).map(Some).ok_or(Errno::EINVAL) }
}

/// `rt_sigaction(2)`.
pub fn sys_rt_sigaction(
    number: u32,
    new: UserPtr<SigAction>,
    old: UserPtr<SigAction>,
    set_size: usize,
) -> Result {
    check_set_size(set_size)?;
    let new = new.non_null().map(UserPtr::read).transpose()?;
    let number = Signal::new(number).ok_or(Errno::EINVAL)?;
    let former = match new {
        Some(action) => signal::set_action(number, action)?,
        None => signal::action(number),
    };
    old.write_if_some(former)?;
    Ok(0)
}

/// `rt_sigprocmask(2)`.
pub fn sys_rt_sigprocmask(how: u32, set: UserPtr<u64>, old: UserPtr<u64>, set_size: usize) -> Result {
    check_set_size(set_size)?;
    let former = signal::mask();
    if let Some(set) = set.non_null() {
        let set = read_set(set)?.blockable();
        let how = How::from_raw(how).ok_or(Errno::EINVAL)?;
        signal::set_mask(how.apply(former, set));
    }
    old.write_if_some(former.bits())?;
    Ok(0)
}

/// `rt_sigpending(2)`. Sets shorter than Linux's own are allowed here.
pub fn sys_rt_sigpending(set: UserPtr<u64>, set_size: usize) -> Result {
    if set_size > SET_SIZE {
        return Err(Errno::EINVAL);
    }
    set.cast::<u8>().write_slice(&signal::pending().bits().to_le_bytes()[..set_size])?;
    Ok(0)
}

/// `rt_sigsuspend(2)`.
pub fn sys_rt_sigsuspend(set: UserPtr<u64>, set_size: usize) -> Result {
    check_set_size(set_size)?;
    signal::set_mask_for_call(read_set(set)?);
    wait_for_handler()
}

/// `pause(2)`.
pub fn sys_pause() -> Result {
    wait_for_handler()
}

/// Waits until a signal is delivered, and goes on waiting unless it had a handler.
fn wait_for_handler() -> Result {
    let _ = signal::wait_undisturbed(None, || None::<()>);
    Err(Errno::ERESTARTNOHAND)
}

/// `rt_sigtimedwait(2)`.
pub fn sys_rt_sigtimedwait(
    set: UserPtr<u64>,
    info: UserPtr<SigInfo>,
    timeout: UserPtr<Timespec>,
    set_size: usize,
) -> Result {
    check_set_size(set_size)?;
    let wanted = read_set(set)?;
    let timeout_ns = timeout.non_null().map(|timeout| timeout.read()?.to_ns()).transpose()?;
    let deadline_ns = timeout_ns.map(|ns| clock::now_ns().saturating_add(ns));
    let taken = signal::wait_for(wanted, deadline_ns)?;
    info.write_if_some(taken)?;
    Ok(taken.signal().map_or(0, Signal::number) as usize)
}

/// `kill(2)`: this process, or all that may be signalled, which is this process too; -1 leaves out process 1,
/// as on Linux.
pub fn sys_kill(pid: i32, number: u32) -> Result {
    let number = decode(number)?;
    let group = PID as i32;
    if pid != PID as i32 && pid != 0 && pid != -group {
        return Err(Errno::ESRCH);
    }
    if let Some(number) = number {
        signal::send_to_process(number, SigInfo::kill(number, PID, 0))?;
    }
    Ok(0)
}

/// `tkill(2)`.
pub fn sys_tkill(tid: i32, number: u32) -> Result {
    sys_tgkill(PID as i32, tid, number)
}

/// `tgkill(2)`.
pub fn sys_tgkill(pid: i32, tid: i32, number: u32) -> Result {
    let thread = in_process(pid, tid)?;
    if let Some(number) = decode(number)? {
        signal::send_to_thread(&thread, number, SigInfo::tkill(number, PID, 0))?;
    }
    Ok(0)
}

/// What `rt_sigqueueinfo(2)` may claim: nobody but the kernel and `kill(2)` send with codes from 0 up, unless
/// to oneself.
fn read_info(number: u32, info: UserPtr<SigInfo>, to_self: bool) -> core::result::Result<SigInfo, Errno> {
    let mut info = info.read()?;
    info.signo = number as i32;
    if !to_self && (info.code >= 0 || info.code == code::SI_TKILL) { Err(Errno::EPERM) } else { Ok(info) }
}

/// `rt_sigqueueinfo(2)`.
pub fn sys_rt_sigqueueinfo(pid: i32, number: u32, info: UserPtr<SigInfo>) -> Result {
    let info = read_info(number, info, pid == PID as i32)?;
    let number = decode(number)?;
    if pid != PID as i32 {
        return Err(Errno::ESRCH);
    }
    if let Some(number) = number {
        signal::send_to_process(number, info)?;
    }
    Ok(0)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn sys_rt_tgsigqueueinfo(pid: i32, tid: i32, number: u32, info: UserPtr<SigInfo>) -> Result {
    let info = read_info(number, info, pid == PID as i32)?;
    let thread = in_process(pid, tid)?;
    if let Some(number) = decode(number)? {
        signal::send_to_thread(&thread, number, info)?;
    }
    Ok(0)
}

/// `sigaltstack(2)`.
pub fn sys_sigaltstack(new: UserPtr<StackT>, old: UserPtr<StackT>) -> Result {
    let new = new.non_null().map(UserPtr::read).transpose()?;
    let former = signal::alternate_stack(new, task::current().frame().rsp)?;
    old.write_if_some(former)?;
    Ok(0)
}
