//! Segments that belong to no connection (yet), and ICMP errors.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use ip::{Datagram, IcmpErrorKind, OutputOptions};
use ksync::platform;
use netchannels::{Arrival, Batch, FlowKey, Headers, Transport};
use packet::Packet;
use tcp::{Flags, Isn, Segment, SeqNumber, Tuple, reset_for};

use super::TcpSocket;
use crate::{
    Net,
    ingress::Flow,
    ports::{Incoming, Phase},
};

/// Resets to strangers that are sent in a second at most, and at once.
const RESETS_PER_SECOND: u64 = 2000;

/// A bucket of tokens, one for each reset.
#[derive(Default)]
pub struct ResetLimit {
    /// Until when the tokens that are out would have taken to come in.
    spent_until_ns: AtomicU64,
}

impl ResetLimit {
    fn allows(&self, now_ns: u64) -> bool {
        const COST_NS: u64 = 1_000_000_000 / RESETS_PER_SECOND;
        let update = self.spent_until_ns.fetch_update(Relaxed, Relaxed, |spent_until_ns| {
            let from_ns = spent_until_ns.max(now_ns);
            (from_ns - now_ns < 1_000_000_000).then_some(from_ns + COST_NS)
        });
        update.is_ok()
    }
}

impl Net {
    /// Sends segments of no socket in particular.
    pub(super) fn send_tcp(&self, tuple: &Tuple, options: OutputOptions, out: &mut Vec<Box<Packet>>) {
        if out.is_empty() {
            return;
        }
        self.tcp_counters.out_segments.fetch_add(out.len() as u64, Relaxed);
        let interface = scope_of(&tuple.remote);
        if let Ok(route) = self.ip.route(tuple.remote.ip(), Some(tuple.local.ip()), interface) {
            // The peer asks again if it was lost.
            let _ = self.ip.output(&route, tuple.local.ip(), tuple.remote.ip(), options, out);
        }
        out.clear();
    }
}

fn scope_of(address: &SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    }
}

fn ports_of(packet: &Packet) -> Option<(u16, u16)> {
    let header: &[u8; 4] = packet.head().first_chunk()?;
    Some((u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])))
}

/// An address with the interface by which a link-local one is reached.
fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            core::net::SocketAddrV6::new(address, port, 0, interface).into()
        }
        address => SocketAddr::new(address, port),
    }
}

/// Segments that a packet to be sent is cut into.
pub(super) fn segments_of(packet: &Packet) -> u64 {
    packet.segmentation.map_or(1, |segmentation| {
        let payload = packet.len().saturating_sub(segmentation.header_bytes.into());
        payload.div_ceil(usize::from(segmentation.segment_bytes).max(1)) as u64
    })
}

/// Takes a datagram of TCP from IP.
pub fn deliver(net: &Arc<Net>, datagram: Datagram) {
    let Datagram { interface, source, destination, tos, packet, .. } = datagram;
    // Segments have one receiver, and it answers to one sender (RFC 1122, 4.2.3.10).
    if destination.is_multicast() || source.is_multicast() || source.is_unspecified() {
        return;
    }
    let local_kind = net.ip.address_kind(destination, None);
    if local_kind == ip::AddressKind::Broadcast {
        return;
    }
    let Some((source_port, destination_port)) = ports_of(&packet) else {
        net.tcp_counters.in_errors.fetch_add(1, Relaxed);
        return;
    };
    let tuple = Tuple {
        local: SocketAddr::new(destination, destination_port),
        remote: SocketAddr::new(source, source_port),
    };
    let key = FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote);
    let flow = net.flows.get(&key);
    if let Some(Flow::Channel(channel)) = &flow {
        // It had options, or came in fragments, or while the connection was made.
        if let Some(packet) = with_plain_header(source, destination, tos, packet) {
            let mut batch = Batch::new(&net.counters, net.processing());
            let _ = batch.push(channel, packet, Arrival::DATA | Arrival::CONTROL);
        }
        return;
    }
    match Segment::parse(source, destination, packet) {
        Ok(segment) => {
            net.tcp_counters.in_segments.fetch_add(1, Relaxed);
            stranger(net, tuple, interface, flow, segment);
        }
        Err(_) => {
            net.tcp_counters.in_errors.fetch_add(1, Relaxed);
        }
    }
}

/// Takes a packet, from its IP header on, that came for a connection that was over by then.
pub fn late(net: &Arc<Net>, mut packet: Box<Packet>) {
    let Some(headers) = Headers::of(&packet) else { return };
    packet.trim_front(headers.ip_header_bytes);
    let Ok(segment) = Segment::parse(headers.source, headers.destination, packet) else {
        net.tcp_counters.in_errors.fetch_add(1, Relaxed);
        return;
    };
    let tuple = Tuple {
        local: SocketAddr::new(headers.destination, segment.destination_port),
        remote: SocketAddr::new(headers.source, segment.source_port),
    };
    let flow = net.flows.get(&FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote));
    stranger(net, tuple, 0, flow, segment);
}

/// A segment of no connection: for a record of one, for a listener, or for nobody.
fn stranger(net: &Arc<Net>, tuple: Tuple, interface: u32, flow: Option<Flow>, segment: Segment) {
    let mut isn: Option<Isn> = None;
    if let Some(Flow::TimeWait(record)) = flow {
        match record.segment(net, &segment) {
            Some(new) => isn = Some(new),
            None => return,
        }
    }
    let incoming = Incoming {
        local: (tuple.local.ip(), tuple.local.port()),
        remote: (tuple.remote.ip(), tuple.remote.port()),
        interface,
    };
    let listener = net.tcp_ports.lookup(&incoming, Phase::Listening).as_ref().and_then(Weak::upgrade);
    let Some((socket, listener)) =
        listener.and_then(|socket| socket.listener().map(|listener| (socket, listener)))
    else {
        return reset(net, &tuple, &segment);
    };
    let tuple = Tuple {
        remote: socket_address(tuple.remote.ip(), tuple.remote.port(), interface),
        local: socket_address(tuple.local.ip(), tuple.local.port(), interface),
    };
    listener.segment(&socket, tuple, segment, isn);
}

