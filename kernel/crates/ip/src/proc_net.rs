//! The files of `/proc/net` about interfaces, routes, neighbours, groups and IP's counters, in Linux's form
//! (`proc_pid_net(5)`; `net/core/net-procfs.c`, `net/ipv4/proc.c`, `net/ipv6/proc.c` and their neighbours say the columns).

use alloc::{format, string::String};
use core::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    InterfaceInfo, NeighbourState, RouteInfo, RouteKind, RouteOrigin, RouteTable, Scope, Stack,
    counters::{IcmpCounters, IpCounters},
};

/// Columns to which Linux fills up the lines of `route`.
const ROUTE_COLUMNS: usize = 127;

/// Flags of routes (uapi `linux/route.h`, `linux/ipv6_route.h`).
mod flag {
    pub(super) const UP: u32 = 0x1;
    pub(super) const GATEWAY: u32 = 0x2;
    pub(super) const HOST: u32 = 0x4;
    pub(super) const DEFAULT: u32 = 0x1_0000;
    pub(super) const ADDRCONF: u32 = 0x4_0000;
    pub(super) const NONEXTHOP: u32 = 0x20_0000;
    pub(super) const REJECT: u32 = 0x200;
    pub(super) const EXPIRES: u32 = 0x40_0000;
    pub(super) const LOCAL: u32 = 0x8000_0000;
}

/// An address as the bytes of memory that hold it, read as a number.
fn raw(address: Ipv4Addr) -> u32 {
    u32::from_le_bytes(address.octets())
}

struct Hex6(Ipv6Addr);

impl fmt::Display for Hex6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0.to_bits())
    }
}

/// Writes to a string, which cannot fail.
macro_rules! put {
    ($text:expr, $($argument:tt)*) => {{
        let _ = write!($text, $($argument)*);
    }};
}

impl Stack {
    fn name_of(interfaces: &[InterfaceInfo], index: u32) -> &str {
        interfaces.iter().find(|interface| interface.index == index).map_or("*", |interface| &interface.name)
    }

    /// `/proc/net/dev`
    pub fn proc_dev(&self) -> String {
        let mut text = String::from(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|\
             bytes    packets errs drop fifo colls carrier compressed\n",
        );
        for InterfaceInfo { name, statistics: s, .. } in self.interfaces() {
            put!(
                text,
                "{name:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}\n",
                s.received_bytes,
                s.received_packets,
                s.receive_errors,
                s.receive_dropped,
                0,
                0,
                0,
                0,
                s.sent_bytes,
                s.sent_packets,
                s.send_errors,
                s.send_dropped,
                0,
                0,
                0,
                0,
            );
        }
        text
    }

