//! Timers that send signals.

use ipc::posix_timer::{Notification, Recipient};
use linux_abi::{
    Errno,
    signal::{SigVal, Signal},
    time::{Clock, IntervalTimer, Itimerspec, Itimerval, TimerFlags, Timeval},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Result;
use crate::{ipc::TIMERS, task, user::UserPtr};

/// `struct sigevent` up to what the kernel reads of it (uapi `asm-generic/siginfo.h`); it is 64 bytes long.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigEvent {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    pad: i32,
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

fn decode_event(event: SigEvent) -> core::result::Result<Notification, Errno> {
    let to = match event.notify {
        SIGEV_NONE => return Ok(Notification::None),
        // glibc makes the thread of SIGEV_THREAD itself; to the kernel that is a signal like any other.
        SIGEV_SIGNAL | SIGEV_THREAD => Recipient::Process,
        SIGEV_THREAD_ID => {
            let tid = u32::try_from(event.tid).map_err(|_| Errno::EINVAL)?;
            task::thread(tid).ok_or(Errno::EINVAL)?;
            Recipient::Thread(tid)
        }
        _ => return Err(Errno::EINVAL),
    };
    let signal = u32::try_from(event.signal).ok().and_then(Signal::new).ok_or(Errno::EINVAL)?;
    Ok(Notification::Signal { to, signal, value: SigVal(event.value) })
}

/// `timer_create(2)`. Without an event it is `SIGALRM` with the timer's id.
pub fn sys_timer_create(clock: i32, event: UserPtr<SigEvent>, id: UserPtr<i32>) -> Result {
    let asked = event.non_null().map(|event| decode_event(event.read()?)).transpose()?;
    let notification = |id: i32| {
        let by_default = Notification::Signal {
            to: Recipient::Process,
            signal: Signal::SIGALRM,
            value: SigVal(id as u64),
        };
        asked.unwrap_or(by_default)
    };
    let created = TIMERS.create(Clock::from_raw(clock)?, task::current().tid, notification)?;
    if let Err(error) = id.write(created) {
        TIMERS.delete(created)?;
        return Err(error);
    }
    Ok(0)
}

/// `timer_settime(2)`; flags other than `TIMER_ABSTIME` are ignored, as on Linux.
pub fn sys_timer_settime(id: i32, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>) -> Result {
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let former = TIMERS.set(id, TimerFlags::from_bits_truncate(flags), new.read()?)?;
    old.write_if_some(former)?;
    Ok(0)
}

/// `timer_gettime(2)`.
pub fn sys_timer_gettime(id: i32, into: UserPtr<Itimerspec>) -> Result {
    into.write(TIMERS.get(id)?)?;
    Ok(0)
}

/// `timer_getoverrun(2)`.
pub fn sys_timer_getoverrun(id: i32) -> Result {
    Ok(TIMERS.overrun(id)? as usize)
}

/// `timer_delete(2)`.
pub fn sys_timer_delete(id: i32) -> Result {
    TIMERS.delete(id)?;
    Ok(0)
}

fn setting_of((value_ns, interval_ns): (u64, u64)) -> Itimerval {
    // Less than a microsecond is not nothing.
    let value_ns = if value_ns == 0 { 0 } else { value_ns.max(1000) };
    Itimerval { interval: Timeval::from_ns(interval_ns), value: Timeval::from_ns(value_ns) }
}

/// `setitimer(2)`. A null setting disarms, as on Linux.
pub fn sys_setitimer(which: u32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>) -> Result {
    let new = new.non_null().map_or(Ok(Itimerval::default()), UserPtr::read)?;
    let (value_ns, interval_ns) = (new.value.to_ns()?, new.interval.to_ns()?);
    let which = IntervalTimer::from_raw(which).ok_or(Errno::EINVAL)?;
    let former = TIMERS.set_interval(which, value_ns, interval_ns);
    old.write_if_some(setting_of(former))?;
    Ok(0)
}

/// `getitimer(2)`.
pub fn sys_getitimer(which: u32, into: UserPtr<Itimerval>) -> Result {
    let which = IntervalTimer::from_raw(which).ok_or(Errno::EINVAL)?;
    into.write(setting_of(TIMERS.interval(which)))?;
    Ok(0)
}

/// `alarm(2)`: returns the seconds that were left, rounded, but not to 0.
pub fn sys_alarm(seconds: u32) -> Result {
    const SECOND_NS: u64 = 1_000_000_000;
    let (left_ns, _) = TIMERS.set_interval(IntervalTimer::Real, u64::from(seconds) * SECOND_NS, 0);
    let (whole, rest_ns) = (left_ns / SECOND_NS, left_ns % SECOND_NS);
    let rounds_up = (whole == 0 && rest_ns > 0) || rest_ns >= SECOND_NS / 2;
    Ok((whole + u64::from(rounds_up)) as usize)
}
