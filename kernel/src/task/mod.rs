//! The process and its threads.
//!
//! There is one process, with id 1, so what Linux keeps in a process is kept in statics here and in the subsystems. The table
//! of threads holds a reference to each thread until it has ended; the first thread stays in it as a zombie until the
//! process ends. [`THREADS`] is a leaf lock.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ksync::{SpinLock, WaitQueue, platform::Parker};
use linux_abi::{Errno, signal::Signal};
use x86_64::instructions::interrupts;

use crate::{arch::trap::TrapFrame, futex, power, sched, signal, syscall::Restart, user::UserPtr};

pub mod exec;
pub mod io_counts;
mod load;
pub mod stack;
mod thread;

pub use load::load_averages;
pub use thread::{DEFAULT_TIMER_SLACK_NS, Kind, Thread, current, current_arc};

/// The process's id.
pub const PID: u32 = 1;
/// One more than the greatest thread id, as `/proc/sys/kernel/pid_max` says on 64-bit Linux.
pub const TID_LIMIT: u32 = 4_194_304;
/// Most threads at a time (`/proc/sys/kernel/threads-max`).
pub const THREADS_MAX: usize = 126_000;

/// The threads by their ids, and how many of them have not ended.
struct Threads {
    by_tid: BTreeMap<u32, Arc<Thread>>,
    alive: usize,
}

static THREADS: SpinLock<Threads> = SpinLock::new(Threads { by_tid: BTreeMap::new(), alive: 0 });
static LAST_TID: AtomicU32 = AtomicU32::new(PID);
static CREATED: AtomicUsize = AtomicUsize::new(0);
static ENDED_CPU_NS: AtomicU64 = AtomicU64::new(0);
static EXITING: AtomicBool = AtomicBool::new(false);
/// Woken each time a thread of the process ends.
static THREAD_ENDED: WaitQueue = WaitQueue::new();

/// The threads of the process, with the first one also if it has ended before the others.
pub fn threads() -> Vec<Arc<Thread>> {
    THREADS.lock().by_tid.values().cloned().collect()
}

/// How many threads the process has that have not ended.
pub fn thread_count() -> usize {
    THREADS.lock().alive
}

/// Threads created since the start, for `/proc/stat`.
pub fn created_count() -> usize {
    CREATED.load(Ordering::Relaxed)
}

/// Processor time of the threads that have ended.
pub fn ended_cpu_ns() -> u64 {
    ENDED_CPU_NS.load(Ordering::Relaxed)
}

/// The thread with this id.
pub fn thread(tid: u32) -> Option<Arc<Thread>> {
    THREADS.lock().by_tid.get(&tid).cloned()
}

/// The thread that a system call names: 0 is the caller. `ESRCH` if there is none, `EINVAL` for a negative id.
pub fn thread_or_current(tid: i32) -> Result<Arc<Thread>, Errno> {
    match tid {
        0 => Ok(current_arc()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => thread(tid as u32).ok_or(Errno::ESRCH),
    }
}

/// Whether the process is ending, so that no thread may return to the application.
pub fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Takes an unused thread id, in ascending order with wrap-around, as Linux does.
fn allocate_tid(threads: &BTreeMap<u32, Arc<Thread>>) -> u32 {
    loop {
        let tid = LAST_TID
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(if last + 1 >= TID_LIMIT { PID + 1 } else { last + 1 })
            })
            .map_or(PID, |last| if last + 1 >= TID_LIMIT { PID + 1 } else { last + 1 });
        if !threads.contains_key(&tid) {
            return tid;
        }
    }
}

/// What a new thread of the application starts with.
pub struct NewThread {
    /// Its registers.
    pub frame: TrapFrame,
    /// FS base.
    pub tls: u64,
    /// Its signal mask.
    pub mask: linux_abi::signal::SigSet,
    /// See `set_tid_address(2)`.
    pub clear_child_tid: u64,
}

/// Creates a thread of the application. It is in the table, with its id, but does not run before [`sched::start`].
/// `EAGAIN` if there are too many threads or too little memory for one.
pub fn create_thread(new: NewThread) -> Result<Arc<Thread>, Errno> {
    stack::trim();
    let stack = stack::KernelStack::new().map_err(|_| Errno::EAGAIN)?;
    let top = stack.top();
    let mut threads = THREADS.lock();
    if threads.alive >= THREADS_MAX || is_exiting() {
        return Err(Errno::EAGAIN);
    }
    let tid = if threads.by_tid.is_empty() { PID } else { allocate_tid(&threads.by_tid) };
    let signals = signal::ThreadSignals::with_mask(new.mask);
    let thread = Arc::new(Thread::new(tid, Kind::Application, Some(stack), signals));
    thread.clear_child_tid.store(new.clear_child_tid, Ordering::Relaxed);
    // The frame goes to the top of the kernel stack, where an entry from the application would have put it.
    let frame = top - size_of::<TrapFrame>() as u64;
    // SAFETY: the new thread's stack is mapped and nobody's yet; `top` is aligned to a page.
    unsafe { (frame as *mut TrapFrame).write(new.frame) };
    sched::set_initial_fs_base(&thread, new.tls);
    sched::prepare(&thread, frame, application_thread, frame as usize);
    threads.by_tid.insert(tid, thread.clone());
    threads.alive += 1;
    CREATED.fetch_add(1, Ordering::Relaxed);
    Ok(thread)
}

