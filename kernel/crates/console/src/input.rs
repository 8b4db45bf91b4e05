//! Standard input, and where it ends.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::Mutex;
use linux_abi::Errno;
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst};

/// Standard input. Its transport cannot say that it ends, as closing it would take the output with it:
/// the host says on the control channel how many bytes there are in all. Both can come first.
pub struct Input {
    stream: Arc<dyn File>,
    /// Bytes read so far; the lock keeps reading and counting in step.
    read: Mutex<u64>,
    /// Bytes read so far, for those who only want to know.
    read_hint: AtomicU64,
    /// Bytes in all; `u64::MAX` as long as that is not known.
    end: AtomicU64,
}

impl Input {
    /// Input from `stream`, which must have a pollee.
    pub fn new(stream: Arc<dyn File>) -> Self {
        Self { stream, read: Mutex::new(0), read_hint: AtomicU64::new(0), end: AtomicU64::new(u64::MAX) }
    }

    /// The input ends after `total` bytes. A second word on that is ignored.
    pub fn end_at(&self, total: u64) {
        let known = self.end.compare_exchange(u64::MAX, total, Ordering::AcqRel, Ordering::Relaxed).is_err();
        if !known && let Some(pollee) = self.stream.pollee() {
            pollee.notify(PollEvents::IN | PollEvents::RDNORM | PollEvents::HUP);
        }
    }

    fn is_at_end(&self) -> bool {
        self.read_hint.load(Ordering::Acquire) >= self.end.load(Ordering::Acquire)
    }

    fn read_now(&self, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        let mut read = self.read.lock();
        if self.is_at_end() {
            return Ok(0);
        }
        let len = self.stream.read_at(0, dst, Blocking::No)?;
        *read += len as u64;
        self.read_hint.store(*read, Ordering::Release);
        Ok(len)
    }

    /// Reads; 0 is the end.
    pub fn read(&self, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        loop {
            match self.read_now(dst) {
                Err(Errno::EAGAIN) if blocking == Blocking::Yes => {}
                result => return result,
            }
            let pollee = self.stream.pollee().ok_or(Errno::EIO)?;
            pollee.wait(None, || self.poll().intersects(PollEvents::IN | PollEvents::HUP).then_some(()))?;
        }
    }

    /// Readiness for reading: also at the end, where a read does not wait.
    pub fn poll(&self) -> PollEvents {
        let mut events = self.stream.poll() & (PollEvents::IN | PollEvents::RDNORM | PollEvents::HUP);
        if self.is_at_end() {
            events |= PollEvents::IN | PollEvents::RDNORM | PollEvents::HUP;
        }
        events
    }

    /// Bytes that a read would find now.
    pub fn readable_bytes(&self) -> Result<usize, Errno> {
        self.stream.readable_bytes()
    }

    /// Where readers and pollers wait.
    pub fn pollee(&self) -> Option<&Pollee> {
        self.stream.pollee()
    }
}
