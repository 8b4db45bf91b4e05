//! Memory that driver and device share.

use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

/// Unit of allocation.
pub const PAGE_SIZE: usize = 4096;

/// Where memory for devices comes from: in the kernel, page frames through the direct map.
///
/// # Safety
/// `allocate` gives memory that nothing else uses until it is freed, and the physical address by
/// which a device reaches it; `physical` likewise answers with the address of those very bytes.
pub unsafe trait DmaPlatform: Send + Sync {
    /// `pages` physically contiguous pages of zeros: physical address and where they are mapped,
    /// aligned to [`PAGE_SIZE`].
    fn allocate(&self, pages: usize) -> Option<(u64, NonNull<u8>)>;

    /// Takes back what [`allocate`](Self::allocate) gave.
    ///
    /// # Safety
    /// The three values belong together, and neither driver nor device uses the memory any more.
    unsafe fn free(&self, phys: u64, memory: NonNull<u8>, pages: usize);

    /// The physical address of `len` bytes at `start`, if they are physically contiguous and a
    /// device may be given them.
    fn physical(&self, start: *const u8, len: usize) -> Option<u64>;
}

/// Pages shared with a device, freed when dropped. The device may write at any time, so the bytes
/// are reached by volatile accesses only and no reference to them exists.
pub struct DmaBuffer {
    phys: u64,
    memory: NonNull<u8>,
    pages: usize,
    platform: &'static dyn DmaPlatform,
}

// SAFETY: the buffer owns its pages, and all accesses are volatile or atomic on raw memory.
unsafe impl Send for DmaBuffer {}
// SAFETY: as above; racing accesses are accesses to bytes that a device may change anyway.
unsafe impl Sync for DmaBuffer {}

impl fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaBuffer({:#x}, {} pages)", self.phys, self.pages)
    }
}

macro_rules! accessors {
    ($($read:ident, $write:ident, $type:ty;)*) => {$(
        /// Reads at `offset`, which must be aligned.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            // SAFETY: `at` checks bounds and alignment; the memory is ours.
            unsafe { self.at::<$type>(offset).read_volatile() }
        }

        /// Writes at `offset`, which must be aligned.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            // SAFETY: as for reading.
            unsafe { self.at::<$type>(offset).write_volatile(value) }
        }
    )*};
}

impl DmaBuffer {
    /// Allocates `pages` pages of zeros.
    pub fn new(platform: &'static dyn DmaPlatform, pages: usize) -> Option<Self> {
        let (phys, memory) = platform.allocate(pages)?;
        Some(Self { phys, memory, pages, platform })
    }

    /// Physical address of the first byte.
    pub fn phys(&self) -> u64 {
        self.phys
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// The address of a `T` at `offset`. Offsets are the driver's own, never a device's: one that is
    /// wrong is a bug, hence the panic.
    #[inline]
    #[track_caller]
    fn at<T>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>());
        assert!(end.is_some_and(|end| end <= self.len()), "offset {offset} beyond a DMA buffer");
        assert!(offset.is_multiple_of(align_of::<T>()), "unaligned offset {offset} into a DMA buffer");
        // SAFETY: the offset is within the allocation.
        unsafe { self.memory.as_ptr().add(offset).cast() }
    }

    accessors! {
        read_u8, write_u8, u8;
        read_u16, write_u16, u16;
        read_u32, write_u32, u32;
        read_u64, write_u64, u64;
    }

    /// Reads a ring's index that the device publishes; what it wrote before is visible after.
    #[inline]
    pub fn load_acquire_u16(&self, offset: usize) -> u16 {
        // SAFETY: `at` checks bounds and alignment; the memory lives as long as `self`.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }.load(Ordering::Acquire)
    }

    /// Publishes a ring's index: what was written before is visible to whoever sees it.
    #[inline]
    pub fn store_release_u16(&self, offset: usize, value: u16) {
        // SAFETY: as for `load_acquire_u16`.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }.store(value, Ordering::Release);
    }

    /// Copies `bytes` to `offset`.
    #[track_caller]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: the range was checked, and a slice of the kernel's never overlaps DMA pages, to
        // which no references exist.
        unsafe {
            self.memory.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Copies from `offset` to `bytes`.
    #[track_caller]
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        // SAFETY: as for `copy_in`.
        unsafe {
            self.memory.as_ptr().add(offset).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
        }
    }

    #[track_caller]
    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len()), "{offset}+{len} beyond a DMA buffer");
    }

    /// `len` bytes at `offset`, as a slice.
    ///
    /// # Safety
    /// The device does not have these bytes now, and nothing writes them for as long as the slice
    /// is used.
    #[track_caller]
    pub unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: the range is ours, and the caller promises that nothing writes it.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr().add(offset), len) }
    }

    /// `len` bytes at `offset`, as a slice to be written.
    ///
    /// # Safety
    /// Neither the device nor anybody else uses these bytes for as long as the slice is used.
    #[track_caller]
    #[allow(clippy::mut_from_ref, reason = "parts of one buffer have different owners; the caller vouches")]
    pub unsafe fn slice_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        self.check(offset, len);
        // SAFETY: the range is ours, and the caller promises to be alone with it.
        unsafe { core::slice::from_raw_parts_mut(self.memory.as_ptr().add(offset), len) }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: the values came from `allocate`; those who lend a buffer to a device keep it until
        // the device has returned it or was reset.
        unsafe { self.platform.free(self.phys, self.memory, self.pages) }
    }
}
