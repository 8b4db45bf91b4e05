//! Large blocks of the heap: mapped memory, page by page.
//!
//! The frame allocator has no blocks above 4 MiB, and large ones get rare as memory fragments. A block here
//! needs frames only, and takes its addresses from [`layout::LARGE_BLOCKS`]. Devices cannot reach it (see
//! `device::dma`, which copies).
//!
//! Freeing waits for other CPUs to flush their TLBs, which must not be done with interrupts masked: one of
//! them may spin on the lock that our caller holds. Such a block waits in [`State::unwanted`] for the next
//! caller that can.

use alloc::collections::BTreeMap;
use core::{
    alloc::Layout,
    ops::Range,
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use frames::PAGE_SIZE;
use ksync::SpinLock;

use super::TAKEN;
use crate::arch::{layout, paging};

/// Blocks of more than this many bytes are served here.
pub const THRESHOLD: usize = 2 << 20;
/// An unmapped page follows each block.
const GUARD: u64 = PAGE_SIZE as u64;

struct State {
    /// The blocks in use, by address.
    used: BTreeMap<u64, u64>,
    /// Freed blocks that are still mapped, linked by their first words; their second words hold their length.
    unwanted: *mut Unwanted,
}

// SAFETY: the list is reached through the lock only.
unsafe impl Send for State {}

struct Unwanted {
    next: *mut Unwanted,
    len: u64,
}

/// Small allocations are made under it, so it comes before the locks of the heap.
static STATE: SpinLock<State> = SpinLock::new(State { used: BTreeMap::new(), unwanted: ptr::null_mut() });

fn mapped_len(layout: Layout) -> Option<u64> {
    Some(layout.size().checked_next_multiple_of(PAGE_SIZE)? as u64)
}

/// A block, or null. Its contents are zero.
pub fn allocate(layout: Layout) -> *mut u8 {
    free_unwanted();
    let Some(range) = mapped_len(layout).and_then(|len| reserve(len, layout.align() as u64)) else {
        return ptr::null_mut();
    };
    let len = range.end - range.start;
    // What cannot be had at all must not first drive everything else out of memory.
    if len > (frames::statistics().total * PAGE_SIZE) as u64 || paging::map_fresh(range.clone()).is_err() {
        STATE.lock().used.remove(&range.start);
        return ptr::null_mut();
    }
    TAKEN.fetch_add(len as usize, Ordering::Relaxed);
    range.start as *mut u8
}

/// Finds free addresses and takes them: the first gap that is large enough. There are never many such blocks.
fn reserve(len: u64, align: u64) -> Option<Range<u64>> {
    let mut state = STATE.lock();
    let mut start = layout::LARGE_BLOCKS.start;
    for (used, used_len) in &state.used {
        if start + len + GUARD <= *used {
            break;
        }
        start = (used + used_len + GUARD).next_multiple_of(align.max(PAGE_SIZE as u64));
    }
    let end = start.checked_add(len)?;
    if end >= layout::LARGE_BLOCKS.end {
        return None;
    }
    state.used.insert(start, len);
    Some(start..end)
}

/// Gives a block back.
///
/// # Safety
/// `block` came from [`allocate`] with this layout, and nobody uses it any more.
pub unsafe fn deallocate(block: *mut u8, layout: Layout) {
    let Some(len) = mapped_len(layout) else { return };
    {
        let mut state = STATE.lock();
        let unwanted = block.cast::<Unwanted>();
        // SAFETY: the block is mapped, aligned to a page, larger than this, and nobody's.
        unsafe { unwanted.write(Unwanted { next: state.unwanted, len }) };
        state.unwanted = unwanted;
    }
    free_unwanted();
}

/// Unmaps what was given back, if this is a place to wait at.
fn free_unwanted() {
    if !x86_64::instructions::interrupts::are_enabled() {
        return;
    }
    while let Some((start, len)) = take_unwanted() {
        paging::unmap_fresh(start..start + len);
        TAKEN.fetch_sub(len as usize, Ordering::Relaxed);
        STATE.lock().used.remove(&start);
    }
}

fn take_unwanted() -> Option<(u64, u64)> {
    let mut state = STATE.lock();
    let block = NonNull::new(state.unwanted)?;
    // SAFETY: blocks on the list are mapped, and hold what `deallocate` wrote.
    let Unwanted { next, len } = unsafe { block.read() };
    state.unwanted = next;
    Some((block.as_ptr() as u64, len))
}
