//! The scheduler: which thread runs on which CPU.
//!
//! Every CPU has a run queue (crate `run-queue`: fair in virtual time) behind a spin lock. A thread is on at
//! most one, and then it is runnable and does not run; the running one is its CPU's `current`. The kernel is
//! not preemptible: a switch happens where a thread blocks or yields, and on the way back to the application.
//!
//! Who may touch what of a [`ThreadState`]: `entity` belongs to the lock of the queue that the thread is put
//! on or leaves. `stack_pointer`, `fpu` and `fs_base` belong to the CPU that has the thread `on_cpu`;
//! `on_cpu` is set by the CPU that takes it from a queue and cleared once its registers are saved. A thread
//! woken in between goes to the queue of the CPU that it is leaving, so nobody ever waits for a switch to
//! end; others steal only threads that are off.
//!
//! No lock is taken under a queue's lock, and no two queues are locked at a time.

use alloc::sync::Arc;
use core::{
    cell::{Cell, UnsafeCell},
    sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use ksync::SpinLock;
use linux_abi::process::SchedPolicy;
use run_queue::{Arrival, Entity, IdleCpus, Nice, Preemption, RunQueue, Turn};
use x86_64::{
    VirtAddr,
    instructions::interrupts,
    registers::{
        model_specific::FsBase,
        segmentation::{FS, Segment64},
    },
};

use crate::{
    arch::{
        apic, clock,
        cpu::{self, MAX_CPUS},
        fpu::XsaveArea,
        interrupt,
    },
    mm,
    task::{self, Kind, Thread},
    time,
};

/// The scheduler's part of a thread.
pub(crate) struct ThreadState {
    entity: Cell<Entity>,
    /// When it blocked.
    blocked_ns: Cell<u64>,
    stack_pointer: Cell<u64>,
    fpu: UnsafeCell<Option<XsaveArea>>,
    fs_base: Cell<u64>,
    /// The CPU whose registers its extended state was last loaded into.
    last_fpu_cpu: Cell<usize>,
    on_cpu: AtomicBool,
    /// The CPU that runs it or ran it last.
    cpu: AtomicUsize,
    /// CPUs that it may run on, as a set of indices.
    affinity: AtomicU64,
    nice: AtomicI32,
    /// `sched_setscheduler(2)`: one of the fair policies, as a number.
    policy: AtomicU32,
    /// When it was put on its CPU, or charged last.
    since_ns: AtomicU64,
    /// Processor time up to `since_ns`.
    cpu_time_ns: AtomicU64,
    /// Switches away because it blocked, and because it was preempted.
    voluntary_switches: AtomicU64,
    involuntary_switches: AtomicU64,
}

impl ThreadState {
    pub(crate) fn new(fpu: Option<XsaveArea>) -> Self {
        Self {
            entity: Cell::new(Entity::new(Nice::DEFAULT)),
            blocked_ns: Cell::new(0),
            stack_pointer: Cell::new(0),
            fpu: UnsafeCell::new(fpu),
            fs_base: Cell::new(0),
            last_fpu_cpu: Cell::new(usize::MAX),
            on_cpu: AtomicBool::new(false),
            cpu: AtomicUsize::new(0),
            affinity: AtomicU64::new(u64::MAX),
            nice: AtomicI32::new(0),
            policy: AtomicU32::new(SchedPolicy::Normal as u32),
            since_ns: AtomicU64::new(0),
            cpu_time_ns: AtomicU64::new(0),
            voluntary_switches: AtomicU64::new(0),
            involuntary_switches: AtomicU64::new(0),
        }
    }
}

/// One CPU's queue.
struct CpuQueue {
    queue: SpinLock<RunQueue<Arc<Thread>>>,
    /// Threads that wait on the queue, readable without the lock.
    waiting: AtomicUsize,
    /// The end of the running thread's slice, or `u64::MAX` if nobody waits for it. Written under the queue's
    /// lock.
    slice_end_ns: AtomicU64,
    /// Up to when the running thread has been charged. Touched by this CPU only.
    charged_ns: Cell<u64>,
    /// The thread that was switched away from, until its registers are saved. Touched by this CPU only.
    previous: Cell<*const Thread>,
    /// Whether `previous` goes on living on some queue or elsewhere, or this was the CPU's reference to it.
    previous_fate: Cell<Fate>,
    /// The thread that was switched away from, if its affinity no longer allows this CPU. Touched by this CPU
    /// only.
    migrating: Cell<*const Thread>,
    /// The thread whose extended state is in the registers. Touched by this CPU only.
    fpu_owner: Cell<*const Thread>,
    /// The CPU's idle thread.
    idle: Cell<*const Thread>,
}

// SAFETY: the cells are touched by the CPU that they belong to, with interrupts masked.
unsafe impl Sync for CpuQueue {}

static QUEUES: [CpuQueue; MAX_CPUS] = [const {
    CpuQueue {
        queue: SpinLock::new(RunQueue::new(usize::MAX)),
        waiting: AtomicUsize::new(0),
        slice_end_ns: AtomicU64::new(u64::MAX),
        charged_ns: Cell::new(0),
        previous: Cell::new(core::ptr::null()),
        previous_fate: Cell::new(Fate::Queued),
        migrating: Cell::new(core::ptr::null()),
        fpu_owner: Cell::new(core::ptr::null()),
        idle: Cell::new(core::ptr::null()),
    }
}; MAX_CPUS];

static IDLE_CPUS: IdleCpus = IdleCpus::new();

static BARRIERS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What happens to the reference that a CPU has to the thread that it switches away from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It moved to a run queue.
    Queued,
    /// It is dropped: the thread blocked (the process holds another reference) or ended.
    Dropped,
}

