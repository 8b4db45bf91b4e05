//! Disks (5.2).
//!
//! Many requests may be under way at once. A thread submits the requests of its operation and waits
//! until all of them have completed; the interrupt handler completes them. Before interrupts work,
//! and when the kernel dies, the waiting thread looks for completions itself.
//!
//! A device may have several queues: each CPU submits to its own, and is interrupted for it.
//!
//! | lock | guards | held |
//! |---|---|---|
//! | `state` of a queue | the queue and its free request slots | for one submission or one completion |
//!
//! Buffers go to the device as they are, scattered as they may be. Those that no device can reach
//! are copied through a buffer that it can.

mod geometry;
mod operation;
mod request_queue;
#[cfg(test)]
mod tests;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use block::{BlockDevice, SECTOR_BYTES, Unmap, WriteCache, checked_sectors};
use ksync::{WaitQueue, platform};
use linux_abi::Errno;

use self::{
    geometry::{Geometry, RangeLimit, feature},
    operation::Operation,
    request_queue::{Data, NotNow, RequestQueue},
};
use crate::{
    Direction, DmaBuffer, DmaPlatform, InitError, NO_VECTOR, Segment, Transport, begin, finish, reset,
};

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

/// In the flags of a range: space may be given back.
const RANGE_UNMAP: u32 = 1;

/// Queues that are used at most: what a queue needs of memory is worth no more.
const MAX_QUEUES: usize = 16;
/// Bytes of one request, at most: as much as keeps a device busy without holding others up for long.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Bytes that are copied at once where a device cannot reach a buffer.
const BOUNCE_BYTES: usize = 64 << 10;
/// Length of the identification (5.2.6).
const ID_LEN: usize = 20;

/// Who looks for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionMode {
    /// The waiting thread: interrupts do not work yet, or no more.
    Polling,
    /// [`Disk::handle_interrupt`] and [`Disk::handle_vector`].
    Interrupts,
}

/// How a device can interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// By a wire, or not at all.
    None,
    /// By so many different messages.
    Messages(u16),
}

