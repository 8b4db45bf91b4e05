//! Split virtqueues (2.6), with the event index (2.6.7, 2.6.10) and indirect descriptors (2.6.5.3) where the
//! device has them.
//!
//! The rings are in memory that the device can write, so nothing that matters is read back from
//! them: which descriptors are free, how chains are linked and what is in flight is kept in private
//! memory, and each id and length that comes from the used ring is held against it.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{Ordering, fence};

use bitflags::bitflags;

use crate::{DmaBuffer, DmaPlatform, dma::PAGE_SIZE};

bitflags! {
    /// Features of a device that concern its queues (6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RingFeatures: u64 {
        /// One descriptor may stand for a table of them.
        const INDIRECT_DESCRIPTORS = 1 << 28;
        /// Both sides say at which index they want to be told, in place of whether.
        const EVENT_INDEX = 1 << 29;
    }
}

/// Who writes a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads it.
    ToDevice,
    /// The device writes it.
    FromDevice,
}

/// A physically contiguous part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical address.
    pub phys: u64,
    /// Length in bytes, not 0.
    pub len: u32,
    /// Who writes it.
    pub direction: Direction,
}

/// Where a queue's parts are, in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Number of descriptors.
    pub size: u16,
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring.
    pub available: u64,
    /// Used ring.
    pub used: u64,
}

/// The device broke the rules; it must be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// Too few descriptors are free now.
    Full,
    /// It has no segments, or an empty one, or one for the device to read after one to write, or
    /// more than the queue has descriptors.
    Invalid,
    /// The queue is broken.
    Broken,
}

/// A request that the device has finished.
#[derive(Debug)]
pub struct Completion<T> {
    /// What was given with the request.
    pub cookie: T,
    /// How many bytes the device says it wrote, at most as many as it was offered.
    pub written: u32,
}

struct InFlight<T> {
    cookie: T,
    descriptors: u16,
    writable: u32,
}

/// A queue whose requests carry a `T` each: the memory of the request, or what keeps it alive.
pub struct SplitQueue<T> {
    memory: DmaBuffer,
    size: u16,
    available_at: usize,
    used_at: usize,
    /// For each descriptor the next one, in its chain or in the list of free ones.
    next: Box<[u16]>,
    free_head: u16,
    free: u16,
    in_flight: Box<[Option<InFlight<T>>]>,
    requests: u16,
    /// Index of the available ring that comes next.
    available_index: u16,
    /// Index of the used ring that comes next.
    used_index: u16,
    /// Requests handed over since the device was last told, or was found not to care.
    unannounced: u16,
    features: RingFeatures,
    /// Tables of indirect descriptors, one for each head, of `table_entries` each.
    tables: Option<DmaBuffer>,
    table_entries: u16,
    interrupts: Interrupts,
    broken: bool,
}

/// What was asked of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupts {
    /// To interrupt when the used ring passes this index; without the event index, whenever it moves.
    At(u16),
    /// Not to interrupt.
    Off,
}

const DESCRIPTOR_LEN: usize = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;
/// In the available ring's flags: no interrupts, please.
const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: no notifications, please.
const USED_NO_NOTIFY: u16 = 1;
/// Flags and index precede the entries of both rings.
const RING_HEADER: usize = 4;

/// Whether going from index `old` to `new` passes `event`, the last entry that somebody does not want to be told
/// of (2.6.7.1: `vring_need_event`). Indices wrap, and no two are a whole turn apart.
fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

impl<T> SplitQueue<T> {
    /// A queue of at most `wanted` descriptors for a device that allows `max` and with which `features` (see
    /// [`begin`](crate::begin)) were agreed on, or `None` without memory, or if the device has no such queue.
    pub fn new(platform: &'static dyn DmaPlatform, wanted: u16, max: u16, features: u64) -> Option<Self> {
        Self::with_tables(platform, wanted, max, features, 0)
    }

