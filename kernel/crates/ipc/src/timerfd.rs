//! Timers that are files: `timerfd_create(2)`.
//!
//! `TimerFd::state` (a spin lock: the expiry comes in an interrupt) guards the setting; it is taken before
//! the timer's own lock. A periodic timer is armed for the first expiry that nobody has read, and again when
//! somebody has, so it costs nothing while nobody looks.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use ksync::{SpinLock, SpinLockGuard, Timer, TimerTarget};
use linux_abi::{
    Errno,
    time::{Clock, Itimerspec, MAX_NS, TimerFlags, Timespec},
};
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst};

use crate::{
    clock::{self, Base, RealtimeObserver},
    expiry::Expiry,
    io::put_exact,
};

/// A timer that is read.
pub struct TimerFd {
    clock: Base,
    state: SpinLock<State>,
    timer: Timer,
    pollee: Pollee,
}

struct State {
    /// The clock of the present setting: an interval on the real-time clock is one of real time, whatever
    /// that clock is set to, so it is counted on the monotonic one.
    base: Base,
    expiry: Option<Expiry>,
    /// As set last, also if the timer was disarmed.
    interval_ns: u64,
    cancel_on_set: bool,
    /// The clock was set under a timer that asked for it to be said.
    cancelled: bool,
}

/// Hands the expiry to a timer that may be gone.
struct Target(Weak<TimerFd>);

impl TimerTarget for Target {
    fn fire(&self) {
        if let Some(timer) = self.0.upgrade() {
            timer.fire();
        }
    }
}

impl TimerFd {
    /// Makes a disarmed timer. `EINVAL` for clocks that no timer can have. The clocks whose timers wake a
    /// sleeping machine are like the others, since this one never sleeps.
    pub fn new(clock: Clock) -> Result<Arc<Self>, Errno> {
        let clock = match clock {
            Clock::Monotonic | Clock::Boottime | Clock::BoottimeAlarm => Base::Monotonic,
            Clock::Realtime | Clock::RealtimeAlarm => Base::Realtime,
            _ => return Err(Errno::EINVAL),
        };
        let state =
            State { base: clock, expiry: None, interval_ns: 0, cancel_on_set: false, cancelled: false };
        let timer = Arc::new_cyclic(|timer: &Weak<Self>| Self {
            clock,
            state: SpinLock::new(state),
            timer: Timer::new(Arc::new(Target(timer.clone()))),
            pollee: Pollee::new(),
        });
        if clock == Base::Realtime {
            let observer: Weak<dyn RealtimeObserver> = Arc::<Self>::downgrade(&timer);
            clock::observe_realtime(observer);
        }
        Ok(timer)
    }

    /// Arms or disarms it and returns the old setting (`timerfd_settime(2)`). `EINVAL` for a time that is
    /// none, `ECANCELED` if the clock was set and that has not been read yet (the new setting holds all the
    /// same).
    pub fn set(&self, flags: TimerFlags, new: Itimerspec) -> Result<Itimerspec, Errno> {
        let (value_ns, interval_ns) = (new.value.to_ns()?, new.interval.to_ns()?);
        let absolute = flags.contains(TimerFlags::ABSTIME);
        let mut state = self.state.lock();
        let old = state.setting();
        state.cancel_on_set =
            absolute && self.clock == Base::Realtime && flags.contains(TimerFlags::CANCEL_ON_SET);
        state.base = if absolute { self.clock } else { Base::Monotonic };
        state.interval_ns = interval_ns;
        state.expiry = (value_ns > 0).then(|| {
            let start_ns = if absolute { 0 } else { state.base.now_ns() };
            Expiry { next_ns: start_ns.saturating_add(value_ns).min(MAX_NS), interval_ns }
        });
        let cancelled = core::mem::take(&mut state.cancelled);
        self.rearm(&state);
        if cancelled { Err(Errno::ECANCELED) } else { Ok(old) }
    }

