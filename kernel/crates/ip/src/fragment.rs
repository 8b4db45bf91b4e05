//! Cutting: IP fragments (RFC 791, 3.2; RFC 8200, 4.5), and segments of TCP and UDP that the link does not cut itself.
//!
//! The parts share the frames of the whole; only headers are copied.

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use linux_abi::Errno;
use packet::{Checksum, Offloads, Packet, SegmentationKind, internet_checksum};

use crate::{
    protocol,
    wire::{be32, part_of, pseudo_header_sum},
};

/// A part of a packet, and where in it.
pub(crate) struct Piece {
    pub(crate) packet: Box<Packet>,
    pub(crate) offset: usize,
    pub(crate) is_last: bool,
}

/// Cuts what follows the IP header into pieces of at most `max` bytes.
pub(crate) fn pieces(packet: &Packet, max: usize) -> impl Iterator<Item = Result<Piece, Errno>> {
    // All but the last are multiples of 8 bytes.
    let step = max & !7;
    let len = packet.len();
    (0..len).step_by(step.max(8)).map(move |offset| {
        let bytes = step.max(8).min(len - offset);
        let packet = part_of(packet, offset, bytes, &[])?;
        Ok(Piece { packet, offset, is_last: offset + bytes == len })
    })
}

/// The offload that cuts packets of a kind.
pub(crate) fn offload_of(kind: SegmentationKind) -> Offloads {
    match kind {
        SegmentationKind::Tcp4 => Offloads::TCP4_SEGMENTATION,
        SegmentationKind::Tcp6 => Offloads::TCP6_SEGMENTATION,
        SegmentationKind::Udp => Offloads::UDP_SEGMENTATION,
    }
}

const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

/// Cuts a packet, which begins with its transport header, as its [`Segmentation`](packet::Segmentation) says. The parts'
/// checksums are left to the device, or to [`complete_checksum`](crate::wire::complete_checksum).
pub(crate) fn segments(
    packet: &Packet,
    source: IpAddr,
    destination: IpAddr,
    into: &mut Vec<Box<Packet>>,
) -> Result<(), Errno> {
    let segmentation = packet.segmentation.ok_or(Errno::EINVAL)?;
    let header_bytes = usize::from(segmentation.header_bytes);
    let step = usize::from(segmentation.segment_bytes);
    let header = packet.head().get(..header_bytes).ok_or(Errno::EINVAL)?;
    let (proto, checksum_offset, least) = match segmentation.kind {
        SegmentationKind::Udp => (protocol::UDP, 6, 8),
        SegmentationKind::Tcp4 | SegmentationKind::Tcp6 => (protocol::TCP, 16, 20),
    };
    if step == 0 || header_bytes < least {
        return Err(Errno::EINVAL);
    }
    let payload_bytes = packet.len() - header_bytes;
    for offset in (0..payload_bytes).step_by(step) {
        let bytes = step.min(payload_bytes - offset);
        let mut part = part_of(packet, header_bytes + offset, bytes, header)?;
        let len = header_bytes + bytes;
        let own = part.head_mut();
        if segmentation.kind == SegmentationKind::Udp {
            own[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        } else {
            let sequence = be32(header, 4).unwrap_or(0).wrapping_add(offset as u32);
            own[4..8].copy_from_slice(&sequence.to_be_bytes());
            if offset + bytes < payload_bytes {
                own[13] &= !TCP_FIN_PSH;
            }
            if offset > 0 {
                own[13] &= !TCP_CWR;
            }
        }
        let sum = internet_checksum::fold(pseudo_header_sum(source, destination, proto, len));
        own[checksum_offset..checksum_offset + 2].copy_from_slice(&sum.to_be_bytes());
        part.checksum = Checksum::Partial { start: 0, offset: checksum_offset as u16 };
        into.push(part);
    }
    Ok(())
}
