//! Signals: sending them, and delivering them on the way back to the application.
//!
//! What waits and what is done with it are decided by the crate `signal-queue`; here are the threads, the
//! frames on the application's stack, and the exceptions that become signals.
//!
//! Locks: [`SHARED`] (the process's queue, the dispositions), then a thread's `signals`.
//! `Thread::work_pending` is set with both held or after, and cleared only with both held and nothing
//! deliverable; so whoever sees it clear has missed nothing.

use alloc::sync::Arc;
use core::{ops::DerefMut, sync::atomic::Ordering};

use ::ipc::posix_timer::Sent;
use ksync::SpinLock;
use linux_abi::{
    Errno,
    signal::{
        FP_XSTATE_MAGIC2, FpxSwBytes, FrameLayout, REDZONE_SIZE, RtSigFrame, SaFlags, SigAction, SigContext,
        SigInfo, SigSet, Signal, StackT, UContext, UcFlags, code,
    },
};
use signal_queue::{Budget, Delivery, Dispositions, Handler, PendingSignals, Queued, take_any_of, take_next};
use spin::{LazyLock, Once};

use crate::{
    arch::{
        fpu::{self, StateBuffer},
        layout::USER_END,
        trap::{TrapFrame, page_fault_error, rflags, vector},
    },
    mm, syscall,
    task::{self, Thread},
    user::UserPtr,
};

/// Signals that may wait with their information (`RLIMIT_SIGPENDING`).
pub static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| Arc::new(Budget::new(65536)));

/// What the threads share.
pub struct Shared {
    /// Signals that any thread may take.
    pub pending: PendingSignals,
    /// What is done with each signal.
    pub dispositions: Dispositions,
}

/// The process's signals.
pub static SHARED: LazyLock<SpinLock<Shared>> = LazyLock::new(|| {
    SpinLock::new(Shared { pending: PendingSignals::new(BUDGET.clone()), dispositions: Dispositions::new() })
});

/// A thread's signals.
pub struct ThreadSignals {
    /// Signals that wait until they are unblocked.
    pub blocked: SigSet,
    /// The mask to put back once a handler has been entered or the call has ended (`sigsuspend(2)`,
    /// `ppoll(2)`, ...).
    saved_mask: Option<SigSet>,
    /// Signals for this thread.
    pub pending: PendingSignals,
    /// `sigaltstack(2)`.
    pub alternate_stack: StackT,
    /// What `sigtimedwait(2)` waits for: such a signal ends the wait though it is blocked.
    awaited: SigSet,
    /// Vector, error code and address of the last exception, as the context in a frame has them.
    last_fault: (u64, u64, u64),
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self::with_mask(SigSet::EMPTY)
    }
}

impl ThreadSignals {
    /// Those of a new thread, which inherits its creator's mask and nothing else.
    pub fn with_mask(blocked: SigSet) -> Self {
        Self {
            blocked,
            saved_mask: None,
            pending: PendingSignals::new(BUDGET.clone()),
            alternate_stack: StackT::DISABLED,
            awaited: SigSet::EMPTY,
            last_fault: (0, 0, 0),
        }
    }

    fn is_deliverable(&self, shared: &Shared) -> bool {
        !self.pending.set().union(shared.pending.set()).difference(self.blocked).is_empty()
    }
}

/// Whether a queue took a signal with its information.
fn outcome(queued: Queued) -> Sent {
    match queued {
        Queued::Added => Sent::Queued,
        Queued::Coalesced | Queued::WithoutInfo => Sent::Dropped,
    }
}

/// Sends a signal to one thread.
pub fn send_to_thread(thread: &Thread, signal: Signal, info: SigInfo) -> Result<Sent, Errno> {
    let (sent, waits) = {
        let mut shared = SHARED.lock();
        let mut signals = thread.signals.lock();
        cancel_opposites(&mut shared, &mut signals, signal);
        if !signals.blocked.contains(signal)
            && !signals.awaited.contains(signal)
            && shared.dispositions.is_ignored(signal)
        {
            return Ok(Sent::Dropped);
        }
        let queued = signals.pending.queue(signal, info)?;
        (outcome(queued), signals.blocked.contains(signal) && !signals.awaited.contains(signal))
    };
    if waits {
        crate::ipc::signal_queued();
    } else {
        thread.notify_work();
    }
    Ok(sent)
}

