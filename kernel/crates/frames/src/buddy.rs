//! The binary buddy allocator of one arena (D. Knuth, TAOCP vol. 1, 2.5, "buddy system").
//!
//! A free block's links lie in the descriptions of its first two frames, whose reference counts nobody needs
//! while it is free. So free memory is not touched: a machine's memory is often the host's memory only once
//! somebody has written to it, and then 2 MiB at a time. A block of a single frame has one description only,
//! and keeps its links in its own first bytes; such blocks come from a larger one that was taken apart.
//!
//! An arena is always behind its lock; it is given the frame table and the direct map by its caller.

use core::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    MAX_ORDER,
    frame_table::{FrameState, FrameTable},
};

const ORDERS: usize = MAX_ORDER as usize + 1;

/// Ends a list. Frame 0 is never given to an arena: firmware data and real-mode vectors live there.
const NONE: u32 = 0;

/// The links of a free block, as frame numbers.
#[derive(Clone, Copy)]
#[repr(C)]
struct Links {
    next: u32,
    previous: u32,
}

/// Free blocks of a part of memory.
pub struct Arena {
    heads: [u32; ORDERS],
    /// Bit n is set if the list of order n is not empty.
    nonempty: u32,
    free_frames: usize,
}

/// What an arena needs to know of the memory that it manages.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    pub table: &'a FrameTable,
    pub direct_map_offset: usize,
}

impl Memory<'_> {
    /// The links of a free block of a single frame.
    fn links_inside(&self, frame: u32) -> *mut Links {
        self.direct_map_offset.wrapping_add((frame as usize) << crate::PAGE_SHIFT) as *mut Links
    }

    /// The words for the links of a larger block.
    fn words(&self, frame: u32) -> [&AtomicU32; 2] {
        [&self.table.info(frame).references, &self.table.info(frame + 1).references]
    }

    /// # Safety
    /// The block is on a free list of the arena whose lock is held.
    unsafe fn links(&self, frame: u32, order: u32) -> Links {
        if order == 0 {
            // SAFETY: the block is free, so its bytes are the arena's, and hold what `set_links` wrote.
            unsafe { self.links_inside(frame).read() }
        } else {
            let [next, previous] = self.words(frame).map(|word| word.load(Ordering::Relaxed));
            Links { next, previous }
        }
    }

    /// # Safety
    /// The block is free and belongs to the arena whose lock is held.
    unsafe fn set_links(&self, frame: u32, order: u32, links: Links) {
        if order == 0 {
            // SAFETY: the block is free, so its bytes are the arena's.
            unsafe { self.links_inside(frame).write(links) }
        } else {
            let [next, previous] = self.words(frame);
            next.store(links.next, Ordering::Relaxed);
            previous.store(links.previous, Ordering::Relaxed);
        }
    }
}

impl Arena {
    pub const fn new() -> Self {
        Self { heads: [NONE; ORDERS], nonempty: 0, free_frames: 0 }
    }

    /// Frames on the free lists.
    pub fn free_frames(&self) -> usize {
        self.free_frames
    }

    fn push(&mut self, memory: Memory<'_>, frame: u32, order: u32) {
        let head = self.heads[order as usize];
        // SAFETY: the block is free and this arena's, as is the one at the head of the list; the caller has
        // the arena's lock, for it has `self`.
        unsafe {
            memory.set_links(frame, order, Links { next: head, previous: NONE });
            if head != NONE {
                let links = memory.links(head, order);
                memory.set_links(head, order, Links { previous: frame, ..links });
            }
        }
        memory.table.info(frame).set_state(FrameState::Free(order));
        self.heads[order as usize] = frame;
        self.nonempty |= 1 << order;
    }

    fn remove(&mut self, memory: Memory<'_>, frame: u32, order: u32) {
        // SAFETY: a block on a free list and its neighbours there are free and this arena's, whose lock the
        // caller has.
        unsafe {
            let Links { next, previous } = memory.links(frame, order);
            if next != NONE {
                let links = memory.links(next, order);
                memory.set_links(next, order, Links { previous, ..links });
            }
            if previous != NONE {
                let links = memory.links(previous, order);
                memory.set_links(previous, order, Links { next, ..links });
            } else {
                self.heads[order as usize] = next;
                if next == NONE {
                    self.nonempty &= !(1 << order);
                }
            }
        }
    }

    /// Takes a block of 2^order frames; its state is `Allocated(order)`.
    pub fn alloc(&mut self, memory: Memory<'_>, order: u32) -> Option<u32> {
        let candidates = self.nonempty >> order << order;
        if candidates == 0 {
            return None;
        }
        let mut have = candidates.trailing_zeros();
        let frame = self.heads[have as usize];
        self.remove(memory, frame, have);
        while have > order {
            have -= 1;
            self.push(memory, frame + (1 << have), have);
        }
        memory.table.info(frame).set_state(FrameState::Allocated(order));
        self.free_frames -= 1 << order;
        Some(frame)
    }

    /// Gives a block back and merges it with its buddies.
    pub fn free(&mut self, memory: Memory<'_>, mut frame: u32, mut order: u32) {
        self.free_frames += 1 << order;
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if memory.table.info(buddy).state() != FrameState::Free(order) {
                break;
            }
            self.remove(memory, buddy, order);
            memory.table.info(frame.max(buddy)).set_state(FrameState::Tail);
            frame = frame.min(buddy);
            order += 1;
        }
        self.push(memory, frame, order);
    }

    /// Gives the arena frames that it never had.
    pub fn add_range(&mut self, memory: Memory<'_>, range: Range<u32>) {
        let mut frame = range.start;
        while frame < range.end {
            let fits = (range.end - frame).ilog2();
            let order = frame.trailing_zeros().min(fits).min(MAX_ORDER);
            self.free(memory, frame, order);
            frame += 1 << order;
        }
    }
}
