//! Frames that nobody honest sends: nothing panics, nothing grows without bound, and the stack still answers.

mod ethernet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ethernet::{Net, received};
use ip::{InterfaceConfig, Ipv4Config, OutputOptions, protocol};
use packet::Offloads;
use proptest::prelude::*;

fn net() -> Net {
    let mut net = Net::new();
    for last in [1, 2] {
        let host = net.add_host(1500, Offloads::empty());
        let config = InterfaceConfig {
            ipv4: Ipv4Config::Static {
                addresses: vec![(Ipv4Addr::new(10, 0, 0, last), 24)],
                gateways: vec![],
            },
            ..InterfaceConfig::default()
        };
        net.hosts[host].stack.configure(2, config).unwrap();
    }
    net.pass(1.5);
    net
}

/// A frame for the first host whose headers are mostly right, so that what is wrong is found late.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let to_host = prop_oneof![
        Just([2, 0, 0, 0, 0, 1]),
        Just([0xff; 6]),
        Just([0x33, 0x33, 0, 0, 0, 1]),
        Just([0x33, 0x33, 0xff, 0, 0, 1]),
    ];
    let body = proptest::collection::vec(any::<u8>(), 0..1500);
    let fields = (any::<u16>(), any::<u8>(), any::<u8>(), any::<bool>());
    let header = (
        0..4_u8,
        prop_oneof![
            Just(1_u8),
            Just(2),
            Just(17),
            Just(58),
            Just(0),
            Just(43),
            Just(44),
            Just(60),
            any::<u8>()
        ],
        prop_oneof![3 => Just(0_u16), 1 => any::<u16>()],
        any::<u8>(),
    );
    (to_host, header, fields, body, any::<bool>()).prop_map(
        |(mac, (shape, next, fragment, last), (id, tos, ttl, short), mut body, is_link)| {
            let mut frame = mac.to_vec();
            frame.extend([2, 0, 0, 0, 0, 0x77]);
            match shape {
                0 => {
                    frame.extend([8, 6, 0, 1, 8, 0, 6, 4]);
                    frame.extend(body.iter().take(20));
                }
                1 => {
                    frame.extend([8, 0]);
                    let total = 20 + body.len() as u16 - u16::from(short && !body.is_empty());
                    let mut ip = vec![0x45, tos, 0, 0];
                    ip[2..4].copy_from_slice(&total.to_be_bytes());
                    ip.extend(id.to_be_bytes());
                    ip.extend(fragment.to_be_bytes());
                    ip.extend([ttl, next, 0, 0, 10, 0, 0, last, 10, 0, 0, 1]);
                    let sum =
                        ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
                    let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
                    ip[10..12].copy_from_slice(&sum.to_be_bytes());
                    frame.extend(ip);
                    frame.extend(&body);
                }
                _ => {
                    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                    frame.extend((body.len() as u16).to_be_bytes());
                    frame.extend([next, if is_link { 255 } else { 1 }]);
                    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into());
                    let own: Ipv6Addr = "fe80::ff:fe00:1".parse().unwrap();
                    let destination = match mac[5] {
                        1 if mac[0] == 2 => own,
                        _ if mac[2] == 0xff => "ff02::1:ff00:1".parse().unwrap(),
                        _ => "ff02::1".parse().unwrap(),
                    };
                    if next == 58 && body.len() > 4 {
                        body[0] =
                            [1, 2, 3, 4, 128, 130, 131, 133, 134, 135, 136, 143][usize::from(body[0]) % 12];
                        body[1] = 0;
                        body[2..4].fill(0);
                        let mut sum = 58 + body.len() as u64;
                        let octets = [source.octets(), destination.octets()].concat();
                        for pair in octets.chunks(2).chain(body.chunks(2)) {
                            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
                        }
                        while sum > 0xffff {
                            sum = (sum >> 16) + (sum & 0xffff);
                        }
                        body[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
                    }
                    frame.extend(source.octets());
                    frame.extend(destination.octets());
                    frame.extend(&body);
                }
            }
            frame
        },
    )
}

fn still_answers(net: &mut Net) {
    net.pass(0.2);
    net.hosts[1].upper.datagrams.lock().unwrap().clear();
    let mut request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    request[2..4].copy_from_slice(&(!0x0800_u16).to_be_bytes());
    let to = IpAddr::from([10, 0, 0, 1]);
    net.hosts[1].send(to, OutputOptions::new(protocol::ICMP), &request).unwrap();
    net.settle();
    let got = net.hosts[1].datagrams(protocol::ICMP);
    assert!(got.iter().any(|(from, bytes)| *from == to && bytes[0] == 0), "no reply");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_frames_stop_the_stack(
        noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..40),
        frames in proptest::collection::vec(plausible(), 0..120),
    ) {
        let mut net = net();
        for frame in noise.iter().chain(&frames) {
            net.hosts[0].stack.input(2, received(frame));
            net.hosts[0].stack.input(1, received(frame.get(14..).unwrap_or_default()));
        }
        net.pass(0.3);
        // Whatever the frames said, at most they took the second host's place among the neighbours for a while.
        net.pass(12.0);
        still_answers(&mut net);
        let stack = &net.hosts[0].stack;
        prop_assert!(stack.neighbours().len() <= 1024);
        prop_assert!(stack.routes().len() < 300);
        prop_assert!(stack.interfaces().iter().all(|interface| interface.addresses.len() <= 64));
    }
}

#[test]
fn a_flood_of_senders_does_not_push_neighbours_out_of_their_bounds() {
    let mut net = net();
    let stack = net.hosts[0].stack.clone();
    // More echo requests from forged senders of the link than there are neighbours: a /8 would be one link.
    let config = InterfaceConfig {
        ipv4: Ipv4Config::Static { addresses: vec![(Ipv4Addr::new(10, 0, 0, 1), 8)], gateways: vec![] },
        ..InterfaceConfig::default()
    };
    stack.configure(2, config).unwrap();
    for n in 0..5_000_u16 {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x77, 8, 0];
        let [a, b] = n.to_be_bytes();
        let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 7, a, b, 10, 0, 0, 1];
        let sum = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
        let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame.extend([8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
        stack.input(2, received(&frame));
    }
    assert!(stack.neighbours().len() <= 1024);
    still_answers(&mut net);
}