/// Sends a signal to the process: to any thread that does not block it.
pub fn send_to_process(signal: Signal, info: SigInfo) -> Result<Sent, Errno> {
    let mut threads = task::threads();
    threads.retain(|thread| !thread.ended.load(Ordering::Relaxed));
    let (sent, taker) = {
        let mut shared = SHARED.lock();
        if shared.dispositions.is_ignored(signal)
            && !threads.iter().any(|thread| {
                let signals = thread.signals.lock();
                signals.blocked.contains(signal) || signals.awaited.contains(signal)
            })
        {
            return Ok(Sent::Dropped);
        }
        shared.pending.discard(Dispositions::cancelled_by(signal));
        let queued = shared.pending.queue(signal, info)?;
        // The main thread if it wants it, as on Linux; else the first that does.
        let taker = threads.iter().find(|thread| {
            let signals = thread.signals.lock();
            !signals.blocked.contains(signal) || signals.awaited.contains(signal)
        });
        (outcome(queued), taker)
    };
    match taker {
        Some(thread) => thread.notify_work(),
        None => crate::ipc::signal_queued(),
    }
    Ok(sent)
}

fn cancel_opposites(shared: &mut Shared, signals: &mut ThreadSignals, signal: Signal) {
    let cancelled = Dispositions::cancelled_by(signal);
    if !cancelled.is_empty() {
        shared.pending.discard(cancelled);
        signals.pending.discard(cancelled);
    }
}

/// Whether `thread` must leave an interruptible wait. Clears the hint if there is nothing.
pub fn interrupts_wait(thread: &Thread) -> bool {
    if task::is_exiting() {
        return true;
    }
    let shared = SHARED.lock();
    let signals = thread.signals.lock();
    let pending = signals.pending.set().union(shared.pending.set());
    let wanted = pending.difference(signals.blocked).union(pending.intersection(signals.awaited));
    if wanted.is_empty() {
        thread.work_pending.store(task::is_exiting(), Ordering::SeqCst);
    }
    !wanted.is_empty()
}

/// The running thread ends: a process-wide signal that it was told of may be another's to take.
pub fn reassign_process_signals() {
    if SHARED.lock().pending.set().is_empty() {
        return;
    }
    for thread in task::threads() {
        let shared = SHARED.lock();
        let deliverable = thread.signals.lock().is_deliverable(&shared);
        drop(shared);
        if deliverable {
            thread.notify_work();
        }
    }
}

/// Sets an action (`rt_sigaction(2)`); returns the former one.
pub fn set_action(signal: Signal, action: SigAction) -> Result<SigAction, Errno> {
    let threads = task::threads();
    let mut shared = SHARED.lock();
    let replaced = shared.dispositions.replace(signal, action)?;
    if !replaced.discard.is_empty() {
        shared.pending.discard(replaced.discard);
        threads.iter().for_each(|thread| thread.signals.lock().pending.discard(replaced.discard));
    }
    Ok(replaced.former)
}

/// The action of a signal.
pub fn action(signal: Signal) -> SigAction {
    SHARED.lock().dispositions.action(signal)
}

/// Sets the running thread's mask; returns the former one.
pub fn set_mask(mask: SigSet) -> SigSet {
    let thread = task::current();
    let shared = SHARED.lock();
    let mut signals = thread.signals.lock();
    let former = core::mem::replace(&mut signals.blocked, mask.blockable());
    if signals.is_deliverable(&shared) {
        thread.work_pending.store(true, Ordering::SeqCst);
    }
    former
}

/// The running thread's mask.
pub fn mask() -> SigSet {
    task::current().signals.lock().blocked
}

/// Sets the running thread's mask for the length of one system call. The former mask comes back when a
/// handler has been entered, which sees it in its frame, or else on the way back to the application.
pub fn set_mask_for_call(mask: SigSet) {
    let former = set_mask(mask);
    let thread = task::current();
    thread.signals.lock().saved_mask.get_or_insert(former);
    // The way out must look, to put the mask back.
    thread.work_pending.store(true, Ordering::SeqCst);
}

