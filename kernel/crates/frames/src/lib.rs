//! Physical page frames: who has which, and how often.
#![no_std]
extern crate alloc;

/// Size of a page frame in bytes.
pub const PAGE_SIZE: usize = 4096;

/// No frame is free, and nothing could be reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A counted reference to one 4 KiB page frame.
pub struct PageRef {
    frame: u32,
}

impl PageRef {
    /// Index of the frame: its physical address divided by [`PAGE_SIZE`].
    pub fn frame_number(&self) -> u32 {
        self.frame
    }
}
