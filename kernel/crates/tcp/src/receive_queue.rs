//! What the other end has sent and the application has not read: in order, and ahead of order.
//!
//! Memory is what packets keep, not what they carry. Where they keep much more than they carry (single bytes in
//! frames of their own), they are copied together; what is farthest ahead of order goes first when that is not
//! enough (as Linux's `tcp_prune_queue` does): it was acknowledged selectively only, and may be dropped (RFC 2018, 8).
//!
//! No segment costs more than O(log n) steps in the number of packets that are there, amortized: who sends single bytes
//! far ahead of order must not buy much work with little. So packets are copied together only after an eighth of the
//! buffer has come since the last time, and all sums are kept, not made.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};

use arrayvec::ArrayVec;
use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;
use packet::{Checksum, Fragment, MAX_FRAGMENTS, Packet};
use vfs::ReadDst;

use crate::work;

/// Ranges that are acknowledged selectively at a time.
const SACK_RANGES: usize = 4;

/// Share of the memory, in 256ths, that payload is taken to fill before anything was received: a half, as Linux
/// assumes.
const INITIAL_PAYLOAD_SHARE: u32 = 128;

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It continues what is there; what was ahead may have followed.
    InOrder,
    /// It is ahead of order.
    Ahead,
    /// All of it was here already.
    Duplicate,
    /// There is no memory for it.
    Dropped,
}

/// Received data by its place in the stream.
#[derive(Debug)]
pub(crate) struct ReceiveQueue {
    packets: VecDeque<Box<Packet>>,
    ahead: BTreeMap<u64, Box<Packet>>,
    /// Place of the first byte that was not read.
    read: u64,
    /// Place of the first byte that was not received.
    next: u64,
    memory: usize,
    /// Bytes that are ahead of order.
    ahead_bytes: usize,
    /// Memory that has come since packets were last copied together.
    grown: usize,
    /// Runs ahead of order, the one that changed last first (RFC 2018, 4).
    runs: ArrayVec<(u64, u64), SACK_RANGES>,
    /// What came twice (RFC 2883), until it was told.
    duplicate: Option<(u64, u64)>,
    payload_share: u32,
    largest_payload: usize,
    savings: Savings,
}

/// What was done to save memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Savings {
    /// Packets that were copied together.
    pub(crate) collapsed: u32,
    /// Times that something ahead of order was dropped.
    pub(crate) pruned: u32,
}

impl ReceiveQueue {
    pub(crate) fn new(next: u64) -> Self {
        Self {
            packets: VecDeque::new(),
            ahead: BTreeMap::new(),
            read: next,
            next,
            memory: 0,
            ahead_bytes: 0,
            grown: 0,
            runs: ArrayVec::new(),
            duplicate: None,
            payload_share: INITIAL_PAYLOAD_SHARE,
            largest_payload: 0,
            savings: Savings::default(),
        }
    }

    /// Place of the first byte that was not received.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Place of the first byte that was not read.
    pub(crate) fn read_position(&self) -> u64 {
        self.read
    }

    /// Bytes that can be read.
    pub(crate) fn readable(&self) -> usize {
        (self.next - self.read) as usize
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory
    }

    pub(crate) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Payload that a buffer of `limit` bytes has room for.
    pub(crate) fn room(&self, limit: usize) -> u64 {
        self.payload_of(limit.saturating_sub(self.memory))
    }

    /// Payload that fits `memory` bytes, as packets of this connection go.
    pub(crate) fn payload_of(&self, memory: usize) -> u64 {
        memory as u64 * u64::from(self.payload_share) / 256
    }

    /// Memory that `payload` bytes take.
    pub(crate) fn memory_of(&self, payload: u64) -> u64 {
        payload * 256 / u64::from(self.payload_share)
    }

    /// What was done to save memory since this was asked last.
    pub(crate) fn take_savings(&mut self) -> Savings {
        core::mem::take(&mut self.savings)
    }

    /// Ranges to be acknowledged selectively: a duplicate first, then what is ahead of order.
    pub(crate) fn take_sack_ranges(&mut self) -> impl Iterator<Item = (u64, u64)> {
        self.duplicate.take().into_iter().chain(self.runs.iter().copied())
    }

    pub(crate) fn has_sack_ranges(&self) -> bool {
        self.duplicate.is_some() || !self.runs.is_empty()
    }

    /// Remembers that `start..end` came twice.
    pub(crate) fn note_duplicate(&mut self, start: u64, end: u64) {
        self.duplicate = match self.duplicate {
            Some((first, last)) if first <= end && start <= last => Some((first.min(start), last.max(end))),
            _ => Some((start, end)),
        };
    }

