//! Pipes and fifos.
//!
//! A pipe is a ring of slots of one page each, as in Linux's `fs/pipe.c`, because programs see that: how
//! many small writes fit, what `F_SETPIPE_SZ` answers, when a writer is woken. A write of up to
//! [`PIPE_BUF`] bytes goes into one slot whole, and so is never torn apart by another writer.
//!
//! `Pipe::ring` (a sleeping lock: data is copied from and to the application under it) guards the slots and
//! the counts of open ends. The atomics beside it repeat what readiness depends on, so that `poll` takes no
//! lock; they change only under the lock. Blocked readers and writers wait in queues of their own, one of
//! them woken for each change; observers of both ends share the pollee.
//!
//! A write that fails with `EPIPE` has to send `SIGPIPE` to the calling thread: that is the caller's
//! part, as only the system call knows whether it was asked not to.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec, vec::Vec};
use core::{
    any::Any,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use ksync::{Interruptible, Mutex, MutexGuard, WaitQueue};
use linux_abi::{Errno, file::FileType};
use vfs::{
    ANONYMOUS_DEVICE, Blocking, File, InodeId, Metadata, PollEvents, Pollee, ReadDst, WriteSrc,
    bracketed_name,
};

use crate::number::next_number;

/// Bytes that a slot holds.
pub const PAGE_SIZE: usize = 4096;

/// The longest write that is atomic (`pipe(7)`).
pub const PIPE_BUF: usize = 4096;

/// Slots of a new pipe: 64 KiB.
const DEFAULT_SLOTS: usize = 16;

/// The largest capacity without `CAP_SYS_RESOURCE` (default of `/proc/sys/fs/pipe-max-size`).
pub const MAX_CAPACITY: usize = 1 << 20;

/// Pages kept for the next write when they have been read empty.
const SPARE_PAGES: usize = 2;

type Page = Box<[u8]>;

/// Whether each write is a message of its own (`O_DIRECT` in `pipe(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A stream of bytes.
    Stream,
    /// Packets: a read takes (part of) one, and what did not fit is dropped.
    Packets,
}

/// What an end of a pipe can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`, of a fifo only.
    ReadWrite,
}

impl Access {
    const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

struct Slot {
    page: Page,
    start: usize,
    end: usize,
    mode: Mode,
}

impl Slot {
    const fn len(&self) -> usize {
        self.end - self.start
    }
}

struct Ring {
    slots: VecDeque<Slot>,
    spare: VecDeque<Page>,
    max_slots: usize,
}

/// The shared middle of a pipe; the inode of a fifo keeps one.
pub struct Pipe {
    number: u64,
    ring: Mutex<Ring>,
    used_slots: AtomicUsize,
    max_slots: AtomicUsize,
    readers: AtomicUsize,
    writers: AtomicUsize,
    /// How often a reading end was opened: what a fifo's first writer waits for.
    readers_ever: AtomicUsize,
    /// How often a writing end was opened.
    writers_ever: AtomicUsize,
    readable: WaitQueue,
    writable: WaitQueue,
    partner: WaitQueue,
    pollee: Pollee,
}

/// An open end of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    access: Access,
    packets: AtomicBool,
    /// For a reading end that was opened without waiting: how many writers there had been, so that it is
    /// "hung up" only after another one (`fifo(7)`).
    hang_up_after: usize,
}

/// Makes a pipe and returns its reading and its writing end.
pub fn pipe(mode: Mode) -> (Arc<PipeEnd>, Arc<PipeEnd>) {
    let pipe = Pipe::new();
    pipe.add_end(Access::Read);
    pipe.add_end(Access::Write);
    let end = |access| {
        Arc::new(PipeEnd {
            pipe: pipe.clone(),
            access,
            packets: AtomicBool::new(mode == Mode::Packets),
            hang_up_after: 0,
        })
    };
    (end(Access::Read), end(Access::Write))
}

