//! TCP sockets: `tcp(7)`.
//!
//! Responsible for: connecting, listening and accepting, waiting and waking, who runs the protocol when, connections
//! whose application is gone, TIME_WAIT, and options. Not for the protocol itself, which is the crate `tcp`, nor for
//! the way of packets to a connection, which is `netchannels`.
//!
//! # Who runs the protocol
//!
//! Packets lie in the connection's channel until somebody takes the socket's lock for any reason: a call of the
//! application, a poll, the worker, a timer's expiry (which is the worker, too). Whoever has the lock drains the channel
//! first ([`TcpSocket::lock`]), and at the end of his turn ([`Locked`]) sends what is to be sent, arms the timer and says
//! what the next packet is to wake. So it is most often the thread that reads which processes what it reads, on its
//! CPU.
//!
//! The worker never waits for a lock, as it works for all: it leaves a note ([`TcpSocket::pending`]), and whoever has the
//! lock works it off. So a thread that faults in a page while it sends stops nobody but its own connection.
//!
//! # Who wakes
//!
//! What a packet brings, its channel announces: it wakes those who [armed](netchannels::Receiver::arm) it. Everything else
//! (time-outs, a shutdown here) is announced by whoever did it. With `--net-channels off` the worker announces what
//! packets bring as well. A wake-up may turn out to have been for nothing; whoever waits looks again.
//!
//! # Locks
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | `TcpSocket::reading` (sleeping) | packets that are being copied to the application | nothing |
//! | `TcpSocket::inner` (sleeping) | the connection, and what the socket is | `reading` |
//! | `Listener::handshakes` (sleeping) | the SYN cache; the worker's alone, but for `listen` and `close` | nothing, or its socket's `inner` |
//! | `Listener::queue` (spin) | connections to be accepted | any of the above |
//!
//! No socket's lock is taken with another socket's: what is sent over the loopback goes into a channel, or to the worker.

mod close;
mod connect;
mod incoming;
mod listener;
mod memory;
mod options;
mod readiness;
mod receive;
mod send;
mod shared;
mod socket;
mod time_wait;
mod turn;

use alloc::{
    boxed::Box,
    collections::VecDeque,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicUsize};

use ip::{OutputOptions, Route};
use ksync::{Mutex, SpinLock, Timer};
use linux_abi::socket::SocketType;
use netchannels::{FlowKey, Receiver};
use packet::Packet;
use tcp::Connection;

pub use incoming::{ResetLimit, deliver, icmp_error};
pub use memory::{TcpCounters, TcpMemory};
pub use time_wait::{TimeWaitFlow, TimeWaits};

use crate::{Common, Family, Net, PortClaim, SocketCore};
use listener::Listener;
use shared::Shared;

/// Owner of a TCP port.
pub type TcpClaim = PortClaim<Weak<TcpSocket>>;

/// A TCP socket.
pub struct TcpSocket {
    this: Weak<TcpSocket>,
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// The worker was here, and somebody else had the lock.
    pending: AtomicBool,
    /// What was taken out of the connection, in order, and is being copied to the application.
    reading: Mutex<VecDeque<Box<Packet>>>,
    /// Bytes in there.
    unread_bytes: AtomicUsize,
}

/// What a socket is.
enum Role {
    /// Neither connected nor listening.
    Idle,
    /// Takes connections.
    Listening(Arc<Listener>),
    /// Has, or had, a connection.
    Stream(Box<Stream>),
}

/// How far the application has come with connecting: the states of Linux's `struct socket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `SS_UNCONNECTED`
    Unconnected,
    /// `SS_CONNECTING`: a `connect` that did not wait has not been asked for its result yet.
    Connecting,
    /// `SS_CONNECTED`
    Connected,
    /// `SS_DISCONNECTING`: shut down while it connected.
    Disconnecting,
}

/// What the application has shut of a socket that is not connected (`sk_shutdown`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shut {
    reading: bool,
    writing: bool,
}

struct Inner {
    role: Role,
    phase: Phase,
    shut: Shut,
    claim: Option<TcpClaim>,
    /// The application chose the port: it stays the socket's when a connection ends (`SOCK_BINDPORT_LOCK`).
    port_is_bound: bool,
    /// The application chose the address (`SOCK_BINDADDR_LOCK`).
    address_is_bound: bool,
    /// Options of the protocol as long as there is no connection that has them.
    options: tcp::Options,
    /// The application has closed it.
    is_closed: bool,
    /// What is to be done when the lock is free again.
    left: turn::Left,
}

/// A connection and what carries it.
struct Stream {
    connection: Connection,
    receiver: Receiver,
    key: FlowKey,
    route: Option<Route>,
    output: OutputOptions,
    /// What is to be sent at the end of the turn.
    out: Vec<Box<Packet>>,
    timer: Timer,
    /// When the timer fires, if it is armed.
    armed_ns: Option<u64>,
    /// What of [`TcpMemory`] it has.
    accounted_bytes: usize,
    /// It is in the table of flows.
    is_registered: bool,
    /// Data or a change of state came in that nobody was told of yet (only with `--net-channels off`).
    is_unannounced: bool,
    /// It is counted among those whose application is gone.
    is_counted_orphan: bool,
    /// A thread waits for any segment and will process what comes.
    has_waiting_thread: bool,
    /// Packets that came when the connection had ended: for whoever has the tuple now.
    late: Vec<Box<Packet>>,
}

impl TcpSocket {
    /// A socket that is neither bound nor connected.
    pub fn new(net: &Arc<Net>, family: Family) -> Arc<Self> {
        let [_, send, _] = tcp::limits::SEND_BUFFER;
        let [_, receive, _] = tcp::limits::RECEIVE_BUFFER;
        let common = Common::with_buffers(send, receive);
        let protocol = linux_abi::inet::protocol::IPPROTO_TCP as u8;
        let core = SocketCore::new(net, family, SocketType::Stream, protocol, common);
        Self::with_core(core, tcp::Options::default())
    }

    fn with_core(core: SocketCore, options: tcp::Options) -> Arc<Self> {
        core.net.tcp_counters.socket_made();
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            shared: Shared::new(core, this.clone()),
            inner: Mutex::new(Inner {
                role: Role::Idle,
                phase: Phase::Unconnected,
                shut: Shut::default(),
                claim: None,
                port_is_bound: false,
                address_is_bound: false,
                options,
                is_closed: false,
                left: turn::Left::default(),
            }),
            pending: AtomicBool::new(false),
            reading: Mutex::new(VecDeque::new()),
            unread_bytes: AtomicUsize::new(0),
        })
    }

    /// What all sockets have.
    pub fn core(&self) -> &SocketCore {
        &self.shared.core
    }

    fn net(&self) -> &Arc<Net> {
        &self.shared.core.net
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        if let Role::Stream(stream) = &mut self.inner.get_mut().role {
            // What came in was never read.
            self.shared.core.net.tcp_memory.account(stream.accounted_bytes, 0);
        }
        self.net().tcp_counters.socket_gone();
    }
}

impl Inner {
    /// The connection, if there is or was one.
    fn stream(&mut self) -> Option<&mut Stream> {
        match &mut self.role {
            Role::Stream(stream) => Some(stream),
            _ => None,
        }
    }
}

/// Keeps a socket with a connection alive after its last descriptor is closed.
type Kept = SpinLock<Option<Arc<TcpSocket>>>;
