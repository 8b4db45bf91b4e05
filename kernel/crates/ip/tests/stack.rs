//! Several stacks on a simulated Ethernet.

mod ethernet;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering,
};

use ethernet::{Net, SECOND_NS, bytes_of};
use ip::{
    AddressKind, FilterMode, IcmpErrorKind, InterfaceConfig, Ipv4Config, Ipv6Config, NeighbourState,
    OutputOptions, PathMtuDiscovery, RouteKind, SourceFilter, protocol,
};
use linux_abi::Errno;
use packet::Offloads;

fn v4(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn static_v4(last: u8) -> InterfaceConfig {
    InterfaceConfig {
        ipv4: Ipv4Config::Static {
            addresses: vec![(Ipv4Addr::new(10, 0, 0, last), 24)],
            gateways: vec![Ipv4Addr::new(10, 0, 0, 254)],
        },
        ..InterfaceConfig::default()
    }
}

/// Hosts 10.0.0.1 and so on.
fn net(hosts: u8, mtu: u32) -> Net {
    let mut net = Net::new();
    for index in 0..hosts {
        let host = net.add_host(mtu, Offloads::empty());
        net.hosts[host].stack.configure(2, static_v4(index + 1)).unwrap();
    }
    net.pass(2.0);
    net
}

fn udp(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 256) as u8).collect()
}

#[test]
fn neighbours_are_found_and_datagrams_arrive() {
    let mut net = net(3, 1500);
    let data = udp(100);
    let options = OutputOptions::new(protocol::UDP);
    net.hosts[0].send(v4(2), options, &data).unwrap();
    net.hosts[0].send(v4(2), options, &data).unwrap();
    net.settle();
    assert_eq!(net.hosts[1].datagrams(17), [(v4(1), data.clone()), (v4(1), data)]);
    assert!(net.hosts[2].datagrams(17).is_empty());
    let [neighbour] = net.hosts[0].stack.neighbours().try_into().unwrap();
    assert_eq!(neighbour.hardware_address, Some(net.hosts[1].mac));
    assert_eq!(neighbour.state, NeighbourState::Reachable);
    // He who was asked has learnt who asked, but not proved it.
    let [neighbour] = net.hosts[1].stack.neighbours().try_into().unwrap();
    assert_eq!(neighbour.hardware_address, Some(net.hosts[0].mac));
    assert_eq!(neighbour.state, NeighbourState::Stale);
}

#[test]
fn both_families_carry_what_must_be_fragmented() {
    let mut net = net(2, 1500);
    let link_local = net.hosts[1].address_v6(Ipv6Addr::is_unicast_link_local).unwrap();
    for len in [1, 1472, 1481, 2000, 8000, 60_000, 65_000] {
        for to in [v4(2), link_local.into()] {
            let data = udp(len);
            net.hosts[0].send(to, OutputOptions::new(protocol::UDP), &data).unwrap();
            net.settle();
            let mut datagrams = net.hosts[1].upper.datagrams.lock().unwrap();
            let got = datagrams.iter().find(|datagram| datagram.protocol == 17).expect("nothing came");
            assert_eq!(got.destination, to);
            assert_eq!(bytes_of(&got.packet), data);
            datagrams.clear();
        }
    }
    let counters = net.hosts[1].stack.ipv4_counters();
    assert_eq!(counters.reassembled, 5);
    assert_eq!(counters.reassembly_failures, 0);
}

#[test]
fn too_large_packets_are_refused_where_they_must_not_be_cut() {
    let net = net(2, 1500);
    for path_mtu_discovery in [PathMtuDiscovery::Do, PathMtuDiscovery::Probe] {
        let options = OutputOptions { path_mtu_discovery, ..OutputOptions::new(protocol::UDP) };
        assert_eq!(net.hosts[0].send(v4(2), options, &udp(1480)), Ok(()));
        assert_eq!(net.hosts[0].send(v4(2), options, &udp(1481)), Err(Errno::EMSGSIZE));
    }
    let options = OutputOptions::new(protocol::UDP);
    assert_eq!(net.hosts[0].send(v4(2), options, &udp(65_516)), Err(Errno::EMSGSIZE));
}

