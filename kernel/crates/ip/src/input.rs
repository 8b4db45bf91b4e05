//! Receiving: from the link to the transports.
//!
//! Nothing that a packet says is believed before it is compared with what there is; all loops over what a sender wrote are
//! bounded by the head's size. What is wrong is counted and dropped.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use packet::{Packet, internet_checksum};

use crate::{
    Claim, Datagram, Stack, extension,
    icmp::{self, Offence},
    interface::Interface,
    prefix::is_link_local,
    protocol,
    reassembly::{DatagramKey, Part, Progress},
    wire::{
        ETHERNET_HEADER_BYTES, IPV4_HEADER_BYTES, IPV6_FRAGMENT_HEADER_BYTES, IPV6_HEADER_BYTES, Ipv4Header,
        Ipv6Header, be16, be32, ethertype, is_group_mac, mac_at,
    },
};

/// How a frame was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameTo {
    Us,
    /// A group, or all.
    Several,
}

/// Bits of the type of service that tell of congestion, and their value for it (RFC 3168, 5).
const ECN_MASK: u8 = 3;
const CONGESTION_EXPERIENCED: u8 = 3;

/// IPv4's options (RFC 791, 3.1).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// Extension headers that are followed at most.
const MAX_EXTENSIONS: usize = 8;

impl Stack {
    /// Takes a packet from an interface: with its Ethernet header, or from the IP header on if the link has none.
    pub fn input(&self, interface: u32, mut packet: Box<Packet>) {
        let Some(link) = self.tables.read().interface(interface).cloned() else { return };
        let mut frame_to = FrameTo::Us;
        let ethertype = match link.mac {
            None => match packet.head().first() {
                Some(first) if first >> 4 == 4 => ethertype::IPV4,
                Some(_) => ethertype::IPV6,
                None => return,
            },
            Some(mac) => {
                let (Some(destination), Some(source), Some(ethertype)) =
                    (mac_at(packet.head(), 0), mac_at(packet.head(), 6), be16(packet.head(), 12))
                else {
                    return;
                };
                if is_group_mac(destination) {
                    frame_to = FrameTo::Several;
                } else if destination != mac {
                    return;
                }
                // No machine is a group, and we do not talk to ourselves over a wire.
                if is_group_mac(source) || source == mac {
                    return;
                }
                packet.trim_front(ETHERNET_HEADER_BYTES);
                ethertype
            }
        };
        match ethertype {
            ethertype::IPV4 => self.input_v4(&link, frame_to, packet),
            ethertype::IPV6 => self.input_v6(&link, frame_to, packet),
            ethertype::ARP => self.input_arp(&link, &packet),
            _ => {}
        }
    }

    /// Takes a packet that we have sent to a group or to all ourselves, at its IP header.
    pub(crate) fn input_looped(&self, link: &Interface, packet: Box<Packet>) {
        match packet.head().first() {
            Some(first) if first >> 4 == 4 => self.input_v4(link, FrameTo::Several, packet),
            Some(_) => self.input_v6(link, FrameTo::Several, packet),
            None => {}
        }
    }

