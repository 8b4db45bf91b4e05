//! One flow's channel: its packets, and what its consumer waits for.

use alloc::{boxed::Box, sync::Arc};

use bitflags::bitflags;
use packet::Packet;

use crate::{
    Arrival, Packets, Processing,
    queue::Queue,
    sync::{AtomicU32, Ordering},
};

bitflags! {
    /// What a channel's consumer waits for. Each is good for one wake-up: whoever goes on waiting says so again.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// A thread or an observer waits for data, or for a change of the connection's state.
        const READ = 1;
        /// A thread or an observer waits for room in the send buffer: any segment may make some.
        const WRITE = 2;
        /// No thread waits, but the protocol has something to send that the next segment may allow: the worker is to
        /// look at it.
        const PROTOCOL = 4;
    }
}

/// Whoever a channel's packets are for.
///
/// The callbacks come at the end of a [`Batch`](crate::Batch), with no lock held, possibly in an interrupt, possibly
/// once more after [`Receiver::close`]; they must not wait. **The last reference to a consumer may be dropped there
/// too**: let it be a small handle (a wait queue, a weak reference to the socket), not the socket itself.
pub trait Consumer: Send + Sync {
    /// Wakes threads and tells observers that wait for this.
    fn wake(&self, interest: Interest);

    /// Hands the channel to the worker, who calls [`Channel::begin_deferred`], takes the socket's lock and drains.
    /// Not called again before `begin_deferred`.
    fn defer(&self);

    /// Lets somebody look after the channel within some tens of milliseconds, if no thread has come until then: by
    /// [`Channel::begin_check`], and if that says so, as for [`defer`](Self::defer). So a peer gets its ACK although
    /// the application does not read. Not called again before `begin_check`.
    fn check_later(&self);
}

/// Given to the worker, which has not begun yet.
const DEFERRED: u32 = 8;
/// To be checked later, which has not begun yet.
const CHECKED_LATER: u32 = 16;
/// Nothing is for anybody any more.
const CLOSED: u32 = 32;

/// The packets of one flow that wait to be processed, and the state of who is to do it.
///
/// The state is one word. Its promise: **a packet that is in the queue is seen by whoever waits**. The sender puts the
/// packet in first and changes the state after; the waiter changes the state first ([`Receiver::arm`]) and looks into
/// the queue after. Both changes are read-modify-write operations on the same word, so one comes first: if it is the
/// sender's, the waiter sees the packet; if it is the waiter's, the sender sees the interest. The same holds between
/// the sender and a worker that begins.
pub struct Channel {
    queue: Queue<Packet>,
    state: AtomicU32,
    capacity: usize,
    consumer: Box<dyn Consumer>,
}

/// A packet that found no place.
#[derive(Debug)]
pub enum Rejected {
    /// The channel is full; the newest packet is the one to be dropped.
    Full(Box<Packet>),
    /// The channel is closed: the flow has just ended, and the packet is the slow path's.
    Closed(Box<Packet>),
}

impl Channel {
    /// A channel that holds up to `capacity` packets, and its receiving end, of which there is one. It takes no
    /// memory for packets that are not there.
    pub fn new(capacity: usize, consumer: Box<dyn Consumer>) -> (Arc<Self>, Receiver) {
        let channel = Arc::new(Self { queue: Queue::new(), state: AtomicU32::new(0), capacity, consumer });
        (channel.clone(), Receiver { channel })
    }

    /// Puts a packet in; nobody learns of it before [`settle`](Self::settle).
    pub(crate) fn push(&self, packet: Box<Packet>) -> Result<(), Rejected> {
        if self.state.load(Ordering::Relaxed) & CLOSED != 0 {
            return Err(Rejected::Closed(packet));
        }
        // Closed meanwhile? Then it lies there until the last reference to the channel goes.
        self.queue.push(packet, self.capacity).map(|_| ()).map_err(Rejected::Full)
    }

