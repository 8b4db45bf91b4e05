//! Formats: Ethernet, IP headers, pseudo-headers.
//!
//! A packet's payload is scattered, and only its head can be looked at as a slice. So headers are read and written
//! here in place; a length that a header claims is compared with what there is before anything follows it.

use alloc::{boxed::Box, vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;
use packet::{Checksum, Fragment, MacAddress, Packet, internet_checksum};

pub(crate) const ETHERNET_HEADER_BYTES: usize = 14;
pub(crate) const IPV4_HEADER_BYTES: usize = 20;
pub(crate) const IPV6_HEADER_BYTES: usize = 40;
pub(crate) const IPV6_FRAGMENT_HEADER_BYTES: usize = 8;

/// Room in front of the transport header of packets that we make: Ethernet, IPv6, a fragment header, rounded up.
pub(crate) const FRONT_BYTES: usize = 64;

/// Smallest MTU of a link of IPv6 (RFC 8200, 5).
pub(crate) const IPV6_MIN_MTU: u32 = 1280;

pub(crate) const BROADCAST_MAC: MacAddress = MacAddress([0xff; 6]);

pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
}

/// The big-endian 16-bit number at `at`.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The big-endian 32-bit number at `at`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The IPv4 address at `at`.
pub(crate) fn ipv4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

/// The IPv6 address at `at`.
pub(crate) fn ipv6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

/// The hardware address at `at`.
pub(crate) fn mac_at(bytes: &[u8], at: usize) -> Option<MacAddress> {
    Some(MacAddress(*bytes.get(at..)?.first_chunk()?))
}

/// Whether a hardware address is one of several machines.
pub(crate) fn is_group_mac(mac: MacAddress) -> bool {
    mac.0[0] & 1 != 0
}

/// Where a link sends packets for a group (RFC 1112, 6.4; RFC 2464, 7).
pub(crate) fn multicast_mac(group: IpAddr) -> MacAddress {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let octets = group.octets();
            MacAddress([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
        }
    }
}

/// The group at which an address is looked for (RFC 4291, 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, octets[13], octets[14], octets[15]])
}

/// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
pub(crate) fn pseudo_header_sum(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u64 {
    let add = |sum, address: IpAddr| match address {
        IpAddr::V4(address) => internet_checksum::add(sum, &address.octets()),
        IpAddr::V6(address) => internet_checksum::add(sum, &address.octets()),
    };
    let sum = add(add(u64::from(protocol), source), destination);
    internet_checksum::add(sum, &(len as u32).to_be_bytes())
}

/// Adds all bytes of `packet` from `start` on to a checksum.
pub(crate) fn packet_sum(packet: &Packet, start: usize, mut sum: u64) -> u64 {
    let mut buffer = [0; 1024];
    let mut at = start;
    loop {
        let read = packet.read(at, &mut buffer);
        if read == 0 {
            return sum;
        }
        // Only the last part may be odd, as the buffer's length is even.
        sum = internet_checksum::add(sum, &buffer[..read]);
        at += read;
    }
}

/// Whether the transport checksum of what begins with its header is right: the device says so, or the sum does.
pub(crate) fn checksum_is_good(packet: &Packet, pseudo_header_sum: u64) -> bool {
    packet.checksum != Checksum::Unverified
        || internet_checksum::fold(packet_sum(packet, 0, pseudo_header_sum)) == 0xffff
}

/// Completes a checksum that was left to the device.
pub(crate) fn complete_checksum(packet: &mut Packet) {
    let Checksum::Partial { start, offset } = packet.checksum else { return };
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    let mut sum = !internet_checksum::fold(packet_sum(packet, start, 0));
    // UDP's 0 means that there is no checksum, and to all others it is the same number.
    if sum == 0 {
        sum = 0xffff;
    }
    if let Some(field) = packet.head_mut().get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    packet.checksum = Checksum::Unverified;
}

/// A packet of `bytes`, with room in front for all headers.
pub(crate) fn packet_of(bytes: &[u8]) -> Result<Box<Packet>, Errno> {
    let mut packet = Box::new(Packet::with_front(FRONT_BYTES));
    let (head, body) = bytes.split_at(bytes.len().min(packet.head_room_behind()));
    packet.append_head(head.len()).copy_from_slice(head);
    for part in body.chunks(PAGE_SIZE) {
        let page = PageRef::new_zeroed().map_err(|_| Errno::ENOBUFS)?;
        page.write(0, part);
        packet.push(Fragment::new(page, 0, part.len())).map_err(|_| Errno::EMSGSIZE)?;
    }
    Ok(packet)
}

/// `header` and the part of `len` bytes of `packet` at `start`, as a packet of its own with room in front for all
/// other headers. The body's frames are shared, not copied. `header` is no longer than a TCP header.
pub(crate) fn part_of(
    packet: &Packet,
    start: usize,
    len: usize,
    header: &[u8],
) -> Result<Box<Packet>, Errno> {
    let mut part = Box::new(Packet::with_front(FRONT_BYTES));
    part.append_head(header.len()).copy_from_slice(header);
    let head = packet.head();
    let from = start.min(head.len());
    let of_head = &head[from..(start + len).min(head.len())];
    let (fits, rest) = of_head.split_at(of_head.len().min(part.head_room_behind()));
    part.append_head(fits.len()).copy_from_slice(fits);
    if !rest.is_empty() {
        let page = PageRef::new_zeroed().map_err(|_| Errno::ENOBUFS)?;
        page.write(0, rest);
        part.push(Fragment::new(page, 0, rest.len())).map_err(|_| Errno::EMSGSIZE)?;
    }
    let mut skip = start.saturating_sub(head.len());
    let mut left = len - of_head.len();
    for fragment in packet.body() {
        if skip >= fragment.len() {
            skip -= fragment.len();
            continue;
        }
        let wanted = left.min(fragment.len() - skip);
        part.push(fragment.part(skip, wanted)).map_err(|_| Errno::EMSGSIZE)?;
        skip = 0;
        left -= wanted;
    }
    Ok(part)
}

/// Up to `max` bytes of `packet` from `start` on, in one piece.
pub(crate) fn bytes_of(packet: &Packet, start: usize, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; packet.len().saturating_sub(start).min(max)];
    packet.read(start, &mut bytes);
    bytes
}