/// Puts the mask back that [`set_mask_for_call`] replaced, for a call that no signal has interrupted: what
/// came in the meantime, and is blocked again, stays pending.
pub fn end_mask_for_call() {
    let thread = task::current();
    let shared = SHARED.lock();
    let mut signals = thread.signals.lock();
    if let Some(mask) = signals.saved_mask.take() {
        signals.blocked = mask;
        if signals.is_deliverable(&shared) {
            thread.work_pending.store(true, Ordering::SeqCst);
        }
    }
}

/// What of `set` is pending for the running thread or the process, blocked or not.
pub fn pending_of(set: SigSet) -> SigSet {
    let shared = SHARED.lock();
    let signals = task::current().signals.lock();
    signals.pending.set().union(shared.pending.set()).intersection(set)
}

/// Signals that wait for the running thread because they are blocked.
pub fn pending() -> SigSet {
    let shared = SHARED.lock();
    let signals = task::current().signals.lock();
    signals.pending.set().union(shared.pending.set()).intersection(signals.blocked)
}

/// Takes a pending signal of `wanted`, if there is one; for `sigtimedwait(2)` and `signalfd(2)`.
pub fn take_pending(wanted: SigSet) -> Option<SigInfo> {
    let taken = {
        let mut shared = SHARED.lock();
        let mut signals = task::current().signals.lock();
        take_any_of(&mut signals.pending, &mut shared.pending, wanted)
    };
    taken.map(crate::ipc::signal_taken)
}

/// Waits for what only a signal to the running thread or the clock brings. Nobody else wakes it, so each wait has a queue of its
/// own, and sleepers share no lock.
pub fn wait_undisturbed<T>(
    deadline_ns: Option<u64>,
    condition: impl FnMut() -> Option<T>,
) -> Result<T, ksync::WaitError> {
    ksync::WaitQueue::new().wait(ksync::Interruptible::Yes, deadline_ns, condition)
}

/// Waits for a signal of `wanted`, `deadline_ns` at most.
pub fn wait_for(wanted: SigSet, deadline_ns: Option<u64>) -> Result<SigInfo, Errno> {
    let thread = task::current();
    thread.signals.lock().awaited = wanted.blockable();
    // Signals unpark the thread and count as an interruption, so the queue itself needs no wake-up.
    let result = wait_undisturbed(deadline_ns, || take_pending(wanted));
    thread.signals.lock().awaited = SigSet::EMPTY;
    match result {
        Ok(info) => Ok(info),
        Err(ksync::WaitError::TimedOut) => Err(Errno::EAGAIN),
        // It may have been for us, and come between the last look and the end of the wait.
        Err(ksync::WaitError::Interrupted) => take_pending(wanted).ok_or(Errno::EINTR),
    }
}

/// The signal for a fault that the memory map could not serve.
pub fn application_fault(frame: &TrapFrame, address: u64, error: mm::FaultError) {
    let (signal, code) = match error {
        mm::FaultError::NotMapped => (Signal::SIGSEGV, code::SEGV_MAPERR),
        mm::FaultError::NoAccess => (Signal::SIGSEGV, code::SEGV_ACCERR),
        mm::FaultError::BeyondObject => (Signal::SIGBUS, code::BUS_ADRERR),
        mm::FaultError::OutOfMemory => return out_of_memory(),
    };
    // The application runs in ring 0, so the hardware leaves out the bit that a Linux program sees.
    let context = (vector::PAGE_FAULT, frame.error | page_fault_error::USER, address);
    force(signal, SigInfo::fault(signal, code, address), Some(context));
}

/// Ends the process because the running thread touched memory and there is none to be had: what Linux's
/// out-of-memory killer would do, as no other process can be chosen. A signal that the program handles would
/// need memory for its handler.
pub fn out_of_memory() {
    let thread = task::current();
    mm::report_shortage();
    // The kernel's own SIGKILL is never limited.
    let _ = thread.signals.lock().pending.queue(Signal::SIGKILL, SigInfo::kernel(Signal::SIGKILL));
    thread.work_pending.store(true, core::sync::atomic::Ordering::SeqCst);
}

