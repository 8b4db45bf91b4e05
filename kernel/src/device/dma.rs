//! Memory for devices: page frames, through the direct map.

use core::ptr::NonNull;

use frames::{Block, MAX_ORDER, PAGE_SIZE, PhysAddr};
use virtio::DmaPlatform;

use crate::arch::layout;

/// The kernel's [`DmaPlatform`]. There is no IOMMU: devices use physical addresses.
pub struct DirectMap;

/// The one instance.
pub static DIRECT_MAP: DirectMap = DirectMap;

fn order(pages: usize) -> u32 {
    pages.next_power_of_two().ilog2()
}

// SAFETY: blocks of the frame allocator are nobody else's, and the direct map maps physical memory at a
// fixed offset.
unsafe impl DmaPlatform for DirectMap {
    fn allocate(&self, pages: usize) -> Option<(u64, NonNull<u8>)> {
        if pages == 0 || order(pages) > MAX_ORDER {
            return None;
        }
        let block = Block::new_zeroed(order(pages)).ok()?;
        let memory = NonNull::new(block.as_ptr())?;
        Some((block.into_raw().as_u64(), memory))
    }

    unsafe fn free(&self, phys: u64, _memory: NonNull<u8>, pages: usize) {
        // SAFETY: from `allocate`, with the same order, and no longer used (the caller's promise).
        drop(unsafe { Block::from_raw(PhysAddr::new(phys), order(pages)) });
    }

    fn physical(&self, start: *const u8, len: usize) -> Option<u64> {
        let start = start as u64;
        let end = start.checked_add(len as u64)?;
        // Stacks, device registers and the application's memory are contiguous only page by page, and
        // the application's may go away under the device: they are copied.
        let in_direct_map = start >= layout::DIRECT_MAP && end <= layout::KERNEL_STACKS;
        let in_image = start >= layout::KERNEL_OFFSET && end <= layout::Image::get().end;
        (in_direct_map || in_image).then(|| layout::physical(start))
    }
}

const _: () = assert!(PAGE_SIZE == 4096, "the drivers' pages are the allocator's");
