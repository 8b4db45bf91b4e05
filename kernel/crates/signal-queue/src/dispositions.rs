//! What a process does with each signal.

use linux_abi::{
    Errno,
    signal::{DefaultAction, Disposition, SaFlags, SigAction, SigSet, Signal},
};

/// The action of every signal; shared by all threads of a process.
#[derive(Clone, Debug)]
pub struct Dispositions {
    actions: [SigAction; Signal::COUNT],
}

/// What follows from [`Dispositions::replace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replaced {
    /// The former action, for `oldact`.
    pub former: SigAction,
    /// The signals that are ignored from now on and whose pending ones must go, from the process's queue and
    /// from each thread's, blocked or not: the signal itself, or none.
    pub discard: SigSet,
}

/// What to do with a signal that has been taken from its queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Nothing.
    Ignore,
    /// End the process with this signal.
    Terminate,
    /// The same, and a core file would be written.
    Core,
    /// Call a handler.
    Handler(Handler),
}

/// A handler to be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handler {
    /// For which signal.
    pub signal: Signal,
    /// Its address.
    pub address: u64,
    /// Where it returns to.
    pub restorer: u64,
    /// How it is called.
    pub flags: SaFlags,
    mask: SigSet,
}

impl Handler {
    /// What is blocked while the handler runs: what was blocked, the action's mask, and the signal itself
    /// unless `SA_NODEFER` is set.
    pub const fn blocked_during(&self, blocked: SigSet) -> SigSet {
        let added =
            if self.flags.contains(SaFlags::NODEFER) { self.mask } else { self.mask.with(self.signal) };
        blocked.union(added).blockable()
    }

    /// Whether the system call that the signal interrupted is to be restarted, if it is one that can be.
    pub const fn restarts_calls(&self) -> bool {
        self.flags.contains(SaFlags::RESTART)
    }
}

impl Default for Dispositions {
    fn default() -> Self {
        Self::new()
    }
}

impl Dispositions {
    /// The table of a new program: the default action everywhere.
    pub const fn new() -> Self {
        Self { actions: [SigAction::DEFAULT; Signal::COUNT] }
    }

    /// The action of a signal: `rt_sigaction(2)` without a new one.
    pub const fn action(&self, signal: Signal) -> SigAction {
        self.actions[signal.index()]
    }

    /// Sets the action of a signal: `rt_sigaction(2)`. Unknown flags, and signals that cannot be blocked, are
    /// taken out of it, as on Linux.
    ///
    /// # Errors
    /// `EINVAL` for `SIGKILL` and `SIGSTOP`.
    pub fn replace(&mut self, signal: Signal, action: SigAction) -> Result<Replaced, Errno> {
        if signal.is_uncatchable() {
            return Err(Errno::EINVAL);
        }
        let former = core::mem::replace(&mut self.actions[signal.index()], action.sanitized());
        let discard = if self.is_ignored(signal) { SigSet::only(signal) } else { SigSet::EMPTY };
        Ok(Replaced { former, discard })
    }

    /// Whether a signal does nothing. Such a signal is dropped when it is sent, unless the target blocks it:
    /// its action may be another when it is unblocked.
    pub const fn is_ignored(&self, signal: Signal) -> bool {
        match self.action(signal).disposition() {
            Disposition::Ignore => true,
            Disposition::Default => matches!(Self::default_delivery(signal), Delivery::Ignore),
            Disposition::Handler(_) => false,
        }
    }

    /// Which signals have a handler: `SigCgt` in /proc/self/status.
    pub fn caught(&self) -> SigSet {
        self.signals(|disposition| matches!(disposition, Disposition::Handler(_)))
    }

    /// Which signals are set to be ignored: `SigIgn` in /proc/self/status.
    pub fn ignored(&self) -> SigSet {
        self.signals(|disposition| disposition == Disposition::Ignore)
    }

