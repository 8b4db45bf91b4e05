//! Streams of bytes.

use alloc::{sync::Arc, vec::Vec};

use linux_abi::{Errno, socket::MessageFlags};
use vfs::{Blocking, OpenFile, ReadDst, WriteSrc};

use super::{
    Phase, READABLE, UnixSocket,
    message::{Message, STREAM_CHUNK, take_bytes},
};
use crate::socket::{Received, SendOptions};

/// What has been received so far.
#[derive(Default)]
struct Progress {
    len: usize,
    rights: Vec<Arc<OpenFile>>,
    credentials: Option<super::Ucred>,
}

impl Progress {
    fn demand(&self, wanted: usize) -> Demand {
        if self.len >= wanted { Demand::Met } else { Demand::Unmet }
    }
}

/// Whether a call has as much as it must wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    Met,
    Unmet,
}

/// Whether what is received stays in the queue (`MSG_PEEK`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum QueueAccess {
    Peek,
    Take,
}

/// One look at the queue.
enum Look {
    /// Bytes of a piece, from an offset on.
    Piece { data: Arc<Vec<u8>>, from: usize, rights: Vec<Arc<OpenFile>>, credentials: super::Ucred },
    /// Nothing more for this call.
    End(Result<(), Errno>),
    /// Nothing yet.
    Empty,
}

impl UnixSocket {
    pub(super) fn send_stream(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        let (mut rights, credentials) = self.split_control(options.control)?;
        let peer = {
            let state = self.state.lock();
            if options.address.is_some() {
                let connected = state.phase == Phase::Connected;
                return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
            }
            let peer = state.peer.clone().ok_or(Errno::ENOTCONN)?;
            if state.send_shut {
                return Err(Errno::EPIPE);
            }
            peer
        };
        let mut sent = 0;
        while src.remaining() > 0 {
            let longest = (self.buffer.limit() / 2).saturating_sub(64).clamp(1, STREAM_CHUNK);
            let len = src.remaining().min(longest);
            let piece = self.wait_for_room(&peer, len, blocking).and_then(|charge| {
                Ok(Message {
                    data: Arc::new(take_bytes(src, len)?),
                    received: 0,
                    rights: core::mem::take(&mut rights),
                    credentials,
                    sender: None,
                    _charge: charge,
                })
            });
            match piece.and_then(|piece| peer.take_in(piece)) {
                Ok(()) => sent += len,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// Waits until there is room in the send buffer; `EPIPE` if nobody will receive.
    pub(super) fn wait_for_room(
        &self,
        peer: &UnixSocket,
        len: usize,
        blocking: Blocking,
    ) -> Result<super::message::Charge, Errno> {
        let timeout_ns = self.options.lock().send_timeout_ns();
        self.wait(&self.buffer.pollee.waiters, blocking, timeout_ns, || {
            if self.state.lock().send_shut || peer.state.lock().refuses_data() {
                return Some(Err(Errno::EPIPE));
            }
            self.buffer.charge(len).map(Ok)
        })
    }

    /// Queues a message at its receiver.
    pub(super) fn take_in(&self, message: Message) -> Result<(), Errno> {
        let mut message = Some(message);
        {
            let mut state = self.state.lock();
            if !state.refuses_data() {
                state.messages.extend(message.take());
            }
        }
        // One that was refused is dropped here, outside the lock.
        if message.is_some() {
            return Err(Errno::EPIPE);
        }
        self.notify(READABLE);
        Ok(())
    }

    pub(super) fn receive_stream(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        if self.state.lock().phase != Phase::Connected {
            return Err(Errno::EINVAL);
        }
        let (timeout_ns, low_water) = {
            let options = self.options.lock();
            (options.receive_timeout_ns(), options.receive_low_water())
        };
        let wanted = if flags.contains(MessageFlags::WAITALL) { usize::MAX } else { low_water };
        let wanted = wanted.min(dst.remaining()).max(1);
        let mut progress = Progress::default();
        let result = self.wait(&self.buffer.pollee.waiters, blocking, timeout_ns, || {
            self.copy_pieces(dst, flags, wanted, &mut progress)
        });
        match result {
            Err(error) if progress.len == 0 => return Err(error),
            _ => {}
        }
        let credentials = progress.credentials.unwrap_or(super::Ucred::NOBODY);
        Ok(Received {
            len: progress.len,
            control: self.control_of(progress.rights, credentials),
            ..Received::default()
        })
    }

    /// Copies what there is. `None`: less than `wanted`, and more may come.
    fn copy_pieces(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        wanted: usize,
        progress: &mut Progress,
    ) -> Option<Result<(), Errno>> {
        let peek = flags.contains(MessageFlags::PEEK);
        let peek_or_take = if peek { QueueAccess::Peek } else { QueueAccess::Take };
        let passes_credentials = self.options.lock().passes_credentials();
        let _reading = self.reading.lock();
        let mut peeked = 0;
        loop {
            let (data, from, rights, credentials) =
                match self.look(peeked, peek_or_take, progress.demand(wanted)) {
                    Look::Piece { data, from, rights, credentials } => (data, from, rights, credentials),
                    Look::End(result) => return Some(result),
                    Look::Empty if peek && progress.len > 0 => return Some(Ok(())),
                    Look::Empty => return None,
                };
            // Bytes of different senders are not mixed where the receiver wants to know the sender.
            if passes_credentials && progress.credentials.is_some_and(|first| first != credentials) {
                return Some(Ok(()));
            }
            let copied = match dst.put(&data[from..]) {
                Ok(copied) => copied,
                Err(error) => return Some(Err(error)),
            };
            progress.len += copied;
            progress.credentials = Some(credentials);
            let ends = !rights.is_empty();
            progress.rights.extend(rights);
            if peek {
                peeked += 1;
            } else {
                self.consume(copied);
            }
            // A call takes the descriptors of one piece only, so that they stay beside their bytes.
            if ends || dst.remaining() == 0 {
                return Some(Ok(()));
            }
        }
    }

    /// The piece number `index` of the queue; takes its descriptors, or shares them if it stays.
    fn look(&self, index: usize, access: QueueAccess, demand: Demand) -> Look {
        let mut state = self.state.lock();
        if let Some(piece) = state.messages.get_mut(index) {
            let rights = match access {
                QueueAccess::Peek => piece.rights.clone(),
                QueueAccess::Take => core::mem::take(&mut piece.rights),
            };
            return Look::Piece {
                data: piece.data.clone(),
                from: piece.received,
                rights,
                credentials: piece.credentials,
            };
        }
        if demand == Demand::Met {
            // An error stays for the next call.
            return Look::End(Ok(()));
        }
        match state.error.take() {
            Some(error) => Look::End(Err(error)),
            None if state.receive_shut => Look::End(Ok(())),
            None => Look::Empty,
        }
    }

    /// Marks `len` bytes of the first piece as received.
    fn consume(&self, len: usize) {
        let finished = {
            let mut state = self.state.lock();
            match state.messages.front_mut() {
                Some(piece) => {
                    piece.received += len;
                    if piece.unreceived() == 0 { state.messages.pop_front() } else { None }
                }
                // The socket was closed under us.
                None => None,
            }
        };
        drop(finished);
    }
}
