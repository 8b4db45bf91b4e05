//! What comes to UDP: datagrams by the slow path, and ICMP errors (`__udp4_lib_rcv`, `__udp4_lib_err`).

use alloc::{boxed::Box, sync::Arc};
use core::net::IpAddr;

use ip::{Claim, Datagram, IcmpError, PathMtuDiscovery};
use ksync::platform;
use packet::Packet;
use vfs::PollEvents;

use super::{
    Bad, UdpSocket,
    header::{self, HEADER, Header},
};
use crate::{
    Endpoint, Family, Incoming, Net, Phase, Timestamps,
    datagram::{Arrived, QueuedError, meaning},
    options::path_mtu_discovery,
};

/// Takes a datagram of UDP from IP.
pub fn deliver(net: &Arc<Net>, mut datagram: Datagram) -> Claim {
    let family = if datagram.source.is_ipv4() { Family::V4 } else { Family::V6 };
    let header = match header::read(&mut datagram.packet, datagram.source, datagram.destination) {
        Ok(header) => header,
        Err(bad) => {
            net.udp_counters(family).bad(bad);
            return Claim::Claimed;
        }
    };
    let incoming = Incoming {
        local: (datagram.destination, header.destination_port),
        remote: (datagram.source, header.source_port),
        interface: datagram.interface,
    };
    let is_to_many = match datagram.destination {
        IpAddr::V4(address) => {
            address.is_multicast()
                || net.ip.address_kind(datagram.destination, Some(datagram.interface))
                    == ip::AddressKind::Broadcast
        }
        IpAddr::V6(address) => address.is_multicast(),
    };
    let facts = Facts::of(&datagram);
    if is_to_many {
        for taker in net.udp_ports.lookup_all(&incoming) {
            if let Some(socket) = taker.upgrade()
                && socket.core.wants_group(datagram.destination, datagram.source, datagram.interface)
                && socket.takes(&header, family)
            {
                socket.take_datagram(&facts, &incoming, datagram.packet.clone());
            }
        }
        return Claim::Claimed;
    }
    match net.udp_ports.lookup(&incoming, Phase::Bound).and_then(|taker| taker.upgrade()) {
        Some(socket) if socket.takes(&header, family) => {
            socket.take_datagram(&facts, &incoming, datagram.packet);
        }
        // RFC 8200, 8.1, where there is no socket that says otherwise.
        found if found.is_some() || family == Family::V6 && !header.has_checksum => {
            net.udp_counters(family).bad(Bad::Checksum);
        }
        _ => {
            net.udp_counters(family).no_port();
            net.ip.port_unreachable(&datagram);
        }
    }
    Claim::Claimed
}

/// What is told of a datagram beside its data.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub interface: u32,
    pub hop_limit: u8,
    pub traffic_class: u8,
    pub flow_label: u32,
}

impl Facts {
    fn of(datagram: &Datagram) -> Self {
        Self {
            interface: datagram.interface,
            hop_limit: datagram.hop_limit,
            traffic_class: datagram.tos,
            flow_label: datagram.flow_label,
        }
    }
}

impl UdpSocket {
    /// Whether it takes a datagram with this header.
    fn takes(&self, header: &Header, family: Family) -> bool {
        header.has_checksum || self.inner.lock().options.takes(header, family)
    }

    /// Puts a datagram, whose header has been read, into the inbox.
    fn take_datagram(&self, facts: &Facts, incoming: &Incoming, packet: Box<Packet>) {
        self.take_in(self.arrived(facts, incoming, packet));
    }

    /// A datagram, whose header has been read, as it is queued.
    pub(super) fn arrived(&self, facts: &Facts, incoming: &Incoming, packet: Box<Packet>) -> Arrived {
        let wants_time = self.core.with(|options| options.common.timestamps != Timestamps::Off);
        Arrived {
            source: Endpoint::new(incoming.remote.0, incoming.remote.1),
            destination: Endpoint::new(incoming.local.0, incoming.local.1),
            interface: facts.interface,
            hop_limit: facts.hop_limit,
            traffic_class: facts.traffic_class,
            flow_label: facts.flow_label,
            time_ns: if wants_time { platform::realtime_ns() } else { 0 },
            offset: HEADER,
            packet,
        }
    }
}

/// Takes an ICMP error about a datagram of ours.
pub fn icmp_error(net: &Arc<Net>, error: &IcmpError) {
    let Some((ports, data)) = error.quoted.split_first_chunk::<HEADER>() else { return };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let incoming = Incoming {
        local: (error.source, port(0)),
        remote: (error.destination, port(2)),
        interface: error.interface,
    };
    let found = net.udp_ports.lookup(&incoming, Phase::Bound).and_then(|owner| owner.upgrade());
    let Some(socket) = found else { return };
    let Some(means) = meaning(error) else { return };
    let discovery = socket.core.with(|options| match error.destination {
        IpAddr::V4(_) => options.ip.mtu_discover,
        IpAddr::V6(_) => options.ipv6.mtu_discover,
    });
    if let ip::IcmpErrorKind::PacketTooBig { mtu } = error.kind {
        if let Ok(route) = net.ip.route(error.destination, None, None) {
            net.ip.update_path_mtu(&route, error.destination, mtu);
        }
        if path_mtu_discovery(discovery) == PathMtuDiscovery::Dont {
            return;
        }
    }
    let is_connected = socket.core.endpoints().remote.is_some();
    if socket.core.wants_errors() {
        let destination = Endpoint::new(error.destination, incoming.remote.1);
        socket.inner.lock().inbox.push_error(QueuedError::icmp(error, &means, destination, data));
    } else if !(means.is_hard && is_connected) {
        return;
    }
    socket.core.set_error(means.errno);
    socket.core.pollee.notify(PollEvents::ERR | PollEvents::IN | PollEvents::RDNORM);
}
