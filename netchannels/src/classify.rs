//! Reading a packet's headers, for the common case.
//!
//! A packet is [`Classified::Flow`] only if everything about it is as it nearly always is; then its headers are valid,
//! its lengths agree with each other, and all of its headers lie in the packet's head. Whatever is odd in any way takes
//! the slow path, which decides what is wrong with it, if anything. So being strict here can cost time, never a packet.

use core::net::IpAddr;

use bitflags::bitflags;
use packet::{MacAddress, Packet, internet_checksum};

use crate::{
    FlowKey, Transport,
    key::{self, ipv4_words, ipv6_words},
};

const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;

/// What the packets of a link begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The Ethernet header; the link's own address is this.
    Ethernet(MacAddress),
    /// The IP header: the loopback.
    Ip,
}

/// What [`classify`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classified {
    /// A segment or datagram as it should be, of a flow that the table may know.
    Flow(Flow),
    /// Something for the slow path.
    Slow(SlowReason),
}

/// Why a packet takes the slow path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum SlowReason {
    /// Neither IPv4 nor IPv6 (ARP), or tagged with a VLAN.
    NotIp,
    /// To another station, or to several of them (multicast, broadcast).
    NotOurs,
    /// Options of IPv4.
    Options,
    /// A fragment.
    Fragment,
    /// Neither TCP nor UDP (ICMP), or extension headers of IPv6 before it.
    Protocol,
    /// An address that cannot be one end of a flow, or not on this link.
    Address,
    /// Too short, or lengths that contradict each other, or a wrong checksum of IPv4's header.
    Malformed,
    /// There is no such flow: SYNs to listeners, strangers, and what comes too late.
    Stranger,
    /// The flow's packets are handled there: TIME_WAIT, and connections about to be accepted.
    Compact,
}

impl SlowReason {
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::NotIp, "not-ip"),
        (Self::NotOurs, "not-ours"),
        (Self::Options, "options"),
        (Self::Fragment, "fragment"),
        (Self::Protocol, "protocol"),
        (Self::Address, "address"),
        (Self::Malformed, "malformed"),
        (Self::Stranger, "stranger"),
        (Self::Compact, "compact"),
    ];
}

bitflags! {
    /// What a packet brings that somebody may be waiting for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Arrival: u8 {
        /// Payload; each datagram counts as such, an empty one too.
        const DATA = 1;
        /// SYN, FIN or RST: the state changes.
        const CONTROL = 2;
    }
}

/// A packet's flow and where its headers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Whose it is.
    pub key: FlowKey,
    /// What it brings.
    pub arrival: Arrival,
    /// Bytes of the link's header.
    link_bytes: u8,
    /// Bytes from the IP header to the end of the payload.
    ip_bytes: u16,
}

impl Flow {
    /// Takes the link's header and padding off: the packet begins with its IP header then, and ends with its
    /// payload. So it goes into a channel; [`Headers::of`] reads it there.
    #[inline]
    pub fn strip(&self, packet: &mut Packet) {
        if self.link_bytes != 0 {
            packet.trim_front(usize::from(self.link_bytes));
        }
        if packet.len() > usize::from(self.ip_bytes) {
            packet.truncate(usize::from(self.ip_bytes));
        }
    }
}

/// Finds out whose a packet is, from its head alone. The IPv4 header's checksum is verified here and need not be
/// later; the transport's is left to whoever reads the payload.
///
/// ```
/// use netchannels::{Classified, Framing, SlowReason, classify};
/// use packet::Packet;
///
/// let arp = Packet::from_head(&[0xff; 14]);
/// assert_eq!(classify(&arp, Framing::Ip), Classified::Slow(SlowReason::NotIp));
/// ```
#[inline]
pub fn classify(packet: &Packet, framing: Framing) -> Classified {
    match parse(packet, framing) {
        Ok(flow) => Classified::Flow(flow),
        Err(reason) => Classified::Slow(reason),
    }
}

