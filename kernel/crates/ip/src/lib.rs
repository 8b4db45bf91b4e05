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

extern crate alloc;

mod address;
mod change;
mod config;
mod counters;
mod datagram;
mod loopback;
mod multicast;
mod output;
mod route;
mod snapshot;
mod stack;

pub use address::{AddressFlags, AddressKind, Scope};
pub use change::Change;
pub use config::{Autoconfiguration, DnsConfig, InterfaceConfig, Ipv4Config, Ipv6Config};
pub use counters::{Icmpv4Counters, Icmpv6Counters, IpCounters};
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

/// Index of the loopback interface, as on Linux.
pub const LOOPBACK_INDEX: u32 = 1;
