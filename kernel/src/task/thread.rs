//! Threads.

use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use ksync::{ParkToken, Parking, SpinLock, TimerTarget, Unparking, platform::Parker};

use super::{io_counts, stack::KernelStack};
use crate::{
    arch::{clock, cpu, fpu::XsaveArea, trap::TrapFrame},
    sched, signal,
    syscall::policy::MemoryPolicy,
    time,
};

/// How much later than asked timers may be by default, as Linux says.
pub const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;

/// Whether a thread runs the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A thread of the process: has application registers and extended state.
    Application,
    /// Runs kernel code only.
    Kernel,
    /// What a CPU runs when there is nothing else.
    Idle,
}

/// A thread. The scheduler's part is in [`sched`], the signals' in [`signal`].
pub struct Thread {
    /// Its id; the process's first thread has the process's id.
    pub tid: u32,
    /// What it runs.
    pub kind: Kind,
    /// `None` for idle threads, which run on the stack that their CPU started on.
    pub stack: Option<KernelStack>,
    /// What the scheduler keeps; see there for who may touch it when.
    pub(crate) sched: sched::ThreadState,
    token: ParkToken,
    /// Whether it has ended. Only the first thread is still to be found then.
    pub ended: AtomicBool,
    /// Its signals.
    pub signals: SpinLock<signal::ThreadSignals>,
    /// A hint that `signals` or the process's has something for this thread, or that the process ends: set with
    /// the cause, looked at on the way back to the application and before interruptible waits.
    pub work_pending: AtomicBool,
    /// Name, as `PR_SET_NAME` and `/proc/self/task/TID/comm` have it; NUL-padded.
    pub name: SpinLock<[u8; 16]>,
    /// `set_tid_address(2)`: cleared, and its futex woken, when the thread ends.
    pub clear_child_tid: AtomicU64,
    /// Head of the robust futex list (`set_robust_list(2)`).
    pub robust_list: AtomicU64,
    /// Its place in the queue of a futex.
    pub futex_node: ::futex::Node<Thread>,
    /// The system call that is running, for dumps; `usize::MAX` outside of one.
    pub syscall: AtomicUsize,
    /// Registers of the application where it entered the kernel; valid while it is in the kernel.
    frame: UnsafeCell<*mut TrapFrame>,
    /// What `restart_syscall(2)` goes on with.
    pub restart: SpinLock<Option<crate::syscall::RestartBlock>>,
    /// `PR_SET_TIMERSLACK`, which is only told again.
    pub timer_slack_ns: AtomicU64,
    /// `set_mempolicy(2)`, which is only told again: the machine has one node.
    pub memory_policy: SpinLock<MemoryPolicy>,
    /// Page faults served without and with I/O.
    pub minor_faults: AtomicU64,
    pub major_faults: AtomicU64,
    /// What it read and wrote.
    pub io: io_counts::Counts,
    /// When it was made, by the monotonic clock.
    pub started_ns: u64,
}

// SAFETY: `frame` is written and read by the thread itself only; the other fields are Sync or guarded as `sched` says.
unsafe impl Sync for Thread {}
// SAFETY: nothing in a thread depends on the CPU that holds the reference.
unsafe impl Send for Thread {}

impl Thread {
    /// Makes a thread that is not running yet.
    pub fn new(tid: u32, kind: Kind, stack: Option<KernelStack>, signals: signal::ThreadSignals) -> Self {
        let fpu = (kind == Kind::Application).then(XsaveArea::new);
        Self {
            tid,
            kind,
            stack,
            sched: sched::ThreadState::new(fpu),
            token: ParkToken::new(),
            ended: AtomicBool::new(false),
            signals: SpinLock::new(signals),
            work_pending: AtomicBool::new(false),
            name: SpinLock::new([0; 16]),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            futex_node: ::futex::Node::new(),
            syscall: AtomicUsize::new(usize::MAX),
            frame: UnsafeCell::new(core::ptr::null_mut()),
            restart: SpinLock::new(None),
            timer_slack_ns: AtomicU64::new(DEFAULT_TIMER_SLACK_NS),
            memory_policy: SpinLock::new(MemoryPolicy::default()),
            minor_faults: AtomicU64::new(0),
            major_faults: AtomicU64::new(0),
            io: io_counts::Counts::new(),
            started_ns: clock::now_ns(),
        }
    }

    /// The name as text.
    pub fn name_text(&self) -> alloc::string::String {
        let name = *self.name.lock();
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        alloc::string::String::from_utf8_lossy(&name[..len]).into_owned()
    }

    /// Takes over what `clone(2)` lets a thread inherit, besides what the scheduler and the signals have.
    pub fn inherit(&self, from: &Self) {
        self.timer_slack_ns.store(from.timer_slack_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        *self.memory_policy.lock() = *from.memory_policy.lock();
    }

    /// Notes where the application's registers are. Only by the thread itself, on entry.
    pub fn set_frame(&self, frame: &mut TrapFrame) {
        // SAFETY: only the thread itself touches the field.
        unsafe { *self.frame.get() = frame };
    }

    /// The application's registers, while the thread is in a system call that it made. Only by the thread itself.
    pub fn frame(&self) -> &TrapFrame {
        debug_assert!(core::ptr::eq(self, current()), "a thread's frame is its own");
        // SAFETY: set on entry to the system call that is running, on this thread's stack; nobody changes it meanwhile.
        unsafe { &**self.frame.get() }
    }

    /// Makes the thread look at its signals and at the process's state, and ends an interruptible wait.
    pub fn notify_work(&self) {
        self.work_pending.store(true, Ordering::SeqCst);
        self.unpark();
        sched::kick(self);
    }
}

impl Parker for Thread {
    fn park(&self, deadline_ns: Option<u64>) {
        debug_assert!(core::ptr::eq(self, super::current()), "a thread parks itself only");
        if self.token.prepare() == Parking::GoOn {
            return;
        }
        match deadline_ns {
            None => sched::block(),
            Some(deadline_ns) => {
                let expiry = time::arm(deadline_ns, super::current_arc());
                sched::block();
                time::cancel(deadline_ns, expiry);
            }
        }
        self.token.finish();
    }

    fn unpark(&self) {
        if self.token.notify() == Unparking::MakeRunnable {
            sched::make_runnable(self);
        }
    }

    fn interrupted(&self) -> bool {
        self.work_pending.load(Ordering::SeqCst) && signal::interrupts_wait(self)
    }
}

impl TimerTarget for Thread {
    fn fire(&self) {
        self.unpark();
    }
}

/// The running thread.
#[inline]
pub fn current() -> &'static Thread {
    // SAFETY: a CPU's current thread is set before anything asks, and lives at least as long as it runs; the
    // caller is that thread.
    unsafe { &*cpu::this().current.get() }
}

/// A counted reference to the running thread.
pub fn current_arc() -> Arc<Thread> {
    let thread = cpu::this().current.get();
    // SAFETY: `current` came from `Arc::into_raw`, and the CPU holds a reference for as long as it is current.
    unsafe {
        Arc::increment_strong_count(thread);
        Arc::from_raw(thread)
    }
}