unsafe extern "C" {
    fn context_switch(save: *mut u64, load: u64);
    fn thread_start();
}

/// Makes the code that runs now the idle thread of its CPU.
///
/// # Safety
/// Once on each CPU, before any thread can run there.
pub unsafe fn adopt_idle_thread() {
    let idle = Arc::into_raw(Arc::new(Thread::new(0, Kind::Idle, None, Default::default())));
    // SAFETY: the leaked reference is the CPU's.
    let thread = unsafe { &*idle };
    thread.sched.on_cpu.store(true, Ordering::Relaxed);
    thread.sched.cpu.store(cpu::index(), Ordering::Relaxed);
    thread.name.lock()[..4].copy_from_slice(b"idle");
    *QUEUES[cpu::index()].queue.lock() = RunQueue::new(cpu::index());
    QUEUES[cpu::index()].idle.set(idle);
    cpu::this().current.set(idle);
}

/// Prepares a new thread so that it begins with `entry(argument)` when it is first switched to.
pub fn prepare(thread: &Thread, stack_top: u64, entry: extern "C" fn(usize) -> !, argument: usize) {
    // What `context_switch` pops: r15 r14 r13 r12 rbx rbp, then the return address; and `thread_start` calls,
    // so the stack must be aligned to 16 after the return.
    let frame = [0, 0, 0, argument as u64, entry as usize as u64, 0, thread_start as *const () as u64];
    let sp = (stack_top & !15) - size_of_val(&frame) as u64;
    // SAFETY: the new thread's own stack, which nobody uses yet; a multiple of 8.
    unsafe { (sp as *mut [u64; 7]).write(frame) };
    thread.sched.stack_pointer.set(sp);
}

/// Makes a new, prepared thread runnable for the first time.
pub fn start(thread: Arc<Thread>) {
    let allowed = thread.sched.affinity.load(Ordering::Relaxed);
    let target = choose_cpu(allowed, cpu::index());
    enqueue(target, thread, Arrival::New);
}