    fn input_v4(&self, link: &Interface, frame_to: FrameTo, mut packet: Box<Packet>) {
        let counters = &self.counters.ipv4;
        counters.in_receives.add(1);
        let Some(header) = Ipv4Header::parse(packet.head()) else {
            counters.in_header_errors.add(1);
            return;
        };
        let header_bytes = &packet.head()[..header.header_bytes];
        let is_sound = header.total_bytes >= header.header_bytes
            && header.total_bytes <= packet.len()
            && internet_checksum::fold(internet_checksum::add(0, header_bytes)) == 0xffff;
        if !is_sound {
            counters.in_header_errors.add(1);
            return;
        }
        packet.truncate(header.total_bytes);
        if self.input_dhcp(link, &header, &packet) {
            counters.in_delivers.add(1);
            return;
        }
        let Some(destination_kind) = self.admit_v4(link, &header) else {
            counters.in_address_errors.add(1);
            return;
        };
        // RFC 1122, 3.3.6: what one machine is to get does not come by broadcast.
        if frame_to == FrameTo::Several && destination_kind == To::Us {
            counters.in_discards.add(1);
            return;
        }
        let options = packet.head()[IPV4_HEADER_BYTES..header.header_bytes].to_vec();
        if let Err(wrong_at) = check_options(&options) {
            counters.in_header_errors.add(1);
            if let Some(at) = wrong_at {
                let offence = Offence::ParameterProblem { at: (IPV4_HEADER_BYTES + at) as u32 };
                self.icmp_offence(link, frame_to, &packet, offence);
            }
            return;
        }
        let mut ip_header: ArrayVec<u8, 60> = packet.head()[..header.header_bytes].iter().copied().collect();
        packet.trim_front(header.header_bytes);
        let mut tos = header.tos;
        let mut reassembled = Reassembled::No;
        if header.is_fragment() {
            counters.reassembly_required.add(1);
            let key = DatagramKey {
                source: header.source.into(),
                destination: header.destination.into(),
                identification: header.identification.into(),
                protocol: header.protocol,
                interface: link.index,
            };
            let part = Part {
                packet,
                offset: header.fragment_offset,
                is_last: !header.more_fragments,
                header: ip_header.to_vec(),
                ecn: header.tos & ECN_MASK,
            };
            let Some(whole) = self.reassemble(key, part) else { return };
            packet = whole.packet;
            reassembled = Reassembled::Yes;
            ip_header = whole.header.iter().copied().take(60).collect();
            let total_bytes = (ip_header.len() + packet.len()).min(0xffff) as u16;
            ip_header[2..4].copy_from_slice(&total_bytes.to_be_bytes());
            ip_header[6..8].fill(0);
            tos = ip_header[1];
            if whole.is_congested {
                tos |= CONGESTION_EXPERIENCED;
            }
        }
        let datagram = Datagram {
            interface: link.index,
            source: header.source.into(),
            destination: header.destination.into(),
            protocol: header.protocol,
            hop_limit: header.ttl,
            tos,
            flow_label: 0,
            header: ip_header,
            packet,
        };
        self.deliver(link, frame_to, datagram, reassembled, None);
    }

    fn reassemble(&self, key: DatagramKey, part: Part) -> Option<crate::reassembly::Whole> {
        let counters = self.counters.ip(key.source);
        let progress = self.reassembly.lock().add(key, part, self.now_ns());
        match progress {
            Progress::Complete(whole) => {
                counters.reassembled.add(1);
                Some(whole)
            }
            Progress::Dropped => {
                counters.reassembly_failures.add(1);
                None
            }
            Progress::Waiting => {
                self.poll_wanted();
                None
            }
        }
    }

    /// Whether a packet's addresses are such that it may come in here, and what its destination is to us.
    fn admit_v4(&self, link: &Interface, header: &Ipv4Header) -> Option<To> {
        let tables = self.tables.read();
        let (source, destination) = (header.source, header.destination);
        let is_loopback = link.is_loopback();
        let to = if destination.is_multicast() {
            // RFC 1112, 7.2; which sources a member wants is looked at by the sockets.
            let listens = destination == Ipv4Addr::new(224, 0, 0, 1)
                || self.groups.listens(link.index, destination.into());
            listens.then_some(To::Several)?
        } else if tables.is_broadcast(destination, Some(link.index)) {
            To::Several
        } else if tables.is_local(destination.into(), None) && (!destination.is_loopback() || is_loopback) {
            To::Us
        } else {
            return None;
        };
        // Martians (RFC 1812, 5.3.7; RFC 1122, 3.2.1.3).
        let is_zero = source.octets()[0] == 0;
        let is_martian = source.is_multicast()
            || source.is_broadcast()
            || source.octets()[0] >= 240
            || is_zero && !(source.is_unspecified() && to == To::Several)
            || !is_loopback
                && (source.is_loopback()
                    || tables.is_broadcast(source, Some(link.index))
                    // Nobody else has our addresses. What we sent to a group ourselves comes by `poll`.
                    || to == To::Us && tables.is_local(source.into(), None));
        (!is_martian).then_some(to)
    }