    /// The setting: time to the next expiry, and period (`timerfd_gettime(2)`).
    pub fn get(&self) -> Itimerspec {
        self.state.lock().setting()
    }

    fn rearm(&self, state: &SpinLockGuard<'_, State>) {
        match &state.expiry {
            Some(expiry) => self.timer.arm(state.base.to_monotonic_ns(expiry.next_ns)),
            None => self.timer.cancel(),
        };
    }

    fn fire(&self) {
        let due = {
            let state = self.state.lock();
            let due = state.is_due();
            if !due && state.expiry.is_some() {
                // The clock was set back, or the setting changed while this was on its way.
                self.rearm(&state);
            }
            due
        };
        if due {
            self.pollee.notify(PollEvents::IN);
        }
    }

    fn try_read(&self) -> Option<Result<u64, Errno>> {
        let mut state = self.state.lock();
        if core::mem::take(&mut state.cancelled) {
            return Some(Err(Errno::ECANCELED));
        }
        let (count, left) = state.expiry?.take(state.base.now_ns());
        if count == 0 {
            return None;
        }
        state.expiry = left;
        self.rearm(&state);
        Some(Ok(count))
    }
}

impl State {
    fn is_due(&self) -> bool {
        self.cancelled || self.expiry.is_some_and(|expiry| expiry.count(self.base.now_ns()) > 0)
    }

    fn setting(&self) -> Itimerspec {
        let remaining_ns = self.expiry.map_or(0, |expiry| expiry.remaining_ns(self.base.now_ns()));
        Itimerspec { interval: Timespec::from_ns(self.interval_ns), value: Timespec::from_ns(remaining_ns) }
    }
}

impl RealtimeObserver for TimerFd {
    fn realtime_was_set(&self) {
        let due = {
            let mut state = self.state.lock();
            if state.base != Base::Realtime || state.expiry.is_none() && !state.cancel_on_set {
                return;
            }
            state.cancelled |= state.cancel_on_set;
            self.rearm(&state);
            state.is_due()
        };
        if due {
            self.pollee.notify(PollEvents::IN);
        }
    }
}

