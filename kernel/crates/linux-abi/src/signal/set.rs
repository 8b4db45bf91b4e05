//! Sets of signals: the kernel's `sigset_t`, one 64-bit word.

use core::fmt;
use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not, Sub, SubAssign};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Signal;

/// A set of signals; bit `n - 1` stands for signal `n`. `sigsetsize` arguments of the `rt_sig*` calls must
/// be its size, 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigSet(u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);

    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);

    /// The signals that an instruction of the thread itself can raise.
    pub const SYNCHRONOUS: Self = Self::EMPTY
        .with(Signal::SIGSEGV)
        .with(Signal::SIGBUS)
        .with(Signal::SIGILL)
        .with(Signal::SIGTRAP)
        .with(Signal::SIGFPE)
        .with(Signal::SIGSYS);

    /// The signals that can be neither caught, blocked nor ignored.
    pub const UNCATCHABLE: Self = Self::EMPTY.with(Signal::SIGKILL).with(Signal::SIGSTOP);

    /// The set whose word this is.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a word.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set that holds one signal.
    pub const fn only(signal: Signal) -> Self {
        Self(1 << signal.index())
    }

    /// Whether a signal is in the set.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::only(signal).0 != 0
    }

    /// The set with a signal added.
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::only(signal).0)
    }

    /// The set with a signal taken out.
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !Self::only(signal).0)
    }

    /// Adds a signal.
    pub const fn insert(&mut self, signal: Signal) {
        *self = self.with(signal);
    }

    /// Takes a signal out.
    pub const fn remove(&mut self, signal: Signal) {
        *self = self.without(signal);
    }

    /// The signals of either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The signals of both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The signals of this set that the other lacks.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no signal is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many signals are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The signal with the lowest number.
    pub const fn lowest(self) -> Option<Signal> {
        Signal::from_index(self.0.trailing_zeros() as usize)
    }

    /// The set as a thread may block it: without `SIGKILL` and `SIGSTOP`, whose blocking Linux
    /// silently leaves out (`sigprocmask(2)`).
    pub const fn blockable(self) -> Self {
        self.difference(Self::UNCATCHABLE)
    }

    /// The signals in ascending order.
    pub const fn iter(self) -> SigSetIter {
        SigSetIter(self)
    }
}

/// The signals of a set in ascending order.
#[derive(Clone, Debug)]
pub struct SigSetIter(SigSet);

impl Iterator for SigSetIter {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        let signal = self.0.lowest()?;
        self.0.remove(signal);
        Some(signal)
    }
}

impl IntoIterator for SigSet {
    type Item = Signal;
    type IntoIter = SigSetIter;

    fn into_iter(self) -> SigSetIter {
        self.iter()
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl BitOr for SigSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for SigSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl BitAnd for SigSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.intersection(other)
    }
}

impl BitAndAssign for SigSet {
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

impl Sub for SigSet {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.difference(other)
    }
}

impl SubAssign for SigSet {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Not for SigSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_n_minus_one_is_signal_n() {
        for number in 1..=64 {
            let signal = Signal::new(number).unwrap();
            assert_eq!(SigSet::only(signal).bits(), 1 << (number - 1));
            assert_eq!(SigSet::only(signal).lowest(), Some(signal));
        }
        assert_eq!(SigSet::EMPTY.lowest(), None);
        assert_eq!(SigSet::ALL.len(), 64);
    }

    #[test]
    fn iterates_in_ascending_order() {
        let set: SigSet = [Signal::SIGRTMAX, Signal::SIGHUP, Signal::SIGSEGV].into_iter().collect();
        assert!(set.iter().eq([Signal::SIGHUP, Signal::SIGSEGV, Signal::SIGRTMAX]));
        assert_eq!(format!("{set:?}"), "{SIGHUP, SIGSEGV, SIGRT_32}");
    }

    #[test]
    fn kill_and_stop_cannot_be_blocked() {
        assert_eq!(!SigSet::ALL.blockable(), SigSet::UNCATCHABLE);
    }
}
