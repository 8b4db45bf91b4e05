//! Memory of the host in place of physical memory, for the tests of this crate and of others.

use std::{
    alloc::{Layout, alloc_zeroed},
    sync::Once,
};

/// Size of the memory that [`init`] gives the allocator, in bytes.
pub const MEMORY_BYTES: usize = 512 << 20;

/// Where it appears as physical memory.
const PHYSICAL_START: usize = 4 << 20;

/// Gives the allocator [`MEMORY_BYTES`] of leaked memory. Any number of calls, from any thread.
///
/// The host's kernel supplies it lazily, so that what is not used costs nothing.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let memory = leak(MEMORY_BYTES);
        let offset = memory.addr() - PHYSICAL_START;
        let region = PHYSICAL_START as u64..(PHYSICAL_START + MEMORY_BYTES) as u64;
        // SAFETY: the memory is leaked, so valid for good, and nobody else's.
        unsafe { crate::init(std::slice::from_ref(&region), offset) }
    });
}

/// Leaks `bytes` bytes of zeroed memory, aligned to 4 MiB.
pub(crate) fn leak(bytes: usize) -> *mut u8 {
    let layout = Layout::from_size_align(bytes, 4 << 20).expect("a size that fits");
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    assert!(!memory.is_null(), "the host has no memory");
    memory
}