/// The signal for an exception that the application caused (Linux arch/x86/kernel/traps.c).
pub fn application_exception(frame: &TrapFrame) {
    let at_rip = |signal, code| (signal, SigInfo::fault(signal, code, frame.rip));
    let (signal, info) = match frame.vector {
        vector::DIVIDE_ERROR => at_rip(Signal::SIGFPE, code::FPE_INTDIV),
        // The frame has the flag that caused it set; the handler begins without, and `rt_sigreturn(2)` puts
        // it back.
        vector::DEBUG => at_rip(Signal::SIGTRAP, code::TRAP_TRACE),
        vector::BREAKPOINT => (Signal::SIGTRAP, SigInfo::kernel(Signal::SIGTRAP)),
        vector::INVALID_OPCODE => at_rip(Signal::SIGILL, code::ILL_ILLOPN),
        vector::X87 => at_rip(Signal::SIGFPE, floating_point_code(fpu::x87_exceptions())),
        vector::SIMD => at_rip(Signal::SIGFPE, floating_point_code(fpu::simd_exceptions())),
        vector::ALIGNMENT_CHECK => at_rip(Signal::SIGBUS, code::BUS_ADRALN),
        vector::SEGMENT_NOT_PRESENT | vector::STACK_SEGMENT => {
            (Signal::SIGBUS, SigInfo::kernel(Signal::SIGBUS))
        }
        // General protection: a non-canonical address. There is no address to tell.
        _ => (Signal::SIGSEGV, SigInfo::kernel(Signal::SIGSEGV)),
    };
    force(signal, info, Some((frame.vector, frame.error, 0)));
}

/// Unmasked exceptions in x87 status or MXCSR order: the first of them, as `fpu__exception_code` ranks.
fn floating_point_code(exceptions: u32) -> i32 {
    const RANKED: [(u32, i32); 6] = [
        (1 << 0, code::FPE_FLTINV),
        (1 << 2, code::FPE_FLTDIV),
        (1 << 3, code::FPE_FLTOVF),
        (1 << 4, code::FPE_FLTUND),
        (1 << 1, code::FPE_FLTUND),
        (1 << 5, code::FPE_FLTRES),
    ];
    RANKED.iter().find(|(bit, _)| exceptions & bit != 0).map_or(0, |(_, code)| *code)
}

/// Makes a fault's signal pending for the running thread so that it cannot be blocked or ignored.
///
/// `context` is the exception's vector, error code and address, if it was one: a context keeps the last
/// one's.
fn force(signal: Signal, info: SigInfo, context: Option<(u64, u64, u64)>) {
    let thread = task::current();
    let mut shared = SHARED.lock();
    let mut signals = thread.signals.lock();
    signals.last_fault = context.unwrap_or(signals.last_fault);
    signals.blocked = shared.dispositions.force(signal, signals.blocked);
    // A fault's information is from the kernel and never limited.
    let _ = signals.pending.queue(signal, info);
    thread.work_pending.store(true, Ordering::SeqCst);
}

/// Delivers what is pending for the running thread: sets `frame` up for a handler, or ends the process.
/// `restart` tells what the interrupted system call wants. Interrupts are unmasked, and it may wait (for the
/// application's stack). Returns whether it changed the frame.
pub fn deliver(frame: &mut TrapFrame, restart: &mut syscall::Restart) -> bool {
    let thread = task::current();
    let mut changed = false;
    loop {
        let (delivery, signal, info, mask_for_frame) = {
            let mut shared = SHARED.lock();
            let mut signals = thread.signals.lock();
            let Shared { pending, dispositions } = shared.deref_mut();
            let blocked = signals.blocked;
            let Some(info) = take_next(&mut signals.pending, pending, blocked) else {
                if let Some(mask) = signals.saved_mask.take() {
                    signals.blocked = mask;
                    if signals.is_deliverable(&shared) {
                        continue;
                    }
                }
                thread.work_pending.store(task::is_exiting(), Ordering::SeqCst);
                break;
            };
            let Some(signal) = info.signal() else { continue };
            let delivery =
                if signal == Signal::SIGKILL { Delivery::Terminate } else { dispositions.deliver(signal) };
            let mask_for_frame = signals.saved_mask.take().unwrap_or(signals.blocked);
            if !matches!(delivery, Delivery::Handler(_)) {
                signals.saved_mask = Some(mask_for_frame);
            }
            (delivery, signal, info, mask_for_frame)
        };
        let info = crate::ipc::signal_taken(info);
        if syscall::is_traced() {
            trace(signal, &info, frame);
        }
        match delivery {
            Delivery::Ignore => {}
            Delivery::Terminate | Delivery::Core => {
                restart.settle(frame, None);
                task::terminate_by_signal(signal, matches!(delivery, Delivery::Core), frame);
            }
            Delivery::Handler(handler) => {
                changed |= restart.settle(frame, Some(&handler));
                if enter_handler(frame, &handler, info, mask_for_frame).is_err() {
                    // Linux: a frame that cannot be written is a SIGSEGV, whose handler, if it is its own
                    // turn that failed, is reset first.
                    if signal == Signal::SIGSEGV {
                        let _ = set_action(Signal::SIGSEGV, SigAction::DEFAULT);
                    }
                    force(Signal::SIGSEGV, SigInfo::kernel(Signal::SIGSEGV), None);
                } else {
                    changed = true;
                }
            }
        }
    }
    changed | restart.settle(frame, None)
}