/// Makes a parked thread runnable. By [`Thread`]'s unpark only, which calls it once for each park.
pub(crate) fn make_runnable(thread: &Thread) {
    // SAFETY: every `Thread` lives in an `Arc`, and the caller has a reference to it.
    let thread = unsafe {
        Arc::increment_strong_count(thread);
        Arc::from_raw(thread)
    };
    let last = thread.sched.cpu.load(Ordering::Relaxed);
    let target = if thread.sched.on_cpu.load(Ordering::Acquire) {
        // It is on its way out of its CPU, or that CPU has not looked further yet: that one will find it.
        last
    } else {
        choose_cpu(thread.sched.affinity.load(Ordering::Relaxed), last)
    };
    let slept_ns = clock::now_ns().saturating_sub(thread.sched.blocked_ns.get());
    enqueue(target, thread, Arrival::Wakeup { slept_ns });
}

/// The best CPU for a thread: where it ran last if that one is idle, else any idle one, else where it ran
/// last, unless another has much less to do.
fn choose_cpu(affinity: u64, last: usize) -> usize {
    let allowed = match affinity & cpu::online_mask() {
        0 => cpu::online_mask(),
        allowed => allowed,
    };
    let idle = IDLE_CPUS.hint() & allowed;
    if idle & 1 << last != 0 {
        return last;
    }
    if idle != 0 {
        // The next one up from `last`, so that not all wake-ups go to CPU 0.
        let rotated = idle.rotate_right(last as u32);
        return (rotated.trailing_zeros() as usize + last) % MAX_CPUS;
    }
    if allowed & 1 << last != 0 {
        return last;
    }
    cpu::in_mask(allowed)
        .map(|cpu| cpu.index)
        .min_by_key(|index| QUEUES[*index].waiting.load(Ordering::Relaxed))
        .unwrap_or(last)
}

/// Puts a thread on a CPU's queue and sees to it that the CPU notices.
fn enqueue(target: usize, thread: Arc<Thread>, arrival: Arrival) {
    let cpu_queue = &QUEUES[target];
    let Some(target_cpu) = cpu::by_index(target) else { unreachable!("threads are put on CPUs that run") };
    let (first, preempts) = {
        let mut queue = cpu_queue.queue.lock();
        let mut entity = thread.sched.entity.get();
        entity.set_nice(effective_nice(&thread));
        let preempts = queue.enqueue(thread, entity, arrival) == Preemption::Now;
        cpu_queue.waiting.store(queue.waiting(), Ordering::Relaxed);
        (queue.waiting() == 1, preempts)
    };
    if preempts {
        target_cpu.need_resched.store(true, Ordering::SeqCst);
    }
    // The order matters against `run_idle_loop`: queue first, then look whether the CPU sleeps.
    core::sync::atomic::fence(Ordering::SeqCst);
    if first || preempts {
        if target == cpu::index() {
            // We may be in an interrupt; the way out looks at `need_resched`. The slice has to be armed.
            arm_slice(cpu_queue);
        } else {
            apic::send_ipi(target_cpu, interrupt::RESCHEDULE);
        }
    }
}

/// Blocks the running thread until it is made runnable; its token says that it is parked already.
pub(crate) fn block() {
    let irq = ksync::platform::irq_save();
    debug_assert!(irq != 0, "a thread blocks with interrupts unmasked");
    task::current().sched.voluntary_switches.fetch_add(1, Ordering::Relaxed);
    switch(Leaving::Blocked);
    ksync::platform::irq_restore(irq);
}

/// Lets others run first (`sched_yield(2)`).
pub fn yield_now() {
    let irq = ksync::platform::irq_save();
    if QUEUES[cpu::index()].waiting.load(Ordering::Relaxed) != 0 {
        task::current().sched.voluntary_switches.fetch_add(1, Ordering::Relaxed);
        switch(Leaving::Yielding);
    }
    ksync::platform::irq_restore(irq);
}

/// Gives way if another thread should run. On the way back to the application, with interrupts masked.
pub fn preempt_if_needed() {
    while cpu::this().need_resched.load(Ordering::Relaxed) {
        task::current().sched.involuntary_switches.fetch_add(1, Ordering::Relaxed);
        switch(Leaving::Preempted);
    }
}

