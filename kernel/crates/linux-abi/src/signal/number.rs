//! Signal numbers, as `signal(7)` lists them for x86-64.

use core::fmt;

use super::{DefaultAction, SigSet};

/// A valid signal number: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal, $default:ident;)*) => {
        impl Signal {
            $(#[doc = concat!("`", stringify!($name), "`; see `signal(7)`.")] pub const $name: Self = Self($number);)*

            /// The name of a standard signal (`SIGSEGV`); a real-time signal's is `None`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }

            /// What happens if the signal has no handler and is not ignored (`signal(7)`, "Standard
            /// signals"; real-time signals terminate).
            pub const fn default_action(self) -> DefaultAction {
                match self.0 { $($number => DefaultAction::$default,)* _ => DefaultAction::Terminate }
            }
        }
    };
}

signals! {
    SIGHUP = 1, Terminate;
    SIGINT = 2, Terminate;
    SIGQUIT = 3, Core;
    SIGILL = 4, Core;
    SIGTRAP = 5, Core;
    SIGABRT = 6, Core;
    SIGBUS = 7, Core;
    SIGFPE = 8, Core;
    SIGKILL = 9, Terminate;
    SIGUSR1 = 10, Terminate;
    SIGSEGV = 11, Core;
    SIGUSR2 = 12, Terminate;
    SIGPIPE = 13, Terminate;
    SIGALRM = 14, Terminate;
    SIGTERM = 15, Terminate;
    SIGSTKFLT = 16, Terminate;
    SIGCHLD = 17, Ignore;
    SIGCONT = 18, Continue;
    SIGSTOP = 19, Stop;
    SIGTSTP = 20, Stop;
    SIGTTIN = 21, Stop;
    SIGTTOU = 22, Stop;
    SIGURG = 23, Ignore;
    SIGXCPU = 24, Core;
    SIGXFSZ = 25, Core;
    SIGVTALRM = 26, Terminate;
    SIGPROF = 27, Terminate;
    SIGWINCH = 28, Ignore;
    SIGIO = 29, Terminate;
    SIGPWR = 30, Terminate;
    SIGSYS = 31, Core;
}

impl Signal {
    /// How many signals there are; also the highest number (`_NSIG`).
    pub const COUNT: usize = 64;

    /// The first real-time signal of the kernel. glibc keeps 32 and 33 for itself, and its own
    /// `SIGRTMIN` is 34.
    pub const SIGRTMIN: Self = Self(32);

    /// The last real-time signal.
    pub const SIGRTMAX: Self = Self(64);

    /// The signal with this number, if it is one. 0, with which `kill(2)` only probes, is not.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= 1 && number <= Self::COUNT as u32 { Some(Self(number as u8)) } else { None }
    }

    /// The number: 1 to 64.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// The place in an array of [`Signal::COUNT`] entries: 0 to 63.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// The signal at a place in such an array; the inverse of [`Signal::index`].
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index as u8 + 1)) } else { None }
    }

    /// Real-time signals queue; standard ones coalesce.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::SIGRTMIN.0
    }

    /// A signal that a thread's own instruction can raise, and that is therefore taken before all
    /// others (`SYNCHRONOUS_MASK` in `kernel/signal.c`). Sent by another thread, it is an ordinary one.
    pub const fn is_synchronous(self) -> bool {
        SigSet::SYNCHRONOUS.contains(self)
    }

    /// `SIGKILL` and `SIGSTOP` can be neither caught nor blocked nor ignored.
    pub const fn is_uncatchable(self) -> bool {
        SigSet::UNCATCHABLE.contains(self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            // strace's way to write them.
            None => write!(f, "SIGRT_{}", self.0 - Self::SIGRTMIN.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
