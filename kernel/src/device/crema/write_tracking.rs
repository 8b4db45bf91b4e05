//! Requests about writes to pages: `mmu_gc` over the application's address space, for the JVM bridge.
//!
//! `STATE` guards which open file tracks what, and the counters; it is held for a whole request. It sleeps, and is taken
//! before `AddressSpace::layout` (rank 4 of ARCHITECTURE.md's lock order), which is held only while leaves are looked at: the
//! bitmap is copied out between two looks, as that may fault.

use alloc::boxed::Box;
use core::ops::Range;

use crema_device::write_tracking::{Arm, Collect, Counters, ENGINE_DIRTY, ENGINE_TRAP};
use ksync::{Mutex, platform};
use linux_abi::Errno;
use mmu_gc::{Engine, PAGE_BYTES, WriteTracker};
use zerocopy::IntoBytes;

use crate::{mm, user::UserSlice};

/// Words of the bitmap that are filled at a time: those of 128 MiB.
const CHUNK_WORDS: usize = 512;
const CHUNK_BYTES: usize = CHUNK_WORDS * 64 * PAGE_BYTES;

/// Names an open file.
pub type Owner = u64;

struct State {
    tracker: WriteTracker,
    /// Whose it is while something is armed.
    owner: Option<Owner>,
    counters: Counters,
}

static STATE: Mutex<State> = Mutex::new(State {
    tracker: WriteTracker::new(),
    owner: None,
    counters: Counters {
        arms: 0,
        collections: 0,
        dirty_pages: 0,
        entries_scanned: 0,
        collect_ns: 0,
        arm_ns: 0,
        shoot_downs: 0,
        shoot_down_ns: 0,
        traps: 0,
        splits: 0,
    },
});

/// The range that the application named, if it may have memory there.
fn checked_range(start: u64, len: u64) -> Result<Range<usize>, Errno> {
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    let range = start as usize..end as usize;
    if mm::space().may_map(&range) { Ok(range) } else { Err(Errno::EINVAL) }
}

pub fn arm(owner: Owner, argument: Arm) -> Result<(), Errno> {
    let engine = match argument.engine {
        ENGINE_DIRTY => Engine::Dirty,
        ENGINE_TRAP => Engine::Trap,
        _ => return Err(Errno::EINVAL),
    };
    if argument.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    let range = checked_range(argument.start, argument.len)?;
    let mut state = STATE.lock();
    let State { tracker, owner: current, counters } = &mut *state;
    if current.is_some_and(|current| current != owner) {
        return Err(Errno::EBUSY);
    }
    let start_ns = platform::now_ns();
    let report = tracker.arm(mm::space(), range, engine).map_err(|_| Errno::EINVAL)?;
    *current = Some(owner);
    counters.arms += 1;
    counters.entries_scanned += report.entries_scanned;
    counters.shoot_downs += report.shoot_downs;
    counters.shoot_down_ns += report.shoot_down_ns;
    counters.splits += report.splits;
    counters.arm_ns += platform::now_ns().saturating_sub(start_ns);
    Ok(())
}

/// Collects, and fills the argument's results in.
pub fn collect(owner: Owner, argument: &mut Collect) -> Result<(), Errno> {
    let range = checked_range(argument.start, argument.len)?;
    if argument.bitmap_words < (range.len() / PAGE_BYTES).div_ceil(64) as u64 {
        return Err(Errno::EINVAL);
    }
    let mut words = Box::new([0u64; CHUNK_WORDS]);
    let mut state = STATE.lock();
    let State { tracker, owner: current, counters } = &mut *state;
    if *current != Some(owner) {
        return Err(Errno::EINVAL);
    }
    (argument.dirty_pages, argument.entries_scanned, argument.scan_ns) = (0, 0, 0);
    for (index, start) in range.clone().step_by(CHUNK_BYTES).enumerate() {
        let chunk = start..range.end.min(start + CHUNK_BYTES);
        let used = &mut words[..(chunk.len() / PAGE_BYTES).div_ceil(64)];
        used.fill(0);
        let start_ns = platform::now_ns();
        let report = tracker.collect(mm::space(), chunk, used).map_err(|_| Errno::EINVAL)?;
        argument.scan_ns += platform::now_ns().saturating_sub(start_ns);
        argument.dirty_pages += report.dirty_pages;
        argument.entries_scanned += report.entries_scanned;
        let target = argument.bitmap.checked_add((index * CHUNK_WORDS * 8) as u64).ok_or(Errno::EFAULT)?;
        let bytes = used.as_bytes();
        if UserSlice::new(target, bytes.len())?.copy_from(bytes)? < bytes.len() {
            return Err(Errno::EFAULT);
        }
    }
    counters.collections += 1;
    counters.dirty_pages += argument.dirty_pages;
    counters.entries_scanned += argument.entries_scanned;
    counters.collect_ns += argument.scan_ns;
    Ok(())
}

pub fn disarm(owner: Owner) {
    let mut state = STATE.lock();
    if state.owner == Some(owner) {
        state.owner = None;
        state.tracker.disarm();
    }
}

pub fn counters() -> Counters {
    Counters { traps: mm::space().write_traps(), ..STATE.lock().counters }
}