#[test]
fn fragments_are_no_larger_than_asked() {
    let mut net = net(2, 1500);
    let to: IpAddr = net.hosts[1].address_v6(Ipv6Addr::is_unicast_link_local).unwrap().into();
    let options = OutputOptions { most_bytes: Some(1280), ..OutputOptions::new(protocol::UDP) };
    // What the link takes whole, and what it does not.
    for (len, fragments) in [(1400, 0), (3000, 3)] {
        let data = udp(len);
        let before = net.hosts[0].stack.ipv6_counters().fragments_created;
        net.log.clear();
        net.hosts[0].send(to, options, &data).unwrap();
        net.settle();
        assert_eq!(net.hosts[0].stack.ipv6_counters().fragments_created - before, fragments);
        let got: Vec<_> = net.hosts[1].datagrams(protocol::UDP).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(got, [data]);
        net.hosts[1].upper.datagrams.lock().unwrap().clear();
        let most = net.log.iter().map(|frame| frame.len()).max();
        assert_eq!(most, Some(14 + if fragments > 0 { 1280 } else { 1440 }));
    }
    let options = OutputOptions { path_mtu_discovery: PathMtuDiscovery::Do, ..options };
    assert_eq!(net.hosts[0].send(to, options, &udp(1240)), Ok(()));
    assert_eq!(net.hosts[0].send(to, options, &udp(1241)), Err(Errno::EMSGSIZE));
}

#[test]
fn a_neighbour_that_is_not_there_is_reported() {
    let mut net = net(1, 1500);
    net.hosts[0].send(v4(77), OutputOptions::new(protocol::UDP), &udp(30)).unwrap();
    net.pass(4.0);
    let errors = net.hosts[0].upper.errors.lock().unwrap();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(error.destination, v4(77));
    assert_eq!(error.kind, IcmpErrorKind::Unreachable { errno: Errno::EHOSTUNREACH, fatal: false });
    assert_eq!(error.quoted[..8], udp(30)[..8]);
    let requests = net.log.iter().filter(|frame| frame[12..14] == [8, 6] && frame[41] == 77).count();
    assert_eq!(requests, 3);
}

#[test]
fn echo_is_answered_by_both_families() {
    let mut net = net(2, 1500);
    let link_local = net.hosts[1].address_v6(Ipv6Addr::is_unicast_link_local).unwrap();
    for (to, proto, kind) in [(v4(2), protocol::ICMP, 8), (link_local.into(), protocol::ICMPV6, 128)] {
        for len in [8, 64, 5000] {
            net.hosts[0].upper.datagrams.lock().unwrap().clear();
            let mut request = udp(len);
            request[..8].copy_from_slice(&[kind, 0, 0, 0, 0x12, 0x34, 0, 1]);
            let route = net.hosts[0].stack.route(to, None, Some(2)).unwrap();
            let sum = ones_sum(&request)
                + if proto == protocol::ICMPV6 { pseudo_sum(route.source, to, 58, len) } else { 0 };
            request[2..4].copy_from_slice(&(!fold(sum)).to_be_bytes());
            net.hosts[0].send(to, OutputOptions::new(proto), &request).unwrap();
            net.settle();
            let got = net.hosts[0].datagrams(proto);
            let reply = got.iter().find(|(_, bytes)| bytes[0] == if kind == 8 { 0 } else { 129 });
            let (from, reply) = reply.expect("no reply");
            assert_eq!(*from, to);
            assert_eq!(reply[4..], request[4..]);
            let sum = ones_sum(reply)
                + if proto == protocol::ICMPV6 { pseudo_sum(to, route.source, 58, len) } else { 0 };
            assert_eq!(fold(sum), 0xffff);
        }
    }
}

