//! How an interface is to be configured.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How an interface is to be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its IPv4 addresses.
    pub ipv4: Ipv4Config,
    /// Its IPv6 addresses.
    pub ipv6: Ipv6Config,
    /// Name servers, in place of those that DHCP or routers tell.
    pub dns: Vec<IpAddr>,
    /// The name that DHCP tells the server.
    pub hostname: Option<String>,
}

/// Where IPv4 addresses come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ipv4Config {
    /// Nowhere: no IPv4 on this interface.
    #[default]
    None,
    /// From a DHCP server (RFC 2131).
    Dhcp,
    /// From the user.
    Static {
        /// Addresses and their prefixes' lengths.
        addresses: Vec<(Ipv4Addr, u8)>,
        /// Default gateways, the preferred one first.
        gateways: Vec<Ipv4Addr>,
    },
}

/// Where IPv6 addresses come from, besides the link-local one that each interface has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipv6Config {
    /// Whether router advertisements are heeded (`accept_ra`, `autoconf`).
    pub autoconfiguration: Autoconfiguration,
    /// What the interface's own addresses end with.
    pub identifiers: InterfaceIdentifiers,
    /// Addresses from the user, and their prefixes' lengths.
    pub addresses: Vec<(Ipv6Addr, u8)>,
    /// Default gateways from the user, the preferred one first.
    pub gateways: Vec<Ipv6Addr>,
}

/// Whether router advertisements configure an interface (RFC 4862).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Autoconfiguration {
    /// They do.
    #[default]
    On,
    /// They are ignored.
    Off,
}

/// What the addresses end with that an interface makes for itself (`addr_gen_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceIdentifiers {
    /// The hardware address in the form of an EUI-64 (RFC 4291, appendix A), as Linux does by default: known before the
    /// machine boots.
    #[default]
    Eui64,
    /// Something different for each prefix, from which nobody learns the hardware address (RFC 7217).
    StablePrivacy,
}

/// What the resolver is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers, the preferred one first.
    pub servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
}
