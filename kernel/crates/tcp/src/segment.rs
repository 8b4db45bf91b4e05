//! Segments: as they come in, as they go out, and resets for those that belong to nobody (RFC 9293, 3.1).

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use arrayvec::ArrayVec;
use bitflags::bitflags;
use packet::{Checksum, Packet, internet_checksum};

use crate::SeqNumber;

/// Bytes of a header without options.
pub(crate) const HEADER_BYTES: usize = 20;

/// Bytes of the timestamps option with its padding (RFC 7323, appendix A).
pub(crate) const TIMESTAMP_BYTES: usize = 12;

/// IP's number for TCP.
const PROTOCOL: u8 = 6;

/// Where the checksum is in the header.
const CHECKSUM_OFFSET: usize = 16;

/// The addresses of a connection. IPv4 addresses are of the IPv4 kind, not mapped ones. Flow label and scope of IPv6
/// are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// What the route to the other end can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Largest IP packet in bytes, headers included.
    pub mtu: u32,
    /// Whether packets of up to 64 KiB may be handed down, with [`packet::Segmentation`].
    pub segmentation_offload: bool,
}

bitflags! {
    /// Control bits (RFC 9293, 3.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u8 {
        /// No more data from the sender.
        const FIN = 1;
        /// Synchronize sequence numbers.
        const SYN = 2;
        /// Reset the connection.
        const RST = 4;
        /// Push.
        const PSH = 8;
        /// The acknowledgement number counts.
        const ACK = 16;
        /// The urgent pointer counts.
        const URG = 32;
        /// ECN echo (RFC 3168).
        const ECE = 64;
        /// Congestion window reduced (RFC 3168).
        const CWR = 128;
    }
}

/// Why a packet is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Header or options do not fit into the packet.
    Header,
    /// The checksum is wrong.
    Checksum,
}

/// Timestamps (RFC 7323, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamps {
    pub(crate) value: u32,
    pub(crate) echo: u32,
}

/// What TCP options carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpOptions {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<Timestamps>,
    /// Selective acknowledgements: first number, and the one after the last.
    pub(crate) sack: ArrayVec<(SeqNumber, SeqNumber), 4>,
}

/// Kinds of options (IANA, "TCP Option Kind Numbers").
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// Largest shift of a window (RFC 7323, 2.3).
pub(crate) const MAX_WINDOW_SCALE: u8 = 14;

impl TcpOptions {
    fn parse(bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // What nearly all segments have, in the layout that RFC 7323's appendix A recommends.
        if let [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, rest @ ..] = bytes
            && rest.len() == 8
        {
            options.timestamps = Some(Timestamps { value: word(rest, 0), echo: word(rest, 4) });
            return options;
        }
        let mut rest = bytes;
        loop {
            let (kind, len) = match *rest {
                [] | [kind::END, ..] => return options,
                [kind::NOP, ..] => {
                    rest = &rest[1..];
                    continue;
                }
                // A length that cannot be ends the list, as on Linux: what came before it counts.
                [kind, len, ..] if len >= 2 && usize::from(len) <= rest.len() => (kind, usize::from(len)),
                _ => return options,
            };
            let value = &rest[2..len];
            rest = &rest[len..];
            match (kind, value.len()) {
                (kind::MSS, 2) => options.mss = Some(half(value, 0)),
                (kind::WINDOW_SCALE, 1) => options.window_scale = Some(value[0].min(MAX_WINDOW_SCALE)),
                (kind::SACK_PERMITTED, 0) => options.sack_permitted = true,
                (kind::TIMESTAMPS, 8) => {
                    options.timestamps = Some(Timestamps { value: word(value, 0), echo: word(value, 4) });
                }
                (kind::SACK, 8 | 16 | 24 | 32) => {
                    options.sack = value
                        .chunks_exact(8)
                        .map(|block| (SeqNumber(word(block, 0)), SeqNumber(word(block, 4))))
                        .collect();
                }
                _ => {}
            }
        }
    }

    /// Bytes that they take, padding included. SACK blocks that find no room are left out: see [`Self::emit`].
    fn emitted_bytes(&self) -> usize {
        let mut len = 0;
        len += if self.mss.is_some() { 4 } else { 0 };
        len += if self.window_scale.is_some() { 4 } else { 0 };
        len += match (self.sack_permitted, self.timestamps.is_some()) {
            (_, true) => TIMESTAMP_BYTES,
            (true, false) => 4,
            (false, false) => 0,
        };
        if !self.sack.is_empty() {
            len += 4 + 8 * self.sack.len();
        }
        len
    }

