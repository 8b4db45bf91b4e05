//! Free single frames at hand on each CPU.
//!
//! Each cache has a lock of its own, nearly always taken by its own CPU, so that another CPU can
//! empty it when memory runs short. Last in, first out: what was freed last is warm.

use ksync::SpinLock;

/// Frames that a cache holds at most: 256 KiB.
pub const CAPACITY: usize = 64;
/// Frames moved between a cache and an arena at once.
pub const BATCH: usize = CAPACITY / 2;

/// A stack of free frames.
pub struct FrameStack {
    len: usize,
    frames: [u32; CAPACITY],
}

impl FrameStack {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.frames[self.len])
    }

    /// Puts a frame on top; the caller has made room.
    pub fn push(&mut self, frame: u32) {
        self.frames[self.len] = frame;
        self.len += 1;
    }

    pub fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// Takes the `count` frames at the bottom, which are the coldest.
    pub fn take_coldest(&mut self, count: usize, mut each: impl FnMut(u32)) {
        let count = count.min(self.len);
        self.frames[..count].iter().copied().for_each(&mut each);
        self.frames.copy_within(count..self.len, 0);
        self.len -= count;
    }
}

/// A CPU's cache, alone on its cache lines (two, as the hardware prefetches pairs of them).
#[repr(align(128))]
pub struct CpuCache(pub SpinLock<FrameStack>);

impl CpuCache {
    pub const fn new() -> Self {
        Self(SpinLock::new(FrameStack { len: 0, frames: [0; CAPACITY] }))
    }
}
