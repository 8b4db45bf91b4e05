//! Timers that send signals: `timer_create(2)`, `setitimer(2)`, `alarm(2)`.
//!
//! Responsible for when they expire, how often they did while their signal waited (overruns), and their
//! settings. Not for queueing signals, which is behind [`SignalSink`]: it tells [`Timers::signal_taken`] of
//! each signal that leaves a queue, for only then a periodic timer is armed again. So a period of a
//! nanosecond costs no more than the handler of its signal.
//!
//! Locks: `Timers::by_id` (spin) guards the table, `SignalTimer::state` (spin) one timer; they are never held
//! together, and neither while a signal is sent, so `signal_taken` may be called under the locks of
//! the signals' queues.

mod clocks;

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use ksync::{SpinLock, Timer, TimerTarget, platform};
use linux_abi::{
    Errno,
    signal::{SigInfo, SigVal, Signal, code},
    time::{Clock, IntervalTimer, Itimerspec, MAX_NS, TimerFlags, Timespec},
};

pub use clocks::{Clocks, CpuTime};

use crate::{
    clock::{self, RealtimeObserver},
    expiry::Expiry,
};
use clocks::TimerClock;

/// How long a timer whose signal nobody wants lets the machine rest at least, whatever its period: Linux
/// takes one tick.
const REST_NS: u64 = 4_000_000;

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Any thread of the process.
    Process,
    /// The thread with this id.
    Thread(u32),
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits with its information, and [`Timers::signal_taken`] will be told when it is taken.
    Queued,
    /// It is ignored, was pending already, or the thread is gone: nothing more will be heard of it.
    Dropped,
}

/// The queues of signals.
pub trait SignalSink: Send + Sync {
    /// Queues a signal. Callable from interrupts.
    fn send(&self, to: Recipient, signal: Signal, info: SigInfo) -> Sent;
}

/// What a timer does when it expires (`sigevent(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Nothing: it is only looked at (`SIGEV_NONE`).
    None,
    /// It sends a signal, with a value.
    Signal {
        /// To whom.
        to: Recipient,
        /// Which.
        signal: Signal,
        /// `si_value`.
        value: SigVal,
    },
}

/// What all timers of a process share.
struct Services {
    sink: alloc::boxed::Box<dyn SignalSink>,
    clocks: alloc::boxed::Box<dyn Clocks>,
}

/// How the signal of a timer looks.
#[derive(Clone, Copy)]
enum Origin {
    /// `SI_TIMER` with the timer's id.
    Posix(i32),
    /// `SI_KERNEL`.
    Interval,
}

struct SignalTimer {
    services: Arc<Services>,
    clock: TimerClock,
    origin: Origin,
    notification: Notification,
    state: SpinLock<State>,
    timer: Timer,
}

struct State {
    /// Of the present setting: an interval on the real-time clock is counted on the monotonic one.
    clock: TimerClock,
    expiry: Option<Expiry>,
    interval_ns: u64,
    /// The signal of the first expiry waits in a queue; the timer is not armed.
    waits_to_be_taken: bool,
    overrun: i32,
}

struct Target(Weak<SignalTimer>);

impl TimerTarget for Target {
    fn fire(&self) {
        if let Some(timer) = self.0.upgrade() {
            timer.fire();
        }
    }
}

impl SignalTimer {
    fn new(
        services: &Arc<Services>,
        clock: TimerClock,
        origin: Origin,
        notification: Notification,
    ) -> Arc<Self> {
        let state = State { clock, expiry: None, interval_ns: 0, waits_to_be_taken: false, overrun: 0 };
        let timer = Arc::new_cyclic(|this: &Weak<Self>| Self {
            services: services.clone(),
            clock,
            origin,
            notification,
            state: SpinLock::new(state),
            timer: Timer::new(Arc::new(Target(this.clone()))),
        });
        if clock.can_be_set() {
            let observer: Weak<dyn RealtimeObserver> = Arc::<Self>::downgrade(&timer);
            clock::observe_realtime(observer);
        }
        timer
    }

    fn now_ns(&self, clock: TimerClock) -> u64 {
        clock.now_ns(&*self.services.clocks)
    }

