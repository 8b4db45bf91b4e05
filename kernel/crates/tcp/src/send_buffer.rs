//! What the application has written and the other end has not acknowledged: parts of page frames, in order.

use alloc::collections::VecDeque;

use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;
use packet::{Fragment, Packet};
use vfs::WriteSrc;

/// Memory that a chunk of the list takes, in bytes, as far as `SO_SNDBUF` accounts for it.
const CHUNK_BYTES: usize = size_of::<Chunk>();

#[derive(Debug)]
struct Chunk {
    start: u64,
    fragment: Fragment,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.fragment.len() as u64
    }
}

/// A list of fragments by their place in the stream.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
    /// The frame that small writes go to, one after the other, and how much of it is used.
    tail: Option<(PageRef, usize)>,
}

impl SendBuffer {
    pub(crate) fn new(start: u64) -> Self {
        Self { chunks: VecDeque::new(), start, end: start, tail: None }
    }

    /// Where the unacknowledged bytes begin.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Where the next byte to be written goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What `SO_SNDBUF` is compared with.
    pub(crate) fn accounted_bytes(&self) -> usize {
        (self.end - self.start) as usize + self.chunks.len() * CHUNK_BYTES
    }

    /// Takes up to `len` bytes of `source`. Fails only if not one byte could be taken.
    pub(crate) fn write(&mut self, source: &mut dyn WriteSrc, len: usize) -> Result<usize, Errno> {
        let mut done = 0;
        while done < len && source.remaining() > 0 {
            match self.write_part(source, len - done) {
                Ok(0) => break,
                Ok(taken) => done += taken,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Fills what is left of the tail's frame, or of a new one.
    fn write_part(&mut self, source: &mut dyn WriteSrc, len: usize) -> Result<usize, Errno> {
        let (page, used) = match self.tail.take() {
            Some(tail) => tail,
            None => (PageRef::new_zeroed().map_err(|_| Errno::ENOBUFS)?, 0),
        };
        let room = len.min(PAGE_SIZE - used).min(source.remaining());
        let taken = source.take_page(&page, used, room);
        if let Ok(taken) = taken {
            self.push(Fragment::new(page.clone(), used, taken));
        }
        let used = used + taken.unwrap_or(0);
        if used < PAGE_SIZE {
            self.tail = Some((page, used));
        }
        taken
    }

    /// Adds a fragment at the end.
    pub(crate) fn push(&mut self, fragment: Fragment) {
        if fragment.is_empty() {
            return;
        }
        let start = self.end;
        self.end += fragment.len() as u64;
        if let Some(last) = self.chunks.back_mut()
            && last.fragment.page() == fragment.page()
            && last.fragment.offset() + last.fragment.len() == fragment.offset()
        {
            let (offset, len) = (last.fragment.offset(), last.fragment.len() + fragment.len());
            last.fragment = Fragment::new(fragment.page().clone(), offset, len);
            return;
        }
        self.chunks.push_back(Chunk { start, fragment });
    }

    /// Forgets what is before `position`.
    pub(crate) fn acknowledge(&mut self, position: u64) {
        let position = position.min(self.end);
        if position <= self.start {
            return;
        }
        self.start = position;
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position) {
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks.shrink_to(16);
        }
    }

    /// Puts the bytes of `start..end` into `packet`, as far as it has room for fragments, and returns where it
    /// stopped.
    pub(crate) fn copy_to(&self, start: u64, end: u64, packet: &mut Packet) -> u64 {
        debug_assert!(self.start <= start && end <= self.end, "{start}..{end} is not in the buffer");
        let mut at = start;
        let mut index = self.chunks.partition_point(|chunk| chunk.end() <= start);
        while at < end
            && let Some(chunk) = self.chunks.get(index)
        {
            let skip = (at - chunk.start) as usize;
            let len = ((end - at) as usize).min(chunk.fragment.len() - skip);
            if packet.push(chunk.fragment.part(skip, len)).is_err() {
                break;
            }
            at += len as u64;
            index += 1;
        }
        at
    }

    /// Drops everything: nobody is going to read it.
    pub(crate) fn purge(&mut self) {
        self.chunks = VecDeque::new();
        self.tail = None;
        self.start = self.end;
    }

    /// Memory that it keeps.
    pub(crate) fn memory_bytes(&self) -> usize {
        let tail = if self.tail.is_some() { PAGE_SIZE } else { 0 };
        self.accounted_bytes() + tail
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use proptest::prelude::*;
    use vfs::SliceSrc;

    use super::*;

    fn bytes(buffer: &SendBuffer, start: u64, end: u64) -> Vec<u8> {
        let mut all = Vec::new();
        let mut at = start;
        while at < end {
            let mut packet = Packet::new();
            let stop = buffer.copy_to(at, end, &mut packet);
            assert!(stop > at);
            let mut part = vec![0; (stop - at) as usize];
            assert_eq!((packet.read(0, &mut part), packet.len()), (part.len(), part.len()));
            all.extend(part);
            at = stop;
        }
        all
    }

    proptest! {
        #[test]
        fn is_a_queue_of_bytes(steps in proptest::collection::vec((0..4_u8, 0..9000_usize), 1..40)) {
            frames::host::init();
            let mut buffer = SendBuffer::new(100);
            let mut model: Vec<u8> = Vec::new();
            let mut start = 100;
            for (n, (kind, amount)) in steps.into_iter().enumerate() {
                match kind {
                    0 => {
                        let acknowledged = amount.min(model.len());
                        start += acknowledged as u64;
                        model.drain(..acknowledged);
                        buffer.acknowledge(start);
                    }
                    1 => {
                        let page = PageRef::new_zeroed().unwrap();
                        let amount = amount.min(PAGE_SIZE);
                        page.write(0, &vec![n as u8; amount]);
                        buffer.push(Fragment::new(page, 0, amount));
                        model.extend(vec![n as u8; amount]);
                    }
                    _ => {
                        let written: Vec<u8> = (0..amount).map(|i| (i * 7 + n) as u8).collect();
                        let limit = amount - amount / 5;
                        let taken = buffer.write(&mut SliceSrc::new(&written), limit).unwrap();
                        prop_assert_eq!(taken, limit);
                        model.extend(&written[..limit]);
                    }
                }
                prop_assert_eq!((buffer.start(), buffer.end()), (start, start + model.len() as u64));
                prop_assert_eq!(bytes(&buffer, start, buffer.end()), model.clone());
                let middle = start + model.len() as u64 / 2;
                prop_assert_eq!(bytes(&buffer, middle, buffer.end()), model[model.len() / 2..].to_vec());
                prop_assert!(buffer.accounted_bytes() >= model.len());
            }
        }
    }
}