fn parse(packet: &Packet, framing: Framing) -> Result<Flow, SlowReason> {
    let head = packet.head();
    let (ip, link_bytes) = match framing {
        Framing::Ip => (head, 0),
        Framing::Ethernet(own) => {
            let (header, ip) = head.split_first_chunk::<ETHERNET_BYTES>().ok_or(SlowReason::Malformed)?;
            let version = match [header[12], header[13]] {
                ETHERTYPE_IPV4 => 4,
                ETHERTYPE_IPV6 => 6,
                _ => return Err(SlowReason::NotIp),
            };
            if header[..6] != own.0 {
                return Err(SlowReason::NotOurs);
            }
            if ip.first().is_none_or(|first| first >> 4 != version) {
                return Err(SlowReason::Malformed);
            }
            (ip, ETHERNET_BYTES)
        }
    };
    let available = packet.len() - link_bytes;
    let network = match ip.first().ok_or(SlowReason::Malformed)? >> 4 {
        4 => parse_ipv4(ip, available, framing)?,
        6 => parse_ipv6(ip, available, framing)?,
        _ => return Err(SlowReason::NotIp),
    };
    let Network { protocol, source, destination, header_bytes, ip_bytes } = network;
    let transport = ip.get(header_bytes..).ok_or(SlowReason::Malformed)?;
    let transport_bytes = ip_bytes - header_bytes;
    let (transport, ports, arrival) = match protocol {
        6 => {
            let (ports, arrival) = parse_tcp(transport, transport_bytes)?;
            (Transport::Tcp, ports, arrival)
        }
        17 => (Transport::Udp, parse_udp(transport, transport_bytes)?, Arrival::DATA),
        _ => return Err(SlowReason::Protocol),
    };
    let [source_port, destination_port] = ports;
    if source_port == 0 || destination_port == 0 {
        return Err(SlowReason::Address);
    }
    let key = FlowKey::new(transport, (destination, destination_port), (source, source_port));
    Ok(Flow { key, arrival, link_bytes: link_bytes as u8, ip_bytes: ip_bytes as u16 })
}

struct Network {
    protocol: u8,
    source: [u64; 2],
    destination: [u64; 2],
    header_bytes: usize,
    /// Header and payload; at most 65,575.
    ip_bytes: usize,
}

/// RFC 791, 3.1. `available` bytes are there from the header on.
fn parse_ipv4(ip: &[u8], available: usize, framing: Framing) -> Result<Network, SlowReason> {
    let header = ip.first_chunk::<IPV4_BYTES>().ok_or(SlowReason::Malformed)?;
    if header[0] != 0x45 {
        return Err(if header[0] > 0x45 { SlowReason::Options } else { SlowReason::Malformed });
    }
    let ip_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if ip_bytes < IPV4_BYTES || ip_bytes > available {
        return Err(SlowReason::Malformed);
    }
    if internet_checksum::fold(internet_checksum::add(0, header)) != 0xffff {
        return Err(SlowReason::Malformed);
    }
    // All but "don't fragment": more fragments, the offset, and the bit that must be zero.
    if u16::from_be_bytes([header[6], header[7]]) & !0x4000 != 0 {
        return Err(SlowReason::Fragment);
    }
    let source: [u8; 4] = [header[12], header[13], header[14], header[15]];
    let destination = [header[16], header[17], header[18], header[19]];
    // Addresses of "this network" (0/8), multicast and reserved (224/3) name no flow. Loopback addresses live on the
    // loopback only (RFC 1122, 3.2.1.3).
    let odd =
        |octets: [u8; 4]| octets[0] == 0 || octets[0] >= 224 || (octets[0] == 127 && framing != Framing::Ip);
    if odd(source) || odd(destination) {
        return Err(SlowReason::Address);
    }
    Ok(Network {
        protocol: header[9],
        source: ipv4_words(source),
        destination: ipv4_words(destination),
        header_bytes: IPV4_BYTES,
        ip_bytes,
    })
}

