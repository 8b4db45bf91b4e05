//! The descriptor table.
//!
//! A lookup takes only the lock of its own slot, so threads that use different descriptors never
//! meet. Slots live in chunks that are made once and never moved; chunk `n` holds 64·2ⁿ slots. What is
//! in use, and what closes on exec, are bitmaps under one lock that only allocation and closing
//! take. A descriptor that was closed while a thread waits in a call on it lives on until that call
//! returns: the call has a reference of its own.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::SpinLock;
use linux_abi::Errno;
pub use linux_abi::file::FdFlags;
use spin::mutex::SpinMutex;

use crate::{OpenFile, locks::LockOwner, locks::LockTable};

/// A descriptor's number.
pub type Fd = u32;

/// With a lock that leaves interrupts on: no interrupt handler looks at descriptors, and all that is done under it
/// is to copy or change a reference.
type Slot = SpinMutex<Option<Arc<OpenFile>>>;

const FIRST_CHUNK_SLOTS: usize = 64;
/// 64·(2¹⁵−1) slots: more than `NR_OPEN` (1,048,576), the highest that RLIMIT_NOFILE goes.
const CHUNKS: usize = 15;
/// The highest limit that may be set (`fs.nr_open` in `proc(5)`).
const MAX_LIMIT: usize = 1 << 20;

/// The open files of a process.
pub struct FdTable {
    chunks: [spin::Once<Box<[Slot]>>; CHUNKS],
    allocation: SpinLock<Allocation>,
    /// RLIMIT_NOFILE: descriptors are below it.
    limit: AtomicUsize,
}

#[derive(Default)]
struct Allocation {
    used: Bitmap,
    close_on_exec: Bitmap,
    /// No descriptor below is free.
    lowest_maybe_free: usize,
}

