//! The kernel's own mappings: the direct map, the kernel image with its permissions, device registers,
//! kernel stacks.
//!
//! All CPUs use one page-table root. Its upper half is complete, down to the second level, before another
//! CPU or the application runs, so it never has to be copied anywhere. The lower half is the application's
//! and belongs to `mm`. [`KERNEL_TABLES`] guards changes of the upper half.

use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use ksync::SpinLock;
use x86_64::{
    PhysAddr, VirtAddr,
    registers::control::{Cr3, Cr3Flags},
    structures::paging::{
        FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size1GiB,
        Size2MiB, Size4KiB, mapper::MapToError,
    },
};

use super::{cpu, layout};

/// Physical address of the page-table root; below 4 GiB. Other CPUs load it in `boot.s`.
#[unsafe(no_mangle)]
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
static KERNEL_TABLES: SpinLock<()> = SpinLock::new(());
static NEXT_MMIO: AtomicU64 = AtomicU64::new(layout::MMIO);

const KERNEL_DATA: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::GLOBAL)
    .union(PageTableFlags::NO_EXECUTE);

/// Page-table pages before there is a frame allocator: taken from the front of a range of free memory.
struct EarlyFrames(Range<u64>);

// SAFETY: each frame is handed out once, and the range is free memory.
unsafe impl FrameAllocator<Size4KiB> for EarlyFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        if self.0.is_empty() {
            return None;
        }
        let frame = self.0.start;
        self.0.start += 4096;
        // SAFETY: free memory below 4 GiB, which the boot page tables map.
        unsafe { layout::direct::<u8>(frame).write_bytes(0, 4096) };
        Some(PhysFrame::containing_address(PhysAddr::new(frame)))
    }
}

/// Page-table pages from the frame allocator.
struct Frames;

// SAFETY: the allocator hands out each frame once.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let page = frames::PageRef::new_zeroed().ok()?;
        Some(PhysFrame::containing_address(PhysAddr::new(page.into_raw().as_u64())))
    }
}

/// Builds the page tables for good and switches to them: all of `memory` in the direct map, the kernel image
/// with code read-only and data not executable, nothing where the boot code ran.
///
/// Returns the part of `early` that was not used.
///
/// # Safety
/// Once, on the boot CPU, under the boot page tables. `early` is free memory below 4 GiB.
pub unsafe fn init(memory: &[Range<u64>], early: Range<u64>) -> Range<u64> {
    let mut early = EarlyFrames(early);
    let root = early.allocate_frame().expect("the early range is not empty").start_address().as_u64();
    // SAFETY: the root was just allocated and zeroed; physical memory is visible at DIRECT_MAP.
    let mut tables = unsafe {
        OffsetPageTable::new(&mut *layout::direct::<PageTable>(root), VirtAddr::new(layout::DIRECT_MAP))
    };

    // The first 4 GiB whole, holes included: firmware tables lie in reserved memory. Device registers there
    // are used through `map_mmio` only; the memory types of the MTRRs keep speculation away from them.
    let first = 0..4u64 << 30;
    for range in core::iter::once(&first).chain(memory.iter().filter(|range| range.end > first.end)) {
        map_direct(
            &mut tables,
            &mut early,
            range.start.max(if range == &first { 0 } else { first.end })..range.end,
        );
    }

    let image = layout::Image::get();
    let parts = [
        (image.text_start..image.text_end, PageTableFlags::PRESENT | PageTableFlags::GLOBAL),
        (
            image.text_end..image.rodata_end,
            PageTableFlags::PRESENT | PageTableFlags::GLOBAL | PageTableFlags::NO_EXECUTE,
        ),
        (image.rodata_end..image.end, KERNEL_DATA),
    ];
    for (range, flags) in parts {
        for address in range.step_by(4096) {
            map(&mut tables, &mut early, address, layout::physical(address), flags);
        }
    }
    // Give every part of the upper half its second level now.
    for area in [layout::KERNEL_STACKS, layout::MMIO, layout::LARGE_BLOCKS.start] {
        ensure_second_level(root, area, &mut early);
    }
    KERNEL_ROOT.store(root, Ordering::Release);
    // SAFETY: the new tables map all that the old ones did of what runs and is used now.
    unsafe { Cr3::write(PhysFrame::containing_address(PhysAddr::new(root)), Cr3Flags::empty()) };
    early.0
}

fn ensure_second_level(root: u64, address: u64, early: &mut EarlyFrames) {
    // SAFETY: the root is ours, and below 4 GiB.
    let root = unsafe { &mut *layout::direct::<PageTable>(root) };
    let entry = &mut root[VirtAddr::new(address).p4_index()];
    if entry.is_unused() {
        let frame = early.allocate_frame().expect("the early range is large enough");
        entry.set_addr(frame.start_address(), PageTableFlags::PRESENT | PageTableFlags::WRITABLE);
    }
}

/// Physical address of the page-table root.
pub fn root() -> u64 {
    KERNEL_ROOT.load(Ordering::Acquire)
}

