//! A device for tests: the other side of the rings, in host memory.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::{BTreeMap, HashSet},
    ptr::NonNull,
    sync::{Arc, Mutex},
};

use crate::{
    DeviceKind, DmaPlatform, Doorbell, InitError, InterruptCause, QueueLayout, RegisterBlock, RingFeatures,
    Segment, SplitQueue, Status, Transport, VERSION_1, registers::DoorbellWidth,
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
    /// What wired interrupts are about.
    pub cause: Option<InterruptCause>,
    changed_configuration: BTreeMap<usize, u8>,
    doorbells: Doorbells,
}

impl State {
    /// The device's side of a queue that the driver has set up.
    pub fn queue(&mut self, index: u16) -> &mut DeviceQueue {
        &mut self.queues.get_mut(&index).expect("a queue that was enabled").1
    }

    /// Whether the driver has rung for `queue` since the last question.
    pub fn take_notification(&mut self, queue: u16) -> bool {
        let rung = &mut self.doorbells.0[usize::from(queue)];
        // SAFETY: the driver writes it by volatile stores from the test's own thread.
        unsafe { std::ptr::from_mut(rung).replace(NOT_RUNG) != NOT_RUNG }
    }
}

const NOT_RUNG: u16 = 0xffff;
const MAX_QUEUES: usize = 16;

/// Registers that a driver writes a queue's number to. They are leaked, as a driver may ring to the last.
struct Doorbells(&'static mut [u16; MAX_QUEUES]);

impl Default for Doorbells {
    fn default() -> Self {
        Self(Box::leak(Box::new([NOT_RUNG; MAX_QUEUES])))
    }
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

impl State {
    /// Changes the configuration, as devices do.
    pub fn configure(&mut self, offset: usize, byte: u8) {
        self.changed_configuration.insert(offset, byte);
    }
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
        let state = self.state.lock().unwrap();
        std::array::from_fn(|byte| {
            let at = offset + byte;
            let changed = state.changed_configuration.get(&at).copied();
            changed.or(self.configuration.get(at).copied()).unwrap_or(0)
        })
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
        let mut state = self.state.lock().unwrap();
        let device = DeviceQueue::with_features(*layout, state.driver_features);
        state.queues.insert(queue, (*layout, device));
        let doorbells = NonNull::from(&mut *state.doorbells.0);
        // SAFETY: the doorbells are leaked, and accessed by raw pointers.
        let registers = unsafe { RegisterBlock::new(doorbells.cast(), 2 * MAX_QUEUES) };
        Ok(Doorbell::new(registers, 2 * usize::from(queue), queue, DoorbellWidth::Bits16))
    }

    fn set_configuration_vector(&self, _vector: u16) -> Result<(), InitError> {
        Ok(())
    }

    fn interrupt_cause(&self) -> InterruptCause {
        self.state.lock().unwrap().cause.unwrap_or(InterruptCause::QUEUE)
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
#[derive(Clone, Debug, Default)]
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
    features: RingFeatures,
    seen: u16,
    used: u16,
    /// Used index at the last answer about interrupts.
    signalled: u16,
}

impl DeviceQueue {
    pub fn with_features(layout: QueueLayout, features: u64) -> Self {
        let features = RingFeatures::from_bits_truncate(features);
        Self { layout, features, seen: 0, used: 0, signalled: 0 }
    }

    /// Lets both indices begin elsewhere, as after many requests. The driver must do likewise.
    pub fn start_at(&mut self, index: u16) {
        (self.seen, self.used, self.signalled) = (index, index, index);
        self.write(self.layout.used + 2, index);
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
        let mut table = self.layout.descriptors;
        let mut descriptor = head;
        loop {
            let at = table + 16 * u64::from(descriptor);
            let segment = (self.read::<u64>(at), self.read::<u32>(at + 8));
            let flags = self.read::<u16>(at + 12);
            if flags & 4 != 0 {
                assert!(self.features.contains(RingFeatures::INDIRECT_DESCRIPTORS) && flags == 4);
                assert_eq!(table, self.layout.descriptors, "tables within tables");
                (table, descriptor) = (segment.0, 0);
                continue;
            }
            if flags & 2 != 0 {
                chain.writable.push(segment)
            } else {
                assert!(chain.writable.is_empty(), "to be read after to be written");
                chain.readable.push(segment)
            }
            if flags & 1 == 0 {
                assert!(chain.readable.len() + chain.writable.len() <= usize::from(self.layout.size));
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

    fn used_event(&self) -> u16 {
        self.read(self.layout.available + 4 + 2 * u64::from(self.layout.size))
    }

    /// Whether the driver is to be interrupted for what has been finished since the last question
    /// (2.6.7.2). Without the event index, whether it wants interrupts at all.
    pub fn wants_interrupt(&mut self) -> bool {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let flags = self.read::<u16>(self.layout.available);
        if !self.features.contains(RingFeatures::EVENT_INDEX) {
            return flags & 1 == 0;
        }
        assert_eq!(flags, 0, "2.6.7.1");
        let old = std::mem::replace(&mut self.signalled, self.used);
        // In so many words: one of the entries from `old` on is the one that was asked for.
        (0..self.used.wrapping_sub(old)).any(|done| old.wrapping_add(done) == self.used_event())
    }

    /// Asks to be notified of the request that comes `after` more.
    pub fn notify_after(&mut self, after: u16) {
        if self.features.contains(RingFeatures::EVENT_INDEX) {
            let at = self.layout.used + 4 + 8 * u64::from(self.layout.size);
            self.write(at, self.seen.wrapping_add(after));
        } else {
            self.write::<u16>(self.layout.used, 0);
        }
    }

    /// Asks not to be notified.
    pub fn do_not_notify(&mut self) {
        if self.features.contains(RingFeatures::EVENT_INDEX) {
            self.notify_after(u16::MAX);
        } else {
            self.write::<u16>(self.layout.used, 1);
        }
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