    /// `/proc/net/route`: the main table of IPv4.
    pub fn proc_route(&self) -> String {
        let mut text = String::new();
        let mut line = |columns: String| put!(text, "{columns:<ROUTE_COLUMNS$}\n");
        line("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".into());
        let interfaces = self.interfaces();
        for route in self.routes().iter().filter(|route| route.table == RouteTable::Main) {
            let IpAddr::V4(destination) = route.destination else { continue };
            let gateway = match route.gateway {
                Some(IpAddr::V4(gateway)) => gateway,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let mut flags = flag::UP;
            if route.gateway.is_some() {
                flags |= flag::GATEWAY;
            }
            if route.prefix_len == 32 {
                flags |= flag::HOST;
            }
            let mask = u32::MAX.checked_shl(32 - u32::from(route.prefix_len)).unwrap_or(0);
            line(format!(
                "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
                Self::name_of(&interfaces, route.interface),
                raw(destination),
                raw(gateway),
                route.metric,
                raw(Ipv4Addr::from_bits(mask)),
            ));
        }
        text
    }

    /// `/proc/net/arp`
    pub fn proc_arp(&self) -> String {
        let mut text =
            String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
        let interfaces = self.interfaces();
        for neighbour in self.neighbours() {
            let IpAddr::V4(address) = neighbour.address else { continue };
            // `ATF_COM`: the address is known.
            let is_known = !matches!(neighbour.state, NeighbourState::Incomplete | NeighbourState::Failed);
            let [a, b, c, d, e, f] = neighbour.hardware_address.filter(|_| is_known).unwrap_or_default().0;
            put!(
                text,
                "{:<16} 0x{:<10x}0x{:<10x}{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}     *        {}\n",
                format!("{address}"),
                1,
                u8::from(is_known) * 2,
                Self::name_of(&interfaces, neighbour.interface),
            );
        }
        text
    }

    /// `/proc/net/if_inet6`
    pub fn proc_if_inet6(&self) -> String {
        let mut text = String::new();
        for InterfaceInfo { index, name, addresses, .. } in self.interfaces() {
            for info in addresses {
                let IpAddr::V6(address) = info.address else { continue };
                // `IPV6_ADDR_LOOPBACK` and its kin (`include/net/ipv6.h`).
                let scope = match info.scope {
                    Scope::Universe => 0x00,
                    Scope::Host => 0x10,
                    Scope::Link => 0x20,
                    Scope::Site => 0x40,
                };
                let flags = info.flags.bits() & 0xff;
                put!(
                    text,
                    "{} {index:02x} {:02x} {scope:02x} {flags:02x} {name:>8}\n",
                    Hex6(address),
                    info.prefix_len
                );
            }
        }
        text
    }

    /// `/proc/net/ipv6_route`
    pub fn proc_ipv6_route(&self) -> String {
        let mut text = String::new();
        let interfaces = self.interfaces();
        let mut line = |destination, len: u8, gateway, metric: u32, flags: u32, name: &str| {
            let none = Hex6(Ipv6Addr::UNSPECIFIED);
            put!(
                text,
                "{} {len:02x} {none} 00 {} {metric:08x} {:08x} {:08x} {flags:08x} {name:>8}\n",
                Hex6(destination),
                Hex6(gateway),
                1,
                0
            );
        };
        for route in self.routes() {
            let IpAddr::V6(destination) = route.destination else { continue };
            let gateway = match route.gateway {
                Some(IpAddr::V6(gateway)) => gateway,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            let name = Self::name_of(&interfaces, route.interface);
            line(destination, route.prefix_len, gateway, route.metric, flags_v6(&route), name);
        }
        // What matches nothing else, as Linux has it.
        let none = Ipv6Addr::UNSPECIFIED;
        line(none, 0, none, u32::MAX, flag::NONEXTHOP | flag::REJECT, "lo");
        text
    }

    /// `/proc/net/igmp`
    pub fn proc_igmp(&self) -> String {
        let mut text = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
        for InterfaceInfo { index, name, groups, .. } in self.interfaces() {
            let groups = groups.iter().filter_map(|info| match info.group {
                IpAddr::V4(group) => Some((group, info.members)),
                IpAddr::V6(_) => None,
            });
            put!(text, "{index}\t{name:<10}: {:5} {:>7}\n", groups.clone().count(), "V3");
            for (group, members) in groups {
                put!(text, "\t\t\t\t{:08X} {members:5} 0:00000000\t\t0\n", raw(group));
            }
        }
        text
    }

    /// `/proc/net/igmp6`
    pub fn proc_igmp6(&self) -> String {
        let mut text = String::new();
        for InterfaceInfo { index, name, groups, .. } in self.interfaces() {
            for info in groups {
                let IpAddr::V6(group) = info.group else { continue };
                // `MAF_LOADED`, and for all nodes `MAF_NOREPORT`.
                let is_all_nodes = group == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                let flags = if is_all_nodes { 0xc } else { 0x4 };
                put!(text, "{index:<4} {name:<15} {} {:5} {flags:08X} 0\n", Hex6(group), info.members);
            }
        }
        text
    }

    /// The lines of `/proc/net/snmp` that are about IP and ICMP. TCP's and UDP's follow them.
    pub fn proc_snmp(&self) -> String {
        let IpCounters {
            in_receives,
            in_header_errors,
            in_address_errors,
            in_unknown_protocols,
            in_discards,
            in_truncated: _,
            in_delivers,
            out_requests,
            out_discards,
            out_no_routes,
            reassembly_timeouts,
            reassembly_required,
            reassembled,
            reassembly_failures,
            fragmented,
            fragmentation_failures,
            fragments_created,
        } = self.ipv4_counters();
        let mut text = String::from(
            "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards \
             InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs \
             FragFails FragCreates\n",
        );
        put!(
            text,
            "Ip: 2 64 {in_receives} {in_header_errors} {in_address_errors} 0 {in_unknown_protocols} {in_discards} \
             {in_delivers} {out_requests} {out_discards} {out_no_routes} {reassembly_timeouts} {reassembly_required} \
             {reassembled} {reassembly_failures} {fragmented} {fragmentation_failures} {fragments_created}\n"
        );
        let icmp = self.icmpv4_counters();
        // RFC 2011's names, by type.
        const KINDS: [(u8, &str); 11] = [
            (3, "DestUnreachs"),
            (11, "TimeExcds"),
            (12, "ParmProbs"),
            (4, "SrcQuenchs"),
            (5, "Redirects"),
            (8, "Echos"),
            (0, "EchoReps"),
            (13, "Timestamps"),
            (14, "TimestampReps"),
            (17, "AddrMasks"),
            (18, "AddrMaskReps"),
        ];
        let (mut names, mut values) = (String::from("Icmp: InMsgs InErrors InCsumErrors"), String::new());
        let (messages, errors, checksums) = (icmp.in_messages(), icmp.in_errors, icmp.in_checksum_errors);
        put!(values, "Icmp: {messages} {errors} {checksums}");
        for (kind, name) in KINDS {
            put!(names, " In{name}");
            put!(values, " {}", icmp.in_types[usize::from(kind)]);
        }
        put!(names, " OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost");
        put!(values, " {} {} {} 0", icmp.out_messages(), icmp.out_errors, icmp.out_rate_limited);
        for (kind, name) in KINDS {
            put!(names, " Out{name}");
            put!(values, " {}", icmp.out_types[usize::from(kind)]);
        }
        put!(text, "{names}\n{values}\n");
        let (mut names, mut values) = (String::from("IcmpMsg:"), String::from("IcmpMsg:"));
        for_each_type(&icmp, |direction, kind, count| {
            put!(names, " {direction}Type{kind}");
            put!(values, " {count}");
        });
        put!(text, "{names}\n{values}\n");
        text
    }

    /// The lines of `/proc/net/snmp6` that are about IP and ICMP. UDP's follow them.
    pub fn proc_snmp6(&self) -> String {
        let ip = self.ipv6_counters();
        let icmp = self.icmpv6_counters();
        let mut text = String::new();
        let mut line = |name: &str, value: u64| put!(text, "{name:<32}\t{value}\n");
        let ip_lines = [
            ("Ip6InReceives", ip.in_receives),
            ("Ip6InHdrErrors", ip.in_header_errors),
            ("Ip6InTooBigErrors", 0),
            ("Ip6InNoRoutes", 0),
            ("Ip6InAddrErrors", ip.in_address_errors),
            ("Ip6InUnknownProtos", ip.in_unknown_protocols),
            ("Ip6InTruncatedPkts", ip.in_truncated),
            ("Ip6InDiscards", ip.in_discards),
            ("Ip6InDelivers", ip.in_delivers),
            ("Ip6OutForwDatagrams", 0),
            ("Ip6OutRequests", ip.out_requests),
            ("Ip6OutDiscards", ip.out_discards),
            ("Ip6OutNoRoutes", ip.out_no_routes),
            ("Ip6ReasmTimeout", ip.reassembly_timeouts),
            ("Ip6ReasmReqds", ip.reassembly_required),
            ("Ip6ReasmOKs", ip.reassembled),
            ("Ip6ReasmFails", ip.reassembly_failures),
            ("Ip6FragOKs", ip.fragmented),
            ("Ip6FragFails", ip.fragmentation_failures),
            ("Ip6FragCreates", ip.fragments_created),
        ];
        ip_lines.into_iter().for_each(|(name, value)| line(name, value));
        line("Icmp6InMsgs", icmp.in_messages());
        line("Icmp6InErrors", icmp.in_errors);
        line("Icmp6OutMsgs", icmp.out_messages());
        line("Icmp6OutErrors", icmp.out_errors);
        line("Icmp6InCsumErrors", icmp.in_checksum_errors);
        line("Icmp6OutRateLimitHost", icmp.out_rate_limited);
        const KINDS: [(u8, &str); 15] = [
            (1, "DestUnreachs"),
            (2, "PktTooBigs"),
            (3, "TimeExcds"),
            (4, "ParmProblems"),
            (128, "Echos"),
            (129, "EchoReplies"),
            (130, "GroupMembQueries"),
            (131, "GroupMembResponses"),
            (132, "GroupMembReductions"),
            (133, "RouterSolicits"),
            (134, "RouterAdvertisements"),
            (135, "NeighborSolicits"),
            (136, "NeighborAdvertisements"),
            (137, "Redirects"),
            (143, "MLDv2Reports"),
        ];
        for (direction, types) in [("In", &icmp.in_types), ("Out", &icmp.out_types)] {
            for (kind, name) in KINDS {
                line(&format!("Icmp6{direction}{name}"), types[usize::from(kind)]);
            }
        }
        for_each_type(&icmp, |direction, kind, count| line(&format!("Icmp6{direction}Type{kind}"), count));
        text
    }
}

/// The types of messages that occurred.
fn for_each_type(icmp: &IcmpCounters, mut each: impl FnMut(&str, usize, u64)) {
    for (direction, types) in [("In", &icmp.in_types), ("Out", &icmp.out_types)] {
        for (kind, &count) in types.iter().enumerate().filter(|(_, count)| **count != 0) {
            each(direction, kind, count);
        }
    }
}

fn flags_v6(route: &RouteInfo) -> u32 {
    let mut flags = flag::UP;
    if route.gateway.is_some() {
        flags |= flag::GATEWAY;
    }
    if route.expires_s.is_some() {
        flags |= flag::EXPIRES;
    }
    if route.origin == RouteOrigin::RouterAdvertisement {
        flags |= flag::ADDRCONF | flag::DEFAULT;
    }
    if route.kind == RouteKind::Local {
        flags |= flag::NONEXTHOP | flag::LOCAL;
    }
    flags
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, sync::Arc};

    use super::*;
    use crate::{Keys, Loopback};

    /// What Linux shows in a new network namespace with its loopback up.
    #[test]
    fn the_loopback_looks_as_on_linux() {
        let keys = Keys { hash: [1; 16], stable_privacy: [1; 16], random: [1; 32] };
        let stack = Stack::new(keys, Box::new(|| 0));
        stack.add_link(Arc::new(Loopback::new()));
        let dev = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs \
                   drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       \
                   0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          \
                   0\n";
        assert_eq!(stack.proc_dev(), dev);
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        assert_eq!(stack.proc_route(), format!("{route:<127}\n"));
        assert_eq!(stack.proc_if_inet6(), "00000000000000000000000000000001 01 80 10 80       lo\n");
        assert_eq!(
            stack.proc_igmp(),
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     \
             1 0:00000000\t\t0\n"
        );
        assert_eq!(
            stack.proc_igmp6(),
            "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
        );
        let none = "00000000000000000000000000000000";
        assert_eq!(
            stack.proc_ipv6_route(),
            format!(
                "00000000000000000000000000000001 80 {none} 00 {none} 00000000 00000001 00000000 80200001       lo\n\
                 {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n"
            )
        );
    }
}