/// Ends the running thread; nothing refers to it any more but this CPU, and whoever still waits for it to be
/// gone.
pub fn exit_current() -> ! {
    interrupts::disable();
    switch(Leaving::Ended);
    unreachable!("an ended thread was switched to");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Blocked,
    Yielding,
    Preempted,
    Ended,
}

/// Switches to the thread that should run next, which may be the same. With interrupts masked.
fn switch(leaving: Leaving) {
    let this = cpu::this();
    let cpu_queue = &QUEUES[this.index];
    let previous_pointer = this.current.get();
    let previous = task::current();
    let now_ns = clock::now_ns();
    this.need_resched.store(false, Ordering::SeqCst);
    let mut fate = Fate::Dropped;
    let mut migrate = None;
    let next = {
        let mut queue = cpu_queue.queue.lock();
        charge(cpu_queue, &mut queue, previous, now_ns);
        if previous.kind != Kind::Idle {
            let turn = match leaving {
                Leaving::Blocked | Leaving::Ended => None,
                Leaving::Yielding => Some(Turn::Yielded),
                Leaving::Preempted => Some(Turn::Preempted),
            };
            match turn {
                Some(turn) if may_run_on(previous, this.index) => {
                    // SAFETY: `current` came from `Arc::into_raw`; the CPU's reference moves on.
                    queue.put_back(unsafe { Arc::from_raw(previous_pointer) }, turn);
                    fate = Fate::Queued;
                }
                _ => {
                    previous.sched.entity.set(queue.block());
                    previous.sched.blocked_ns.set(now_ns);
                    // SAFETY: as above.
                    migrate = turn.map(|_| unsafe { Arc::from_raw(previous_pointer) });
                }
            }
        }
        let next = queue.pick_next();
        cpu_queue.waiting.store(queue.waiting(), Ordering::Relaxed);
        next
    };
    if previous.kind == Kind::Idle {
        fate = Fate::Queued;
    }
    if let Some(thread) = migrate {
        // Off to a CPU that it may run on. It is still `on_cpu` here, so it must not run there before the
        // switch is done: `finish_switch` takes it there.
        fate = Fate::Queued;
        let old = cpu_queue.migrating.replace(Arc::into_raw(thread));
        debug_assert!(old.is_null());
    }
    let next = next.or_else(|| steal(this.index));
    let next_pointer = match next {
        Some(next) => Arc::into_raw(next),
        None if previous.kind == Kind::Idle => previous_pointer,
        None => cpu_queue.idle.get(),
    };
    arm_slice(cpu_queue);
    if next_pointer == previous_pointer {
        debug_assert!(fate == Fate::Queued || leaving == Leaving::Blocked);
        if leaving == Leaving::Blocked && previous.kind != Kind::Idle {
            // Woken before it was gone: the wake-up's reference is one too many, as we still have ours.
            // SAFETY: two references, one each from `current` and the queue.
            unsafe { Arc::decrement_strong_count(next_pointer) };
        }
        return;
    }

    // SAFETY: taken from a queue, or the idle thread: valid, and this CPU's from now on.
    let next = unsafe { &*next_pointer };
    debug_assert!(!next.sched.on_cpu.load(Ordering::Relaxed) || next.kind == Kind::Idle);
    next.sched.on_cpu.store(true, Ordering::Relaxed);
    next.sched.cpu.store(this.index, Ordering::Relaxed);
    next.sched.since_ns.store(now_ns, Ordering::Relaxed);
    this.switches.fetch_add(1, Ordering::Relaxed);
    save_extended(previous);
    load_extended(next, cpu_queue);
    this.current.set(next_pointer);
    if let Some(stack) = &next.stack {
        this.kernel_stack_top.set(stack.top());
    }
    cpu_queue.previous.set(previous_pointer);
    cpu_queue.previous_fate.set(fate);
    // SAFETY: both stack pointers belong to this CPU now; the next thread's was saved by a switch or made by
    // `prepare`.
    unsafe { context_switch(previous.sched.stack_pointer.as_ptr(), next.sched.stack_pointer.get()) };
    finish_switch();
}

