//! What routers and DHCP servers, made by hand, do to a stack.

mod ethernet;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::Ordering,
};

use ethernet::{Net, SECOND_NS};
use ip::{
    AddressFlags, Change, InterfaceConfig, InterfaceIdentifiers, Ipv4Config, Ipv6Config, RouteOrigin,
    RouteTable,
};
use packet::Offloads;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr,
    NdiscRouterFlags,
};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const ROUTER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0x99]);

/// A frame with a message of ICMPv6 around which everything is right.
fn frame(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
    let ethernet = EthernetRepr {
        src_addr: ROUTER_MAC,
        dst_addr: EthernetAddress([0x33, 0x33, 0, 0, 0, 1]),
        ethertype: EthernetProtocol::Ipv6,
    };
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.len(),
        hop_limit,
    };
    let mut bytes = vec![0; 54 + message.len()];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[14..]));
    bytes[54..].copy_from_slice(message);
    Icmpv6Packet::new_unchecked(&mut bytes[54..]).fill_checksum(&source, &destination);
    bytes
}

struct Told {
    router_lifetime_s: u64,
    valid_s: u64,
    preferred_s: u64,
    /// More options.
    tail: Vec<u8>,
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn advertisement(told: &Told) -> Vec<u8> {
    let seconds = smoltcp::time::Duration::from_secs;
    let repr = NdiscRepr::RouterAdvert {
        hop_limit: 61,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: seconds(told.router_lifetime_s),
        reachable_time: seconds(0),
        retrans_time: seconds(0),
        lladdr: Some(ROUTER_MAC.into()),
        mtu: Some(1400),
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
            valid_lifetime: seconds(told.valid_s),
            preferred_lifetime: seconds(told.preferred_s),
            prefix: "2001:db8:7::".parse().unwrap(),
        }),
    };
    let mut message = vec![0; repr.buffer_len()];
    let repr = Icmpv6Repr::Ndisc(repr);
    repr.emit(
        &ROUTER,
        &ALL_NODES,
        &mut Icmpv6Packet::new_unchecked(&mut message),
        &smoltcp::phy::ChecksumCapabilities::default(),
    );
    message.extend(&told.tail);
    message
}

fn dns(lifetime_s: u32) -> Vec<u8> {
    let mut option = vec![25, 3, 0, 0];
    option.extend(lifetime_s.to_be_bytes());
    option.extend("2001:db8:7::53".parse::<Ipv6Addr>().unwrap().octets());
    option.extend([31, 3, 0, 0]);
    option.extend(lifetime_s.to_be_bytes());
    option.extend(b"\x07example\x03com\0\0\0\0");
    option
}

fn net(config: InterfaceConfig) -> Net {
    let mut net = Net::new();
    net.add_host(1500, Offloads::empty());
    net.hosts[0].stack.configure(2, config).unwrap();
    net.pass(0.5);
    net
}

fn own_address(net: &Net) -> Option<Ipv6Addr> {
    net.hosts[0].address_v6(|address| address.segments()[0] == 0x2001)
}

#[test]
fn a_router_gives_address_route_mtu_and_name_server() {
    let mut net = net(InterfaceConfig::default());
    let is_solicitation = |frame: &Vec<u8>| frame[12..14] == [0x86, 0xdd] && frame[54] == 133;
    assert!(net.log.iter().any(is_solicitation));
    let told = Told { router_lifetime_s: 1800, valid_s: 86_400, preferred_s: 14_400, tail: dns(600) };
    net.inject(frame(&advertisement(&told), ROUTER, ALL_NODES, 255));
    net.pass(1.5);
    // The EUI-64 of 02:00:00:00:00:01.
    assert_eq!(own_address(&net), Some("2001:db8:7::ff:fe00:1".parse().unwrap()));
    let stack = &net.hosts[0].stack;
    let route = stack.route("2001:db8:1::1".parse().unwrap(), None, None).unwrap();
    assert_eq!((route.next_hop, route.mtu), (ROUTER.into(), 1400));
    assert_eq!(route.source, "2001:db8:7::ff:fe00:1".parse::<IpAddr>().unwrap());
    let route = stack.route("2001:db8:7::1".parse().unwrap(), None, None).unwrap();
    assert_eq!(route.next_hop, "2001:db8:7::1".parse::<IpAddr>().unwrap());
    let dns = stack.dns();
    assert_eq!(dns.servers, ["2001:db8:7::53".parse::<IpAddr>().unwrap()]);
    assert_eq!(dns.search, ["example.com"]);
    let changes = net.hosts[0].upper.changes.lock().unwrap();
    assert!(changes.contains(&Change::Dns));
    assert!(changes.iter().any(|change| matches!(change, Change::RouteAdded(route)
        if route.origin == RouteOrigin::RouterAdvertisement && route.expires_s == Some(1800))));
}

