//! Disks (5.2).
//!
//! Many requests may be under way at once. A thread submits the requests of its operation and waits
//! until all of them have completed; the interrupt handler completes them. Before interrupts work,
//! and when the kernel dies, the waiting thread looks for completions itself.
//!
//! | lock | guards | held |
//! |---|---|---|
//! | `state` | the queue and the free request slots | for one submission or one completion |
//!
//! Buffers go to the device as they are, scattered as they may be. Those that no device can reach
//! are copied through a buffer that it can.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use block::{BlockDevice, SECTOR_BYTES, WriteCache, checked_sectors};
use ksync::{SpinLock, WaitQueue};
use linux_abi::Errno;

use crate::{
    Completion, Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, NO_VECTOR, Segment, SplitQueue,
    SubmitError, Transport, begin, finish, reset,
};

mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const FLUSH: u64 = 1 << 9;
}

/// Offsets in the configuration (5.2.4).
mod configuration {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
}

const QUEUE: u16 = 0;
const QUEUE_SIZE: u16 = 256;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What a request's status is before the device sets it; no status of the specification.
const STATUS_UNSET: u8 = 0xff;

/// A slot holds what frames a request: the header that the device reads and the status it writes.
const SLOT_LEN: usize = 32;
const HEADER_LEN: u32 = 16;
const STATUS_AT: usize = 16;

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
    /// [`Disk::handle_interrupt`].
    Interrupts,
}

/// One or more requests that somebody waits for together.
struct Operation {
    /// Requests that have not completed, and one for the thread that still submits.
    outstanding: AtomicU32,
    failed: AtomicBool,
    unsupported: AtomicBool,
    waiters: WaitQueue,
}

impl Operation {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            outstanding: AtomicU32::new(1),
            failed: AtomicBool::new(false),
            unsupported: AtomicBool::new(false),
            waiters: WaitQueue::new(),
        })
    }

    fn is_done(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    fn finish_one(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiters.wake_all();
        }
    }

    fn complete(&self, status: u8) {
        match status {
            STATUS_OK => {}
            STATUS_UNSUPPORTED => self.unsupported.store(true, Ordering::Relaxed),
            _ => self.failed.store(true, Ordering::Relaxed),
        }
        self.finish_one();
    }

    fn result(&self) -> Result<(), Errno> {
        if self.failed.load(Ordering::Relaxed) {
            Err(Errno::EIO)
        } else if self.unsupported.load(Ordering::Relaxed) {
            Err(Errno::EOPNOTSUPP)
        } else {
            Ok(())
        }
    }
}

struct Request {
    slot: u16,
    operation: Arc<Operation>,
}

struct State {
    queue: SplitQueue<Request>,
    free_slots: Vec<u16>,
}

