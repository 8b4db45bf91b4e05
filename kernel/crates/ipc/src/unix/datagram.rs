//! Messages with borders: datagrams, and connections of messages (`SOCK_SEQPACKET`).

use alloc::{sync::Arc, vec::Vec};
use core::mem;

use linux_abi::{
    Errno,
    socket::{MessageFlags, SCM_MAX_FD, SOL_SOCKET, SocketType, Ucred},
};
use vfs::{Blocking, OpenFile, ReadDst, WriteSrc};

use super::{
    Name, Phase, UnixSocket, WRITABLE,
    message::{Message, take_bytes},
};
use crate::socket::{Control, Received, SendOptions};

impl UnixSocket {
    /// Parts control data into open files and credentials, by default the socket's own. `EINVAL` for too
    /// many files, `EPERM` for credentials of somebody else.
    pub(super) fn split_control(&self, control: Vec<Control>) -> Result<(Vec<Arc<OpenFile>>, Ucred), Errno> {
        let mut rights = Vec::new();
        let mut credentials = self.credentials;
        for item in control {
            match item {
                Control::Rights(files) => rights.extend(files),
                Control::Other { level: SOL_SOCKET, .. } => return Err(Errno::EINVAL),
                // Those of other levels are passed over (`__scm_send` in `net/core/scm.c`).
                Control::Other { .. } => {}
                Control::Credentials(claimed) if claimed.pid != self.credentials.pid => {
                    return Err(Errno::ESRCH);
                }
                Control::Credentials(claimed) => {
                    // The superuser may claim any user and group.
                    let is_own = (claimed.uid, claimed.gid) == (self.credentials.uid, self.credentials.gid);
                    if !is_own && self.credentials.uid != 0 {
                        return Err(Errno::EPERM);
                    }
                    credentials = claimed;
                }
            }
        }
        if rights.len() > SCM_MAX_FD { Err(Errno::EINVAL) } else { Ok((rights, credentials)) }
    }

    pub(super) fn send_datagram(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        let (rights, credentials) = self.split_control(options.control)?;
        let is_connection = self.kind == SocketType::SeqPacket;
        let peer = self.state.lock().peer.clone();
        // A connection of messages ignores the address.
        let (target, named) = match (options.address.filter(|_| !is_connection), peer) {
            (None, Some(peer)) => (peer, false),
            (None, None) => return Err(Errno::ENOTCONN),
            (Some(address), _) => (self.find_datagram_target(address)?, true),
        };
        let len = src.remaining();
        if len > self.buffer.limit().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        if is_connection {
            let charge = self.wait_for_room(&target, len, blocking)?;
            target.take_in(self.message(src, len, rights, credentials, charge)?)?;
            return Ok(len);
        }
        let timeout_ns = self.options.lock().send_timeout_ns();
        let charge = self.wait(&self.buffer.pollee.waiters, blocking, timeout_ns, || {
            if self.state.lock().send_shut {
                return Some(Err(Errno::EPIPE));
            }
            self.buffer.charge(len).map(Ok)
        })?;
        let mut message = Some(self.message(src, len, rights, credentials, charge)?);
        let result = self.wait(&target.buffer.pollee.waiters, blocking, timeout_ns, || {
            let mut state = target.state.lock();
            let is_mutual = state.peer.as_ref().is_some_and(|peer| peer.is(self));
            if state.closed {
                return Some(Err(Errno::ECONNREFUSED));
            }
            if state.peer.is_some() && !is_mutual {
                return Some(Err(Errno::EPERM));
            }
            if state.receive_shut {
                return Some(Err(Errno::EPIPE));
            }
            if !is_mutual && state.is_full_of_datagrams() {
                return None;
            }
            state.messages.extend(message.take());
            Some(Ok(()))
        });
        match result {
            Ok(()) => target.notify(super::READABLE),
            Err(Errno::ECONNREFUSED) if !named => self.lose_peer(&target),
            Err(_) => {}
        }
        result.map(|()| len)
    }

