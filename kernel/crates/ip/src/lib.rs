//! The Internet Protocol, versions 4 and 6: everything between links and transports.
//!
//! Responsible for: interfaces and their addresses, the routing table, neighbours (ARP, NDP), IP headers in and
//! out, fragments and their reassembly, ICMP, multicast membership (IGMP, MLD), and for how a machine gets its
//! addresses: DHCP, stateless autoconfiguration, or as it is told. Not for: ports, sockets, or any transport's header
//! beyond the ports that an ICMP error quotes.
//!
//! [`Stack`] is all of it. A socket asks it for a [`Route`] once, keeps that as long as it
//! [is current](Route::is_current), and sends with it: [`Stack::output`] takes no lock that CPUs share, as the route
//! leads to the interface and to the neighbour, whose hardware address is an atomic. What comes in and is no
//! known flow goes through [`Stack::input`], in a thread (it may wait), and from there to the [`Transport`].
//! [`Stack::poll`] does what is due with time.
//!
//! Everything is for thread context; nothing may be called with a spin lock held or from an interrupt. The
//! [`Transport`] is called with no lock of ours held.

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::vec_box, reason = "batches of packets are handed on, and a packet is large")]

extern crate alloc;

mod address;
mod arp;
mod change;
mod config;
mod control;
mod counters;
mod datagram;
mod dhcp;
mod fragment;
mod icmp;
mod input;
mod interface;
mod loopback;
mod multicast;
mod ndp;
mod neighbour;
mod output;
mod path_mtu;
mod prefix;
mod proc_net;
mod rate_limit;
mod reassembly;
mod route;
mod slaac;
mod snapshot;
mod source;
mod stack;
mod table;
mod wire;

pub use address::{AddressFlags, AddressKind, Scope};
pub use change::Change;
pub use config::{
    Autoconfiguration, DnsConfig, InterfaceConfig, InterfaceIdentifiers, Ipv4Config, Ipv6Config,
};
pub use counters::{IcmpCounters, IpCounters};
pub use datagram::{Claim, Datagram, IcmpError, IcmpErrorKind, Transport};
pub use loopback::Loopback;
pub use multicast::{FilterMode, SourceFilter};
pub use output::{MulticastLoop, OutputOptions, PathMtuDiscovery};
pub use route::{Route, RouteKind};
pub use snapshot::{
    AddressInfo, GroupInfo, InterfaceFlags, InterfaceInfo, NeighbourInfo, NeighbourState, RouteInfo,
    RouteOrigin, RouteTable,
};
pub use stack::{Keys, Stack};

/// Protocol numbers of IP, as far as they matter to us (IANA, "Protocol Numbers").
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Internet Group Management Protocol.
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Internet Control Message Protocol for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Numbers of IPv6's extension headers (RFC 8200, 4).
pub(crate) mod extension {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const NONE: u8 = 59;
    pub(crate) const DESTINATION: u8 = 60;
}

/// Index of the loopback interface, as on Linux.
pub const LOOPBACK_INDEX: u32 = 1;