    /// Takes a payload whose first byte is at `start`, within a buffer of `limit` bytes.
    pub(crate) fn insert(&mut self, start: u64, mut payload: Box<Packet>, limit: usize) -> Placed {
        let end = start + payload.len() as u64;
        if end <= self.next {
            if start < end {
                self.note_duplicate(start, end);
            }
            return Placed::Duplicate;
        }
        self.measure(&payload);
        if start > self.next {
            return self.insert_ahead(start, end, payload, limit);
        }
        if start < self.next {
            self.note_duplicate(start, self.next);
            payload.trim_front((self.next - start) as usize);
        }
        let has_room = self.make_room(limit) || self.prune_beyond(end, limit);
        if !has_room && self.next > self.read {
            return Placed::Dropped;
        }
        if self.ahead.is_empty() {
            self.append(payload);
        } else {
            self.append_and_follow(payload, end);
        }
        Placed::InOrder
    }

    /// Full segments tell how much of its memory is payload.
    fn measure(&mut self, payload: &Packet) {
        let len = payload.len();
        if len >= self.largest_payload && len >= 512 {
            self.largest_payload = len;
            let share = len * 256 / payload.memory_bytes();
            self.payload_share = (share as u32).clamp(32, 240);
        }
    }

    fn append(&mut self, mut payload: Box<Packet>) {
        let len = payload.len();
        self.next += len as u64;
        // Its headers are off, and nobody is going to verify or segment it again.
        payload.checksum = Checksum::Verified;
        payload.segmentation = None;
        if let Some(last) = self.packets.back_mut()
            && last.body().is_empty()
            && payload.body().is_empty()
            && last.head_room_behind() >= len
        {
            last.append_head(len).copy_from_slice(payload.head());
            return;
        }
        self.add_memory(&payload);
        self.packets.push_back(payload);
    }

    fn add_memory(&mut self, packet: &Packet) {
        self.memory += packet.memory_bytes();
        self.grown = self.grown.saturating_add(packet.memory_bytes());
    }

    fn put_ahead(&mut self, at: u64, packet: Box<Packet>) {
        self.add_memory(&packet);
        self.ahead_bytes += packet.len();
        self.ahead.insert(at, packet);
    }

    /// `packet` is no longer ahead of order.
    fn taken_from_ahead(&mut self, packet: &Packet) {
        work::step();
        self.memory -= packet.memory_bytes();
        self.ahead_bytes -= packet.len();
    }

    /// Appends what fills a gap, and what was ahead and now is not.
    fn append_and_follow(&mut self, mut payload: Box<Packet>, end: u64) {
        if let Some((&first, _)) = self.ahead.first_key_value()
            && first < end
        {
            let overlap_end = self.contiguous_end(first).min(end);
            self.note_duplicate(first, overlap_end);
        }
        // What is ahead within the payload is a copy of its bytes.
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() < end
        {
            let (at, packet) = (*entry.key(), entry.get());
            if at + packet.len() as u64 > end {
                payload.truncate((at - self.next) as usize);
                break;
            }
            let packet = entry.remove();
            self.taken_from_ahead(&packet);
        }
        self.append(payload);
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() == self.next
        {
            let packet = entry.remove();
            self.taken_from_ahead(&packet);
            self.append(packet);
        }
        let next = self.next;
        self.runs.retain(|run| run.0 > next);
    }

    /// Where the run of packets ahead of order that begins at `at` ends.
    fn contiguous_end(&self, at: u64) -> u64 {
        self.runs
            .iter()
            .find(|run| run.0 <= at && at < run.1)
            .map_or_else(|| at + self.ahead.get(&at).map_or(0, |packet| packet.len() as u64), |run| run.1)
    }

    fn insert_ahead(&mut self, start: u64, end: u64, mut payload: Box<Packet>, limit: usize) -> Placed {
        // Copying together moves borders, so it comes first.
        let has_room = self.make_room(limit);
        let (mut from, mut to) = (start, end);
        if let Some((&before, packet)) = self.ahead.range(..=start).next_back() {
            let before_end = before + packet.len() as u64;
            if before_end >= end {
                self.note_duplicate(start, end);
                self.touch_run(start, end);
                return Placed::Duplicate;
            }
            if before_end > start {
                self.note_duplicate(start, before_end);
                from = before_end;
            }
        }
        if !has_room && !self.prune_beyond(end, limit) {
            return Placed::Dropped;
        }
        // What lies within it goes; what reaches beyond it stays, and cuts it short.
        while let Some((&next, packet)) = self.ahead.range(from..end).next() {
            let next_end = next + packet.len() as u64;
            self.note_duplicate(next, next_end.min(end));
            if next_end > end {
                to = next;
                break;
            }
            if let Some(packet) = self.ahead.remove(&next) {
                self.taken_from_ahead(&packet);
            }
        }
        payload.trim_front((from - start) as usize);
        payload.truncate((to - from) as usize);
        if payload.is_empty() {
            return Placed::Duplicate;
        }
        payload.checksum = Checksum::Verified;
        payload.segmentation = None;
        self.touch_run(start, end);
        if !self.join_ahead(from, &payload) {
            self.put_ahead(from, payload);
        }
        Placed::Ahead
    }

