//! What the tracker needs of page tables.

use core::ops::Range;

use crate::Engine;

/// What [`Leaf::arm`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// The leaf was clean already: nothing changed, and no TLB holds anything that matters.
    Unchanged,
    /// It was changed: TLBs may hold what it was before.
    Stale,
}

/// A leaf of a page table, which processors and other software change at the same time.
pub trait Leaf {
    /// Whether the page may have been written since the leaf was armed. What cannot be tracked counts as
    /// written; what is not there, or is the shared page of zeros, does not.
    fn is_dirty(&self) -> bool;

    /// Makes the leaf clean, in one locked operation, so that the next write makes it dirty. One that cannot be
    /// tracked stays as it is.
    fn arm(&self, engine: Engine) -> Armed;
}

/// Leaves next to each other.
pub enum Run<'a, L> {
    /// Of 4 KiB each, the first of which maps `start`.
    Small {
        /// First address.
        start: usize,
        /// The leaves, in order of their addresses; empty ones among them.
        leaves: &'a [L],
    },
    /// One of 2 MiB.
    Huge {
        /// Its first address, which may lie before the range that was asked for.
        start: usize,
        /// The leaf.
        leaf: &'a L,
    },
}

/// Page tables.
pub trait LeafTable {
    /// Their leaves.
    type Leaf: Leaf;

    /// Gives `each` all leaves that map some of `range`, in order of address. Nobody frees tables or splits
    /// leaves meanwhile.
    fn for_each_run(&self, range: Range<usize>, each: impl FnMut(Run<'_, Self::Leaf>));

    /// Flushes `range` from the TLBs of all CPUs: on return none uses what it held.
    fn flush(&self, range: Range<usize>);

    /// Makes 512 small leaves, which inherit all bits, of the huge leaf that begins at `start`, if one still
    /// does and there is memory for it. Returns whether it was done.
    fn split(&self, start: usize) -> bool;

    /// A clock, in nanoseconds.
    fn now_ns(&self) -> u64;
}
