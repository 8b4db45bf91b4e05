//! Sending.
//!
//! The usual case changes packets in place and takes no lock: all fit, the neighbour's address is known. What does not
//! fit is cut into a new batch (`fragment`), what has no neighbour yet waits with it (`neighbour`).

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::IpAddr;

use linux_abi::Errno;
use packet::{Checksum, MacAddress, Offloads, Packet, Segmentation, SegmentationKind};

use crate::{
    Route, RouteKind, Stack,
    fragment::{offload_of, pieces, segments},
    interface::{Family, Interface},
    neighbour::{Neighbour, Resolution, Solicit},
    wire::{
        BROADCAST_MAC, IPV4_HEADER_BYTES, IPV6_FRAGMENT_HEADER_BYTES, IPV6_HEADER_BYTES, Ipv4Header,
        Ipv6Header, complete_checksum, ensure_front, multicast_mac,
    },
};

/// How a packet is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// What it carries ([`protocol`](crate::protocol)).
    pub protocol: u8,
    /// Time to live, hop limit; `None` for the default: 64 or what the router said, 1 for multicast.
    pub hop_limit: Option<u8>,
    /// Type of service, traffic class.
    pub tos: u8,
    /// IPv6's flow label.
    pub flow_label: u32,
    /// What is done with packets larger than the path's MTU.
    pub path_mtu_discovery: PathMtuDiscovery,
    /// Whether members on this machine get a multicast packet, too.
    pub multicast_loop: MulticastLoop,
    /// How large fragments are at most, headers of IP included, and packets that must not be fragmented, though the
    /// path may take larger ones (`IPV6_MTU`). What the path takes whole is not cut for that, as by Linux.
    pub most_bytes: Option<u32>,
}

impl OutputOptions {
    /// The defaults of a new socket, for packets of `protocol`.
    pub const fn new(protocol: u8) -> Self {
        Self {
            protocol,
            hop_limit: None,
            tos: 0,
            flow_label: 0,
            path_mtu_discovery: PathMtuDiscovery::Want,
            multicast_loop: MulticastLoop::On,
            most_bytes: None,
        }
    }
}

/// What is done with packets larger than the path's MTU (`IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`; `ip(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// They are fragmented here, all others must not be on the way (`IP_PMTUDISC_WANT`).
    Want,
    /// They are fragmented, here or on the way (`IP_PMTUDISC_DONT`).
    Dont,
    /// They are refused with `EMSGSIZE` (`IP_PMTUDISC_DO`).
    Do,
    /// They are refused if they are larger than the link's MTU; the path's does not matter
    /// (`IP_PMTUDISC_PROBE`).
    Probe,
}

/// Whether members on this machine get a multicast packet (`IP_MULTICAST_LOOP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MulticastLoop {
    /// They do.
    On,
    /// They do not.
    Off,
}

/// The IP header of a batch.
enum Template {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

impl Template {
    fn new(
        route: &Route,
        source: IpAddr,
        destination: IpAddr,
        options: &OutputOptions,
    ) -> Result<Self, Errno> {
        let hop_limit = options.hop_limit.unwrap_or(match route.kind {
            // RFC 1112, 6.1: groups stay on the link unless their sender says otherwise.
            RouteKind::Multicast => 1,
            _ => route.link.hop_limit(route.family()),
        });
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Ok(Self::V4(Ipv4Header {
                header_bytes: IPV4_HEADER_BYTES,
                total_bytes: 0,
                tos: options.tos,
                identification: 0,
                dont_fragment: options.path_mtu_discovery != PathMtuDiscovery::Dont,
                more_fragments: false,
                fragment_offset: 0,
                ttl: hop_limit,
                protocol: options.protocol,
                source,
                destination,
            })),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Ok(Self::V6(Ipv6Header {
                traffic_class: options.tos,
                flow_label: options.flow_label,
                payload_bytes: 0,
                next_header: options.protocol,
                hop_limit,
                source,
                destination,
            })),
            _ => Err(Errno::EINVAL),
        }
    }

