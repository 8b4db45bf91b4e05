//! Telling the memory map that pages of an object are gone.
//!
//! File systems do not know who maps their files, and the memory map does not know when they shrink. The kernel
//! [registers](set_memory_map) the one address space here when it makes it; on the host, without one, nothing is mapped.

use core::ops::Range;

use spin::Once;

use crate::MemoryObject;

/// Whoever maps objects.
pub trait MemoryMap: Send + Sync {
    /// Unmaps `pages` of `object`, private copies too. On return no CPU can reach them.
    fn unmap_object_range(&self, object: &dyn MemoryObject, pages: Range<u64>);
}

static MEMORY_MAP: Once<&'static dyn MemoryMap> = Once::new();

/// Names the memory map. Once.
pub fn set_memory_map(map: &'static dyn MemoryMap) {
    MEMORY_MAP.call_once(|| map);
}

/// The pages of `object` from `first` on are gone: the object's `page` does not give them any more. Called without
/// locks that `page` or `cached_page` of the object take.
pub fn unmap_pages_from(object: &dyn MemoryObject, first: u64) {
    if let Some(map) = MEMORY_MAP.get() {
        map.unmap_object_range(object, first..u64::MAX);
    }
}
