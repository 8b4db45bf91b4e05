//! ICMP (RFC 792, RFC 1122, 3.2.2) and ICMPv6 (RFC 4443): echo, and errors both ways.
//!
//! Neighbour discovery is in `ndp`, multicast listener discovery in `multicast`.

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use linux_abi::Errno;
use packet::{Checksum, Packet, internet_checksum};

use crate::{
    AddressKind, Datagram, IcmpError, IcmpErrorKind, MulticastLoop, OutputOptions, PathMtuDiscovery, Stack,
    extension,
    input::FrameTo,
    interface::Interface,
    prefix::is_link_local,
    protocol,
    wire::{
        IPV4_HEADER_BYTES, IPV6_FRAGMENT_HEADER_BYTES, IPV6_HEADER_BYTES, Ipv4Header, Ipv6Header, be16, be32,
        bytes_of, checksum_is_good, packet_of, pseudo_header_sum,
    },
};

/// Message types of ICMP (RFC 792).
pub(crate) mod v4 {
    pub(crate) const ECHO_REPLY: u8 = 0;
    pub(crate) const DESTINATION_UNREACHABLE: u8 = 3;
    pub(crate) const SOURCE_QUENCH: u8 = 4;
    pub(crate) const ECHO: u8 = 8;
    pub(crate) const TIME_EXCEEDED: u8 = 11;
    pub(crate) const PARAMETER_PROBLEM: u8 = 12;
}

/// Message types of ICMPv6 (RFC 4443; IANA, "ICMPv6 Parameters").
pub(crate) mod v6 {
    pub(crate) const DESTINATION_UNREACHABLE: u8 = 1;
    pub(crate) const PACKET_TOO_BIG: u8 = 2;
    pub(crate) const TIME_EXCEEDED: u8 = 3;
    pub(crate) const PARAMETER_PROBLEM: u8 = 4;
    pub(crate) const ECHO: u8 = 128;
    pub(crate) const ECHO_REPLY: u8 = 129;
    pub(crate) const MULTICAST_LISTENER_QUERY: u8 = 130;
    pub(crate) const MULTICAST_LISTENER_REPORT: u8 = 131;
    pub(crate) const MULTICAST_LISTENER_DONE: u8 = 132;
    pub(crate) const ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(crate) const MULTICAST_LISTENER_REPORT_V2: u8 = 143;
    /// Types below are errors.
    pub(crate) const FIRST_INFORMATIONAL: u8 = 128;
}

const HEADER_BYTES: usize = 8;
/// An error over IPv4 is no longer than what every host must take (RFC 1812, 4.3.2.3).
const MAX_QUOTED_V4: usize = 576 - IPV4_HEADER_BYTES - HEADER_BYTES;
/// And one over IPv6 than the least MTU (RFC 4443, 2.4(c)).
const MAX_QUOTED_V6: usize = 1280 - IPV6_HEADER_BYTES - HEADER_BYTES;

/// Smallest path MTU that is believed: of IPv4 (`min_pmtu`) and IPv6.
const MIN_PATH_MTU: [u32; 2] = [552, 1280];

/// What a packet did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    PortUnreachable,
    /// IPv4: nobody speaks its protocol.
    ProtocolUnreachable,
    ReassemblyTimeExceeded,
    ParameterProblem {
        at: u32,
    },
    /// IPv6: nobody speaks its protocol.
    UnknownNextHeader {
        at: u32,
    },
    UnknownOption {
        at: u32,
    },
}

impl Offence {
    /// Type, code, and the four bytes that follow the checksum.
    fn message_v4(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::PortUnreachable => (v4::DESTINATION_UNREACHABLE, 3, [0; 4]),
            Self::ProtocolUnreachable | Self::UnknownNextHeader { .. } => {
                (v4::DESTINATION_UNREACHABLE, 2, [0; 4])
            }
            Self::ReassemblyTimeExceeded => (v4::TIME_EXCEEDED, 1, [0; 4]),
            Self::ParameterProblem { at } | Self::UnknownOption { at } => {
                (v4::PARAMETER_PROBLEM, 0, [at as u8, 0, 0, 0])
            }
        }
    }

    fn message_v6(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::PortUnreachable => (v6::DESTINATION_UNREACHABLE, 4, [0; 4]),
            Self::ReassemblyTimeExceeded => (v6::TIME_EXCEEDED, 1, [0; 4]),
            Self::ParameterProblem { at } => (v6::PARAMETER_PROBLEM, 0, at.to_be_bytes()),
            Self::UnknownNextHeader { at } => (v6::PARAMETER_PROBLEM, 1, at.to_be_bytes()),
            Self::ProtocolUnreachable => (v6::PARAMETER_PROBLEM, 1, [0, 0, 0, 6]),
            Self::UnknownOption { at } => (v6::PARAMETER_PROBLEM, 2, at.to_be_bytes()),
        }
    }
}