    fn header_bytes(&self) -> usize {
        match self {
            Self::V4(_) => IPV4_HEADER_BYTES,
            Self::V6(_) => IPV6_HEADER_BYTES,
        }
    }

    /// Largest payload that the header can tell of.
    fn max_payload_bytes(&self) -> usize {
        match self {
            Self::V4(_) => 0xffff - IPV4_HEADER_BYTES,
            Self::V6(_) => 0xffff,
        }
    }

    /// Puts the header on.
    fn put(&self, stack: &Stack, packet: &mut Box<Packet>) -> Result<(), Errno> {
        ensure_front(packet, self.header_bytes())?;
        let payload_bytes = packet.len();
        match self {
            Self::V4(header) => {
                // What cannot be fragmented needs no identification (RFC 6864, 4.1).
                let identification = if header.dont_fragment { 0 } else { stack.identification_v4(header) };
                let total_bytes = IPV4_HEADER_BYTES + payload_bytes;
                let header = Ipv4Header { identification, total_bytes, ..*header };
                packet.prepend(IPV4_HEADER_BYTES).copy_from_slice(&header.bytes());
            }
            Self::V6(header) => {
                let header = Ipv6Header { payload_bytes, ..*header };
                packet.prepend(IPV6_HEADER_BYTES).copy_from_slice(&header.bytes());
            }
        }
        Ok(())
    }
}

impl Stack {
    /// Sends `packets`, which begin with their transport's header and have room for 54 more bytes in their
    /// heads (62 if they may be fragmented; without that, the head is copied once more), from `source` to `destination`,
    /// and leaves the vector empty.
    ///
    /// A [partial checksum](packet::Checksum::Partial) is completed, and a packet with
    /// [`segmentation`](Packet::segmentation) is cut, if the link does not do it. `EMSGSIZE` if a packet is too large
    /// ([`PathMtuDiscovery`]). Success does not mean that it arrives: the queue of a neighbour that is yet to be found is
    /// short, as that of the device is. Takes no lock that other CPUs take, unless the neighbour must be looked
    /// for.
    pub fn output(
        &self,
        route: &Route,
        source: IpAddr,
        destination: IpAddr,
        options: OutputOptions,
        packets: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        let result = self.prepare(route, source, destination, &options, packets);
        let counters = self.counters.ip(destination);
        counters.out_requests.add(packets.len() as u64);
        match result {
            Ok(()) => self.transmit(route, packets),
            Err(_) => counters.out_discards.add(packets.len() as u64),
        }
        packets.clear();
        result
    }

    /// Puts IP headers on, and cuts what does not fit.
    fn prepare(
        &self,
        route: &Route,
        source: IpAddr,
        destination: IpAddr,
        options: &OutputOptions,
        packets: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        let template = Template::new(route, source, destination, options)?;
        let mtu = match options.path_mtu_discovery {
            PathMtuDiscovery::Want | PathMtuDiscovery::Do => route.mtu,
            PathMtuDiscovery::Dont | PathMtuDiscovery::Probe => route.link.mtu(route.family()),
        };
        let fragment_bytes = options.most_bytes.map_or(mtu, |most| most.min(mtu)) as usize;
        let mtu = match options.path_mtu_discovery {
            PathMtuDiscovery::Want | PathMtuDiscovery::Dont => mtu as usize,
            PathMtuDiscovery::Do | PathMtuDiscovery::Probe => fragment_bytes,
        };
        let header_bytes = template.header_bytes();
        let fits = |packet: &Packet| {
            let len = packet.len();
            len <= template.max_payload_bytes()
                && match packet.segmentation {
                    None => header_bytes + len <= mtu,
                    // The loopback takes a segment of TCP as it is; a datagram is one that somebody receives.
                    Some(Segmentation { kind, .. }) if route.link.is_loopback() => {
                        kind != SegmentationKind::Udp && header_bytes + len <= mtu
                    }
                    // Also one that would fit whole is cut: the peer may take no larger segments.
                    Some(segmentation) => {
                        let segment =
                            usize::from(segmentation.header_bytes) + usize::from(segmentation.segment_bytes);
                        header_bytes + segment <= mtu
                            && route.offloads.contains(offload_of(segmentation.kind))
                    }
                }
        };
        if packets.iter().all(|packet| fits(packet)) {
            for packet in packets.iter_mut() {
                finish(self, route, &template, packet)?;
            }
        } else {
            let mut cut = Vec::new();
            for packet in packets.drain(..) {
                if fits(&packet) {
                    cut.push(packet);
                } else if packet.segmentation.is_some() {
                    segments(&packet, source, destination, &mut cut)?;
                } else {
                    cut.push(packet);
                }
            }
            for mut packet in cut {
                if fits(&packet) {
                    finish(self, route, &template, &mut packet)?;
                    packets.push(packet);
                } else {
                    self.fragment(&template, options, fragment_bytes, packet, packets)?;
                }
            }
        }
        self.loop_back(route, options, packets);
        Ok(())
    }