/// Shows the delivery of a signal among the system calls, as `strace(1)` does.
fn trace(signal: Signal, info: &SigInfo, frame: &TrapFrame) {
    let name = signal.name().unwrap_or("realtime signal");
    crate::log::write_line(format_args!(
        "[{}] --- {name} ({}) {{si_code={}, si_addr={:#x}}} at {:#x}, sp {:#x} ---",
        task::current().tid,
        signal.number(),
        info.code,
        info.address(),
        frame.rip,
        frame.rsp
    ));
}

/// Writes the frame of a handler to the application's stack and makes `frame` enter it.
fn enter_handler(frame: &mut TrapFrame, handler: &Handler, info: SigInfo, mask: SigSet) -> Result<(), Errno> {
    let thread = task::current();
    let (alternate_stack, (trapno, err, cr2)) = {
        let signals = thread.signals.lock();
        (signals.alternate_stack, signals.last_fault)
    };
    let on_alternate = alternate_stack.contains(frame.rsp);
    let switches =
        handler.flags.contains(SaFlags::ONSTACK) && !alternate_stack.is_disabled() && !on_alternate;
    let sp = if switches { alternate_stack.top() } else { frame.rsp.wrapping_sub(REDZONE_SIZE) };
    let layout = FrameLayout::below(sp, fpu::state_size() as u64).ok_or(Errno::EFAULT)?;
    if (switches || on_alternate) && !alternate_stack.contains(layout.frame_address) {
        return Err(Errno::EFAULT); // the alternate stack would overflow
    }

    let mut state = StateBuffer::capture(&frame.xmm)?;
    let mut xfeatures = 0;
    if fpu::components() != 0 {
        xfeatures = fpu::components();
    }
    let software = FpxSwBytes::new(xfeatures, fpu::state_size() as u32);
    state.set_software_bytes(&software);
    UserPtr::<u8>::new(layout.xstate_address).write_slice(state.bytes())?;
    UserPtr::<u32>::new(layout.xstate_address + fpu::state_size() as u64).write(FP_XSTATE_MAGIC2)?;

    let context = SigContext {
        r8: frame.r8,
        r9: frame.r9,
        r10: frame.r10,
        r11: frame.r11,
        r12: frame.r12,
        r13: frame.r13,
        r14: frame.r14,
        r15: frame.r15,
        rdi: frame.rdi,
        rsi: frame.rsi,
        rbp: frame.rbp,
        rbx: frame.rbx,
        rdx: frame.rdx,
        rax: frame.rax,
        rcx: frame.rcx,
        rsp: frame.rsp,
        rip: frame.rip,
        rflags: frame.rflags,
        // What a 64-bit program on Linux has; here both are the kernel's, and no one restores them.
        cs: 0x33,
        ss: 0x2b,
        err,
        trapno,
        oldmask: mask.bits(),
        cr2,
        fpstate: layout.xstate_address,
        ..Default::default()
    };
    let flags = if fpu::components() == 0 {
        UcFlags::FOR_64_BIT_CODE - UcFlags::FP_XSTATE
    } else {
        UcFlags::FOR_64_BIT_CODE
    };
    let mut stack = alternate_stack;
    stack.flags = alternate_stack.reported_flags(frame.rsp);
    let on_stack = RtSigFrame {
        pretcode: handler.restorer,
        uc: UContext { flags, link: 0, stack, mcontext: context, sigmask: mask },
        info,
    };
    UserPtr::<RtSigFrame>::new(layout.frame_address).write(on_stack)?;

    {
        let shared = SHARED.lock();
        let mut signals = thread.signals.lock();
        signals.blocked = handler.blocked_during(signals.blocked);
        if alternate_stack.is_autodisarm() {
            signals.alternate_stack = StackT::DISABLED;
        }
        drop(shared);
    }
    fpu::reset();
    frame.xmm = [0; 16];
    frame.rip = handler.address;
    frame.rsp = layout.frame_address;
    frame.rdi = u64::from(handler.signal.number());
    frame.rsi = layout.info_address();
    frame.rdx = layout.ucontext_address();
    frame.rax = 0;
    frame.rflags &= !(rflags::DF | rflags::RF | rflags::TF);
    Ok(())
}

