//! One connection.

use alloc::{boxed::Box, vec::Vec};

use bitflags::bitflags;
use linux_abi::Errno;
use packet::{Fragment, Packet};
use vfs::{ReadDst, WriteSrc};

use crate::{Info, Isn, Options, Path, Segment, SeqNumber, TimeWait, Tuple};

/// States (RFC 9293, 3.3.2) by the numbers that Linux gives them (uapi `linux/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the RFC's own names")]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

bitflags! {
    /// What `poll(2)` tells of a connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Readiness: u8 {
        /// `EPOLLIN | EPOLLRDNORM`: data (as much as `SO_RCVLOWAT` asks for), the end, or an error.
        const READABLE = 1;
        /// `EPOLLOUT | EPOLLWRNORM`: a third of the send buffer is free, or writing fails at once.
        const WRITABLE = 2;
        /// `EPOLLRDHUP`: the other end has sent its FIN, or reading was shut down here.
        const READ_HANG_UP = 4;
        /// `EPOLLHUP`: both directions are shut, or the connection is gone.
        const HANG_UP = 8;
        /// `EPOLLERR`: an error is pending.
        const ERROR = 16;
        /// `EPOLLPRI`: urgent data.
        const URGENT = 32;
    }
}

bitflags! {
    /// How to write.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WriteFlags: u8 {
        /// `MSG_MORE`: more comes soon; full segments only for now.
        const MORE = 1;
        /// `MSG_OOB`: the last byte is urgent.
        const URGENT = 2;
    }
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// What is read is gone.
    Take,
    /// `MSG_PEEK`: it stays; begin at this offset (`SO_PEEK_OFF`; else 0).
    Peek(usize),
}

/// Which direction to shut (`shutdown(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// What `close(2)` does with data that is not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// It is sent in the background. `SO_LINGER` with a time is the same here: the caller waits for
    /// [`Connection::has_unsent`] to become false.
    Background,
    /// `SO_LINGER` of 0 seconds: it is dropped, and the other end gets a RST.
    Reset,
}

/// What an ICMP error says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The other end, its network or its port cannot be reached. `hard` ones end a connection that is not yet
    /// established with this error; otherwise it is kept as the reason for a time-out (RFC 5461).
    Unreachable {
        /// What the application is told.
        errno: Errno,
    },
    /// A packet was too big for the path (RFC 1191, 8201).
    PacketTooBig {
        /// Largest IP packet in bytes.
        mtu: u32,
    },
}

/// A connection, from the SYN to the end.
#[derive(Debug)]
pub struct Connection {
    tuple: Tuple,
    state: State,
    options: Options,
}

impl Connection {
    /// Begins a connection: sends a SYN. `isn` comes from [`Secrets::isn`](crate::Secrets::isn) or
    /// [`TimeWait::reuse`].
    pub fn connect(
        now_ns: u64,
        tuple: Tuple,
        path: Path,
        isn: Isn,
        options: &Options,
        out: &mut Vec<Box<Packet>>,
    ) -> Self {
        let _ = (now_ns, path, isn, out);
        Self { tuple, state: State::SynSent, options: options.clone() }
    }

    /// The addresses.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes a segment in. What is to be sent goes to `out`.
    pub fn segment(&mut self, now_ns: u64, segment: Segment, out: &mut Vec<Box<Packet>>) {
        let _ = (now_ns, segment, out);
    }

    /// When [`poll`](Self::poll) is next to be called. It may come earlier than needed: timers that are put off do
    /// not move it.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    /// Does what is due: retransmission, probes, delayed acknowledgements, time-outs.
    pub fn poll(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let _ = (now_ns, out);
    }

