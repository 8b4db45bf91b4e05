//! What every family of sockets offers to the system calls.
//!
//! A family implements [`Socket`]; descriptors name a [`SocketFile`] around it, by which the calls find it.
//! Addresses are bytes as the application has them, the family first; decoding them is the family's.

use alloc::{sync::Arc, vec::Vec};
use core::any::Any;

use linux_abi::{
    Errno,
    file::FileType,
    socket::{MessageFlags, ShutdownHow, SocketType, Ucred},
};
use vfs::{
    ANONYMOUS_DEVICE, Blocking, File, InodeId, Metadata, OpenFile, PollEvents, Pollee, ReadDst, WriteSrc,
    bracketed_name,
};

use crate::number::next_number;

/// Control data of a message (`cmsg(3)`).
#[derive(Clone)]
pub enum Control {
    /// Open files that are handed over (`SCM_RIGHTS`).
    Rights(Vec<Arc<OpenFile>>),
    /// Who sent it (`SCM_CREDENTIALS`).
    Credentials(Ucred),
    /// What only some families know.
    Other {
        /// Whose (`SOL_IP` and others).
        level: i32,
        /// What.
        kind: i32,
        /// The data.
        data: Vec<u8>,
    },
}

/// What is sent beside the data.
#[derive(Default)]
pub struct SendOptions<'a> {
    /// To whom, if not to the peer.
    pub address: Option<&'a [u8]>,
    /// Control data.
    pub control: Vec<Control>,
    /// Flags; whether to wait is said apart.
    pub flags: MessageFlags,
}

/// What was received beside the data.
#[derive(Default)]
pub struct Received {
    /// Bytes received; of a datagram that did not fit, with `MSG_TRUNC`, its whole length.
    pub len: usize,
    /// `MSG_TRUNC` and others.
    pub flags: MessageFlags,
    /// Who sent it, where a message has a sender of its own; `None` leaves the application's address empty.
    pub address: Option<Vec<u8>>,
    /// Control data.
    pub control: Vec<Control>,
}

/// A socket of some family.
///
/// An operation that its kind does not have answers with the errno that Linux gives. A blocked call that a
/// signal ends answers `ERESTARTSYS`, or `EINTR` if a timeout is set on the socket (`signal(7)`).
pub trait Socket: Send + Sync + Any {
    /// Its type.
    fn kind(&self) -> SocketType;

    /// Gives it an address.
    fn bind(&self, address: &[u8]) -> Result<(), Errno>;

    /// Lets it take connections.
    fn listen(&self, backlog: u32) -> Result<(), Errno>;

    /// Connects it.
    fn connect(&self, address: &[u8], blocking: Blocking) -> Result<(), Errno>;

    /// Takes a connection.
    fn accept(&self, blocking: Blocking) -> Result<Arc<dyn Socket>, Errno>;

    /// Its own address.
    fn local_address(&self) -> Result<Vec<u8>, Errno>;

    /// Its peer's address, `ENOTCONN` if it has no peer.
    fn peer_address(&self) -> Result<Vec<u8>, Errno>;

    /// Sends what `src` has. `EPIPE` of a stream has to become `SIGPIPE` too, unless `MSG_NOSIGNAL` is set:
    /// see [`raises_sigpipe`](Self::raises_sigpipe).
    fn send(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        blocking: Blocking,
    ) -> Result<usize, Errno>;

    /// Receives into `dst`.
    fn receive(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno>;

    /// Whether `EPIPE` comes with `SIGPIPE`.
    fn raises_sigpipe(&self) -> bool {
        self.kind() == SocketType::Stream
    }

    /// Ends one direction or both.
    fn shutdown(&self, how: ShutdownHow) -> Result<(), Errno>;

    /// The value of an option, as the application gets it.
    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno>;

    /// Sets an option.
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno>;

    /// What is ready.
    fn poll(&self) -> PollEvents;

    /// Where to wait for readiness.
    fn pollee(&self) -> &Pollee;

    /// Bytes that a receive would find (`FIONREAD`).
    fn readable_bytes(&self) -> Result<usize, Errno>;

    /// Bytes that the peer has not received (`SIOCOUTQ`).
    fn unsent_bytes(&self) -> Result<usize, Errno>;

    /// Family-specific control.
    fn ioctl(&self, _request: u32, _argument: usize) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    /// The last descriptor was closed.
    fn close(&self);

    /// For those that know the family.
    fn as_any(&self) -> &dyn Any;
}

/// A socket as a file. Its drop closes the socket.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    number: u64,
}

impl SocketFile {
    /// Makes the file of a socket.
    pub fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket, number: next_number() }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The socket behind a file, `ENOTSOCK` if it is none.
    pub fn of(file: &dyn File) -> Result<&Arc<dyn Socket>, Errno> {
        file.as_any().downcast_ref::<Self>().map(Self::socket).ok_or(Errno::ENOTSOCK)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.close();
    }
}

impl File for SocketFile {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        // A read of nothing takes nothing, not even an empty datagram (`sock_read_iter` in `net/socket.c`).
        if dst.remaining() == 0 {
            return Ok(0);
        }
        Ok(self.socket.receive(dst, MessageFlags::empty(), blocking)?.len)
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        self.socket.send(src, SendOptions::default(), blocking)
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let id = InodeId { device: ANONYMOUS_DEVICE, number: self.number };
        Ok(Metadata::anonymous(id, FileType::Socket, 0o777))
    }

    fn shown_name(&self) -> Vec<u8> {
        bracketed_name("socket", self.number)
    }

    fn poll(&self) -> PollEvents {
        self.socket.poll()
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(self.socket.pollee())
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        self.socket.ioctl(request, argument)
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        self.socket.readable_bytes()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
