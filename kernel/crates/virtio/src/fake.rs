//! A device for tests: the other side of the rings, in host memory.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::{BTreeMap, HashSet},
    ptr::NonNull,
    sync::{Arc, Mutex},
};

use crate::{
    DeviceKind, DmaPlatform, Doorbell, InitError, InterruptCause, QueueLayout, RegisterBlock, Segment,
    SplitQueue, Status, Transport, VERSION_1, registers::DoorbellWidth,
};

/// Physical addresses are the host's virtual ones.
pub struct FakePlatform;

pub static PLATFORM: FakePlatform = FakePlatform;

/// Addresses below this one count as outside the direct map, so that bounce buffers are used.
static STACK_LIKE: Mutex<Option<HashSet<usize>>> = Mutex::new(None);

/// Makes `FakePlatform` treat the buffer at `start` as one that no device can reach.
pub fn hide_from_devices(start: *const u8) {
    STACK_LIKE.lock().unwrap().get_or_insert_default().insert(start as usize);
}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * 4096, 4096).unwrap()
}

// SAFETY: the memory is the allocator's, and addresses are the identity.
unsafe impl DmaPlatform for FakePlatform {
    fn allocate(&self, pages: usize) -> Option<(u64, NonNull<u8>)> {
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout(pages)) })?;
        Some((memory.as_ptr() as u64, memory))
    }

    unsafe fn free(&self, _phys: u64, memory: NonNull<u8>, pages: usize) {
        // SAFETY: by `allocate`, with the same layout.
        unsafe { dealloc(memory.as_ptr(), layout(pages)) }
    }

    fn physical(&self, start: *const u8, _len: usize) -> Option<u64> {
        let hidden = STACK_LIKE.lock().unwrap().as_ref().is_some_and(|set| set.contains(&(start as usize)));
        (!hidden).then_some(start as u64)
    }
}

#[derive(Default)]
pub struct State {
    pub status: u8,
    pub driver_features: u64,
    pub queues: BTreeMap<u16, (QueueLayout, DeviceQueue)>,
    pub resets: usize,
}

/// A transport without registers, whose other side is [`State`].
#[derive(Clone)]
pub struct FakeTransport {
    pub kind: DeviceKind,
    pub features: u64,
    pub max_queue_size: u16,
    pub queues: u16,
    pub configuration: Vec<u8>,
    pub state: Arc<Mutex<State>>,
}

impl FakeTransport {
    pub fn new(kind: DeviceKind, features: u64, queues: u16, configuration: Vec<u8>) -> Self {
        Self {
            kind,
            features: features | VERSION_1,
            max_queue_size: 64,
            queues,
            configuration,
            state: Arc::default(),
        }
    }

    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.configuration.get(offset..).and_then(|bytes| bytes.first_chunk().copied()).unwrap_or([0; N])
    }
}

impl Transport for FakeTransport {
    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.state.lock().unwrap().status)
    }

    fn set_status(&self, status: Status) {
        let mut state = self.state.lock().unwrap();
        state.status = status.bits();
        if status.is_empty() {
            state.queues.clear();
            state.resets += 1;
        }
    }

    fn device_features(&self) -> u64 {
        self.features
    }

    fn set_driver_features(&self, features: u64) {
        self.state.lock().unwrap().driver_features = features;
    }

    fn max_queue_size(&self, queue: u16) -> u16 {
        if queue < self.queues { self.max_queue_size } else { 0 }
    }

    fn enable_queue(&self, queue: u16, layout: &QueueLayout, _vector: u16) -> Result<Doorbell, InitError> {
        self.state.lock().unwrap().queues.insert(queue, (*layout, DeviceQueue::new(*layout)));
        // SAFETY: an empty block has no registers to access.
        let registers = unsafe { RegisterBlock::new(NonNull::dangling(), 0) };
        Ok(Doorbell::new(registers, 0, queue, DoorbellWidth::Bits16))
    }

    fn set_configuration_vector(&self, _vector: u16) -> Result<(), InitError> {
        Ok(())
    }

    fn interrupt_cause(&self) -> InterruptCause {
        InterruptCause::QUEUE
    }

    fn configuration_generation(&self) -> u32 {
        0
    }

    fn configuration_u8(&self, offset: usize) -> u8 {
        self.bytes::<1>(offset)[0]
    }

    fn configuration_u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    fn configuration_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }
}

