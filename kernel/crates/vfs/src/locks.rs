//! Advisory locks: record locks of `fcntl(2)`, owned by the process or by an open file, and the
//! whole-file locks of `flock(2)`.
//!
//! One table has the locks of all inodes, behind one lock; those who wait are all woken by every
//! release and look again. The two families do not see each other, as on Linux.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use ksync::{Interruptible, Mutex, WaitQueue};
use linux_abi::Errno;

use crate::InodeId;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// A process, by its id: `F_SETLK`.
    Process(u32),
    /// An open file, by its id: `F_OFD_SETLK` and `flock(2)`.
    OpenFile(u64),
}

impl LockOwner {
    /// The only process that there is.
    pub const THIS_PROCESS: Self = Self::Process(1);
}

/// Who else may hold a lock on the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Other shared locks.
    Shared,
    /// Nobody.
    Exclusive,
}

/// The bytes `first..=last` of a file; the last is `u64::MAX` for a lock to infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

impl LockRange {
    /// All bytes there can be.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    const fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A lock that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// Who.
    pub owner: LockOwner,
    /// How.
    pub kind: LockKind,
    /// Which bytes.
    pub range: LockRange,
}

impl HeldLock {
    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.range.overlaps(&other.range)
            && (self.kind == LockKind::Exclusive || other.kind == LockKind::Exclusive)
    }
}

/// Whether to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Wait.
    Yes,
    /// Answer `EAGAIN`.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Record,
    WholeFile,
}

/// The locks of one inode.
#[derive(Default)]
struct InodeLocks {
    records: Vec<HeldLock>,
    whole_file: Vec<HeldLock>,
}

impl InodeLocks {
    fn family(&mut self, family: Family) -> &mut Vec<HeldLock> {
        match family {
            Family::Record => &mut self.records,
            Family::WholeFile => &mut self.whole_file,
        }
    }
}

/// Takes `range` out of all locks of `owner`, which may split one in two.
fn subtract(locks: &mut Vec<HeldLock>, owner: LockOwner, range: LockRange) {
    let mut rest = Vec::new();
    locks.retain(|held| {
        if held.owner != owner || !held.range.overlaps(&range) {
            return true;
        }
        if held.range.first < range.first {
            let range = LockRange { first: held.range.first, last: range.first - 1 };
            rest.push(HeldLock { range, ..*held });
        }
        if held.range.last > range.last {
            let range = LockRange { first: range.last + 1, last: held.range.last };
            rest.push(HeldLock { range, ..*held });
        }
        false
    });
    locks.append(&mut rest);
}

/// Adds a lock whose range `owner` holds no other lock in, joined with its equal neighbours.
fn add(locks: &mut Vec<HeldLock>, mut new: HeldLock) {
    locks.retain(|held| {
        let joins = held.owner == new.owner
            && held.kind == new.kind
            && (held.range.last.checked_add(1) == Some(new.range.first)
                || new.range.last.checked_add(1) == Some(held.range.first));
        if joins {
            new.range.first = new.range.first.min(held.range.first);
            new.range.last = new.range.last.max(held.range.last);
        }
        !joins
    });
    let at = locks.partition_point(|held| held.range.first <= new.range.first);
    locks.insert(at, new);
}

#[derive(Default)]
struct State {
    inodes: HashMap<InodeId, InodeLocks>,
    /// For each waiting thread: its number, the owner it waits for a lock as, and who is in the way.
    waits: Vec<(u64, LockOwner, LockOwner)>,
    next_wait: u64,
}

impl State {
    /// Whether `owner` waiting for `blocker` closes a circle of processes. Open files are left out,
    /// as Linux does: any thread may release their locks.
    fn would_deadlock(&self, owner: LockOwner, blocker: LockOwner) -> bool {
        let mut seen = Vec::new();
        let mut pending = alloc::vec![blocker];
        while let Some(current) = pending.pop() {
            if current == owner {
                return true;
            }
            if matches!(current, LockOwner::OpenFile(_)) || seen.contains(&current) {
                continue;
            }
            seen.push(current);
            pending.extend(self.waits.iter().filter(|wait| wait.1 == current).map(|wait| wait.2));
        }
        false
    }
}

/// All advisory locks.
pub struct LockTable {
    state: Mutex<State>,
    released: WaitQueue,
    /// Inodes with locks: closing a descriptor, which is frequent, only looks here.
    locked_inodes: AtomicUsize,
}

impl Default for LockTable {
    fn default() -> Self {
        Self { state: Mutex::default(), released: WaitQueue::new(), locked_inodes: AtomicUsize::new(0) }
    }
}