/// The end of a switch, on the new thread's stack: the previous thread's registers are saved, so others may
/// have it.
fn finish_switch() {
    let index = cpu::index();
    let cpu_queue = &QUEUES[index];
    let previous_pointer = cpu_queue.previous.replace(core::ptr::null());
    // SAFETY: the reference that `switch` had to it is still there: dropped only below.
    let previous = unsafe { &*previous_pointer };
    // One that goes on waiting here, and could run on a CPU that sleeps, is that CPU's to fetch, from now on.
    let could_run_on = if previous.kind == Kind::Idle || cpu_queue.previous_fate.get() == Fate::Dropped {
        0
    } else {
        previous.sched.affinity.load(Ordering::Relaxed)
    };
    previous.sched.on_cpu.store(false, Ordering::Release);
    let sleeping = if could_run_on == 0 { 0 } else { IDLE_CPUS.after_change() & could_run_on };
    if let Some(sleeper) = cpu::in_mask(sleeping).next() {
        apic::send_ipi(sleeper, interrupt::RESCHEDULE);
    }
    if cpu_queue.previous_fate.get() == Fate::Dropped {
        // SAFETY: the CPU's reference from when the thread was `current`.
        drop(unsafe { Arc::from_raw(previous_pointer) });
    }
    let migrating = cpu_queue.migrating.replace(core::ptr::null());
    if !migrating.is_null() {
        // SAFETY: put there by `switch` from `Arc::into_raw`.
        let thread = unsafe { Arc::from_raw(migrating) };
        let target = choose_cpu(thread.sched.affinity.load(Ordering::Relaxed), index);
        enqueue(target, thread, Arrival::Migrated);
    }
}

/// What a new thread does first, before its entry function does anything else.
pub fn begin_thread() {
    finish_switch();
    interrupts::enable();
}

fn save_extended(thread: &Thread) {
    if thread.kind != Kind::Application {
        return;
    }
    // SAFETY: the thread runs here, so its state is this CPU's.
    if let Some(area) = unsafe { &mut *thread.sched.fpu.get() } {
        area.save();
    }
    if cpu::features().fsgsbase {
        // The application may change FS itself (WRFSBASE).
        thread.sched.fs_base.set(FS::read_base().as_u64());
    }
}

fn load_extended(thread: &Thread, cpu_queue: &CpuQueue) {
    if thread.kind != Kind::Application {
        return;
    }
    // If nobody else's state was loaded here since, the registers still hold it: kernel code changes only
    // xmm0-15, which the thread's frame restores. A thread that ran elsewhere in between owns the registers
    // of that CPU, not of this one.
    let owner = cpu_queue.fpu_owner.replace(thread);
    let last_loaded_on = thread.sched.last_fpu_cpu.replace(cpu::index());
    if owner != core::ptr::from_ref(thread) || last_loaded_on != cpu::index() {
        // SAFETY: the thread was taken to run here, so its state is this CPU's.
        if let Some(area) = unsafe { &*thread.sched.fpu.get() } {
            area.restore();
        }
    }
    set_fs_base(thread.sched.fs_base.get());
}

fn set_fs_base(base: u64) {
    let base = VirtAddr::new_truncate(base);
    if cpu::features().fsgsbase {
        // SAFETY: CR4.FSGSBASE is set where offered; FS is the application's alone.
        unsafe { FS::write_base(base) };
    } else {
        FsBase::write(base);
    }
}

/// Sets the running thread's FS base (`arch_prctl(2)`, ARCH_SET_FS).
pub fn set_current_fs_base(base: u64) {
    let irq = ksync::platform::irq_save();
    task::current().sched.fs_base.set(base);
    set_fs_base(base);
    ksync::platform::irq_restore(irq);
}

/// The running thread's FS base.
pub fn current_fs_base() -> u64 {
    FsBase::read().as_u64()
}

/// Sets the FS base that a thread that has not started yet begins with.
pub fn set_initial_fs_base(thread: &Thread, base: u64) {
    thread.sched.fs_base.set(base);
}