    /// As [`new`](Self::new); where the device takes indirect descriptors, requests of up to `table_entries`
    /// segments take a single descriptor of the queue each, so that it has room for `size` of them.
    pub fn with_tables(
        platform: &'static dyn DmaPlatform,
        wanted: u16,
        max: u16,
        features: u64,
        table_entries: u16,
    ) -> Option<Self> {
        let features = RingFeatures::from_bits_truncate(features);
        let size = wanted.min(max);
        // The size is a power of two (2.6).
        let size = if size == 0 { return None } else { 1 << size.ilog2() };
        let entries = usize::from(size);
        let available_at = DESCRIPTOR_LEN * entries;
        let used_at = (available_at + RING_HEADER + 2 * entries + 2).next_multiple_of(4);
        let len = used_at + RING_HEADER + 8 * entries + 2;
        // A chain must not be longer than the queue, through a table neither (2.6.5.3.1).
        let table_entries = table_entries.min(size);
        let tables = if features.contains(RingFeatures::INDIRECT_DESCRIPTORS) && table_entries > 1 {
            let len = DESCRIPTOR_LEN * usize::from(table_entries) * entries;
            Some(DmaBuffer::new(platform, len.div_ceil(PAGE_SIZE))?)
        } else {
            None
        };
        Some(Self {
            memory: DmaBuffer::new(platform, len.div_ceil(PAGE_SIZE))?,
            size,
            available_at,
            used_at,
            next: (1..=size).collect(),
            free_head: 0,
            free: size,
            in_flight: (0..size).map(|_| None).collect(),
            requests: 0,
            available_index: 0,
            used_index: 0,
            unannounced: 0,
            features,
            tables,
            table_entries,
            // Rings of zeros say so: flags without the one, and a used event of 0.
            interrupts: Interrupts::At(0),
            broken: false,
        })
    }

    fn has_event_index(&self) -> bool {
        self.features.contains(RingFeatures::EVENT_INDEX)
    }

    /// Where the driver says up to which used entry it needs no interrupt.
    fn used_event_at(&self) -> usize {
        self.available_at + RING_HEADER + 2 * usize::from(self.size)
    }

    /// Where the device says up to which available entry it needs no notification.
    fn available_event_at(&self) -> usize {
        self.used_at + RING_HEADER + 8 * usize::from(self.size)
    }