    fn signals(&self, matches: impl Fn(Disposition) -> bool) -> SigSet {
        (SigSet::ALL.iter()).filter(|signal| matches(self.action(*signal).disposition())).collect()
    }

    /// What to do with a signal that has been taken from its queue. With `SA_RESETHAND` the action becomes
    /// the default one by this.
    pub fn deliver(&mut self, signal: Signal) -> Delivery {
        let action = &mut self.actions[signal.index()];
        match action.disposition() {
            Disposition::Ignore => Delivery::Ignore,
            Disposition::Default => Self::default_delivery(signal),
            Disposition::Handler(address) => {
                let handler = Handler {
                    signal,
                    address,
                    restorer: action.restorer,
                    flags: action.flags,
                    mask: action.mask,
                };
                if action.flags.contains(SaFlags::RESETHAND) {
                    // Linux resets the handler alone; flags and mask can still be read.
                    action.handler = linux_abi::signal::SIG_DFL;
                }
                Delivery::Handler(handler)
            }
        }
    }

    /// Prepares for a fault, which cannot be put off: if its signal is blocked or ignored, the action becomes
    /// the default one, which ends the process, and the signal is unblocked (`force_sig_info_to_task`). To be
    /// called before the signal is queued to the faulting thread, also when its frame cannot be written to
    /// its stack (`SIGSEGV`).
    pub fn force(&mut self, signal: Signal, blocked: SigSet) -> SigSet {
        let action = &mut self.actions[signal.index()];
        if blocked.contains(signal) || action.disposition() == Disposition::Ignore {
            action.handler = linux_abi::signal::SIG_DFL;
        }
        blocked.without(signal)
    }

    /// The pending signals that a sent one takes back, whether or not it is ignored itself: `SIGCONT` the
    /// stop signals, a stop signal `SIGCONT` (`prepare_signal`).
    pub const fn cancelled_by(signal: Signal) -> SigSet {
        const STOP: SigSet = SigSet::EMPTY
            .with(Signal::SIGSTOP)
            .with(Signal::SIGTSTP)
            .with(Signal::SIGTTIN)
            .with(Signal::SIGTTOU);
        match signal.default_action() {
            DefaultAction::Continue => STOP,
            DefaultAction::Stop => SigSet::only(Signal::SIGCONT),
            _ => SigSet::EMPTY,
        }
    }

    const fn default_delivery(signal: Signal) -> Delivery {
        match signal.default_action() {
            DefaultAction::Terminate => Delivery::Terminate,
            DefaultAction::Core => Delivery::Core,
            DefaultAction::Ignore => Delivery::Ignore,
            // No job control; see the crate's documentation.
            DefaultAction::Stop | DefaultAction::Continue => Delivery::Ignore,
        }
    }
}

#[cfg(test)]
mod tests {
    use linux_abi::signal::SIG_IGN;

    use super::*;

    fn handler(flags: SaFlags, mask: SigSet) -> SigAction {
        SigAction { handler: 0x1000, flags: flags | SaFlags::RESTORER, restorer: 0x2000, mask }
    }

    #[test]
    fn defaults_are_those_of_signal_7() {
        let mut table = Dispositions::new();
        assert_eq!(table.deliver(Signal::SIGTERM), Delivery::Terminate);
        assert_eq!(table.deliver(Signal::SIGSEGV), Delivery::Core);
        assert_eq!(table.deliver(Signal::SIGCHLD), Delivery::Ignore);
        assert_eq!(table.deliver(Signal::SIGRTMAX), Delivery::Terminate);
        // No job control.
        assert_eq!(table.deliver(Signal::SIGSTOP), Delivery::Ignore);
        assert!(table.is_ignored(Signal::SIGCONT) && !table.is_ignored(Signal::SIGKILL));
    }

