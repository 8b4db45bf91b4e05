//! Which address a packet comes from, if its sender has not chosen one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    AddressFlags,
    prefix::{Prefix, common_bits},
    table::{Address, Tables},
};

impl Tables {
    /// The source for packets out of `interface` to an IPv4 destination: an address in the next hop's subnet, or else the
    /// interface's first; or else any that is good beyond its machine (`inet_select_addr`).
    pub(crate) fn select_source_v4(&self, interface: u32, next_hop: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = |address: &&Address| address.address.is_ipv4() && address.is_usable();
        let here = || self.addresses.iter().filter(own).filter(|address| address.interface == interface);
        let in_subnet = |address: &&Address| {
            Prefix::new(address.address, address.prefix_len).contains(IpAddr::V4(next_hop))
        };
        let elsewhere = || self.addresses.iter().filter(own).find(|address| !address.address.is_loopback());
        match here().find(in_subnet).or_else(|| here().next()).or_else(elsewhere)?.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// The source for packets out of `interface` to an IPv6 destination (RFC 6724, section 5; its rules 4 and 7, about
    /// mobile and temporary addresses, have no use here).
    pub(crate) fn select_source_v6(&self, interface: u32, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let stays_on_link = destination.is_unicast_link_local() || destination.is_multicast();
        self.addresses
            .iter()
            .filter(|address| address.is_usable() && (!stays_on_link || address.interface == interface))
            .filter_map(|address| match address.address {
                IpAddr::V6(own) => Some((own, address)),
                IpAddr::V4(_) => None,
            })
            // The first of equals is kept.
            .reduce(|best, next| if is_better(next, best, interface, destination) { next } else { best })
            .map(|(own, _)| own)
    }
}

fn is_better(
    (a, a_entry): (Ipv6Addr, &Address),
    (b, b_entry): (Ipv6Addr, &Address),
    interface: u32,
    destination: Ipv6Addr,
) -> bool {
    // Rule 1: the destination itself.
    if a == destination || b == destination {
        return a == destination && b != destination;
    }
    // Rule 2: the smallest scope that is large enough, or else the largest.
    let (wanted, a_scope, b_scope) = (scope(destination), scope(a), scope(b));
    if a_scope != b_scope {
        return if a_scope < b_scope { a_scope >= wanted } else { b_scope < wanted };
    }
    // Rule 3: not a deprecated one.
    let is_deprecated = |entry: &Address| entry.flags.contains(AddressFlags::DEPRECATED);
    if is_deprecated(a_entry) != is_deprecated(b_entry) {
        return is_deprecated(b_entry);
    }
    // Rule 5: one of the interface.
    if (a_entry.interface == interface) != (b_entry.interface == interface) {
        return a_entry.interface == interface;
    }
    // Rule 6: of the same kind.
    let wanted = label(destination);
    if (label(a) == wanted) != (label(b) == wanted) {
        return label(a) == wanted;
    }
    // Rule 8: the longest prefix in common.
    let common =
        |own: Ipv6Addr, entry: &Address| common_bits(own, destination).min(u32::from(entry.prefix_len));
    common(a, a_entry) > common(b, b_entry)
}

/// The scope's number (RFC 6724, 3.1).
fn scope(address: Ipv6Addr) -> u8 {
    if address.is_multicast() {
        address.octets()[1] & 0xf
    } else if address.is_unicast_link_local() || address.is_loopback() {
        0x2
    } else if address.segments()[0] & 0xffc0 == 0xfec0 {
        0x5
    } else {
        0xe
    }
}

/// The default policy table (RFC 6724, 2.1).
fn label(address: Ipv6Addr) -> u8 {
    let table: [(Ipv6Addr, u8, u8); 8] = [
        (Ipv6Addr::LOCALHOST, 128, 0),
        (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4),
        (Ipv6Addr::UNSPECIFIED, 96, 3),
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
        (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 12),
        (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
        (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 13),
    ];
    table
        .iter()
        .find(|(prefix, len, _)| common_bits(*prefix, address) >= u32::from(*len))
        .map_or(1, |(_, _, label)| *label)
}