    /// Where the parts are.
    pub fn layout(&self) -> QueueLayout {
        QueueLayout {
            size: self.size,
            descriptors: self.memory.phys(),
            available: self.memory.phys() + self.available_at as u64,
            used: self.memory.phys() + self.used_at as u64,
        }
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Number of descriptors that are free.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Number of requests that the device has.
    pub fn requests(&self) -> u16 {
        self.requests
    }

    /// How many descriptors a request of `segments` segments takes.
    pub fn descriptors_for(&self, segments: usize) -> usize {
        if self.is_indirect(segments) { 1 } else { segments }
    }

    fn is_indirect(&self, segments: usize) -> bool {
        segments > 1 && self.tables.is_some() && segments <= usize::from(self.table_entries)
    }

    /// Hands a request to the device, which notices it when it looks, or when it is told: see
    /// [`must_notify`](Self::must_notify).
    ///
    /// # Safety
    /// The segments are memory that `cookie` keeps alive, or that outlives the queue's use in some
    /// other way, and that nobody else touches until the request completes.
    pub unsafe fn submit(&mut self, segments: &[Segment], cookie: T) -> Result<(), (SubmitError, T)> {
        if self.broken {
            return Err((SubmitError::Broken, cookie));
        }
        let Some(writable) = self.check(segments) else { return Err((SubmitError::Invalid, cookie)) };
        let descriptors = self.descriptors_for(segments.len());
        if descriptors > usize::from(self.free) {
            return Err((SubmitError::Full, cookie));
        }
        let head = self.free_head;
        self.free_head = match &self.tables {
            Some(tables) if self.is_indirect(segments.len()) => {
                let table = DESCRIPTOR_LEN * usize::from(self.table_entries) * usize::from(head);
                for (index, segment) in segments.iter().enumerate() {
                    let is_last = index + 1 == segments.len();
                    write_descriptor(
                        tables,
                        table,
                        index as u16,
                        segment,
                        (!is_last).then_some(index as u16 + 1),
                    );
                }
                let at = DESCRIPTOR_LEN * usize::from(head);
                self.memory.write_u64(at, tables.phys() + table as u64);
                self.memory.write_u32(at + 8, (DESCRIPTOR_LEN * segments.len()) as u32);
                self.memory.write_u16(at + 12, DESCRIPTOR_INDIRECT);
                self.next[usize::from(head)]
            }
            _ => {
                let mut descriptor = head;
                for (index, segment) in segments.iter().enumerate() {
                    let next = self.next[usize::from(descriptor)];
                    let is_last = index + 1 == segments.len();
                    write_descriptor(&self.memory, 0, descriptor, segment, (!is_last).then_some(next));
                    descriptor = next;
                }
                descriptor
            }
        };
        self.free -= descriptors as u16;
        self.requests += 1;
        self.in_flight[usize::from(head)] =
            Some(InFlight { cookie, descriptors: descriptors as u16, writable });
        let slot = usize::from(self.available_index & (self.size - 1));
        self.memory.write_u16(self.available_at + RING_HEADER + 2 * slot, head);
        self.available_index = self.available_index.wrapping_add(1);
        self.memory.store_release_u16(self.available_at + 2, self.available_index);
        self.unannounced = self.unannounced.saturating_add(1);
        Ok(())
    }

    /// How many bytes the device may write, if the request is well-formed (2.6.4.2, 2.6.5).
    fn check(&self, segments: &[Segment]) -> Option<u32> {
        if segments.is_empty() || segments.len() > usize::from(self.size) {
            return None;
        }
        let mut total = 0u32;
        let mut writable = 0u32;
        for segment in segments {
            if segment.len == 0 || segment.direction == Direction::ToDevice && writable > 0 {
                return None;
            }
            total = total.checked_add(segment.len)?;
            if segment.direction == Direction::FromDevice {
                writable += segment.len;
            }
        }
        Some(writable)
    }

    /// Whether the device has to be told of what was submitted since the last call. To be asked once for a batch
    /// of requests; if the answer is yes, the doorbell must follow.
    #[must_use = "a device that is not told may never look"]
    pub fn must_notify(&mut self) -> bool {
        let unannounced = core::mem::take(&mut self.unannounced);
        if unannounced == 0 {
            return false;
        }
        // The new index must be visible before the device's word is read, or driver and device can each miss
        // the other (2.6.13.4.1); on x86 too, where a load may pass an earlier store.
        fence(Ordering::SeqCst);
        if !self.has_event_index() {
            return self.memory.read_u16(self.used_at) & USED_NO_NOTIFY == 0;
        }
        // After a whole turn without a word to the device, indices say nothing.
        let event = self.memory.read_u16(self.available_event_at());
        let old = self.available_index.wrapping_sub(unannounced);
        unannounced == u16::MAX || passes(event, self.available_index, old)
    }

    /// Asks the device not to interrupt. It may do so nevertheless.
    pub fn disable_interrupts(&mut self) {
        self.interrupts = Interrupts::Off;
        if self.has_event_index() {
            // An entry that has been passed is passed again only after a whole turn.
            self.memory.write_u16(self.used_event_at(), self.used_index.wrapping_sub(1));
        } else {
            self.memory.write_u16(self.available_at, AVAILABLE_NO_INTERRUPT);
        }
    }

    /// Asks the device to interrupt from now on, and says whether something has completed already,
    /// for which there may be no interrupt.
    #[must_use = "what has completed already may not interrupt"]
    pub fn enable_interrupts(&mut self) -> bool {
        self.enable_interrupts_after(1)
    }

    /// Asks the device to interrupt when it has finished `count` more requests, and says whether it has finished
    /// that many already, for which there may be no interrupt. Without the event index, it interrupts at
    /// each.
    #[must_use = "what has completed already may not interrupt"]
    pub fn enable_interrupts_after(&mut self, count: u16) -> bool {
        let count = count.clamp(1, self.requests.max(1));
        let event = self.used_index.wrapping_add(count - 1);
        self.interrupts = Interrupts::At(event);
        if self.has_event_index() {
            self.memory.write_u16(self.used_event_at(), event);
        } else {
            self.memory.write_u16(self.available_at, 0);
        }
        // The request must be visible before the index is read: as for notifications.
        fence(Ordering::SeqCst);
        self.memory.load_acquire_u16(self.used_at + 2).wrapping_sub(self.used_index) >= count
    }

    /// Whether the device has finished something.
    pub fn has_completed(&self) -> bool {
        self.memory.load_acquire_u16(self.used_at + 2) != self.used_index
    }

    /// Takes the next finished request. If there is none, and interrupts are not disabled, the device interrupts
    /// for the next.
    pub fn complete(&mut self) -> Result<Option<Completion<T>>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        if !self.has_completed() {
            // Each entry needs the event index moved on, which has to be done for the last one only.
            let behind = matches!(self.interrupts, Interrupts::At(event) if event != self.used_index);
            if !(behind && self.has_event_index() && self.enable_interrupts()) {
                return Ok(None);
            }
        }
        let pending = self.memory.load_acquire_u16(self.used_at + 2).wrapping_sub(self.used_index);
        let slot = usize::from(self.used_index & (self.size - 1));
        let at = self.used_at + RING_HEADER + 8 * slot;
        let id = self.memory.read_u32(at);
        let written = self.memory.read_u32(at + 4);
        let request = usize::try_from(id)
            .ok()
            .filter(|_| pending <= self.requests)
            .and_then(|head| self.in_flight.get_mut(head)?.take());
        let Some(request) = request else {
            self.broken = true;
            return Err(Broken);
        };
        self.used_index = self.used_index.wrapping_add(1);
        self.requests -= 1;
        let head = id as u16;
        let mut last = head;
        for _ in 1..request.descriptors {
            last = self.next[usize::from(last)];
        }
        self.next[usize::from(last)] = self.free_head;
        self.free_head = head;
        self.free += request.descriptors;
        Ok(Some(Completion { cookie: request.cookie, written: written.min(request.writable) }))
    }

