//! Segments as they come in, and resets for those that belong to nobody.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use bitflags::bitflags;
use packet::Packet;

use crate::SeqNumber;

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
}

impl Segment {
    /// Takes the TCP header off `packet`, which begins with it, and verifies the checksum unless somebody did so.
    pub fn parse(source: IpAddr, destination: IpAddr, packet: Box<Packet>) -> Result<Self, Malformed> {
        let _ = (source, destination, packet);
        Err(Malformed::Header)
    }
}

/// The answer to a segment that belongs to no connection and no listener (RFC 9293, 3.10.7.1): a RST, unless it is
/// one itself. `tuple` is as seen from this end.
pub fn reset_for(tuple: &Tuple, segment: &Segment) -> Option<Box<Packet>> {
    let _ = (tuple, segment);
    None
}