fn ones_sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn pseudo_sum(a: IpAddr, b: IpAddr, proto: u64, len: usize) -> u64 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    ones_sum(&octets(a)) + ones_sum(&octets(b)) + proto + len as u64
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[test]
fn routes_say_what_linux_says() {
    let net = net(1, 1500);
    let stack = &net.hosts[0].stack;
    let route = |to: &str| stack.route(to.parse().unwrap(), None, None);
    let next = |to: &str| {
        let route = route(to).unwrap();
        (route.interface, route.next_hop.to_string(), route.source.to_string(), route.kind)
    };
    let own = || "10.0.0.1".to_string();
    assert_eq!(next("10.0.0.9"), (2, "10.0.0.9".into(), own(), RouteKind::Unicast));
    assert_eq!(next("8.8.8.8"), (2, "10.0.0.254".into(), own(), RouteKind::Unicast));
    assert_eq!(next("127.5.6.7"), (1, "127.5.6.7".into(), "127.5.6.7".into(), RouteKind::Local));
    assert_eq!(next("10.0.0.1"), (1, own(), own(), RouteKind::Local));
    assert_eq!(next("0.0.0.0"), (1, "127.0.0.1".into(), "127.0.0.1".into(), RouteKind::Local));
    assert_eq!(next("10.0.0.255"), (2, "10.0.0.255".into(), own(), RouteKind::Broadcast));
    assert_eq!(next("255.255.255.255"), (2, "255.255.255.255".into(), own(), RouteKind::Broadcast));
    assert_eq!(next("239.1.2.3"), (2, "239.1.2.3".into(), own(), RouteKind::Multicast));
    assert_eq!(next("::1"), (1, "::1".into(), "::1".into(), RouteKind::Local));
    assert_eq!(route("2001:db8::1").unwrap_err(), Errno::ENETUNREACH);
    assert_eq!(route("fe80::77").unwrap_err(), Errno::EINVAL);
    assert_eq!(stack.route(v4(2), Some(v4(3)), None).unwrap_err(), Errno::EINVAL);
    assert_eq!(stack.route(v4(2), Some(Ipv6Addr::LOCALHOST.into()), None).unwrap_err(), Errno::EINVAL);
    assert_eq!(stack.route(v4(2), None, Some(9)).unwrap_err(), Errno::ENODEV);
    assert_eq!(stack.route(v4(2), Some([127, 0, 0, 1].into()), None).unwrap_err(), Errno::EINVAL);
    let kind = |address: &str| stack.address_kind(address.parse().unwrap(), None);
    assert_eq!(kind("127.9.9.9"), AddressKind::Local);
    assert_eq!(kind("10.0.0.255"), AddressKind::Broadcast);
    assert_eq!(kind("10.0.0.2"), AddressKind::Remote);
    assert_eq!(kind("::"), AddressKind::Unspecified);
    let route = stack.route(v4(9), None, None).unwrap();
    assert!(route.is_current());
    stack.configure(2, static_v4(4)).unwrap();
    assert!(!route.is_current());
    let bad = InterfaceConfig {
        ipv4: Ipv4Config::Static {
            addresses: vec![([10, 0, 0, 1].into(), 24)],
            gateways: vec![[10, 0, 1, 1].into()],
        },
        ..InterfaceConfig::default()
    };
    assert_eq!(stack.configure(2, bad), Err(Errno::EINVAL));
}

#[test]
fn two_machines_with_one_address_both_refrain() {
    let mut net = Net::new();
    let config = InterfaceConfig {
        ipv6: Ipv6Config { addresses: vec![("2001:db8::5".parse().unwrap(), 64)], ..Ipv6Config::default() },
        ..InterfaceConfig::default()
    };
    for _ in 0..2 {
        let host = net.add_host(1500, Offloads::empty());
        net.hosts[host].stack.configure(2, config.clone()).unwrap();
        net.pass(3.0);
    }
    let kind = |host: usize| net.hosts[host].stack.address_kind("2001:db8::5".parse().unwrap(), None);
    assert_eq!(kind(0), AddressKind::Local);
    assert_eq!(kind(1), AddressKind::Tentative);
}

