//! What comes to raw sockets (`raw_rcv`, `rawv6_rcv`, `ping_rcv`).

use alloc::{boxed::Box, sync::Arc};
use core::net::IpAddr;

use ip::{Claim, Datagram, IcmpError, protocol};
use ksync::platform;
use packet::{HEAD_BYTES, Packet};
use vfs::PollEvents;

use super::{RawMode, RawSocket};
use crate::{
    Endpoint, Family, Incoming, Net, Phase, Timestamps,
    datagram::{Arrived, QueuedError, READABLE, meaning},
};

/// Types of echo replies.
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;

/// Gives a copy to each socket that wants the datagram.
pub(crate) fn deliver(net: &Arc<Net>, datagram: Datagram) -> Claim {
    let mut claim = Claim::Unclaimed;
    for socket in net.raw.sockets() {
        if socket.mode == RawMode::Raw && socket.wants(&datagram) {
            claim = Claim::Claimed;
            socket.take_raw(&datagram);
        }
    }
    if matches!(datagram.protocol, protocol::ICMP | protocol::ICMPV6) {
        claim = Claim::Claimed;
        deliver_echo(net, &datagram);
    }
    claim
}

/// An echo reply goes to the ping socket with its identifier.
fn deliver_echo(net: &Arc<Net>, datagram: &Datagram) {
    let (family, reply) = match datagram.source {
        IpAddr::V4(_) => (Family::V4, ECHO_REPLY_V4),
        IpAddr::V6(_) => (Family::V6, ECHO_REPLY_V6),
    };
    let mut header = [0; 8];
    if datagram.packet.read(0, &mut header) < header.len() || header[0] != reply {
        return;
    }
    let identifier = u16::from_be_bytes([header[4], header[5]]);
    let incoming = Incoming {
        local: (datagram.destination, identifier),
        remote: (datagram.source, 0),
        interface: datagram.interface,
    };
    let table = &net.raw.identifiers[family as usize];
    if let Some(socket) = table.lookup(&incoming, Phase::Bound).and_then(|owner| owner.upgrade())
        && socket.core.endpoints().remote.is_none_or(|remote| remote.address == datagram.source)
    {
        socket.take(datagram, Endpoint::new(datagram.source, 0), datagram.packet.clone());
    }
}

impl RawSocket {
    fn wants(&self, datagram: &Datagram) -> bool {
        let is_same_family = datagram.source.is_ipv4() == (self.core.family == Family::V4);
        if !is_same_family || datagram.protocol != self.core.protocol {
            return false;
        }
        let endpoints = self.core.endpoints();
        let local = endpoints.local.address;
        let interface = self.core.bound_interface();
        if (interface != 0 && interface != datagram.interface)
            || !(local.is_unspecified() || local == datagram.destination)
            || endpoints.remote.is_some_and(|remote| remote.address != datagram.source)
            || !self.core.wants_group(datagram.destination, datagram.source, datagram.interface)
        {
            return false;
        }
        let mut kind = [0];
        datagram.packet.read(0, &mut kind);
        !(self.is_icmp() && self.inner.lock().filter.blocks(kind[0]))
    }

    fn take_raw(&self, datagram: &Datagram) {
        let packet = match datagram.source {
            IpAddr::V4(_) => with_header(&datagram.packet, &datagram.header),
            IpAddr::V6(_) => Some(datagram.packet.clone()),
        };
        // The port of a raw socket's sender is nothing.
        if let Some(packet) = packet {
            self.take(datagram, Endpoint::new(datagram.source, 0), packet);
        }
    }

    fn take(&self, datagram: &Datagram, source: Endpoint, packet: Box<Packet>) {
        let (limit, wants_time) = self.core.with(|options| {
            (options.common.receive_buffer as usize, options.common.timestamps != Timestamps::Off)
        });
        let arrived = Arrived {
            source,
            destination: Endpoint::new(datagram.destination, 0),
            interface: datagram.interface,
            hop_limit: datagram.hop_limit,
            traffic_class: datagram.tos,
            flow_label: datagram.flow_label,
            time_ns: if wants_time { platform::realtime_ns() } else { 0 },
            offset: 0,
            packet,
        };
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return;
        }
        let taken = inner.inbox.push(arrived, limit);
        drop(inner);
        if taken.is_ok() {
            self.core.pollee.notify(READABLE);
        }
    }
}

/// A copy of a packet with its IP header in front.
fn with_header(packet: &Packet, header: &[u8]) -> Option<Box<Packet>> {
    if packet.head_room_in_front() >= header.len() {
        let mut whole = Box::new(packet.clone());
        whole.prepend(header.len()).copy_from_slice(header);
        return Some(whole);
    }
    let head = packet.head();
    if header.len() + head.len() > HEAD_BYTES {
        return None;
    }
    let mut whole = Box::new(Packet::with_front(0));
    whole.append_head(header.len()).copy_from_slice(header);
    whole.append_head(head.len()).copy_from_slice(head);
    for fragment in packet.body() {
        whole.push(fragment.clone()).ok()?;
    }
    Some(whole)
}

/// Tells of an ICMP error about a datagram of a raw or ping socket (`raw_err`, `ping_err`).
pub(crate) fn icmp_error(net: &Arc<Net>, error: &IcmpError) {
    let Some(means) = meaning(error) else { return };
    for socket in net.raw.sockets() {
        let endpoints = socket.core.endpoints();
        let is_same_family = error.source.is_ipv4() == (socket.core.family == Family::V4);
        let is_to_peer = endpoints.remote.is_none_or(|remote| remote.address == error.destination);
        if !is_same_family || socket.core.protocol != error.protocol || !is_to_peer {
            continue;
        }
        if socket.mode == RawMode::Ping {
            let identifier = error.quoted.get(4..6).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
            if identifier != Some(endpoints.local.port) {
                continue;
            }
        }
        if socket.core.wants_errors() {
            let destination = Endpoint::new(error.destination, 0);
            let queued = QueuedError::icmp(error, &means, destination, &error.quoted);
            socket.inner.lock().inbox.push_error(queued);
        } else if !(means.is_hard && endpoints.remote.is_some()) {
            continue;
        }
        socket.core.set_error(means.errno);
        socket.core.pollee.notify(PollEvents::ERR | READABLE);
    }
}