    /// Cuts a packet into fragments, with their headers.
    fn fragment(
        &self,
        template: &Template,
        options: &OutputOptions,
        mtu: usize,
        mut packet: Box<Packet>,
        into: &mut Vec<Box<Packet>>,
    ) -> Result<(), Errno> {
        let may = matches!(options.path_mtu_discovery, PathMtuDiscovery::Want | PathMtuDiscovery::Dont);
        let counters = match template {
            Template::V4(_) => &self.counters.ipv4,
            Template::V6(_) => &self.counters.ipv6,
        };
        if !may || packet.len() > template.max_payload_bytes() {
            counters.fragmentation_failures.add(1);
            return Err(Errno::EMSGSIZE);
        }
        complete_checksum(&mut packet);
        let before = into.len();
        match template {
            Template::V4(header) => {
                let identification = self.identification_v4(header);
                for piece in pieces(&packet, mtu - IPV4_HEADER_BYTES) {
                    let mut piece = piece?;
                    let header = Ipv4Header {
                        total_bytes: IPV4_HEADER_BYTES + piece.packet.len(),
                        identification,
                        dont_fragment: false,
                        more_fragments: !piece.is_last,
                        fragment_offset: piece.offset,
                        ..*header
                    };
                    piece.packet.prepend(IPV4_HEADER_BYTES).copy_from_slice(&header.bytes());
                    into.push(piece.packet);
                }
            }
            Template::V6(header) => {
                let identification = self.identification_v6(header);
                let room = mtu - IPV6_HEADER_BYTES - IPV6_FRAGMENT_HEADER_BYTES;
                for piece in pieces(&packet, room) {
                    let mut piece = piece?;
                    let header = Ipv6Header {
                        payload_bytes: IPV6_FRAGMENT_HEADER_BYTES + piece.packet.len(),
                        next_header: crate::extension::FRAGMENT,
                        ..*header
                    };
                    let offset_and_more = piece.offset as u16 | u16::from(!piece.is_last);
                    let extension = piece.packet.prepend(IPV6_FRAGMENT_HEADER_BYTES);
                    extension[0] = options.protocol;
                    extension[1] = 0;
                    extension[2..4].copy_from_slice(&offset_and_more.to_be_bytes());
                    extension[4..].copy_from_slice(&identification.to_be_bytes());
                    piece.packet.prepend(IPV6_HEADER_BYTES).copy_from_slice(&header.bytes());
                    into.push(piece.packet);
                }
            }
        }
        counters.fragmented.add(1);
        counters.fragments_created.add((into.len() - before) as u64);
        Ok(())
    }

    /// Lets this machine hear what it sends to a group that it listens to, or to all.
    fn loop_back(&self, route: &Route, options: &OutputOptions, packets: &[Box<Packet>]) {
        let hears = match route.kind {
            RouteKind::Multicast => {
                options.multicast_loop == MulticastLoop::On
                    && !route.link.is_loopback()
                    && self.groups.listens(route.interface, route.next_hop)
            }
            RouteKind::Broadcast => !route.link.is_loopback(),
            RouteKind::Local | RouteKind::Unicast => false,
        };
        if hears {
            self.queue_looped(route.interface, packets);
        }
    }

