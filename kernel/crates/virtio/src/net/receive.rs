//! One receive queue: buffers out, packets in.
//!
//! Buffers are pages, or halves of pages, that the device fills. Of each packet the first bytes, in which the headers
//! are, are copied to the packet's head; what is more stays where it is, and the page belongs to the packet from then
//! on. So a small packet gives its buffer back at once, and a large one is not copied here at all.

use alloc::{boxed::Box, vec::Vec};

use frames::PageRef;
use packet::{Fragment, HEAD_BYTES, Packet};

use super::{
    Counters,
    header::{Accepted, HEADER_BYTES, Header},
    negotiate::{Negotiated, feature},
    try_box,
};
use crate::{Broken, Completion, Direction, DmaPlatform, InitError, Segment, SplitQueue, dma::PAGE_SIZE};

/// Most descriptors of a queue: QEMU's default, which takes 15 ms of a gigabit to fill. More would hold memory, and
/// hide from senders that we do not keep up.
pub const QUEUE_SIZE: u16 = 256;

/// Bytes of Ethernet's header, without which there is no packet.
const MIN_PACKET_BYTES: usize = 14;

/// Part of a page that the device may write.
pub struct Buffer {
    page: PageRef,
    offset: usize,
}

/// What a look at the queue found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// All that there was.
    All,
    /// As much as was allowed; there may be more.
    Budget,
}

/// A receive queue. Its owner serialises all.
pub struct Receive {
    platform: &'static dyn DmaPlatform,
    pub queue: SplitQueue<Buffer>,
    buffer_bytes: usize,
    mergeable: bool,
    accepted: Accepted,
    /// The other half of the last page.
    spare: Option<Buffer>,
    /// What was received and not delivered yet.
    pub packets: Vec<Box<Packet>>,
}

impl Receive {
    /// A queue for a device that allows `max` descriptors.
    pub fn new(
        platform: &'static dyn DmaPlatform,
        max: u16,
        negotiated: &Negotiated,
    ) -> Result<Self, InitError> {
        if max == 0 {
            return Err(InitError::Queue);
        }
        let queue = SplitQueue::new(platform, QUEUE_SIZE, max, negotiated.features);
        Ok(Self {
            platform,
            queue: queue.ok_or(InitError::OutOfMemory)?,
            buffer_bytes: negotiated.buffer_bytes,
            mergeable: negotiated.features & feature::MRG_RXBUF != 0,
            accepted: negotiated.accepted,
            spare: None,
            packets: Vec::new(),
        })
    }

    /// Takes what the device has received, at most `budget` packets, for [`packets`](Self::packets).
    pub fn poll(&mut self, budget: usize, counters: &Counters) -> Result<Found, Broken> {
        if self.packets.try_reserve(budget).is_err() {
            // Nowhere to put even their addresses. They wait; so does the device, when its buffers are full.
            return Ok(Found::Budget);
        }
        for _ in 0..budget {
            let Some(first) = self.queue.complete()? else { return Ok(Found::All) };
            match self.take(first)? {
                Ok(packet) => {
                    counters.received_packets.add(1);
                    counters.received_bytes.add(packet.len() as u64);
                    self.packets.push(packet);
                }
                Err(Loss::Malformed) => counters.receive_errors.add(1),
                Err(Loss::NoMemory) => counters.receive_dropped.add(1),
            }
        }
        Ok(Found::Budget)
    }