/// Makes sure that `len` bytes can be put on at the front.
pub(crate) fn ensure_front(packet: &mut Box<Packet>, len: usize) -> Result<(), Errno> {
    if packet.head_room_in_front() >= len {
        return Ok(());
    }
    let head_bytes = packet.head().len();
    if head_bytes + len > packet::HEAD_BYTES {
        return Err(Errno::EMSGSIZE);
    }
    let mut moved = Box::new(Packet::with_front(len));
    moved.append_head(head_bytes).copy_from_slice(packet.head());
    for fragment in packet.body() {
        moved.push(fragment.clone()).map_err(|_| Errno::EMSGSIZE)?;
    }
    moved.checksum = packet.checksum;
    moved.segmentation = packet.segmentation;
    *packet = moved;
    Ok(())
}

/// Puts an Ethernet header on (RFC 894). The caller has seen to the room.
pub(crate) fn put_ethernet_header(packet: &mut Packet, destination: MacAddress, source: MacAddress) {
    let ethertype = match packet.head().first() {
        Some(first) if first >> 4 == 6 => ethertype::IPV6,
        _ => ethertype::IPV4,
    };
    put_frame_header(packet, destination, source, ethertype);
}

/// Puts an Ethernet header with any type on.
pub(crate) fn put_frame_header(
    packet: &mut Packet,
    destination: MacAddress,
    source: MacAddress,
    ethertype: u16,
) {
    let header = packet.prepend(ETHERNET_HEADER_BYTES);
    header[..6].copy_from_slice(&destination.0);
    header[6..12].copy_from_slice(&source.0);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
}

/// An IPv4 header (RFC 791, 3.1), without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ipv4Header {
    pub(crate) header_bytes: usize,
    pub(crate) total_bytes: usize,
    pub(crate) tos: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// In bytes.
    pub(crate) fragment_offset: usize,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

impl Ipv4Header {
    /// The header at the start of `head`, if it is whole and does not contradict itself. Its checksum and the length of
    /// the packet are not looked at: in an ICMP error, neither can be relied on.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let version_and_length = *head.first()?;
        let header_bytes = usize::from(version_and_length & 0xf) * 4;
        if version_and_length >> 4 != 4 || header_bytes < IPV4_HEADER_BYTES || head.len() < header_bytes {
            return None;
        }
        let fragment = be16(head, 6)?;
        Some(Self {
            header_bytes,
            total_bytes: usize::from(be16(head, 2)?),
            tos: head[1],
            identification: be16(head, 4)?,
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: usize::from(fragment & 0x1fff) * 8,
            ttl: head[8],
            protocol: head[9],
            source: ipv4_at(head, 12)?,
            destination: ipv4_at(head, 16)?,
        })
    }

    /// Whether the packet is a part of a larger one.
    pub(crate) fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// The header without options, with its checksum.
    pub(crate) fn bytes(&self) -> [u8; IPV4_HEADER_BYTES] {
        let mut bytes = [0; IPV4_HEADER_BYTES];
        bytes[0] = 0x45;
        bytes[1] = self.tos;
        bytes[2..4].copy_from_slice(&(self.total_bytes as u16).to_be_bytes());
        bytes[4..6].copy_from_slice(&self.identification.to_be_bytes());
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        bytes[6..8].copy_from_slice(&(flags | (self.fragment_offset / 8) as u16).to_be_bytes());
        bytes[8] = self.ttl;
        bytes[9] = self.protocol;
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        let sum = !internet_checksum::fold(internet_checksum::add(0, &bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// An IPv6 header (RFC 8200, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ipv6Header {
    pub(crate) traffic_class: u8,
    pub(crate) flow_label: u32,
    pub(crate) payload_bytes: usize,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
}

impl Ipv6Header {
    /// The header at the start of `head`, if it is whole.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let first = be32(head, 0)?;
        if first >> 28 != 6 {
            return None;
        }
        Some(Self {
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0xf_ffff,
            payload_bytes: usize::from(be16(head, 4)?),
            next_header: *head.get(6)?,
            hop_limit: *head.get(7)?,
            source: ipv6_at(head, 8)?,
            destination: ipv6_at(head, 24)?,
        })
    }

    /// The header.
    pub(crate) fn bytes(&self) -> [u8; IPV6_HEADER_BYTES] {
        let mut bytes = [0; IPV6_HEADER_BYTES];
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        bytes[..4].copy_from_slice(&first.to_be_bytes());
        bytes[4..6].copy_from_slice(&(self.payload_bytes as u16).to_be_bytes());
        bytes[6] = self.next_header;
        bytes[7] = self.hop_limit;
        bytes[8..24].copy_from_slice(&self.source.octets());
        bytes[24..].copy_from_slice(&self.destination.octets());
        bytes
    }
}
