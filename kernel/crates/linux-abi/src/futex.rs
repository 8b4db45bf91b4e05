//! Futexes: `futex(2)`, robust lists (uapi `linux/futex.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;

/// In a futex word: someone waits, the kernel must be called to unlock.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// In a futex word: the owner died holding the lock.
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// In a futex word: the owner's tid.
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// The bitset that matches every waiter.
pub const FUTEX_BITSET_MATCH_ANY: u32 = 0xffff_ffff;
/// Entries of a robust list that the kernel visits at most.
pub const ROBUST_LIST_LIMIT: usize = 2048;

abi_enum! {
    /// The command of [`futex(2)`](https://man7.org/linux/man-pages/man2/futex.2.html), without its options.
    pub enum Command: u32 {
        /// Wait, with a relative time-out.
        Wait = 0, "FUTEX_WAIT";
        /// Wake.
        Wake = 1, "FUTEX_WAKE";
        /// Gone since Linux 2.6.26.
        Fd = 2, "FUTEX_FD";
        /// Wake some, move others.
        Requeue = 3, "FUTEX_REQUEUE";
        /// The same if the word has a value.
        CmpRequeue = 4, "FUTEX_CMP_REQUEUE";
        /// Change a second word, wake on both.
        WakeOp = 5, "FUTEX_WAKE_OP";
        /// Lock with priority inheritance; time-out absolute on the real-time clock.
        LockPi = 6, "FUTEX_LOCK_PI";
        /// Unlock such a lock.
        UnlockPi = 7, "FUTEX_UNLOCK_PI";
        /// Try to lock such a lock.
        TrylockPi = 8, "FUTEX_TRYLOCK_PI";
        /// Wait for wakes that match a bitset, with an absolute time-out.
        WaitBitset = 9, "FUTEX_WAIT_BITSET";
        /// Wake waiters whose bitset matches.
        WakeBitset = 10, "FUTEX_WAKE_BITSET";
        /// Wait, and be moved to a lock with priority inheritance.
        WaitRequeuePi = 11, "FUTEX_WAIT_REQUEUE_PI";
        /// Move waiters to such a lock.
        CmpRequeuePi = 12, "FUTEX_CMP_REQUEUE_PI";
        /// As `LockPi` with a choice of clock.
        LockPi2 = 13, "FUTEX_LOCK_PI2";
    }
}

abi_flags! {
    /// The options beside the command.
    pub struct FutexFlags: u32 {
        /// `FUTEX_PRIVATE_FLAG`: only threads of this process.
        const PRIVATE = 128;
        /// `FUTEX_CLOCK_REALTIME`: the time-out is on that clock. Only for `WaitBitset`, `WaitRequeuePi` and
        /// `LockPi2`, whose time-outs are absolute; else `ENOSYS`.
        const CLOCK_REALTIME = 256;
    }
}

/// The second argument of `futex(2)` taken apart. Linux's answer to an unknown command is `ENOSYS`, and so it
/// is to the real-time option where it makes no sense.
pub const fn decode(op: u32) -> Result<(Command, FutexFlags), Errno> {
    let flags = FutexFlags::from_bits_truncate(op);
    let Some(command) = Command::from_raw(op & !FutexFlags::all().bits()) else { return Err(Errno::ENOSYS) };
    if flags.contains(FutexFlags::CLOCK_REALTIME)
        && !matches!(command, Command::WaitBitset | Command::WaitRequeuePi | Command::LockPi2)
    {
        return Err(Errno::ENOSYS);
    }
    Ok((command, flags))
}

/// What `FUTEX_WAKE_OP` does to the second word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// The argument.
    Set,
    /// The sum with the argument.
    Add,
    /// The bits of the argument are set.
    Or,
    /// The bits of the argument are cleared.
    AndNot,
    /// The bits of the argument are inverted.
    Xor,
}

/// What must hold of the second word's old value for its waiters to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less or equal.
    Le,
    /// Greater than.
    Gt,
    /// Greater or equal.
    Ge,
}

/// `val3` of `FUTEX_WAKE_OP` taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WakeOp {
    /// How the word changes.
    pub operation: Operation,
    /// By what.
    pub argument: i32,
    /// What is asked of the old value.
    pub comparison: Comparison,
    /// Against what.
    pub comparand: i32,
}

