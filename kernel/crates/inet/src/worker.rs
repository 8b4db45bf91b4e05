//! The `net` thread: what no thread of the application does for the network.
//!
//! Responsible for: packets of no known flow (IP's full input, and from there handshakes, ICMP, ARP...), flows whose
//! packets nobody comes for ([`netchannels::Consumer::defer`], [`netchannels::Consumer::check_later`]), timers that
//! have fired, and IP's own timers. Everything here is bounded: the queue of packets has a fixed size, and what is
//! deferred is there once.
//!
//! Packets and work come from interrupts, so the queues are lock-free or under a spin lock for the length of a push. The
//! thread itself holds no lock while it works, and never waits for a socket's lock: see
//! [`TcpSocket`](crate::TcpSocket).

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    mem,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use crossbeam_queue::ArrayQueue;
use ksync::{Interruptible, SpinLock, Timer, TimerTarget, WaitQueue, platform};
use packet::Packet;

use crate::Net;

/// Packets that wait for the slow path. More than a burst of handshakes needs; a flood fills it, and is cut here.
const SLOW_PACKETS: usize = 2048;

/// Packets of the slow path that are taken in before anybody else has a turn.
const SLOW_BATCH: usize = 64;

/// How long packets may lie in a channel that nobody comes for: as long as an acknowledgement may be delayed.
const CHECK_AFTER_NS: u64 = 40_000_000;

/// Somebody for whom the worker does something. Small: the last reference may be dropped in an interrupt.
pub trait Deferred: Send + Sync {
    /// Does what has come up: called once for each [`Worker::defer`], in the worker's thread.
    fn run(&self);

    /// Whether something still lies there since [`Worker::check_later`] was called; then [`run`](Self::run) follows.
    fn check(&self) -> bool;
}

/// The worker's queues.
pub struct Worker {
    slow: ArrayQueue<(u32, Box<Packet>)>,
    deferred: SpinLock<VecDeque<Arc<dyn Deferred>>>,
    checks: SpinLock<Vec<Arc<dyn Deferred>>>,
    checks_due: AtomicBool,
    check_timer: spin::Once<Timer>,
    ip_wanted: AtomicBool,
    time_wait_wanted: AtomicBool,
    stopping: AtomicBool,
    sleeper: WaitQueue,
}

/// The queue of packets is full.
pub struct SlowPathFull;

impl Worker {
    /// A worker without work.
    pub fn new() -> Arc<Self> {
        let worker = Arc::new(Self {
            slow: ArrayQueue::new(SLOW_PACKETS),
            deferred: SpinLock::new(VecDeque::new()),
            checks: SpinLock::new(Vec::new()),
            checks_due: AtomicBool::new(false),
            check_timer: spin::Once::new(),
            ip_wanted: AtomicBool::new(true),
            time_wait_wanted: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleeper: WaitQueue::new(),
        });
        let target = Arc::new(CheckTime(Arc::downgrade(&worker)));
        worker.check_timer.call_once(|| Timer::new(target));
        worker
    }

    /// Gives the slow path a packet that came in at an interface. The worker learns of it by
    /// [`wake`](Self::wake), once for many. Callable from interrupts.
    pub fn push_slow(&self, interface: u32, packet: Box<Packet>) -> Result<(), SlowPathFull> {
        self.slow.push((interface, packet)).map_err(|_| SlowPathFull)
    }

    /// Lets the worker look. Callable from interrupts.
    pub fn wake(&self) {
        self.sleeper.wake_one();
    }

    /// Lets the worker run somebody soon. Callable from interrupts.
    pub fn defer(&self, who: Arc<dyn Deferred>) {
        self.deferred.lock().push_back(who);
        self.wake();
    }

    /// Lets the worker look after somebody within some tens of milliseconds. Callable from interrupts.
    pub fn check_later(&self, who: Arc<dyn Deferred>) {
        let is_first = {
            let mut checks = self.checks.lock();
            checks.push(who);
            checks.len() == 1
        };
        if is_first && let Some(timer) = self.check_timer.get() {
            timer.arm(platform::now_ns() + CHECK_AFTER_NS);
        }
    }

    /// Lets the worker call [`ip::Stack::poll`] soon. Callable from interrupts.
    pub fn poll_ip(&self) {
        self.ip_wanted.store(true, SeqCst);
        self.wake();
    }

    /// Lets the worker ask anew when the next record in TIME_WAIT is over.
    pub(crate) fn look_at_time_wait(&self) {
        self.time_wait_wanted.store(true, SeqCst);
        self.wake();
    }

    /// Works for `net` until [`stop`](Self::stop).
    pub fn run(&self, net: &Net) {
        let mut ip_deadline_ns = None;
        let mut time_wait_deadline_ns = None;
        while !self.stopping.load(SeqCst) {
            self.take_slow_packets(net);
            self.run_deferred();
            self.run_checks();
            let now_ns = platform::now_ns();
            if self.ip_wanted.swap(false, SeqCst) || is_past(ip_deadline_ns, now_ns) {
                ip_deadline_ns = net.ip.poll();
            }
            if self.time_wait_wanted.swap(false, SeqCst) || is_past(time_wait_deadline_ns, now_ns) {
                time_wait_deadline_ns = net.time_wait.expire(net, now_ns);
            }
            let deadline_ns = [ip_deadline_ns, time_wait_deadline_ns].into_iter().flatten().min();
            // A deadline that passed is as good as work.
            let _ = self.sleeper.wait(Interruptible::No, deadline_ns, || self.has_work().then_some(()));
        }
    }

    /// Ends [`run`](Self::run).
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.sleeper.wake_all();
    }

    fn has_work(&self) -> bool {
        !self.slow.is_empty()
            || !self.deferred.lock().is_empty()
            || self.checks_due.load(SeqCst)
            || self.ip_wanted.load(SeqCst)
            || self.time_wait_wanted.load(SeqCst)
            || self.stopping.load(SeqCst)
    }

    fn take_slow_packets(&self, net: &Net) {
        for _ in 0..SLOW_BATCH {
            let Some((interface, packet)) = self.slow.pop() else { return };
            net.ip.input(interface, packet);
        }
    }

    fn run_deferred(&self) {
        // Those that are there now: who defers himself again has to wait until others had their turn.
        let deferred = mem::take(&mut *self.deferred.lock());
        for who in deferred {
            who.run();
        }
    }

    fn run_checks(&self) {
        if !self.checks_due.swap(false, SeqCst) {
            return;
        }
        let checks = mem::take(&mut *self.checks.lock());
        for who in checks {
            if who.check() {
                who.run();
            }
        }
    }
}

fn is_past(deadline_ns: Option<u64>, now_ns: u64) -> bool {
    deadline_ns.is_some_and(|deadline_ns| now_ns >= deadline_ns)
}

/// It is time to look into the channels.
struct CheckTime(alloc::sync::Weak<Worker>);

impl TimerTarget for CheckTime {
    fn fire(&self) {
        if let Some(worker) = self.0.upgrade() {
            worker.checks_due.store(true, SeqCst);
            worker.wake();
        }
    }
}