    /// Arms for the next expiry, if there is one and somebody to tell.
    fn rearm(&self, state: &State, not_before_ns: u64) {
        match (&state.expiry, self.notification) {
            (Some(expiry), Notification::Signal { .. }) if !state.waits_to_be_taken => {
                let deadline_ns = state.clock.to_monotonic_ns(expiry.next_ns, &*self.services.clocks);
                self.timer.arm(deadline_ns.max(not_before_ns));
            }
            _ => {
                self.timer.cancel();
            }
        }
    }

    fn fire(&self) {
        let Notification::Signal { to, signal, value } = self.notification else { return };
        {
            let mut state = self.state.lock();
            let Some(expiry) = state.expiry.filter(|_| !state.waits_to_be_taken) else { return };
            if expiry.count(self.now_ns(state.clock)) == 0 {
                // The setting changed, the clock was set back, or not so much processor time was used.
                self.rearm(&state, 0);
                return;
            }
            state.waits_to_be_taken = true;
        }
        let info = match self.origin {
            Origin::Posix(id) => SigInfo::timer(signal, id, 0, value),
            Origin::Interval => SigInfo::kernel(signal),
        };
        if self.services.sink.send(to, signal, info) == Sent::Dropped {
            self.go_on(platform::now_ns() + REST_NS);
        }
    }

    /// The signal has been taken: counts what expired and arms for what comes. Returns the overruns.
    fn go_on(&self, not_before_ns: u64) -> i32 {
        let mut state = self.state.lock();
        if !core::mem::take(&mut state.waits_to_be_taken) {
            // The timer has been set anew since that signal.
            return 0;
        }
        let Some(expiry) = state.expiry else { return 0 };
        let (count, left) = expiry.take(self.now_ns(state.clock));
        state.expiry = left;
        state.overrun = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
        self.rearm(&state, not_before_ns);
        state.overrun
    }

    fn set(&self, flags: TimerFlags, value_ns: u64, interval_ns: u64) -> (u64, u64) {
        let absolute = flags.contains(TimerFlags::ABSTIME);
        let mut state = self.state.lock();
        let old = self.setting(&state);
        state.clock = if absolute { self.clock } else { self.clock.for_intervals() };
        let start_ns = if absolute { 0 } else { self.now_ns(state.clock) };
        state.expiry = (value_ns > 0)
            .then(|| Expiry { next_ns: start_ns.saturating_add(value_ns).min(MAX_NS), interval_ns });
        state.interval_ns = interval_ns;
        state.waits_to_be_taken = false;
        state.overrun = 0;
        self.rearm(&state, 0);
        old
    }

    /// Time to the next expiry, and period.
    fn setting(&self, state: &State) -> (u64, u64) {
        let remaining_ns = state.expiry.map_or(0, |expiry| expiry.remaining_ns(self.now_ns(state.clock)));
        (remaining_ns, state.interval_ns)
    }

    fn get(&self) -> (u64, u64) {
        self.setting(&self.state.lock())
    }
}

impl RealtimeObserver for SignalTimer {
    fn realtime_was_set(&self) {
        let state = self.state.lock();
        if state.clock.can_be_set() {
            self.rearm(&state, 0);
        }
    }
}

/// The timers of the process.
pub struct Timers {
    services: Arc<Services>,
    by_id: SpinLock<Table>,
    intervals: [Arc<SignalTimer>; 3],
}

#[derive(Default)]
struct Table {
    timers: BTreeMap<i32, Arc<SignalTimer>>,
    next_id: i32,
}

fn setting_of((value_ns, interval_ns): (u64, u64)) -> Itimerspec {
    Itimerspec { interval: Timespec::from_ns(interval_ns), value: Timespec::from_ns(value_ns) }
}