    /// Writes them to `bytes`, which are [`Self::emitted_bytes`].
    fn emit(&self, bytes: &mut [u8]) {
        let mut rest = bytes;
        let mut put = |part: &[u8]| {
            let (now, later) = core::mem::take(&mut rest).split_at_mut(part.len());
            now.copy_from_slice(part);
            rest = later;
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[kind::MSS, 4, high, low]);
        }
        if let Some(timestamps) = self.timestamps {
            // SACK-permitted fits where the padding would be.
            put(if self.sack_permitted { &[kind::SACK_PERMITTED, 2] } else { &[kind::NOP, kind::NOP] });
            put(&[kind::TIMESTAMPS, 10]);
            put(&timestamps.value.to_be_bytes());
            put(&timestamps.echo.to_be_bytes());
        } else if self.sack_permitted {
            put(&[kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        if !self.sack.is_empty() {
            put(&[kind::NOP, kind::NOP, kind::SACK, 2 + 8 * self.sack.len() as u8]);
            for (start, end) in &self.sack {
                put(&start.0.to_be_bytes());
                put(&end.0.to_be_bytes());
            }
        }
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A segment that came in.
#[derive(Debug)]
pub struct Segment {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: SeqNumber,
    /// Acknowledgement number, if there is [`Flags::ACK`].
    pub acknowledgement: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// Window as it stands in the header, not scaled.
    pub window: u16,
    /// Urgent pointer, if there is [`Flags::URG`].
    pub urgent: u16,
    /// The payload; the header is off.
    pub payload: Box<Packet>,
    pub(crate) options: TcpOptions,
}

impl Segment {
    /// Takes the TCP header off `packet`, which begins with it, and verifies the checksum unless somebody did so.
    pub fn parse(source: IpAddr, destination: IpAddr, mut packet: Box<Packet>) -> Result<Self, Malformed> {
        let header = packet.head();
        if header.len() < HEADER_BYTES {
            return Err(Malformed::Header);
        }
        let header_bytes = usize::from(header[12] >> 4) * 4;
        if header_bytes < HEADER_BYTES || header_bytes > header.len() {
            return Err(Malformed::Header);
        }
        if packet.checksum == Checksum::Unverified && !is_sum_right(source, destination, &packet) {
            return Err(Malformed::Checksum);
        }
        let header = packet.head();
        let flags = Flags::from_bits_retain(header[13]);
        let segment = Self {
            source_port: half(header, 0),
            destination_port: half(header, 2),
            sequence: SeqNumber(word(header, 4)),
            acknowledgement: SeqNumber(word(header, 8)),
            flags,
            window: half(header, 14),
            urgent: half(header, 18),
            options: TcpOptions::parse(&header[HEADER_BYTES..header_bytes]),
            payload: {
                packet.trim_front(header_bytes);
                packet
            },
        };
        Ok(segment)
    }

    /// Positions that it takes in the sequence (RFC 9293's SEG.LEN).
    pub(crate) fn sequence_len(&self) -> u32 {
        let flag = |flag| u32::from(self.flags.contains(flag));
        self.payload.len() as u32 + flag(Flags::SYN) + flag(Flags::FIN)
    }
}

/// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header_sum(source: IpAddr, destination: IpAddr, len: usize) -> u64 {
    let add = |sum, address| match address {
        IpAddr::V4(address) => internet_checksum::add(sum, &address.octets()),
        IpAddr::V6(address) => internet_checksum::add(sum, &address.octets()),
    };
    // The length is of 32 bits over IPv6; the sum takes both halves alike.
    let len = len as u64;
    add(add(u64::from(PROTOCOL) + (len & 0xffff) + (len >> 16), source), destination)
}

fn is_sum_right(source: IpAddr, destination: IpAddr, packet: &Packet) -> bool {
    let mut sum = pseudo_header_sum(source, destination, packet.len());
    let mut buffer = [0; 1024];
    let mut at = 0;
    loop {
        let len = packet.read(at, &mut buffer);
        sum = internet_checksum::add(sum, &buffer[..len]);
        at += len;
        if len < buffer.len() {
            return internet_checksum::fold(sum) == 0xffff;
        }
    }
}

/// The header of a segment to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    pub(crate) sequence: SeqNumber,
    pub(crate) acknowledgement: SeqNumber,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: TcpOptions,
}

impl Header {
    /// Puts the header in front of the payload, with the pseudo-header's sum for whoever completes it.
    pub(crate) fn put_on(&self, tuple: &Tuple, packet: &mut Packet) {
        let header_bytes = HEADER_BYTES + self.options.emitted_bytes();
        let sum = pseudo_header_sum(tuple.local.ip(), tuple.remote.ip(), packet.len() + header_bytes);
        let bytes = packet.prepend(header_bytes);
        bytes[..2].copy_from_slice(&tuple.local.port().to_be_bytes());
        bytes[2..4].copy_from_slice(&tuple.remote.port().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.acknowledgement.0.to_be_bytes());
        // At most 60 bytes: four bits of words.
        bytes[12] = (header_bytes as u8 / 4) << 4;
        bytes[13] = self.flags.bits();
        bytes[14..16].copy_from_slice(&self.window.to_be_bytes());
        bytes[16..18].copy_from_slice(&internet_checksum::fold(sum).to_be_bytes());
        bytes[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        self.options.emit(&mut bytes[HEADER_BYTES..]);
        packet.checksum = Checksum::Partial { start: 0, offset: CHECKSUM_OFFSET as u16 };
    }

    /// A segment without payload.
    pub(crate) fn packet(&self, tuple: &Tuple) -> Box<Packet> {
        let mut packet = Box::new(Packet::new());
        self.put_on(tuple, &mut packet);
        packet
    }
}

/// The answer to a segment that belongs to no connection and no listener (RFC 9293, 3.10.7.1): a RST, unless it is
/// one itself. `tuple` is as seen from this end.
pub fn reset_for(tuple: &Tuple, segment: &Segment) -> Option<Box<Packet>> {
    if segment.flags.contains(Flags::RST) {
        return None;
    }
    let header = if segment.flags.contains(Flags::ACK) {
        Header { sequence: segment.acknowledgement, flags: Flags::RST, ..Header::default() }
    } else {
        Header {
            acknowledgement: segment.sequence.add(segment.sequence_len()),
            flags: Flags::RST | Flags::ACK,
            ..Header::default()
        }
    };
    Some(header.packet(tuple))
}

#[cfg(test)]
mod tests;
