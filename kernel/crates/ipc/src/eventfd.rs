//! Event counters: `eventfd(2)`.
//!
//! The counter is one atomic variable, with no lock around it; blocked readers and writers wait in the pollee, since
//! a write can satisfy several of either.

use alloc::vec::Vec;
use core::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
};

use linux_abi::Errno;
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst, WriteSrc};

use crate::io::{put_exact, take_exact};

/// The highest value that a write can lead to; one more would be reported as an overflow (`POLLERR`).
const MAX_COUNT: u64 = u64::MAX - 1;

/// What a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The whole count.
    All,
    /// One (`EFD_SEMAPHORE`).
    One,
}

/// An event counter.
pub struct EventFd {
    count: AtomicU64,
    take: Take,
    pollee: Pollee,
}

impl EventFd {
    /// Makes a counter that stands at `initial`.
    pub const fn new(initial: u32, take: Take) -> Self {
        Self { count: AtomicU64::new(initial as u64), take, pollee: Pollee::new() }
    }

    /// The count, for `/proc/self/fdinfo`.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Adds to the count as a write that must not wait would, and stops at the highest value. For the
    /// kernel's own signalling; callable from interrupts.
    pub fn signal(&self, n: u64) {
        self.change(|count| Some(count.saturating_add(n).min(MAX_COUNT)));
        self.pollee.notify(PollEvents::IN);
    }

    /// Changes the count, if `change` says to what; returns what it was.
    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        // As much order as a lock gives: who reads a count sees what the writer did before.
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok()
    }

    fn try_take(&self) -> Option<u64> {
        match self.take {
            Take::All => self.change(|count| (count != 0).then_some(0)),
            Take::One => self.change(|count| count.checked_sub(1)).map(|_| 1),
        }
    }

    fn try_add(&self, n: u64) -> Option<()> {
        self.change(|count| count.checked_add(n).filter(|sum| *sum <= MAX_COUNT)).map(drop)
    }

    fn attempt<T>(&self, blocking: Blocking, attempt: impl FnMut() -> Option<T>) -> Result<T, Errno> {
        let mut attempt = attempt;
        match blocking {
            Blocking::No => attempt().ok_or(Errno::EAGAIN),
            Blocking::Yes => Ok(self.pollee.wait(None, attempt)?),
        }
    }
}

impl File for EventFd {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        if dst.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let taken = self.attempt(blocking, || self.try_take())?;
        self.pollee.notify(PollEvents::OUT);
        put_exact(dst, &taken.to_ne_bytes())
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        if src.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let n = u64::from_ne_bytes(take_exact(src)?);
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        self.attempt(blocking, || self.try_add(n))?;
        self.pollee.notify(PollEvents::IN);
        Ok(size_of::<u64>())
    }

    fn poll(&self) -> PollEvents {
        let count = self.count();
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN, count > 0);
        events.set(PollEvents::OUT, count < MAX_COUNT);
        events.set(PollEvents::ERR, count == u64::MAX);
        events
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pollee)
    }

    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:[eventfd]".to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use vfs::SliceSrc;

    use super::*;

    fn read(fd: &EventFd, blocking: Blocking) -> Result<u64, Errno> {
        let mut buffer = [0; 8];
        assert_eq!(fd.read_at(0, &mut &mut buffer[..], blocking)?, 8);
        Ok(u64::from_ne_bytes(buffer))
    }

    fn write(fd: &EventFd, n: u64, blocking: Blocking) -> Result<usize, Errno> {
        fd.write_at(0, &mut SliceSrc::new(&n.to_ne_bytes()), blocking)
    }

    #[test]
    fn counts_and_takes_all_or_one() {
        let all = EventFd::new(3, Take::All);
        write(&all, 4, Blocking::No).unwrap();
        assert_eq!(read(&all, Blocking::No), Ok(7));
        assert_eq!(read(&all, Blocking::No), Err(Errno::EAGAIN));
        let one = EventFd::new(2, Take::One);
        assert_eq!([(); 3].map(|()| read(&one, Blocking::No)), [Ok(1), Ok(1), Err(Errno::EAGAIN)]);
    }

    #[test]
    fn the_count_stops_short_of_overflow() {
        let fd = EventFd::new(1, Take::All);
        assert_eq!(write(&fd, u64::MAX, Blocking::No), Err(Errno::EINVAL));
        assert_eq!(write(&fd, u64::MAX - 1, Blocking::No), Err(Errno::EAGAIN));
        assert_eq!(write(&fd, u64::MAX - 2, Blocking::No), Ok(8));
        assert_eq!(fd.poll(), PollEvents::IN);
        assert_eq!(write(&fd, 0, Blocking::No), Ok(8));
        assert_eq!(write(&fd, 1, Blocking::No), Err(Errno::EAGAIN));
        fd.signal(5);
        assert_eq!(read(&fd, Blocking::No), Ok(u64::MAX - 1));
        assert_eq!(fd.poll(), PollEvents::OUT);
    }

    #[test]
    fn short_buffers_are_refused_and_long_ones_get_eight_bytes() {
        let fd = EventFd::new(1, Take::All);
        assert_eq!(fd.read_at(0, &mut &mut [0; 7][..], Blocking::No), Err(Errno::EINVAL));
        assert_eq!(fd.write_at(0, &mut SliceSrc::new(&[0; 7]), Blocking::No), Err(Errno::EINVAL));
        assert_eq!(fd.read_at(0, &mut &mut [0; 32][..], Blocking::No), Ok(8));
    }

    #[test]
    fn blocked_readers_and_writers_pass_everything_on() {
        const PER_WRITER: u64 = 2000;
        let fd = Arc::new(EventFd::new(0, Take::One));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..PER_WRITER).for_each(|_| assert_eq!(write(&fd, 1, Blocking::Yes), Ok(8))));
                scope.spawn(|| (0..PER_WRITER).for_each(|_| assert_eq!(read(&fd, Blocking::Yes), Ok(1))));
            }
        });
        assert_eq!(fd.count(), 0);
        let full = Arc::new(EventFd::new(0, Take::All));
        write(&full, u64::MAX - 1, Blocking::No).unwrap();
        let writer = thread::spawn({
            let full = full.clone();
            move || write(&full, 9, Blocking::Yes)
        });
        assert_eq!(read(&full, Blocking::Yes), Ok(u64::MAX - 1));
        assert_eq!(writer.join().unwrap(), Ok(8));
        assert_eq!(read(&full, Blocking::Yes), Ok(9));
    }
}
