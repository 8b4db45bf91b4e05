//! Neighbour discovery for IPv6 (RFC 4861): who has which hardware address, whether an address of ours is ours
//! alone (RFC 4862, 5.4), and what routers say.
//!
//! Redirects are not heeded.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::net::{IpAddr, Ipv6Addr};

use packet::{MacAddress, Packet, internet_checksum};

use crate::{
    AddressFlags, Datagram, Stack,
    icmp::v6,
    input::FrameTo,
    interface::Interface,
    neighbour::Evidence,
    protocol,
    wire::{
        IPV6_HEADER_BYTES, Ipv6Header, be16, be32, bytes_of, ipv6_at, is_group_mac, mac_at, multicast_mac,
        packet_of, pseudo_header_sum, solicited_node,
    },
};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Longest message that is looked at.
const MAX_MESSAGE_BYTES: usize = 9_000;

/// Options (RFC 4861, 4.6; RFC 8106).
mod option {
    pub(super) const SOURCE_LINK_ADDRESS: u8 = 1;
    pub(super) const TARGET_LINK_ADDRESS: u8 = 2;
    pub(super) const PREFIX_INFORMATION: u8 = 3;
    pub(super) const MTU: u8 = 5;
    pub(super) const RECURSIVE_DNS: u8 = 25;
    pub(super) const DNS_SEARCH_LIST: u8 = 31;
}

/// Flags of a neighbour advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// What a router says. Lifetimes are in seconds; `u32::MAX` is for ever.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RouterAdvertisement {
    pub(crate) hop_limit: u8,
    /// 1, 0 or -1 (RFC 4191, 2.1).
    pub(crate) preference: i8,
    pub(crate) router_lifetime_s: u16,
    pub(crate) reachable_ms: u32,
    pub(crate) retransmit_ms: u32,
    pub(crate) link_address: Option<MacAddress>,
    pub(crate) mtu: Option<u32>,
    pub(crate) prefixes: Vec<PrefixInformation>,
    /// Lifetime and servers.
    pub(crate) dns_servers: Vec<(u32, Ipv6Addr)>,
    /// Lifetime and domains.
    pub(crate) dns_search: Vec<(u32, String)>,
}

/// A prefix that a router tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrefixInformation {
    pub(crate) prefix: Ipv6Addr,
    pub(crate) len: u8,
    pub(crate) is_on_link: bool,
    pub(crate) is_autonomous: bool,
    pub(crate) valid_s: u32,
    pub(crate) preferred_s: u32,
}

/// The options from `at` on: kind, and all bytes. `None` if one of them is not as long as it says: then the whole message
/// is not to be believed (RFC 4861, 4.6).
fn options(bytes: &[u8], at: usize) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    let mut rest = bytes.get(at..)?;
    while !rest.is_empty() {
        let len = 8 * usize::from(*rest.get(1)?);
        if len == 0 {
            return None;
        }
        let (option, after) = rest.split_at_checked(len)?;
        options.push((option[0], option));
        rest = after;
    }
    Some(options)
}

fn link_address(options: &[(u8, &[u8])], wanted: u8) -> Option<MacAddress> {
    let (_, option) = options.iter().find(|(kind, _)| *kind == wanted)?;
    mac_at(option, 2).filter(|&mac| !is_group_mac(mac))
}

impl RouterAdvertisement {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let options = options(bytes, 16)?;
        let router_lifetime_s = be16(bytes, 6)?;
        let mut advertisement = Self {
            hop_limit: bytes[4],
            preference: match bytes[5] >> 3 & 3 {
                1 => 1,
                3 => -1,
                // 2 is reserved, and read as 0.
                _ => 0,
            },
            router_lifetime_s,
            reachable_ms: be32(bytes, 8)?,
            retransmit_ms: be32(bytes, 12)?,
            link_address: link_address(&options, option::SOURCE_LINK_ADDRESS),
            ..Self::default()
        };
        for (kind, option) in options {
            match kind {
                option::MTU => advertisement.mtu = be32(option, 4),
                option::PREFIX_INFORMATION => advertisement.prefixes.extend(prefix_information(option)),
                option::RECURSIVE_DNS => {
                    let lifetime_s = be32(option, 4)?;
                    let servers = (8..option.len()).step_by(16).filter_map(|at| ipv6_at(option, at));
                    advertisement.dns_servers.extend(servers.map(|server| (lifetime_s, server)));
                }
                option::DNS_SEARCH_LIST => {
                    let lifetime_s = be32(option, 4)?;
                    let domains = domains(&option[8..]);
                    advertisement.dns_search.extend(domains.into_iter().map(|domain| (lifetime_s, domain)));
                }
                _ => {}
            }
        }
        Some(advertisement)
    }
}