impl Pipe {
    /// Makes a pipe that has no end yet, for a fifo's inode.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            number: next_number(),
            ring: Mutex::new(Ring {
                slots: VecDeque::new(),
                spare: VecDeque::new(),
                max_slots: DEFAULT_SLOTS,
            }),
            used_slots: AtomicUsize::new(0),
            max_slots: AtomicUsize::new(DEFAULT_SLOTS),
            readers: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            readers_ever: AtomicUsize::new(0),
            writers_ever: AtomicUsize::new(0),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
            partner: WaitQueue::new(),
            pollee: Pollee::new(),
        })
    }

    /// Opens a fifo as `fifo(7)` says: each side waits for the other; without waiting a reader is let in
    /// alone and a writer gets `ENXIO`; for reading and writing it never waits.
    pub fn open(self: &Arc<Self>, access: Access, blocking: Blocking) -> Result<Arc<PipeEnd>, Errno> {
        let (partner, partner_ever) = match access {
            Access::Read => (&self.writers, &self.writers_ever),
            Access::Write => (&self.readers, &self.readers_ever),
            Access::ReadWrite => (&self.readers, &self.readers_ever),
        };
        let ring = self.ring.lock();
        let ever_before = partner_ever.load(SeqCst);
        let must_wait = access != Access::ReadWrite && partner.load(SeqCst) == 0;
        if must_wait && access == Access::Write && blocking == Blocking::No {
            return Err(Errno::ENXIO);
        }
        self.add_end(access);
        drop(ring);
        let end = Arc::new(PipeEnd {
            pipe: self.clone(),
            access,
            packets: AtomicBool::new(false),
            hang_up_after: if must_wait && blocking == Blocking::No { ever_before } else { usize::MAX },
        });
        if must_wait && blocking == Blocking::Yes {
            // A partner that came and went in the meantime counts: it was let in by this end.
            self.partner.wait(Interruptible::Yes, None, || {
                (partner_ever.load(SeqCst) != ever_before).then_some(())
            })?;
        }
        Ok(end)
    }

    fn add_end(&self, access: Access) {
        if access.reads() {
            self.readers.fetch_add(1, SeqCst);
            self.readers_ever.fetch_add(1, SeqCst);
        }
        if access.writes() {
            self.writers.fetch_add(1, SeqCst);
            self.writers_ever.fetch_add(1, SeqCst);
        }
        self.partner.wake_all();
    }

    fn is_empty(&self) -> bool {
        self.used_slots.load(SeqCst) == 0
    }

    fn is_full(&self) -> bool {
        self.used_slots.load(SeqCst) >= self.max_slots.load(SeqCst)
    }

    fn publish(&self, ring: &MutexGuard<'_, Ring>) {
        self.used_slots.store(ring.slots.len(), SeqCst);
        self.max_slots.store(ring.max_slots, SeqCst);
    }

    fn has_readers(&self) -> bool {
        self.readers.load(SeqCst) > 0
    }

    fn has_writers(&self) -> bool {
        self.writers.load(SeqCst) > 0
    }

    fn notify_readable(&self) {
        self.readable.wake_one();
        self.pollee.notify(PollEvents::IN | PollEvents::RDNORM);
    }

    fn notify_writable(&self) {
        self.writable.wake_one();
        self.pollee.notify(PollEvents::OUT | PollEvents::WRNORM);
    }

    /// Takes what is there. `None`: nothing, and somebody could still write.
    fn try_read(&self, dst: &mut dyn ReadDst) -> Option<Result<usize, Errno>> {
        let mut ring = self.ring.lock();
        if ring.slots.is_empty() {
            return if self.has_writers() { None } else { Some(Ok(0)) };
        }
        let was_full = self.is_full();
        let mut done = 0;
        let mut result = Ok(());
        while let Some(slot) = ring.slots.front_mut() {
            let wanted = slot.len().min(dst.remaining());
            if wanted == 0 && slot.len() > 0 {
                break;
            }
            let copied = match dst.put(&slot.page[slot.start..slot.start + wanted]) {
                Ok(copied) => copied,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            done += copied;
            slot.start += copied;
            let packet = slot.mode == Mode::Packets;
            if copied < wanted {
                break;
            }
            if packet || slot.len() == 0 {
                let slot = ring.slots.pop_front();
                if let Some(slot) = slot.filter(|_| ring.spare.len() < SPARE_PAGES) {
                    ring.spare.push_back(slot.page);
                }
            }
            if packet {
                break;
            }
        }
        self.publish(&ring);
        let is_full = self.is_full();
        drop(ring);
        if was_full && !is_full {
            self.notify_writable();
        }
        Some(if done > 0 { Ok(done) } else { result.map(|()| 0) })
    }

    /// Puts in what fits, and adds that to `done`. `None`: something is left and the pipe is full.
    fn try_write(&self, src: &mut dyn WriteSrc, mode: Mode, done: &mut usize) -> Option<Result<(), Errno>> {
        let mut ring = self.ring.lock();
        if !self.has_readers() {
            return Some(Err(Errno::EPIPE));
        }
        let before = *done;
        let mut result = self.merge(&mut ring, src, mode, done);
        while result.is_ok() && src.remaining() > 0 && ring.slots.len() < ring.max_slots {
            let mut page = ring.spare.pop_front().unwrap_or_else(|| vec![0; PAGE_SIZE].into_boxed_slice());
            let wanted = src.remaining().min(PAGE_SIZE);
            match take_all(src, &mut page[..wanted]) {
                Ok(()) => {
                    *done += wanted;
                    ring.slots.push_back(Slot { page, start: 0, end: wanted, mode });
                }
                Err(error) => {
                    ring.spare.push_back(page);
                    result = Err(error);
                }
            }
        }
        self.publish(&ring);
        drop(ring);
        if *done > before {
            // Also if it was not empty before: an edge-triggered observer expects an edge for each write.
            self.notify_readable();
        }
        match result {
            Err(error) => Some(Err(error)),
            Ok(()) if src.remaining() == 0 => Some(Ok(())),
            Ok(()) => None,
        }
    }

    /// Adds the odd bytes of a write to the last page if they fit there whole, as Linux does.
    fn merge(
        &self,
        ring: &mut Ring,
        src: &mut dyn WriteSrc,
        mode: Mode,
        done: &mut usize,
    ) -> Result<(), Errno> {
        let odd = src.remaining() % PAGE_SIZE;
        let Some(last) = ring.slots.back_mut() else { return Ok(()) };
        if odd == 0 || mode == Mode::Packets || last.mode == Mode::Packets || last.end + odd > PAGE_SIZE {
            return Ok(());
        }
        take_all(src, &mut last.page[last.end..last.end + odd])?;
        last.end += odd;
        *done += odd;
        Ok(())
    }
}

