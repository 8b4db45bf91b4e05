//! What datagram sockets have in common (UDP, raw, ping): the queue of what came, the way of what goes, and control
//! data.

mod control;
mod errors;
mod output;
mod queue;

pub(crate) use control::{SendControl, hand_over};
pub(crate) use errors::{QueuedError, meaning};
pub(crate) use output::{Destination, LEN_MAX, copy_payload, message_len};
pub(crate) use queue::{Arrived, Inbox};

use vfs::PollEvents;

/// What those who wait for data are told.
pub(crate) const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
/// A datagram socket can always be written to, as nothing waits in it on its way out.
pub(crate) const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND);

/// Which directions the application has shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shut {
    pub(crate) receiving: bool,
    pub(crate) sending: bool,
}

impl Shut {
    pub(crate) fn add(&mut self, how: linux_abi::socket::ShutdownHow) {
        use linux_abi::socket::ShutdownHow::{Read, Write};
        self.receiving |= how != Write;
        self.sending |= how != Read;
    }
}

/// Readiness of a datagram socket (`datagram_poll` in `net/core/datagram.c`).
pub(crate) fn readiness(core: &crate::SocketCore, inbox: &Inbox, shut: Shut) -> PollEvents {
    let mut events = WRITABLE;
    if core.has_error() || inbox.has_errors() {
        events |= PollEvents::ERR;
        if inbox.has_errors() && core.has_switch(crate::Switches::SELECT_ERR_QUEUE) {
            events |= PollEvents::PRI;
        }
    }
    if shut.receiving {
        events |= READABLE | PollEvents::RDHUP;
    }
    if shut.receiving && shut.sending {
        events |= PollEvents::HUP;
    }
    if !inbox.is_empty() {
        events |= READABLE;
    }
    events
}
