//! Putting fragments together (RFC 791, 3.2; RFC 8200, 4.5; RFC 5722).
//!
//! Memory is bounded: in all by [`MAX_BYTES`], where the oldest datagram goes first, and by [`MAX_PARTS`] for each.
//! A fragment that overlaps another condemns its datagram: no honest sender makes these. One that is an exact
//! duplicate is only dropped.
//!
//! The lock is the caller's.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::net::IpAddr;

use frames::{PAGE_SIZE, PageRef};
use packet::{Fragment, Packet};

use crate::wire::FRONT_BYTES;

/// Memory of all fragments that wait (`ipfrag_high_thresh`).
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Fragments of one datagram at most: 64 KiB in the smallest that IPv4 must carry.
const MAX_PARTS: usize = 160;
/// How long all fragments of a datagram may take, for IPv4 (`ipfrag_time`) and IPv6 (RFC 8200, 4.5).
const TIMEOUT_NS: [u64; 2] = [30_000_000_000, 60_000_000_000];
/// The longest datagram without its header.
const MAX_DATAGRAM_BYTES: usize = 0xffff;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramKey {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) identification: u32,
    /// IPv4's protocol; 0 for IPv6.
    pub(crate) protocol: u8,
    /// Fragments do not mix across links.
    pub(crate) interface: u32,
}

/// A fragment; the packet is at its payload.
pub(crate) struct Part {
    pub(crate) packet: Box<Packet>,
    pub(crate) offset: usize,
    pub(crate) is_last: bool,
    /// The header of the whole, if this is the first fragment: what comes before the payload.
    pub(crate) header: Vec<u8>,
    /// Explicit congestion notification of the fragment (RFC 3168, 5.3).
    pub(crate) ecn: u8,
}

/// All of a datagram.
pub(crate) struct Whole {
    pub(crate) packet: Box<Packet>,
    /// The header of the first fragment.
    pub(crate) header: Vec<u8>,
    /// Whether some fragment met congestion.
    pub(crate) is_congested: bool,
}

/// What became of a fragment.
pub(crate) enum Progress {
    /// More are needed.
    Waiting,
    /// It was the last one needed.
    Complete(Whole),
    /// The datagram, or this fragment, is not worth it.
    Dropped,
}

/// A datagram of which not all fragments came in time.
pub(crate) struct Expired {
    pub(crate) key: DatagramKey,
    /// Header and payload of the first fragment, if it came: its sender is told.
    pub(crate) first: Option<(Vec<u8>, Box<Packet>)>,
}

#[derive(Default)]
struct Datagram {
    parts: BTreeMap<usize, Box<Packet>>,
    header: Option<Vec<u8>>,
    /// Known once the last fragment is there.
    total_bytes: Option<usize>,
    have_bytes: usize,
    memory_bytes: usize,
    deadline_ns: u64,
    ecn_seen: u8,
}

/// All datagrams of which some fragments are missing.
#[derive(Default)]
pub(crate) struct Reassembly {
    datagrams: BTreeMap<DatagramKey, Datagram>,
    memory_bytes: usize,
}