/// A packet that an error may be about.
pub(crate) struct Quotation {
    source: IpAddr,
    destination: IpAddr,
    tos: u8,
    /// From its IP header on.
    bytes: Vec<u8>,
}

/// What to quote of a datagram, unless it is an error itself (RFC 1122, 3.2.2; RFC 4443, 2.4(e)).
pub(crate) fn quotation(datagram: &Datagram) -> Option<Quotation> {
    let head = datagram.packet.head();
    let max = match datagram.source {
        IpAddr::V4(_) => MAX_QUOTED_V4,
        IpAddr::V6(_) => MAX_QUOTED_V6,
    };
    if is_error(datagram.protocol, head) {
        return None;
    }
    let mut bytes = datagram.header.to_vec();
    bytes.extend(bytes_of(&datagram.packet, 0, max - datagram.header.len()));
    Some(Quotation { source: datagram.source, destination: datagram.destination, tos: datagram.tos, bytes })
}

/// Whether a message must not be answered by an error: it is one, or might be.
fn is_error(protocol: u8, payload: &[u8]) -> bool {
    match protocol {
        protocol::ICMP => !payload.first().is_some_and(|&kind| matches!(kind, v4::ECHO | v4::ECHO_REPLY)),
        protocol::ICMPV6 => payload.first().is_none_or(|&kind| kind < v6::FIRST_INFORMATIONAL || kind == 137),
        _ => false,
    }
}

/// Errors for destination unreachable by code, and whether they are fatal (Linux's `icmp_err_convert`).
const UNREACHABLE_V4: [(Errno, bool); 16] = [
    (Errno::ENETUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::ENOPROTOOPT, true),
    (Errno::ECONNREFUSED, true),
    (Errno::EMSGSIZE, false),
    (Errno::EOPNOTSUPP, false),
    (Errno::ENETUNREACH, true),
    (Errno::EHOSTDOWN, true),
    (Errno::ENONET, true),
    (Errno::ENETUNREACH, true),
    (Errno::EHOSTUNREACH, true),
    (Errno::ENETUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::EHOSTUNREACH, true),
    (Errno::EHOSTUNREACH, true),
    (Errno::EHOSTUNREACH, true),
];

/// The same for IPv6 (Linux's `tab_unreach`).
const UNREACHABLE_V6: [(Errno, bool); 7] = [
    (Errno::ENETUNREACH, false),
    (Errno::EACCES, true),
    (Errno::EHOSTUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::ECONNREFUSED, true),
    (Errno::EACCES, true),
    (Errno::EACCES, true),
];

/// Sizes of packets that links take, from which the next smaller one is guessed if a router does not tell it (RFC 1191,
/// 7.1).
const PLATEAUS: [u32; 10] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 552, 0];

impl Stack {
    /// Handles a message of ICMP; raw sockets get it afterwards.
    pub(crate) fn input_icmp_v4(&self, link: &Interface, frame_to: FrameTo, datagram: &Datagram) {
        let counters = &self.counters.icmpv4;
        let head = datagram.packet.head();
        if head.len() < HEADER_BYTES {
            counters.in_errors.add(1);
            return;
        }
        if !checksum_is_good(&datagram.packet, 0) {
            counters.in_checksum_errors.add(1);
            counters.in_errors.add(1);
            return;
        }
        let (kind, code) = (head[0], head[1]);
        counters.in_types[usize::from(kind)].add(1);
        match kind {
            // RFC 1122, 3.2.2.6: a broadcast echo may be ignored, and is, as it multiplies (`icmp_echo_ignore_broadcasts`).
            v4::ECHO if code == 0 && frame_to == FrameTo::Us && !datagram.destination.is_multicast() => {
                self.echo(link, datagram, v4::ECHO_REPLY);
            }
            v4::DESTINATION_UNREACHABLE | v4::SOURCE_QUENCH | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM => {
                let quoted = bytes_of(&datagram.packet, HEADER_BYTES, MAX_QUOTED_V6);
                let word = be32(head, 4).unwrap_or(0);
                let error = error_v4(kind, code, word, &quoted);
                self.report(link, datagram, kind, code, error);
            }
            // Redirects are not heeded: any host of the link could forge them. Others are for raw sockets.
            _ => {}
        }
    }

