//! Device registers in memory.

use core::ptr::NonNull;

/// A mapped, uncached stretch of device registers.
///
/// Offsets may come from a device's own description, so they are checked: reading outside gives all
/// ones, as a bus with nobody on it does, and writing outside does nothing.
#[derive(Clone, Copy, Debug)]
pub struct RegisterBlock {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: registers can be accessed from any CPU; what order they need is their driver's business.
unsafe impl Send for RegisterBlock {}
// SAFETY: as above.
unsafe impl Sync for RegisterBlock {}

macro_rules! accessors {
    ($($read:ident, $write:ident, $type:ty;)*) => {$(
        /// Reads the register at `offset`.
        #[inline]
        pub fn $read(&self, offset: usize) -> $type {
            match self.at::<$type>(offset) {
                // SAFETY: `at` checked bounds and alignment, `new` promises the mapping.
                Some(register) => unsafe { register.read_volatile() },
                None => <$type>::MAX,
            }
        }

        /// Writes the register at `offset`.
        #[inline]
        pub fn $write(&self, offset: usize, value: $type) {
            if let Some(register) = self.at::<$type>(offset) {
                // SAFETY: as for reading.
                unsafe { register.write_volatile(value) }
            }
        }
    )*};
}

impl RegisterBlock {
    /// # Safety
    /// `base` is mapped for `len` bytes for good, as device memory on which volatile accesses by any
    /// CPU are allowed.
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no registers.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len);
        // SAFETY: the offset is within the block.
        let register = fits.then(|| unsafe { self.base.as_ptr().add(offset).cast::<T>() })?;
        register.is_aligned().then_some(register)
    }

    accessors! {
        read_u8, write_u8, u8;
        read_u16, write_u16, u16;
        read_u32, write_u32, u32;
    }
}

/// The register that tells a device of new buffers in one queue: a single write, hence a single
/// exit to the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell {
    registers: RegisterBlock,
    offset: usize,
    queue: u16,
    width: DoorbellWidth,
}

/// Width of the write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DoorbellWidth {
    /// PCI (4.1.5.2).
    Bits16,
    /// MMIO (4.2.2).
    Bits32,
}

impl Doorbell {
    pub(crate) fn new(registers: RegisterBlock, offset: usize, queue: u16, width: DoorbellWidth) -> Self {
        Self { registers, offset, queue, width }
    }

    /// Tells the device.
    #[inline]
    pub fn ring(&self) {
        match self.width {
            DoorbellWidth::Bits16 => self.registers.write_u16(self.offset, self.queue),
            DoorbellWidth::Bits32 => self.registers.write_u32(self.offset, self.queue.into()),
        }
    }
}