    /// Takes bytes of `source`, as far as the send buffer has room, and sends what may be sent. Returns how many.
    ///
    /// Fails with the pending error (and clears it), `EPIPE` when writing is shut, `EAGAIN` when there is no room or
    /// the connection is not established yet, `EFAULT` from the source.
    pub fn write(
        &mut self,
        now_ns: u64,
        source: &mut dyn WriteSrc,
        flags: WriteFlags,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<usize, Errno> {
        let _ = (now_ns, source, flags, out);
        Err(Errno::EAGAIN)
    }

    /// Like [`write`](Self::write), with bytes that lie in a page frame already (`sendfile(2)`), and are not copied:
    /// all of them or none. They must not change until they are acknowledged.
    pub fn write_fragment(
        &mut self,
        now_ns: u64,
        fragment: Fragment,
        flags: WriteFlags,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        let _ = (now_ns, fragment, flags, out);
        Err(Errno::EAGAIN)
    }

    /// Copies received data to `destination`. Returns how many bytes; 0 at the end of the data. Reading opens the
    /// window, which may send an acknowledgement.
    ///
    /// Fails with the pending error (and clears it), `EAGAIN` when there is nothing yet, `ENOTCONN` if there never was
    /// a connection, `EFAULT` from the destination.
    pub fn read(
        &mut self,
        now_ns: u64,
        destination: &mut dyn ReadDst,
        mode: ReadMode,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<usize, Errno> {
        let _ = (now_ns, destination, mode, out);
        Err(Errno::EAGAIN)
    }

    /// Like [`read`](Self::read), but hands out the next packet, trimmed to its payload, without a copy (`splice(2)`).
    /// `None` at the end of the data.
    pub fn read_packet(
        &mut self,
        now_ns: u64,
        out: &mut Vec<Box<Packet>>,
    ) -> Result<Option<Box<Packet>>, Errno> {
        let _ = (now_ns, out);
        Err(Errno::EAGAIN)
    }

    /// Drops up to `len` received bytes (`MSG_TRUNC`). Returns and fails like [`read`](Self::read).
    pub fn discard(&mut self, now_ns: u64, len: usize, out: &mut Vec<Box<Packet>>) -> Result<usize, Errno> {
        let _ = (now_ns, len, out);
        Err(Errno::EAGAIN)
    }

    /// The urgent byte (`MSG_OOB`). `EINVAL` if there is none (or it was read, or is in line), `EAGAIN` if it was
    /// announced but is not here yet.
    pub fn read_urgent(&mut self, mode: ReadMode) -> Result<u8, Errno> {
        let _ = mode;
        Err(Errno::EINVAL)
    }

    /// Whether reading has come to the urgent mark (`SIOCATMARK`).
    pub fn is_at_mark(&self) -> bool {
        false
    }

    /// Bytes that can be read at once (`FIONREAD`).
    pub fn readable_bytes(&self) -> usize {
        0
    }

    /// Bytes in the send buffer, acknowledged ones excepted (`SIOCOUTQ`).
    pub fn unacknowledged_bytes(&self) -> usize {
        0
    }

    /// Bytes in the send buffer that were never sent (`SIOCOUTQNSD`).
    pub fn unsent_bytes(&self) -> usize {
        0
    }

    /// Whether data, or the FIN, is not acknowledged yet: what `SO_LINGER` waits for.
    pub fn has_unsent(&self) -> bool {
        false
    }

    /// Shuts one or both directions. `ENOTCONN` if there is no connection.
    pub fn shutdown(&mut self, now_ns: u64, how: Shutdown, out: &mut Vec<Box<Packet>>) -> Result<(), Errno> {
        let _ = (now_ns, how, out);
        Err(Errno::ENOTCONN)
    }

    /// The application is gone: the connection is an orphan from now on, and ends by itself. Unread data makes it end
    /// with a RST (RFC 2525, 2.17). The caller goes on with segments and [`poll`](Self::poll) until
    /// [`state`](Self::state) is [`State::Closed`].
    pub fn close(&mut self, now_ns: u64, linger: Linger, out: &mut Vec<Box<Packet>>) {
        let _ = (now_ns, linger, out);
    }

    /// Ends at once with a RST: too many orphans, a listener that is closed, `connect` to `AF_UNSPEC`.
    pub fn abort(&mut self, now_ns: u64, out: &mut Vec<Box<Packet>>) {
        let _ = (now_ns, out);
    }

    /// Whether the application has closed it.
    pub fn is_orphan(&self) -> bool {
        false
    }

    /// An ICMP error quotes a segment of ours that began with `quoted_sequence`.
    pub fn icmp_error(
        &mut self,
        now_ns: u64,
        quoted_sequence: SeqNumber,
        error: IcmpError,
        out: &mut Vec<Box<Packet>>,
    ) {
        let _ = (now_ns, quoted_sequence, error, out);
    }

    /// The route has changed.
    pub fn set_path(&mut self, path: Path) {
        let _ = path;
    }

    /// What the caller knows of the route's last attempt: nothing can be sent now, for this reason. It becomes the
    /// error if the connection times out.
    pub fn set_soft_error(&mut self, errno: Errno) {
        let _ = errno;
    }

    /// Takes the pending error away (`SO_ERROR`).
    pub fn take_error(&mut self) -> Option<Errno> {
        None
    }

    /// What `poll(2)` tells.
    pub fn readiness(&self) -> Readiness {
        Readiness::empty()
    }

    /// Whether a pure acknowledgement would be of use now though nobody waits for space: unsent data, or a FIN, waits
    /// for the window or for what is in flight; or the handshake or the end of the connection is under way.
    pub fn wants_acknowledgements(&self) -> bool {
        false
    }

    /// The record that answers in the connection's place once it has come to TIME_WAIT, or to FIN_WAIT2 as an orphan.
    /// The state is [`State::Closed`] from then on; received data can still be read.
    pub fn take_time_wait(&mut self) -> Option<TimeWait> {
        None
    }

    /// Options as they are.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes options, and does what follows from it: taking the cork out sends what waits.
    pub fn update_options(
        &mut self,
        now_ns: u64,
        change: impl FnOnce(&mut Options),
        out: &mut Vec<Box<Packet>>,
    ) {
        let _ = (now_ns, out);
        change(&mut self.options);
    }

    /// `TCP_QUICKACK`: whether acknowledgements go out at once, until the connection decides otherwise. Turning it on
    /// sends one that waits.
    pub fn set_quick_acknowledgements(&mut self, now_ns: u64, on: bool, out: &mut Vec<Box<Packet>>) {
        let _ = (now_ns, on, out);
    }

    /// `TCP_QUICKACK`, as it is.
    pub fn quick_acknowledgements(&self) -> bool {
        true
    }

    /// `TCP_MAXSEG`: payload bytes of a full segment.
    pub fn max_segment(&self) -> u16 {
        536
    }

    /// `TCP_INFO`.
    pub fn info(&self, now_ns: u64) -> Info {
        let _ = now_ns;
        Info::default()
    }

    /// Memory that its buffers keep, in bytes.
    pub fn memory_bytes(&self) -> usize {
        0
    }
}
