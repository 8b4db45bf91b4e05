//! Binding, listening, connecting, accepting, and the ends of local sockets.

use alloc::{sync::Arc, vec::Vec};
use core::mem;

use linux_abi::{
    Errno,
    socket::{SOMAXCONN, ShutdownHow, SocketType, family::AF_UNSPEC, option::SO_PASSCRED},
};
use vfs::{Blocking, PollEvents};

use super::{Name, Phase, READABLE, UnixSocket, WRITABLE};

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Its last descriptor was closed.
    ByOwner,
    /// It was never accepted, and its listener is gone.
    Unaccepted,
}

impl UnixSocket {
    pub(super) fn bind_name(&self, name: Option<Name>) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        if self.state.lock().name.is_some() {
            return match name {
                // Asking for any name again is no error.
                None => Ok(()),
                // Linux makes the inode before it looks whether the socket has a name (`unix_bind_bsd`), so a
                // path that exists is the first thing it finds wrong.
                Some(Name::Path(path)) => Err(self.domain.error_of_second_bind(&path)),
                Some(Name::Abstract(_)) => Err(Errno::EINVAL),
            };
        }
        let (name, binding) = self.domain.bind(name, &self.this)?;
        let mut state = self.state.lock();
        state.name = Some(name);
        state.binding = Some(binding);
        Ok(())
    }

    pub(super) fn start_listening(&self, backlog: u32) -> Result<(), Errno> {
        if self.kind == SocketType::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let _setup = self.setup.lock();
        let mut state = self.state.lock();
        if state.name.is_none() || state.phase == Phase::Connected {
            return Err(Errno::EINVAL);
        }
        state.phase = Phase::Listening { backlog: backlog.min(SOMAXCONN) as usize };
        // What those who connect are told of this side.
        state.peer_credentials = self.credentials;
        drop(state);
        // A longer queue has room for those who wait.
        self.buffer.pollee.waiters.wake_all();
        Ok(())
    }

    pub(super) fn connect_to_listener(&self, name: &Name, blocking: Blocking) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        let timeout_ns = self.options.lock().send_timeout_ns();
        loop {
            let listener = self.find_of_kind(name)?;
            // Another one may have taken over the name when there is room at last.
            match self.try_connect(&listener)? {
                Connecting::Done => return Ok(()),
                Connecting::NoRoom => {
                    self.wait(&listener.buffer.pollee.waiters, blocking, timeout_ns, || {
                        (!listener.has_no_room()).then_some(Ok(()))
                    })?
                }
            }
        }
    }

    fn find_of_kind(&self, name: &Name) -> Result<Arc<UnixSocket>, Errno> {
        let found = self.domain.find(name)?;
        if found.kind == self.kind { Ok(found) } else { Err(Errno::EPROTOTYPE) }
    }

    fn has_no_room(&self) -> bool {
        let state = self.state.lock();
        let Phase::Listening { backlog } = state.phase else { return false };
        state.embryos.len() > backlog && !state.refuses_data()
    }

    fn try_connect(&self, listener: &UnixSocket) -> Result<Connecting, Errno> {
        let (name, credentials) = {
            let state = listener.state.lock();
            if !matches!(state.phase, Phase::Listening { .. }) || state.refuses_data() {
                return Err(Errno::ECONNREFUSED);
            }
            (state.name.clone(), state.peer_credentials)
        };
        match self.state.lock().phase {
            Phase::Idle => {}
            Phase::Connected => return Err(Errno::EISCONN),
            Phase::Listening { .. } => return Err(Errno::EINVAL),
        }
        if listener.has_no_room() {
            return Ok(Connecting::NoRoom);
        }
        let this = self.this.upgrade().ok_or(Errno::EINVAL)?;
        let embryo = Self::new(&self.domain, self.kind, listener.credentials);
        embryo.join(&this, self.credentials);
        embryo.state.lock().name = name;
        let passes_credentials = listener.options.lock().number(SO_PASSCRED);
        embryo.options.lock().inherit_credentials_passing(passes_credentials);
        // This side first: who accepts may send at once.
        self.join(&embryo, credentials);
        let refused = {
            let mut state = listener.state.lock();
            match state.phase {
                Phase::Listening { backlog } if !state.refuses_data() => {
                    if state.embryos.len() > backlog {
                        Some(Ok(Connecting::NoRoom))
                    } else {
                        state.embryos.push_back(embryo.clone());
                        None
                    }
                }
                _ => Some(Err(Errno::ECONNREFUSED)),
            }
        };
        if let Some(result) = refused {
            embryo.state.lock().peer = None;
            let mut state = self.state.lock();
            state.phase = Phase::Idle;
            let peer = state.peer.take();
            drop(state);
            drop(peer);
            return result;
        }
        listener.acceptors.wake_one();
        listener.notify(READABLE);
        self.notify(WRITABLE);
        Ok(Connecting::Done)
    }

    pub(super) fn take_connection(&self, blocking: Blocking) -> Result<Arc<UnixSocket>, Errno> {
        if self.kind == SocketType::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let timeout_ns = self.options.lock().receive_timeout_ns();
        let embryo = self.wait(&self.acceptors, blocking, timeout_ns, || {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Listening { .. }) {
                return Some(Err(Errno::EINVAL));
            }
            match state.embryos.pop_front() {
                Some(embryo) => Some(Ok(embryo)),
                None if state.receive_shut => Some(Err(Errno::EINVAL)),
                None => None,
            }
        })?;
        // There is room for one more.
        self.buffer.pollee.waiters.wake_all();
        Ok(embryo)
    }

    /// Sets the peer of a datagram socket, or takes it away (`AF_UNSPEC`).
    pub(super) fn connect_datagram(&self, address: &[u8]) -> Result<(), Errno> {
        let _setup = self.setup.lock();
        let is_unspecified =
            address.first_chunk().is_some_and(|family| u16::from_ne_bytes(*family) == AF_UNSPEC);
        let peer = if is_unspecified {
            None
        } else {
            let peer = self.find_of_kind(&Name::decode(address)?)?;
            self.check_may_send_to(&peer)?;
            Some(peer)
        };
        let (former, stale) = {
            let mut state = self.state.lock();
            let stays = state.peer.as_ref().map(Arc::as_ptr) == peer.as_ref().map(Arc::as_ptr);
            let stale = if stays || state.peer.is_none() {
                Default::default()
            } else {
                mem::take(&mut state.messages)
            };
            state.phase = if peer.is_some() { Phase::Connected } else { Phase::Idle };
            state.peer_credentials = peer.as_ref().map_or(super::Ucred::NOBODY, |peer| peer.credentials);
            (mem::replace(&mut state.peer, peer).filter(|_| !stays), stale)
        };
        drop(stale);
        if let Some(former) = former
            && self.is_peer_of(&former)
        {
            former.state.lock().error = Some(Errno::ECONNRESET);
            former.notify(PollEvents::ERR);
        }
        Ok(())
    }

    /// A datagram socket that has a peer takes datagrams of nobody else.
    pub(super) fn check_may_send_to(&self, target: &UnixSocket) -> Result<(), Errno> {
        match &target.state.lock().peer {
            Some(peer) if !peer.is(self) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    pub(super) fn shut(&self, how: ShutdownHow) {
        let receive = how != ShutdownHow::Write;
        let send = how != ShutdownHow::Read;
        let peer = {
            let mut state = self.state.lock();
            state.receive_shut |= receive;
            state.send_shut |= send;
            state.peer.clone().filter(|_| self.kind != SocketType::Datagram)
        };
        self.notify(PollEvents::all());
        self.acceptors.wake_all();
        if let Some(peer) = peer {
            {
                let mut state = peer.state.lock();
                state.receive_shut |= send;
                state.send_shut |= receive;
            }
            peer.notify(PollEvents::all());
        }
    }

    pub(super) fn close_with(&self, closing: Closing) {
        let (binding, peer, messages, embryos, blocked_senders) = {
            let mut state = self.state.lock();
            state.closed = true;
            (
                state.binding.take(),
                state.peer.take(),
                mem::take(&mut state.messages),
                mem::take(&mut state.embryos),
                mem::take(&mut state.blocked_senders),
            )
        };
        if let Some(binding) = binding {
            self.domain.unbind(&binding, &self.this);
        }
        if let Some(peer) = peer
            && self.kind != SocketType::Datagram
        {
            {
                let mut state = peer.state.lock();
                state.receive_shut = true;
                state.send_shut = true;
                if !messages.is_empty() || closing == Closing::Unaccepted {
                    state.error = Some(Errno::ECONNRESET);
                }
            }
            peer.notify(PollEvents::all());
        }
        for embryo in embryos {
            embryo.close_with(Closing::Unaccepted);
        }
        // Those who wait to send here or to connect, and those who poll whether they can.
        self.notify(PollEvents::all());
        for sender in blocked_senders.iter().filter_map(|sender| sender.upgrade()).collect::<Vec<_>>() {
            sender.notify(WRITABLE);
        }
        drop(messages);
    }
}

/// How an attempt to connect ended.
enum Connecting {
    /// Connected.
    Done,
    /// The listener's queue is full.
    NoRoom,
}