    fn input_v6(&self, link: &Interface, frame_to: FrameTo, mut packet: Box<Packet>) {
        let counters = &self.counters.ipv6;
        counters.in_receives.add(1);
        let Some(header) = Ipv6Header::parse(packet.head()) else {
            counters.in_header_errors.add(1);
            return;
        };
        // No jumbograms (RFC 2675): no link of ours has an MTU for these.
        if IPV6_HEADER_BYTES + header.payload_bytes > packet.len() {
            counters.in_truncated.add(1);
            return;
        }
        packet.truncate(IPV6_HEADER_BYTES + header.payload_bytes);
        if !self.admit_v6(link, frame_to, &header) {
            counters.in_address_errors.add(1);
            return;
        }
        self.extensions(
            link,
            frame_to,
            header,
            header.next_header,
            IPV6_HEADER_BYTES,
            packet,
            Reassembled::No,
        );
    }

    fn admit_v6(&self, link: &Interface, frame_to: FrameTo, header: &Ipv6Header) -> bool {
        let (source, destination) = (header.source, header.destination);
        let is_loopback = link.is_loopback();
        if source.is_multicast()
            || !is_loopback && (source.is_loopback() || destination.is_loopback())
            // RFC 4291, 2.5.5.2 and draft-itojun-v6ops-v4mapped-harmful: Linux drops these, too.
            || source.to_ipv4_mapped().is_some()
            || destination.to_ipv4_mapped().is_some()
        {
            return false;
        }
        let tables = self.tables.read();
        if !is_loopback && !destination.is_multicast() && tables.is_local(source.into(), Some(link.index)) {
            return false;
        }
        if destination.is_multicast() {
            // Scopes 0 and 1 do not leave a machine (RFC 4291, 2.7).
            let scope = destination.octets()[1] & 0xf;
            return (is_loopback || scope > 1)
                && (destination == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
                    || self.groups.listens(link.index, destination.into()));
        }
        let interface = is_link_local(destination.into()).then_some(link.index).filter(|_| !is_loopback);
        // A tentative address hears nothing but neighbour discovery (RFC 4862, 5.4), and that comes by multicast.
        frame_to == FrameTo::Us && tables.is_local(destination.into(), interface)
    }