    /// Decides what is to be done about packets that were pushed, and does it.
    pub(crate) fn settle(&self, arrival: Arrival, processing: Processing) -> Actions {
        let crowded = self.queue.len() > self.capacity / 2;
        let mut state = self.state.load(Ordering::Relaxed);
        let actions = loop {
            let (next, actions) = transition(state, arrival, processing, crowded);
            // Even if nothing changes: it is this that comes before or after the waiter's change. Release for what
            // was pushed, Acquire for nothing but symmetry's sake: the callbacks take locks of their own.
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break actions,
                Err(changed) => state = changed,
            }
        };
        if !actions.wake.is_empty() {
            self.consumer.wake(actions.wake);
        }
        if actions.defer {
            self.consumer.defer();
        }
        if actions.check_later {
            self.consumer.check_later();
        }
        actions
    }

    /// The worker begins: from here on, packets that come [defer](Consumer::defer) the channel again. To be followed
    /// by a [drain](Receiver::drain).
    pub fn begin_deferred(&self) {
        // Acquire: what was pushed by those who relied on this is seen.
        self.state.fetch_and(!DEFERRED, Ordering::AcqRel);
    }

    /// The check that was asked for by [`Consumer::check_later`]: whether packets still lie there.
    pub fn begin_check(&self) -> bool {
        self.state.fetch_and(!CHECKED_LATER, Ordering::AcqRel);
        !self.queue.is_empty()
    }

    /// Whether no packets lie there. For a look without a lock: before it is worth taking one.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What settling did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    pub(crate) wake: Interest,
    pub(crate) defer: bool,
    pub(crate) check_later: bool,
}

/// The state after an arrival, and what is to be done.
fn transition(state: u32, arrival: Arrival, processing: Processing, crowded: bool) -> (u32, Actions) {
    let mut actions = Actions::default();
    if state & CLOSED != 0 {
        return (state, actions);
    }
    let mut next = state;
    let mut to_worker = processing == Processing::InWorker;
    if !to_worker {
        let interest = Interest::from_bits_truncate(state);
        // Segments with data carry an acknowledgement too.
        let mut satisfied = Interest::WRITE;
        if !arrival.is_empty() {
            satisfied |= Interest::READ;
        }
        actions.wake = interest & satisfied;
        // Unread packets of somebody who was woken before, and does not come, are the worker's at last.
        to_worker = interest.contains(Interest::PROTOCOL)
            || crowded
            || (arrival.contains(Arrival::CONTROL) && actions.wake.is_empty());
        next &= !actions.wake.bits();
    }
    if to_worker {
        actions.defer = state & DEFERRED == 0;
        next = (next | DEFERRED) & !Interest::PROTOCOL.bits();
    } else {
        actions.check_later = state & (CHECKED_LATER | DEFERRED) == 0;
        next |= if actions.check_later { CHECKED_LATER } else { 0 };
    }
    (next, actions)
}

/// Whether it is time to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arm {
    /// No packet lies there, and the next one wakes.
    Armed,
    /// There are packets: drain, and look again.
    LookAgain,
}

/// The receiving end of a channel. There is one for each, and its methods want it exclusively: the socket keeps it
/// under the lock under which it runs the protocol, and so packets are processed in order.
pub struct Receiver {
    channel: Arc<Channel>,
}

impl Receiver {
    /// Takes all packets that lie there, in the order in which they came.
    pub fn drain(&mut self) -> Packets {
        Packets(self.channel.queue.take())
    }

    /// Says what is waited for from now on, beside what was said before, and looks whether there is something
    /// already. Without `LookAgain`, whoever waits is woken by the next packet that may be what it waits for.
    pub fn arm(&mut self, interest: Interest) -> Arm {
        // Acquire: see `Channel`.
        self.channel.state.fetch_or(interest.bits(), Ordering::AcqRel);
        if self.channel.queue.is_empty() { Arm::Armed } else { Arm::LookAgain }
    }

    /// What is waited for, which from now on it no longer is. For the worker, who wakes on its own with
    /// [`Processing::InWorker`].
    pub fn take_interest(&mut self) -> Interest {
        let all = Interest::all().bits();
        Interest::from_bits_truncate(self.channel.state.fetch_and(!all, Ordering::AcqRel))
    }

    /// The sending end.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Ends it: packets that come are [`Rejected::Closed`], nothing is woken any more, and what lies there is freed.
    /// The flow's entry is to be taken out of the table before.
    pub fn close(&mut self) {
        self.channel.state.fetch_or(CLOSED, Ordering::AcqRel);
        drop(self.drain());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}
