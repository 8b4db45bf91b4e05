//! The application's address space: what is mapped where, page faults, and the memory system calls.
//!
//! Responsible for: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `mincore`, `msync`, `mlock` and `brk`
//! with Linux's semantics and errnos ([`AddressSpace`]); demand paging, copy on write, huge pages; which leaf
//! refers to which frame; the rows of `/proc/self/maps` and `smaps`. Not for: the pages of files (a
//! [`vfs::MemoryObject`] has them), and how TLBs are flushed ([`Tlb`]).
//!
//! # Locks
//!
//! | lock | guards | held for reading by | for writing by |
//! |---|---|---|---|
//! | `layout` | the areas, the break; page *tables* | faults, `DONTNEED`, reports, objects' changes | everything that changes areas |
//! | `mapped_objects` (spin) | which objects may be mapped | | |
//!
//! Leaves change by compare-and-exchange under either. `layout` is never held across
//! [`vfs::MemoryObject::page`], nor while memory is reclaimed: both may wait for what a thread does that
//! needs the lock. [`vfs::MemoryObject::cached_page`] is called with it held, so an object must not call
//! [`AddressSpace::unmap_object_range`] or [`AddressSpace::write_protect_object_range`] with a lock held that
//! `cached_page` takes.
//!
//! # Frames and TLBs
//!
//! A leaf owns one reference to its frame (except to the page of zeros, which nobody counts). Whoever empties
//! a leaf has the reference, and drops it after the flush that covers the leaf ([`gather`]). Anonymous memory
//! belongs to one leaf alone, as there is no fork. So what is copied on write is only ever a file's page or
//! the page of zeros; emptying such a leaf loses nothing, which makes every race between faults harmless: the
//! loser tries again.
//!
//! # Decisions
//!
//! * **Page of zeros**: a read fault on anonymous memory maps one shared page, as on Linux. Collectors read
//!   bitmaps and tables that they never wrote; the price is a second fault, and a flush, at the first write.
//! * **Overcommit** is Linux's mode 0: a request for more private writable memory than the machine has is
//!   refused with `ENOMEM`, all else is granted; `MAP_NORESERVE` is always granted.
//! * **Huge pages** come at the first touch of an aligned 2 MiB of an anonymous area, if a block is free; nothing collapses
//!   small pages later.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod advise;
mod brk;
mod fault;
mod gather;
mod lock;
mod mmap;
mod object;
mod protect;
mod query;
mod remap;
mod report;
mod reverse_map;
mod shared;
mod space;
mod track;

use core::ops::Range;

pub use fault::{Access, FaultError, FaultKind};
pub use mmap::{MapRequest, MapSource, Permission};
pub use object::{ObjectRef, SharedAnonymous};
pub use report::{AreaReport, Usage};
pub use shared::Identity;
pub use space::{AddressSpace, Config, HugePagePolicy, Limits, ResidentBytes};

/// Flushes the TLBs of all CPUs. When a call returns, no CPU can use what its TLB held of the range:
/// it has dropped it, or will before it touches the application's memory again.
///
/// Called with interrupts enabled and locks of the address space held.
pub trait Tlb: Send + Sync {
    /// One page, of either size.
    fn flush_page(&self, address: usize) {
        self.flush_range(address..address + frames::PAGE_SIZE);
    }

    /// All pages that have an address in `range`.
    fn flush_range(&self, range: Range<usize>);

    /// As [`flush_range`](Self::flush_range), and all cached references to page tables: some that mapped the
    /// range are about to be freed. A CPU must not only drop these before it touches the memory, but by the
    /// time the call returns, as it may walk speculatively (SDM vol. 3, 4.10.3.1).
    fn flush_range_and_tables(&self, range: Range<usize>);

    /// The whole lower half.
    fn flush_all(&self);
}

#[cfg(test)]
mod tests;
