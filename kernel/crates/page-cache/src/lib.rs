//! The page cache: pages of files that lie on slower storage.
//!
//! A [`PageCache`] has the pages and the size of one file; its [`PageSource`] knows where they come
//! from and go to. Not responsible for: metadata of the file, where blocks lie, durability of anything
//! but the data handed to [`PageSource::write_bytes`].
//!
//! | operation                  | `state` | `changes` | `writebacks` | device I/O with a lock held |
//! |----------------------------|---------|-----------|--------------|-----------------------------|
//! | read, fault: page is there | briefly | -         | -            | none                        |
//! | read, fault: page is not   | briefly | -         | -            | none (page marked filling)  |
//! | write                      | briefly | held      | -            | under `changes` only        |
//! | truncate, zero a range     | briefly | held      | held         | under those two only        |
//! | writeback                  | briefly | -         | held         | under `writebacks` only     |
//! | eviction                   | tried   | -         | -            | none                        |
//!
//! Order: `changes`, `writebacks`, `state`. Eviction runs in whatever thread is short of memory, which
//! may hold any of them: so it only tries, and never writes. What limits dirty pages instead is in `limits`.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod cache;
mod dirty;
mod eviction;
mod limits;
#[cfg(test)]
mod tests;

use core::ops::Range;

use linux_abi::Errno;

pub use cache::PageCache;
pub use dirty::{dirty_pages, writeback_pages};
pub use eviction::{evict, totals};
pub use limits::{DirtyLimits, current as dirty_limits, has_excess, wait_for_excess};

/// Whether pages are kept from being written through mappings unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The next write asks for the page again.
    Done,
    /// Nobody can take the right to write away.
    Impossible,
}

/// Where the pages of a file come from, and go to.
pub trait PageSource: Send + Sync {
    /// Reads whole pages, from the one with index `first` on, each into one buffer of a page; holes
    /// and what lies past the end are zeros. Every byte of each buffer has to be written.
    fn read_pages(&self, first: u64, pages: &mut [&mut [u8]]) -> Result<(), Errno>;

    /// Writes bytes at `offset`, which is that of a page.
    fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// Takes the right to write these pages from all mappings, before their contents are read to be written back.
    fn write_protect(&self, _pages: Range<u64>) -> Protection {
        Protection::Impossible
    }

    /// A page is about to become dirty: makes sure that it can be written later, else `ENOSPC`.
    fn reserve_page(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// A page that was written just now is dirty again: it needs no room that it has not got.
    fn retain_page(&self) {}

    /// That many dirty pages were written or given up.
    fn release_pages(&self, _count: usize) {}
}