#[test]
fn what_a_router_gave_ends_with_its_time() {
    let mut net = net(InterfaceConfig::default());
    let told = Told { router_lifetime_s: 30, valid_s: 100, preferred_s: 50, tail: dns(20) };
    net.inject(frame(&advertisement(&told), ROUTER, ALL_NODES, 255));
    net.pass(2.0);
    let stack = net.hosts[0].stack.clone();
    let flags = || {
        let addresses = stack.interface(2).unwrap().addresses;
        addresses
            .iter()
            .find(|info| info.prefix_len == 64 && info.valid_left_s.is_some())
            .map(|info| info.flags)
    };
    let has_default = || stack.route("2001:db8:1::1".parse().unwrap(), None, None).is_ok();
    let mut at = |seconds: u64| {
        net.now_ns.store((seconds + 1) * SECOND_NS + SECOND_NS / 2, Ordering::Relaxed);
        net.settle();
    };
    assert!(has_default() && !stack.dns().servers.is_empty());
    at(21);
    assert!(has_default() && stack.dns().servers.is_empty());
    at(31);
    assert!(!has_default());
    assert!(!flags().unwrap().contains(AddressFlags::DEPRECATED));
    at(51);
    assert!(flags().unwrap().contains(AddressFlags::DEPRECATED));
    at(101);
    assert_eq!(flags(), None);
    assert!(stack.routes().iter().all(|route| route.expires_s.is_none()));
}

#[test]
fn a_router_cannot_end_an_address_at_once() {
    let mut net = net(InterfaceConfig::default());
    let told = |valid_s| Told { router_lifetime_s: 1800, valid_s, preferred_s: valid_s, tail: vec![] };
    net.inject(frame(&advertisement(&told(86_400)), ROUTER, ALL_NODES, 255));
    net.pass(2.0);
    net.inject(frame(&advertisement(&told(1)), ROUTER, ALL_NODES, 255));
    net.pass(2.0);
    let addresses = net.hosts[0].stack.interface(2).unwrap().addresses;
    let left_s = addresses.iter().find_map(|info| info.valid_left_s).unwrap();
    assert!((7100..=7200).contains(&left_s), "{left_s}");
    // Deprecated it may be.
    assert!(addresses.iter().any(|info| info.flags.contains(AddressFlags::DEPRECATED)));
}

#[test]
fn forged_and_broken_advertisements_do_nothing() {
    let told = Told { router_lifetime_s: 1800, valid_s: 86_400, preferred_s: 14_400, tail: vec![] };
    let good = frame(&advertisement(&told), ROUTER, ALL_NODES, 255);
    let from_afar = frame(&advertisement(&told), ROUTER, ALL_NODES, 254);
    let global = frame(&advertisement(&told), "2001:db8::1".parse().unwrap(), ALL_NODES, 255);
    let empty_option = Told { tail: vec![1, 0, 0, 0, 0, 0, 0, 0], ..told };
    let empty_option = frame(&advertisement(&empty_option), ROUTER, ALL_NODES, 255);
    let mut bad_sum = good.clone();
    bad_sum[60] ^= 1;
    for bad in [from_afar, global, empty_option, bad_sum] {
        let mut net = net(InterfaceConfig::default());
        net.inject(bad);
        net.pass(2.0);
        assert_eq!(own_address(&net), None);
        assert!(net.hosts[0].stack.routes().iter().all(|route| route.gateway.is_none()));
    }
    let off = InterfaceConfig {
        ipv6: Ipv6Config { autoconfiguration: ip::Autoconfiguration::Off, ..Ipv6Config::default() },
        ..InterfaceConfig::default()
    };
    let mut net = net(off);
    net.inject(good);
    net.pass(2.0);
    assert_eq!(own_address(&net), None);
}

