//! A TCP socket as the system calls see it.

use alloc::{sync::Arc, vec::Vec};
use core::any::Any;

use ipc::socket::{Received, SendOptions, Socket};
use linux_abi::{
    Errno,
    socket::{MessageFlags, ShutdownHow, SocketType},
};
use tcp::State;
use vfs::{Blocking, PollEvents, Pollee, ReadDst, WriteSrc};

use super::{Role, TcpSocket};

/// `asm-generic/sockios.h`, `linux/sockios.h`.
mod request {
    pub const SIOCATMARK: u32 = 0x8905;
    pub const SIOCOUTQNSD: u32 = 0x894b;
}

impl Socket for TcpSocket {
    fn kind(&self) -> SocketType {
        SocketType::Stream
    }

    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        self.bind_to(address)
    }

    fn listen(&self, backlog: u32) -> Result<(), Errno> {
        self.start_listening(backlog)
    }

    fn connect(&self, address: &[u8], blocking: Blocking) -> Result<(), Errno> {
        self.connect_to(address, blocking)
    }

    fn accept(&self, blocking: Blocking) -> Result<Arc<dyn Socket>, Errno> {
        Ok(self.take_connection(blocking)?)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.core().local_address())
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        let mut inner = self.lock();
        let state = inner.stream().map(|stream| stream.presented_state());
        if matches!(state, None | Some(State::Closed | State::SynSent)) {
            return Err(Errno::ENOTCONN);
        }
        self.core().peer_address()
    }

    fn send(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        // An address is passed over on a stream, as by Linux.
        self.send_bytes(src, options.flags, blocking)
    }

    fn receive(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        self.receive_bytes(dst, flags, blocking)
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<(), Errno> {
        self.shut(how)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn poll(&self) -> PollEvents {
        self.ready()
    }

    fn pollee(&self) -> &Pollee {
        &self.core().pollee
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        let mut inner = self.lock();
        match &mut inner.role {
            Role::Listening(_) => Err(Errno::EINVAL),
            Role::Idle => Ok(0),
            Role::Stream(stream) => Ok(self.unread() + stream.connection.readable_bytes()),
        }
    }

    fn unsent_bytes(&self) -> Result<usize, Errno> {
        let mut inner = self.lock();
        match &mut inner.role {
            Role::Listening(_) => Err(Errno::EINVAL),
            Role::Idle => Ok(0),
            Role::Stream(stream) => Ok(match stream.connection.state() {
                State::SynSent | State::SynReceived => 0,
                _ => stream.connection.unacknowledged_bytes(),
            }),
        }
    }

    fn ioctl(&self, request: u32, _argument: usize) -> Result<usize, Errno> {
        // Requests whose answer is a number have a way of their own: see `stream_number`.
        let _ = request;
        Err(Errno::ENOTTY)
    }

    fn close(&self) {
        self.close_by_owner();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TcpSocket {
    /// State, bytes (of a listener: places) that were not acknowledged, and bytes (connections) that wait, as
    /// `/proc/net/tcp` shows them.
    pub fn figures(&self) -> (u8, usize, usize) {
        let mut inner = self.inner.lock();
        match &mut inner.role {
            Role::Idle => (State::Closed as u8, 0, 0),
            Role::Listening(listener) => {
                let (waiting, _) = listener.queue_lengths();
                (State::Listen as u8, 0, waiting)
            }
            Role::Stream(stream) => {
                let connection = &stream.connection;
                let unread = connection.readable_bytes() + self.unread();
                (stream.presented_state() as u8, connection.unacknowledged_bytes(), unread)
            }
        }
    }

    /// The number that `ioctl` requests of streams answer with: `SIOCATMARK`, `SIOCOUTQNSD`. `ENOTTY` for others.
    pub fn stream_number(&self, request: u32) -> Result<i32, Errno> {
        let mut inner = self.lock();
        match (request, &mut inner.role) {
            (request::SIOCATMARK, Role::Stream(stream)) => {
                Ok(i32::from(self.unread() == 0 && stream.connection.is_at_mark()))
            }
            (request::SIOCATMARK, _) => Ok(0),
            (request::SIOCOUTQNSD, Role::Listening(_)) => Err(Errno::EINVAL),
            (request::SIOCOUTQNSD, Role::Stream(stream)) => Ok(stream.connection.unsent_bytes() as i32),
            (request::SIOCOUTQNSD, Role::Idle) => Ok(0),
            _ => Err(Errno::ENOTTY),
        }
    }
}

impl super::Stream {
    /// The state as it is shown: a connection in TIME_WAIT is a socket that is closed.
    pub fn presented_state(&self) -> State {
        match self.connection.state() {
            State::TimeWait => State::Closed,
            state => state,
        }
    }
}