    /// Copies a small payload behind the small one that it follows.
    fn join_ahead(&mut self, from: u64, payload: &Packet) -> bool {
        let Some((&before, packet)) = self.ahead.range_mut(..from).next_back() else { return false };
        let len = payload.len();
        let fits = before + packet.len() as u64 == from
            && packet.body().is_empty()
            && payload.body().is_empty()
            && packet.head_room_behind() >= len;
        if fits {
            packet.append_head(len).copy_from_slice(payload.head());
            self.ahead_bytes += len;
        }
        fits
    }

    /// Makes `start..end`, with the runs that it touches, the first run.
    fn touch_run(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start, end);
        self.runs.retain(|run| {
            let touches = run.0 <= end && start <= run.1;
            if touches {
                (start, end) = (start.min(run.0), end.max(run.1));
            }
            !touches
        });
        if self.runs.is_full() {
            self.runs.pop();
        }
        self.runs.insert(0, (start, end));
    }

    /// Whether there is memory for one more packet, after copying together what wastes it.
    fn make_room(&mut self, limit: usize) -> bool {
        if self.memory < limit {
            return true;
        }
        // Copying gains nothing where frames are full, nor where little has changed since the last time.
        let is_wasted = self.readable() + self.ahead_bytes < self.memory / 2;
        if is_wasted && self.grown >= limit / 8 {
            self.collapse();
            self.grown = 0;
        }
        self.memory < limit
    }

    /// Drops what is ahead of order and beyond `position`, the farthest first, until there is memory.
    fn prune_beyond(&mut self, position: u64, limit: usize) -> bool {
        let before = self.ahead.len();
        while self.memory >= limit
            && let Some(last) = self.ahead.last_entry()
            && *last.key() >= position
        {
            let (at, packet) = last.remove_entry();
            self.taken_from_ahead(&packet);
            for run in &mut self.runs {
                run.1 = run.1.min(at);
            }
            self.runs.retain(|run| run.0 < run.1);
        }
        self.savings.pruned += u32::from(self.ahead.len() < before);
        self.memory < limit
    }

    /// Makes room for what is in order at the expense of all that is ahead of it.
    pub(crate) fn prune_ahead(&mut self) {
        while let Some((_, packet)) = self.ahead.pop_first() {
            self.taken_from_ahead(&packet);
        }
        self.runs.clear();
    }

    /// Copies all payload together into full frames.
    fn collapse(&mut self) {
        let before = self.packets.len() + self.ahead.len();
        let mut joiner = Joiner::default();
        let old = core::mem::take(&mut self.packets);
        for packet in old {
            work::step();
            joiner.add(packet, &mut |packet| self.packets.push_back(packet));
        }
        joiner.finish(&mut |packet| self.packets.push_back(packet));
        let old = core::mem::take(&mut self.ahead);
        let mut joiner = Joiner::default();
        let (mut start, mut end) = (0, 0);
        for (at, packet) in old {
            work::step();
            if at != end {
                let mut place = start;
                joiner.finish(&mut |packet| {
                    let len = packet.len() as u64;
                    self.ahead.insert(place, packet);
                    place += len;
                });
                start = at;
                end = at;
            }
            end += packet.len() as u64;
            joiner.add(packet, &mut |packet| {
                let len = packet.len() as u64;
                self.ahead.insert(start, packet);
                start += len;
            });
        }
        joiner.finish(&mut |packet| {
            let len = packet.len() as u64;
            self.ahead.insert(start, packet);
            start += len;
        });
        let after = self.packets.len() + self.ahead.len();
        self.savings.collapsed = self.savings.collapsed.saturating_add(before.saturating_sub(after) as u32);
        self.memory =
            self.packets.iter().chain(self.ahead.values()).map(|packet| packet.memory_bytes()).sum();
    }

    /// Copies up to `len` bytes from `offset` to `destination`; leaves them.
    pub(crate) fn peek(
        &self,
        offset: usize,
        len: usize,
        destination: &mut dyn ReadDst,
    ) -> Result<usize, Errno> {
        let (mut skip, mut done) = (offset, 0);
        for packet in &self.packets {
            if skip >= packet.len() {
                skip -= packet.len();
                continue;
            }
            let wanted = (packet.len() - skip).min(len - done).min(destination.remaining());
            if wanted == 0 {
                break;
            }
            match packet.read_to(skip, wanted, destination) {
                Ok(read) => {
                    done += read;
                    if read < wanted {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            skip = 0;
        }
        Ok(done)
    }

    /// Moves up to `len` bytes to `destination`.
    pub(crate) fn read(&mut self, len: usize, destination: &mut dyn ReadDst) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len
            && let Some(packet) = self.packets.front()
        {
            let wanted = packet.len().min(len - done).min(destination.remaining());
            if wanted == 0 {
                break;
            }
            match packet.read_to(0, wanted, destination) {
                Ok(read) => {
                    self.discard(read);
                    done += read;
                    if read < wanted {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Drops the first `len` bytes, which are there.
    pub(crate) fn discard(&mut self, len: usize) {
        let mut left = len;
        self.read += len as u64;
        while left > 0
            && let Some(packet) = self.packets.front_mut()
        {
            self.memory -= packet.memory_bytes();
            if left >= packet.len() {
                left -= packet.len();
                self.packets.pop_front();
            } else {
                packet.trim_front(left);
                self.memory += packet.memory_bytes();
                left = 0;
            }
        }
        if self.packets.is_empty() && self.packets.capacity() > 64 {
            self.packets.shrink_to(16);
        }
    }

    /// Takes the first packet out, cut to `len` bytes.
    pub(crate) fn take_packet(&mut self, len: usize) -> Option<Box<Packet>> {
        let first = self.packets.front()?;
        if first.len() > len {
            let mut part = first.clone();
            part.truncate(len);
            self.discard(len);
            return Some(part);
        }
        self.memory -= first.memory_bytes();
        self.read += first.len() as u64;
        self.packets.pop_front()
    }

    /// The byte at `position`, which can be read.
    pub(crate) fn byte_at(&self, position: u64) -> Option<u8> {
        if position >= self.next {
            return None;
        }
        let mut skip = position.checked_sub(self.read)? as usize;
        for packet in &self.packets {
            work::step();
            if skip < packet.len() {
                let mut byte = [0];
                packet.read(skip, &mut byte);
                return Some(byte[0]);
            }
            skip -= packet.len();
        }
        None
    }

    /// Drops everything: nobody is going to read it.
    pub(crate) fn purge(&mut self) {
        *self = Self { payload_share: self.payload_share, ..Self::new(self.next) };
    }
}

/// Copies packets together.
#[derive(Default)]
struct Joiner {
    packet: Option<Box<Packet>>,
    tail: Option<(PageRef, usize)>,
}

impl Joiner {
    /// Adds the bytes of `packet`, and gives out what is full. Packets that use their memory well go through as they
    /// are, as does all if there are no frames.
    fn add(&mut self, packet: Box<Packet>, full: &mut dyn FnMut(Box<Packet>)) {
        if packet.len() * 4 > packet.memory_bytes() * 3 {
            self.finish(full);
            full(packet);
            return;
        }
        let has_place = |tail: &(PageRef, usize)| packet.len() <= PAGE_SIZE - tail.1;
        if packet.body().is_empty() && !self.tail.as_ref().is_some_and(has_place) {
            self.add_head(packet, full);
            return;
        }
        let mut at = 0;
        while at < packet.len() {
            let tail = self.tail.take().or_else(|| Some((PageRef::try_new_zeroed().ok()?, 0)));
            let Some((page, used)) = tail else {
                let mut rest = packet;
                rest.trim_front(at);
                self.finish(full);
                full(rest);
                return;
            };
            let mut buffer = [0; 512];
            let room = buffer.len().min(PAGE_SIZE - used);
            let len = packet.read(at, &mut buffer[..room]);
            page.write(used, &buffer[..len]);
            if self.packet.as_ref().is_some_and(|joined| joined.body().len() == MAX_FRAGMENTS && used == 0) {
                self.give_out(full);
            }
            let joined = self.packet.get_or_insert_default();
            // There is room: a new frame came only where there was; the rest of one joins what is there.
            let _ = joined.push(Fragment::new(page.clone(), used, len));
            at += len;
            if used + len < PAGE_SIZE {
                self.tail = Some((page, used + len));
            }
        }
    }

    /// Adds a packet without frames: a frame made for it would be more than it takes now.
    fn add_head(&mut self, packet: Box<Packet>, full: &mut dyn FnMut(Box<Packet>)) {
        if let Some(joined) = &mut self.packet
            && joined.body().is_empty()
            && joined.head_room_behind() >= packet.len()
        {
            joined.append_head(packet.len()).copy_from_slice(packet.head());
            return;
        }
        self.finish(full);
        self.packet = Some(packet);
    }

    fn give_out(&mut self, full: &mut dyn FnMut(Box<Packet>)) {
        if let Some(mut joined) = self.packet.take() {
            joined.checksum = Checksum::Verified;
            full(joined);
        }
    }

    fn finish(&mut self, full: &mut dyn FnMut(Box<Packet>)) {
        self.give_out(full);
        self.tail = None;
    }
}

#[cfg(test)]
mod tests;