/// Fills `buffer`; if the application's memory ends before, takes nothing and fails.
fn take_all(src: &mut dyn WriteSrc, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match src.take(&mut buffer[filled..]) {
            Ok(0) | Err(_) => {
                src.untake(filled);
                return Err(Errno::EFAULT);
            }
            Ok(taken) => filled += taken,
        }
    }
    Ok(())
}

impl PipeEnd {
    /// The capacity in bytes (`F_GETPIPE_SZ`).
    pub fn capacity(&self) -> usize {
        self.pipe.max_slots.load(SeqCst) * PAGE_SIZE
    }

    /// Sets the capacity to at least `bytes` (`F_SETPIPE_SZ`) and returns what it became. `EINVAL` above
    /// 2 GiB, `EPERM` for more than [`MAX_CAPACITY`], `EBUSY` if more than that is in the pipe.
    pub fn set_capacity(&self, bytes: usize) -> Result<usize, Errno> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let capacity = bytes.max(PAGE_SIZE).next_power_of_two();
        let slots = capacity / PAGE_SIZE;
        let mut ring = self.pipe.ring.lock();
        if slots > ring.max_slots && capacity > MAX_CAPACITY {
            return Err(Errno::EPERM);
        }
        if slots < ring.slots.len() {
            return Err(Errno::EBUSY);
        }
        let was_full = self.pipe.is_full();
        ring.max_slots = slots;
        self.pipe.publish(&ring);
        drop(ring);
        if was_full && !self.pipe.is_full() {
            self.pipe.notify_writable();
        }
        Ok(capacity)
    }

    /// Whether writes through this end make packets (`O_DIRECT`, also by `F_SETFL`).
    pub fn set_mode(&self, mode: Mode) {
        self.packets.store(mode == Mode::Packets, SeqCst);
    }

    /// What this end can be used for.
    pub const fn access(&self) -> Access {
        self.access
    }
}