/// RFC 8200, 3.
fn parse_ipv6(ip: &[u8], available: usize, framing: Framing) -> Result<Network, SlowReason> {
    let header = ip.first_chunk::<IPV6_BYTES>().ok_or(SlowReason::Malformed)?;
    let ip_bytes = IPV6_BYTES + usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A length of zero is a jumbogram's (RFC 2675), or there is nothing in it.
    if ip_bytes == IPV6_BYTES || ip_bytes > available || ip_bytes > usize::from(u16::MAX) {
        return Err(SlowReason::Malformed);
    }
    let octets = |at: usize| -> [u8; 16] { core::array::from_fn(|i| header[at + i]) };
    let [source, destination] = [octets(8), octets(24)].map(ipv6_words);
    // ::/96 holds the unspecified address and the loopback; mapped IPv4 addresses must not be on any wire.
    let odd = |address: [u64; 2]| {
        (address[0] == 0 && address[1] >> 32 == 0 && (address[1] != 1 || framing != Framing::Ip))
            || key::is_mapped_ipv4(address)
            || address[0] >> 56 == 0xff
    };
    if odd(source) || odd(destination) {
        return Err(SlowReason::Address);
    }
    Ok(Network { protocol: header[6], source, destination, header_bytes: IPV6_BYTES, ip_bytes })
}

/// RFC 9293, 3.1: ports and what it brings.
fn parse_tcp(segment: &[u8], segment_bytes: usize) -> Result<([u16; 2], Arrival), SlowReason> {
    let header = segment.first_chunk::<TCP_BYTES>().ok_or(SlowReason::Malformed)?;
    let header_bytes = usize::from(header[12] >> 4) * 4;
    if header_bytes < TCP_BYTES || header_bytes > segment_bytes || header_bytes > segment.len() {
        return Err(SlowReason::Malformed);
    }
    let mut arrival = Arrival::empty();
    arrival.set(Arrival::DATA, segment_bytes > header_bytes);
    const FIN_SYN_RST: u8 = 0b111;
    arrival.set(Arrival::CONTROL, header[13] & FIN_SYN_RST != 0);
    Ok((ports(header), arrival))
}

/// RFC 768. A length that differs from IP's is left to the slow path: "UDP options", or a mistake.
fn parse_udp(datagram: &[u8], datagram_bytes: usize) -> Result<[u16; 2], SlowReason> {
    let header = datagram.first_chunk::<UDP_BYTES>().ok_or(SlowReason::Malformed)?;
    if usize::from(u16::from_be_bytes([header[4], header[5]])) != datagram_bytes {
        return Err(SlowReason::Malformed);
    }
    Ok(ports(header))
}

fn ports(header: &[u8]) -> [u16; 2] {
    [0, 2].map(|at| u16::from_be_bytes([header[at], header[at + 1]]))
}

/// What the IP header says of a packet that came out of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Whom it is from.
    pub source: IpAddr,
    /// To whom it was sent.
    pub destination: IpAddr,
    /// Type of service (IPv4) or traffic class (IPv6), with the two bits of ECN.
    pub traffic_class: u8,
    /// Time to live (IPv4) or hop limit (IPv6).
    pub hop_limit: u8,
    /// Bytes of the IP header: at this offset the transport's begins.
    pub ip_header_bytes: usize,
}

impl Headers {
    /// Reads the IP header of a packet that was classified as a flow's and [stripped](Flow::strip). `None` if it
    /// was not.
    pub fn of(packet: &Packet) -> Option<Self> {
        let head = packet.head();
        if head.first()? >> 4 == 4 {
            let header = head.first_chunk::<IPV4_BYTES>()?;
            let address = |at: usize| IpAddr::from(core::array::from_fn::<u8, 4, _>(|i| header[at + i]));
            Some(Self {
                source: address(12),
                destination: address(16),
                traffic_class: header[1],
                hop_limit: header[8],
                ip_header_bytes: IPV4_BYTES,
            })
        } else {
            let header = head.first_chunk::<IPV6_BYTES>()?;
            let address = |at: usize| IpAddr::from(core::array::from_fn::<u8, 16, _>(|i| header[at + i]));
            Some(Self {
                source: address(8),
                destination: address(24),
                traffic_class: header[0] << 4 | header[1] >> 4,
                hop_limit: header[7],
                ip_header_bytes: IPV6_BYTES,
            })
        }
    }
}
