//! The files of `/proc/net`: what IP and the transports say of themselves, put together.

use alloc::{format, string::String};
use core::sync::atomic::Ordering::Relaxed;

use inet::Family;
use proc_fs::NetworkFile;

use super::net;

/// Columns of UDP's counters, in the order of [`inet::UdpCounters::values`].
const UDP_COLUMNS: [&str; 7] =
    ["InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors"];

/// The text of a file.
pub fn proc_file(file: NetworkFile) -> String {
    let ip = &net().ip;
    match file {
        NetworkFile::Arp => ip.proc_arp(),
        NetworkFile::Dev => ip.proc_dev(),
        NetworkFile::IfInet6 => ip.proc_if_inet6(),
        NetworkFile::Igmp => ip.proc_igmp(),
        NetworkFile::Igmp6 => ip.proc_igmp6(),
        NetworkFile::Ipv6Route => ip.proc_ipv6_route(),
        NetworkFile::Route => ip.proc_route(),
        NetworkFile::Snmp => ip.proc_snmp() + &tcp_lines() + &udp_lines(),
        NetworkFile::Snmp6 => ip.proc_snmp6() + &udp6_lines(),
    }
}

/// What is counted of TCP; readers go by the names of the columns.
fn tcp_lines() -> String {
    let tcp = &net().tcp_counters;
    let counts = [
        ("ActiveOpens", &tcp.active_opens),
        ("PassiveOpens", &tcp.passive_opens),
        ("AttemptFails", &tcp.attempt_fails),
        ("EstabResets", &tcp.resets_received),
        ("InSegs", &tcp.in_segments),
        ("OutSegs", &tcp.out_segments),
        ("InErrs", &tcp.in_errors),
        ("OutRsts", &tcp.resets_sent),
    ];
    // The algorithm is RFC 6298's; times are in milliseconds; there is no limit of connections but memory.
    let mut names = String::from("Tcp: RtoAlgorithm RtoMin RtoMax MaxConn");
    let mut values = String::from("Tcp: 1 200 120000 -1");
    for (name, count) in counts {
        names += &format!(" {name}");
        values += &format!(" {}", count.load(Relaxed));
    }
    format!("{names}\n{values}\n")
}

fn udp_lines() -> String {
    let values = net().udp_counters(Family::V4).values().map(|value| format!(" {value}"));
    format!("Udp: {}\nUdp:{}\n", UDP_COLUMNS.join(" "), values.concat())
}

fn udp6_lines() -> String {
    let values = net().udp_counters(Family::V6).values();
    let lines = UDP_COLUMNS.iter().zip(values).map(|(name, value)| {
        let name = format!("Udp6{name}");
        format!("{name:<32}\t{value}\n")
    });
    lines.collect()
}
