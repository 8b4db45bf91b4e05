//! Options of `SOL_IP` and `SOL_IPV6` (`ip(7)`, `ipv6(7)`).
//!
//! An IPv6 socket has both, as it speaks both versions; an IPv4 socket has the first only. Raw IPv6 sockets have the
//! second only.

mod ipv4;
mod ipv6;

use alloc::vec::Vec;

use bitflags::bitflags;
use ip::PathMtuDiscovery;
use linux_abi::{
    Errno,
    inet::{
        level::{SOL_IP, SOL_IPV6},
        pmtu_discovery::{IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE, IP_PMTUDISC_WANT},
    },
    socket::SocketType,
};

use crate::{address::Family, socket_core::SocketCore};

bitflags! {
    /// Control data that are received beside a datagram of IPv4.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReceiveV4: u16 {
        /// `IP_PKTINFO`
        const PKTINFO = 1 << 0;
        /// `IP_RECVTTL`
        const TTL = 1 << 1;
        /// `IP_RECVTOS`
        const TOS = 1 << 2;
        /// `IP_RECVORIGDSTADDR`
        const ORIGINAL_DESTINATION = 1 << 3;
        /// `IP_RECVERR`
        const ERROR = 1 << 4;
    }
}

bitflags! {
    /// Control data that are received beside a datagram of IPv6.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReceiveV6: u16 {
        /// `IPV6_RECVPKTINFO`
        const PKTINFO = 1 << 0;
        /// `IPV6_RECVHOPLIMIT`
        const HOP_LIMIT = 1 << 1;
        /// `IPV6_RECVTCLASS`
        const TRAFFIC_CLASS = 1 << 2;
        /// `IPV6_RECVORIGDSTADDR`
        const ORIGINAL_DESTINATION = 1 << 3;
        /// `IPV6_RECVERR`
        const ERROR = 1 << 4;
        /// `IPV6_FLOWINFO`
        const FLOW_INFO = 1 << 5;
    }
}

/// What of an option says where multicast goes and comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// Index of the interface that it goes out by, or 0 for the route's.
    pub interface: u32,
    /// Time to live, hop limit.
    pub hop_limit: u8,
    /// Whether members on this machine get what is sent.
    pub is_looped: bool,
    /// Whether groups are received that other sockets joined.
    pub receives_all: bool,
}

impl MulticastOptions {
    const fn new() -> Self {
        Self { interface: 0, hop_limit: 1, is_looped: true, receives_all: true }
    }
}