#[derive(Default)]
struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    fn get(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    fn set(&mut self, index: usize) {
        if self.words.len() <= index / 64 {
            self.words.resize(index / 64 + 1, 0);
        }
        self.words[index / 64] |= 1 << (index % 64);
    }

    fn clear(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    fn first_clear_from(&self, start: usize) -> usize {
        let mut index = start;
        while let Some(word) = self.words.get(index / 64) {
            let free = !word >> (index % 64);
            if free != 0 {
                return index + free.trailing_zeros() as usize;
            }
            index = (index / 64 + 1) * 64;
        }
        index
    }
}

/// Chunk and place in it of a slot.
const fn locate(index: usize) -> (usize, usize) {
    let group = index / FIRST_CHUNK_SLOTS + 1;
    let chunk = group.ilog2() as usize;
    (chunk, index - ((1 << chunk) - 1) * FIRST_CHUNK_SLOTS)
}

impl FdTable {
    /// An empty table; descriptors stay below `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            chunks: [const { spin::Once::new() }; CHUNKS],
            allocation: SpinLock::new(Allocation::default()),
            limit: AtomicUsize::new(limit.min(MAX_LIMIT)),
        }
    }

    /// RLIMIT_NOFILE.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets RLIMIT_NOFILE; descriptors above it stay open.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.min(MAX_LIMIT), Ordering::Relaxed);
    }

    fn existing_slot(&self, index: usize) -> Option<&Slot> {
        let (chunk, place) = locate(index);
        self.chunks.get(chunk)?.get()?.get(place)
    }

    fn slot(&self, index: usize) -> &Slot {
        let (chunk, place) = locate(index);
        let slots = self.chunks[chunk]
            .call_once(|| (0..FIRST_CHUNK_SLOTS << chunk).map(|_| SpinMutex::new(None)).collect());
        &slots[place]
    }

    /// The open file behind a descriptor, `EBADF` if there is none.
    #[inline]
    pub fn get(&self, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
        self.existing_slot(fd as usize).and_then(|slot| slot.lock().clone()).ok_or(Errno::EBADF)
    }

    fn reserve(&self, minimum: usize, flags: FdFlags) -> Result<usize, Errno> {
        let mut allocation = self.allocation.lock();
        let start = minimum.max(allocation.lowest_maybe_free);
        let index = allocation.used.first_clear_from(start);
        if index >= self.limit() {
            return Err(Errno::EMFILE);
        }
        allocation.used.set(index);
        if flags.contains(FdFlags::CLOEXEC) {
            allocation.close_on_exec.set(index);
        } else {
            allocation.close_on_exec.clear(index);
        }
        if start == allocation.lowest_maybe_free {
            allocation.lowest_maybe_free = index + 1;
        }
        Ok(index)
    }

    /// Gives `file` the lowest free descriptor.
    pub fn insert(&self, file: Arc<OpenFile>, flags: FdFlags) -> Result<Fd, Errno> {
        let index = self.reserve(0, flags)?;
        *self.slot(index).lock() = Some(file);
        Ok(index as Fd)
    }

    /// Duplicates `fd` to the lowest free descriptor from `minimum` on (`F_DUPFD`).
    pub fn duplicate(&self, fd: Fd, minimum: usize, flags: FdFlags) -> Result<Fd, Errno> {
        let file = self.get(fd)?;
        if minimum >= self.limit() {
            return Err(Errno::EINVAL);
        }
        let index = self.reserve(minimum, flags)?;
        *self.slot(index).lock() = Some(file);
        Ok(index as Fd)
    }

    /// Duplicates `fd` to `new`, which is closed first if it is open (`dup3(2)`). That both are the
    /// same is up to the caller.
    pub fn duplicate_to(&self, fd: Fd, new: Fd, flags: FdFlags) -> Result<Fd, Errno> {
        let index = new as usize;
        if index >= self.limit() {
            return Err(Errno::EBADF);
        }
        let file = self.get(fd)?;
        let slot = self.slot(index);
        let previous = {
            let mut allocation = self.allocation.lock();
            let mut slot = slot.lock();
            if slot.is_none() && allocation.used.get(index) {
                // Another thread's open has been given the number, but has not finished.
                return Err(Errno::EBUSY);
            }
            allocation.used.set(index);
            if flags.contains(FdFlags::CLOEXEC) {
                allocation.close_on_exec.set(index);
            } else {
                allocation.close_on_exec.clear(index);
            }
            slot.replace(file)
        };
        if let Some(previous) = previous {
            closed(previous);
        }
        Ok(new)
    }

    fn take(&self, index: usize) -> Option<Arc<OpenFile>> {
        let mut allocation = self.allocation.lock();
        let file = self.existing_slot(index)?.lock().take()?;
        allocation.used.clear(index);
        allocation.close_on_exec.clear(index);
        allocation.lowest_maybe_free = allocation.lowest_maybe_free.min(index);
        Some(file)
    }

    /// Closes a descriptor.
    pub fn close(&self, fd: Fd) -> Result<(), Errno> {
        closed(self.take(fd as usize).ok_or(Errno::EBADF)?);
        Ok(())
    }

    /// Closes all descriptors from `first` to `last` (`close_range(2)`).
    pub fn close_range(&self, first: Fd, last: Fd) {
        self.for_each_in(first, last, |index| {
            if let Some(file) = self.take(index) {
                closed(file);
            }
        });
    }

    /// Marks all descriptors from `first` to `last` to be closed on exec (`CLOSE_RANGE_CLOEXEC`).
    pub fn set_close_on_exec_range(&self, first: Fd, last: Fd) {
        self.for_each_in(first, last, |index| {
            let mut allocation = self.allocation.lock();
            if allocation.used.get(index) {
                allocation.close_on_exec.set(index);
            }
        });
    }

    fn for_each_in(&self, first: Fd, last: Fd, mut visit: impl FnMut(usize)) {
        for fd in self.open_descriptors() {
            if (first..=last).contains(&fd) {
                visit(fd as usize);
            }
        }
    }

    /// The descriptor's own flags.
    pub fn flags(&self, fd: Fd) -> Result<FdFlags, Errno> {
        self.get(fd)?;
        let close_on_exec = self.allocation.lock().close_on_exec.get(fd as usize);
        Ok(if close_on_exec { FdFlags::CLOEXEC } else { FdFlags::empty() })
    }

    /// Sets them.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<(), Errno> {
        self.get(fd)?;
        let mut allocation = self.allocation.lock();
        if flags.contains(FdFlags::CLOEXEC) {
            allocation.close_on_exec.set(fd as usize);
        } else {
            allocation.close_on_exec.clear(fd as usize);
        }
        Ok(())
    }

    /// All open descriptors, in order.
    pub fn open_descriptors(&self) -> Vec<Fd> {
        let words = self.allocation.lock().used.words.clone();
        let used = Bitmap { words };
        let all = (0..used.words.len() * 64).filter(|index| used.get(*index));
        all.filter(|index| self.existing_slot(*index).is_some_and(|slot| slot.lock().is_some()))
            .map(|index| index as Fd)
            .collect()
    }
}

