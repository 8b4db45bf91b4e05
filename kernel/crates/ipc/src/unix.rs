//! Local sockets: `unix(7)`.
//!
//! Responsible for streams, datagrams and connections of messages between sockets of this machine, their
//! names, and the open files and credentials that messages carry.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | `UnixSocket::setup` (sleeping) | binding, listening and connecting of one socket follow each other | nothing |
//! | `UnixSocket::reading` (sleeping) | one receiver copies from the queue at a time | nothing |
//! | `UnixSocket::state` (spin) | everything else of one socket | either of the above; never another socket's |
//!
//! Two sockets are never locked at once: what concerns both is done to one after the other, in an order that
//! is right at each point between. Messages and sockets are dropped with no lock held, since a message can
//! hold the last reference to another socket. Peers hold each other until they are closed, which takes both
//! references back. A socket that was sent to itself, and whose descriptors are all closed, is never found:
//! there is no collector of such cycles, unlike in Linux (`net/unix/garbage.c`).
//!
//! Out-of-band data are refused with `EOPNOTSUPP`, as by a Linux without `CONFIG_AF_UNIX_OOB`.

mod connection;
mod datagram;
mod message;
mod name;
mod options;
mod stream;

use alloc::{
    collections::VecDeque,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use ksync::{Interruptible, Mutex, SpinLock, WaitError, WaitQueue, platform};
use linux_abi::{
    Errno,
    socket::{MessageFlags, ShutdownHow, SocketType, Ucred},
};
use vfs::{Blocking, PollEvents, Pollee, ReadDst, WriteSrc};

pub use name::{Domain, Name, SocketNodes};

use crate::socket::{Control, Received, SendOptions, Socket};
use message::{Message, SendBuffer};
use name::Binding;
use options::Options;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND);

/// Messages that wait at a datagram socket before others than its peer must wait
/// (`net.unix.max_dgram_qlen`; Linux lets one more in).
const DATAGRAM_BACKLOG: usize = 10;

/// A local socket.
pub struct UnixSocket {
    this: Weak<UnixSocket>,
    domain: Arc<Domain>,
    kind: SocketType,
    credentials: Ucred,
    setup: Mutex<()>,
    reading: Mutex<()>,
    state: SpinLock<State>,
    options: SpinLock<Options>,
    buffer: Arc<SendBuffer>,
    /// Threads in `accept`, one of which is woken for each connection.
    acceptors: WaitQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Neither connected nor listening.
    Idle,
    /// Takes connections; so many may wait besides one.
    Listening { backlog: usize },
    /// Has or had a peer.
    Connected,
}

struct State {
    phase: Phase,
    name: Option<Name>,
    binding: Option<Binding>,
    peer: Option<Arc<UnixSocket>>,
    peer_credentials: Ucred,
    receive_shut: bool,
    send_shut: bool,
    closed: bool,
    error: Option<Errno>,
    messages: VecDeque<Message>,
    /// Connections that nobody has accepted yet: this end of each.
    embryos: VecDeque<Arc<UnixSocket>>,
    /// Datagram sockets that found this one full when they were polled.
    blocked_senders: Vec<Weak<UnixSocket>>,
}

impl State {
    const fn new() -> Self {
        Self {
            phase: Phase::Idle,
            name: None,
            binding: None,
            peer: None,
            peer_credentials: Ucred::NOBODY,
            receive_shut: false,
            send_shut: false,
            closed: false,
            error: None,
            messages: VecDeque::new(),
            embryos: VecDeque::new(),
            blocked_senders: Vec::new(),
        }
    }

    /// Whether nothing more will ever be received here.
    const fn refuses_data(&self) -> bool {
        self.closed || self.receive_shut
    }

    fn is_full_of_datagrams(&self) -> bool {
        self.messages.len() > DATAGRAM_BACKLOG
    }
}

impl UnixSocket {
    /// Makes a socket that is neither bound nor connected. `kind` is one of stream, datagram and seqpacket.
    pub fn new(domain: &Arc<Domain>, kind: SocketType, credentials: Ucred) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            domain: domain.clone(),
            kind,
            credentials,
            setup: Mutex::new(()),
            reading: Mutex::new(()),
            state: SpinLock::new(State::new()),
            options: SpinLock::new(Options::new()),
            buffer: Arc::new(SendBuffer::new()),
            acceptors: WaitQueue::new(),
        })
    }

    /// Makes two sockets that are connected to each other (`socketpair(2)`).
    pub fn pair(domain: &Arc<Domain>, kind: SocketType, credentials: Ucred) -> (Arc<Self>, Arc<Self>) {
        let (a, b) = (Self::new(domain, kind, credentials), Self::new(domain, kind, credentials));
        a.join(&b, credentials);
        b.join(&a, credentials);
        (a, b)
    }

    fn join(&self, peer: &Arc<Self>, peer_credentials: Ucred) {
        let mut state = self.state.lock();
        state.phase = Phase::Connected;
        state.peer = Some(peer.clone());
        state.peer_credentials = peer_credentials;
    }

    fn notify(&self, events: PollEvents) {
        self.buffer.pollee.notify(events);
    }

    fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }

    fn is_peer_of(&self, other: &Self) -> bool {
        other.state.lock().peer.as_ref().is_some_and(|peer| peer.is(self))
    }

    /// Tries until there is a result, waiting in `queue` between if that is allowed.
    fn wait<T>(
        &self,
        queue: &WaitQueue,
        blocking: Blocking,
        timeout_ns: Option<u64>,
        mut attempt: impl FnMut() -> Option<Result<T, Errno>>,
    ) -> Result<T, Errno> {
        if blocking == Blocking::No {
            return attempt().unwrap_or(Err(Errno::EAGAIN));
        }
        let deadline_ns = timeout_ns.map(|timeout_ns| platform::now_ns().saturating_add(timeout_ns));
        match queue.wait(Interruptible::Yes, deadline_ns, attempt) {
            Ok(result) => result,
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN),
            // A call with a timeout cannot be restarted, which would wait as long again.
            Err(WaitError::Interrupted) if deadline_ns.is_some() => Err(Errno::EINTR),
            Err(WaitError::Interrupted) => Err(Errno::ERESTARTSYS),
        }
    }

    /// The control data of a received message.
    fn control_of(&self, rights: Vec<Arc<vfs::OpenFile>>, credentials: Ucred) -> Vec<Control> {
        let mut control = Vec::new();
        if self.options.lock().passes_credentials() {
            control.push(Control::Credentials(credentials));
        }
        if !rights.is_empty() {
            control.push(Control::Rights(rights));
        }
        control
    }

    /// Whether the datagram socket `peer` has no room for this one, which is told when it has.
    fn peer_is_full(&self, peer: &UnixSocket) -> bool {
        let mut peer_state = peer.state.lock();
        let is_mutual = peer_state.peer.as_ref().is_some_and(|other| other.is(self));
        let is_full = !is_mutual && !peer_state.closed && peer_state.is_full_of_datagrams();
        if is_full && !peer_state.blocked_senders.iter().any(|sender| sender.ptr_eq(&self.this)) {
            peer_state.blocked_senders.push(self.this.clone());
        }
        is_full
    }
}