#[test]
fn groups_reach_their_members_only() {
    let mut net = net(3, 1500);
    let group = IpAddr::from([239, 1, 2, 3]);
    let group6: IpAddr = "ff05::77".parse().unwrap();
    for group in [group, group6] {
        for host in [0, 1] {
            net.hosts[host].stack.set_membership(2, group, 1, Some(SourceFilter::ANY)).unwrap();
        }
        net.settle();
        net.hosts[0].send(group, OutputOptions::new(protocol::UDP), &udp(20)).unwrap();
        net.settle();
        // The sender hears itself, too.
        for (host, count) in [(0, 1), (1, 1), (2, 0)] {
            assert_eq!(net.hosts[host].datagrams(17).len(), count, "{group} at {host}");
            net.hosts[host].upper.datagrams.lock().unwrap().clear();
        }
        net.hosts[1].stack.set_membership(2, group, 1, None).unwrap();
        net.settle();
        net.hosts[0].send(group, OutputOptions::new(protocol::UDP), &udp(20)).unwrap();
        net.settle();
        assert_eq!(net.hosts[1].datagrams(17).len(), 0);
        net.hosts[0].upper.datagrams.lock().unwrap().clear();
    }
    // IGMPv3 and MLDv2 reports went out.
    assert!(net.log.iter().any(|frame| frame[..6] == [1, 0, 0x5e, 0, 0, 22] && frame[38] == 0x22));
    assert!(net.log.iter().any(|frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 0x16] && frame[62] == 143));
    let only = SourceFilter { mode: FilterMode::Include, sources: vec![v4(1); 65] };
    assert_eq!(net.hosts[0].stack.set_membership(2, group, 1, Some(only)), Err(Errno::ENOBUFS));
}

#[test]
fn broadcasts_reach_all_and_are_not_answered() {
    let mut net = net(3, 1500);
    net.hosts[0].send(v4(255), OutputOptions::new(protocol::UDP), &udp(20)).unwrap();
    net.hosts[0].send(v4(255), OutputOptions::new(200), &udp(20)).unwrap();
    net.settle();
    for host in &net.hosts {
        assert_eq!(host.datagrams(17).len(), 1);
        assert!(host.upper.errors.lock().unwrap().is_empty());
    }
}

#[test]
fn an_unknown_protocol_is_told() {
    let mut net = net(2, 1500);
    let link_local = net.hosts[1].address_v6(Ipv6Addr::is_unicast_link_local).unwrap();
    net.hosts[0].send(v4(2), OutputOptions::new(200), &udp(20)).unwrap();
    net.hosts[0].send(link_local.into(), OutputOptions::new(200), &udp(20)).unwrap();
    net.settle();
    let errors = net.hosts[0].upper.errors.lock().unwrap();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0].kind, IcmpErrorKind::Unreachable { errno: Errno::ENOPROTOOPT, fatal: true });
    assert_eq!(errors[1].kind, IcmpErrorKind::ParameterProblem);
    assert!(errors.iter().all(|error| error.protocol == 200 && error.quoted == udp(20)));
}

#[test]
fn closed_ports_are_told_but_not_without_end() {
    let mut net = net(2, 1500);
    for _ in 0..50 {
        net.hosts[0].send(v4(2), OutputOptions::new(protocol::UDP), &udp(20)).unwrap();
    }
    net.settle();
    let datagrams = std::mem::take(&mut *net.hosts[1].upper.datagrams.lock().unwrap());
    assert_eq!(datagrams.len(), 50);
    for datagram in datagrams {
        net.hosts[1].stack.port_unreachable(&datagram);
    }
    net.settle();
    let errors = net.hosts[0].upper.errors.lock().unwrap();
    assert_eq!(errors.len(), 6);
    assert_eq!(errors[0].kind, IcmpErrorKind::Unreachable { errno: Errno::ECONNREFUSED, fatal: true });
}

#[test]
fn a_path_mtu_is_kept_for_a_while() {
    let mut net = net(1, 1500);
    let stack = net.hosts[0].stack.clone();
    let to = IpAddr::from([8, 8, 8, 8]);
    let route = stack.route(to, None, None).unwrap();
    stack.update_path_mtu(&route, to, 1200);
    assert!(!route.is_current());
    assert_eq!(stack.route(to, None, None).unwrap().mtu, 1200);
    assert_eq!(stack.route(v4(2), None, None).unwrap().mtu, 1500);
    net.now_ns.fetch_add(601 * SECOND_NS, Ordering::Relaxed);
    net.settle();
    assert_eq!(stack.route(to, None, None).unwrap().mtu, 1500);
}