fn map_direct(tables: &mut OffsetPageTable<'_>, frames: &mut EarlyFrames, range: Range<u64>) {
    const GIB: u64 = 1 << 30;
    const MIB2: u64 = 2 << 20;
    let mut address = range.start & !(MIB2 - 1);
    let end = range.end.next_multiple_of(MIB2);
    while address < end {
        let virt = VirtAddr::new(layout::DIRECT_MAP + address);
        let phys = PhysAddr::new(address);
        // SAFETY: the direct map is the kernel's own; an address that was mapped by a neighbouring range
        // already keeps its mapping, which is the same.
        let (result, step) = unsafe {
            if cpu::features().pages_1g && address.is_multiple_of(GIB) && address + GIB <= end {
                let page = Page::<Size1GiB>::containing_address(virt);
                let frame = PhysFrame::containing_address(phys);
                (
                    tables
                        .map_to(page, frame, KERNEL_DATA, frames)
                        .map(|f| f.ignore())
                        .map_err(|e| already(&e)),
                    GIB,
                )
            } else {
                let page = Page::<Size2MiB>::containing_address(virt);
                let frame = PhysFrame::containing_address(phys);
                (
                    tables
                        .map_to(page, frame, KERNEL_DATA, frames)
                        .map(|f| f.ignore())
                        .map_err(|e| already(&e)),
                    MIB2,
                )
            }
        };
        assert!(result != Err(false), "no memory for the page tables of the direct map");
        address += step;
    }
}

/// Whether mapping failed only because the page is mapped.
fn already<S: x86_64::structures::paging::PageSize>(error: &MapToError<S>) -> bool {
    !matches!(error, MapToError::FrameAllocationFailed)
}

fn map(
    tables: &mut OffsetPageTable<'_>,
    frames: &mut impl FrameAllocator<Size4KiB>,
    virt: u64,
    phys: u64,
    flags: PageTableFlags,
) {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(virt));
    let frame = PhysFrame::containing_address(PhysAddr::new(phys));
    // SAFETY: callers map kernel addresses that were not in use.
    match unsafe { tables.map_to(page, frame, flags, frames) } {
        // Not-present entries are not cached (SDM vol. 3, 4.10.2.3), so a new mapping needs no flush.
        Ok(flush) => flush.ignore(),
        Err(error) => panic!("cannot map {virt:#x}: {error:?}"),
    }
}

fn with_tables<T>(f: impl FnOnce(&mut OffsetPageTable<'_>) -> T) -> T {
    let _guard = KERNEL_TABLES.lock();
    // SAFETY: the root is valid for ever; the lock makes us the only one to change the upper half.
    let mut tables = unsafe {
        OffsetPageTable::new(&mut *layout::direct::<PageTable>(root()), VirtAddr::new(layout::DIRECT_MAP))
    };
    f(&mut tables)
}

/// Maps device registers, uncached, and returns where. They stay mapped.
pub fn map_mmio(phys: u64, len: usize) -> *mut u8 {
    let start = phys & !0xfff;
    let end = layout::page_up(phys + len as u64);
    let virt = NEXT_MMIO.fetch_add(end - start, Ordering::Relaxed);
    let flags = KERNEL_DATA | PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH;
    with_tables(|tables| {
        for offset in (0..end - start).step_by(4096) {
            map(tables, &mut Frames, virt + offset, start + offset, flags);
        }
    });
    (virt + (phys - start)) as *mut u8
}

/// Maps fresh zeroed memory at `range`, whose pages were not mapped. Used for kernel stacks and large blocks
/// of the heap.
pub fn map_fresh(range: Range<u64>) -> Result<(), frames::OutOfMemory> {
    for address in range.clone().step_by(4096) {
        let page = match frames::PageRef::new_zeroed() {
            Ok(page) => page,
            Err(error) => {
                unmap_fresh(range.start..address);
                return Err(error);
            }
        };
        let phys = page.into_raw().as_u64();
        with_tables(|tables| map(tables, &mut Frames, address, phys, KERNEL_DATA));
    }
    Ok(())
}

/// Unmaps what [`map_fresh`] mapped and frees the memory, after every CPU has flushed its TLB. May wait.
pub fn unmap_fresh(range: Range<u64>) {
    let mut freed = alloc::vec::Vec::with_capacity(((range.end - range.start) / 4096) as usize);
    for address in range.clone().step_by(4096) {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(address));
        match with_tables(|tables| tables.unmap(page)) {
            Ok((frame, flush)) => {
                flush.ignore();
                freed.push(frame.start_address().as_u64());
            }
            Err(error) => panic!("cannot unmap {address:#x}: {error:?}"),
        }
    }
    crate::mm::flush_kernel_range(range);
    for phys in freed {
        // SAFETY: the page was the mapping's, which is gone, also from every TLB.
        drop(unsafe { frames::PageRef::from_raw(frames::PhysAddr::new(phys)) });
    }
}