/// Options of `SOL_IP`.
#[derive(Clone, Debug)]
pub struct IpOptions {
    /// `IP_TOS`
    pub tos: u8,
    /// `IP_TTL`; `None`: the default.
    pub ttl: Option<u8>,
    /// `IP_MINTTL`
    pub min_ttl: u8,
    /// `IP_MTU_DISCOVER`, its number.
    pub mtu_discover: u8,
    /// What is received beside the data.
    pub receive: ReceiveV4,
    /// `IP_FREEBIND`
    pub free_bind: bool,
    /// `IP_TRANSPARENT`
    pub transparent: bool,
    /// `IP_HDRINCL`
    pub header_included: bool,
    /// `IP_NODEFRAG`
    pub no_defragmentation: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`
    pub bind_address_no_port: bool,
    /// `IP_LOCAL_PORT_RANGE`: lower and upper bound, 0 for the system's.
    pub local_ports: [u16; 2],
    /// `IP_UNICAST_IF`
    pub unicast_interface: u32,
    /// `IP_MULTICAST_*`
    pub multicast: MulticastOptions,
    /// The address that `IP_MULTICAST_IF` was given.
    pub multicast_address: [u8; 4],
}

impl IpOptions {
    /// Of a new socket.
    pub const fn new() -> Self {
        Self {
            tos: 0,
            ttl: None,
            min_ttl: 0,
            mtu_discover: IP_PMTUDISC_WANT as u8,
            receive: ReceiveV4::empty(),
            free_bind: false,
            transparent: false,
            header_included: false,
            no_defragmentation: false,
            bind_address_no_port: false,
            local_ports: [0; 2],
            unicast_interface: 0,
            multicast: MulticastOptions::new(),
            multicast_address: [0; 4],
        }
    }
}

impl Default for IpOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Options of `SOL_IPV6`.
#[derive(Clone, Debug)]
pub struct Ipv6Options {
    /// `IPV6_V6ONLY`
    pub only: bool,
    /// `IPV6_TCLASS`
    pub traffic_class: u8,
    /// `IPV6_UNICAST_HOPS`; `None`: the default.
    pub hop_limit: Option<u8>,
    /// `IPV6_MINHOPCOUNT`
    pub min_hop_limit: u8,
    /// `IPV6_MTU_DISCOVER`, its number.
    pub mtu_discover: u8,
    /// `IPV6_MTU`, or 0.
    pub fragment_size: u32,
    /// What is received beside the data.
    pub receive: ReceiveV6,
    /// `IPV6_DONTFRAG`
    pub dont_fragment: bool,
    /// `IPV6_FLOWINFO_SEND`
    pub sends_flow_info: bool,
    /// `IPV6_AUTOFLOWLABEL`
    pub auto_flow_label: bool,
    /// `IPV6_UNICAST_IF`
    pub unicast_interface: u32,
    /// `IPV6_ADDR_PREFERENCES`
    pub address_preferences: i32,
    /// `IPV6_PKTINFO`: source and interface of what is sent.
    pub sticky_source: ([u8; 16], u32),
    /// `IPV6_CHECKSUM` of raw sockets; -1 for none.
    pub checksum_offset: i32,
    /// `IPV6_MULTICAST_*`
    pub multicast: MulticastOptions,
}

impl Ipv6Options {
    /// Of a new socket.
    pub const fn new() -> Self {
        Self {
            only: false,
            traffic_class: 0,
            hop_limit: None,
            min_hop_limit: 0,
            mtu_discover: IP_PMTUDISC_WANT as u8,
            fragment_size: 0,
            receive: ReceiveV6::empty(),
            dont_fragment: false,
            sends_flow_info: false,
            auto_flow_label: true,
            unicast_interface: 0,
            address_preferences: 0,
            sticky_source: ([0; 16], 0),
            checksum_offset: -1,
            multicast: MulticastOptions::new(),
        }
    }
}

impl Default for Ipv6Options {
    fn default() -> Self {
        Self::new()
    }
}

/// What a value of `IP_MTU_DISCOVER` or `IPV6_MTU_DISCOVER` means to IP. Those that trust the interface's MTU only
/// (`IP_PMTUDISC_INTERFACE`, `IP_PMTUDISC_OMIT`) never set "don't fragment".
pub(crate) fn path_mtu_discovery(value: u8) -> PathMtuDiscovery {
    match i32::from(value) {
        IP_PMTUDISC_WANT => PathMtuDiscovery::Want,
        IP_PMTUDISC_DO => PathMtuDiscovery::Do,
        IP_PMTUDISC_PROBE => PathMtuDiscovery::Probe,
        IP_PMTUDISC_DONT => PathMtuDiscovery::Dont,
        _ => PathMtuDiscovery::Dont,
    }
}

impl SocketCore {
    pub(crate) fn ip_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match (level, self.family) {
            (SOL_IP, family) if self.has_ipv4_options(family) => self.ipv4_option(name),
            (SOL_IPV6, Family::V6) => self.ipv6_option(name),
            // Asking at a level that is not there is another error than setting (`ip_getsockopt`).
            (_, Family::V4) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    pub(crate) fn set_ip_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, self.family) {
            (SOL_IP, family) if self.has_ipv4_options(family) => self.set_ipv4_option(name, value),
            (SOL_IPV6, Family::V6) => self.set_ipv6_option(name, value),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn has_ipv4_options(&self, family: Family) -> bool {
        family == Family::V4 || self.kind != SocketType::Raw
    }
}

/// A number of 0 to 255, or -1 for the default.
fn hops(asked: i32, least: i32) -> Result<Option<u8>, Errno> {
    match asked {
        -1 => Ok(None),
        _ if asked < least => Err(Errno::EINVAL),
        _ => u8::try_from(asked).map(Some).map_err(|_| Errno::EINVAL),
    }
}