    /// Takes back all that is in flight, and refuses more.
    ///
    /// # Safety
    /// The device has been reset, so that it uses none of that memory any more.
    pub unsafe fn abandon(&mut self) -> Vec<T> {
        self.broken = true;
        self.requests = 0;
        self.in_flight.iter_mut().filter_map(Option::take).map(|request| request.cookie).collect()
    }
}

/// Writes a descriptor into the table at `table`.
fn write_descriptor(memory: &DmaBuffer, table: usize, index: u16, segment: &Segment, next: Option<u16>) {
    let at = table + DESCRIPTOR_LEN * usize::from(index);
    let mut flags = 0;
    if next.is_some() {
        flags |= DESCRIPTOR_NEXT;
    }
    if segment.direction == Direction::FromDevice {
        flags |= DESCRIPTOR_WRITE;
    }
    memory.write_u64(at, segment.phys);
    memory.write_u32(at + 8, segment.len);
    memory.write_u16(at + 12, flags);
    memory.write_u16(at + 14, next.unwrap_or(0));
}

impl<T> Drop for SplitQueue<T> {
    /// A queue that still has requests was not reset: the device may still write to their memory,
    /// which is therefore leaked rather than reused.
    fn drop(&mut self) {
        for request in self.in_flight.iter_mut().filter_map(Option::take) {
            core::mem::forget(request.cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{DeviceQueue, PLATFORM, submit};

    fn queue(size: u16) -> (SplitQueue<u32>, DeviceQueue) {
        queue_with(size, RingFeatures::empty())
    }

    fn queue_with(size: u16, features: RingFeatures) -> (SplitQueue<u32>, DeviceQueue) {
        let queue = SplitQueue::with_tables(&PLATFORM, size, 1024, features.bits(), 4).unwrap();
        let device = DeviceQueue::with_features(queue.layout(), features.bits());
        (queue, device)
    }

    /// Both sides, as after `index` requests.
    fn queue_at(index: u16, size: u16, features: RingFeatures) -> (SplitQueue<u32>, DeviceQueue) {
        let (mut queue, mut device) = queue_with(size, features);
        (queue.available_index, queue.used_index) = (index, index);
        queue.memory.write_u16(queue.available_at + 2, index);
        device.start_at(index);
        assert!(!queue.enable_interrupts());
        (queue, device)
    }

    fn all_features() -> impl Iterator<Item = RingFeatures> {
        let [indirect, event] = [RingFeatures::INDIRECT_DESCRIPTORS, RingFeatures::EVENT_INDEX];
        [RingFeatures::empty(), indirect, event, indirect | event].into_iter()
    }

    fn to_device(len: u32) -> Segment {
        Segment { phys: 0x1000, len, direction: Direction::ToDevice }
    }

    fn from_device(len: u32) -> Segment {
        Segment { phys: 0x2000, len, direction: Direction::FromDevice }
    }

    #[test]
    fn sizes_are_powers_of_two_within_what_the_device_has() {
        let size = |wanted, max| SplitQueue::<()>::new(&PLATFORM, wanted, max, 0).map(|queue| queue.size());
        assert_eq!(size(64, 1024), Some(64));
        assert_eq!(size(256, 100), Some(64));
        assert_eq!(size(256, 1), Some(1));
        assert_eq!(size(256, 0), None);
    }

    #[test]
    fn chains_reach_the_device_and_come_back_in_any_order() {
        all_features().for_each(chains_reach_the_device);
    }

    fn chains_reach_the_device(features: RingFeatures) {
        let (mut queue, mut device) = queue_with(8, features);
        for round in 0..70_000u32 {
            submit(&mut queue, &[to_device(1), from_device(2), from_device(3)], round).unwrap();
            submit(&mut queue, &[to_device(4)], round + 1).unwrap();
            let first = device.next().unwrap();
            let second = device.next().unwrap();
            assert_eq!(first.readable, [(0x1000, 1)]);
            assert_eq!(first.writable, [(0x2000, 2), (0x2000, 3)]);
            assert_eq!(second.readable, [(0x1000, 4)]);
            device.finish(second.head.into(), 0);
            device.finish(first.head.into(), 4);
            let completion = queue.complete().unwrap().unwrap();
            assert_eq!((completion.cookie, completion.written), (round + 1, 0));
            let completion = queue.complete().unwrap().unwrap();
            assert_eq!((completion.cookie, completion.written), (round, 4));
            assert!(queue.complete().unwrap().is_none());
            assert_eq!((queue.free(), queue.requests()), (8, 0));
        }
    }

    #[test]
    fn refuses_what_does_not_fit_or_is_malformed() {
        let (mut queue, _device) = queue(4);
        let invalid = Err(SubmitError::Invalid);
        assert_eq!(submit(&mut queue, &[], 0), invalid);
        assert_eq!(submit(&mut queue, &[to_device(0)], 0), invalid);
        assert_eq!(submit(&mut queue, &[from_device(1), to_device(1)], 0), invalid);
        assert_eq!(submit(&mut queue, &[to_device(1); 5], 0), invalid);
        assert_eq!(submit(&mut queue, &[to_device(u32::MAX), from_device(1)], 0), invalid);
        assert_eq!(submit(&mut queue, &[to_device(1); 3], 0), Ok(()));
        assert_eq!(submit(&mut queue, &[to_device(1); 2], 0), Err(SubmitError::Full));
        assert_eq!(submit(&mut queue, &[to_device(1)], 0), Ok(()));
        assert_eq!(queue.free(), 0);
    }

    #[test]
    fn a_length_beyond_the_offer_is_clamped() {
        let (mut queue, mut device) = queue(4);
        submit(&mut queue, &[to_device(8), from_device(16)], 1).unwrap();
        let chain = device.next().unwrap();
        device.finish(chain.head.into(), u32::MAX);
        assert_eq!(queue.complete().unwrap().unwrap().written, 16);
    }

    /// Ids out of range, of free descriptors, of descriptors within a chain, and twice; and used
    /// indices that run ahead.
    #[test]
    fn a_device_that_breaks_the_rules_is_found_out() {
        for id in [1, 2, 3, 4, 0x1_0000, u32::MAX] {
            let (mut queue, mut device) = queue(4);
            submit(&mut queue, &[to_device(8), from_device(16)], 1).unwrap();
            device.finish(id, 0);
            assert_eq!(queue.complete().map(drop), Err(Broken), "{id}");
            assert_eq!(submit(&mut queue, &[to_device(1)], 2), Err(SubmitError::Broken));
            // SAFETY: the fake device uses no memory.
            assert_eq!(unsafe { queue.abandon() }, [1]);
        }
        let (mut queue, mut device) = queue(4);
        submit(&mut queue, &[to_device(8)], 1).unwrap();
        submit(&mut queue, &[to_device(8)], 2).unwrap();
        device.finish(0, 0);
        device.finish(0, 0);
        assert!(queue.complete().unwrap().is_some());
        assert_eq!(queue.complete().map(drop), Err(Broken));

        let (mut queue, mut device) = self::queue(4);
        submit(&mut queue, &[to_device(8)], 1).unwrap();
        device.set_used_index(3);
        assert_eq!(queue.complete().map(drop), Err(Broken));
    }

    #[test]
    fn interrupts_are_asked_for_and_not() {
        let (mut queue, mut device) = queue(4);
        assert!(device.wants_interrupt());
        queue.disable_interrupts();
        assert!(!device.wants_interrupt());
        submit(&mut queue, &[to_device(8)], 1).unwrap();
        assert!(!queue.enable_interrupts());
        assert!(device.wants_interrupt());
        let chain = device.next().unwrap();
        device.finish(chain.head.into(), 0);
        assert!(queue.enable_interrupts());
    }

    #[test]
    fn a_table_takes_one_descriptor() {
        let (mut queue, mut device) = queue_with(4, RingFeatures::INDIRECT_DESCRIPTORS);
        for cookie in 0..4 {
            assert_eq!(queue.descriptors_for(4), 1);
            submit(&mut queue, &[to_device(1), to_device(2), from_device(3), from_device(4)], cookie)
                .unwrap();
        }
        assert_eq!(submit(&mut queue, &[to_device(1)], 9), Err(SubmitError::Full));
        let heads: Vec<u16> = (0..4).map(|_| device.next().unwrap()).map(|chain| chain.head).collect();
        assert_eq!(heads.len(), 4);
        heads.iter().for_each(|head| device.finish((*head).into(), 7));
        for cookie in 0..4 {
            let completion = queue.complete().unwrap().unwrap();
            assert_eq!((completion.cookie, completion.written), (cookie, 7));
        }
        assert_eq!(queue.free(), 4);
    }

    #[test]
    fn the_driver_notifies_when_the_device_said_it_wants_to_know() {
        for start in [0, u16::MAX - 5, u16::MAX, 0x7fff, 0x8000] {
            let (mut queue, mut device) = queue_at(start, 16, RingFeatures::EVENT_INDEX);
            device.notify_after(0);
            assert!(!queue.must_notify(), "nothing was submitted");
            submit(&mut queue, &[to_device(1)], 0).unwrap();
            assert!(queue.must_notify());
            assert!(!queue.must_notify(), "once is enough");
            // It has not looked since, so it need not be told of more.
            submit(&mut queue, &[to_device(1)], 1).unwrap();
            assert!(!queue.must_notify());
            // It wants to know of the fifth from now.
            while device.next().is_some() {}
            device.notify_after(4);
            for cookie in 2..6 {
                submit(&mut queue, &[to_device(1)], cookie).unwrap();
                assert!(!queue.must_notify());
            }
            submit(&mut queue, &[to_device(1)], 6).unwrap();
            submit(&mut queue, &[to_device(1)], 7).unwrap();
            assert!(queue.must_notify(), "a batch that passes the event");
            device.do_not_notify();
            submit(&mut queue, &[to_device(1)], 8).unwrap();
            assert!(!queue.must_notify());
        }
    }

    #[test]
    fn a_batch_of_a_whole_turn_is_announced() {
        let (mut queue, mut device) = queue_with(16, RingFeatures::EVENT_INDEX);
        device.do_not_notify();
        for round in 0..70_000 {
            submit(&mut queue, &[to_device(1)], round).unwrap();
            let head = device.next().unwrap().head;
            device.finish(head.into(), 0);
            assert!(queue.complete().unwrap().is_some());
        }
        assert!(queue.must_notify());
    }

    #[test]
    fn the_device_interrupts_when_the_driver_said_it_wants_to_know() {
        for start in [0, u16::MAX - 3, u16::MAX, 0x7fff, 0x8000] {
            let (mut queue, mut device) = queue_at(start, 16, RingFeatures::EVENT_INDEX);
            let mut serve = |queue: &mut SplitQueue<u32>, count: u32| {
                for cookie in 0..count {
                    submit(queue, &[to_device(1)], cookie).unwrap();
                    let head = device.next().unwrap().head;
                    device.finish(head.into(), 0);
                }
                device.wants_interrupt()
            };
            assert!(serve(&mut queue, 2));
            assert!(!serve(&mut queue, 1), "the driver has not looked yet");
            while queue.complete().unwrap().is_some() {}
            assert!(serve(&mut queue, 1), "finding nothing more asks for the next");
            queue.disable_interrupts();
            assert!(!serve(&mut queue, 3));
            while queue.complete().unwrap().is_some() {}
            assert!(!serve(&mut queue, 3));
            assert!(queue.enable_interrupts(), "three have come meanwhile");
            while queue.complete().unwrap().is_some() {}
            assert!(serve(&mut queue, 1));
        }
    }

    #[test]
    fn interrupts_can_be_put_off() {
        for start in [0, u16::MAX - 3] {
            let (mut queue, mut device) = queue_at(start, 16, RingFeatures::EVENT_INDEX);
            for cookie in 0..8 {
                submit(&mut queue, &[to_device(1)], cookie).unwrap();
            }
            assert!(!queue.enable_interrupts_after(6));
            for done in 1..=8 {
                let head = device.next().unwrap().head;
                device.finish(head.into(), 0);
                assert_eq!(device.wants_interrupt(), done == 6);
            }
            assert!(queue.enable_interrupts_after(6));
            assert!(queue.enable_interrupts_after(100), "not more than there are");
        }
    }

    proptest::proptest! {
        /// Nothing is left lying: whenever the device has nothing to do and the driver nothing to take, both have
        /// asked for what comes next.
        #[test]
        fn no_wake_up_is_lost(start: u16, steps in proptest::collection::vec(0..6_u8, 1..400)) {
            let (mut queue, mut device) = queue_at(start, 8, RingFeatures::all());
            let (mut told, mut interrupted) = (true, true);
            let mut submitted = 0;
            let mut taken = 0;
            for step in steps {
                match step {
                    0 | 1 => {
                        let done = submit(&mut queue, &[to_device(1), from_device(1)], submitted).is_ok();
                        submitted += u32::from(done);
                        if step == 0 && queue.must_notify() { told = true; }
                    }
                    2 | 3 if told => {
                        // The device takes all, asks for more, and looks again.
                        loop {
                            while let Some(chain) = device.next() {
                                device.finish(chain.head.into(), 1);
                                if step == 2 && device.wants_interrupt() { interrupted = true; }
                            }
                            device.notify_after(0);
                            let Some(chain) = device.next() else { break };
                            device.finish(chain.head.into(), 1);
                        }
                        told = false;
                        if device.wants_interrupt() { interrupted = true; }
                    }
                    4 if interrupted => {
                        while queue.complete().unwrap().is_some() { taken += 1; }
                        interrupted = false;
                    }
                    5 if interrupted => {
                        queue.disable_interrupts();
                        loop {
                            while queue.complete().unwrap().is_some() { taken += 1; }
                            if !queue.enable_interrupts() { break }
                        }
                        interrupted = false;
                    }
                    _ => {}
                }
            }
            told |= queue.must_notify();
            if told {
                while let Some(chain) = device.next() { device.finish(chain.head.into(), 1); }
                interrupted |= device.wants_interrupt();
            }
            if interrupted {
                while queue.complete().unwrap().is_some() { taken += 1; }
            }
            proptest::prop_assert_eq!(taken, submitted);
        }
    }
}
