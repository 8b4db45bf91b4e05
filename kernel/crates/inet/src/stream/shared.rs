//! The part of a socket that others reach: small enough to be let go of in an interrupt.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use ksync::{SpinLock, TimerTarget};
use netchannels::{Channel, Consumer, Interest};
use vfs::PollEvents;

use super::{Kept, TcpSocket};
use crate::{SocketCore, worker::Deferred};

/// What those who wait for data are told. Not `OUT`, so that those who wait for room only sleep on.
const READ_EVENTS: PollEvents = PollEvents::IN
    .union(PollEvents::RDNORM)
    .union(PollEvents::PRI)
    .union(PollEvents::RDHUP)
    .union(PollEvents::HUP)
    .union(PollEvents::ERR);

/// What those who wait for room are told.
const WRITE_EVENTS: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

/// The events of an interest.
pub fn events_of(interest: Interest) -> PollEvents {
    let mut events = PollEvents::empty();
    if interest.contains(Interest::READ) {
        events |= READ_EVENTS;
    }
    if interest.contains(Interest::WRITE) {
        events |= WRITE_EVENTS;
    }
    events
}

/// A socket as its channel, its timer and the worker see it.
pub struct Shared {
    pub core: SocketCore,
    socket: Weak<TcpSocket>,
    /// The socket itself, while the table of flows has it.
    pub kept: Kept,
    /// The connection's channel; weak, since the channel holds this.
    pub channel: SpinLock<Weak<Channel>>,
    /// The timer has fired, and the worker is to come.
    timer_fired: AtomicBool,
}

impl Shared {
    pub fn new(core: SocketCore, socket: Weak<TcpSocket>) -> Arc<Self> {
        Arc::new(Self {
            core,
            socket,
            kept: SpinLock::new(None),
            channel: SpinLock::new(Weak::new()),
            timer_fired: AtomicBool::new(false),
        })
    }
}

impl Deferred for Shared {
    fn run(&self) {
        self.timer_fired.store(false, SeqCst);
        if let Some(socket) = self.socket.upgrade() {
            socket.work();
        }
    }

    fn check(&self) -> bool {
        // Without the socket's lock: most often a thread has come meanwhile.
        let channel = self.channel.lock().upgrade();
        channel.is_some_and(|channel| channel.begin_check())
    }
}

/// The consumer of a connection's channel.
pub struct Handle(Arc<Shared>);

impl Handle {
    pub fn boxed(shared: &Arc<Shared>) -> Box<dyn Consumer> {
        Box::new(Self(shared.clone()))
    }
}

impl Consumer for Handle {
    fn wake(&self, interest: Interest) {
        self.0.core.pollee.notify(events_of(interest));
    }

    fn defer(&self) {
        self.0.core.net.worker.defer(self.0.clone());
    }

    fn check_later(&self) {
        self.0.core.net.worker.check_later(self.0.clone());
    }
}

/// The target of a socket's timer.
pub struct TimerHook(pub Arc<Shared>);

impl TimerTarget for TimerHook {
    fn fire(&self) {
        if !self.0.timer_fired.swap(true, SeqCst) {
            self.0.core.net.worker.defer(self.0.clone());
        }
    }
}
