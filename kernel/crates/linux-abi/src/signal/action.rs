//! What a process does with a signal: `rt_sigaction(2)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::SigSet;

/// `sa_handler` that asks for the default action.
pub const SIG_DFL: u64 = 0;

/// `sa_handler` that ignores the signal.
pub const SIG_IGN: u64 = 1;

abi_flags! {
    /// `sa_flags` of [`rt_sigaction(2)`](https://man7.org/linux/man-pages/man2/sigaction.2.html); uapi
    /// `asm-generic/signal-defs.h`. Linux clears the bits that it does not know (since 5.11; see "Dynamically
    /// probing for flag bit support" in the man page): [`SigAction::sanitized`] does it.
    pub struct SaFlags: u64 {
        /// No `SIGCHLD` when a child stops or continues.
        const NOCLDSTOP = 0x1;
        /// Children do not become zombies.
        const NOCLDWAIT = 0x2;
        /// The handler takes three arguments: number, information, context.
        const SIGINFO = 0x4;
        /// Addresses keep their tag bits in `si_addr`; without meaning on x86-64.
        const EXPOSE_TAGBITS = 0x800;
        /// `sa_restorer` holds the code that calls `rt_sigreturn`; always set on x86-64.
        const RESTORER = 0x0400_0000;
        /// The handler runs on the alternate stack, if the thread has one.
        const ONSTACK = 0x0800_0000;
        /// Interrupted system calls are restarted where they can be.
        const RESTART = 0x1000_0000;
        /// The signal itself is not blocked while its handler runs.
        const NODEFER = 0x4000_0000;
        /// The disposition becomes the default one when the handler is entered.
        const RESETHAND = 0x8000_0000;
    }
}

/// The kernel's `struct sigaction`, which `rt_sigaction(2)` copies in and out. glibc's has another
/// layout, which programs never hand to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigAction {
    /// [`SIG_DFL`], [`SIG_IGN`] or the handler's address.
    pub handler: u64,
    /// How the handler is called.
    pub flags: SaFlags,
    /// Where the handler returns to.
    pub restorer: u64,
    /// What is blocked while the handler runs.
    pub mask: SigSet,
}

assert_layout!(SigAction, size = 32, handler @ 0, flags @ 8, restorer @ 16, mask @ 24);

/// What [`SigAction::handler`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A handler at this address.
    Handler(u64),
}

/// What a signal does without a handler (`signal(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends, and Linux would write a core file.
    Core,
    /// Nothing.
    Ignore,
    /// The process stops (job control).
    Stop,
    /// The process continues if it was stopped, else nothing.
    Continue,
}

impl SigAction {
    /// The action that every signal has at first.
    pub const DEFAULT: Self =
        Self { handler: SIG_DFL, flags: SaFlags::empty(), restorer: 0, mask: SigSet::EMPTY };

    /// What the handler field asks for.
    pub const fn disposition(&self) -> Disposition {
        match self.handler {
            SIG_DFL => Disposition::Default,
            SIG_IGN => Disposition::Ignore,
            address => Disposition::Handler(address),
        }
    }

    /// The action as Linux stores it: unknown flags cleared, `SIGKILL` and `SIGSTOP` out of the mask.
    pub const fn sanitized(self) -> Self {
        Self { flags: SaFlags::from_bits_truncate(self.flags.bits()), mask: self.mask.blockable(), ..self }
    }
}

abi_enum! {
    /// The first argument of `rt_sigprocmask(2)`.
    pub enum How: u32 {
        /// The set is added to the mask.
        Block = 0, "SIG_BLOCK";
        /// The set is taken out of the mask.
        Unblock = 1, "SIG_UNBLOCK";
        /// The set becomes the mask.
        SetMask = 2, "SIG_SETMASK";
    }
}

impl How {
    /// The mask that follows from the old one and the argument.
    pub const fn apply(self, old: SigSet, set: SigSet) -> SigSet {
        match self {
            Self::Block => old.union(set),
            Self::Unblock => old.difference(set),
            Self::SetMask => set,
        }
        .blockable()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Signal;
    use super::*;

    #[test]
    fn unknown_flags_and_unblockable_signals_are_dropped() {
        let action = SigAction {
            handler: 0x1000,
            // SA_UNSUPPORTED: the bit that programs set to find out whether unknown ones are cleared.
            flags: SaFlags::from_bits_retain(SaFlags::RESTART.bits() | 0x400),
            restorer: 0x2000,
            mask: SigSet::ALL,
        };
        let stored = action.sanitized();
        assert_eq!(stored.flags, SaFlags::RESTART);
        assert_eq!(stored.mask, !SigSet::UNCATCHABLE);
        assert_eq!(stored.disposition(), Disposition::Handler(0x1000));
    }

    #[test]
    fn the_mask_changes_as_sigprocmask_says() {
        let old = SigSet::only(Signal::SIGHUP);
        let set = SigSet::only(Signal::SIGINT).with(Signal::SIGKILL);
        assert_eq!(How::Block.apply(old, set), old.with(Signal::SIGINT));
        assert_eq!(How::Unblock.apply(old, old), SigSet::EMPTY);
        assert_eq!(How::SetMask.apply(old, set), SigSet::only(Signal::SIGINT));
        assert_eq!(How::from_raw(3), None);
    }
}