impl Reassembly {
    /// Takes a fragment.
    pub(crate) fn add(&mut self, key: DatagramKey, part: Part, now_ns: u64) -> Progress {
        let len = part.packet.len();
        let end = part.offset + len;
        // All but the last are multiples of 8 bytes, and none is empty.
        if len == 0 || end > MAX_DATAGRAM_BYTES || !part.is_last && !len.is_multiple_of(8) {
            self.remove(&key);
            return Progress::Dropped;
        }
        let timeout_ns = TIMEOUT_NS[usize::from(key.source.is_ipv6())];
        let datagram = self
            .datagrams
            .entry(key)
            .or_insert_with(|| Datagram { deadline_ns: now_ns + timeout_ns, ..Datagram::default() });
        if datagram.parts.get(&part.offset).is_some_and(|known| known.len() == len) {
            return Progress::Dropped;
        }
        let before = datagram.parts.range(..end).next_back();
        let overlaps = before.is_some_and(|(offset, packet)| offset + packet.len() > part.offset);
        let contradicts = match datagram.total_bytes {
            Some(total_bytes) => end > total_bytes || part.is_last && end != total_bytes,
            None => {
                part.is_last
                    && datagram.parts.last_key_value().is_some_and(|(at, packet)| at + packet.len() > end)
            }
        };
        if overlaps || contradicts || datagram.parts.len() == MAX_PARTS {
            self.remove(&key);
            return Progress::Dropped;
        }
        if part.is_last {
            datagram.total_bytes = Some(end);
        }
        if part.offset == 0 {
            datagram.header = Some(part.header);
        }
        datagram.ecn_seen |= 1 << (part.ecn & 3);
        datagram.have_bytes += len;
        let bytes = part.packet.memory_bytes();
        datagram.memory_bytes += bytes;
        self.memory_bytes += bytes;
        datagram.parts.insert(part.offset, part.packet);
        if datagram.total_bytes == Some(datagram.have_bytes) {
            return match self.remove(&key).and_then(join) {
                Some(whole) => Progress::Complete(whole),
                None => Progress::Dropped,
            };
        }
        while self.memory_bytes > MAX_BYTES {
            let oldest = self.datagrams.iter().min_by_key(|(_, datagram)| datagram.deadline_ns);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            self.remove(&oldest);
        }
        Progress::Waiting
    }

    fn remove(&mut self, key: &DatagramKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.memory_bytes -= datagram.memory_bytes;
        Some(datagram)
    }

    /// When the first datagram is given up.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.datagrams.values().map(|datagram| datagram.deadline_ns).min()
    }

    /// Gives up those whose time is over.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Vec<Expired> {
        let over = self.datagrams.iter().filter(|(_, datagram)| datagram.deadline_ns <= now_ns);
        let over: Vec<_> = over.map(|(key, _)| *key).collect();
        let give_up = |key: DatagramKey| {
            let mut datagram = self.remove(&key)?;
            Some(Expired { key, first: datagram.header.take().zip(datagram.parts.remove(&0)) })
        };
        over.into_iter().filter_map(give_up).collect()
    }

    /// Memory of the fragments that wait.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// Copies the parts into one packet: their frames are partly filled, and more than a packet can refer to.
fn join(datagram: Datagram) -> Option<Whole> {
    let total_bytes = datagram.total_bytes?;
    let mut packet = Box::new(Packet::with_front(FRONT_BYTES));
    let mut copier = Copier { parts: datagram.parts.into_values(), current: None };
    let head_bytes = total_bytes.min(packet.head_room_behind());
    copier.fill(packet.append_head(head_bytes));
    let mut left = total_bytes - head_bytes;
    let mut buffer = [0; 1024];
    while left > 0 {
        let page = PageRef::new_zeroed().ok()?;
        let in_page = left.min(PAGE_SIZE);
        for offset in (0..in_page).step_by(buffer.len()) {
            let bytes = &mut buffer[..(in_page - offset).min(1024)];
            copier.fill(bytes);
            page.write(offset, bytes);
        }
        packet.push(Fragment::new(page, 0, in_page)).ok()?;
        left -= in_page;
    }
    let congestion_experienced = 1 << 3;
    Some(Whole {
        packet,
        header: datagram.header?,
        is_congested: datagram.ecn_seen & congestion_experienced != 0,
    })
}

struct Copier<I> {
    parts: I,
    current: Option<(Box<Packet>, usize)>,
}

