//! Sockets of the Internet: what programs see of the network.
//!
//! Responsible for: the sockets of `AF_INET`, `AF_INET6` and `AF_NETLINK` behind the trait
//! [`Socket`](ipc::socket::Socket), their addresses, ports and options; which socket gets a datagram or a
//! connection; `ioctl` requests about interfaces; and the texts of `/proc/net`. Not for: IP (crate `ip`), TCP's
//! protocol (crate `tcp`), the classifier and its rings (crate `netchannels`), descriptors and the application's memory
//! (the kernel).
//!
//! [`Net`] is what all sockets share. Each kind of socket has a [`SocketCore`] for what all kinds have.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | a socket's own (sleeping or spin, see its module) | its protocol's state | nothing |
//! | [`SocketCore`]'s (spin) | options, addresses | a socket's own |
//! | [`PortTable`]'s (spin) | who is bound to what | any of the above |
//!
//! No socket's lock is taken with another socket's.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![expect(clippy::vec_box, reason = "packets go from vector to vector, and are not moved in memory")]

extern crate alloc;

mod address;
mod counters;
mod datagram;
mod ingress;
mod interface;
mod membership;
mod net;
mod netlink;
mod options;
mod ports;
mod raw;
mod report;
mod socket_core;
mod stream;
mod sysctl;
mod transport;
mod udp;
mod worker;

pub use address::{Endpoint, Family};
pub use counters::UdpCounters;
pub use ingress::{Flow, Ingress};
pub use interface::{interface_list, interface_request};
pub use net::{Keys, Machine, Net, PortRange, Settings};
pub use netlink::{Follower, NetlinkSocket};
pub use options::{IpOptions, Ipv6Options, MulticastOptions, ReceiveV4, ReceiveV6};
pub use ports::{Binding, BoundAddress, ConflictRule, Incoming, Phase, PortClaim, PortTable};
pub use raw::{RawMode, RawSocket};
pub use report::Report;
pub use socket_core::{BufferLock, Common, Endpoints, Options, SocketCore, Switches, Timeout, Timestamps};
pub use stream::{TcpCounters, TcpMemory, TcpSocket, TimeWaitFlow, TimeWaits};
pub use tcp::Event;
pub use transport::Transports;
pub use udp::UdpSocket;
pub use worker::{Deferred, SlowPathFull, Worker};