    /// Sends packets with IP headers to the route's next hop.
    pub(crate) fn transmit(&self, route: &Route, packets: &mut Vec<Box<Packet>>) {
        let link = &route.link;
        match route.kind {
            _ if link.is_loopback() => link.transmit(packets, MacAddress::default()),
            RouteKind::Multicast => link.transmit(packets, multicast_mac(route.next_hop)),
            RouteKind::Broadcast => link.transmit(packets, BROADCAST_MAC),
            RouteKind::Local | RouteKind::Unicast => {
                match route.neighbour.as_ref().and_then(|neighbour| neighbour.ready()) {
                    Some(mac) => link.transmit(packets, mac),
                    None => {
                        self.transmit_to_neighbour(link, route.next_hop, route.neighbour.as_ref(), packets);
                    }
                }
            }
        }
    }

    /// Sends packets with IP headers to a neighbour, or lets them wait for it.
    #[cold]
    pub(crate) fn transmit_to_neighbour(
        &self,
        link: &Interface,
        next_hop: IpAddr,
        known: Option<&Arc<Neighbour>>,
        packets: &mut Vec<Box<Packet>>,
    ) {
        let mut neighbour = known.cloned().unwrap_or_else(|| self.neighbour(link, next_hop));
        // Whoever is forgotten between two looks is looked up anew; that is rare, and twice in a row a flood.
        for _ in 0..3 {
            match link.neighbours.resolve(&neighbour, self.now_ns(), packets) {
                Resolution::Send(mac) => {
                    link.transmit(packets, mac);
                    self.poll_wanted();
                    return;
                }
                Resolution::Queued(solicit) => {
                    self.counters.ip(next_hop).out_discards.add(packets.len() as u64);
                    packets.clear();
                    if solicit == Solicit::Now {
                        self.solicit(link, next_hop, None);
                        self.poll_wanted();
                    }
                    return;
                }
                Resolution::Forgotten => neighbour = self.neighbour(link, next_hop),
            }
        }
        packets.clear();
    }

    /// Sends a packet that begins with an IPv4 header of its sender's (`IP_HDRINCL`): length and checksum are filled in,
    /// also source and identification if they are 0 (`raw(7)`). `EINVAL` if it is no header, `EMSGSIZE` if it is too
    /// large: such packets are not fragmented.
    pub fn output_with_header(&self, route: &Route, mut packet: Box<Packet>) -> Result<(), Errno> {
        let header = Ipv4Header::parse(packet.head()).ok_or(Errno::EINVAL)?;
        let len = packet.len();
        if len > route.link.mtu(Family::V4) as usize || len > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        let IpAddr::V4(source) = route.source else { return Err(Errno::EINVAL) };
        let identification = match header.identification {
            0 if !header.dont_fragment => self.identification_v4(&header),
            given => given,
        };
        let bytes = &mut packet.head_mut()[..header.header_bytes];
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        bytes[4..6].copy_from_slice(&identification.to_be_bytes());
        if header.source.is_unspecified() {
            bytes[12..16].copy_from_slice(&source.octets());
        }
        bytes[10..12].fill(0);
        let sum = !packet::internet_checksum::fold(packet::internet_checksum::add(0, bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        self.counters.ipv4.out_requests.add(1);
        let mut packets = Vec::from([packet]);
        self.loop_back(route, &OutputOptions::new(header.protocol), &packets);
        self.transmit(route, &mut packets);
        Ok(())
    }

    /// Notes that the peer behind a route is there, as the transport has got an answer from it: its neighbour is
    /// not asked (RFC 4861, 7.3.1).
    pub fn confirm(&self, route: &Route) {
        if let Some(neighbour) = &route.neighbour {
            neighbour.confirm(self.now_ns());
        }
    }
}

fn finish(stack: &Stack, route: &Route, template: &Template, packet: &mut Box<Packet>) -> Result<(), Errno> {
    if let Checksum::Partial { .. } = packet.checksum
        && !route.offloads.contains(Offloads::CHECKSUM)
    {
        complete_checksum(packet);
    }
    template.put(stack, packet)
}
