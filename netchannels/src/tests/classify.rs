//! The classifier against a parse through smoltcp's wire formats.

use core::net::{IpAddr, SocketAddr};

use frames::PageRef;
use packet::{Fragment, MacAddress, Packet};
use proptest::prelude::*;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};

use crate::{Arrival, Classified, FlowKey, Framing, Headers, Transport, classify};

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// Whose it is and what it brings, and its IP packet without what surrounds it, if it is a common packet.
fn reference(bytes: &[u8], framing: Framing) -> Option<(FlowKey, Arrival, &[u8])> {
    let (ip, protocol) = match framing {
        Framing::Ip => (bytes, None),
        Framing::Ethernet(own) => {
            let frame = EthernetFrame::new_checked(bytes).ok()?;
            if frame.dst_addr().0 != own.0 {
                return None;
            }
            (&bytes[14..], Some(frame.ethertype()))
        }
    };
    let version = ip.first()? >> 4;
    match protocol {
        None => {}
        Some(EthernetProtocol::Ipv4) if version == 4 => {}
        Some(EthernetProtocol::Ipv6) if version == 6 => {}
        Some(_) => return None,
    }
    let (source, destination, next, payload, whole): (IpAddr, IpAddr, _, &[u8], _) = if version == 4 {
        let packet = Ipv4Packet::new_checked(ip).ok()?;
        let flags = packet.more_frags() || packet.frag_offset() != 0 || ip[6] & 0x80 != 0;
        if packet.header_len() != 20 || flags || !packet.verify_checksum() {
            return None;
        }
        let whole = &ip[..usize::from(packet.total_len())];
        (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload(), whole)
    } else if version == 6 {
        let packet = Ipv6Packet::new_checked(ip).ok()?;
        if packet.payload_len() == 0 || packet.total_len() > 0xffff {
            return None;
        }
        let whole = &ip[..packet.total_len()];
        (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload(), whole)
    } else {
        return None;
    };
    let loopback_only = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    };
    let nobody = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 0 || address.octets()[0] >= 0xe0,
        IpAddr::V6(address) => {
            // ::/96 without the loopback, ::ffff:0:0/96, ff00::/8.
            let bits = address.to_bits();
            address.is_multicast() || (bits >> 32 == 0 && bits != 1) || bits >> 32 == 0xffff
        }
    };
    if [source, destination]
        .iter()
        .any(|&address| nobody(address) || (loopback_only(address) && framing != Framing::Ip))
    {
        return None;
    }
    let (transport, ports, arrival) = match next {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(payload).ok()?;
            let mut arrival = Arrival::empty();
            arrival.set(Arrival::DATA, !segment.payload().is_empty());
            arrival.set(Arrival::CONTROL, segment.syn() || segment.fin() || segment.rst());
            (Transport::Tcp, (segment.src_port(), segment.dst_port()), arrival)
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(payload).ok()?;
            if usize::from(datagram.len()) != payload.len() {
                return None;
            }
            (Transport::Udp, (datagram.src_port(), datagram.dst_port()), Arrival::DATA)
        }
        _ => return None,
    };
    if ports.0 == 0 || ports.1 == 0 {
        return None;
    }
    let (remote, local) = (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1));
    Some((FlowKey::connection(transport, local, remote), arrival, whole))
}

/// A packet of these bytes, of which so many are in the head.
fn packet(bytes: &[u8], in_head: usize) -> Packet {
    let (head, body) = bytes.split_at(in_head.min(bytes.len()).min(packet::HEAD_BYTES));
    let mut packet = Packet::from_head(head);
    if !body.is_empty() {
        frames::host::init();
        let page = PageRef::new_zeroed().unwrap();
        page.write(0, body);
        packet.push(Fragment::new(page, 0, body.len())).unwrap();
    }
    packet
}

