//! The list of an epoll instance's files that may be ready, and the threads that wait for one.
//!
//! One spin lock guards the list, as files report from interrupts. The list is doubly linked through slots
//! with indices, so putting on, taking off and removing from the middle take constant time and allocate
//! nothing. How long it is can be seen without the lock.
//!
//! No wake-up is lost: [`ReadyList::put`] puts the slot on first and wakes after; a waiter queues itself first,
//! and looks after. One report wakes one waiter. Who takes files off wakes the next waiter if any are left.

#![cfg_attr(not(any(test, loom)), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(all(test, loom))]
mod loom_tests;
mod primitive;

use alloc::vec::Vec;

use ksync::WaitQueue;
use primitive::{AtomicUsize, ListLock, Ordering};

/// The number of a watched file within its instance.
pub type SlotIndex = u32;

const NONE: SlotIndex = SlotIndex::MAX;

#[derive(Clone, Copy)]
struct Slot {
    previous: SlotIndex,
    next: SlotIndex,
    queued: bool,
}

struct List {
    slots: Vec<Slot>,
    head: SlotIndex,
    tail: SlotIndex,
}

/// Which end of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Taken next.
    Front,
    /// Taken last.
    Back,
}

impl List {
    fn link(&mut self, index: SlotIndex, end: End) {
        let (previous, next) = match end {
            End::Front => (NONE, self.head),
            End::Back => (self.tail, NONE),
        };
        self.slots[index as usize] = Slot { previous, next, queued: true };
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = index,
            None => self.head = index,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = index,
            None => self.tail = index,
        }
    }

    fn unlink(&mut self, index: SlotIndex) {
        let Slot { previous, next, .. } = self.slots[index as usize];
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.next = next,
            None => self.head = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.previous = previous,
            None => self.tail = previous,
        }
        self.slots[index as usize].queued = false;
    }
}

/// The list, and those who wait for it.
pub struct ReadyList {
    list: ListLock<List>,
    /// How many files are on the list; written under its lock.
    len: AtomicUsize,
    /// The threads that wait for a file.
    pub waiters: WaitQueue,
}

impl Default for ReadyList {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadyList {
    /// An empty list without slots.
    pub fn new() -> Self {
        let list = List { slots: Vec::new(), head: NONE, tail: NONE };
        Self { list: ListLock::new(list), len: AtomicUsize::new(0), waiters: WaitQueue::new() }
    }

    /// Makes sure that there is a slot with this number.
    pub fn grow_to(&self, index: SlotIndex) {
        let mut list = self.list.lock();
        while list.slots.len() <= index as usize {
            list.slots.push(Slot { previous: NONE, next: NONE, queued: false });
        }
    }

    /// How many files are on the list.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes the length. With the list's lock held.
    fn count(&self, change: impl FnOnce(usize) -> usize) {
        self.len.store(change(self.len.load(Ordering::Relaxed)), Ordering::Release);
    }

    /// Takes the next file off.
    pub fn pop(&self) -> Option<SlotIndex> {
        let mut list = self.list.lock();
        let index = Some(list.head).filter(|head| *head != NONE)?;
        list.unlink(index);
        self.count(|len| len - 1);
        Some(index)
    }

    /// Puts a file on, if it is not, and wakes nobody.
    pub fn requeue(&self, index: SlotIndex, end: End) {
        let mut list = self.list.lock();
        if !list.slots[index as usize].queued {
            list.link(index, end);
            self.count(|len| len + 1);
        }
    }

    /// Takes a file off, if it is on.
    pub fn remove(&self, index: SlotIndex) {
        let mut list = self.list.lock();
        if list.slots[index as usize].queued {
            list.unlink(index);
            self.count(|len| len - 1);
        }
    }

    /// Puts a file on and wakes one waiter, as for every report, also if the file is on already: the waiter
    /// that was woken for the last one may have asked it before this one. Says whether one waited.
    pub fn put(&self, index: SlotIndex) -> bool {
        self.requeue(index, End::Back);
        self.waiters.wake_one()
    }
}
