//! The ready list of an epoll instance, and who is told of it.
//!
//! Responsible for which of the watched files may be ready, in which order, and for waking those who wait.
//! Not for whether they are ready: who takes a file off the list asks it.
//!
//! One spin lock guards the list, as files report from interrupts. The list is doubly linked through slots
//! with indices, so putting on, taking off and removing from the middle take constant time and allocate
//! nothing. A slot's number is all that an observer holds: a report that arrives after its file has been
//! removed puts an empty slot, or the slot's next file, on the list, and is harmless.
//!
//! No wake-up is lost: [`Ready::put`] puts the slot on first and wakes after; a waiter queues itself first,
//! and looks after. One report wakes one waiter. Who takes files off wakes the next waiter if any are left.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ksync::{SpinLock, WaitQueue};
use linux_abi::event::EpollEvents;
use vfs::{Notified, Observer, PollEvents, Pollee};

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
    queued: usize,
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
        self.queued += 1;
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
        self.queued -= 1;
    }
}

/// The list, those who wait for it, and those who watch the instance itself.
pub struct Ready {
    list: SpinLock<List>,
    pub waiters: WaitQueue,
    pub pollee: Pollee,
}

impl Ready {
    pub const fn new() -> Self {
        let list = List { slots: Vec::new(), head: NONE, tail: NONE, queued: 0 };
        Self { list: SpinLock::new(list), waiters: WaitQueue::new(), pollee: Pollee::new() }
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
        self.list.lock().queued
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next file off.
    pub fn pop(&self) -> Option<SlotIndex> {
        let mut list = self.list.lock();
        let index = Some(list.head).filter(|head| *head != NONE)?;
        list.unlink(index);
        Some(index)
    }

    /// Puts a file on, if it is not, and wakes nobody.
    pub fn requeue(&self, index: SlotIndex, end: End) {
        let mut list = self.list.lock();
        if !list.slots[index as usize].queued {
            list.link(index, end);
        }
    }

    /// Takes a file off, if it is on.
    pub fn remove(&self, index: SlotIndex) {
        let mut list = self.list.lock();
        if list.slots[index as usize].queued {
            list.unlink(index);
        }
    }

    /// Puts a file on and wakes one waiter, as for every report, also if the file is on already: the waiter
    /// that was woken for the last one may have asked it before this one. Says whether one waited.
    pub fn put(&self, index: SlotIndex) -> Notified {
        self.requeue(index, End::Back);
        let woke = self.waiters.wake_one();
        self.pollee.notify(PollEvents::IN | PollEvents::RDNORM);
        if woke { Notified::Woke } else { Notified::Idle }
    }
}

/// What a watched file reports to.
pub struct Hook {
    ready: Arc<Ready>,
    slot: SlotIndex,
    /// What the application asked for; without any event while a one-shot file is disabled.
    events: AtomicU32,
}

impl Hook {
    pub fn new(ready: Arc<Ready>, slot: SlotIndex, events: EpollEvents) -> Arc<Self> {
        Arc::new(Self { ready, slot, events: AtomicU32::new(events.bits()) })
    }

    pub fn events(&self) -> EpollEvents {
        EpollEvents::from_bits_retain(self.events.load(SeqCst))
    }

    /// The file has to be asked after this: a report that came before was measured by the old events.
    pub fn set_events(&self, events: EpollEvents) {
        self.events.store(events.bits(), SeqCst);
    }

    /// What the file is asked for, in its own terms; nothing while disabled.
    pub fn interest(&self) -> PollEvents {
        PollEvents::from_bits_truncate(self.events().difference(EpollEvents::MODE).bits())
    }
}

impl Observer for Hook {
    fn notify(&self, events: PollEvents) -> Notified {
        let wanted = self.interest();
        if !wanted.intersects(events) {
            return Notified::Idle;
        }
        let woke = self.ready.put(self.slot);
        // `ep_poll_callback`: an exclusive wake-up is used up only by one who waits for this direction.
        let direction = events.intersection(PollEvents::IN | PollEvents::OUT);
        let matches =
            direction.is_empty() || direction.bits().count_ones() == 1 && wanted.contains(direction);
        if matches { woke } else { Notified::Idle }
    }
}