/// A packet that is nearly as it should be, most of the time.
fn frame() -> impl Strategy<Value = (Vec<u8>, Framing)> {
    let framing = prop_oneof![Just(Framing::Ip), Just(Framing::Ethernet(OWN))];
    let address4 = prop_oneof![
        4 => any::<[u8; 4]>().boxed(),
        1 => Just([127, 0, 0, 1]).boxed(),
        1 => Just([0; 4]).boxed(),
        1 => Just([255; 4]).boxed(),
        1 => Just([224, 0, 0, 251]).boxed(),
    ];
    let address6 = prop_oneof![
        4 => any::<[u8; 16]>(),
        1 => any::<[u8; 4]>().prop_map(|tail| std::array::from_fn(|i| if i < 12 { 0 } else { tail[i - 12] })),
        1 => any::<[u8; 4]>().prop_map(|tail| match tail {
            [a, b, c, d] => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d],
        }),
        1 => Just(std::net::Ipv6Addr::LOCALHOST.octets()),
        1 => Just([255; 16]),
    ];
    let network = prop_oneof![
        (address4.clone(), address4, any::<u8>(), any::<u8>()).prop_map(|(source, destination, tos, ttl)| {
            let mut header = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, ttl, 0, 0, 0];
            header.extend(source);
            header.extend(destination);
            header
        }),
        (address6.clone(), address6, any::<u8>()).prop_map(|(source, destination, hops)| {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, 0, hops];
            header.extend(source);
            header.extend(destination);
            header
        }),
    ];
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    let transport = prop_oneof![
        (any::<[u8; 20]>(), payload.clone(), 4_u8..16).prop_map(|(mut header, payload, words)| {
            header[12] = (header[12] & 0xf) | words << 4;
            (6_u8, [&header[..], &payload].concat())
        }),
        (any::<[u8; 4]>(), payload.clone()).prop_map(|(ports, payload)| {
            let len = (8 + payload.len() as u16).to_be_bytes();
            (17, [&ports[..], &len, &[0, 0], &payload].concat())
        }),
        (any::<u8>(), payload),
    ];
    // Padding, how much is cut off, and a byte that is changed before checksums are made, or after.
    let harm = (
        prop_oneof![4 => Just(0_usize), 1 => 0..50_usize],
        prop_oneof![4 => Just(0_usize), 1 => 0..100_usize],
        prop_oneof![2 => Just(None), 2 => any::<(u8, u8)>().prop_map(Some)],
        any::<bool>(),
    );
    (framing, network, transport, harm).prop_map(|(framing, mut ip, (protocol, transport), harm)| {
        let (padding, cut, change, after_checksum) = harm;
        let is_ipv4 = ip[0] >> 4 == 4;
        if is_ipv4 {
            let len = (ip.len() + transport.len()) as u16;
            ip[2..4].copy_from_slice(&len.to_be_bytes());
            ip[9] = protocol;
        } else {
            ip[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
            ip[6] = protocol;
        }
        ip.extend(transport);
        let change_of = |ip: &mut Vec<u8>| {
            if let Some((place, value)) = change {
                let place = usize::from(place) % ip.len().min(64);
                ip[place] = value;
            }
        };
        if !after_checksum {
            change_of(&mut ip);
        }
        if is_ipv4 && let Ok(mut packet) = Ipv4Packet::new_checked(&mut ip[..]) {
            packet.fill_checksum();
        }
        if after_checksum {
            change_of(&mut ip);
        }
        ip.truncate(ip.len() - cut.min(ip.len()));
        ip.resize(ip.len() + padding, 0);
        let bytes = match framing {
            Framing::Ip => ip,
            Framing::Ethernet(own) => {
                let ethertype = if is_ipv4 { [8, 0] } else { [0x86, 0xdd] };
                [&own.0[..], &[2, 0, 0, 0, 0, 2], &ethertype, &ip].concat()
            }
        };
        (bytes, framing)
    })
}

fn check(bytes: &[u8], framing: Framing, in_head: usize) -> Result<(), TestCaseError> {
    let mut packet = packet(bytes, in_head);
    let expected = reference(bytes, framing);
    match classify(&packet, framing) {
        Classified::Flow(flow) => {
            let (key, arrival, whole) = expected.expect("smoltcp would not have it");
            prop_assert_eq!(flow.key, key);
            prop_assert_eq!(flow.arrival, arrival);
            flow.strip(&mut packet);
            let mut stripped = vec![0; packet.len()];
            packet.read(0, &mut stripped);
            prop_assert_eq!(&stripped[..], whole);
            let headers = Headers::of(&packet).unwrap();
            prop_assert_eq!(headers.destination, key.local().ip());
            prop_assert_eq!(headers.source, key.remote().unwrap().ip());
            let (class, hops) = if whole[0] >> 4 == 4 {
                (whole[1], whole[8])
            } else {
                (Ipv6Packet::new_checked(whole).unwrap().traffic_class(), whole[7])
            };
            prop_assert_eq!((headers.traffic_class, headers.hop_limit), (class, hops));
        }
        // With headers that do not lie in the head, the slow path has it, however good they are.
        Classified::Slow(reason) if in_head >= packet::HEAD_BYTES => {
            prop_assert!(expected.is_none(), "{reason:?}: {expected:?}");
        }
        Classified::Slow(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn says_what_smoltcp_says((bytes, framing) in frame()) {
        check(&bytes, framing, packet::HEAD_BYTES)?;
    }

    #[test]
    fn never_looks_beyond_the_head((bytes, framing) in frame(), in_head in 0..packet::HEAD_BYTES) {
        check(&bytes, framing, in_head)?;
    }

    #[test]
    fn any_bytes_do(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes, Framing::Ip, packet::HEAD_BYTES)?;
        check(&bytes, Framing::Ethernet(OWN), packet::HEAD_BYTES)?;
    }
}