/// Copies the running thread's extended state to a thread that has not started yet, as `clone(2)` does.
pub fn copy_extended_state(to: &Thread) {
    // SAFETY: the new thread is the caller's alone.
    if let Some(area) = unsafe { &mut *to.sched.fpu.get() } {
        let irq = ksync::platform::irq_save();
        area.save_fresh();
        ksync::platform::irq_restore(irq);
    }
}

/// Charges the running thread for its time up to now; says whether its turn is over.
fn charge(
    cpu_queue: &CpuQueue,
    queue: &mut RunQueue<Arc<Thread>>,
    running: &Thread,
    now_ns: u64,
) -> Preemption {
    let ran_ns = now_ns.saturating_sub(cpu_queue.charged_ns.replace(now_ns));
    running.sched.cpu_time_ns.fetch_add(ran_ns, Ordering::Relaxed);
    running.sched.since_ns.store(now_ns, Ordering::Relaxed);
    if running.kind == Kind::Idle {
        cpu::this().idle_ns.fetch_add(ran_ns, Ordering::Relaxed);
        return Preemption::No;
    }
    queue.account(ran_ns)
}

/// Takes a thread that waits elsewhere, for a CPU that has nothing to do: from the CPU where most wait. It
/// runs here from now on.
fn steal(for_cpu: usize) -> Option<Arc<Thread>> {
    // Another's, if the busiest has none that may be taken: who looks for work has seen that there is one.
    let (thread, entity) = take_from_busiest(for_cpu)
        .or_else(|| others_with_waiting(for_cpu).find_map(|victim| take_from(victim, for_cpu)))?;
    // Through our own queue, which gives it its place in our virtual time.
    let cpu_queue = &QUEUES[for_cpu];
    let mut queue = cpu_queue.queue.lock();
    queue.enqueue(thread, entity, Arrival::Migrated);
    let next = queue.pick_next();
    cpu_queue.waiting.store(queue.waiting(), Ordering::Relaxed);
    next
}

fn take_from_busiest(for_cpu: usize) -> Option<(Arc<Thread>, Entity)> {
    let waiting = |index: &usize| QUEUES[*index].waiting.load(Ordering::Relaxed);
    take_from(others_with_waiting(for_cpu).max_by_key(waiting)?, for_cpu)
}

fn take_from(victim: usize, for_cpu: usize) -> Option<(Arc<Thread>, Entity)> {
    let mut queue = QUEUES[victim].queue.lock();
    let stolen = queue.steal(|thread| is_takable(thread, for_cpu));
    QUEUES[victim].waiting.store(queue.waiting(), Ordering::Relaxed);
    stolen
}

fn may_run_on(thread: &Thread, cpu: usize) -> bool {
    let allowed = thread.sched.affinity.load(Ordering::Relaxed) & cpu::online_mask();
    allowed == 0 || allowed & 1 << cpu != 0
}

/// Arms the end of the running thread's slice, if somebody waits for the CPU. On that CPU, with interrupts
/// masked.
fn arm_slice(cpu_queue: &CpuQueue) {
    let end_ns = {
        let queue = cpu_queue.queue.lock();
        let end_ns = queue.slice_left_ns().map_or(u64::MAX, |left_ns| cpu_queue.charged_ns.get() + left_ns);
        cpu_queue.slice_end_ns.store(end_ns, Ordering::Relaxed);
        end_ns
    };
    if end_ns != u64::MAX {
        time::rearm_no_later_than(end_ns);
    }
}

/// The end of this CPU's running slice; the timer interrupt asks.
pub fn slice_end_ns() -> u64 {
    QUEUES[cpu::index()].slice_end_ns.load(Ordering::Relaxed)
}

/// The running slice may have ended. In the timer interrupt.
pub fn slice_expired() {
    let cpu_queue = &QUEUES[cpu::index()];
    let turn = {
        let mut queue = cpu_queue.queue.lock();
        charge(cpu_queue, &mut queue, task::current(), clock::now_ns())
    };
    if turn == Preemption::Now {
        cpu::this().need_resched.store(true, Ordering::SeqCst);
        cpu_queue.slice_end_ns.store(u64::MAX, Ordering::Relaxed);
        pull_if_unbalanced();
    } else {
        arm_slice(cpu_queue);
    }
}