    /// Handles a message of ICMPv6. Returns whether it is sound: raw sockets get no other (RFC 3542, 3.1).
    pub(crate) fn input_icmp_v6(&self, link: &Interface, frame_to: FrameTo, datagram: &Datagram) -> bool {
        let counters = &self.counters.icmpv6;
        let head = datagram.packet.head();
        let len = datagram.packet.len();
        if head.len() < HEADER_BYTES {
            counters.in_errors.add(1);
            return false;
        }
        let sum = pseudo_header_sum(datagram.source, datagram.destination, protocol::ICMPV6, len);
        if !checksum_is_good(&datagram.packet, sum) {
            counters.in_checksum_errors.add(1);
            counters.in_errors.add(1);
            return false;
        }
        let (kind, code) = (head[0], head[1]);
        counters.in_types[usize::from(kind)].add(1);
        match kind {
            v6::ECHO if code == 0 => self.echo(link, datagram, v6::ECHO_REPLY),
            v6::DESTINATION_UNREACHABLE | v6::PACKET_TOO_BIG | v6::TIME_EXCEEDED | v6::PARAMETER_PROBLEM => {
                let quoted = bytes_of(&datagram.packet, HEADER_BYTES, MAX_QUOTED_V6);
                let word = be32(head, 4).unwrap_or(0);
                let error = error_v6(kind, code, word, &quoted);
                self.report(link, datagram, kind, code, error);
            }
            v6::ROUTER_SOLICITATION..=v6::NEIGHBOUR_ADVERTISEMENT => self.input_ndp(link, frame_to, datagram),
            v6::MULTICAST_LISTENER_QUERY
            | v6::MULTICAST_LISTENER_REPORT
            | v6::MULTICAST_LISTENER_DONE
            | v6::MULTICAST_LISTENER_REPORT_V2 => self.input_mld(link, datagram),
            _ => {}
        }
        true
    }

    /// Answers an echo request with its own data.
    fn echo(&self, link: &Interface, datagram: &Datagram, reply: u8) {
        // The frames are shared: only the head is changed.
        let mut packet = datagram.packet.clone();
        packet.segmentation = None;
        let head = packet.head_mut();
        head[0] = reply;
        head[2..4].fill(0);
        self.send_icmp(link, datagram.destination, datagram.source, datagram.tos, packet);
    }

