//! The channel of a UDP socket, and which flows lead there.
//!
//! A datagram for one of our addresses and ports is the affair of one socket as long as the sockets on that port are few
//! and simple; then it goes into that socket's channel straight from the link, and on the loopback it is there when the
//! sender's call returns. What only the slow path can decide has no flow: groups and broadcasts, sockets that share a port
//! (`SO_REUSEPORT`), sockets that are bound to an interface, and addresses of links.
//!
//! Which flows there are is worked out anew, for one port, whenever something changes there ([`UdpFlows::refresh`]).

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::net::{IpAddr, SocketAddr};

use ksync::Mutex;
use netchannels::{Arm, Channel, Consumer, FlowKey, Headers, Interest, Receiver, Transport};
use packet::Packet;

use super::{Bad, Inner, UdpSocket, deliver::Facts, header};
use crate::{
    Binding, Deferred, Endpoint, Family, Flow, Incoming, Net, Phase, SocketCore, datagram::READABLE,
};

/// Packets that a channel holds before the worker puts them into the socket's inbox.
const CAPACITY: usize = 512;

/// A socket as its channel and the worker see it: small enough to be let go of in an interrupt.
pub(super) struct Handle {
    core: Arc<SocketCore>,
    socket: Weak<UdpSocket>,
}

struct HandleRef(Arc<Handle>);

impl Consumer for HandleRef {
    fn wake(&self, _interest: Interest) {
        self.0.core.pollee.notify(READABLE);
    }

    fn defer(&self) {
        self.0.core.net.worker.defer(self.0.clone());
    }

    /// Nobody waits for an answer to a datagram that was not read.
    fn check_later(&self) {}
}

impl Deferred for Handle {
    fn run(&self) {
        let Some(socket) = self.socket.upgrade() else { return };
        socket.channel.begin_deferred();
        socket.drain(&mut socket.inner.lock());
        self.core.pollee.notify(READABLE);
    }

    fn check(&self) -> bool {
        !self.socket.upgrade().is_none_or(|socket| socket.channel.is_empty())
    }
}

/// A channel for a socket.
pub(super) fn new(core: &Arc<SocketCore>, socket: &Weak<UdpSocket>) -> (Arc<Channel>, Receiver) {
    let handle = Arc::new(Handle { core: core.clone(), socket: socket.clone() });
    Channel::new(CAPACITY, Box::new(HandleRef(handle)))
}

impl UdpSocket {
    /// Takes what lies in the channel into the inbox. Whoever waits after this is woken by the next packet.
    pub(super) fn drain(&self, inner: &mut Inner) {
        loop {
            let packets = inner.receiver.drain();
            for packet in packets {
                self.take_packet(inner, packet);
            }
            if inner.receiver.arm(Interest::READ) == Arm::Armed {
                return;
            }
        }
    }

    /// Takes a packet that begins with its IP header.
    fn take_packet(&self, inner: &mut Inner, mut packet: Box<Packet>) {
        let Some(headers) = Headers::of(&packet) else { return };
        let flow_label = flow_label(packet.head());
        packet.trim_front(headers.ip_header_bytes);
        let family = if headers.source.is_ipv4() { Family::V4 } else { Family::V6 };
        let udp = match header::read(&mut packet, headers.source, headers.destination) {
            Ok(udp) => udp,
            Err(bad) => return self.core.net.udp_counters(family).bad(bad),
        };
        if !inner.options.takes(&udp, family) {
            return self.core.net.udp_counters(family).bad(Bad::Checksum);
        }
        self.core.net.ip.count_delivered(headers.destination, 1);
        let incoming = Incoming {
            local: (headers.destination, udp.destination_port),
            remote: (headers.source, udp.source_port),
            interface: 0,
        };
        let facts = Facts {
            interface: 0,
            hop_limit: headers.hop_limit,
            traffic_class: headers.traffic_class,
            flow_label,
        };
        let arrived = self.arrived(&facts, &incoming, packet);
        self.put(inner, arrived);
    }

    /// Works out anew which flows lead to the sockets on this one's port.
    pub(super) fn refresh_flows(&self, inner: &Inner) {
        if let Some(claim) = &inner.claim {
            self.core.net.udp_flows.refresh(&self.core.net, claim.port());
        }
    }
}

/// The flow label of a header of IPv6; 0 of IPv4.
fn flow_label(head: &[u8]) -> u32 {
    match head.first_chunk::<4>() {
        Some(word) if word[0] >> 4 == 6 => u32::from_be_bytes(*word) & 0xf_ffff,
        _ => 0,
    }
}

/// The flows of UDP that are in the table, by port.
#[derive(Default)]
pub(crate) struct UdpFlows {
    registered: Mutex<BTreeMap<u16, Vec<FlowKey>>>,
}

impl UdpFlows {
    /// Works out anew which flows lead to the sockets on a port. May be called with a socket's lock held.
    pub(crate) fn refresh(&self, net: &Net, port: u16) {
        let mut registered = self.registered.lock();
        for key in registered.remove(&port).unwrap_or_default() {
            net.flows.remove(&key);
        }
        let mut keys = Vec::new();
        for (key, socket) in flows_of(net, port) {
            if net.flows.insert(key, Flow::Channel(socket.channel.clone())).is_ok() {
                keys.push(key);
            }
        }
        if !keys.is_empty() {
            registered.insert(port, keys);
        }
    }

    /// Works out everything anew: addresses have changed.
    pub(crate) fn refresh_all(&self, net: &Net) {
        for port in net.udp_ports.numbers() {
            self.refresh(net, port);
        }
    }
}

/// The flows that lead to one socket each.
fn flows_of(net: &Net, port: u16) -> Vec<(FlowKey, Arc<UdpSocket>)> {
    let on_port: Vec<(Binding, Arc<UdpSocket>)> = net
        .udp_ports
        .on_port(port)
        .into_iter()
        .filter_map(|(binding, owner)| Some((binding, owner.upgrade()?)))
        .collect();
    let interfaces = net.ip.interfaces();
    let own = interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|own| own.address));
    let mut flows = Vec::new();
    for address in own.filter(|address| !is_of_a_link(*address)) {
        let takers = || on_port.iter().filter(|(binding, _)| binding.address.takes(address));
        let sharers = takers().filter(|(binding, _)| binding.reuse_port).count();
        if sharers > 1 || takers().any(|(binding, _)| binding.interface != 0) {
            continue;
        }
        let local = SocketAddr::new(address, port);
        for (binding, socket) in takers() {
            if let Some((remote, remote_port)) = binding.remote {
                let remote = SocketAddr::new(remote, remote_port);
                flows.push((FlowKey::connection(Transport::Udp, local, remote), socket.clone()));
            }
        }
        // From anybody whom no connected socket waits for.
        let stranger = Incoming {
            local: (address, port),
            remote: (Endpoint::unspecified(Family::V4).address, 0),
            interface: 0,
        };
        if let Some(socket) = net.udp_ports.lookup(&stranger, Phase::Bound).and_then(|owner| owner.upgrade())
        {
            flows.push((FlowKey::bound(Transport::Udp, local), socket));
        }
    }
    flows
}

fn is_of_a_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