/// Takes a thread over from a CPU where at least two more wait than here.
fn pull_if_unbalanced() {
    let here = cpu::index();
    let waiting_here = QUEUES[here].waiting.load(Ordering::Relaxed);
    let busiest = cpu::all().map(|cpu| QUEUES[cpu.index].waiting.load(Ordering::Relaxed)).max().unwrap_or(0);
    if busiest >= waiting_here + 2
        && let Some((thread, entity)) = take_from_busiest(here)
    {
        thread.sched.entity.set(entity);
        enqueue(here, thread, Arrival::Migrated);
    }
}

/// Another CPU has put a thread on this CPU's queue.
pub fn reschedule_interrupt() {
    let cpu_queue = &QUEUES[cpu::index()];
    if cpu_queue.slice_end_ns.load(Ordering::Relaxed) == u64::MAX {
        arm_slice(cpu_queue);
    }
}

/// Another CPU wants this one's stores and loads ordered; having been interrupted is enough.
pub fn barrier_interrupt() {
    BARRIERS[cpu::index()].fetch_add(1, Ordering::SeqCst);
}

/// Makes the CPU that runs `thread`, if one does, look at the thread's pending work soon.
pub fn kick(thread: &Thread) {
    if thread.sched.on_cpu.load(Ordering::Acquire)
        && let Some(cpu) = cpu::by_index(thread.sched.cpu.load(Ordering::Relaxed))
        && cpu.index != cpu::index()
    {
        apic::send_ipi(cpu, interrupt::RESCHEDULE);
    }
}

/// What a CPU does when there is nothing to do, from its start to the end. Never returns.
pub fn run_idle_loop() -> ! {
    if cpu::this().current.get().is_null() {
        // SAFETY: the first thing that a CPU does here.
        unsafe { adopt_idle_thread() };
    }
    let this = cpu::this();
    let cpu_queue = &QUEUES[this.index];
    loop {
        interrupts::disable();
        this.idle.store(true, Ordering::SeqCst);
        // Say that we sleep, then look: who makes a thread takable does it the other way round.
        IDLE_CPUS.announce(this.index);
        let work = cpu_queue.waiting.load(Ordering::SeqCst) != 0 || others_have_one_for(this.index);
        if !work {
            interrupts::enable_and_hlt();
            interrupts::disable();
        }
        IDLE_CPUS.withdraw(this.index);
        this.idle.store(false, Ordering::SeqCst);
        mm::leave_idle();
        if cpu_queue.waiting.load(Ordering::SeqCst) != 0 || others_have_one_for(this.index) {
            switch(Leaving::Yielding);
        }
        interrupts::enable();
    }
}

/// Whether a thread that waits on another CPU could be stolen. One that waits alone behind a running thread is worth
/// taking, too: this CPU is idle.
fn others_have_one_for(here: usize) -> bool {
    others_with_waiting(here).any(|other| {
        let queue = QUEUES[other].queue.lock();
        queue.has_to_steal(|thread| is_takable(thread, here))
    })
}

/// The other CPUs on whose queues threads wait.
fn others_with_waiting(here: usize) -> impl Iterator<Item = usize> {
    cpu::all()
        .map(|cpu| cpu.index)
        .filter(move |index| *index != here && QUEUES[*index].waiting.load(Ordering::Relaxed) > 0)
}

/// Whether a waiting thread is off its CPU and may run here.
fn is_takable(thread: &Thread, here: usize) -> bool {
    !thread.sched.on_cpu.load(Ordering::Acquire) && may_run_on(thread, here)
}

/// Processor time of a thread in nanoseconds; exact for the running one.
pub fn cpu_time_ns(thread: &Thread) -> u64 {
    let mut time_ns = thread.sched.cpu_time_ns.load(Ordering::Relaxed);
    if thread.sched.on_cpu.load(Ordering::Relaxed) {
        time_ns += clock::now_ns().saturating_sub(thread.sched.since_ns.load(Ordering::Relaxed));
    }
    time_ns
}