/// Creates a kernel thread and lets it run `entry(argument)`, which must not return.
pub fn spawn_kernel_thread(
    name: &str,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> Result<(), Errno> {
    let stack = stack::KernelStack::new().map_err(|_| Errno::EAGAIN)?;
    let top = stack.top();
    let thread = Arc::new(Thread::new(0, Kind::Kernel, Some(stack), Default::default()));
    let len = name.len().min(15);
    thread.name.lock()[..len].copy_from_slice(&name.as_bytes()[..len]);
    let start = alloc::boxed::Box::new(KernelStart { entry, argument });
    sched::prepare(&thread, top, kernel_thread, alloc::boxed::Box::into_raw(start) as usize);
    // A kernel thread lives for ever; the scheduler's references come and go.
    core::mem::forget(thread.clone());
    sched::start(thread);
    Ok(())
}

struct KernelStart {
    entry: extern "C" fn(usize) -> !,
    argument: usize,
}

extern "C" fn kernel_thread(start: usize) -> ! {
    sched::begin_thread();
    // SAFETY: from `Box::into_raw` in `spawn_kernel_thread`, for this thread only.
    let start = unsafe { alloc::boxed::Box::from_raw(start as *mut KernelStart) };
    let KernelStart { entry, argument } = *start;
    entry(argument)
}

unsafe extern "C" {
    fn return_to_frame();
}

extern "C" fn application_thread(frame: usize) -> ! {
    sched::begin_thread();
    interrupts::disable();
    // SAFETY: the frame was put on this stack by `create_thread`, and nothing lies above it.
    let frame = unsafe { &mut *(frame as *mut TrapFrame) };
    before_return_to_application(frame, Restart::No);
    // SAFETY: `return_to_frame` leaves through the frame at the stack pointer, for good; interrupts are masked.
    unsafe {
        core::arch::asm!("mov rsp, {}", "jmp {}", in(reg) frame, sym return_to_frame, options(noreturn));
    }
}

/// The last thing on every way back to the application: gives way to another thread if it is time, delivers signals, ends the
/// thread if the process ends. Called and returns with interrupts masked; `frame` is what will be returned to, `restart` what
/// the system call that is returning wants. Returns whether the frame was changed in more than `rax`.
pub fn before_return_to_application(frame: &mut TrapFrame, mut restart: Restart) -> bool {
    let thread = current();
    let mut changed = false;
    loop {
        sched::preempt_if_needed();
        if !thread.work_pending.load(Ordering::SeqCst) && matches!(restart, Restart::No) {
            return changed;
        }
        interrupts::enable();
        if is_exiting() {
            exit_thread(0);
        }
        changed |= signal::deliver(frame, &mut restart);
        interrupts::disable();
    }
}

/// Ends the running thread (`exit(2)`). The last one ends the process, with `status` (as on Linux since 5.19).
pub fn exit_thread(status: i32) -> ! {
    let thread = current();
    if !is_exiting() {
        futex::release_robust_list(thread);
        clear_child_tid(thread);
    }
    // A signal that was meant for this thread alone dies with it; one for the process is for the others.
    let is_last = {
        let mut threads = THREADS.lock();
        // The last one stays, to end the process. Decided under the lock: two may end at the same time.
        let is_last = threads.alive == 1 && !is_exiting();
        if !is_last {
            threads.alive -= 1;
            thread.ended.store(true, Ordering::Relaxed);
            if thread.tid != PID {
                ENDED_CPU_NS.fetch_add(sched::cpu_time_ns(thread), Ordering::Relaxed);
                io_counts::keep(&thread.io);
                threads.by_tid.remove(&thread.tid);
            }
        }
        is_last
    };
    if is_last {
        exit_process(power::End::Exited(status as u8));
    }
    THREAD_ENDED.wake_all();
    if !is_exiting() {
        signal::reassign_process_signals();
        stack::trim();
    }
    sched::exit_current()
}

/// `CLONE_CHILD_CLEARTID`: tells those who join the thread that it has ended.
fn clear_child_tid(thread: &Thread) {
    let address = thread.clear_child_tid.load(Ordering::Relaxed);
    if address != 0 && UserPtr::<u32>::new(address).store(0).is_ok() {
        futex::wake_one(UserPtr::new(address));
    }
}

/// Ends the process: no thread returns to the application any more; then the machine is switched off in order.
pub fn exit_process(end: power::End) -> ! {
    if EXITING.swap(true, Ordering::SeqCst) {
        // Another thread is doing it.
        exit_thread(0);
    }
    let me = current();
    for thread in threads() {
        if thread.tid != me.tid {
            thread.notify_work();
        }
    }
    // Those in uninterruptible waits are not waited for long: they touch nothing of the application's any more.
    let deadline_ns = ksync::platform::now_ns() + 200_000_000;
    let _ = THREAD_ENDED
        .wait(ksync::Interruptible::No, Some(deadline_ns), || (thread_count() <= 1).then_some(()));
    power::end(end)
}

/// Ends the process by a signal; never returns.
pub fn terminate_by_signal(signal: Signal, core: bool, frame: &TrapFrame) -> ! {
    if core {
        crate::panic::report_application_crash(signal, frame);
    }
    exit_process(power::End::Killed(signal))
}

/// Parks the running kernel thread for good.
pub fn park_forever() -> ! {
    loop {
        current().park(None);
    }
}
