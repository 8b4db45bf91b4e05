//! One transmit queue: packets out.
//!
//! The device reads packets where they are: the head in the `Box<Packet>`, the rest in page frames. The device's own
//! header goes in front of the packet's first byte, in the room that heads have there, so that a small packet is one
//! segment. A packet stays with its request until the device has read it, and is freed when somebody looks: the next
//! sender, or the receive interrupt. Only a full queue asks for interrupts. What finds no room in it waits in a
//! bounded backlog; what finds no room there either is dropped.

use alloc::{boxed::Box, collections::VecDeque};

use arrayvec::ArrayVec;
use packet::{MAX_FRAGMENTS, Offloads, Packet};

use super::{
    Counters,
    header::{HEADER_BYTES, Header},
    negotiate::Negotiated,
    try_box,
};
use crate::{Broken, Direction, DmaPlatform, InitError, Segment, SplitQueue};

/// Most descriptors of a queue.
pub const QUEUE_SIZE: u16 = 256;
/// Packets that wait for room in the queue, at most.
pub const BACKLOG_PACKETS: usize = 256;
/// Segments of a packet: the device's header, if it does not fit into the head, the head, and the fragments.
const MAX_SEGMENTS: usize = 2 + MAX_FRAGMENTS;
/// Ethernet's header, with a VLAN tag: what a packet may be longer than the MTU.
const LINK_HEADER_BYTES: usize = 18;

/// What a request keeps alive.
pub struct Sent {
    _packet: Box<Packet>,
    /// The device's header, if the head had no room for it.
    _header: Option<Box<[u8; HEADER_BYTES]>>,
}

/// A transmit queue. Its owner serialises all.
pub struct Transmit {
    platform: &'static dyn DmaPlatform,
    pub queue: SplitQueue<Sent>,
    offloads: Offloads,
    max_bytes: usize,
    backlog: VecDeque<Box<Packet>>,
}

impl Transmit {
    /// A queue for a device that allows `max` descriptors.
    pub fn new(
        platform: &'static dyn DmaPlatform,
        max: u16,
        negotiated: &Negotiated,
    ) -> Result<Self, InitError> {
        if max == 0 {
            return Err(InitError::Queue);
        }
        let queue =
            SplitQueue::with_tables(platform, QUEUE_SIZE, max, negotiated.features, MAX_SEGMENTS as u16);
        let mut queue: SplitQueue<Sent> = queue.ok_or(InitError::OutOfMemory)?;
        queue.disable_interrupts();
        // What waits is put here by interrupts too, which then need no memory for it.
        let mut backlog = VecDeque::new();
        backlog.try_reserve_exact(BACKLOG_PACKETS).map_err(|_| InitError::OutOfMemory)?;
        Ok(Self {
            platform,
            queue,
            offloads: negotiated.offloads,
            max_bytes: usize::from(negotiated.mtu) + LINK_HEADER_BYTES,
            backlog,
        })
    }

    /// Whether packets wait for room.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends a packet, or lets it wait, or drops it; counts it in each case. Whoever calls it asks the queue
    /// afterwards whether to notify.
    pub fn send(&mut self, packet: Box<Packet>, counters: &Counters) {
        let oversized = packet.segmentation.is_none() && packet.len() > self.max_bytes;
        let Some(header) = Header::for_packet(&packet, self.offloads).filter(|_| !oversized) else {
            counters.send_errors.add(1);
            return;
        };
        if self.backlog.is_empty() && self.has_room(&packet) {
            self.submit(packet, header, counters);
        } else if self.backlog.len() < BACKLOG_PACKETS {
            self.backlog.push_back(packet);
        } else {
            counters.send_dropped.add(1);
        }
    }

    fn segments_of(packet: &Packet) -> usize {
        let has_room_for_header = packet.head_room_in_front() >= HEADER_BYTES;
        1 + usize::from(!has_room_for_header) + packet.body().len()
    }

    fn has_room(&self, packet: &Packet) -> bool {
        self.queue.descriptors_for(Self::segments_of(packet)) <= usize::from(self.queue.free())
    }

    fn submit(&mut self, mut packet: Box<Packet>, header: Header, counters: &Counters) {
        let len = packet.len() as u64;
        let mut segments = ArrayVec::<Segment, MAX_SEGMENTS>::new();
        let mut is_reachable = true;
        let mut add = |start: *const u8, len: usize| match self.platform.physical(start, len) {
            _ if len == 0 => {}
            Some(phys) => segments.push(Segment { phys, len: len as u32, direction: Direction::ToDevice }),
            None => is_reachable = false,
        };
        let mut own_header = None;
        if packet.head_room_in_front() >= HEADER_BYTES {
            packet.prepend(HEADER_BYTES).copy_from_slice(&header.encode());
        } else {
            own_header = try_box(header.encode());
            let Some(header) = &own_header else {
                counters.send_dropped.add(1);
                return;
            };
            add(header.as_ptr(), HEADER_BYTES);
        }
        add(packet.head().as_ptr(), packet.head().len());
        for fragment in packet.body() {
            add(fragment.page().as_ptr().wrapping_add(fragment.offset()), fragment.len());
        }
        let sent = Sent { _packet: packet, _header: own_header };
        // SAFETY: heads and headers lie in boxes and fragments in frames, which `sent` keeps until the request
        // completes; nobody writes a packet that is being sent.
        if is_reachable && unsafe { self.queue.submit(&segments, sent) }.is_ok() {
            counters.sent_packets.add(1);
            counters.sent_bytes.add(len);
        } else {
            counters.send_errors.add(1);
        }
    }

    /// Frees what the device has read.
    pub fn reclaim(&mut self) -> Result<(), Broken> {
        // Not by asking for the next until there is none, which would ask for an interrupt.
        while self.queue.has_completed() {
            drop(self.queue.complete()?);
        }
        Ok(())
    }

    /// Sends what waits, as far as there is room now; if something goes on waiting, an interrupt tells when there is
    /// room. Returns whether something goes on waiting.
    pub fn flush_backlog(&mut self, counters: &Counters) -> Result<bool, Broken> {
        loop {
            self.reclaim()?;
            while self.backlog.front().is_some_and(|packet| self.has_room(packet)) {
                let Some(packet) = self.backlog.pop_front() else { break };
                match Header::for_packet(&packet, self.offloads) {
                    Some(header) => self.submit(packet, header, counters),
                    None => counters.send_errors.add(1),
                }
            }
            if self.backlog.is_empty() {
                self.queue.disable_interrupts();
                return Ok(false);
            }
            if self.queue.requests() == 0 {
                // An empty queue has no room for it: it never will.
                self.backlog.pop_front();
                counters.send_errors.add(1);
                continue;
            }
            // One interrupt for much room.
            if !self.queue.enable_interrupts_after(self.queue.requests() / 4 * 3) {
                return Ok(true);
            }
        }
    }

    /// Drops what waits.
    pub fn drop_backlog(&mut self, counters: &Counters) {
        counters.send_dropped.add(self.backlog.len() as u64);
        self.backlog.clear();
    }
}