impl Domain {
    /// The sockets that have names, as `/proc/net/unix` shows them (`unix_seq_show` in `net/unix/af_unix.c`).
    pub fn report(&self) -> String {
        let mut text = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
        for socket in self.named_sockets() {
            let (phase, name) = {
                let state = socket.state.lock();
                (state.phase, state.name.clone())
            };
            // `__SO_ACCEPTCON`; `SS_UNCONNECTED` and `SS_CONNECTED`.
            let (flags, state) = match phase {
                Phase::Listening { .. } => (0x1_0000, 1),
                Phase::Idle => (0, 1),
                Phase::Connected => (0, 3),
            };
            let shown = match &name {
                Some(Name::Path(path)) => String::from_utf8_lossy(path).into_owned(),
                // The NUL in front, and others, are shown so.
                Some(Name::Abstract(name)) => {
                    alloc::format!("@{}", String::from_utf8_lossy(name).replace('\0', "@"))
                }
                None => String::new(),
            };
            text += &alloc::format!(
                "{:016x}: {:08X} {:08X} {flags:08X} {:04X} {state:02X} {:5} {shown}\n",
                0,
                2,
                0,
                socket.kind.raw(),
                0,
            );
        }
        text
    }
}

impl Socket for UnixSocket {
    fn kind(&self) -> SocketType {
        self.kind
    }

    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        self.bind_name(Name::decode_to_bind(address)?)
    }

    fn listen(&self, backlog: u32) -> Result<(), Errno> {
        self.start_listening(backlog)
    }

    fn connect(&self, address: &[u8], blocking: Blocking) -> Result<(), Errno> {
        match self.kind {
            SocketType::Datagram => self.connect_datagram(address),
            _ => self.connect_to_listener(&Name::decode(address)?, blocking),
        }
    }

    fn accept(&self, blocking: Blocking) -> Result<Arc<dyn Socket>, Errno> {
        Ok(self.take_connection(blocking)?)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(Name::encode(self.state.lock().name.as_ref()))
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        peer.local_address()
    }

    fn send(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        if options.flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.kind {
            SocketType::Stream => self.send_stream(src, options, blocking),
            _ => self.send_datagram(src, options, blocking),
        }
    }

    fn receive(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.kind {
            SocketType::Stream => self.receive_stream(dst, flags, blocking),
            _ => self.receive_datagram(dst, flags, blocking),
        }
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<(), Errno> {
        self.shut(how);
        Ok(())
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    /// `unix_poll` and `unix_dgram_poll` in `net/unix/af_unix.c`.
    fn poll(&self) -> PollEvents {
        let is_connection = self.kind != SocketType::Datagram;
        let mut events = PollEvents::empty();
        let state = self.state.lock();
        if state.error.is_some() {
            events |= PollEvents::ERR;
        }
        if state.receive_shut && state.send_shut {
            events |= PollEvents::HUP;
        }
        if state.receive_shut {
            events |= READABLE | PollEvents::RDHUP;
        }
        if !state.messages.is_empty() || !state.embryos.is_empty() {
            events |= READABLE;
        }
        if is_connection && state.phase == Phase::Idle {
            events |= PollEvents::HUP;
        }
        let may_send = !matches!(state.phase, Phase::Listening { .. }) && self.buffer.is_writable();
        let datagram_peer = state.peer.clone().filter(|_| !is_connection);
        drop(state);
        if may_send && !datagram_peer.is_some_and(|peer| self.peer_is_full(&peer)) {
            events |= WRITABLE;
        }
        events
    }

    fn pollee(&self) -> &Pollee {
        &self.buffer.pollee
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        let state = self.state.lock();
        if matches!(state.phase, Phase::Listening { .. }) {
            return Err(Errno::EINVAL);
        }
        Ok(match self.kind {
            SocketType::Datagram => state.messages.front().map_or(0, Message::unreceived),
            _ => state.messages.iter().map(Message::unreceived).sum(),
        })
    }

    fn unsent_bytes(&self) -> Result<usize, Errno> {
        Ok(self.buffer.used())
    }

    fn close(&self) {
        self.close_with(connection::Closing::ByOwner);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
