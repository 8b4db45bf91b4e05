//! Owners of frames: counted references to single ones, and whole blocks.
//!
//! What a frame holds may be mapped by the application and written there at any time. So nothing
//! here gives out references to its bytes safely; the safe accessors copy.

use core::{
    mem::{self, ManuallyDrop},
    num::NonZeroU32,
    ptr,
    sync::atomic::{Ordering, fence},
};

use crate::{OutOfMemory, PAGE_SIZE, PhysAddr, alloc_frames, allocator::FRAMES, try_alloc_frames};

/// A counted reference to one 4 KiB page frame; the last one to go frees the frame.
#[derive(Debug, PartialEq, Eq)]
pub struct PageRef {
    frame: NonZeroU32,
}

impl PageRef {
    /// A new frame full of zeros.
    pub fn new_zeroed() -> Result<Self, OutOfMemory> {
        // SAFETY: the whole frame is written before it is returned.
        unsafe {
            let page = Self::new_uninit()?;
            page.as_ptr().write_bytes(0, PAGE_SIZE);
            Ok(page)
        }
    }

    /// A new frame with whatever was in it.
    ///
    /// # Safety
    /// The caller overwrites all of it before anybody reads it: it may hold what others left.
    pub unsafe fn new_uninit() -> Result<Self, OutOfMemory> {
        let frame = alloc_frames(0)?.frame_number();
        Ok(Self::from_frame(frame))
    }

    /// A new frame with the contents of this one.
    pub fn duplicate(&self) -> Result<Self, OutOfMemory> {
        // SAFETY: the whole frame is written before it is returned; the two frames are distinct, both
        // are whole pages of the direct map, and raw pointers tolerate what the application may be
        // writing to the source meanwhile (it then gets some mixture, as on Linux).
        unsafe {
            let copy = Self::new_uninit()?;
            ptr::copy_nonoverlapping(self.as_ptr(), copy.as_ptr(), PAGE_SIZE);
            Ok(copy)
        }
    }

    /// A new frame full of zeros, if there is one without asking for memory back: for callers that
    /// hold locks that a reclaimer may want.
    pub fn try_new_zeroed() -> Result<Self, OutOfMemory> {
        let page = Self::from_frame(try_alloc_frames(0)?.frame_number());
        page.zero(0, PAGE_SIZE);
        Ok(page)
    }

    fn from_frame(frame: u32) -> Self {
        Self { frame: NonZeroU32::new(frame).expect("frame 0 is never handed out") }
    }

    /// Number of the frame: its physical address divided by [`PAGE_SIZE`].
    #[inline]
    pub fn frame_number(&self) -> u32 {
        self.frame.get()
    }

    /// Physical address of the frame.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        PhysAddr::of_frame(self.frame.get())
    }

    /// First byte of the frame in the direct map; valid for as long as a reference exists.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.phys().as_ptr()
    }

    /// The frame's bytes.
    ///
    /// # Safety
    /// Nobody writes to the frame while the borrow lasts: neither the kernel, nor a device, nor the
    /// application through a mapping.
    pub unsafe fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: a whole frame of the direct map, kept by our reference; the rest is the caller's.
        unsafe { &*self.as_ptr().cast() }
    }

    /// The frame's bytes, to be changed.
    ///
    /// # Safety
    /// Nobody else reads or writes the frame while the borrow lasts.
    #[allow(clippy::mut_from_ref, reason = "the exclusiveness is the caller's promise")]
    pub unsafe fn bytes_mut(&self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as for `bytes`.
        unsafe { &mut *self.as_ptr().cast() }
    }

    /// Copies the bytes at `offset` of the frame to `destination`.
    ///
    /// Concurrent writers (the application, through a mapping) may leave a mixture of old and new, as
    /// `read(2)` and `write(2)` of the same bytes do. Panics if that is not inside the frame.
    pub fn read(&self, offset: usize, destination: &mut [u8]) {
        assert!(offset <= PAGE_SIZE && destination.len() <= PAGE_SIZE - offset);
        // SAFETY: in the frame by the assertion; `destination` is a borrow of other memory, as no
        // reference to a frame that others may write exists (see `bytes`).
        unsafe {
            ptr::copy_nonoverlapping(self.as_ptr().add(offset), destination.as_mut_ptr(), destination.len())
        }
    }

    /// Copies `source` to the bytes at `offset` of the frame; as [`read`](Self::read) otherwise.
    pub fn write(&self, offset: usize, source: &[u8]) {
        assert!(offset <= PAGE_SIZE && source.len() <= PAGE_SIZE - offset);
        // SAFETY: as for `read`.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), self.as_ptr().add(offset), source.len()) }
    }

    /// Zeroes `len` bytes at `offset` of the frame; as [`read`](Self::read) otherwise.
    pub fn zero(&self, offset: usize, len: usize) {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset);
        // SAFETY: as for `read`.
        unsafe { self.as_ptr().add(offset).write_bytes(0, len) }
    }

    /// How many references there are. Only if it is 1, and that one is the caller's, will it not
    /// change underneath.
    pub fn ref_count(&self) -> u32 {
        FRAMES.info(self.frame.get()).references.load(Ordering::Acquire)
    }

    /// Gives the reference to whoever takes the address, such as a page-table entry.
    pub fn into_raw(self) -> PhysAddr {
        ManuallyDrop::new(self).phys()
    }

    /// Takes a reference back that [`into_raw`](Self::into_raw) gave.
    ///
    /// # Safety
    /// `address` comes from `into_raw`, and is taken back once for each time it was given.
    pub unsafe fn from_raw(address: PhysAddr) -> Self {
        Self::from_frame(address.frame_number())
    }

    /// Another reference to a frame that is known by its address.
    ///
    /// # Safety
    /// `address` comes from `into_raw`, and that reference lives until this call has returned.
    pub unsafe fn clone_raw(address: PhysAddr) -> Self {
        // SAFETY: the reference is only borrowed: it is not dropped here.
        let borrowed = ManuallyDrop::new(unsafe { Self::from_raw(address) });
        (*borrowed).clone()
    }
}