impl<I: Iterator<Item = Box<Packet>>> Copier<I> {
    fn fill(&mut self, mut destination: &mut [u8]) {
        while !destination.is_empty() {
            let Some((packet, at)) = &mut self.current else {
                match self.parts.next() {
                    Some(packet) => self.current = Some((packet, 0)),
                    None => return,
                }
                continue;
            };
            let read = packet.read(*at, destination);
            if read == 0 {
                self.current = None;
            } else {
                *at += read;
                destination = &mut destination[read..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::packet_of;

    fn key(identification: u32) -> DatagramKey {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        DatagramKey {
            source: address(1),
            destination: address(2),
            identification,
            protocol: 17,
            interface: 2,
        }
    }

    fn part(bytes: &[u8], offset: usize, is_last: bool) -> Part {
        frames::host::init();
        Part { packet: packet_of(bytes).unwrap(), offset, is_last, header: vec![0x45], ecn: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_cut_is_put_together_in_any_order(
            len in 1..20_000_usize, step in 1..200_usize, seed in any::<u64>(), repeat in any::<bool>(),
        ) {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
            let step = (step * 8).max(len.div_ceil(MAX_PARTS).next_multiple_of(8));
            let mut order: Vec<_> = (0..len).step_by(step).collect();
            // A cheap shuffle.
            let mut state = seed | 1;
            for at in (1..order.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(at, (state >> 33) as usize % (at + 1));
            }
            let mut reassembly = Reassembly::default();
            let mut whole = None;
            for (index, &offset) in order.iter().enumerate() {
                let end = (offset + step).min(len);
                let progress = reassembly.add(key(1), part(&bytes[offset..end], offset, end == len), 0);
                match progress {
                    Progress::Complete(done) => {
                        prop_assert_eq!(index, order.len() - 1);
                        whole = Some(done);
                    }
                    Progress::Waiting => {
                        if repeat {
                            let again = part(&bytes[offset..end], offset, end == len);
                            prop_assert!(matches!(reassembly.add(key(1), again, 0), Progress::Dropped));
                        }
                    }
                    Progress::Dropped => prop_assert!(false, "dropped at {}", offset),
                }
            }
            let whole = whole.unwrap();
            prop_assert_eq!(crate::wire::bytes_of(&whole.packet, 0, usize::MAX), bytes);
            prop_assert_eq!(reassembly.memory_bytes(), 0);
            prop_assert_eq!(reassembly.datagrams.len(), 0);
        }

        #[test]
        fn no_fragments_exceed_the_memory(
            parts in proptest::collection::vec((0..600_u32, 0..200_usize, 0..400_usize, any::<bool>()), 0..400),
        ) {
            let mut reassembly = Reassembly::default();
            for (identification, offset, len, is_last) in parts {
                reassembly.add(key(identification), part(&vec![1; len], offset * 8, is_last), 0);
                prop_assert!(reassembly.memory_bytes() <= MAX_BYTES);
                let sum: usize = reassembly.datagrams.values().map(|datagram| datagram.memory_bytes).sum();
                prop_assert_eq!(sum, reassembly.memory_bytes());
            }
        }
    }

    #[test]
    fn an_overlap_condemns_the_datagram() {
        let mut reassembly = Reassembly::default();
        assert!(matches!(reassembly.add(key(1), part(&[1; 16], 0, false), 0), Progress::Waiting));
        assert!(matches!(reassembly.add(key(1), part(&[2; 16], 8, true), 0), Progress::Dropped));
        assert!(reassembly.datagrams.is_empty());
    }

    #[test]
    fn a_flood_of_first_fragments_stays_within_the_memory_and_the_newest_win() {
        let mut reassembly = Reassembly::default();
        for identification in 0..3_000 {
            reassembly.add(key(identification), part(&[1; 1400], 0, false), u64::from(identification));
        }
        assert!(reassembly.memory_bytes() <= MAX_BYTES);
        assert!(matches!(reassembly.add(key(2_999), part(&[2; 5], 1400, true), 0), Progress::Complete(_)));
    }

    #[test]
    fn late_datagrams_expire_with_their_first_fragment() {
        let mut reassembly = Reassembly::default();
        reassembly.add(key(1), part(&[1; 16], 0, false), 0);
        reassembly.add(key(2), part(&[1; 16], 16, false), 5);
        assert_eq!(reassembly.next_deadline_ns(), Some(30_000_000_000));
        let expired = reassembly.expire(30_000_000_000);
        assert_eq!(expired.len(), 1);
        assert!(expired[0].first.is_some() && expired[0].key == key(1));
        assert!(reassembly.expire(30_000_000_005)[0].first.is_none());
        assert_eq!(reassembly.memory_bytes(), 0);
    }
}
