//! The header in front of each packet (5.1.6, `struct virtio_net_hdr`).

use packet::{Checksum, Offloads, Packet, Segmentation, SegmentationKind};

/// Bytes of the header. Devices that are not legacy have the number of buffers in it, whether or not it means
/// something (5.1.6.1).
pub const HEADER_BYTES: usize = 12;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Set beside the kind: the segments carry congestion marks (`VIRTIO_NET_HDR_GSO_ECN`).
const GSO_ECN: u8 = 0x80;

/// A header, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub flags: u8,
    pub gso_type: u8,
    pub header_bytes: u16,
    pub segment_bytes: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
    pub buffers: u16,
}

/// What a header says makes no sense for its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Header {
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_bytes: word(2),
            segment_bytes: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
            buffers: word(10),
        }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let words =
            [self.header_bytes, self.segment_bytes, self.checksum_start, self.checksum_offset, self.buffers];
        for (index, word) in words.into_iter().enumerate() {
            bytes[2 + 2 * index..][..2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What the device is to do with a packet that is sent, or `None` if it was not agreed that it does that.
    pub fn for_packet(packet: &Packet, offloads: Offloads) -> Option<Self> {
        let mut header = Self::default();
        if let Checksum::Partial { start, offset } = packet.checksum {
            let end = usize::from(start) + usize::from(offset) + 2;
            if !offloads.contains(Offloads::CHECKSUM) || end > packet.len() {
                return None;
            }
            header.flags = NEEDS_CHECKSUM;
            (header.checksum_start, header.checksum_offset) = (start, offset);
        }
        if let Some(Segmentation { kind, segment_bytes, header_bytes }) = packet.segmentation {
            let (gso_type, offload) = match kind {
                SegmentationKind::Tcp4 => (GSO_TCP4, Offloads::TCP4_SEGMENTATION),
                SegmentationKind::Tcp6 => (GSO_TCP6, Offloads::TCP6_SEGMENTATION),
                SegmentationKind::Udp => (GSO_UDP, Offloads::UDP_SEGMENTATION),
            };
            // Segments need new checksums, which the device can make only if it knows where (5.1.6.2).
            let has_checksum = header.flags & NEEDS_CHECKSUM != 0;
            if !offloads.contains(offload) || segment_bytes == 0 || !has_checksum {
                return None;
            }
            header.gso_type = gso_type;
            (header.segment_bytes, header.header_bytes) = (segment_bytes, header_bytes);
        }
        Some(header)
    }

    /// Notes at a packet that was received what the device knows of it.
    pub fn describe(&self, packet: &mut Packet, accepted: Accepted) -> Result<(), Malformed> {
        // Without the feature the flags mean nothing (5.1.6.4.2).
        packet.checksum = match (accepted.checksum, self.flags) {
            (true, flags) if flags & NEEDS_CHECKSUM != 0 => {
                let end = usize::from(self.checksum_start) + usize::from(self.checksum_offset) + 2;
                // In the head are all headers, and so are their checksums.
                if end > packet.head().len() {
                    return Err(Malformed);
                }
                Checksum::Partial { start: self.checksum_start, offset: self.checksum_offset }
            }
            (true, flags) if flags & DATA_VALID != 0 => Checksum::Verified,
            _ => Checksum::Unverified,
        };
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => return Ok(()),
            GSO_TCP4 if accepted.tcp4 => SegmentationKind::Tcp4,
            GSO_TCP6 if accepted.tcp6 => SegmentationKind::Tcp6,
            _ => return Err(Malformed),
        };
        if self.segment_bytes == 0 {
            return Err(Malformed);
        }
        packet.segmentation = Some(Segmentation {
            kind,
            segment_bytes: self.segment_bytes,
            // A hint only, that may be anything (5.1.6.4.1).
            header_bytes: self.header_bytes.min(packet.head().len() as u16),
        });
        Ok(())
    }
}

/// What the device was allowed to leave to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Packets without checksum, and the word that one was verified.
    pub checksum: bool,
    /// Segments put together, of TCP over IPv4.
    pub tcp4: bool,
    /// Segments put together, of TCP over IPv6.
    pub tcp6: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Accepted = Accepted { checksum: true, tcp4: true, tcp6: true };

    fn packet(len: usize) -> Packet {
        Packet::from_head(&vec![0x11; len])
    }

    #[test]
    fn sent_packets_say_what_is_left_to_do() {
        let plain = Header::for_packet(&packet(60), Offloads::empty());
        assert_eq!(plain, Some(Header::default()));
        let mut large = packet(74);
        large.checksum = Checksum::Partial { start: 34, offset: 16 };
        assert_eq!(Header::for_packet(&large, Offloads::empty()), None);
        let header = Header::for_packet(&large, Offloads::CHECKSUM).unwrap();
        assert_eq!(header.encode(), [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
        large.segmentation =
            Some(Segmentation { kind: SegmentationKind::Tcp6, segment_bytes: 0x589, header_bytes: 54 });
        assert_eq!(Header::for_packet(&large, Offloads::CHECKSUM | Offloads::TCP4_SEGMENTATION), None);
        let header = Header::for_packet(&large, Offloads::all()).unwrap();
        assert_eq!(header.encode(), [1, 4, 54, 0, 0x89, 5, 34, 0, 16, 0, 0, 0]);
        large.checksum = Checksum::Unverified;
        assert_eq!(Header::for_packet(&large, Offloads::all()), None, "segments without checksums");
        large.checksum = Checksum::Partial { start: 60, offset: 13 };
        assert_eq!(Header::for_packet(&large, Offloads::all()), None, "a checksum beyond the end");
    }

    #[test]
    fn received_packets_are_described() {
        let mut packet = packet(100);
        let header = Header { flags: 1, checksum_start: 34, checksum_offset: 16, ..Header::default() };
        header.describe(&mut packet, ALL).unwrap();
        assert_eq!(packet.checksum, Checksum::Partial { start: 34, offset: 16 });
        header.describe(&mut packet, Accepted::default()).unwrap();
        assert_eq!(packet.checksum, Checksum::Unverified);
        let header = Header { flags: 2, gso_type: 0x81, segment_bytes: 1400, header_bytes: 999, ..header };
        header.describe(&mut packet, ALL).unwrap();
        assert_eq!(packet.checksum, Checksum::Verified);
        let segmentation = packet.segmentation.unwrap();
        assert_eq!((segmentation.kind, segmentation.segment_bytes), (SegmentationKind::Tcp4, 1400));
        assert_eq!(segmentation.header_bytes, 100);
        for wrong in [
            Header { flags: 1, checksum_start: 99, ..Header::default() },
            Header { flags: 1, checksum_start: u16::MAX, checksum_offset: u16::MAX, ..Header::default() },
            Header { gso_type: 1, ..Header::default() },
            Header { gso_type: 3, segment_bytes: 1, ..Header::default() },
            Header { gso_type: 77, segment_bytes: 1, ..Header::default() },
        ] {
            assert_eq!(wrong.describe(&mut packet, ALL), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(header.describe(&mut packet, Accepted { tcp4: false, ..ALL }), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_header_is_survived(bytes: [u8; HEADER_BYTES], len in 14..=192_usize) {
            let header = Header::decode(&bytes);
            prop_assert_eq!(header.encode(), bytes);
            let mut packet = packet(len);
            if header.describe(&mut packet, ALL).is_ok()
                && let Checksum::Partial { start, offset } = packet.checksum
            {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= len);
            }
        }
    }
}
