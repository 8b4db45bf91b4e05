//! x86-64 four-level page tables in page frames (Intel SDM vol. 3, chapter 4, "4-level paging").
//!
//! Responsible for: the encoding of entries ([`Entry`]), finding or making the entry of an address
//! ([`PageTable::small_slot`], [`PageTable::huge_slot`]), walking the leaves of a range in order, splitting a
//! 2 MiB leaf, and freeing tables. Not for: who owns the frames that leaves name, which addresses may be
//! mapped, and TLBs; each function says which flush its caller owes.
//!
//! # Locks
//!
//! There are none here. The owner has a readers-writer lock over the address space:
//!
//! | operation | needs |
//! |---|---|
//! | find, make or change a leaf; make a table | the lock for reading: entries change by compare-and-exchange |
//! | free tables, split a huge leaf | the lock for writing: nobody else walks |
//!
//! Tables are allocated without asking for memory back, since the caller holds that lock and a reclaimer may
//! want it. On `OutOfMemory` the caller lets go of the lock, has memory reclaimed, and tries again.
//!
//! The processor walks at any time, and sets accessed and dirty bits in leaves with locked operations (4.8),
//! which is why a present leaf is never overwritten by a plain store.

#![cfg_attr(not(test), no_std)]

mod entry;
#[cfg(all(test, loom))]
mod loom_tests;
mod primitive;
// Tables are memory that is seen as entries, which loom's atomics cannot be.
#[cfg(not(loom))]
mod table;
mod track;

pub use entry::{Entry, EntryCell, EntryFlags};
#[cfg(not(loom))]
pub use table::{LeafSize, PageTable, Slot};

/// First address after the half that applications use.
pub const LOWER_HALF_END: usize = 1 << 47;
