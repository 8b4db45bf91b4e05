//! A list of packets that many put into and one takes out of, all at once.
//!
//! Each packet brings its own link, so an empty list costs two words, and putting a packet in allocates nothing: the
//! arrays of 10,000 idle connections, of 256 places each, would hold 40 MB for nothing. Putting in is one
//! compare-and-exchange, taking out one swap, and nobody ever waits for somebody else half-way through. That matters:
//! an interrupt may put a packet in while the thread that it interrupted is doing the same, or takes them out. (In an
//! array each place is vacated in two steps, and who finds one half vacated spins: for ever, if it is an interrupt on
//! the CPU that is to do the second.)

#![expect(unsafe_code, reason = "ownership goes through a raw pointer")]

use alloc::boxed::Box;
use core::ptr;

use packet::Packet;

use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

/// Something that can be in a list.
pub(crate) trait Linked: Sized {
    /// Where its link to another is kept while it is in a list. Nothing else uses it.
    fn link(&mut self) -> &mut *mut Self;
}

impl Linked for Packet {
    fn link(&mut self) -> &mut *mut Self {
        self.link()
    }
}

/// The list, newest first.
pub(crate) struct Queue<N: Linked> {
    newest: AtomicPtr<N>,
    /// How many are in it, or are about to be.
    len: AtomicUsize,
}

impl<N: Linked> Queue<N> {
    pub(crate) fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()), len: AtomicUsize::new(0) }
    }

    /// Puts a node in unless `capacity` are in already; returns how many there are then.
    pub(crate) fn push(&self, node: Box<N>, capacity: usize) -> Result<usize, Box<N>> {
        // Counted before, so that the bound holds at any moment whoever else is at it. Two that race for the last
        // place may both be refused: a packet can be dropped, but those that are taken keep their order.
        let before = self.len.fetch_add(1, Ordering::Relaxed);
        if before >= capacity {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(node);
        }
        let node = Box::into_raw(node);
        // A guess, which the exchange corrects. Where another thread may come between, loom finds by an object's last
        // access only: a load here would hide from it the look of whoever takes packets out.
        let mut newest = if cfg!(loom) { ptr::null_mut() } else { self.newest.load(Ordering::Relaxed) };
        loop {
            // SAFETY: the node came out of a box and is in no list yet, so it is valid, and nobody else's.
            *unsafe { &mut *node }.link() = newest;
            // Release: whoever takes the list sees the node and its link. A node can leave only together with all
            // that are older, so if the newest is the same again, so is the rest (no ABA).
            match self.newest.compare_exchange_weak(newest, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(before + 1),
                Err(changed) => newest = changed,
            }
        }
    }

    /// Whether nothing is in it. What was put in before this thread last read what its sender wrote afterwards is
    /// seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// How many are in it, or are about to be.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes all, oldest first.
    pub(crate) fn take(&self) -> List<N> {
        if self.is_empty() {
            return List { oldest: ptr::null_mut(), len: 0 };
        }
        let mut newest = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut list = List { oldest: ptr::null_mut(), len: 0 };
        while !newest.is_null() {
            // SAFETY: the swap made this list ours alone; all nodes in it came out of boxes, and the link of each
            // is null or the next such node. Acquire made the writes of whoever put them in visible.
            let link = unsafe { &mut *newest }.link();
            let older = *link;
            *link = list.oldest;
            list.oldest = newest;
            list.len += 1;
            newest = older;
        }
        self.len.fetch_sub(list.len, Ordering::Relaxed);
        list
    }
}

impl<N: Linked> Drop for Queue<N> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Nodes that were taken out. Those that nobody takes from it are freed with it.
pub(crate) struct List<N: Linked> {
    /// Owned, as are all that its links lead to.
    oldest: *mut N,
    len: usize,
}

// SAFETY: it owns its nodes, and they may move between threads.
unsafe impl<N: Linked + Send> Send for List<N> {}

impl<N: Linked> Iterator for List<N> {
    type Item = Box<N>;

    fn next(&mut self) -> Option<Box<N>> {
        if self.oldest.is_null() {
            return None;
        }
        // SAFETY: the list owns the node, which came out of a box and is taken from the list here.
        let mut node = unsafe { Box::from_raw(self.oldest) };
        self.oldest = core::mem::replace(node.link(), ptr::null_mut());
        self.len -= 1;
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl<N: Linked> Drop for List<N> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Packets that were taken out of a channel, in the order in which they came. Those that nobody takes are freed with
/// it.
pub struct Packets(pub(crate) List<Packet>);

impl Iterator for Packets {
    type Item = Box<Packet>;

    fn next(&mut self) -> Option<Box<Packet>> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Packets {}
