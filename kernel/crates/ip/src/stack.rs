//! The stack as a whole.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::IpAddr;

use linux_abi::Errno;
use packet::{Link, Packet};
use spin::Once;

use crate::{
    AddressKind, Datagram, DnsConfig, Icmpv4Counters, Icmpv6Counters, InterfaceConfig, InterfaceInfo,
    IpCounters, NeighbourInfo, OutputOptions, Route, RouteInfo, SourceFilter, Transport,
};

/// Secrets of the stack, each to be filled with random bytes of its own.
pub struct Keys {
    /// For IP identifications and all that is hashed.
    pub hash: [u8; 16],
    /// For interface identifiers (RFC 7217); the same from boot to boot gives the same addresses.
    pub stable_privacy: [u8; 16],
    /// For random delays and transaction numbers.
    pub random: [u8; 32],
}

/// Interfaces, addresses, routes, neighbours: the machine's IP.
pub struct Stack {
    transport: Once<Arc<dyn Transport>>,
}

impl Stack {
    /// A stack without links, whose time comes from `clock` (monotonic nanoseconds).
    pub fn new(_keys: Keys, _clock: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { transport: Once::new() }
    }

    /// Tells who takes what comes in. Called once, before any link starts.
    pub fn set_transport(&self, transport: Arc<dyn Transport>) {
        self.transport.call_once(|| transport);
    }

    /// Adds a link, up, and returns its interface's index: the first must be the [`Loopback`](crate::Loopback),
    /// which gets its addresses at once. The caller then starts the link with a receiver that gives
    /// [`input`](Self::input) what it does not handle itself.
    pub fn add_link(&self, _link: Arc<dyn Link>) -> u32 {
        0
    }

    /// Configures an interface, in place of what configured it before. `ENODEV` without such an interface, `EINVAL` for
    /// addresses or gateways that cannot be.
    pub fn configure(&self, _interface: u32, _config: InterfaceConfig) -> Result<(), Errno> {
        Err(Errno::ENODEV)
    }

    /// Whether some interface still waits for its first IPv4 address by DHCP (up to a few seconds).
    pub fn is_configuring(&self) -> bool {
        false
    }

    /// The way to `destination`, from `source` if given (an address of ours, else `EINVAL`), by `interface` if given.
    ///
    /// `ENETUNREACH` if no route leads there; `EHOSTUNREACH` if a route says so; `EADDRNOTAVAIL` if there is no
    /// address to send from; `ENODEV` without such an interface; `EINVAL` if the two addresses are of different
    /// families, or for a link-local destination of IPv6 without an interface.
    pub fn route(
        &self,
        _destination: IpAddr,
        _source: Option<IpAddr>,
        _interface: Option<u32>,
    ) -> Result<Route, Errno> {
        Err(Errno::ENETUNREACH)
    }

    /// Sends `packets`, which begin with their transport's header and have room for 54 more bytes in their
    /// heads (62 if they may be fragmented), from `source` to `destination`, and leaves the vector empty.
    ///
    /// A [partial checksum](packet::Checksum::Partial) is completed, and a packet with
    /// [`segmentation`](Packet::segmentation) is cut, if the link does not do it. `EMSGSIZE` if a packet is too large
    /// ([`PathMtuDiscovery`](crate::PathMtuDiscovery)). Success does not mean that it arrives: the queue of a neighbour that
    /// is yet to be found is short, as that of the device is. Takes no lock that other CPUs take, unless the
    /// neighbour must be looked for.
    pub fn output(
        &self,
        _route: &Route,
        _source: IpAddr,
        _destination: IpAddr,
        _options: OutputOptions,
        packets: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        packets.clear();
        Err(Errno::ENETUNREACH)
    }

    /// Sends a packet that begins with an IPv4 header of its sender's (`IP_HDRINCL`): length and checksum are filled in,
    /// also source and identification if they are 0 (`raw(7)`). `EINVAL` if it is no header.
    pub fn output_with_header(&self, _route: &Route, _packet: Box<Packet>) -> Result<(), Errno> {
        Err(Errno::ENETUNREACH)
    }

    /// Notes that the peer behind a route is there, as the transport has got an answer from it: its neighbour is
    /// not asked (RFC 4861, 7.3.1).
    pub fn confirm(&self, _route: &Route) {}

    /// Takes a packet from an interface: with its Ethernet header, or from the IP header on if the link has none.
    pub fn input(&self, _interface: u32, _packet: Box<Packet>) {}

    /// Does what is due, delivers what was looped back, and returns when it is to be called again.
    pub fn poll(&self) -> Option<u64> {
        None
    }

    /// Answers a datagram for a port where nobody is, unless it came by multicast or broadcast, or too many of these
    /// were sent lately. The packet is at its transport header.
    pub fn port_unreachable(&self, _datagram: &Datagram) {}

    /// Notes that the way to `destination` takes packets of `mtu` bytes at most, for ten minutes. For transports that
    /// got [`IcmpErrorKind::PacketTooBig`](crate::IcmpErrorKind::PacketTooBig) and can tell that the packet was theirs.
    pub fn update_path_mtu(&self, _route: &Route, _destination: IpAddr, _mtu: u32) {}

    /// What `address` is to this machine, or to one interface of it.
    pub fn address_kind(&self, _address: IpAddr, _interface: Option<u32>) -> AddressKind {
        AddressKind::Remote
    }

    /// Sets what `member` (a number that names a socket) wants to hear of `group` on `interface`; `None` ends its
    /// membership. The interface listens to what any of its members wants. `ENODEV` without such an interface,
    /// `EINVAL` if `group` is none, `ENOBUFS` if it listens to too many.
    pub fn set_membership(
        &self,
        _interface: u32,
        _group: IpAddr,
        _member: u64,
        _filter: Option<SourceFilter>,
    ) -> Result<(), Errno> {
        Err(Errno::ENODEV)
    }

    /// What the resolver is to know.
    pub fn dns(&self) -> DnsConfig {
        DnsConfig::default()
    }

    /// All interfaces, by index.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        Vec::new()
    }

    /// One interface.
    pub fn interface(&self, index: u32) -> Option<InterfaceInfo> {
        self.interfaces().into_iter().find(|interface| interface.index == index)
    }

    /// Index of the interface with a name.
    pub fn interface_index(&self, name: &str) -> Option<u32> {
        self.interfaces()
            .into_iter()
            .find(|interface| interface.name == name)
            .map(|interface| interface.index)
    }

    /// All routes, those of the local table too.
    pub fn routes(&self) -> Vec<RouteInfo> {
        Vec::new()
    }

    /// All neighbours.
    pub fn neighbours(&self) -> Vec<NeighbourInfo> {
        Vec::new()
    }

    /// Counters of IPv4.
    pub fn ipv4_counters(&self) -> IpCounters {
        IpCounters::default()
    }

    /// Counters of IPv6.
    pub fn ipv6_counters(&self) -> IpCounters {
        IpCounters::default()
    }

    /// Counters of ICMP.
    pub fn icmpv4_counters(&self) -> Icmpv4Counters {
        Icmpv4Counters::default()
    }

    /// Counters of ICMPv6.
    pub fn icmpv6_counters(&self) -> Icmpv6Counters {
        Icmpv6Counters::default()
    }

    /// Counts packets that came to a transport without [`input`](Self::input): by a channel.
    pub fn count_delivered(&self, _destination: IpAddr, _packets: u64) {}
}
