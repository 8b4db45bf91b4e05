//! Who is told of an epoll instance's list of ready files.
//!
//! Responsible for what a file's report does. Not for whether a file is ready: who takes it off the list asks it.
//! A slot's number is all that an observer holds: a report that arrives after its file has been removed puts an
//! empty slot, or the slot's next file, on the list, and is harmless.

use alloc::sync::Arc;
use core::{
    ops::Deref,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use linux_abi::event::EpollEvents;
use vfs::{Notified, Observer, PollEvents, Pollee};

use ready_list::ReadyList;
pub use ready_list::{End, SlotIndex};

/// The list, those who wait for it, and those who watch the instance itself.
pub struct Ready {
    list: ReadyList,
    pub pollee: Pollee,
}

impl Deref for Ready {
    type Target = ReadyList;

    fn deref(&self) -> &ReadyList {
        &self.list
    }
}

impl Ready {
    pub fn new() -> Self {
        Self { list: ReadyList::new(), pollee: Pollee::new() }
    }

    /// Puts a file on the list, and tells who waits for it or watches it. Says whether a thread waited.
    pub fn put(&self, index: SlotIndex) -> Notified {
        let woke = self.list.put(index);
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