/// A chain as the device sees it: the parts to read and the parts to write.
#[derive(Debug, Default)]
pub struct Chain {
    pub head: u16,
    pub readable: Vec<(u64, u32)>,
    pub writable: Vec<(u64, u32)>,
}

impl Chain {
    /// All that the driver sent.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, len) in &self.readable {
            // SAFETY: the driver keeps the memory of a request alive.
            bytes.extend(unsafe { std::slice::from_raw_parts(*address as *const u8, *len as usize) });
        }
        bytes
    }

    /// Writes `bytes` to what the driver offered and returns how many fit.
    pub fn write(&self, mut bytes: &[u8]) -> u32 {
        let mut written = 0;
        for (address, len) in &self.writable {
            let n = bytes.len().min(*len as usize);
            // SAFETY: as for `read`.
            unsafe { (*address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), n) };
            bytes = &bytes[n..];
            written += n as u32;
        }
        written
    }

    pub fn room(&self) -> usize {
        self.writable.iter().map(|(_, len)| *len as usize).sum()
    }
}

/// The device's side of a queue.
pub struct DeviceQueue {
    layout: QueueLayout,
    seen: u16,
    used: u16,
}

impl DeviceQueue {
    pub fn new(layout: QueueLayout) -> Self {
        Self { layout, seen: 0, used: 0 }
    }

    fn read<T: Copy>(&self, address: u64) -> T {
        // SAFETY: within the driver's rings.
        unsafe { (address as *const T).read_volatile() }
    }

    fn write<T>(&self, address: u64, value: T) {
        // SAFETY: as for `read`.
        unsafe { (address as *mut T).write_volatile(value) }
    }

    pub fn next(&mut self) -> Option<Chain> {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if self.read::<u16>(self.layout.available + 2) == self.seen {
            return None;
        }
        let slot = u64::from(self.seen % self.layout.size);
        self.seen = self.seen.wrapping_add(1);
        let head = self.read::<u16>(self.layout.available + 4 + 2 * slot);
        let mut chain = Chain { head, ..Chain::default() };
        let mut descriptor = head;
        loop {
            let at = self.layout.descriptors + 16 * u64::from(descriptor);
            let segment = (self.read::<u64>(at), self.read::<u32>(at + 8));
            let flags = self.read::<u16>(at + 12);
            if flags & 2 != 0 {
                chain.writable.push(segment)
            } else {
                chain.readable.push(segment)
            }
            if flags & 1 == 0 {
                return Some(chain);
            }
            descriptor = self.read::<u16>(at + 14);
        }
    }

    pub fn finish(&mut self, id: u32, written: u32) {
        let slot = u64::from(self.used % self.layout.size);
        self.write(self.layout.used + 4 + 8 * slot, id);
        self.write(self.layout.used + 8 + 8 * slot, written);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.used = self.used.wrapping_add(1);
        self.write(self.layout.used + 2, self.used);
    }

    /// Moves the used index, as a device that has gone mad does.
    pub fn set_used_index(&mut self, index: u16) {
        self.used = index;
        self.write(self.layout.used + 2, index);
    }

    pub fn wants_interrupt(&self) -> bool {
        self.read::<u16>(self.layout.available) & 1 == 0
    }
}

/// Submits from a test, where the memory is static or outlives the queue.
pub fn submit<T>(
    queue: &mut SplitQueue<T>,
    segments: &[Segment],
    cookie: T,
) -> Result<(), crate::SubmitError> {
    // SAFETY: the fake device touches segments only when a test says so, and those are alive then.
    unsafe { queue.submit(segments, cookie) }.map_err(|(error, _)| error)
}