impl LockTable {
    /// The table of all locks of the machine.
    pub fn global() -> &'static Self {
        static TABLE: spin::LazyLock<LockTable> = spin::LazyLock::new(LockTable::default);
        &TABLE
    }

    /// A record lock that would be in the way of this one (`F_GETLK`).
    pub fn record_conflict(
        &self,
        inode: InodeId,
        owner: LockOwner,
        kind: LockKind,
        range: LockRange,
    ) -> Option<HeldLock> {
        let wanted = HeldLock { owner, kind, range };
        let state = self.state.lock();
        state.inodes.get(&inode)?.records.iter().find(|held| held.conflicts(&wanted)).copied()
    }

    /// Takes a record lock (`F_SETLK`, `F_SETLKW`): `EAGAIN` if it is not to wait, `EDEADLK` if the
    /// wait could not end.
    pub fn lock_record(
        &self,
        inode: InodeId,
        owner: LockOwner,
        kind: LockKind,
        range: LockRange,
        wait: LockWait,
    ) -> Result<(), Errno> {
        self.lock(inode, Family::Record, HeldLock { owner, kind, range }, wait)
    }

    /// Releases the record locks of `owner` in a range.
    pub fn unlock_record(&self, inode: InodeId, owner: LockOwner, range: LockRange) {
        self.release(inode, &[Family::Record], owner, range);
    }

    /// Takes a whole-file lock (`flock(2)`). One that `owner` has is given up first, even if the new
    /// one cannot be had: "Converting a lock is not guaranteed to be atomic".
    pub fn lock_file(
        &self,
        inode: InodeId,
        owner: LockOwner,
        kind: LockKind,
        wait: LockWait,
    ) -> Result<(), Errno> {
        let wanted = HeldLock { owner, kind, range: LockRange::ALL };
        let held = {
            let mut state = self.state.lock();
            state.inodes.get_mut(&inode).and_then(|l| l.whole_file.iter().find(|h| h.owner == owner).copied())
        };
        match held {
            Some(held) if held.kind == kind => return Ok(()),
            Some(_) => self.unlock_file(inode, owner),
            None => {}
        }
        self.lock(inode, Family::WholeFile, wanted, wait)
    }

    /// Releases a whole-file lock.
    pub fn unlock_file(&self, inode: InodeId, owner: LockOwner) {
        self.release(inode, &[Family::WholeFile], owner, LockRange::ALL);
    }

    /// Releases all locks that `owner` has on an inode.
    pub fn release_all(&self, inode: InodeId, owner: LockOwner) {
        if self.locked_inodes.load(Ordering::Relaxed) != 0 {
            self.release(inode, &[Family::Record, Family::WholeFile], owner, LockRange::ALL);
        }
    }

    fn lock(&self, inode: InodeId, family: Family, wanted: HeldLock, wait: LockWait) -> Result<(), Errno> {
        let mut ticket = None;
        let result = self.released.wait(Interruptible::Yes, None, || {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let locks = state.inodes.entry(inode).or_default().family(family);
            let Some(blocker) = locks.iter().find(|held| held.conflicts(&wanted)).map(|held| held.owner)
            else {
                subtract(locks, wanted.owner, wanted.range);
                add(locks, wanted);
                self.locked_inodes.store(state.inodes.len(), Ordering::Relaxed);
                return Some(Ok(()));
            };
            if wait == LockWait::No {
                return Some(Err(Errno::EAGAIN));
            }
            if family == Family::Record
                && matches!(wanted.owner, LockOwner::Process(_))
                && state.would_deadlock(wanted.owner, blocker)
            {
                return Some(Err(Errno::EDEADLK));
            }
            let number = *ticket.get_or_insert_with(|| {
                state.next_wait += 1;
                state.next_wait
            });
            match state.waits.iter_mut().find(|wait| wait.0 == number) {
                Some(wait) => wait.2 = blocker,
                None => state.waits.push((number, wanted.owner, blocker)),
            }
            None
        });
        if let Some(ticket) = ticket {
            self.state.lock().waits.retain(|wait| wait.0 != ticket);
        }
        result?
    }

    fn release(&self, inode: InodeId, families: &[Family], owner: LockOwner, range: LockRange) {
        {
            let mut state = self.state.lock();
            let Some(locks) = state.inodes.get_mut(&inode) else { return };
            for family in families {
                subtract(locks.family(*family), owner, range);
            }
            if locks.records.is_empty() && locks.whole_file.is_empty() {
                state.inodes.remove(&inode);
            }
            self.locked_inodes.store(state.inodes.len(), Ordering::Relaxed);
        }
        self.released.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use proptest::prelude::*;

    use super::*;

    const INODE: InodeId = InodeId { device: 1, number: 1 };
    const fn range(first: u64, last: u64) -> LockRange {
        LockRange { first, last }
    }

    #[test]
    fn the_owner_never_conflicts_with_itself() {
        let table = LockTable::default();
        let (a, b) = (LockOwner::Process(1), LockOwner::OpenFile(2));
        table.lock_record(INODE, a, LockKind::Exclusive, range(0, 9), LockWait::No).unwrap();
        table.lock_record(INODE, a, LockKind::Shared, range(3, 5), LockWait::No).unwrap();
        assert_eq!(table.record_conflict(INODE, a, LockKind::Exclusive, LockRange::ALL), None);
        assert_eq!(table.record_conflict(INODE, b, LockKind::Shared, range(3, 5)), None);
        let conflict = table.record_conflict(INODE, b, LockKind::Exclusive, range(4, 4)).unwrap();
        assert_eq!((conflict.owner, conflict.range), (a, range(3, 5)));
        assert_eq!(
            table.lock_record(INODE, b, LockKind::Shared, range(9, 9), LockWait::No),
            Err(Errno::EAGAIN)
        );
        table.release_all(INODE, a);
        table.lock_record(INODE, b, LockKind::Exclusive, LockRange::ALL, LockWait::No).unwrap();
    }

    #[test]
    fn families_do_not_see_each_other() {
        let table = LockTable::default();
        let (a, b) = (LockOwner::OpenFile(1), LockOwner::OpenFile(2));
        table.lock_file(INODE, a, LockKind::Exclusive, LockWait::No).unwrap();
        table.lock_record(INODE, b, LockKind::Exclusive, LockRange::ALL, LockWait::No).unwrap();
        assert_eq!(table.lock_file(INODE, b, LockKind::Shared, LockWait::No), Err(Errno::EAGAIN));
        table.lock_file(INODE, a, LockKind::Shared, LockWait::No).unwrap();
        table.lock_file(INODE, b, LockKind::Shared, LockWait::No).unwrap();
        // A conversion that fails has given up the old lock.
        assert_eq!(table.lock_file(INODE, a, LockKind::Exclusive, LockWait::No), Err(Errno::EAGAIN));
        table.lock_file(INODE, b, LockKind::Exclusive, LockWait::No).unwrap();
    }

    #[test]
    fn waits_end_with_the_release_and_circles_are_refused() {
        let table = Arc::new(LockTable::default());
        let (a, b) = (LockOwner::Process(1), LockOwner::Process(2));
        table.lock_record(INODE, a, LockKind::Exclusive, range(0, 0), LockWait::No).unwrap();
        table.lock_record(INODE, b, LockKind::Exclusive, range(1, 1), LockWait::No).unwrap();
        let waiter = {
            let table = table.clone();
            thread::spawn(move || table.lock_record(INODE, b, LockKind::Shared, range(0, 0), LockWait::Yes))
        };
        while table.state.lock().waits.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(
            table.lock_record(INODE, a, LockKind::Shared, range(1, 1), LockWait::Yes),
            Err(Errno::EDEADLK)
        );
        table.unlock_record(INODE, a, LockRange::ALL);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert!(table.state.lock().waits.is_empty());
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_map_of_bytes(
            operations in prop::collection::vec((0..3u64, 0..3u8, 0..16u64, 0..16u64), 1..60)
        ) {
            let table = LockTable::default();
            let mut bytes = vec![std::collections::BTreeMap::<u64, LockKind>::new(); 16];
            for (owner, action, a, b) in operations {
                let (first, last) = (a.min(b), a.max(b));
                let held = &mut bytes[first as usize..=last as usize];
                let kind = if action == 1 { LockKind::Shared } else { LockKind::Exclusive };
                if action == 0 {
                    table.unlock_record(INODE, LockOwner::OpenFile(owner), range(first, last));
                    held.iter_mut().for_each(|byte| { byte.remove(&owner); });
                    continue;
                }
                let conflict = held.iter().any(|byte| byte.iter().any(|(who, held)| {
                    *who != owner && (*held == LockKind::Exclusive || kind == LockKind::Exclusive)
                }));
                let result = table.lock_record(INODE, LockOwner::OpenFile(owner), kind, range(first, last), LockWait::No);
                prop_assert_eq!(result.is_err(), conflict);
                if !conflict {
                    held.iter_mut().for_each(|byte| { byte.insert(owner, kind); });
                }
                // Neighbours are joined, so there are no more locks than changes of owner or kind.
                let state = table.state.lock();
                let records = &state.inodes[&INODE].records;
                for byte in 0..16u64 {
                    let expected: Vec<_> = bytes[byte as usize].iter().map(|(who, kind)| (*who, *kind)).collect();
                    let mut found: Vec<_> = records.iter().filter(|held| held.range.overlaps(&range(byte, byte)))
                        .map(|held| match held.owner { LockOwner::OpenFile(id) => (id, held.kind), _ => unreachable!() }).collect();
                    found.sort_by_key(|entry| entry.0);
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
