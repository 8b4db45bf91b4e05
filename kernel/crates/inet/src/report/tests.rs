use alloc::{boxed::Box, sync::Arc};
use std::vec::Vec;

use ip::{Loopback, Stack};
use ipc::socket::Socket;
use netchannels::Processing;

use super::Report;
use crate::{Endpoint, Family, Ingress, Keys, Machine, Net, Transports, UdpSocket};

fn network() -> Arc<Net> {
    let keys = ip::Keys { hash: [1; 16], stable_privacy: [2; 16], random: [3; 32] };
    let stack = Arc::new(Stack::new(keys, Box::new(ksync::platform::now_ns)));
    let keys = Keys { port_choice: [[4; 16]; 2], port_sharing: [[5; 16]; 2], tcp: [6; 48], flows: [7; 16] };
    let machine = Machine { cpus: 1, memory_bytes: 1 << 28, processing: Processing::InReader };
    let net = Net::new(stack.clone(), &keys, machine);
    stack.set_transport(Transports::new(&net));
    let link: Arc<dyn packet::Link> = Arc::new(Loopback::new());
    let index = stack.add_link(link.clone());
    link.start(Ingress::new(&net, index, netchannels::Framing::Ip));
    net
}

#[test]
fn a_bound_socket_is_listed_as_by_linux() {
    let net = network();
    let socket = UdpSocket::new(&net, Family::V4);
    let address = Endpoint::new([127, 0, 0, 1].into(), 5353);
    socket.bind(&address.encode(Family::V4)).unwrap();
    let text = net.report(Report::Udp(Family::V4));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().all(|line| line.len() == 127), "{text}");
    let begin = "    0: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000";
    assert!(lines[1].starts_with(begin), "{text}");
    socket.close();
    assert_eq!(net.report(Report::Udp(Family::V4)).lines().count(), 1);
}

#[test]
fn every_name_of_a_report_is_found() {
    for name in ["icmp", "netlink", "raw6", "sockstat", "tcp", "udp6"] {
        assert!(Report::named(name).is_some(), "{name}");
    }
    assert_eq!(Report::named("nonesuch"), None);
}

#[test]
fn settings_are_shown_as_they_were_set() {
    let net = network();
    assert_eq!(net.setting("ip_local_port_range").unwrap(), "32768\t60999\n");
    net.set_setting("ip_local_port_range", "40000 40010\n").unwrap();
    assert_eq!(net.setting("ip_local_port_range").unwrap(), "40000\t40010\n");
    for bad in ["", "1", "2 1", "x 5", "0 5"] {
        assert!(net.set_setting("ip_local_port_range", bad).is_err(), "{bad}");
    }
    net.set_setting("somaxconn", "128\n").unwrap();
    assert_eq!(net.setting("somaxconn").unwrap(), "128\n");
    assert!(net.setting("nonesuch").is_none());
}