#[test]
fn a_taken_identifier_is_followed_by_another_if_they_are_opaque() {
    for identifiers in [InterfaceIdentifiers::Eui64, InterfaceIdentifiers::StablePrivacy] {
        let config = InterfaceConfig {
            ipv6: Ipv6Config { identifiers, ..Ipv6Config::default() },
            ..InterfaceConfig::default()
        };
        let mut net = net(config);
        let told = Told { router_lifetime_s: 1800, valid_s: 86_400, preferred_s: 14_400, tail: vec![] };
        net.inject(frame(&advertisement(&told), ROUTER, ALL_NODES, 255));
        net.pass(0.5);
        let tentative = |net: &Net| {
            let addresses = net.hosts[0].stack.interface(2).unwrap().addresses;
            addresses.iter().find(|info| info.valid_left_s.is_some()).map(|info| info.address)
        };
        let Some(IpAddr::V6(first)) = tentative(&net) else { panic!("no address") };
        // Somebody has it.
        let repr = NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: first,
            lladdr: Some(ROUTER_MAC.into()),
        };
        let mut message = vec![0; repr.buffer_len()];
        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        let mut packet = Icmpv6Packet::new_unchecked(&mut message);
        Icmpv6Repr::Ndisc(repr).emit(&first, &ALL_NODES, &mut packet, &checksums);
        net.inject(frame(&message, first, ALL_NODES, 255));
        net.pass(2.0);
        match identifiers {
            InterfaceIdentifiers::Eui64 => assert_eq!(own_address(&net), None),
            InterfaceIdentifiers::StablePrivacy => {
                assert!(own_address(&net).is_some_and(|second| second != first));
            }
        }
    }
}

#[test]
fn a_dhcp_server_configures_the_interface() {
    let config = InterfaceConfig { ipv4: Ipv4Config::Dhcp, ..InterfaceConfig::default() };
    let mut net = Net::new();
    net.add_host(1500, Offloads::empty());
    let stack = net.hosts[0].stack.clone();
    stack.configure(2, config).unwrap();
    assert!(stack.is_configuring());
    for kind in [2, 5] {
        net.settle();
        let sent =
            net.log.iter().rev().find(|frame| frame[12..14] == [8, 0] && frame[36..38] == [0, 67]).unwrap();
        let reply = dhcp_reply(kind, sent);
        net.inject(reply);
    }
    net.settle();
    assert!(!stack.is_configuring());
    let route = stack.route([8, 8, 8, 8].into(), None, None).unwrap();
    assert_eq!(route.source, IpAddr::from([10, 0, 2, 15]));
    assert_eq!(route.next_hop, IpAddr::from([10, 0, 2, 2]));
    assert_eq!(stack.dns().servers, [IpAddr::from([10, 0, 2, 3])]);
    let main: Vec<_> = stack.routes().into_iter().filter(|route| route.table == RouteTable::Main).collect();
    assert!(main.iter().any(|route| route.prefix_len == 24 && route.gateway.is_none()));
    assert!(net.hosts[0].upper.changes.lock().unwrap().contains(&Change::Configured));
    // The neighbours are told.
    assert!(net.log.iter().any(|frame| frame[12..14] == [8, 6] && frame[28..32] == frame[38..42]));
    // Nobody renews the lease: with it, everything goes.
    net.now_ns.fetch_add(4000 * SECOND_NS, Ordering::Relaxed);
    net.settle();
    assert!(stack.route([8, 8, 8, 8].into(), None, None).is_err());
    assert!(stack.dns().servers.is_empty());
}

/// What a server answers, to the address that it gives and to the hardware address of who asked.
fn dhcp_reply(kind: u8, request: &[u8]) -> Vec<u8> {
    let asked = &request[42..];
    let mut payload = vec![0; 240];
    payload[..3].copy_from_slice(&[2, 1, 6]);
    payload[4..8].copy_from_slice(&asked[4..8]);
    payload[16..20].copy_from_slice(&[10, 0, 2, 15]);
    payload[28..34].copy_from_slice(&asked[28..34]);
    payload[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    payload.extend([53, 1, kind, 54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0]);
    payload.extend([3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 255]);
    let udp_len = 8 + payload.len();
    let mut frame = asked[28..34].to_vec();
    frame.extend(ROUTER_MAC.0);
    frame.extend([8, 0]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
    ip[2..4].copy_from_slice(&(20 + udp_len as u16).to_be_bytes());
    let sum = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([0, 67, 0, 68]);
    frame.extend((udp_len as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

#[test]
fn without_a_dhcp_server_the_wait_ends() {
    let config = InterfaceConfig { ipv4: Ipv4Config::Dhcp, ..InterfaceConfig::default() };
    let mut net = net(config);
    assert!(net.hosts[0].stack.is_configuring());
    net.pass(4.0);
    assert!(!net.hosts[0].stack.is_configuring());
    assert!(net.hosts[0].upper.changes.lock().unwrap().contains(&Change::Configured));
}
