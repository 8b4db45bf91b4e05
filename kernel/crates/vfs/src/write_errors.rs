//! Errors of writes that nobody waited for, and who has been told of them.
//!
//! What was written to a file reaches its storage later, so that its failure has to wait for somebody who
//! asks: `fsync(2)` and its like. Each open file description is told of each failure exactly once, and one that
//! nobody has been told of yet also if it was opened after it. This is what Linux promises
//! (Documentation/filesystems/vfs.rst, "Handling errors during writeback"; lib/errseq.c).
//!
//! Both types are single words: nothing here is locked.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_abi::Errno;

/// Somebody was told of the last error.
const TOLD: u64 = 1 << 16;
/// Errors are counted above this, only as far as anybody can tell two apart.
const COUNT_ONE: u64 = 1 << 17;
const ERRNO_MASK: u64 = TOLD - 1;

/// The failures of one file, or of one file system, so far.
#[derive(Debug, Default)]
pub struct WriteErrors(AtomicU64);

impl WriteErrors {
    /// None so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Notes a failure.
    pub fn record(&self, error: Errno) {
        let next = |now: u64| {
            let count = now & !(ERRNO_MASK | TOLD);
            // One that nobody was told of yet is replaced: who is told later learns of the last one.
            let count = if now & TOLD != 0 { count.wrapping_add(COUNT_ONE) } else { count };
            let new = count | (u64::from(error as u16));
            (new != now).then_some(new)
        };
        // Fails if the same failure waits to be told of already.
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, next);
    }

    /// Whether there is a failure that nobody was told of.
    pub fn has_untold(&self) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        now != 0 && now & TOLD == 0
    }

    /// Everything, for a successor that takes the place of this ([`restore`](Self::restore)).
    pub fn snapshot(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Goes on where another left off.
    pub fn restore(&self, snapshot: u64) {
        self.0.store(snapshot, Ordering::Release);
    }
}

/// What one open file description was told of.
#[derive(Debug, Default)]
pub struct ErrorCursor(AtomicU64);

impl ErrorCursor {
    /// For a file that is opened now: it will be told of what nobody was told of yet.
    pub fn at_open(errors: Option<&WriteErrors>) -> Self {
        let now = errors.map_or(0, WriteErrors::snapshot);
        Self(AtomicU64::new(if now & TOLD != 0 { now } else { 0 }))
    }

    /// The last failure, if this cursor was not told of it; it is now.
    pub fn check(&self, errors: Option<&WriteErrors>) -> Result<(), Errno> {
        let Some(errors) = errors else { return Ok(()) };
        let now = errors.0.load(Ordering::Acquire);
        if now == self.0.load(Ordering::Relaxed) || now == 0 {
            return Ok(());
        }
        // Whoever comes in between records another failure, which is told of next time.
        let _ = errors.0.compare_exchange(now, now | TOLD, Ordering::AcqRel, Ordering::Relaxed);
        // Of several threads that ask through one description, one is told.
        if self.0.swap(now | TOLD, Ordering::AcqRel) == now | TOLD {
            return Ok(());
        }
        Err(Errno::from_number((now & ERRNO_MASK) as u16).unwrap_or(Errno::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(cursor: &ErrorCursor, errors: &WriteErrors) -> Option<Errno> {
        cursor.check(Some(errors)).err()
    }

    #[test]
    fn each_open_file_is_told_of_each_failure_once() {
        let errors = WriteErrors::new();
        let (first, second) = (ErrorCursor::at_open(Some(&errors)), ErrorCursor::at_open(Some(&errors)));
        assert_eq!(told(&first, &errors), None);
        errors.record(Errno::EIO);
        assert_eq!(told(&first, &errors), Some(Errno::EIO));
        assert_eq!(told(&first, &errors), None);
        errors.record(Errno::ENOSPC);
        assert_eq!(told(&first, &errors), Some(Errno::ENOSPC));
        assert_eq!(told(&second, &errors), Some(Errno::ENOSPC), "of several, the last");
        assert_eq!((told(&first, &errors), told(&second, &errors)), (None, None));
    }

    #[test]
    fn the_same_error_again_is_another_failure() {
        let errors = WriteErrors::new();
        let cursor = ErrorCursor::at_open(Some(&errors));
        for _ in 0..3 {
            errors.record(Errno::EIO);
            errors.record(Errno::EIO);
            assert_eq!(told(&cursor, &errors), Some(Errno::EIO));
            assert_eq!(told(&cursor, &errors), None);
        }
    }

    #[test]
    fn who_opens_later_is_told_only_of_what_nobody_was_told_of() {
        let errors = WriteErrors::new();
        errors.record(Errno::EIO);
        let first = ErrorCursor::at_open(Some(&errors));
        let second = ErrorCursor::at_open(Some(&errors));
        assert!(errors.has_untold());
        assert_eq!(told(&first, &errors), Some(Errno::EIO));
        assert!(!errors.has_untold());
        assert_eq!(told(&second, &errors), Some(Errno::EIO), "it was open before anybody was told");
        let third = ErrorCursor::at_open(Some(&errors));
        assert_eq!(told(&third, &errors), None);
    }

    #[test]
    fn a_successor_goes_on() {
        let (old, new) = (WriteErrors::new(), WriteErrors::new());
        old.record(Errno::EIO);
        new.restore(old.snapshot());
        let cursor = ErrorCursor::at_open(Some(&new));
        assert_eq!(told(&cursor, &new), Some(Errno::EIO));
    }

    #[test]
    fn of_many_threads_with_one_description_one_is_told() {
        let errors = WriteErrors::new();
        let cursor = ErrorCursor::at_open(Some(&errors));
        for _ in 0..200 {
            errors.record(Errno::EIO);
            let count = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| told(&cursor, &errors))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).count()
            });
            assert_eq!(count, 1);
        }
    }
}