/// A disk.
pub struct Disk {
    transport: Box<dyn Transport>,
    platform: &'static dyn DmaPlatform,
    features: u64,
    geometry: Geometry,
    /// Segments of data that one request may have.
    max_segments: usize,
    queues: Box<[RequestQueue]>,
    /// Whether each queue has a message of its own: that of queue `n` is `n + 1`. Else all have message 0.
    has_own_vectors: bool,
    interrupts: AtomicBool,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Disk {
    /// Brings the device up, in [`CompletionMode::Polling`], with a queue for each of `cpus` CPUs if it has as
    /// many.
    pub fn new(
        transport: Box<dyn Transport>,
        platform: &'static dyn DmaPlatform,
        vectors: Vectors,
        cpus: usize,
    ) -> Result<Self, InitError> {
        let features = begin(&*transport, feature::WANTED)?;
        transport.set_configuration_vector(NO_VECTOR)?;
        let geometry = Geometry::read(&*transport, features, MAX_REQUEST_BYTES)?;
        let max_segments = RequestQueue::max_segments(features, transport.max_queue_size(0))
            .ok_or(InitError::Queue)?
            .min(geometry.max_segments);
        let wanted = usize::from(geometry.queues).min(cpus).clamp(1, MAX_QUEUES) as u16;
        let usable = (1..wanted).take_while(|index| {
            RequestQueue::max_segments(features, transport.max_queue_size(*index))
                .is_some_and(|segments| segments >= max_segments)
        });
        let count = 1 + usable.count() as u16;
        let has_own_vectors = count > 1 && matches!(vectors, Vectors::Messages(all) if all > count);
        let vector_of = |queue: u16| match vectors {
            Vectors::None => NO_VECTOR,
            Vectors::Messages(_) if has_own_vectors => queue + 1,
            Vectors::Messages(_) => 0,
        };
        let queues = (0..count)
            .map(|queue| RequestQueue::new(&*transport, platform, features, queue, vector_of(queue)))
            .collect::<Result<_, _>>()?;
        finish(&*transport);
        Ok(Self {
            transport,
            platform,
            features,
            geometry,
            max_segments,
            queues,
            has_own_vectors,
            interrupts: AtomicBool::new(false),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        })
    }

    /// Bytes that were read and written since the start.
    pub fn transferred_bytes(&self) -> [u64; 2] {
        [&self.bytes_read, &self.bytes_written].map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// Queues that are used.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Different messages that the device interrupts by, message 0 among them.
    pub fn vectors_used(&self) -> u16 {
        if self.has_own_vectors { self.queues.len() as u16 + 1 } else { 1 }
    }

    /// Says who looks for completions from now on. Those who wait already go on as they are, so
    /// `Interrupts` is set once they work, and `Polling` only by a dying kernel.
    pub fn set_completion_mode(&self, mode: CompletionMode) {
        self.interrupts.store(mode == CompletionMode::Interrupts, Ordering::Release);
    }

    /// Acknowledges a wired interrupt. Message-signalled ones need none.
    pub fn acknowledge_interrupt(&self) {
        self.transport.interrupt_cause();
    }

    /// Completes what the device has finished. From its interrupt, or from a thread that polls.
    pub fn handle_interrupt(&self) {
        for queue in &self.queues {
            self.look_at(queue);
        }
    }

    /// Completes what the device has finished that it interrupts for by this message.
    pub fn handle_vector(&self, vector: u16) {
        let own = usize::from(vector).checked_sub(1).filter(|_| self.has_own_vectors);
        match own.and_then(|queue| self.queues.get(queue)) {
            Some(queue) => self.look_at(queue),
            None => self.handle_interrupt(),
        }
    }

    fn look_at(&self, queue: &RequestQueue) {
        if queue.complete_finished().is_err() {
            self.give_up();
        }
    }

    /// Ends the use of a device that broke the rules: every request fails, now and later.
    fn give_up(&self) {
        // A device that does not even come out of reset cannot be kept from writing; nothing better
        // can be done for those who wait than to tell them.
        let _ = reset(&*self.transport);
        for queue in &self.queues {
            // SAFETY: the device was reset.
            unsafe { queue.abandon() };
        }
    }

    fn polls(&self) -> bool {
        !self.interrupts.load(Ordering::Acquire)
    }

    fn wait<T>(&self, queue: &WaitQueue, mut condition: impl FnMut() -> Option<T>) -> T {
        if !self.polls() {
            return queue.wait_uninterruptible(condition);
        }
        loop {
            self.handle_interrupt();
            if let Some(value) = condition() {
                return value;
            }
            core::hint::spin_loop();
        }
    }

    /// Hands one request to the device, waiting for room.
    ///
    /// # Safety
    /// The data stays valid, and nobody else touches it, until `operation` is done.
    unsafe fn submit(
        &self,
        kind: u32,
        sector: u64,
        data: Data<'_>,
        operation: &Arc<Operation>,
    ) -> Result<(), Errno> {
        // That of this CPU, as far as that stays true.
        let queue = &self.queues[platform::cpu_index() % self.queues.len()];
        let mut segments = Vec::new();
        segments.try_reserve_exact(self.max_segments + 2).map_err(|_| Errno::ENOMEM)?;
        operation.begin_one();
        let result = self.wait(&queue.room, || {
            // SAFETY: the caller vouches for the data.
            match unsafe { queue.try_submit(kind, sector, &data, &mut segments, operation) } {
                Ok(()) => Some(Ok(())),
                Err(NotNow::Full) => None,
                Err(NotNow::Failed(error)) => Some(Err(error)),
            }
        });
        if result.is_err() {
            operation.finish_one();
        }
        result
    }

    /// Waits until all that was submitted for `operation` has completed.
    fn wait_for(&self, operation: &Operation) -> Result<(), Errno> {
        operation.finish_one();
        self.wait(&operation.waiters, || operation.is_done().then_some(()));
        operation.result()
    }

    /// Moves consecutive sectors from or to `pieces` of memory, given as start and length, in as few
    /// requests as the device allows.
    ///
    /// # Safety
    /// The pieces are valid for the transfer, and nobody else touches them meanwhile.
    unsafe fn transfer(
        &self,
        direction: Direction,
        sector: u64,
        pieces: impl Iterator<Item = (*mut u8, usize)>,
    ) -> Result<(), Errno> {
        let operation = Operation::new();
        let mut gathered = Gathered { sector, segments: Vec::new(), bytes: 0 };
        // SAFETY: as for this function; below, the operation is waited for.
        let mut result = unsafe { self.submit_pieces(direction, &mut gathered, pieces, &operation) };
        if result.is_ok() {
            // SAFETY: likewise.
            result = unsafe { self.submit_gathered(direction, &mut gathered, &operation) };
        }
        // Also after an error: what was submitted still uses the caller's memory.
        let completed = self.wait_for(&operation);
        result.and(completed)
    }

    /// Submits all but what is left in `gathered`.
    ///
    /// # Safety
    /// The pieces are valid, and nobody else touches them, until `operation` is done.
    unsafe fn submit_pieces(
        &self,
        direction: Direction,
        gathered: &mut Gathered,
        pieces: impl Iterator<Item = (*mut u8, usize)>,
        operation: &Arc<Operation>,
    ) -> Result<(), Errno> {
        for (start, len) in pieces {
            let mut done = 0;
            while done < len {
                let part =
                    (len - done).min(self.geometry.max_segment_bytes).min(MAX_REQUEST_BYTES - gathered.bytes);
                let here = start.wrapping_add(done);
                done += part;
                let Some(phys) = self.platform.physical(here, part) else {
                    // SAFETY: as for this function.
                    unsafe { self.submit_gathered(direction, gathered, operation) }?;
                    // What comes before and after is other sectors, so neither waits for this.
                    // SAFETY: the caller vouches for the piece.
                    unsafe { self.bounce(direction, gathered.sector, here, part) }?;
                    gathered.sector += (part / SECTOR_BYTES) as u64;
                    continue;
                };
                let is_whole = gathered.bytes.is_multiple_of(self.geometry.logical_block_bytes);
                match gathered.segments.last_mut() {
                    // Frames that were allocated together often lie together.
                    Some(last)
                        if last.phys + u64::from(last.len) == phys
                            && last.len as usize + part <= self.geometry.max_segment_bytes =>
                    {
                        last.len += part as u32;
                    }
                    _ => {
                        if gathered.segments.len() == self.max_segments {
                            if !is_whole {
                                // Buffers that are no whole blocks, and more of them than fit in one request.
                                return Err(Errno::EINVAL);
                            }
                            // SAFETY: as for this function.
                            unsafe { self.submit_gathered(direction, gathered, operation) }?;
                        }
                        gathered.segments.push(Segment { phys, len: part as u32, direction });
                    }
                }
                gathered.bytes += part;
                if gathered.bytes == MAX_REQUEST_BYTES {
                    // SAFETY: as for this function.
                    unsafe { self.submit_gathered(direction, gathered, operation) }?;
                }
            }
        }
        Ok(())
    }

    /// Submits what was gathered, and begins anew behind it.
    ///
    /// # Safety
    /// As for [`submit_pieces`](Self::submit_pieces).
    unsafe fn submit_gathered(
        &self,
        direction: Direction,
        gathered: &mut Gathered,
        operation: &Arc<Operation>,
    ) -> Result<(), Errno> {
        if gathered.segments.is_empty() {
            return Ok(());
        }
        let kind = if direction == Direction::FromDevice { TYPE_IN } else { TYPE_OUT };
        // SAFETY: the caller vouches for the segments.
        unsafe { self.submit(kind, gathered.sector, Data::Segments(&gathered.segments), operation) }?;
        gathered.sector += (gathered.bytes / SECTOR_BYTES) as u64;
        gathered.segments.clear();
        gathered.bytes = 0;
        Ok(())
    }

    /// Moves sectors from or to memory that the device cannot reach.
    ///
    /// # Safety
    /// As for [`transfer`](Self::transfer).
    unsafe fn bounce(
        &self,
        direction: Direction,
        mut sector: u64,
        start: *mut u8,
        len: usize,
    ) -> Result<(), Errno> {
        let pages =
            len.min(BOUNCE_BYTES.max(self.geometry.logical_block_bytes)).div_ceil(crate::dma::PAGE_SIZE);
        let buffer = DmaBuffer::new(self.platform, pages).ok_or(Errno::ENOMEM)?;
        let mut done = 0;
        while done < len {
            let part = (len - done).min(buffer.len()).min(self.geometry.max_segment_bytes);
            // SAFETY: the caller vouches for the memory, and is the only one who uses it.
            let bytes = unsafe { core::slice::from_raw_parts_mut(start.add(done), part) };
            if direction == Direction::ToDevice {
                buffer.copy_in(0, bytes);
            }
            let kind = if direction == Direction::FromDevice { TYPE_IN } else { TYPE_OUT };
            let operation = Operation::new();
            let segment = Segment { phys: buffer.phys(), len: part as u32, direction };
            // SAFETY: the buffer lives until the wait below has ended, whatever comes of it.
            let submitted = unsafe { self.submit(kind, sector, Data::Segments(&[segment]), &operation) };
            let completed = self.wait_for(&operation);
            submitted.and(completed)?;
            if direction == Direction::FromDevice {
                buffer.copy_out(0, bytes);
            }
            sector += (part / SECTOR_BYTES) as u64;
            done += part;
        }
        Ok(())
    }

    /// Has the device do something with a range of sectors that moves no data.
    fn for_range(
        &self,
        kind: u32,
        limit: RangeLimit,
        mut sector: u64,
        mut sectors: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let operation = Operation::new();
        let mut result = Ok(());
        while sectors > 0 && result.is_ok() {
            let piece = limit.first_piece(sector, sectors);
            let range = Data::Range { sector, sectors: piece, flags };
            // SAFETY: there is no data but what the slot has.
            result = unsafe { self.submit(kind, 0, range, &operation) };
            sector += u64::from(piece);
            sectors -= u64::from(piece);
        }
        let completed = self.wait_for(&operation);
        result.and(completed)
    }

    /// The device's identification: what QEMU's `serial=` sets. Up to 20 bytes, often none.
    pub fn id(&self) -> Result<String, Errno> {
        let buffer = DmaBuffer::new(self.platform, 1).ok_or(Errno::ENOMEM)?;
        let operation = Operation::new();
        let segment = Segment { phys: buffer.phys(), len: ID_LEN as u32, direction: Direction::FromDevice };
        // SAFETY: the buffer lives until the wait below has ended.
        let submitted = unsafe { self.submit(TYPE_GET_ID, 0, Data::Segments(&[segment]), &operation) };
        let completed = self.wait_for(&operation);
        submitted.and(completed)?;
        let mut id = [0; ID_LEN];
        buffer.copy_out(0, &mut id);
        let len = id.iter().position(|byte| *byte == 0).unwrap_or(ID_LEN);
        Ok(String::from_utf8_lossy(&id[..len]).into_owned())
    }

    fn block_sectors(&self) -> u64 {
        (self.geometry.logical_block_bytes / SECTOR_BYTES) as u64
    }

    /// Whether buffers of these lengths make up whole blocks on the device, or `EINVAL`.
    fn check(&self, sector: u64, lengths: impl Iterator<Item = usize>) -> Result<(), Errno> {
        let sectors = checked_sectors(self.geometry.sector_count, sector, lengths)?;
        let block_sectors = self.block_sectors();
        let is_whole = sector.is_multiple_of(block_sectors) && sectors.is_multiple_of(block_sectors);
        if is_whole { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The end of a range that lies on the device and may be written.
    fn check_range(&self, sector: u64, sectors: u64) -> Result<u64, Errno> {
        let end = sector.checked_add(sectors).filter(|end| *end <= self.geometry.sector_count);
        let end = end.ok_or(Errno::EINVAL)?;
        if self.is_read_only() { Err(Errno::EROFS) } else { Ok(end) }
    }
}

/// Segments for one request.
struct Gathered {
    /// Where they begin on the device.
    sector: u64,
    segments: Vec<Segment>,
    bytes: usize,
}

impl Drop for Disk {
    /// The device must not use the queues' memory when that is freed.
    fn drop(&mut self) {
        let _ = reset(&*self.transport);
    }
}

impl BlockDevice for Disk {
    fn sector_count(&self) -> u64 {
        self.geometry.sector_count
    }

    fn write_cache(&self) -> WriteCache {
        if self.geometry.has_write_cache { WriteCache::Volatile } else { WriteCache::None }
    }

    fn is_read_only(&self) -> bool {
        self.features & feature::RO != 0
    }

    fn logical_block_bytes(&self) -> usize {
        self.geometry.logical_block_bytes
    }

    fn physical_block_bytes(&self) -> usize {
        self.geometry.physical_block_bytes
    }

    fn can_discard(&self) -> bool {
        self.geometry.discard.is_some() && !self.is_read_only()
    }

    fn discard(&self, sector: u64, sectors: u64) -> Result<(), Errno> {
        let end = self.check_range(sector, sectors)?;
        let limit = self.geometry.discard.ok_or(Errno::EOPNOTSUPP)?;
        let first = sector.next_multiple_of(self.block_sectors());
        let end = end / self.block_sectors() * self.block_sectors();
        self.for_range(TYPE_DISCARD, limit, first, end.saturating_sub(first), 0)
    }

    fn write_zeroes(&self, sector: u64, sectors: u64, unmap: Unmap) -> Result<(), Errno> {
        let end = self.check_range(sector, sectors)?;
        let limit = self.geometry.write_zeroes.ok_or(Errno::EOPNOTSUPP)?;
        if !sector.is_multiple_of(self.block_sectors()) || !end.is_multiple_of(self.block_sectors()) {
            return Err(Errno::EINVAL);
        }
        let may_unmap = unmap == Unmap::Allowed && self.geometry.zeroes_may_unmap;
        let flags = if may_unmap { RANGE_UNMAP } else { 0 };
        self.for_range(TYPE_WRITE_ZEROES, limit, sector, sectors, flags)
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.check(sector, buffers.iter().map(|buffer| buffer.len()))?;
        let len: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        self.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
        let pieces = buffers.iter_mut().map(|buffer| (buffer.as_mut_ptr(), buffer.len()));
        // SAFETY: the buffers are borrowed exclusively until the transfer has ended.
        unsafe { self.transfer(Direction::FromDevice, sector, pieces) }
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        self.check(sector, buffers.iter().map(|buffer| buffer.len()))?;
        if self.is_read_only() {
            return Err(Errno::EROFS);
        }
        let len: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        self.bytes_written.fetch_add(len as u64, Ordering::Relaxed);
        let pieces = buffers.iter().map(|buffer| (buffer.as_ptr().cast_mut(), buffer.len()));
        // SAFETY: the buffers are borrowed until the transfer has ended, and only read.
        unsafe { self.transfer(Direction::ToDevice, sector, pieces) }
    }

    fn flush(&self) -> Result<(), Errno> {
        if self.write_cache() == WriteCache::None {
            return Ok(());
        }
        let operation = Operation::new();
        // SAFETY: there is no data.
        let submitted = unsafe { self.submit(TYPE_FLUSH, 0, Data::Segments(&[]), &operation) };
        let completed = self.wait_for(&operation);
        submitted.and(completed)
    }
}