impl WakeOp {
    /// Takes the argument apart; `ENOSYS` for an unknown operation or comparison, as in Linux.
    pub const fn decode(raw: u32) -> Result<Self, Errno> {
        const OPARG_SHIFT: u32 = 8;
        // Both arguments are signed numbers of 12 bits.
        let mut argument = ((raw << 8) as i32) >> 20;
        let comparand = ((raw << 20) as i32) >> 20;
        let operation = raw >> 28;
        if operation & OPARG_SHIFT != 0 {
            // Linux takes the low five bits if the shift is out of range (`futex_atomic_op_inuser`).
            argument = 1_i32.wrapping_shl(argument as u32 & 31);
        }
        Ok(Self {
            operation: match operation & 7 {
                0 => Operation::Set,
                1 => Operation::Add,
                2 => Operation::Or,
                3 => Operation::AndNot,
                4 => Operation::Xor,
                _ => return Err(Errno::ENOSYS),
            },
            argument,
            comparison: match raw >> 24 & 0xf {
                0 => Comparison::Eq,
                1 => Comparison::Ne,
                2 => Comparison::Lt,
                3 => Comparison::Le,
                4 => Comparison::Gt,
                5 => Comparison::Ge,
                _ => return Err(Errno::ENOSYS),
            },
            comparand,
        })
    }

    /// The word's new value. The caller applies it atomically (a compare-and-exchange loop).
    pub const fn apply(&self, old: u32) -> u32 {
        let argument = self.argument as u32;
        match self.operation {
            Operation::Set => argument,
            Operation::Add => old.wrapping_add(argument),
            Operation::Or => old | argument,
            Operation::AndNot => old & !argument,
            Operation::Xor => old ^ argument,
        }
    }

    /// Whether the second word's waiters are to be woken, given its old value. The comparison is signed.
    pub const fn holds(&self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            Comparison::Eq => old == self.comparand,
            Comparison::Ne => old != self.comparand,
            Comparison::Lt => old < self.comparand,
            Comparison::Le => old <= self.comparand,
            Comparison::Gt => old > self.comparand,
            Comparison::Ge => old >= self.comparand,
        }
    }
}

/// `struct robust_list_head` of `set_robust_list(2)`; its size is that call's second argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RobustListHead {
    /// Address of the first entry, or of this head if the list is empty. Bit 0 marks a lock with priority
    /// inheritance.
    pub next: u64,
    /// From an entry to its futex word, in bytes.
    pub futex_offset: i64,
    /// The entry that is being locked or unlocked, or 0.
    pub list_op_pending: u64,
}

assert_layout!(RobustListHead, size = 24, next @ 0, futex_offset @ 8, list_op_pending @ 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_options_are_told_apart() {
        assert_eq!(
            decode((libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32),
            Ok((Command::WaitBitset, FutexFlags::PRIVATE | FutexFlags::CLOCK_REALTIME))
        );
        assert_eq!(decode(libc::FUTEX_WAKE as u32), Ok((Command::Wake, FutexFlags::empty())));
        assert_eq!(decode((libc::FUTEX_WAKE | libc::FUTEX_CLOCK_REALTIME) as u32), Err(Errno::ENOSYS));
        assert_eq!(decode(libc::FUTEX_CLOCK_REALTIME as u32), Err(Errno::ENOSYS));
        assert_eq!(decode(14), Err(Errno::ENOSYS));
        assert_eq!(decode(1 << 20), Err(Errno::ENOSYS));
    }

    #[test]
    fn wake_op_is_what_glibc_encodes() {
        // FUTEX_OP_CLEAR_WAKE_IF_GT_ONE of glibc's old condition variables: set to 0, wake if it was > 1.
        let op = WakeOp::decode((4 << 24) | 1).unwrap();
        assert_eq!((op.apply(7), op.holds(1), op.holds(2)), (0, false, true));
        // Negative arguments: add -1 if old >= -2.
        let op = WakeOp::decode(1 << 28 | 5 << 24 | 0xfff << 12 | 0xffe).unwrap();
        assert_eq!((op.argument, op.comparand), (-1, -2));
        assert_eq!((op.apply(0), op.holds(-3_i32 as u32), op.holds(0)), (u32::MAX, false, true));
        // The argument as a shift.
        assert_eq!(WakeOp::decode((8 | 2) << 28 | 31 << 12).unwrap().apply(1), 0x8000_0001);
        assert_eq!(WakeOp::decode(5 << 28), Err(Errno::ENOSYS));
        assert_eq!(WakeOp::decode(6 << 24), Err(Errno::ENOSYS));
    }
}
