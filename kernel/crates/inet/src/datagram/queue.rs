//! Datagrams that wait to be received.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc};

use linux_abi::{Errno, socket::MessageFlags};
use packet::Packet;
use vfs::ReadDst;

use super::errors::QueuedError;
use crate::Endpoint;

/// The most errors that wait.
const ERRORS_MAX: usize = 64;

/// A datagram that came.
pub(crate) struct Arrived {
    /// Its sender.
    pub(crate) source: Endpoint,
    /// To whom it was sent, with our port.
    pub(crate) destination: Endpoint,
    /// Where it came in; 0 if nobody has looked.
    pub(crate) interface: u32,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) flow_label: u32,
    /// When it came, since the epoch; 0 if nobody wants to know.
    pub(crate) time_ns: u64,
    /// What the application receives begins here in the packet.
    pub(crate) offset: usize,
    pub(crate) packet: Box<Packet>,
}

impl Arrived {
    /// Bytes of data.
    pub(crate) fn len(&self) -> usize {
        self.packet.len() - self.offset
    }
}

/// The queue of a socket, bounded by `SO_RCVBUF`.
#[derive(Default)]
pub(crate) struct Inbox {
    datagrams: VecDeque<Arc<Arrived>>,
    memory_bytes: usize,
    errors: VecDeque<QueuedError>,
    /// Datagrams for which there was no room (`SO_RXQ_OVFL`, `drops` in `/proc/net/udp`).
    pub(crate) dropped: u32,
}

/// The queue was full.
pub(crate) struct Full;

impl Inbox {
    /// Puts a datagram in unless the queue holds `limit` bytes already; the last one may go beyond, as in Linux.
    pub(crate) fn push(&mut self, arrived: Arrived, limit: usize) -> Result<(), Full> {
        if self.memory_bytes >= limit {
            self.dropped = self.dropped.wrapping_add(1);
            return Err(Full);
        }
        self.memory_bytes += arrived.packet.memory_bytes();
        self.datagrams.push_back(Arc::new(arrived));
        Ok(())
    }

    /// Takes the first datagram, or looks at it.
    pub(crate) fn take(&mut self, flags: MessageFlags) -> Option<Arc<Arrived>> {
        if flags.contains(MessageFlags::PEEK) {
            return self.datagrams.front().cloned();
        }
        let arrived = self.datagrams.pop_front()?;
        self.memory_bytes -= arrived.packet.memory_bytes();
        Some(arrived)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Length of the first datagram.
    pub(crate) fn first_len(&self) -> usize {
        self.datagrams.front().map_or(0, |arrived| arrived.len())
    }

    pub(crate) fn push_error(&mut self, error: QueuedError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push_back(error);
        }
    }

    pub(crate) fn take_error(&mut self) -> Option<QueuedError> {
        self.errors.pop_front()
    }

    /// What the first error of the queue is.
    pub(crate) fn next_error(&self) -> Option<Errno> {
        self.errors.front().map(QueuedError::errno)
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(crate) fn clear_errors(&mut self) {
        self.errors.clear();
    }
}

/// How much of a datagram went to the application.
pub(crate) struct Taken {
    pub(crate) len: usize,
    pub(crate) flags: MessageFlags,
}

impl Taken {
    /// Copies a datagram to the application.
    pub(crate) fn copy(arrived: &Arrived, dst: &mut dyn ReadDst, flags: MessageFlags) -> Result<Self, Errno> {
        let whole = arrived.len();
        let room = dst.remaining().min(whole);
        let copied = if room == 0 { 0 } else { arrived.packet.read_to(arrived.offset, room, dst)? };
        if copied < room {
            return Err(Errno::EFAULT);
        }
        let found = if copied < whole { MessageFlags::TRUNC } else { MessageFlags::empty() };
        Ok(Self { len: if flags.contains(MessageFlags::TRUNC) { whole } else { copied }, flags: found })
    }
}