/// The CPU that a thread runs on or ran on last.
pub fn last_cpu(thread: &Thread) -> usize {
    thread.sched.cpu.load(Ordering::Relaxed)
}

/// Whether the thread runs at this moment.
pub fn is_running(thread: &Thread) -> bool {
    thread.sched.on_cpu.load(Ordering::Relaxed)
}

/// CPUs that the thread may run on.
pub fn affinity(thread: &Thread) -> u64 {
    thread.sched.affinity.load(Ordering::Relaxed) & cpu::online_mask()
}

/// Sets the CPUs that the thread may run on; takes effect when it next gives way.
pub fn set_affinity(thread: &Thread, mask: u64) {
    thread.sched.affinity.store(mask, Ordering::Relaxed);
    if thread.sched.on_cpu.load(Ordering::Acquire)
        && let Some(cpu) = cpu::by_index(last_cpu(thread))
        && !may_run_on(thread, cpu.index)
    {
        cpu.need_resched.store(true, Ordering::SeqCst);
        if cpu.index != cpu::index() {
            apic::send_ipi(cpu, interrupt::RESCHEDULE);
        }
    }
}

/// Nice value, -20 to 19.
pub fn nice(thread: &Thread) -> i32 {
    Nice::clamped(thread.sched.nice.load(Ordering::Relaxed)).value()
}

/// Sets the nice value. A thread that waits or runs elsewhere has it from its next wake-up on.
pub fn set_nice(thread: &Thread, nice: i32) {
    thread.sched.nice.store(nice, Ordering::Relaxed);
    if core::ptr::eq(thread, task::current()) {
        let irq = ksync::platform::irq_save();
        QUEUES[cpu::index()].queue.lock().set_running_nice(effective_nice(thread));
        ksync::platform::irq_restore(irq);
    }
}

/// The nice value that a thread is scheduled by: with `SCHED_IDLE` the least weight that there is.
fn effective_nice(thread: &Thread) -> Nice {
    if thread.sched.policy.load(Ordering::Relaxed) == SchedPolicy::Idle as u32 {
        Nice::clamped(19)
    } else {
        Nice::clamped(thread.sched.nice.load(Ordering::Relaxed))
    }
}

/// The scheduling policy.
pub fn policy(thread: &Thread) -> SchedPolicy {
    SchedPolicy::from_raw(thread.sched.policy.load(Ordering::Relaxed)).unwrap_or(SchedPolicy::Normal)
}

/// Sets the scheduling policy, a fair one; takes effect as [`set_nice`] does.
pub fn set_policy(thread: &Thread, policy: SchedPolicy) {
    thread.sched.policy.store(policy as u32, Ordering::Relaxed);
    set_nice(thread, nice(thread));
}

/// Gives a thread that has not started yet what `clone(2)` lets it inherit.
pub fn inherit(thread: &Thread, from: &Thread) {
    set_nice(thread, nice(from));
    set_policy(thread, policy(from));
    thread.sched.affinity.store(from.sched.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Barriers that a CPU has passed because another asked for it.
pub fn barriers_passed(cpu: usize) -> u64 {
    BARRIERS[cpu].load(Ordering::SeqCst)
}

/// Switches that the thread made because it blocked, and because it was preempted.
pub fn switch_counts(thread: &Thread) -> (u64, u64) {
    (
        thread.sched.voluntary_switches.load(Ordering::Relaxed),
        thread.sched.involuntary_switches.load(Ordering::Relaxed),
    )
}

/// Threads on the queues and running, for `/proc/loadavg`.
pub fn runnable_count() -> usize {
    cpu::all()
        .map(|cpu| {
            QUEUES[cpu.index].waiting.load(Ordering::Relaxed) + usize::from(!cpu.idle.load(Ordering::Relaxed))
        })
        .sum()
}
