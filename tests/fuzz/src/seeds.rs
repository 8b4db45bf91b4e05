//! Good frames of every kind, to begin with.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::mutator::fix_checksums;

/// The machine that is attacked, and the one that the frames seem to come from.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Ports on which the machine has a TCP listener and a UDP socket.
pub const TCP_PORT: u16 = 80;
pub const UDP_PORT: u16 = 53;

/// All of them, with right checksums.
pub fn all() -> Vec<Vec<u8>> {
    let mut seeds = vec![arp(1), arp(2)];
    let syn_options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    for (flags, options, payload) in [
        (0x02, &syn_options[..], &b""[..]),
        (0x10, &[][..], b""),
        (0x18, &[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1], b"GET / HTTP/1.1\r\n\r\n"),
        (0x10, &[1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0], b""),
        (0x11, &[], b""),
        (0x04, &[], b""),
        (0x14, &[], b""),
        (0x12, &syn_options, b""),
        (0x38, &[], b"urgent"),
        (0x29, &[], b""),
    ] {
        let segment = tcp(flags, options, payload);
        seeds.push(ipv4(6, 0x4000, &[], &segment));
        seeds.push(ipv6(6, &segment));
    }
    let datagram = udp(40_000, UDP_PORT, &[0x5a; 64]);
    seeds.push(ipv4(17, 0, &[], &datagram));
    seeds.push(ipv6(17, &datagram));
    seeds.push(ipv4(17, 0, &[], &udp(40_000, 9, b"to a closed port")));
    // Options: a timestamp, a source route.
    seeds.push(ipv4(17, 0, &[68, 8, 5, 0, 0, 0, 0, 0], &datagram));
    seeds.push(ipv4(17, 0, &[131, 7, 4, 10, 0, 0, 9, 0], &datagram));
    // Fragments: first, middle, last, one that overlaps, one that would end beyond 65,535.
    for field in [0x2000, 0x2003, 0x0006, 0x2002, 0x3fff_u16] {
        seeds.push(ipv4(17, field, &[], &[0x77; 24]));
        let mut fragment = vec![17, 0];
        // IPv6 has the offset three bits further up, and "more" in the lowest (RFC 8200, 4.5).
        fragment.extend(((field & 0x1fff) << 3 | field >> 13 & 1).to_be_bytes());
        fragment.extend([0, 0, 0, 7]);
        fragment.extend([0x77; 24]);
        seeds.push(ipv6(44, &fragment));
    }
    // Echo requests, and errors about packets that were perhaps sent.
    seeds.push(ipv4(1, 0, &[], &[&[8, 0, 0, 0, 0, 1, 0, 1][..], &[0x33; 40]].concat()));
    seeds.push(ipv6(58, &[&[128, 0, 0, 0, 0, 1, 0, 1][..], &[0x33; 40]].concat()));
    let quoted = ipv4_from(OWN, PEER, 6, 0x4000, &[], &reversed(&tcp(0x10, &[], b"")));
    for (kind, code) in [(3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1)] {
        seeds.push(ipv4(1, 0, &[], &[&[kind, code, 0, 0, 0, 0, 2, 0x40][..], &quoted[14..]].concat()));
    }
    let quoted = ipv6_from(OWN_V6, PEER_V6, 6, 64, &reversed(&tcp(0x10, &[], b"")));
    for (kind, code) in [(1, 4), (2, 0), (3, 0), (4, 1)] {
        seeds.push(ipv6(58, &[&[kind, code, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat()));
    }
    // Neighbour solicitation and advertisement, router advertisement with prefix, MTU, name server.
    let ndp =
        |message: &[u8], options: &[u8]| ipv6_from(PEER_V6, OWN_V6, 58, 255, &[message, options].concat());
    let own = OWN_V6.octets();
    let peer = PEER_V6.octets();
    seeds.push(ndp(&[&[135, 0, 0, 0, 0, 0, 0, 0][..], &own].concat(), &[1, 1, 2, 0, 0, 0, 0, 2]));
    seeds.push(ndp(&[&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &peer].concat(), &[2, 1, 2, 0, 0, 0, 0, 2]));
    let prefix = [&[3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0][..], &own[..8], &[0; 8]].concat();
    let mtu = [5, 1, 0, 0, 0, 0, 5, 0xdc];
    let rdnss = [&[25, 3, 0, 0, 0, 0, 14, 16][..], &peer].concat();
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let advertisement =
        [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix, &mtu, &rdnss].concat();
    seeds.push(ipv6_from(link_local, OWN_V6, 58, 255, &advertisement));
    // Hop-by-hop options before a multicast listener query, a routing header, destination options.
    let query = [&[130, 0, 0, 0, 0, 1, 0, 0][..], &[0; 20]].concat();
    seeds.push(ipv6_from(link_local, OWN_V6, 0, 1, &[&[58, 0, 5, 2, 0, 0, 1, 0][..], &query].concat()));
    seeds.push(ipv6(43, &[&[17, 2, 0, 1, 0, 0, 0, 0][..], &own, &datagram].concat()));
    seeds.push(ipv6(60, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat()));
    // IGMP queries of three versions, and a protocol that nobody speaks.
    seeds.push(ipv4(2, 0, &[148, 4, 0, 0], &[0x11, 100, 0, 0, 0, 0, 0, 0]));
    seeds.push(ipv4(2, 0, &[148, 4, 0, 0], &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
    seeds.push(ipv4(132, 0, &[], &[0; 32]));
    // A DHCP answer that nobody asked for.
    let mut dhcp = vec![2, 1, 6, 0];
    dhcp.resize(236, 0);
    dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, 10, 0, 0, 2, 1, 4, 255, 255, 255, 0, 255]);
    seeds.push(ipv4(17, 0, &[], &udp(67, 68, &dhcp)));
    seeds
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&OWN_MAC[..], &PEER_MAC, &ethertype.to_be_bytes(), payload].concat();
    fix_checksums(&mut frame);
    frame
}

fn arp(operation: u8) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, operation];
    let body = [&PEER_MAC[..], &PEER.octets(), &OWN_MAC, &OWN.octets()].concat();
    ethernet(0x806, &[&header[..], &body].concat())
}

fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4_from(PEER, OWN, protocol, fragment, options, payload)
}

fn ipv4_from(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_bytes = 20 + options.len();
    let total = (header_bytes + payload.len()) as u16;
    let mut header = vec![0x40 | (header_bytes / 4) as u8, 0];
    header.extend(total.to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    ethernet(0x800, &[&header, options, payload].concat())
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_from(PEER_V6, OWN_V6, next, 64, payload)
}

fn ipv6_from(from: Ipv6Addr, to: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, hops]);
    header.extend(from.octets());
    header.extend(to.octets());
    ethernet(0x86dd, &[&header[..], payload].concat())
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = 40_000_u16.to_be_bytes().to_vec();
    segment.extend(TCP_PORT.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    segment.extend([(((20 + options.len()) / 4) << 4) as u8, flags, 0xff, 0xff, 0, 0, 0, 1]);
    [&segment, options, payload].concat()
}

/// The same segment in the other direction.
fn reversed(segment: &[u8]) -> Vec<u8> {
    [&segment[2..4], &segment[..2], &segment[4..]].concat()
}