    #[test]
    fn kill_and_stop_keep_their_actions() {
        let mut table = Dispositions::new();
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            assert_eq!(table.replace(signal, handler(SaFlags::empty(), SigSet::EMPTY)), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn a_signal_that_becomes_ignored_is_discarded() {
        let mut table = Dispositions::new();
        let action = handler(SaFlags::SIGINFO, SigSet::EMPTY);
        assert_eq!(table.replace(Signal::SIGINT, action).unwrap().discard, SigSet::EMPTY);
        let replaced = table.replace(Signal::SIGINT, SigAction { handler: SIG_IGN, ..action }).unwrap();
        assert_eq!(replaced, Replaced { former: action, discard: SigSet::only(Signal::SIGINT) });
        assert_eq!(table.ignored(), SigSet::only(Signal::SIGINT));
        let to_default = table.replace(Signal::SIGCHLD, SigAction::DEFAULT).unwrap();
        assert_eq!(to_default.discard, SigSet::only(Signal::SIGCHLD));
    }

    #[test]
    fn a_handler_blocks_its_signal_and_its_mask() {
        let mut table = Dispositions::new();
        let mask = SigSet::ALL;
        table.replace(Signal::SIGUSR1, handler(SaFlags::RESTART, SigSet::only(Signal::SIGHUP))).unwrap();
        table.replace(Signal::SIGUSR2, handler(SaFlags::NODEFER, mask.without(Signal::SIGUSR2))).unwrap();
        let before = SigSet::only(Signal::SIGPIPE);
        let Delivery::Handler(first) = table.deliver(Signal::SIGUSR1) else { panic!() };
        assert_eq!(first.blocked_during(before), before.with(Signal::SIGUSR1).with(Signal::SIGHUP));
        assert!(first.restarts_calls());
        let Delivery::Handler(second) = table.deliver(Signal::SIGUSR2) else { panic!() };
        assert_eq!(!second.blocked_during(before), SigSet::UNCATCHABLE.with(Signal::SIGUSR2));
        assert_eq!(table.caught(), SigSet::only(Signal::SIGUSR1).with(Signal::SIGUSR2));
    }

    #[test]
    fn a_one_shot_handler_is_called_once() {
        let mut table = Dispositions::new();
        table.replace(Signal::SIGINT, handler(SaFlags::RESETHAND, SigSet::EMPTY)).unwrap();
        assert!(matches!(table.deliver(Signal::SIGINT), Delivery::Handler(_)));
        assert_eq!(table.deliver(Signal::SIGINT), Delivery::Terminate);
        assert!(table.action(Signal::SIGINT).flags.contains(SaFlags::RESETHAND));
    }

    #[test]
    fn a_fault_cannot_be_blocked_or_ignored() {
        let mut table = Dispositions::new();
        let action = handler(SaFlags::SIGINFO, SigSet::EMPTY);
        table.replace(Signal::SIGSEGV, action).unwrap();
        let other = SigSet::only(Signal::SIGHUP);
        assert_eq!(table.force(Signal::SIGSEGV, other), other);
        assert_eq!(table.action(Signal::SIGSEGV), action);
        assert_eq!(table.force(Signal::SIGSEGV, other.with(Signal::SIGSEGV)), other);
        assert_eq!(table.deliver(Signal::SIGSEGV), Delivery::Core);
        table.replace(Signal::SIGBUS, SigAction { handler: SIG_IGN, ..action }).unwrap();
        table.force(Signal::SIGBUS, SigSet::EMPTY);
        assert_eq!(table.deliver(Signal::SIGBUS), Delivery::Core);
    }

    #[test]
    fn stop_and_continue_cancel_each_other() {
        assert_eq!(Dispositions::cancelled_by(Signal::SIGTSTP), SigSet::only(Signal::SIGCONT));
        assert!(Dispositions::cancelled_by(Signal::SIGCONT).contains(Signal::SIGSTOP));
        assert_eq!(Dispositions::cancelled_by(Signal::SIGTERM), SigSet::EMPTY);
    }
}