/// Flags that `rt_sigreturn` takes from the frame (`FIX_EFLAGS`): the arithmetic ones, TF, DF, RF, AC.
const RFLAGS_RESTORED: u64 = 0x0005_0dd5;

/// `rt_sigreturn(2)`: puts back what `enter_handler` saved, as the handler may have changed it.
pub fn return_from_handler(frame: &mut TrapFrame) -> Result<(), Errno> {
    let on_stack = UserPtr::<RtSigFrame>::new(frame.rsp.wrapping_sub(8)).read()?;
    let context = on_stack.uc.mcontext;
    if context.rip >= USER_END {
        return Err(Errno::EFAULT);
    }
    let state =
        if context.fpstate == 0 { None } else { Some(StateBuffer::read(UserPtr::new(context.fpstate))?) };
    {
        let thread = task::current();
        let shared = SHARED.lock();
        let mut signals = thread.signals.lock();
        signals.blocked = on_stack.uc.sigmask.blockable();
        // Linux ignores an alternate stack that is not acceptable here.
        if !signals.alternate_stack.contains(context.rsp)
            && let Ok(stack) = on_stack.uc.stack.accepted(linux_abi::signal::MINSIGSTKSZ)
        {
            signals.alternate_stack = stack;
        }
        if signals.is_deliverable(&shared) {
            thread.work_pending.store(true, Ordering::SeqCst);
        }
    }
    match &state {
        Some(state) => frame.xmm = state.restore(),
        None => {
            fpu::reset();
            frame.xmm = [0; 16];
        }
    }
    frame.r8 = context.r8;
    frame.r9 = context.r9;
    frame.r10 = context.r10;
    frame.r11 = context.r11;
    frame.r12 = context.r12;
    frame.r13 = context.r13;
    frame.r14 = context.r14;
    frame.r15 = context.r15;
    frame.rdi = context.rdi;
    frame.rsi = context.rsi;
    frame.rbp = context.rbp;
    frame.rbx = context.rbx;
    frame.rdx = context.rdx;
    frame.rax = context.rax;
    frame.rcx = context.rcx;
    frame.rsp = context.rsp;
    frame.rip = context.rip;
    frame.rflags = frame.rflags & !RFLAGS_RESTORED | context.rflags & RFLAGS_RESTORED;
    Ok(())
}

/// `SIGSEGV` for a frame that `rt_sigreturn(2)` cannot read.
pub fn bad_frame() {
    force(Signal::SIGSEGV, SigInfo::kernel(Signal::SIGSEGV), None);
}

/// `sigaltstack(2)`.
pub fn alternate_stack(new: Option<StackT>, sp: u64) -> Result<StackT, Errno> {
    let mut signals = task::current().signals.lock();
    let mut former = signals.alternate_stack;
    former.flags = former.reported_flags(sp);
    if let Some(new) = new {
        if signals.alternate_stack.contains(sp) && !signals.alternate_stack.is_autodisarm() {
            return Err(Errno::EPERM);
        }
        signals.alternate_stack = new.accepted(linux_abi::signal::MINSIGSTKSZ)?;
    }
    Ok(former)
}

/// The smallest stack for a frame, which the auxiliary vector tells (`AT_MINSIGSTKSZ`).
pub fn minimum_stack_size() -> u64 {
    static SIZE: Once<u64> = Once::new();
    *SIZE.call_once(|| {
        let top = 1 << 20;
        FrameLayout::below(top, fpu::state_size() as u64)
            .map_or(2048, |layout| top - layout.frame_address + REDZONE_SIZE)
    })
}