    /// Follows the extension headers (RFC 8200, 4) from `at` on, and delivers what they lead to.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one walk; it is called anew once, after reassembly"
    )]
    fn extensions(
        &self,
        link: &Interface,
        frame_to: FrameTo,
        header: Ipv6Header,
        mut next_header: u8,
        mut at: usize,
        mut packet: Box<Packet>,
        reassembled: Reassembled,
    ) {
        let counters = &self.counters.ipv6;
        // Where the number of the present header stands, for parameter problems.
        let mut pointer = 6;
        for count in 0.. {
            let head = packet.head();
            let is_extension = matches!(
                next_header,
                extension::HOP_BY_HOP
                    | extension::ROUTING
                    | extension::FRAGMENT
                    | extension::DESTINATION
                    | extension::NONE
            );
            if !is_extension {
                break;
            }
            if next_header == extension::NONE {
                return;
            }
            let (Some(&following), Some(&len)) = (head.get(at), head.get(at + 1)) else {
                counters.in_truncated.add(1);
                return;
            };
            if count == MAX_EXTENSIONS || next_header == extension::HOP_BY_HOP && at != IPV6_HEADER_BYTES {
                counters.in_header_errors.add(1);
                return;
            }
            if next_header == extension::FRAGMENT {
                let Some(fragment) = be16(head, at + 2).zip(be32(head, at + 4)) else {
                    counters.in_truncated.add(1);
                    return;
                };
                // A fragment in what was reassembled: nobody sends that in earnest.
                if reassembled == Reassembled::Yes {
                    counters.in_header_errors.add(1);
                    return;
                }
                let (offset_and_more, identification) = fragment;
                let offset = usize::from(offset_and_more & !7);
                let is_last = offset_and_more & 1 == 0;
                if offset == 0 && is_last {
                    // An atomic fragment stands for itself (RFC 6946).
                    pointer = at;
                    next_header = following;
                    at += IPV6_FRAGMENT_HEADER_BYTES;
                    continue;
                }
                counters.reassembly_required.add(1);
                let payload_at = at + IPV6_FRAGMENT_HEADER_BYTES;
                if payload_at > packet.len() {
                    counters.in_truncated.add(1);
                    return;
                }
                let payload_bytes = packet.len() - payload_at;
                if !is_last && !payload_bytes.is_multiple_of(8) {
                    counters.in_header_errors.add(1);
                    // The payload length's field (RFC 8200, 4.5).
                    self.icmp_offence(link, frame_to, &packet, Offence::ParameterProblem { at: 4 });
                    return;
                }
                if offset == 0 && !reaches_upper_layer(following, &head[payload_at.min(head.len())..]) {
                    // RFC 7112: all headers in the first fragment, or who knows what it is?
                    counters.in_header_errors.add(1);
                    return;
                }
                let key = DatagramKey {
                    source: header.source.into(),
                    destination: header.destination.into(),
                    identification,
                    protocol: 0,
                    interface: link.index,
                };
                let mut first_header = header.bytes().to_vec();
                first_header.push(following);
                packet.trim_front(payload_at);
                let part = Part {
                    packet,
                    offset,
                    is_last,
                    header: first_header,
                    ecn: header.traffic_class & ECN_MASK,
                };
                let Some(whole) = self.reassemble(key, part) else { return };
                let Some((&following, first_header)) = whole.header.split_last() else { return };
                let Some(mut header) = Ipv6Header::parse(first_header) else { return };
                if whole.is_congested {
                    header.traffic_class |= CONGESTION_EXPERIENCED;
                }
                header.payload_bytes = whole.packet.len();
                self.extensions(link, frame_to, header, following, 0, whole.packet, Reassembled::Yes);
                return;
            }
            let extension_bytes = 8 * (usize::from(len) + 1);
            let Some(body) = head.get(at..at + extension_bytes) else {
                counters.in_truncated.add(1);
                return;
            };
            let verdict = match next_header {
                extension::ROUTING if body[3] != 0 => {
                    // We are not the end of the way, and no router either (RFC 8200, 4.4).
                    Err(Some(Offence::ParameterProblem { at: (at + 2) as u32 }))
                }
                extension::ROUTING => Ok(()),
                _ => check_extension_options(body, at, header.destination.is_multicast()),
            };
            if let Err(offence) = verdict {
                counters.in_header_errors.add(1);
                if let Some(offence) = offence
                    && reassembled == Reassembled::No
                {
                    self.icmp_offence(link, frame_to, &packet, offence);
                }
                return;
            }
            pointer = at;
            next_header = following;
            at += extension_bytes;
        }
        if at > packet.len() {
            counters.in_truncated.add(1);
            return;
        }
        packet.trim_front(at);
        let header = Ipv6Header { next_header, payload_bytes: packet.len(), ..header };
        let datagram = Datagram {
            interface: link.index,
            source: header.source.into(),
            destination: header.destination.into(),
            protocol: next_header,
            hop_limit: header.hop_limit,
            tos: header.traffic_class,
            flow_label: header.flow_label,
            header: header.bytes().into_iter().collect(),
            packet,
        };
        self.deliver(link, frame_to, datagram, reassembled, Some(pointer as u32));
    }

    /// Gives a whole datagram to whom it belongs. `pointer`: where IPv6 told its protocol.
    fn deliver(
        &self,
        link: &Interface,
        frame_to: FrameTo,
        datagram: Datagram,
        reassembled: Reassembled,
        pointer: Option<u32>,
    ) {
        let counters = self.counters.ip(datagram.source);
        match (datagram.protocol, datagram.source) {
            (protocol::ICMP, IpAddr::V4(_)) => self.input_icmp_v4(link, frame_to, &datagram),
            (protocol::ICMPV6, IpAddr::V6(_)) => {
                // RFC 6980: neighbour discovery in fragments evades those who guard the link.
                let kind = datagram.packet.head().first();
                let is_ndp = kind.is_some_and(|kind| (133..=137).contains(kind));
                if is_ndp && reassembled == Reassembled::Yes || !self.input_icmp_v6(link, frame_to, &datagram)
                {
                    return;
                }
            }
            (protocol::IGMP, IpAddr::V4(_)) => self.input_igmp(link, &datagram),
            _ => {}
        }
        let is_known = matches!(
            datagram.protocol,
            protocol::ICMP | protocol::ICMPV6 | protocol::IGMP | protocol::TCP | protocol::UDP
        );
        let Some(transport) = self.transport() else { return };
        let quoted = if is_known { None } else { icmp::quotation(&datagram) };
        match transport.deliver(datagram) {
            Claim::Claimed => counters.in_delivers.add(1),
            Claim::Unclaimed if is_known => counters.in_delivers.add(1),
            Claim::Unclaimed => {
                counters.in_unknown_protocols.add(1);
                if frame_to == FrameTo::Us
                    && let Some(quoted) = quoted
                {
                    let offence = match pointer {
                        None => Offence::ProtocolUnreachable,
                        Some(at) => Offence::UnknownNextHeader { at },
                    };
                    self.icmp_offence_quoting(link, quoted, offence);
                }
            }
        }
    }
}