/// Closing any descriptor of an inode releases all record locks that the process has on it: the
/// trap of POSIX that `fcntl_locking(2)` warns of.
fn closed(file: Arc<OpenFile>) {
    if let Some(path) = file.path() {
        LockTable::global().release_all(path.inode().id(), LockOwner::THIS_PROCESS);
    }
}

#[cfg(test)]
mod tests {
    use core::any::Any;

    use linux_abi::file::{AccessMode, OpenFlags};
    use proptest::prelude::*;

    use super::*;
    use crate::File;

    struct Nothing;

    impl File for Nothing {
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn file() -> Arc<OpenFile> {
        OpenFile::anonymous(Arc::new(Nothing), AccessMode::ReadWrite, OpenFlags::empty())
    }

    #[test]
    fn chunks_hold_every_index_once() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(locate(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK_SLOTS << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate(MAX_LIMIT - 1).0 < CHUNKS);
    }

    #[test]
    fn limits_and_errors_are_linuxs() {
        let table = FdTable::new(3);
        assert_eq!(table.get(0).err(), Some(Errno::EBADF));
        for fd in 0..3 {
            assert_eq!(table.insert(file(), FdFlags::empty()), Ok(fd));
        }
        assert_eq!(table.insert(file(), FdFlags::empty()), Err(Errno::EMFILE));
        assert_eq!(table.duplicate(0, 3, FdFlags::empty()), Err(Errno::EINVAL));
        assert_eq!(table.duplicate_to(0, 3, FdFlags::empty()), Err(Errno::EBADF));
        assert_eq!(table.duplicate_to(7, 1, FdFlags::empty()), Err(Errno::EBADF));
        assert_eq!(table.close(1), Ok(()));
        assert_eq!(table.close(1), Err(Errno::EBADF));
        table.set_limit(1000);
        assert_eq!(table.duplicate(0, 500, FdFlags::CLOEXEC), Ok(500));
        assert_eq!(table.flags(500), Ok(FdFlags::CLOEXEC));
        table.close_range(2, u32::MAX);
        assert_eq!(table.open_descriptors(), [0]);
        assert_eq!(table.get(u32::MAX).err(), Some(Errno::EBADF));
    }

    proptest! {
        #[test]
        fn descriptors_are_the_lowest_free(operations in prop::collection::vec((0..4u8, 0..40u32), 1..200)) {
            let table = FdTable::new(64);
            let mut model = std::collections::BTreeSet::new();
            let lowest = |model: &std::collections::BTreeSet<u32>, from: u32| (from..).find(|fd| !model.contains(fd)).unwrap();
            for (operation, argument) in operations {
                match operation {
                    0 => {
                        let expected = lowest(&model, 0);
                        let result = table.insert(file(), FdFlags::empty());
                        if expected < 64 { prop_assert_eq!(result, Ok(expected)); model.insert(expected); }
                        else { prop_assert_eq!(result, Err(Errno::EMFILE)); }
                    }
                    1 => prop_assert_eq!(table.close(argument).is_ok(), model.remove(&argument)),
                    2 if model.contains(&0) => {
                        let expected = lowest(&model, argument);
                        let result = table.duplicate(0, argument as usize, FdFlags::empty());
                        if expected < 64 { prop_assert_eq!(result, Ok(expected)); model.insert(expected); }
                        else { prop_assert_eq!(result, Err(Errno::EMFILE)); }
                    }
                    3 if model.contains(&0) && argument != 0 => {
                        prop_assert_eq!(table.duplicate_to(0, argument, FdFlags::empty()), Ok(argument));
                        model.insert(argument);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.open_descriptors(), model.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
