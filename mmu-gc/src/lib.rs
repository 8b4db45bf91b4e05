//! Write tracking through page tables, and how a generational collector is fed from it.
//!
//! A generational collector must know which old objects were written since its last young collection. The page
//! tables know which *pages* were: the processor sets the dirty bit (D) of a leaf at the first write through it
//! (Intel SDM vol. 3, 4.8). This crate has what follows from that and touches no hardware:
//!
//! * [`WriteTracker`]: arms a range of pages and tells later which were written, with one of two [`Engine`]s;
//! * [`card_runs`]: from such pages to the cards of a card table;
//! * [`Policy`]: whether pages or the collector's own write barriers are cheaper for a program.
//!
//! Not for: page tables themselves ([`LeafTable`] is the kernel's), TLBs, and which collector there is.
//!
//! # What is promised
//!
//! A write that happens after [`WriteTracker::arm`] has returned is in every
//! [`collect`](WriteTracker::collect) that begins after the write, until the range is armed again. What is written
//! while `arm` runs may or may not be. (A collector calls both with its mutators stopped.) A page may be told
//! as written that was not; one that was written is never left out, whatever else happens to it meanwhile:
//!
//! | meanwhile | why nothing is lost |
//! |---|---|
//! | write | the processor sets D with a locked operation before the write can be seen |
//! | a stale TLB entry with D set | `arm` flushes all TLBs after it has cleared the last bit, and before it returns |
//! | first touch, copy on write | who puts a writable leaf in puts it in with D set |
//! | split of a huge leaf | the small leaves inherit D |
//! | `mprotect` | neither sets nor clears D |
//! | `mremap` | who moves a leaf sets D: there is something new at its new address |
//! | unmapping, `MADV_DONTNEED` | what was written is gone; there is nothing to tell |
//! | the kernel stores for the application | it stores through the application's own mappings |
//!
//! # Why there is no log of pages
//!
//! With the engine [`Trap`](Engine::Trap) the fault handler could note pages in a buffer of its CPU. Instead it
//! sets D together with the right to write, in one step: D is the log. It cannot overflow, needs no memory,
//! and moves with its page. What a log would save is the scan, which reads eight bytes a page in order.

#![cfg_attr(not(test), no_std)]

mod cards;
mod leaf;
#[cfg(all(test, loom))]
mod loom_tests;
mod policy;
mod tracker;

pub use cards::{CARD_BYTES, card_runs};
pub use leaf::{Armed, Leaf, LeafTable, Run};
pub use policy::{Costs, Cycle, Decision, Policy};
pub use tracker::{ArmReport, CollectReport, NotTracked, WriteTracker};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of a huge page.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Pages in a huge page.
pub const HUGE_PAGE_PAGES: usize = HUGE_PAGE_BYTES / PAGE_BYTES;

/// How writes are found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The processor sets dirty bits by itself: no fault, no instruction.
    Dirty,
    /// Pages are write-protected; the first write to each faults, and the handler opens the page.
    Trap,
}