    /// The packet that begins in a buffer.
    fn take(&mut self, first: Completion<Buffer>) -> Result<Result<Box<Packet>, Loss>, Broken> {
        let Completion { cookie: buffer, written } = first;
        let Some(mut len) = (written as usize).checked_sub(HEADER_BYTES) else {
            self.offer(buffer);
            return Ok(Err(Loss::Malformed));
        };
        let mut header = [0; HEADER_BYTES];
        buffer.page.read(buffer.offset, &mut header);
        let header = Header::decode(&header);
        let mut packet = Packet::with_front(0);
        let start = buffer.offset + HEADER_BYTES;
        let in_head = len.min(HEAD_BYTES);
        buffer.page.read(start, packet.append_head(in_head));
        len -= in_head;
        let mut result = Ok(());
        if len == 0 {
            self.offer(buffer);
        } else {
            result = packet.push(Fragment::new(buffer.page, start + in_head, len));
        }
        let more = if self.mergeable { header.buffers.checked_sub(1) } else { Some(0) };
        for _ in 0..more.unwrap_or(0) {
            // All buffers of a packet are used before the first is shown (5.1.6.4.1).
            let Some(next) = self.queue.complete()? else { return Ok(Err(Loss::Malformed)) };
            let Buffer { page, offset } = next.cookie;
            result = result.and(packet.push(Fragment::new(page, offset, next.written as usize)));
        }
        let is_whole = result.is_ok() && more.is_some() && packet.len() >= MIN_PACKET_BYTES;
        if !is_whole || header.describe(&mut packet, self.accepted).is_err() {
            return Ok(Err(Loss::Malformed));
        }
        Ok(try_box(packet).ok_or(Loss::NoMemory))
    }

    /// Whether enough buffers are gone for it to be worth offering others.
    pub fn wants_buffers(&self) -> bool {
        self.queue.free() >= self.queue.size().div_ceil(8)
    }

    /// Whether the device is about to run out of buffers.
    pub fn is_starved(&self) -> bool {
        self.queue.requests() < self.queue.size().div_ceil(4)
    }

    /// How many pages a full queue lacks.
    pub fn missing_pages(&self) -> usize {
        (usize::from(self.queue.free()) * self.buffer_bytes).div_ceil(PAGE_SIZE)
    }

    /// Offers buffers, in pages from `page`, until the queue is full or there are no more pages.
    pub fn refill(&mut self, mut page: impl FnMut() -> Option<PageRef>) {
        while self.queue.free() > 0 {
            let buffer = match self.spare.take() {
                Some(buffer) => buffer,
                None => {
                    let Some(page) = page() else { break };
                    if self.buffer_bytes < PAGE_SIZE {
                        self.spare = Some(Buffer { page: page.clone(), offset: self.buffer_bytes });
                    }
                    Buffer { page, offset: 0 }
                }
            };
            if !self.offer(buffer) {
                break;
            }
        }
    }

    /// Offers a buffer. A queue that refuses is broken, which the next completion reports.
    fn offer(&mut self, buffer: Buffer) -> bool {
        let start = buffer.page.as_ptr().wrapping_add(buffer.offset);
        let Some(phys) = self.platform.physical(start, self.buffer_bytes) else { return false };
        let segment = Segment { phys, len: self.buffer_bytes as u32, direction: Direction::FromDevice };
        // SAFETY: the buffer keeps its page, and this part of it is nobody else's until the device returns it.
        unsafe { self.queue.submit(&[segment], buffer) }.is_ok()
    }
}

/// Why a packet is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Malformed,
    NoMemory,
}

/// A page for buffers, without asking for memory back: for interrupts, and while locks are held.
pub fn page_at_hand() -> Option<PageRef> {
    #[cfg(test)]
    if super::tests::is_memory_short() {
        return None;
    }
    let address = frames::try_alloc_frames(0).ok()?;
    // SAFETY: the reference is the one of the new frame, taken once. Its bytes are read only where the device says
    // that it wrote them. One that lies shows what was in memory, all of which it can read by itself.
    Some(unsafe { PageRef::from_raw(address) })
}

/// A page for buffers; may wait for memory.
pub fn page_in_time() -> Option<PageRef> {
    #[cfg(test)]
    if super::tests::is_memory_short() {
        return None;
    }
    // SAFETY: as for `page_at_hand`.
    unsafe { PageRef::new_uninit() }.ok()
}