/// A disk.
pub struct Disk {
    transport: Box<dyn Transport>,
    platform: &'static dyn DmaPlatform,
    doorbell: Doorbell,
    features: u64,
    sector_count: u64,
    /// Segments of data that one request may have.
    max_segments: usize,
    /// Bytes that one segment may have; whole sectors.
    max_segment_bytes: usize,
    slots: DmaBuffer,
    state: SpinLock<State>,
    /// For those who find no slot or too few descriptors.
    room: WaitQueue,
    interrupts: AtomicBool,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Disk {
    /// Brings the device up, in [`CompletionMode::Polling`]. `vector` is the MSI-X vector of its
    /// queue.
    pub fn new(
        transport: Box<dyn Transport>,
        platform: &'static dyn DmaPlatform,
        vector: u16,
    ) -> Result<Self, InitError> {
        let wanted = feature::SIZE_MAX | feature::SEG_MAX | feature::RO | feature::FLUSH;
        let features = begin(&*transport, wanted)?;
        transport.set_configuration_vector(NO_VECTOR)?;
        let max_queue_size = transport.max_queue_size(QUEUE);
        let queue: SplitQueue<Request> =
            SplitQueue::new(platform, QUEUE_SIZE, max_queue_size, features).ok_or(InitError::Queue)?;
        // Header, one segment of data, status.
        let most = usize::from(queue.size()).checked_sub(2).filter(|most| *most > 0);
        let mut max_segments = most.ok_or(InitError::Queue)?;
        if features & feature::SEG_MAX != 0 {
            let limit = transport.configuration_u32(configuration::SEG_MAX) as usize;
            max_segments = max_segments.min(limit.max(1));
        }
        let mut max_segment_bytes = MAX_REQUEST_BYTES;
        if features & feature::SIZE_MAX != 0 {
            let limit = transport.configuration_u32(configuration::SIZE_MAX) as usize;
            max_segment_bytes = max_segment_bytes.min(limit) / SECTOR_BYTES * SECTOR_BYTES;
            if max_segment_bytes == 0 {
                return Err(InitError::Configuration);
            }
        }
        let slot_count = queue.size() / 2;
        let slot_pages = (usize::from(slot_count) * SLOT_LEN).div_ceil(crate::dma::PAGE_SIZE);
        let slots = DmaBuffer::new(platform, slot_pages).ok_or(InitError::OutOfMemory)?;
        let doorbell = transport.enable_queue(QUEUE, &queue.layout(), vector)?;
        let sector_count = transport.configuration_u64(configuration::CAPACITY);
        finish(&*transport);
        Ok(Self {
            transport,
            platform,
            doorbell,
            features,
            sector_count,
            max_segments,
            max_segment_bytes,
            slots,
            state: SpinLock::new(State { queue, free_slots: (0..slot_count).collect() }),
            room: WaitQueue::new(),
            interrupts: AtomicBool::new(false),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        })
    }

    /// Bytes that were read and written since the start.
    pub fn transferred_bytes(&self) -> [u64; 2] {
        [&self.bytes_read, &self.bytes_written].map(|bytes| bytes.load(Ordering::Relaxed))
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
        let mut completed = false;
        loop {
            let mut state = self.state.lock();
            match state.queue.complete() {
                Ok(None) => break,
                Ok(Some(Completion { cookie, .. })) => {
                    let status = self.slots.read_u8(usize::from(cookie.slot) * SLOT_LEN + STATUS_AT);
                    state.free_slots.push(cookie.slot);
                    drop(state);
                    cookie.operation.complete(status);
                    completed = true;
                }
                Err(crate::Broken) => {
                    drop(state);
                    self.give_up();
                    completed = true;
                    break;
                }
            }
        }
        if completed {
            self.room.wake_all();
        }
    }

    /// Ends the use of a device that broke the rules: every request fails, now and later.
    fn give_up(&self) {
        // A device that does not even come out of reset cannot be kept from writing; nothing better
        // can be done for those who wait than to tell them.
        let _ = reset(&*self.transport);
        // SAFETY: the device was reset.
        let requests = unsafe { self.state.lock().queue.abandon() };
        for request in requests {
            request.operation.complete(STATUS_UNSET);
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
    /// The segments stay valid, and nobody else touches them, until `operation` is done.
    unsafe fn submit(
        &self,
        kind: u32,
        sector: u64,
        data: &[Segment],
        operation: &Arc<Operation>,
    ) -> Result<(), Errno> {
        let mut segments = Vec::new();
        segments.try_reserve_exact(data.len() + 2).map_err(|_| Errno::ENOMEM)?;
        operation.outstanding.fetch_add(1, Ordering::Relaxed);
        let result = self.wait(&self.room, || {
            let mut state = self.state.lock();
            let Some(slot) = state.free_slots.pop() else {
                // Every slot taken means that requests are under way, whose completion wakes us.
                return None;
            };
            let at = usize::from(slot) * SLOT_LEN;
            self.slots.write_u32(at, kind);
            self.slots.write_u32(at + 4, 0);
            self.slots.write_u64(at + 8, sector);
            self.slots.write_u8(at + STATUS_AT, STATUS_UNSET);
            let phys = self.slots.phys() + at as u64;
            segments.clear();
            segments.push(Segment { phys, len: HEADER_LEN, direction: Direction::ToDevice });
            segments.extend_from_slice(data);
            let status = phys + STATUS_AT as u64;
            segments.push(Segment { phys: status, len: 1, direction: Direction::FromDevice });
            let request = Request { slot, operation: operation.clone() };
            // SAFETY: slots live as long as the queue, this one is nobody else's until the request
            // completes, and the caller vouches for the data.
            match unsafe { state.queue.submit(&segments, request) } {
                Ok(()) => {
                    let notify = state.queue.must_notify();
                    drop(state);
                    if notify {
                        self.doorbell.ring();
                    }
                    Some(Ok(()))
                }
                Err((error, request)) => {
                    state.free_slots.push(request.slot);
                    match error {
                        SubmitError::Full => None,
                        SubmitError::Invalid | SubmitError::Broken => Some(Err(Errno::EIO)),
                    }
                }
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
        mut sector: u64,
        pieces: impl Iterator<Item = (*mut u8, usize)>,
    ) -> Result<(), Errno> {
        let operation = Operation::new();
        let kind = if direction == Direction::FromDevice { TYPE_IN } else { TYPE_OUT };
        let mut segments: Vec<Segment> = Vec::new();
        let mut bytes = 0;
        let mut result = Ok(());
        'pieces: for (start, len) in pieces {
            let mut done = 0;
            while done < len {
                let part = (len - done).min(self.max_segment_bytes).min(MAX_REQUEST_BYTES - bytes);
                let here = start.wrapping_add(done);
                let Some(phys) = self.platform.physical(here, part) else {
                    // In order with what came before, as both may be the same sectors' neighbours,
                    // not the same sectors: order does not matter, and neither waits for the other.
                    let at = sector + (bytes / SECTOR_BYTES) as u64;
                    // SAFETY: the caller vouches for the piece.
                    result = unsafe { self.bounce(direction, at, here, part) };
                    // What was gathered so far ends here, as the bounced part lies between.
                    if result.is_ok() && !segments.is_empty() {
                        // SAFETY: as for this function.
                        result = unsafe { self.submit(kind, sector, &segments, &operation) };
                        segments.clear();
                    }
                    if result.is_err() {
                        break 'pieces;
                    }
                    sector = at + (part / SECTOR_BYTES) as u64;
                    bytes = 0;
                    done += part;
                    continue;
                };
                segments.push(Segment { phys, len: part as u32, direction });
                bytes += part;
                done += part;
                if segments.len() == self.max_segments || bytes == MAX_REQUEST_BYTES {
                    // SAFETY: as for this function.
                    result = unsafe { self.submit(kind, sector, &segments, &operation) };
                    if result.is_err() {
                        break 'pieces;
                    }
                    sector += (bytes / SECTOR_BYTES) as u64;
                    segments.clear();
                    bytes = 0;
                }
            }
        }
        if result.is_ok() && !segments.is_empty() {
            // SAFETY: as for this function.
            result = unsafe { self.submit(kind, sector, &segments, &operation) };
        }
        // Also after an error: what was submitted still uses the caller's memory.
        let completed = self.wait_for(&operation);
        result.and(completed)
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
        let pages = len.min(BOUNCE_BYTES).div_ceil(crate::dma::PAGE_SIZE);
        let buffer = DmaBuffer::new(self.platform, pages).ok_or(Errno::ENOMEM)?;
        let mut done = 0;
        while done < len {
            let part = (len - done).min(buffer.len()).min(self.max_segment_bytes);
            // SAFETY: the caller vouches for the memory, and is the only one who uses it.
            let bytes = unsafe { core::slice::from_raw_parts_mut(start.add(done), part) };
            if direction == Direction::ToDevice {
                buffer.copy_in(0, bytes);
            }
            let kind = if direction == Direction::FromDevice { TYPE_IN } else { TYPE_OUT };
            let operation = Operation::new();
            let segment = Segment { phys: buffer.phys(), len: part as u32, direction };
            // SAFETY: the buffer lives until the wait below has ended, whatever comes of it.
            let submitted = unsafe { self.submit(kind, sector, &[segment], &operation) };
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

    /// The device's identification: what QEMU's `serial=` sets. Up to 20 bytes, often none.
    pub fn id(&self) -> Result<String, Errno> {
        let buffer = DmaBuffer::new(self.platform, 1).ok_or(Errno::ENOMEM)?;
        let operation = Operation::new();
        let segment = Segment { phys: buffer.phys(), len: ID_LEN as u32, direction: Direction::FromDevice };
        // SAFETY: the buffer lives until the wait below has ended.
        let submitted = unsafe { self.submit(TYPE_GET_ID, 0, &[segment], &operation) };
        let completed = self.wait_for(&operation);
        submitted.and(completed)?;
        let mut id = [0; ID_LEN];
        buffer.copy_out(0, &mut id);
        let len = id.iter().position(|byte| *byte == 0).unwrap_or(ID_LEN);
        Ok(String::from_utf8_lossy(&id[..len]).into_owned())
    }

    /// Lengths that make up whole sectors on the device, or `EINVAL`.
    fn check(&self, sector: u64, lengths: impl Iterator<Item = usize>) -> Result<(), Errno> {
        checked_sectors(self.sector_count, sector, lengths).map(drop)
    }
}

impl Drop for Disk {
    /// The device must not use the queue's memory when that is freed.
    fn drop(&mut self) {
        let _ = reset(&*self.transport);
    }
}

impl BlockDevice for Disk {
    fn sector_count(&self) -> u64 {
        self.sector_count
    }

    fn write_cache(&self) -> WriteCache {
        if self.features & feature::FLUSH != 0 { WriteCache::Volatile } else { WriteCache::None }
    }

    fn is_read_only(&self) -> bool {
        self.features & feature::RO != 0
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
        let submitted = unsafe { self.submit(TYPE_FLUSH, 0, &[], &operation) };
        let completed = self.wait_for(&operation);
        submitted.and(completed)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    use super::*;
    use crate::{
        DeviceKind,
        fake::{Chain, FakeTransport, PLATFORM, hide_from_devices},
    };

    const SECTORS: usize = 4096;

    /// What the fake disk does wrong.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        Status(u8),
        BadId,
        NoStatus,
    }

    struct FakeDisk {
        disk: Arc<Disk>,
        contents: Arc<Mutex<Vec<u8>>>,
        most_segments: Arc<Mutex<usize>>,
        flushes: Arc<Mutex<usize>>,
        stop: Arc<AtomicBool>,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Drop for FakeDisk {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::SeqCst);
            let result = self.thread.take().unwrap().join();
            if !thread::panicking() {
                result.unwrap();
            }
        }
    }

    fn serve(chain: &Chain, contents: &mut [u8], flushes: &mut usize) -> u32 {
        let sent = chain.read();
        let kind = u32::from_le_bytes(sent[..4].try_into().unwrap());
        let at = u64::from_le_bytes(sent[8..16].try_into().unwrap()) as usize * SECTOR_BYTES;
        let mut answer = match kind {
            TYPE_IN => contents[at..at + chain.room() - 1].to_vec(),
            TYPE_OUT => {
                contents[at..at + sent.len() - 16].copy_from_slice(&sent[16..]);
                Vec::new()
            }
            TYPE_FLUSH => {
                *flushes += 1;
                Vec::new()
            }
            TYPE_GET_ID => b"crema-root\0\0\0\0\0\0\0\0\0\0".to_vec(),
            kind => panic!("request of type {kind}"),
        };
        answer.push(STATUS_OK);
        chain.write(&answer)
    }

    /// A disk whose requests a thread serves, several at a time and in reverse order.
    fn fake(features: u64, size_max: u32, seg_max: u32, fault: Fault) -> FakeDisk {
        let mut configuration = (SECTORS as u64).to_le_bytes().to_vec();
        configuration.extend(size_max.to_le_bytes());
        configuration.extend(seg_max.to_le_bytes());
        let transport = FakeTransport::new(DeviceKind::Block, features, 1, configuration);
        let state = transport.state.clone();
        let disk = Arc::new(Disk::new(Box::new(transport), &PLATFORM, NO_VECTOR).unwrap());
        let contents: Vec<u8> = (0..SECTORS * SECTOR_BYTES).map(|i| (i / 7) as u8).collect();
        let contents = Arc::new(Mutex::new(contents));
        let stop = Arc::new(AtomicBool::new(false));
        let most_segments = Arc::new(Mutex::new(0));
        let flushes = Arc::new(Mutex::new(0));
        let thread = thread::spawn({
            let (disk, contents, stop, most, flushes) =
                (disk.clone(), contents.clone(), stop.clone(), most_segments.clone(), flushes.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut finished = false;
                    if let Some((_, queue)) = state.lock().unwrap().queues.get_mut(&QUEUE) {
                        let mut chains: VecDeque<Chain> = VecDeque::new();
                        while let Some(chain) = queue.next() {
                            chains.push_front(chain);
                        }
                        for chain in chains {
                            let segments = chain.readable.len() + chain.writable.len() - 2;
                            let mut most = most.lock().unwrap();
                            *most = segments.max(*most);
                            let head = u32::from(chain.head);
                            match fault {
                                Fault::None => {
                                    let mut flushes = flushes.lock().unwrap();
                                    let written = serve(&chain, &mut contents.lock().unwrap(), &mut flushes);
                                    queue.finish(head, written);
                                }
                                Fault::Status(status) => {
                                    chain.write(&[vec![0; chain.room() - 1], vec![status]].concat());
                                    queue.finish(head, 1);
                                }
                                Fault::BadId => queue.finish(head + 9999, 1),
                                Fault::NoStatus => queue.finish(head, 0),
                            }
                            finished = true;
                        }
                    }
                    if finished {
                        disk.handle_interrupt();
                    } else {
                        thread::yield_now();
                    }
                }
            }
        });
        disk.set_completion_mode(CompletionMode::Interrupts);
        FakeDisk { disk, contents, most_segments, flushes, stop, thread: Some(thread) }
    }

    #[test]
    fn reads_and_writes_scattered_buffers() {
        for (size_max, seg_max) in [(0, 0), (1024, 3), (700, 1)] {
            let features = if size_max == 0 { 0 } else { feature::SIZE_MAX | feature::SEG_MAX };
            let fake = fake(features, size_max, seg_max, Fault::None);
            let mut small = vec![0; 512];
            let mut large = vec![0; 512 * 301];
            let mut last = vec![0; 4096];
            fake.disk.read_scattered(5, &mut [&mut small, &mut large, &mut last]).unwrap();
            let expected = fake.contents.lock().unwrap()[5 * 512..][..512 * 310].to_vec();
            assert_eq!([small, large.clone(), last].concat(), expected);

            large.iter_mut().for_each(|byte| *byte ^= 0x55);
            fake.disk.write_gathered(100, &[&large[..1024], &large[1024..]]).unwrap();
            assert_eq!(fake.contents.lock().unwrap()[51_200..][..large.len()], large);
            if seg_max != 0 {
                assert!(*fake.most_segments.lock().unwrap() <= seg_max as usize);
            }
        }
    }

    #[test]
    fn copies_what_the_device_cannot_reach() {
        let fake = fake(0, 0, 0, Fault::None);
        let mut before = vec![0; 1024];
        let mut hidden = vec![0; 512 * 200];
        let mut after = vec![0; 1024];
        hide_from_devices(hidden.as_ptr());
        fake.disk.read_scattered(7, &mut [&mut before, &mut hidden, &mut after]).unwrap();
        let expected = fake.contents.lock().unwrap()[7 * 512..][..512 * 204].to_vec();
        assert_eq!([before, hidden.clone(), after].concat(), expected);
        hidden.reverse();
        fake.disk.write(1000, &hidden).unwrap();
        assert_eq!(fake.contents.lock().unwrap()[512_000..][..hidden.len()], hidden);
    }

    #[test]
    fn many_threads_share_the_queue() {
        let fake = fake(0, 0, 0, Fault::None);
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let disk = &fake.disk;
                scope.spawn(move || {
                    for round in 0..100 {
                        let pattern = vec![(thread * 31 + round) as u8; 512 * 8];
                        disk.write(thread * 64, &pattern).unwrap();
                        let mut back = vec![0; 512 * 8];
                        disk.read(thread * 64, &mut back).unwrap();
                        assert_eq!(back, pattern);
                    }
                });
            }
        });
    }

    #[test]
    fn flushes_only_what_can_be_flushed() {
        let without = fake(0, 0, 0, Fault::None);
        assert_eq!(without.disk.write_cache(), WriteCache::None);
        without.disk.flush().unwrap();
        assert_eq!(*without.flushes.lock().unwrap(), 0);
        let with = fake(feature::FLUSH, 0, 0, Fault::None);
        assert_eq!(with.disk.write_cache(), WriteCache::Volatile);
        with.disk.flush().unwrap();
        assert_eq!(*with.flushes.lock().unwrap(), 1);
        assert_eq!(with.disk.id().unwrap(), "crema-root");
    }

    #[test]
    fn refuses_ranges_and_writes_that_cannot_be() {
        let fake = fake(feature::RO, 0, 0, Fault::None);
        let mut buffer = vec![0; 1024];
        let disk = &fake.disk;
        assert_eq!(disk.read(SECTORS as u64 - 1, &mut buffer), Err(Errno::EINVAL));
        assert_eq!(disk.read(u64::MAX, &mut buffer), Err(Errno::EINVAL));
        assert_eq!(disk.read(0, &mut buffer[..100]), Err(Errno::EINVAL));
        assert_eq!(disk.write(0, &buffer), Err(Errno::EROFS));
    }

    #[test]
    fn device_errors_are_errors() {
        for (fault, errno) in [
            (Fault::Status(1), Errno::EIO),
            (Fault::Status(2), Errno::EOPNOTSUPP),
            (Fault::Status(77), Errno::EIO),
            (Fault::NoStatus, Errno::EIO),
            (Fault::BadId, Errno::EIO),
        ] {
            let fake = fake(feature::FLUSH, 0, 0, fault);
            assert_eq!(fake.disk.read(0, &mut vec![0; 512]), Err(errno));
            // And again, also if the device had to be given up.
            assert_eq!(fake.disk.flush(), Err(errno));
        }
    }
}