fn prefix_information(option: &[u8]) -> Option<PrefixInformation> {
    Some(PrefixInformation {
        len: option[2],
        is_on_link: option[3] & 0x80 != 0,
        is_autonomous: option[3] & 0x40 != 0,
        valid_s: be32(option, 4)?,
        preferred_s: be32(option, 8)?,
        prefix: ipv6_at(option, 16)?,
    })
}

/// Domain names in the form of DNS without compression (RFC 8106, 5.2); zeros are padding.
fn domains(mut bytes: &[u8]) -> Vec<String> {
    let mut domains = Vec::new();
    let mut name = String::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let Some((label, rest)) = rest.split_at_checked(usize::from(len)) else { break };
        bytes = rest;
        if len == 0 {
            if !name.is_empty() {
                domains.push(core::mem::take(&mut name));
            }
            continue;
        }
        // What goes into the resolver's file must not be able to say anything else there.
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            || name.len() > 255
        {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|&byte| char::from(byte)));
    }
    domains
}

impl Stack {
    /// Takes a message of neighbour discovery whose checksum is right.
    pub(crate) fn input_ndp(&self, link: &Interface, frame_to: FrameTo, datagram: &Datagram) {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (datagram.source, datagram.destination) else {
            return;
        };
        let bytes = bytes_of(&datagram.packet, 0, MAX_MESSAGE_BYTES);
        // A hop limit of 255 proves that no router was on the way.
        if datagram.hop_limit != 255 || bytes[1] != 0 || link.is_loopback() {
            return;
        }
        match bytes[0] {
            v6::NEIGHBOUR_SOLICITATION => {
                let parsed = ipv6_at(&bytes, 8).zip(options(&bytes, 24));
                if let Some((target, options)) = parsed {
                    let link_address = link_address(&options, option::SOURCE_LINK_ADDRESS);
                    self.neighbour_solicitation(link, source, destination, target, link_address);
                }
            }
            v6::NEIGHBOUR_ADVERTISEMENT => {
                let parsed = ipv6_at(&bytes, 8).zip(options(&bytes, 24));
                if let Some((target, options)) = parsed {
                    let link_address = link_address(&options, option::TARGET_LINK_ADDRESS);
                    let is_to_several = destination.is_multicast() || frame_to == FrameTo::Several;
                    if bytes[4] & SOLICITED == 0 || !is_to_several {
                        self.neighbour_advertisement(link, target, bytes[4], link_address);
                    }
                }
            }
            v6::ROUTER_ADVERTISEMENT if source.is_unicast_link_local() => {
                if let Some(advertisement) = RouterAdvertisement::parse(&bytes) {
                    self.router_advertisement(link, source, &advertisement);
                }
            }
            // Solicitations are for routers.
            _ => {}
        }
    }

    fn neighbour_solicitation(
        &self,
        link: &Interface,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        link_address: Option<MacAddress>,
    ) {
        let is_probe = source.is_unspecified();
        // RFC 4861, 7.1.1.
        if target.is_multicast()
            || is_probe && (destination != solicited_node(target) || link_address.is_some())
        {
            return;
        }
        let flags =
            self.tables.read().find_address(target.into(), Some(link.index)).map(|address| address.flags);
        let Some(flags) = flags else { return };
        if flags.contains(AddressFlags::TENTATIVE) {
            // Another one who wants the same address asks at the same time: neither gets it. Our own question does not
            // come back to here: its sender is our own hardware address.
            if is_probe {
                self.duplicate_found(link, target);
            }
            return;
        }
        if flags.contains(AddressFlags::DAD_FAILED) {
            return;
        }
        if is_probe {
            self.send_neighbour_advertisement(link, target, ALL_NODES, OVERRIDE);
            return;
        }
        if let Some(mac) = link_address {
            let neighbour = self.neighbour(link, source.into());
            let mut ready = link.neighbours.learn(&neighbour, mac, Evidence::Unasked, self.now_ns());
            link.transmit(&mut ready, mac);
        }
        self.send_neighbour_advertisement(link, target, source, SOLICITED | OVERRIDE);
    }

    fn neighbour_advertisement(
        &self,
        link: &Interface,
        target: Ipv6Addr,
        flags: u8,
        link_address: Option<MacAddress>,
    ) {
        let own =
            self.tables.read().find_address(target.into(), Some(link.index)).map(|address| address.flags);
        if let Some(own) = own {
            if own.contains(AddressFlags::TENTATIVE) {
                self.duplicate_found(link, target);
            }
            return;
        }
        // RFC 4861, 7.2.5: nobody is interested in one that nobody looked for.
        let (Some(neighbour), Some(mac)) = (link.neighbours.find(target.into()), link_address) else {
            return;
        };
        let overrides = flags & OVERRIDE != 0;
        let evidence = if flags & SOLICITED != 0 {
            Evidence::Answer { overrides }
        } else if overrides || neighbour.ready().is_none() {
            Evidence::Unasked
        } else {
            return;
        };
        let mut ready = link.neighbours.learn(&neighbour, mac, evidence, self.now_ns());
        link.transmit(&mut ready, mac);
        let is_router = flags & ROUTER != 0;
        if link.neighbours.set_router(&neighbour, is_router) && !is_router {
            self.router_resigned(link, target);
        }
        self.poll_wanted();
    }