    /// Sends a message of ICMP, whose checksum is yet to be made, from an address of ours or, if that is none that one
    /// can send from, the best one.
    fn send_icmp(&self, link: &Interface, from: IpAddr, to: IpAddr, tos: u8, mut packet: Box<Packet>) {
        let interface = (is_link_local(to) && to.is_ipv6() && !link.is_loopback()).then_some(link.index);
        let from = (self.address_kind(from, interface) == AddressKind::Local).then_some(from);
        let Ok(route) = self.route(to, from, interface) else { return };
        let is_v4 = to.is_ipv4();
        let (proto, counters) = if is_v4 {
            (protocol::ICMP, &self.counters.icmpv4)
        } else {
            (protocol::ICMPV6, &self.counters.icmpv6)
        };
        if !is_v4 {
            let sum = internet_checksum::fold(pseudo_header_sum(route.source, to, proto, packet.len()));
            packet.head_mut()[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet.checksum = Checksum::Partial { start: 0, offset: 2 };
        counters.out_types[usize::from(packet.head()[0])].add(1);
        let options = OutputOptions {
            tos,
            path_mtu_discovery: PathMtuDiscovery::Dont,
            multicast_loop: MulticastLoop::Off,
            ..OutputOptions::new(proto)
        };
        if self.output(&route, route.source, to, options, &mut Vec::from([packet])).is_err() {
            counters.out_errors.add(1);
        }
    }

    /// Tells the sender of a packet, which begins with its IP header, what is wrong with it.
    pub(crate) fn icmp_offence(
        &self,
        link: &Interface,
        frame_to: FrameTo,
        packet: &Packet,
        offence: Offence,
    ) {
        let head = packet.head();
        let (source, destination, tos, next, at): (IpAddr, IpAddr, u8, u8, usize) = match head.first() {
            Some(first) if first >> 4 == 4 => {
                let Some(header) = Ipv4Header::parse(head) else { return };
                if header.fragment_offset != 0 {
                    return;
                }
                let at = header.header_bytes;
                (header.source.into(), header.destination.into(), header.tos, header.protocol, at)
            }
            _ => {
                let Some(header) = Ipv6Header::parse(head) else { return };
                let (next, at) = upper_layer(head).unwrap_or((extension::NONE, head.len()));
                (header.source.into(), header.destination.into(), header.traffic_class, next, at)
            }
        };
        // RFC 4443, 2.4(e.3): an unknown option is the one offence here that a group may be told of.
        let may_be_multicast = source.is_ipv6() && matches!(offence, Offence::UnknownOption { .. });
        if (frame_to == FrameTo::Several || destination.is_multicast()) && !may_be_multicast {
            return;
        }
        if is_error(next, head.get(at..).unwrap_or_default()) {
            return;
        }
        let max = if source.is_ipv4() { MAX_QUOTED_V4 } else { MAX_QUOTED_V6 };
        let quotation = Quotation { source, destination, tos, bytes: bytes_of(packet, 0, max) };
        self.icmp_offence_quoting(link, quotation, offence);
    }

    /// Tells the sender of a packet what is wrong with it, unless too many were told lately.
    pub(crate) fn icmp_offence_quoting(&self, link: &Interface, quotation: Quotation, offence: Offence) {
        let Quotation { source, destination, tos, bytes } = quotation;
        let is_v4 = source.is_ipv4();
        // Who has no address of his own cannot be told (RFC 1122, 3.2.2; RFC 4443, 2.4(e.6)).
        if source.is_unspecified()
            || source.is_multicast()
            || self.address_kind(source, None) == AddressKind::Broadcast
        {
            return;
        }
        let counters = if is_v4 { &self.counters.icmpv4 } else { &self.counters.icmpv6 };
        if !link.is_loopback() && !self.rate_limit.lock().admits(source, &self.hash, self.now_ns()) {
            counters.out_rate_limited.add(1);
            return;
        }
        let (kind, code, word) = if is_v4 { offence.message_v4() } else { offence.message_v6() };
        let mut message = Vec::with_capacity(HEADER_BYTES + bytes.len());
        message.extend([kind, code, 0, 0]);
        message.extend(word);
        message.extend(bytes);
        let Ok(packet) = packet_of(&message) else { return };
        // RFC 1812, 4.3.2.5: as important as what controls the network.
        let tos = if is_v4 { tos & 0x1e | 0xc0 } else { 0 };
        self.send_icmp(link, destination, source, tos, packet);
    }

    /// Answers a datagram for a port where nobody is, unless it came by multicast or broadcast, or too many of these
    /// were sent lately. The packet is at its transport header.
    pub fn port_unreachable(&self, datagram: &Datagram) {
        let Some(link) = self.tables.read().interface(datagram.interface).cloned() else { return };
        if self.address_kind(datagram.destination, Some(datagram.interface)) != AddressKind::Local
            && self.address_kind(datagram.destination, None) != AddressKind::Local
        {
            return;
        }
        if let Some(quotation) = quotation(datagram) {
            self.icmp_offence_quoting(&link, quotation, Offence::PortUnreachable);
        }
    }

    /// Passes an error on, if it is about a packet of ours.
    fn report(
        &self,
        link: &Interface,
        datagram: &Datagram,
        icmp_type: u8,
        icmp_code: u8,
        parsed: Option<ParsedError>,
    ) {
        let counters = if datagram.source.is_ipv4() { &self.counters.icmpv4 } else { &self.counters.icmpv6 };
        let Some(ParsedError { kind, source, destination, protocol, quoted }) = parsed else {
            counters.in_errors.add(1);
            return;
        };
        if !self.tables.read().is_local(source, None) {
            counters.in_errors.add(1);
            return;
        }
        let error = IcmpError {
            interface: link.index,
            reporter: datagram.source,
            kind,
            icmp_type,
            icmp_code,
            source,
            destination,
            protocol,
            quoted,
        };
        if let Some(transport) = self.transport() {
            transport.icmp_error(error);
        }
    }

    /// Tells the transports that packets (with IP headers) found no neighbour, as if a router had said so.
    pub(crate) fn report_unreachable(&self, link: &Interface, packets: Vec<Box<Packet>>) {
        let Some(transport) = self.transport() else { return };
        for packet in packets {
            let bytes = bytes_of(&packet, 0, MAX_QUOTED_V6);
            let (parsed, icmp_type, icmp_code) = match bytes.first() {
                Some(first) if first >> 4 == 4 => (error_v4(3, 1, 0, &bytes), 3, 1),
                _ => (error_v6(1, 3, 0, &bytes), 1, 3),
            };
            let Some(ParsedError { kind, source, destination, protocol, quoted }) = parsed else { continue };
            transport.icmp_error(IcmpError {
                interface: link.index,
                reporter: source,
                kind,
                icmp_type,
                icmp_code,
                source,
                destination,
                protocol,
                quoted,
            });
        }
    }
}

struct ParsedError {
    kind: IcmpErrorKind,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    quoted: Vec<u8>,
}

/// Reads an error of ICMP. `word`: the four bytes behind the checksum.
fn error_v4(icmp_type: u8, code: u8, word: u32, quoted: &[u8]) -> Option<ParsedError> {
    let header = Ipv4Header::parse(quoted)?;
    let payload = quoted.get(header.header_bytes..)?;
    // RFC 792: 8 bytes at least. Of a later fragment we do not know whose it was.
    if payload.len() < 8 || header.fragment_offset != 0 {
        return None;
    }
    let kind = match icmp_type {
        v4::DESTINATION_UNREACHABLE if code == 4 => {
            let told = word & 0xffff;
            let mtu = if told == 0 {
                let total = header.total_bytes as u32;
                PLATEAUS.into_iter().find(|&plateau| plateau < total).unwrap_or(0)
            } else {
                told
            };
            IcmpErrorKind::PacketTooBig { mtu: mtu.max(MIN_PATH_MTU[0]) }
        }
        v4::DESTINATION_UNREACHABLE => {
            let (errno, fatal) = *UNREACHABLE_V4.get(usize::from(code))?;
            IcmpErrorKind::Unreachable { errno, fatal }
        }
        v4::TIME_EXCEEDED => IcmpErrorKind::TimeExceeded,
        v4::PARAMETER_PROBLEM => IcmpErrorKind::ParameterProblem,
        v4::SOURCE_QUENCH => IcmpErrorKind::SourceQuench,
        _ => return None,
    };
    Some(ParsedError {
        kind,
        source: header.source.into(),
        destination: header.destination.into(),
        protocol: header.protocol,
        quoted: payload.to_vec(),
    })
}

fn error_v6(icmp_type: u8, code: u8, word: u32, quoted: &[u8]) -> Option<ParsedError> {
    let header = Ipv6Header::parse(quoted)?;
    let (protocol, at) = upper_layer(quoted)?;
    let payload = quoted.get(at..)?;
    if payload.len() < 8 {
        return None;
    }
    let kind = match icmp_type {
        v6::DESTINATION_UNREACHABLE => {
            let (errno, fatal) = *UNREACHABLE_V6.get(usize::from(code))?;
            IcmpErrorKind::Unreachable { errno, fatal }
        }
        v6::PACKET_TOO_BIG => IcmpErrorKind::PacketTooBig { mtu: word.max(MIN_PATH_MTU[1]) },
        v6::TIME_EXCEEDED => IcmpErrorKind::TimeExceeded,
        v6::PARAMETER_PROBLEM => IcmpErrorKind::ParameterProblem,
        _ => return None,
    };
    let (source, destination) = (header.source.into(), header.destination.into());
    Some(ParsedError { kind, source, destination, protocol, quoted: payload.to_vec() })
}

/// The protocol of an IPv6 packet, and where its header is, if that is within `bytes` and in the first fragment.
fn upper_layer(bytes: &[u8]) -> Option<(u8, usize)> {
    let mut next = *bytes.get(6)?;
    let mut at = IPV6_HEADER_BYTES;
    for _ in 0..8 {
        match next {
            extension::FRAGMENT => {
                if be16(bytes, at + 2)? & !7 != 0 {
                    return None;
                }
                next = *bytes.get(at)?;
                at += IPV6_FRAGMENT_HEADER_BYTES;
            }
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                next = *bytes.get(at)?;
                at += 8 * (usize::from(*bytes.get(at + 1)?) + 1);
            }
            _ => return Some((next, at)),
        }
    }
    None
}
