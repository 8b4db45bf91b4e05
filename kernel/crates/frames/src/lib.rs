//! Physical page frames: who has which, and how often.
//!
//! Responsible for: handing out blocks of 2^order frames (a binary buddy allocator, [`alloc_frames`],
//! [`Block`]), fast single frames (per-CPU caches in front of it), counted references to single frames
//! ([`PageRef`]), and asking for memory back before an allocation fails ([`register_reclaimer`]).
//! Not for: what a frame holds, where it is mapped, or whose fault it is that memory is short.
//!
//! Eight bytes describe each frame (state and reference count); they lie in the memory that they
//! describe, as do the links of the free lists.
//!
//! # Locks
//!
//! | lock | guards | taken by |
//! |---|---|---|
//! | a CPU's cache | the stack of free single frames of that CPU | single frames, draining |
//! | an arena | free lists and `Free` states of the frames of some sections of memory | blocks, refill |
//! | `reclaimers` | the list of callbacks | an allocation that would fail |
//!
//! Order: cache, then arena; never two caches or two arenas at a time. All are spin locks, so that
//! memory can be had with interrupts masked. With 64 CPUs the arenas (one for each 512 MiB at first,
//! 32 at most; a CPU prefers "its" own) keep refills apart, and a refill moves 32 frames.
//!
//! A frame's state word is written by whoever owns the frame, except `Free`, which needs the arena's
//! lock. The reference count is changed with atomics by the holders of references.

#![cfg_attr(not(feature = "host"), no_std)]

extern crate alloc;

mod allocator;
mod buddy;
mod cpu_cache;
mod frame_table;
#[cfg(feature = "host")]
pub mod host;
mod page_ref;
mod reclaim;

pub use allocator::{
    Statistics, alloc_frames, alloc_reserved_frames, free_frames, init, statistics, try_alloc_frames,
};
pub use page_ref::{Block, PageRef};
pub use reclaim::register_reclaimer;

/// Logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Size of a page frame in bytes.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Largest order of a block: 2^10 frames, 4 MiB.
pub const MAX_ORDER: u32 = 10;
/// Order of the blocks that a 2 MiB page-table entry maps.
pub const HUGE_PAGE_ORDER: u32 = 9;
/// Size of a huge page in bytes.
pub const HUGE_PAGE_SIZE: usize = PAGE_SIZE << HUGE_PAGE_ORDER;
/// Most CPUs that have a cache of their own.
pub const MAX_CPUS: usize = 64;

/// No frame is free, and nothing could be reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// The physical address `address`.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address as the hardware takes it.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Number of the frame that the address lies in.
    pub const fn frame_number(self) -> u32 {
        (self.0 >> PAGE_SHIFT) as u32
    }

    /// Address of the first byte of a frame.
    pub const fn of_frame(frame: u32) -> Self {
        Self((frame as u64) << PAGE_SHIFT)
    }

    /// Where the direct map has this address. Valid memory only if it is RAM that [`init`] was given
    /// or that the boot code mapped.
    pub fn as_ptr(self) -> *mut u8 {
        allocator::direct_map(self)
    }
}