impl File for PipeEnd {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        if !self.access.reads() {
            return Err(Errno::EBADF);
        }
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let result = match blocking {
            Blocking::No => self.pipe.try_read(dst).unwrap_or(Err(Errno::EAGAIN)),
            Blocking::Yes => self
                .pipe
                .readable
                .wait(Interruptible::Yes, None, || self.pipe.try_read(dst))
                .unwrap_or_else(|error| Err(error.into())),
        };
        if !self.pipe.is_empty() {
            // One reader was woken for all that was written: pass it on, now that this thread waits no more
            // and cannot be the one that is woken.
            self.pipe.readable.wake_one();
        }
        result
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        if !self.access.writes() {
            return Err(Errno::EBADF);
        }
        if src.remaining() == 0 {
            return Ok(0);
        }
        let mode = if self.packets.load(SeqCst) { Mode::Packets } else { Mode::Stream };
        let mut done = 0;
        let result = match blocking {
            Blocking::No => self.pipe.try_write(src, mode, &mut done).unwrap_or(Err(Errno::EAGAIN)),
            Blocking::Yes => self
                .pipe
                .writable
                .wait(Interruptible::Yes, None, || self.pipe.try_write(src, mode, &mut done))
                .unwrap_or_else(|error| Err(error.into())),
        };
        if !self.pipe.is_full() {
            // Likewise for those who wait for room.
            self.pipe.writable.wake_one();
        }
        if done > 0 { Ok(done) } else { result.map(|()| 0) }
    }

    fn poll(&self) -> PollEvents {
        let pipe = &self.pipe;
        let mut events = PollEvents::empty();
        if self.access.reads() {
            if !pipe.is_empty() {
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
            if !pipe.has_writers() && pipe.writers_ever.load(SeqCst) != self.hang_up_after {
                events |= PollEvents::HUP;
            }
        }
        if self.access.writes() {
            if !pipe.is_full() {
                events |= PollEvents::OUT | PollEvents::WRNORM;
            }
            if !pipe.has_readers() {
                events |= PollEvents::ERR;
            }
        }
        events
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pipe.pollee)
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.pipe.ring.lock().slots.iter().map(Slot::len).sum())
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let id = InodeId { device: ANONYMOUS_DEVICE, number: self.pipe.number };
        Ok(Metadata::anonymous(id, FileType::Fifo, 0o600))
    }

    fn can_reopen(&self) -> bool {
        true
    }

    fn shown_name(&self) -> Vec<u8> {
        bracketed_name("pipe", self.pipe.number)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut ring = self.pipe.ring.lock();
        if self.access.reads() {
            self.pipe.readers.fetch_sub(1, SeqCst);
        }
        if self.access.writes() {
            self.pipe.writers.fetch_sub(1, SeqCst);
        }
        let unused = !self.pipe.has_readers() && !self.pipe.has_writers();
        if unused {
            // What was left in a fifo is lost when the last end closes (`fifo(7)`).
            ring.slots.clear();
            ring.spare.clear();
            self.pipe.publish(&ring);
        }
        drop(ring);
        if !unused {
            // Every blocked reader sees the end of the file, every blocked writer the broken pipe.
            self.pipe.readable.wake_all();
            self.pipe.writable.wake_all();
            self.pipe.pollee.notify(PollEvents::all());
        }
    }
}

#[cfg(test)]
mod tests;