    /// Asks for a neighbour's hardware address; `to` whom, or all who might have that address.
    pub(crate) fn send_neighbour_solicitation(
        &self,
        link: &Interface,
        target: Ipv6Addr,
        to: Option<MacAddress>,
    ) {
        let source = {
            let tables = self.tables.read();
            // A source that the neighbour knows to be on its link.
            tables.link_local(link.index).or_else(|| tables.select_source_v6(link.index, target))
        };
        let (Some(source), Some(own)) = (source, link.mac) else { return };
        let mut message = solicitation(target);
        message.extend(link_address_option(option::SOURCE_LINK_ADDRESS, own));
        let destination = if to.is_some() { target } else { solicited_node(target) };
        self.send_ndp(link, source, destination, to, message);
    }

    /// Asks whether anybody has `target`, which is to be ours.
    pub(crate) fn send_duplicate_probe(&self, link: &Interface, target: Ipv6Addr) {
        let message = solicitation(target);
        self.send_ndp(link, Ipv6Addr::UNSPECIFIED, solicited_node(target), None, message);
    }

    pub(crate) fn send_router_solicitation(&self, link: &Interface) {
        let mut message = Vec::from([v6::ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        let source = self.tables.read().link_local(link.index);
        if let (Some(_), Some(own)) = (source, link.mac) {
            message.extend(link_address_option(option::SOURCE_LINK_ADDRESS, own));
        }
        self.send_ndp(link, source.unwrap_or(Ipv6Addr::UNSPECIFIED), ALL_ROUTERS, None, message);
    }

    fn send_neighbour_advertisement(
        &self,
        link: &Interface,
        target: Ipv6Addr,
        destination: Ipv6Addr,
        flags: u8,
    ) {
        let Some(own) = link.mac else { return };
        let mut message = Vec::from([v6::NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
        message.extend(target.octets());
        message.extend(link_address_option(option::TARGET_LINK_ADDRESS, own));
        self.send_ndp(link, target, destination, None, message);
    }

    /// Sends a message, of which only the checksum is missing.
    pub(crate) fn send_ndp(
        &self,
        link: &Interface,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        to: Option<MacAddress>,
        mut message: Vec<u8>,
    ) {
        self.counters.icmpv6.out_types[usize::from(message[0])].add(1);
        let Some(packet) = icmpv6_packet(source, destination, 255, &mut message) else { return };
        let mut packets = Vec::from([packet]);
        if destination.is_multicast() {
            link.transmit(&mut packets, multicast_mac(destination.into()));
        } else if let Some(to) = to {
            link.transmit(&mut packets, to);
        } else {
            self.transmit_to_neighbour(link, destination.into(), None, &mut packets);
        }
    }
}

fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::from([v6::NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(target.octets());
    message
}

fn link_address_option(kind: u8, MacAddress([a, b, c, d, e, f]): MacAddress) -> [u8; 8] {
    [kind, 1, a, b, c, d, e, f]
}

/// A packet with an IPv6 header around a message of ICMPv6, whose checksum is filled in.
pub(crate) fn icmpv6_packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    message: &mut [u8],
) -> Option<Box<Packet>> {
    let sum = pseudo_header_sum(source.into(), destination.into(), protocol::ICMPV6, message.len());
    message[2..4].fill(0);
    let sum = !internet_checksum::fold(internet_checksum::add(sum, message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = packet_of(message).ok()?;
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_bytes: message.len(),
        next_header: protocol::ICMPV6,
        hop_limit,
        source,
        destination,
    };
    packet.prepend(IPV6_HEADER_BYTES).copy_from_slice(&header.bytes());
    Some(packet)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            RouterAdvertisement::parse(&bytes);
            domains(&bytes);
        }
    }

    #[test]
    fn names_end_at_what_is_no_name() {
        let bytes = b"\x07example\x03com\0\x01a\0\0\0";
        assert_eq!(domains(bytes), ["example.com", "a"]);
        assert_eq!(domains(b"\x05a\nb c\0"), Vec::<String>::new());
        assert_eq!(domains(&vec![1; 3000]), Vec::<String>::new());
    }
}