impl Timers {
    /// Makes the timers of a process: none yet, and its three interval timers.
    pub fn new(sink: impl SignalSink + 'static, clocks: impl Clocks + 'static) -> Self {
        let services =
            Arc::new(Services { sink: alloc::boxed::Box::new(sink), clocks: alloc::boxed::Box::new(clocks) });
        let interval = |clock, signal| {
            let value = SigVal::default();
            let notification = Notification::Signal { to: Recipient::Process, signal, value };
            SignalTimer::new(&services, clock, Origin::Interval, notification)
        };
        // All processor time counts as the application's, as in `times(2)`.
        let cpu = TimerClock::Cpu(CpuTime::Process);
        let intervals = [
            interval(TimerClock::MONOTONIC, Signal::SIGALRM),
            interval(cpu, Signal::SIGVTALRM),
            interval(cpu, Signal::SIGPROF),
        ];
        Self { services, by_id: SpinLock::default(), intervals }
    }

    /// `timer_create(2)`; `notification` makes the notification of the timer with the given id. `EINVAL` for
    /// a clock that there is not, `EOPNOTSUPP` for one that has no timers, `EPERM` for one that would wake a
    /// sleeping machine. `caller` is the calling thread's id.
    pub fn create(
        &self,
        clock: Clock,
        caller: u32,
        notification: impl FnOnce(i32) -> Notification,
    ) -> Result<i32, Errno> {
        let clock = TimerClock::new(clock, caller, &*self.services.clocks)?;
        let id = {
            let mut table = self.by_id.lock();
            let id = table.next_id;
            // 2^31 timers later the first ids come again; those still in use are passed over.
            let next = (1..).map(|step: i32| id.wrapping_add(step) & i32::MAX);
            table.next_id =
                next.into_iter().find(|id| !table.timers.contains_key(id)).ok_or(Errno::EAGAIN)?;
            id
        };
        let timer = SignalTimer::new(&self.services, clock, Origin::Posix(id), notification(id));
        self.by_id.lock().timers.insert(id, timer);
        Ok(id)
    }

    fn find(&self, id: i32) -> Result<Arc<SignalTimer>, Errno> {
        self.by_id.lock().timers.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// `timer_settime(2)`: sets it and returns the old setting.
    pub fn set(&self, id: i32, flags: TimerFlags, new: Itimerspec) -> Result<Itimerspec, Errno> {
        let (value_ns, interval_ns) = (new.value.to_ns()?, new.interval.to_ns()?);
        Ok(setting_of(self.find(id)?.set(flags, value_ns, interval_ns)))
    }

    /// `timer_gettime(2)`.
    pub fn get(&self, id: i32) -> Result<Itimerspec, Errno> {
        Ok(setting_of(self.find(id)?.get()))
    }

    /// `timer_getoverrun(2)`.
    pub fn overrun(&self, id: i32) -> Result<i32, Errno> {
        Ok(self.find(id)?.state.lock().overrun)
    }

    /// `timer_delete(2)`.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.by_id.lock().timers.remove(&id).ok_or(Errno::EINVAL)?;
        timer.set(TimerFlags::empty(), 0, 0);
        Ok(())
    }

    /// `setitimer(2)`: sets it and returns the old setting.
    pub fn set_interval(&self, which: IntervalTimer, value_ns: u64, interval_ns: u64) -> (u64, u64) {
        self.intervals[which as usize].set(TimerFlags::empty(), value_ns, interval_ns)
    }

    /// `getitimer(2)`: time to the next expiry, and period.
    pub fn interval(&self, which: IntervalTimer) -> (u64, u64) {
        self.intervals[which as usize].get()
    }

    /// To be told of each signal that is taken from a queue: fills in the overruns of a timer's signal.
    pub fn signal_taken(&self, info: &mut SigInfo) {
        match info.code {
            code::SI_TIMER => {
                let id = info.pid() as i32;
                let timer = self.by_id.lock().timers.get(&id).cloned();
                if let (Some(timer), Some(signal)) = (timer, info.signal()) {
                    let overrun = timer.go_on(0);
                    *info = SigInfo::timer(signal, id, overrun, info.value());
                }
            }
            code::SI_KERNEL => {
                let which = match info.signal() {
                    Some(Signal::SIGALRM) => IntervalTimer::Real,
                    Some(Signal::SIGVTALRM) => IntervalTimer::Virtual,
                    Some(Signal::SIGPROF) => IntervalTimer::Prof,
                    _ => return,
                };
                self.intervals[which as usize].go_on(0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