impl Clone for PageRef {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: we have a reference, so the frame cannot be freed meanwhile (as in `Arc`).
        let before = FRAMES.info(self.frame.get()).references.fetch_add(1, Ordering::Relaxed);
        debug_assert_ne!(before, 0, "a reference to a free frame");
        Self { frame: self.frame }
    }
}

impl Drop for PageRef {
    #[inline]
    fn drop(&mut self) {
        let info = FRAMES.info(self.frame.get());
        // Release and acquire: what others did with the frame is done before it is freed.
        if info.references.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            FRAMES.free(self.frame.get(), 0);
        }
    }
}

/// Sole ownership of a block of 2^order frames, which goes free when it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    address: PhysAddr,
    order: u32,
}

impl Block {
    /// A new block with arbitrary contents; asks for memory back before it fails.
    pub fn new(order: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { address: alloc_frames(order)?, order })
    }

    /// A new block full of zeros, if there is one without asking for memory back.
    pub fn try_new_zeroed(order: u32) -> Result<Self, OutOfMemory> {
        let block = Self { address: try_alloc_frames(order)?, order };
        block.zero();
        Ok(block)
    }

    /// A new block full of zeros; asks for memory back before it fails.
    pub fn new_zeroed(order: u32) -> Result<Self, OutOfMemory> {
        let block = Self::new(order)?;
        block.zero();
        Ok(block)
    }

    fn zero(&self) {
        // SAFETY: the block is ours and mapped in the direct map.
        unsafe { self.as_ptr().write_bytes(0, self.size()) }
    }

    /// Physical address of the block.
    pub fn phys(&self) -> PhysAddr {
        self.address
    }

    /// First byte of the block in the direct map.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Gives the block to whoever takes the address.
    pub fn into_raw(self) -> PhysAddr {
        ManuallyDrop::new(self).address
    }

    /// Takes a block back that [`into_raw`](Self::into_raw) gave.
    ///
    /// # Safety
    /// `address` comes from `into_raw` of a block of this order and is taken back once.
    pub unsafe fn from_raw(address: PhysAddr, order: u32) -> Self {
        Self { address, order }
    }

    /// Makes single pages of the block, in order of address, each with one reference.
    pub fn into_pages(self) -> impl ExactSizeIterator<Item = PageRef> {
        let (first, order) = (self.address.frame_number(), self.order);
        mem::forget(self);
        FRAMES.split(first, order);
        Pages { next: first, end: first + (1 << order) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        FRAMES.free(self.address.frame_number(), self.order);
    }
}

/// The pages of a block that was split; those not taken are freed.
struct Pages {
    next: u32,
    end: u32,
}

impl Iterator for Pages {
    type Item = PageRef;

    fn next(&mut self) -> Option<PageRef> {
        (self.next < self.end).then(|| {
            self.next += 1;
            PageRef::from_frame(self.next - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_frees() {
        crate::host::init();
        let page = PageRef::new_zeroed().unwrap();
        page.write(4090, b"abcdef");
        let other = page.clone();
        assert_eq!(page.ref_count(), 2);
        let raw = page.into_raw();
        let copy = other.duplicate().unwrap();
        drop(other);
        // SAFETY: `raw` comes from `into_raw` and is taken back once.
        let page = unsafe { PageRef::from_raw(raw) };
        assert_eq!(page.ref_count(), 1);
        let mut end = [0; 7];
        copy.read(4089, &mut end);
        assert_eq!(&end, b"\0abcdef");
        page.zero(4091, 5);
        page.read(4089, &mut end);
        assert_eq!(&end, b"\0a\0\0\0\0\0");
    }

    #[test]
    fn a_block_becomes_pages() {
        crate::host::init();
        let block = Block::new_zeroed(9).unwrap();
        assert!(block.phys().as_u64().is_multiple_of(2 << 20));
        let first = block.phys().frame_number();
        let mut pages = block.into_pages();
        assert_eq!(pages.len(), 512);
        let kept: Vec<_> = pages.by_ref().take(3).collect();
        drop(pages);
        for (n, page) in kept.iter().enumerate() {
            assert_eq!((page.frame_number(), page.ref_count()), (first + n as u32, 1));
        }
    }

    #[test]
    #[should_panic(expected = "freed but not so allocated")]
    fn freeing_twice_is_noticed() {
        crate::host::init();
        let address = alloc_frames(3).unwrap();
        // SAFETY: unsound on purpose: the second must panic before it does any harm.
        unsafe {
            crate::free_frames(address, 3);
            crate::free_frames(address, 3);
        }
    }
}