/// Tells a stranger that there is nobody. Not too often: these answers are free for the one who asks.
fn reset(net: &Net, tuple: &Tuple, segment: &Segment) {
    let is_local = tuple.remote.ip().is_loopback() || tuple.remote.ip() == tuple.local.ip();
    if !is_local && !net.reset_limit.allows(platform::now_ns()) {
        return;
    }
    if let Some(reset) = reset_for(tuple, segment) {
        net.tcp_counters.resets_sent.fetch_add(1, Relaxed);
        net.send_tcp(tuple, OutputOptions::new(ip::protocol::TCP), &mut alloc::vec![reset]);
    }
}

/// Puts the IP header back on: one without options, as the channels' readers expect. `None` if there is no room.
fn with_plain_header(
    source: IpAddr,
    destination: IpAddr,
    tos: u8,
    mut packet: Box<Packet>,
) -> Option<Box<Packet>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) if packet.head_room_in_front() >= 20 => {
            let bytes = u16::try_from(packet.len() + 20).ok()?;
            let header = packet.prepend(20);
            header.fill(0);
            header[0] = 0x45;
            header[1] = tos;
            header[2..4].copy_from_slice(&bytes.to_be_bytes());
            header[8] = 64;
            header[9] = ip::protocol::TCP;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) if packet.head_room_in_front() >= 40 => {
            let bytes = u16::try_from(packet.len()).ok()?;
            let header = packet.prepend(40);
            header.fill(0);
            header[0] = 0x60 | tos >> 4;
            header[1] = tos << 4;
            header[4..6].copy_from_slice(&bytes.to_be_bytes());
            header[6] = ip::protocol::TCP;
            header[7] = 64;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
        }
        _ => return None,
    }
    Some(packet)
}

/// Takes an ICMP error about a segment of ours.
pub fn icmp_error(net: &Arc<Net>, error: ip::IcmpError) {
    let Some(quoted) = error.quoted.first_chunk::<8>() else { return };
    let port = |at: usize| u16::from_be_bytes([quoted[at], quoted[at + 1]]);
    let sequence = SeqNumber(u32::from_be_bytes([quoted[4], quoted[5], quoted[6], quoted[7]]));
    let tuple = Tuple {
        local: SocketAddr::new(error.source, port(0)),
        remote: SocketAddr::new(error.destination, port(2)),
    };
    let said = match error.kind {
        IcmpErrorKind::PacketTooBig { mtu } => tcp::IcmpError::PacketTooBig { mtu },
        IcmpErrorKind::Unreachable { errno, .. } => tcp::IcmpError::Unreachable { errno },
        IcmpErrorKind::TimeExceeded => tcp::IcmpError::Unreachable { errno: linux_abi::Errno::EHOSTUNREACH },
        IcmpErrorKind::ParameterProblem => tcp::IcmpError::Unreachable { errno: linux_abi::Errno::EPROTO },
        IcmpErrorKind::SourceQuench => return,
    };
    let key = FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote);
    if let Some(Flow::Channel(_)) = net.flows.get(&key) {
        if let Some(socket) = net.connection_at(&tuple) {
            socket.icmp_error(sequence, said);
        }
        return;
    }
    let incoming = Incoming {
        local: (tuple.local.ip(), tuple.local.port()),
        remote: (tuple.remote.ip(), tuple.remote.port()),
        interface: error.interface,
    };
    if let Some(socket) = net.tcp_ports.lookup(&incoming, Phase::Listening).as_ref().and_then(Weak::upgrade)
        && let Some(listener) = socket.listener()
    {
        listener.icmp_error(&tuple, sequence, said);
    }
}

impl Net {
    /// The socket of a connection. Slow: for errors only.
    fn connection_at(&self, tuple: &Tuple) -> Option<Arc<TcpSocket>> {
        self.tcp_ports.owners_at(tuple.local.port()).iter().filter_map(Weak::upgrade).find(|socket| {
            let endpoints = socket.core().endpoints();
            endpoints.remote.is_some_and(|remote| {
                (remote.address, remote.port) == (tuple.remote.ip(), tuple.remote.port())
                    && endpoints.local.address == tuple.local.ip()
            })
        })
    }
}

impl TcpSocket {
    /// An ICMP error quotes a segment of this connection that began with `quoted_sequence`.
    fn icmp_error(&self, quoted_sequence: SeqNumber, error: tcp::IcmpError) {
        let mut inner = self.lock();
        let net = self.net();
        let Some(stream) = inner.stream() else { return };
        if let (tcp::IcmpError::PacketTooBig { mtu }, Some(route)) = (error, &stream.route) {
            let remote = stream.connection.tuple().remote.ip();
            net.ip.update_path_mtu(route, remote, mtu);
        }
        let before = stream.connection.readiness();
        stream.connection.icmp_error(platform::now_ns(), quoted_sequence, error, &mut stream.out);
        let changed = stream.connection.readiness() != before;
        drop(inner);
        if changed {
            self.core().pollee.notify(vfs::PollEvents::all());
        }
    }
}

/// Whether a segment asks for a connection.
pub fn is_syn(segment: &Segment) -> bool {
    segment.flags.contains(Flags::SYN) && !segment.flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
}
