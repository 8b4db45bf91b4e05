//! The map of an address space's virtual memory areas (VMAs).
//!
//! Responsible for: which range of addresses is mapped, how, and from where ([`VmaMap`], [`Vma`]):
//! finding the area of an address, finding a gap, splitting and coalescing with file offsets kept
//! right. Not for: pages, page tables, or what a system call may do; `address-space` does those. No
//! locks: the map is borrowed exclusively to change it, and its owner has the lock.
//!
//! The map is a balanced tree whose nodes know the largest gap below them, so that every operation,
//! the search for a gap too, takes O(log n) for n areas. Linux did the same until 6.1
//! (`rb_subtree_gap`).

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod area;
mod map;
mod tree;

pub use area::{Backing, VmFlags, Vma};
pub use map::{Area, GapRequest, MAX_MAP_COUNT, OutOfMemory, VmaMap};

/// Size of a page in bytes; all addresses and lengths here are multiples of it.
pub const PAGE_SIZE: usize = 4096;
