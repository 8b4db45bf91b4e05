//! One queue of a disk, with the memory that frames its requests.

use alloc::{sync::Arc, vec::Vec};

use ksync::{SpinLock, WaitQueue};
use linux_abi::Errno;

use super::operation::{Operation, STATUS_UNSET};
use crate::{
    Broken, Completion, Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, RingFeatures, Segment,
    SplitQueue, SubmitError, Transport,
};

/// A slot holds what frames a request: the header and the range that the device reads, and the status it writes.
const SLOT_LEN: usize = 64;
const HEADER_LEN: usize = 16;
const RANGE_AT: usize = HEADER_LEN;
const RANGE_LEN: usize = 16;
const STATUS_AT: usize = 32;

/// Descriptors of a queue whose requests take one each for every segment: enough for one of a megabyte in pages.
const DIRECT_SIZE: u16 = 256;
/// Descriptors of a queue whose requests take one each: as many requests.
const INDIRECT_SIZE: u16 = 128;
/// Segments of a request that takes one descriptor, header and status among them. What a queue has of tables is 16
/// bytes times this times [`INDIRECT_SIZE`]: 128 KiB.
const TABLE_ENTRIES: u16 = 64;
/// Segments that are not data.
const FRAME_SEGMENTS: usize = 2;

/// The data of a request.
pub(super) enum Data<'a> {
    /// Memory to be read or written by the device.
    Segments(&'a [Segment]),
    /// A range of sectors, and flags, for commands that move nothing (5.2.6: `virtio_blk_discard_write_zeroes`).
    Range { sector: u64, sectors: u32, flags: u32 },
}

struct Request {
    slot: u16,
    operation: Arc<Operation>,
}

struct State {
    queue: SplitQueue<Request>,
    free_slots: Vec<u16>,
}

/// A queue.
pub(super) struct RequestQueue {
    doorbell: Doorbell,
    slots: DmaBuffer,
    state: SpinLock<State>,
    /// For those who find no slot or too few descriptors.
    pub(super) room: WaitQueue,
}

/// How an attempt to submit ended that did not succeed.
pub(super) enum NotNow {
    /// There is no room: wait for some, and try again.
    Full,
    Failed(Errno),
}

impl RequestQueue {
    /// Segments of data that a request on a queue of this device may have.
    pub(super) fn max_segments(features: u64, max_queue_size: u16) -> Option<usize> {
        let most = if has_indirect(features) { TABLE_ENTRIES.min(INDIRECT_SIZE) } else { DIRECT_SIZE };
        let size = most.min(max_queue_size.checked_ilog2().map_or(0, |log| 1 << log));
        usize::from(size).checked_sub(FRAME_SEGMENTS).filter(|segments| *segments > 0)
    }

    /// Sets the queue with this index up.
    pub(super) fn new(
        transport: &dyn Transport,
        platform: &'static dyn DmaPlatform,
        features: u64,
        index: u16,
        vector: u16,
    ) -> Result<Self, InitError> {
        let wanted = if has_indirect(features) { INDIRECT_SIZE } else { DIRECT_SIZE };
        let max = transport.max_queue_size(index);
        let queue: SplitQueue<Request> =
            SplitQueue::with_tables(platform, wanted, max, features, TABLE_ENTRIES)
                .ok_or(InitError::Queue)?;
        let slot_count = if has_indirect(features) { queue.size() } else { (queue.size() / 2).max(1) };
        let slot_pages = (usize::from(slot_count) * SLOT_LEN).div_ceil(crate::dma::PAGE_SIZE);
        let slots = DmaBuffer::new(platform, slot_pages).ok_or(InitError::OutOfMemory)?;
        let doorbell = transport.enable_queue(index, &queue.layout(), vector)?;
        Ok(Self {
            doorbell,
            slots,
            state: SpinLock::new(State { queue, free_slots: (0..slot_count).collect() }),
            room: WaitQueue::new(),
        })
    }

    /// Completes what the device has finished; whether it was anything.
    pub(super) fn complete_finished(&self) -> Result<bool, Broken> {
        let mut any = false;
        loop {
            let mut state = self.state.lock();
            match state.queue.complete()? {
                None => break,
                Some(Completion { cookie, .. }) => {
                    let status = self.slots.read_u8(usize::from(cookie.slot) * SLOT_LEN + STATUS_AT);
                    state.free_slots.push(cookie.slot);
                    drop(state);
                    cookie.operation.complete(status);
                    any = true;
                }
            }
        }
        if any {
            self.room.wake_all();
        }
        Ok(any)
    }

    /// Fails all requests.
    ///
    /// # Safety
    /// The device was reset.
    pub(super) unsafe fn abandon(&self) {
        // SAFETY: the caller's word.
        let requests = unsafe { self.state.lock().queue.abandon() };
        for request in requests {
            request.operation.complete(STATUS_UNSET);
        }
        self.room.wake_all();
    }

    /// Hands one request to the device. `segments` is room for its segments, kept by who tries again.
    ///
    /// # Safety
    /// The data stays valid, and nobody else touches it, until `operation` is done.
    pub(super) unsafe fn try_submit(
        &self,
        kind: u32,
        sector: u64,
        data: &Data<'_>,
        segments: &mut Vec<Segment>,
        operation: &Arc<Operation>,
    ) -> Result<(), NotNow> {
        let mut state = self.state.lock();
        // Every slot taken means that requests are under way, whose completion wakes who waits for room.
        let slot = state.free_slots.pop().ok_or(NotNow::Full)?;
        let at = usize::from(slot) * SLOT_LEN;
        self.slots.write_u32(at, kind);
        self.slots.write_u32(at + 4, 0);
        self.slots.write_u64(at + 8, sector);
        self.slots.write_u8(at + STATUS_AT, STATUS_UNSET);
        let phys = self.slots.phys() + at as u64;
        let own = |offset: usize, len: usize, direction| Segment {
            phys: phys + offset as u64,
            len: len as u32,
            direction,
        };
        segments.clear();
        segments.push(own(0, HEADER_LEN, Direction::ToDevice));
        match data {
            Data::Segments(data) => segments.extend_from_slice(data),
            Data::Range { sector, sectors, flags } => {
                self.slots.write_u64(at + RANGE_AT, *sector);
                self.slots.write_u32(at + RANGE_AT + 8, *sectors);
                self.slots.write_u32(at + RANGE_AT + 12, *flags);
                segments.push(own(RANGE_AT, RANGE_LEN, Direction::ToDevice));
            }
        }
        segments.push(own(STATUS_AT, 1, Direction::FromDevice));
        let request = Request { slot, operation: operation.clone() };
        // SAFETY: slots live as long as the queue, this one is nobody else's until the request
        // completes, and the caller vouches for the data.
        match unsafe { state.queue.submit(segments, request) } {
            Ok(()) => {
                let notify = state.queue.must_notify();
                drop(state);
                if notify {
                    self.doorbell.ring();
                }
                Ok(())
            }
            Err((error, request)) => {
                state.free_slots.push(request.slot);
                Err(match error {
                    SubmitError::Full => NotNow::Full,
                    SubmitError::Invalid | SubmitError::Broken => NotNow::Failed(Errno::EIO),
                })
            }
        }
    }
}

fn has_indirect(features: u64) -> bool {
    features & RingFeatures::INDIRECT_DESCRIPTORS.bits() != 0
}