/// Whose destination an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Us,
    Several,
}

/// Whether what is looked at came in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reassembled {
    Yes,
    No,
}

/// Whether IPv4's options can be read to their end, and none of them is one that hosts should not obey: source routes
/// (Linux's `accept_source_route` is off). The error says where what is wrong stands, if the sender is to be told.
fn check_options(options: &[u8]) -> Result<(), Option<usize>> {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        match kind {
            option::END => return Ok(()),
            option::NOP => at += 1,
            option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => return Err(None),
            _ => match options.get(at + 1) {
                Some(&len) if len >= 2 && at + usize::from(len) <= options.len() => at += usize::from(len),
                _ => return Err(Some(at)),
            },
        }
    }
    Ok(())
}

/// Looks at the options of a hop-by-hop or destination header, which is at `at` of the packet (RFC 8200, 4.2).
fn check_extension_options(body: &[u8], at: usize, is_multicast: bool) -> Result<(), Option<Offence>> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    const ROUTER_ALERT: u8 = 5;
    let mut offset = 2;
    while let Some(&kind) = body.get(offset) {
        if kind == PAD1 {
            offset += 1;
            continue;
        }
        let Some(&len) = body.get(offset + 1) else { return Err(None) };
        let end = offset + 2 + usize::from(len);
        if end > body.len() {
            return Err(None);
        }
        if !matches!(kind, PADN | ROUTER_ALERT) {
            // The two highest bits say what to do with one that is not known.
            let offence = Offence::UnknownOption { at: (at + offset) as u32 };
            match kind >> 6 {
                0 => {}
                1 => return Err(None),
                2 => return Err(Some(offence)),
                _ => return Err((!is_multicast).then_some(offence)),
            }
        }
        offset = end;
    }
    Ok(())
}

/// Whether the headers after a fragment header lead, within `bytes`, to one that is no extension.
fn reaches_upper_layer(mut next_header: u8, bytes: &[u8]) -> bool {
    let mut at = 0;
    for _ in 0..MAX_EXTENSIONS {
        match next_header {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                let (Some(&following), Some(&len)) = (bytes.get(at), bytes.get(at + 1)) else { return false };
                next_header = following;
                at += 8 * (usize::from(len) + 1);
            }
            extension::NONE => return true,
            // The ports, or ICMP's type and code, at least.
            _ => return bytes.len() >= at + 4,
        }
    }
    false
}