    fn find_datagram_target(&self, address: &[u8]) -> Result<Arc<UnixSocket>, Errno> {
        let target = self.domain.find(&Name::decode(address)?)?;
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        self.check_may_send_to(&target)?;
        Ok(target)
    }

    fn message(
        &self,
        src: &mut dyn WriteSrc,
        len: usize,
        rights: Vec<Arc<OpenFile>>,
        credentials: Ucred,
        charge: super::message::Charge,
    ) -> Result<Message, Errno> {
        let data = Arc::new(take_bytes(src, len)?);
        let sender = self.state.lock().name.clone();
        Ok(Message { data, received: 0, rights, credentials, sender, _charge: charge })
    }

    /// A datagram socket whose peer has closed is without peer from the first send that finds out, and what
    /// it had received is lost (`unix_dgram_disconnected`).
    fn lose_peer(&self, gone: &UnixSocket) {
        let (peer, messages) = {
            let mut state = self.state.lock();
            if !state.peer.as_ref().is_some_and(|peer| peer.is(gone)) {
                return;
            }
            state.phase = Phase::Idle;
            (state.peer.take(), mem::take(&mut state.messages))
        };
        drop((peer, messages));
    }

    pub(super) fn receive_datagram(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        let is_connection = self.kind == SocketType::SeqPacket;
        if is_connection && self.state.lock().phase != Phase::Connected {
            return Err(Errno::ENOTCONN);
        }
        let timeout_ns = self.options.lock().receive_timeout_ns();
        let taken = self.wait(&self.buffer.pollee.waiters, blocking, timeout_ns, || {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            match Taken::next(&mut state, flags) {
                Some(taken) => Some(Ok(Some(taken))),
                // Without waiting, a shut datagram socket is only empty.
                None if state.receive_shut && (is_connection || blocking == Blocking::Yes) => Some(Ok(None)),
                None => None,
            }
        })?;
        let Some(taken) = taken else { return Ok(Received::default()) };
        if !flags.contains(MessageFlags::PEEK) {
            self.datagram_was_taken();
        }
        let whole = taken.data.len();
        let copied = if whole == 0 { 0 } else { dst.put(&taken.data)? };
        let truncated = copied < whole;
        Ok(Received {
            len: if flags.contains(MessageFlags::TRUNC) { whole } else { copied },
            flags: if truncated { MessageFlags::TRUNC } else { MessageFlags::empty() },
            address: taken.sender.map(|name| Name::encode(Some(&name))),
            control: self.control_of(taken.rights, taken.credentials),
        })
    }

    /// Wakes those who wait for room here.
    fn datagram_was_taken(&self) {
        if self.kind != SocketType::Datagram {
            return;
        }
        let senders = mem::take(&mut self.state.lock().blocked_senders);
        self.buffer.pollee.waiters.wake_all();
        for sender in senders.iter().filter_map(|sender| sender.upgrade()) {
            sender.notify(WRITABLE);
        }
    }
}

/// A message that was taken from the queue, or a view of one that stays.
struct Taken {
    data: Arc<Vec<u8>>,
    rights: Vec<Arc<OpenFile>>,
    credentials: Ucred,
    sender: Option<Name>,
    /// The rest of a message that was taken, to be dropped outside the lock.
    _message: Option<Message>,
}

impl Taken {
    fn next(state: &mut super::State, flags: MessageFlags) -> Option<Self> {
        if flags.contains(MessageFlags::PEEK) {
            let message = state.messages.front()?;
            return Some(Self {
                data: message.data.clone(),
                rights: message.rights.clone(),
                credentials: message.credentials,
                sender: message.sender.clone(),
                _message: None,
            });
        }
        let mut message = state.messages.pop_front()?;
        Some(Self {
            data: message.data.clone(),
            rights: mem::take(&mut message.rights),
            credentials: message.credentials,
            sender: message.sender.take(),
            _message: Some(message),
        })
    }
}
