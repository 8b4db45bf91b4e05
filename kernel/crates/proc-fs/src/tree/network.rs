//! What is told of the network: `/proc/net`, `/proc/sys/net`, and `/sys/class/net`. The texts are the
//! network's own; here are their names.

use alloc::{format, string::String};

use super::{directory, file, fixed};
use crate::{
    NetworkFile,
    node::{Context, Directory, Each, Node},
};

/// A file of `/proc/net` that tells of sockets.
macro_rules! report {
    ($name:literal) => {
        (
            $name,
            file(|c, out| {
                out.extend_from_slice(c.info.network_report($name)?.as_bytes());
                Ok(())
            }),
        )
    };
}

/// A file of `/proc/net` that IP writes.
macro_rules! of_ip {
    ($name:literal, $file:ident) => {
        (
            $name,
            file(|c, out| {
                out.extend_from_slice(c.info.network_file(NetworkFile::$file).as_bytes());
                Ok(())
            }),
        )
    };
}

/// A setting that sockets heed.
macro_rules! setting {
    ($name:literal) => {
        (
            $name,
            Node::Setting(
                |c, out| {
                    out.extend_from_slice(c.info.network_setting($name)?.as_bytes());
                    Ok(())
                },
                |c, bytes| {
                    let text = core::str::from_utf8(bytes).map_err(|_| linux_abi::Errno::EINVAL)?;
                    c.info.set_network_setting($name, text)
                },
            ),
        )
    };
}

/// `/proc/net`.
pub(super) const REPORTS: &[(&str, Node)] = &[
    of_ip!("arp", Arp),
    of_ip!("dev", Dev),
    report!("icmp"),
    report!("icmp6"),
    of_ip!("if_inet6", IfInet6),
    of_ip!("igmp", Igmp),
    of_ip!("igmp6", Igmp6),
    of_ip!("ipv6_route", Ipv6Route),
    report!("netlink"),
    of_ip!("netstat", Netstat),
    report!("raw"),
    report!("raw6"),
    of_ip!("route", Route),
    of_ip!("snmp", Snmp),
    of_ip!("snmp6", Snmp6),
    report!("sockstat"),
    report!("sockstat6"),
    report!("tcp"),
    report!("tcp6"),
    report!("udp"),
    report!("udp6"),
    report!("unix"),
];

/// `/proc/sys/net/core`.
pub(super) const CORE_SETTINGS: &[(&str, Node)] = &[
    ("optmem_max", fixed!(b"131072\n")),
    setting!("rmem_default"),
    setting!("rmem_max"),
    setting!("somaxconn"),
    setting!("wmem_default"),
    setting!("wmem_max"),
];

/// `/proc/sys/net/ipv4`. What is fixed here is what TCP and IP do.
pub(super) const IPV4_SETTINGS: &[(&str, Node)] = &[
    setting!("ip_default_ttl"),
    ("ip_forward", fixed!(b"0\n")),
    setting!("ip_local_port_range"),
    ("ip_unprivileged_port_start", fixed!(b"1024\n")),
    ("ping_group_range", fixed!(b"0\t2147483647\n")),
    // No data with a SYN: neither sent nor taken.
    ("tcp_fastopen", fixed!(b"0\n")),
    ("tcp_syncookies", fixed!(b"1\n")),
];

/// `/proc/sys/net/ipv6`.
pub(super) const IPV6_SETTINGS: &[(&str, Node)] = &[
    ("bindv6only", fixed!(b"0\n")),
    ("conf", directory(&[("all", directory(&[("disable_ipv6", fixed!(b"0\n"))]))])),
];

fn loopback(_: &Context<'_>) -> String {
    "lo".into()
}

fn ethernet(context: &Context<'_>) -> String {
    format!("eth{}", context.number)
}

/// A file about the interface that `$who` names.
macro_rules! figure {
    ($who:ident, $name:literal) => {
        (
            $name,
            file(|c, out| {
                out.extend_from_slice(c.info.interface_figure(&$who(c), $name)?.as_bytes());
                Ok(())
            }),
        )
    };
}

macro_rules! interface {
    ($who:ident) => {
        directory(&[
            figure!($who, "addr_len"),
            figure!($who, "address"),
            figure!($who, "broadcast"),
            figure!($who, "carrier"),
            figure!($who, "flags"),
            figure!($who, "ifindex"),
            figure!($who, "mtu"),
            figure!($who, "operstate"),
            (
                "statistics",
                directory(&[
                    figure!($who, "rx_bytes"),
                    figure!($who, "rx_dropped"),
                    figure!($who, "rx_errors"),
                    figure!($who, "rx_packets"),
                    figure!($who, "tx_bytes"),
                    figure!($who, "tx_dropped"),
                    figure!($who, "tx_errors"),
                    figure!($who, "tx_packets"),
                ]),
            ),
            figure!($who, "tx_queue_len"),
            figure!($who, "type"),
        ])
    };
}

/// `/sys/class/net`.
pub(super) const INTERFACES: Node =
    Node::Directory(Directory { entries: &[("lo", interface!(loopback))], each: Some(&ETHERNET) });

static ETHERNET: Each = Each {
    prefix: "eth",
    numbers: |context| (0..context.info.ethernet_count()).collect(),
    unlisted: None,
    node: interface!(ethernet),
};
