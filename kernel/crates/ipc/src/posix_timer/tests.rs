use std::{
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::*;

const MS: u64 = 1_000_000;

#[derive(Default)]
struct World {
    sent: StdMutex<Vec<(Recipient, SigInfo)>>,
    ignores: std::sync::atomic::AtomicBool,
    cpu_ns: AtomicU64,
}

impl World {
    fn wait_for_signals(&self, count: usize) {
        while self.waiting() < count {
            thread::yield_now();
        }
    }

    fn waiting(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    fn take(&self) -> SigInfo {
        self.sent.lock().unwrap().remove(0).1
    }
}

#[derive(Clone)]
struct Handle(Arc<World>);

impl SignalSink for Handle {
    fn send(&self, to: Recipient, _signal: Signal, info: SigInfo) -> Sent {
        if self.0.ignores.load(SeqCst) {
            return Sent::Dropped;
        }
        self.0.sent.lock().unwrap().push((to, info));
        Sent::Queued
    }
}

impl Clocks for Handle {
    fn cpu_ns(&self, whose: CpuTime) -> Option<u64> {
        (whose != CpuTime::Thread(99)).then(|| self.0.cpu_ns.load(SeqCst))
    }

    fn cpu_count(&self) -> usize {
        2
    }

    fn process_id(&self) -> u32 {
        1
    }
}

fn timers() -> (Arc<World>, Timers) {
    let world = Arc::new(World::default());
    (world.clone(), Timers::new(Handle(world.clone()), Handle(world)))
}

fn spec(value_ns: u64, interval_ns: u64) -> Itimerspec {
    setting_of((value_ns, interval_ns))
}

fn to_process(id: i32) -> Notification {
    Notification::Signal { to: Recipient::Process, signal: Signal::SIGUSR1, value: SigVal(id as u64) }
}

const RELATIVE: TimerFlags = TimerFlags::empty();

#[test]
fn clocks_without_timers_are_refused() {
    let (_, timers) = timers();
    let create = |clock| timers.create(clock, 1, to_process);
    assert_eq!(create(Clock::MonotonicRaw), Err(Errno::EOPNOTSUPP));
    assert_eq!(create(Clock::BoottimeAlarm), Err(Errno::EPERM));
    assert_eq!(create(Clock::CpuOfThread(99, linux_abi::time::CpuClock::Sched)), Err(Errno::EINVAL));
    assert_eq!(
        [create(Clock::Monotonic), create(Clock::Tai), create(Clock::ThreadCpu)],
        [Ok(0), Ok(1), Ok(2)]
    );
    assert_eq!((timers.delete(1), timers.delete(1)), (Ok(()), Err(Errno::EINVAL)));
    assert_eq!(timers.get(1), Err(Errno::EINVAL));
    assert_eq!(create(Clock::Monotonic), Ok(3), "an id is not used again soon");
}

#[test]
fn one_signal_waits_and_the_rest_are_overruns() {
    let (world, timers) = timers();
    let id = timers.create(Clock::Monotonic, 1, to_process).unwrap();
    let start_ns = platform::now_ns();
    timers.set(id, TimerFlags::ABSTIME, spec(start_ns + MS, MS)).unwrap();
    world.wait_for_signals(1);
    thread::sleep(Duration::from_millis(12));
    assert_eq!(world.waiting(), 1);
    let least = (platform::now_ns() - start_ns) / MS - 1;
    let mut info = world.take();
    timers.signal_taken(&mut info);
    let most = (platform::now_ns() - start_ns) / MS - 1;
    assert!((least..=most).contains(&(info.overrun() as u64)));
    assert_eq!((info.pid(), info.value(), info.code), (id as u32, SigVal(id as u64), code::SI_TIMER));
    assert_eq!(timers.overrun(id), Ok(info.overrun()));
    world.wait_for_signals(1);
    // Taken notice of late again, and then set anew: the old signal means nothing.
    timers.set(id, RELATIVE, spec(3_600_000 * MS, 0)).unwrap();
    let mut info = world.take();
    timers.signal_taken(&mut info);
    assert_eq!(info.overrun(), 0);
    assert!(timers.get(id).unwrap().value.sec > 3500);
}

#[test]
fn a_timer_that_only_is_looked_at() {
    let (world, timers) = timers();
    let id = timers.create(Clock::Realtime, 1, |_| Notification::None).unwrap();
    timers.set(id, RELATIVE, spec(MS, 10 * MS)).unwrap();
    thread::sleep(Duration::from_millis(3));
    let left = timers.get(id).unwrap();
    assert!(left.value.nsec > 0 && left.value.nsec <= 10 * MS as i64);
    timers.set(id, RELATIVE, spec(MS, 0)).unwrap();
    thread::sleep(Duration::from_millis(2));
    assert_eq!(timers.get(id), Ok(spec(0, 0)));
    assert_eq!(world.waiting(), 0);
}

#[test]
fn an_ignored_signal_lets_the_machine_rest() {
    let (world, timers) = timers();
    world.ignores.store(true, SeqCst);
    let id = timers.create(Clock::Monotonic, 1, to_process).unwrap();
    timers.set(id, RELATIVE, spec(1, 1)).unwrap();
    thread::sleep(Duration::from_millis(3));
    world.ignores.store(false, SeqCst);
    world.wait_for_signals(1);
}

#[test]
fn interval_timers_send_their_signals_and_go_on_when_taken() {
    let (world, timers) = timers();
    assert_eq!(timers.set_interval(IntervalTimer::Real, MS, MS), (0, 0));
    for _ in 0..3 {
        world.wait_for_signals(1);
        let mut info = world.take();
        assert_eq!((info.signal(), info.code), (Some(Signal::SIGALRM), code::SI_KERNEL));
        timers.signal_taken(&mut info);
    }
    let (left_ns, interval_ns) = timers.set_interval(IntervalTimer::Real, 0, 0);
    assert!(left_ns <= MS && interval_ns == MS);
    assert_eq!(timers.interval(IntervalTimer::Real), (0, 0));
}

#[test]
fn processor_time_is_waited_for() {
    let (world, timers) = timers();
    timers.set_interval(IntervalTimer::Prof, 4 * MS, 0);
    let thread_timer = timers.create(Clock::ThreadCpu, 7, |_| Notification::Signal {
        to: Recipient::Thread(7),
        signal: Signal::SIGUSR2,
        value: SigVal(0),
    });
    timers.set(thread_timer.unwrap(), RELATIVE, spec(9 * MS, 0)).unwrap();
    thread::sleep(Duration::from_millis(6));
    assert_eq!(world.waiting(), 0);
    world.cpu_ns.store(5 * MS, SeqCst);
    world.wait_for_signals(1);
    assert_eq!(world.take().signal(), Some(Signal::SIGPROF));
    world.cpu_ns.store(10 * MS, SeqCst);
    world.wait_for_signals(1);
    let to = world.sent.lock().unwrap()[0].0;
    assert_eq!(to, Recipient::Thread(7));
}