impl File for TimerFd {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        if dst.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let count = match blocking {
            Blocking::No => self.try_read().ok_or(Errno::EAGAIN)?,
            Blocking::Yes => self.pollee.wait(None, || self.try_read())?,
        }?;
        put_exact(dst, &count.to_ne_bytes())
    }

    fn poll(&self) -> PollEvents {
        if self.state.lock().is_due() { PollEvents::IN } else { PollEvents::empty() }
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pollee)
    }

    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:[timerfd]".to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use ksync::platform;

    use super::*;

    const MS: u64 = 1_000_000;

    fn setting(value_ns: u64, interval_ns: u64) -> Itimerspec {
        Itimerspec { interval: Timespec::from_ns(interval_ns), value: Timespec::from_ns(value_ns) }
    }

    fn read(timer: &TimerFd, blocking: Blocking) -> Result<u64, Errno> {
        let mut buffer = [0; 8];
        timer.read_at(0, &mut &mut buffer[..], blocking)?;
        Ok(u64::from_ne_bytes(buffer))
    }

    #[test]
    fn only_some_clocks_have_timers() {
        assert_eq!(TimerFd::new(Clock::ProcessCpu).err(), Some(Errno::EINVAL));
        assert_eq!(TimerFd::new(Clock::MonotonicCoarse).err(), Some(Errno::EINVAL));
        assert!(TimerFd::new(Clock::Boottime).is_ok());
        assert!(TimerFd::new(Clock::BoottimeAlarm).is_ok());
    }

    #[test]
    fn expires_once() {
        let timer = TimerFd::new(Clock::Monotonic).unwrap();
        assert_eq!(read(&timer, Blocking::No), Err(Errno::EAGAIN));
        assert_eq!(timer.set(TimerFlags::empty(), setting(3_600_000 * MS, 0)), Ok(setting(0, 0)));
        assert!(timer.get().value.sec >= 3590);
        let started_ns = platform::now_ns();
        timer.set(TimerFlags::empty(), setting(3 * MS, 0)).unwrap();
        assert_eq!(read(&timer, Blocking::Yes), Ok(1));
        assert!(platform::now_ns() >= started_ns + 3 * MS);
        assert_eq!((read(&timer, Blocking::No), timer.get()), (Err(Errno::EAGAIN), setting(0, 0)));
    }

    #[test]
    fn missed_periods_are_counted_at_the_read() {
        let timer = TimerFd::new(Clock::Monotonic).unwrap();
        let start_ns = platform::now_ns();
        timer.set(TimerFlags::ABSTIME, setting(start_ns + MS, MS)).unwrap();
        thread::sleep(Duration::from_millis(20));
        assert_eq!(timer.poll(), PollEvents::IN);
        let least = (platform::now_ns() - start_ns) / MS;
        let first = read(&timer, Blocking::No).unwrap();
        assert!(first >= least);
        let second = read(&timer, Blocking::Yes).unwrap();
        assert!((first + second) * MS <= platform::now_ns() - start_ns);
        assert!(timer.get().value.nsec > 0);
    }

    #[test]
    fn an_absolute_time_in_the_past_expires_at_once_on_either_clock() {
        for clock in [Clock::Realtime, Clock::Monotonic] {
            let timer = TimerFd::new(clock).unwrap();
            timer.set(TimerFlags::ABSTIME, setting(1, 0)).unwrap();
            assert_eq!(read(&timer, Blocking::Yes), Ok(1));
        }
    }

    #[test]
    fn disarming_forgets_what_had_expired() {
        let timer = TimerFd::new(Clock::Monotonic).unwrap();
        timer.set(TimerFlags::ABSTIME, setting(1, 1)).unwrap();
        timer.set(TimerFlags::empty(), setting(0, 5)).unwrap();
        assert_eq!((timer.poll(), read(&timer, Blocking::No)), (PollEvents::empty(), Err(Errno::EAGAIN)));
        assert_eq!(timer.get(), setting(0, 5));
        let bad = Itimerspec { value: Timespec { sec: 0, nsec: 1_000_000_000 }, ..Itimerspec::default() };
        assert_eq!(timer.set(TimerFlags::empty(), bad), Err(Errno::EINVAL));
    }

    #[test]
    fn setting_the_clock_cancels_those_that_asked_for_it() {
        let far_ns = platform::realtime_ns() + 3_600_000 * MS;
        let flags = TimerFlags::ABSTIME | TimerFlags::CANCEL_ON_SET;
        let asked = TimerFd::new(Clock::Realtime).unwrap();
        asked.set(flags, setting(far_ns, 0)).unwrap();
        let silent = TimerFd::new(Clock::Realtime).unwrap();
        silent.set(TimerFlags::ABSTIME, setting(far_ns, 0)).unwrap();
        let reader = thread::spawn({
            let asked = asked.clone();
            move || read(&asked, Blocking::Yes)
        });
        thread::sleep(Duration::from_millis(2));
        clock::realtime_was_set();
        assert_eq!(reader.join().unwrap(), Err(Errno::ECANCELED));
        assert_eq!(silent.poll(), PollEvents::empty());
        clock::realtime_was_set();
        assert_eq!(asked.poll(), PollEvents::IN);
        assert_eq!(asked.set(flags, setting(far_ns, 0)), Err(Errno::ECANCELED));
        assert_eq!(read(&asked, Blocking::No), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_dropped_timer_is_gone() {
        let timer = TimerFd::new(Clock::Realtime).unwrap();
        timer.set(TimerFlags::empty(), setting(MS, MS)).unwrap();
        let weak = Arc::downgrade(&timer);
        drop(timer);
        thread::sleep(Duration::from_millis(3));
        assert!(weak.upgrade().is_none());
    }
}
