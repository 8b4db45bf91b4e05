//! A binary heap whose entries can also be taken from its middle.

use alloc::vec::Vec;

use linux_abi::Errno;

use crate::Nice;

/// A point in a queue's virtual time. It wraps, so two points are compared by their difference, which is
/// always far below half the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct VirtualTime(pub(crate) u64);

impl VirtualTime {
    pub(crate) const fn is_before(self, other: Self) -> bool {
        self.since(other) < 0
    }

    /// How much later this is than `other`.
    pub(crate) const fn since(self, other: Self) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }

    pub(crate) const fn plus(self, ns: i64) -> Self {
        Self(self.0.wrapping_add_signed(ns))
    }

    pub(crate) const fn max(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }
}

/// A runnable thread that waits for the CPU.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) vruntime: VirtualTime,
    pub(crate) nice: Nice,
    /// Of those with equal runtimes, the first to come goes first.
    sequence: u64,
    pub(crate) item: T,
}

impl<T> Queued<T> {
    fn is_before(&self, other: &Self) -> bool {
        match self.vruntime.since(other.vruntime) {
            0 => self.sequence < other.sequence,
            difference => difference < 0,
        }
    }
}

/// The threads that wait, ordered by virtual runtime.
#[derive(Debug)]
pub(crate) struct Heap<T> {
    /// The children of entry `i` are `2i + 1` and `2i + 2`, and not before it.
    entries: Vec<Queued<T>>,
    next_sequence: u64,
}

impl<T> Heap<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), next_sequence: 0 }
    }

    pub(crate) fn try_reserve(&mut self, additional: usize) -> Result<(), Errno> {
        self.entries.try_reserve(additional).map_err(|_| Errno::ENOMEM)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn first(&self) -> Option<&Queued<T>> {
        self.entries.first()
    }

    /// All entries; the later half are those without children, which will wait longest.
    pub(crate) fn entries(&self) -> &[Queued<T>] {
        &self.entries
    }

    pub(crate) fn set_nice(&mut self, index: usize, nice: Nice) {
        self.entries[index].nice = nice;
    }

    pub(crate) fn push(&mut self, item: T, vruntime: VirtualTime, nice: Nice) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.entries.push(Queued { vruntime, nice, sequence, item });
        self.sift_up(self.entries.len() - 1);
    }

    pub(crate) fn pop(&mut self) -> Option<Queued<T>> {
        if self.entries.is_empty() { None } else { Some(self.remove(0)) }
    }

    /// Takes out the entry at an index.
    pub(crate) fn remove(&mut self, index: usize) -> Queued<T> {
        let removed = self.entries.swap_remove(index);
        if index < self.entries.len() {
            // What came from the end may belong further down or, being of another branch, further up.
            self.sift_down(index);
            self.sift_up(index);
        }
        removed
    }

    fn sift_up(&mut self, mut index: usize) {
        while index > 0 {
            let parent = (index - 1) / 2;
            if !self.entries[index].is_before(&self.entries[parent]) {
                return;
            }
            self.entries.swap(index, parent);
            index = parent;
        }
    }

    fn sift_down(&mut self, mut index: usize) {
        loop {
            let (left, right) = (2 * index + 1, 2 * index + 2);
            let mut least = index;
            for child in [left, right] {
                if child < self.entries.len() && self.entries[child].is_before(&self.entries[least]) {
                    least = child;
                }
            }
            if least == index {
                return;
            }
            self.entries.swap(index, least);
            index = least;
        }
    }
}
