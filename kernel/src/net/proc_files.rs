//! The files of `/proc/net`: what IP and the transports say of themselves, put together.

use alloc::{format, string::String};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use inet::{Event, Family};
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
        NetworkFile::Netstat => extended_tcp_lines(),
        NetworkFile::Route => ip.proc_route(),
        NetworkFile::Snmp => ip.proc_snmp() + &tcp_lines() + &udp_lines(),
        NetworkFile::Snmp6 => ip.proc_snmp6() + &udp6_lines(),
    }
}

/// What RFC 4022 counts of TCP, in Linux's columns.
fn tcp_lines() -> String {
    let tcp = &net().tcp_counters;
    let retransmitted = tcp.count(Event::Retransmitted);
    let columns = [
        // The algorithm is RFC 6298's; times are in milliseconds; there is no limit of connections but memory.
        ("RtoAlgorithm", 1),
        ("RtoMin", 200),
        ("RtoMax", 120_000),
        ("MaxConn", -1),
        ("ActiveOpens", number(&tcp.active_opens)),
        ("PassiveOpens", number(&tcp.passive_opens)),
        ("AttemptFails", number(&tcp.attempt_fails)),
        ("EstabResets", tcp.count(Event::EstablishedReset) as i64),
        ("CurrEstab", net().established_connections() as i64),
        ("InSegs", number(&tcp.in_segments)),
        // Those that carry nothing but what was sent before do not count.
        ("OutSegs", number(&tcp.out_segments).saturating_sub_unsigned(retransmitted).max(0)),
        ("RetransSegs", retransmitted as i64),
        ("InErrs", number(&tcp.in_errors)),
        ("OutRsts", number(&tcp.resets_sent)),
    ];
    table("Tcp", columns)
}

/// `/proc/net/netstat`: those of Linux's columns that are counted here; readers go by their names.
fn extended_tcp_lines() -> String {
    let tcp = &net().tcp_counters;
    let first = [
        ("SyncookiesSent", number(&tcp.cookies_sent)),
        ("SyncookiesRecv", number(&tcp.cookies_received)),
        ("ListenOverflows", number(&tcp.listen_overflows)),
        ("TCPAbortOnMemory", number(&tcp.aborts_on_memory)),
        ("TCPRcvQDrop", number(&tcp.memory_drops)),
    ];
    let of_snmp = [Event::EstablishedReset, Event::Retransmitted];
    let events = Event::ALL.into_iter().filter(|event| !of_snmp.contains(event));
    let events = events.map(|event| (event.column(), tcp.count(event) as i64));
    table("TcpExt", first.into_iter().chain(events))
}

fn number(counter: &AtomicU64) -> i64 {
    counter.load(Relaxed) as i64
}

/// A line of names and a line of values.
fn table(group: &str, columns: impl IntoIterator<Item = (&'static str, i64)>) -> String {
    let (mut names, mut values) = (format!("{group}:"), format!("{group}:"));
    for (name, value) in columns {
        names += &format!(" {name}");
        values += &format!(" {value}");
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
