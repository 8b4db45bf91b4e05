//! What there is, as messages: `rtnl_fill_ifinfo` in `net/core/rtnetlink.c`, `inet_fill_ifaddr` in `net/ipv4/devinet.c`,
//! `inet6_fill_ifaddr` in `net/ipv6/addrconf.c`, `fib_dump_info` in `net/ipv4/fib_semantics.c`, `rt6_fill_node` in
//! `net/ipv6/route.c`, `neigh_fill_info` in `net/core/neighbour.c`.

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use ip::{
    AddressInfo, InterfaceFlags, InterfaceInfo, NeighbourInfo, Route, RouteInfo, RouteKind, RouteTable,
};
use linux_abi::{
    Errno,
    netlink::{
        IfAddrMsg, IfInfoMsg, IfaCacheInfo, NdMsg, NlMsgHdr, RtMsg,
        address_attribute::*,
        flag::NLM_F_MULTI,
        link_attribute::*,
        message::*,
        neighbour::{NDA_DST, NDA_LLADDR, NTF_ROUTER},
        route::*,
        scope::RT_SCOPE_UNIVERSE,
    },
    socket::family::{AF_INET, AF_INET6, AF_UNSPEC},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{message::Messages, request::Request};
use crate::{
    Net,
    interface::{TRANSMIT_QUEUE, hardware_kind},
};

/// Writes one message.
pub type Answer<'a> = Box<dyn FnOnce(&mut Messages) + 'a>;

/// `IF_OPER_UNKNOWN`, `IF_OPER_DOWN`, `IF_OPER_UP` (RFC 2863).
const OPERATION_UNKNOWN: u8 = 0;
const OPERATION_DOWN: u8 = 2;
const OPERATION_UP: u8 = 6;
/// The largest MTU of Ethernet devices (`ETH_MAX_MTU`).
const MAX_MTU: u32 = 65_535;

const FAMILY_V4: u8 = AF_INET as u8;
const FAMILY_V6: u8 = AF_INET6 as u8;
const FAMILY_ANY: u8 = AF_UNSPEC as u8;

/// Dumps what a request asks for: `EOPNOTSUPP` if there are no such things.
pub fn all<'a>(net: &'a Net, request: &Request<'a>, add: &mut dyn FnMut(Answer<'a>)) -> Result<(), Errno> {
    let family = request.family();
    match request.header.kind {
        RTM_GETLINK => {
            for interface in net.ip.interfaces() {
                let header = request.answer(RTM_NEWLINK, NLM_F_MULTI);
                add(Box::new(move |messages| link(messages, header, &interface)));
            }
        }
        RTM_GETADDR => {
            let only = strict_index(request);
            for of in families(family) {
                for interface in net.ip.interfaces() {
                    if only.is_some_and(|only| only != interface.index) {
                        continue;
                    }
                    for own in &interface.addresses {
                        if family_of(own.address) == of {
                            let header = request.answer(RTM_NEWADDR, NLM_F_MULTI);
                            let (own, index, name) = (own.clone(), interface.index, interface.name.clone());
                            add(Box::new(move |messages| address_of(messages, header, index, &name, &own)));
                        }
                    }
                }
            }
        }
        RTM_GETROUTE => {
            let mut routes = net.ip.routes();
            // The main table first, as in Linux, where it is asked before the local one.
            routes.sort_by_key(|route| (!route.destination.is_ipv4(), route.table == RouteTable::Local));
            for entry in routes {
                if family == FAMILY_ANY || family_of(entry.destination) == family {
                    let header = request.answer(RTM_NEWROUTE, NLM_F_MULTI);
                    add(Box::new(move |messages| route(messages, header, &entry)));
                }
            }
        }
        RTM_GETNEIGH => {
            for known in net.ip.neighbours() {
                if family == FAMILY_ANY || family_of(known.address) == family {
                    let header = request.answer(RTM_NEWNEIGH, NLM_F_MULTI);
                    add(Box::new(move |messages| neighbour(messages, header, &known)));
                }
            }
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// The interface whose addresses are asked for, if that is to be heeded.
fn strict_index(request: &Request<'_>) -> Option<u32> {
    if !request.is_strict {
        return None;
    }
    let (wanted, _) = IfAddrMsg::read_from_prefix(request.body).ok()?;
    (wanted.index != 0).then_some(wanted.index)
}

fn families(family: u8) -> Vec<u8> {
    match family {
        FAMILY_V4 | FAMILY_V6 => alloc::vec![family],
        _ => alloc::vec![FAMILY_V4, FAMILY_V6],
    }
}

fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address in an attribute.
pub fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        FAMILY_V4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        FAMILY_V6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// A link.
pub fn link(messages: &mut Messages, header: NlMsgHdr, interface: &InterfaceInfo) {
    let has = |flag| interface.flags.contains(flag);
    let is_loopback = has(InterfaceFlags::LOOPBACK);
    let fixed = IfInfoMsg {
        kind: hardware_kind(interface),
        index: interface.index as i32,
        flags: interface.flags.bits(),
        ..IfInfoMsg::default()
    };
    messages.add(header, &fixed, |attributes| {
        attributes.put_text(IFLA_IFNAME, &interface.name);
        attributes.put_u32(IFLA_TXQLEN, TRANSMIT_QUEUE);
        // The loopback has no state of its own.
        let state = match (is_loopback, has(InterfaceFlags::RUNNING)) {
            (true, _) => OPERATION_UNKNOWN,
            (false, true) => OPERATION_UP,
            (false, false) => OPERATION_DOWN,
        };
        attributes.put(IFLA_OPERSTATE, &[state]);
        attributes.put(IFLA_LINKMODE, &[0]);
        attributes.put_u32(IFLA_MTU, interface.mtu);
        attributes.put_u32(IFLA_MIN_MTU, if is_loopback { 0 } else { 68 });
        attributes.put_u32(IFLA_MAX_MTU, if is_loopback { 0 } else { MAX_MTU });
        attributes.put_u32(IFLA_GROUP, 0);
        attributes.put_u32(IFLA_PROMISCUITY, 0);
        attributes.put_u32(IFLA_NUM_TX_QUEUES, 1);
        attributes.put_u32(IFLA_NUM_RX_QUEUES, 1);
        attributes.put(IFLA_CARRIER, &[u8::from(has(InterfaceFlags::LOWER_UP))]);
        attributes.put_text(IFLA_QDISC, "noqueue");
        let hardware = interface.hardware_address.map_or([0; 6], |address| address.0);
        attributes.put(IFLA_ADDRESS, &hardware);
        let broadcast = if interface.hardware_address.is_some() { [0xff; 6] } else { [0; 6] };
        attributes.put(IFLA_BROADCAST, &broadcast);
        attributes.put(IFLA_STATS64, statistics(interface).as_bytes());
        let narrow = statistics(interface).map(|figure| figure as u32);
        attributes.put(IFLA_STATS, narrow.as_bytes());
    });
}

/// `struct rtnl_link_stats64`: packets, bytes, errors and drops of both directions first, then details.
fn statistics(interface: &InterfaceInfo) -> [u64; 24] {
    let counted = interface.statistics;
    let mut figures = [0; 24];
    figures[..8].copy_from_slice(&[
        counted.received_packets,
        counted.sent_packets,
        counted.received_bytes,
        counted.sent_bytes,
        counted.receive_errors,
        counted.send_errors,
        counted.receive_dropped,
        counted.send_dropped,
    ]);
    figures
}

/// An address of an interface.
pub fn address_of(messages: &mut Messages, header: NlMsgHdr, index: u32, name: &str, own: &AddressInfo) {
    let fixed = IfAddrMsg {
        family: family_of(own.address),
        prefix_len: own.prefix_len,
        flags: own.flags.bits() as u8,
        scope: own.scope as u8,
        index,
    };
    messages.add(header, &fixed, |attributes| {
        let bytes = octets(own.address);
        attributes.put(IFA_ADDRESS, &bytes);
        if own.address.is_ipv4() {
            attributes.put(IFA_LOCAL, &bytes);
            if let Some(broadcast) = own.broadcast {
                attributes.put(IFA_BROADCAST, &broadcast.octets());
            }
            attributes.put_text(IFA_LABEL, name);
        }
        attributes.put_u32(IFA_FLAGS, own.flags.bits());
        let times = IfaCacheInfo {
            preferred: own.preferred_left_s.unwrap_or(u32::MAX),
            valid: own.valid_left_s.unwrap_or(u32::MAX),
            ..IfaCacheInfo::default()
        };
        attributes.put(IFA_CACHEINFO, times.as_bytes());
    });
}

fn kind_number(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Local => RTN_LOCAL,
        RouteKind::Unicast => RTN_UNICAST,
        RouteKind::Broadcast => RTN_BROADCAST,
        RouteKind::Multicast => RTN_MULTICAST,
    }
}

/// A route of the table.
pub fn route(messages: &mut Messages, header: NlMsgHdr, entry: &RouteInfo) {
    let fixed = RtMsg {
        family: family_of(entry.destination),
        destination_len: entry.prefix_len,
        table: entry.table as u8,
        protocol: entry.origin as u8,
        // IPv6's routes have no scope.
        scope: if entry.destination.is_ipv4() { entry.scope as u8 } else { RT_SCOPE_UNIVERSE },
        kind: kind_number(entry.kind),
        ..RtMsg::default()
    };
    messages.add(header, &fixed, |attributes| {
        attributes.put_u32(RTA_TABLE, entry.table as u32);
        if entry.prefix_len > 0 {
            attributes.put(RTA_DST, &octets(entry.destination));
        }
        if entry.metric != 0 || entry.destination.is_ipv6() {
            attributes.put_u32(RTA_PRIORITY, entry.metric);
        }
        if let Some(source) = entry.preferred_source {
            attributes.put(RTA_PREFSRC, &octets(source));
        }
        if let Some(gateway) = entry.gateway {
            attributes.put(RTA_GATEWAY, &octets(gateway));
        }
        attributes.put_u32(RTA_OIF, entry.interface);
        if entry.destination.is_ipv6() {
            attributes.put(RTA_PREF, &[0]);
        }
    });
}

/// The way to one destination, as `ip route get` asks for it.
pub fn route_to(messages: &mut Messages, header: NlMsgHdr, to: IpAddr, found: &Route) {
    let table = if found.kind == RouteKind::Local { RT_TABLE_LOCAL } else { RT_TABLE_MAIN };
    let fixed = RtMsg {
        family: family_of(to),
        destination_len: if to.is_ipv4() { 32 } else { 128 },
        table,
        kind: kind_number(found.kind),
        flags: RTM_F_CLONED,
        ..RtMsg::default()
    };
    messages.add(header, &fixed, |attributes| {
        attributes.put_u32(RTA_TABLE, u32::from(table));
        attributes.put(RTA_DST, &octets(to));
        attributes.put_u32(RTA_OIF, found.interface);
        attributes.put(RTA_PREFSRC, &octets(found.source));
        if found.kind == RouteKind::Unicast && found.next_hop != to {
            attributes.put(RTA_GATEWAY, &octets(found.next_hop));
        }
    });
}

/// A neighbour.
pub fn neighbour(messages: &mut Messages, header: NlMsgHdr, known: &NeighbourInfo) {
    let fixed = NdMsg {
        family: family_of(known.address),
        index: known.interface as i32,
        state: known.state as u16,
        flags: if known.is_router { NTF_ROUTER } else { 0 },
        kind: RTN_UNICAST,
        ..NdMsg::default()
    };
    messages.add(header, &fixed, |attributes| {
        attributes.put(NDA_DST, &octets(known.address));
        if let Some(address) = known.hardware_address {
            attributes.put(NDA_LLADDR, &address.0);
        }
    });
}