#[test]
fn the_loopback_carries_both_families_whole() {
    let mut net = net(1, 1500);
    for to in [IpAddr::from([127, 0, 0, 1]), v4(1), Ipv6Addr::LOCALHOST.into()] {
        net.hosts[0].send(to, OutputOptions::new(protocol::UDP), &udp(60_000)).unwrap();
        net.settle();
        let got = net.hosts[0].datagrams(17);
        net.hosts[0].upper.datagrams.lock().unwrap().clear();
        assert_eq!(got.len(), 1, "{to}");
        assert_eq!(got[0].1, udp(60_000));
    }
    assert_eq!(net.hosts[0].stack.ipv4_counters().fragments_created, 0);
}

#[test]
fn what_a_link_cannot_cut_is_cut_here() {
    use packet::{Checksum, Segmentation, SegmentationKind};

    let mut net = net(2, 1500);
    // A TCP segment of 20 bytes of header and 3000 of payload, PSH and CWR set, of which the peer takes 1000 at once.
    let mut bytes = udp(3020);
    bytes[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    bytes[12..14].copy_from_slice(&[0x50, 0x98]);
    let route = net.hosts[0].stack.route(v4(2), None, None).unwrap();
    let mut packet = ethernet::outgoing(&bytes);
    packet.checksum = Checksum::Partial { start: 0, offset: 16 };
    packet.segmentation =
        Some(Segmentation { kind: SegmentationKind::Tcp4, segment_bytes: 1000, header_bytes: 20 });
    let options = OutputOptions::new(protocol::TCP);
    net.hosts[0].stack.output(&route, route.source, v4(2), options, &mut vec![packet]).unwrap();
    net.settle();
    let segments = net.hosts[1].datagrams(6);
    assert_eq!(segments.len(), 3);
    for (index, (_, segment)) in segments.iter().enumerate() {
        assert_eq!(segment[20..], bytes[20 + 1000 * index..][..1000]);
        let sequence = u32::from_be_bytes(segment[4..8].try_into().unwrap());
        assert_eq!(sequence, u32::MAX.wrapping_add(1000 * index as u32));
        assert_eq!(segment[13], [0x90, 0x10, 0x18][index]);
        assert_eq!(fold(ones_sum(segment) + pseudo_sum(v4(1), v4(2), 6, 1020)), 0xffff);
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_left_for_one_that_does() {
    let mut net = net(3, 1500);
    let config = InterfaceConfig {
        ipv4: Ipv4Config::Static {
            addresses: vec![([10, 0, 0, 1].into(), 24)],
            gateways: vec![[10, 0, 0, 99].into(), [10, 0, 0, 2].into()],
        },
        ..InterfaceConfig::default()
    };
    let stack = net.hosts[0].stack.clone();
    stack.configure(2, config).unwrap();
    let to = IpAddr::from([8, 8, 8, 8]);
    let route = stack.route(to, None, None).unwrap();
    assert_eq!(route.next_hop, v4(99));
    net.hosts[0].send(to, OutputOptions::new(protocol::UDP), &udp(9)).unwrap();
    net.pass(4.0);
    assert!(!route.is_current());
    assert_eq!(stack.route(to, None, None).unwrap().next_hop, v4(2));
}

#[test]
fn proc_net_shows_routes_and_neighbours_in_the_form_of_linux() {
    let mut net = net(2, 1500);
    net.hosts[0].send(v4(2), OutputOptions::new(protocol::UDP), &udp(20)).unwrap();
    net.settle();
    let stack = &net.hosts[0].stack;
    let route = stack.proc_route();
    let lines: Vec<_> = route.lines().map(str::trim_end).collect();
    assert!(lines.contains(&"eth0\t00000000\tFE00000A\t0003\t0\t0\t0\t00000000\t0\t0\t0"), "{route}");
    assert!(lines.contains(&"eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"), "{route}");
    assert!(route.lines().all(|line| line.len() == 127));
    let arp = "10.0.0.2         0x1         0x2         02:00:00:00:00:02     *        eth0";
    assert_eq!(stack.proc_arp().lines().nth(1), Some(arp));
    assert!(stack.proc_if_inet6().contains("fe80000000000000000000fffe000001 02 40 20 80     eth0\n"));
    let snmp = stack.proc_snmp();
    for pair in snmp.lines().collect::<Vec<_>>().chunks(2) {
        assert_eq!(pair[0].split(' ').count(), pair[1].split(' ').count(), "{pair:?}");
    }
}
