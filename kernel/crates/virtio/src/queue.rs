//! Split virtqueues (2.6).
//!
//! The rings are in memory that the device can write, so nothing that matters is read back from
//! them: which descriptors are free, how chains are linked and what is in flight is kept in private
//! memory, and each id and length that comes from the used ring is held against it.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{Ordering, fence};

use crate::{DmaBuffer, DmaPlatform, dma::PAGE_SIZE};

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
    broken: bool,
}

const DESCRIPTOR_LEN: usize = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
/// In the available ring's flags: no interrupts, please.
const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: no notifications, please.
const USED_NO_NOTIFY: u16 = 1;
/// Flags and index precede the entries of both rings.
const RING_HEADER: usize = 4;

impl<T> SplitQueue<T> {
    /// A queue of at most `wanted` descriptors for a device that allows `max`, or `None` without
    /// memory, or if the device has no such queue.
    pub fn new(platform: &'static dyn DmaPlatform, wanted: u16, max: u16) -> Option<Self> {
        let size = wanted.min(max);
        // The size is a power of two (2.6).
        let size = if size == 0 { return None } else { 1 << size.ilog2() };
        let entries = usize::from(size);
        let available_at = DESCRIPTOR_LEN * entries;
        let used_at = (available_at + RING_HEADER + 2 * entries + 2).next_multiple_of(4);
        let len = used_at + RING_HEADER + 8 * entries + 2;
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
            broken: false,
        })
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
        if segments.len() > usize::from(self.free) {
            return Err((SubmitError::Full, cookie));
        }
        let head = self.free_head;
        let mut descriptor = head;
        for (index, segment) in segments.iter().enumerate() {
            let at = DESCRIPTOR_LEN * usize::from(descriptor);
            let next = self.next[usize::from(descriptor)];
            let mut flags = 0;
            if index + 1 < segments.len() {
                flags |= DESCRIPTOR_NEXT;
            }
            if segment.direction == Direction::FromDevice {
                flags |= DESCRIPTOR_WRITE;
            }
            self.memory.write_u64(at, segment.phys);
            self.memory.write_u32(at + 8, segment.len);
            self.memory.write_u16(at + 12, flags);
            self.memory.write_u16(at + 14, next);
            descriptor = next;
        }
        self.free_head = descriptor;
        self.free -= segments.len() as u16;
        self.requests += 1;
        self.in_flight[usize::from(head)] =
            Some(InFlight { cookie, descriptors: segments.len() as u16, writable });
        let slot = usize::from(self.available_index & (self.size - 1));
        self.memory.write_u16(self.available_at + RING_HEADER + 2 * slot, head);
        self.available_index = self.available_index.wrapping_add(1);
        self.memory.store_release_u16(self.available_at + 2, self.available_index);
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

    /// Whether the device has to be told of what was submitted.
    pub fn must_notify(&self) -> bool {
        // The new index must be visible before the flag is read, or driver and device can each miss
        // the other (2.6.13.4.1); on x86 too, where a load may pass an earlier store.
        fence(Ordering::SeqCst);
        self.memory.read_u16(self.used_at) & USED_NO_NOTIFY == 0
    }

    /// Asks the device not to interrupt. It may do so nevertheless.
    pub fn disable_interrupts(&mut self) {
        self.memory.write_u16(self.available_at, AVAILABLE_NO_INTERRUPT);
    }

    /// Asks the device to interrupt from now on, and says whether something has completed already,
    /// for which there may be no interrupt.
    #[must_use = "what has completed already may not interrupt"]
    pub fn enable_interrupts(&mut self) -> bool {
        self.memory.write_u16(self.available_at, 0);
        fence(Ordering::SeqCst);
        self.has_completed()
    }

    /// Whether the device has finished something.
    pub fn has_completed(&self) -> bool {
        self.memory.load_acquire_u16(self.used_at + 2) != self.used_index
    }

    /// Takes the next finished request.
    pub fn complete(&mut self) -> Result<Option<Completion<T>>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        let pending = self.memory.load_acquire_u16(self.used_at + 2).wrapping_sub(self.used_index);
        if pending == 0 {
            return Ok(None);
        }
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
        let queue = SplitQueue::new(&PLATFORM, size, 1024).unwrap();
        let device = DeviceQueue::new(queue.layout());
        (queue, device)
    }

    fn to_device(len: u32) -> Segment {
        Segment { phys: 0x1000, len, direction: Direction::ToDevice }
    }

    fn from_device(len: u32) -> Segment {
        Segment { phys: 0x2000, len, direction: Direction::FromDevice }
    }

    #[test]
    fn sizes_are_powers_of_two_within_what_the_device_has() {
        let size = |wanted, max| SplitQueue::<()>::new(&PLATFORM, wanted, max).map(|queue| queue.size());
        assert_eq!(size(64, 1024), Some(64));
        assert_eq!(size(256, 100), Some(64));
        assert_eq!(size(256, 1), Some(1));
        assert_eq!(size(256, 0), None);
    }

    #[test]
    fn chains_reach_the_device_and_come_back_in_any_order() {
        let (mut queue, mut device) = queue(8);
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
}
