//! The kernel heap: `talc` on frames, behind per-CPU caches of small blocks.
//!
//! Most allocations are small and of a few sizes; those are served from this CPU's own lists, with interrupts
//! masked and no lock. The lists are filled from and spilled to `talc` in batches, under [`TALC`]'s lock.
//! Memory comes from the frame allocator in chunks; whole pages and more could be had there directly, and
//! page-sized objects should be. Blocks above [`large::THRESHOLD`] are [`large`]'s.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering},
};

use ksync::SpinLock;
use talc::{
    base::{Talc, binning::Binning},
    source::Source,
};

use crate::arch::cpu;

mod large;

/// Memory asked from the frame allocator at a time: 2^order pages, at least.
const CHUNK_ORDER: u32 = 6;

/// Sizes that the per-CPU lists hold, ascending; alignments up to [`CACHED_ALIGN`].
const CLASSES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
const CACHED_ALIGN: usize = 16;
/// Blocks moved at a time between a list and `talc`.
const BATCH: usize = 16;
/// A list that grows past this is spilled.
const HIGH_WATER: usize = 3 * BATCH;

/// Bytes that the heap has taken from the frame allocator.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct FrameSource;

// SAFETY: memory comes from the frame allocator only, never from this heap.
unsafe impl Source for FrameSource {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        // Room for the block, its alignment and talc's own words.
        let pages = (layout.size() + layout.align() + 1024).div_ceil(frames::PAGE_SIZE);
        let wanted = pages.next_power_of_two().trailing_zeros();
        if wanted > frames::MAX_ORDER {
            return Err(());
        }
        // Under our lock nothing can be reclaimed, so there is a reserve. A chunk of it is enough for a while.
        let order = wanted.max(CHUNK_ORDER);
        let (address, order) = match frames::try_alloc_frames(order) {
            Ok(address) => (address, order),
            Err(_) => (frames::alloc_reserved_frames(wanted).map_err(|_| ())?, wanted),
        };
        let size = frames::PAGE_SIZE << order;
        TAKEN.fetch_add(size, Ordering::Relaxed);
        // SAFETY: the block is ours alone from now on.
        unsafe { talc.claim(address.as_ptr(), size) }.map(|_| ()).ok_or(())
    }
}

type Inner = Talc<FrameSource, talc::DefaultBinning>;

static TALC: SpinLock<Inner> = SpinLock::new(Talc::new(FrameSource));

/// A list of free blocks of one size; the first word of a block is the next block's address.
struct FreeList {
    head: *mut u8,
    count: usize,
}

struct CpuLists(UnsafeCell<[FreeList; CLASSES.len()]>);

// SAFETY: each CPU touches only its own entry, with interrupts masked.
unsafe impl Sync for CpuLists {}

static LISTS: [CpuLists; cpu::MAX_CPUS] = [const {
    CpuLists(UnsafeCell::new([const { FreeList { head: ptr::null_mut(), count: 0 } }; CLASSES.len()]))
}; cpu::MAX_CPUS];

impl FreeList {
    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.head)?;
        // SAFETY: a block on the list is free, and its first word links to the next.
        self.head = unsafe { block.cast::<*mut u8>().read() };
        self.count -= 1;
        Some(block)
    }

    /// # Safety
    /// `block` is a free block of this list's size.
    unsafe fn push(&mut self, block: NonNull<u8>) {
        // SAFETY: the block is ours, at least 16 bytes, aligned to 16.
        unsafe { block.cast::<*mut u8>().write(self.head) };
        self.head = block.as_ptr();
        self.count += 1;
    }
}

fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > CACHED_ALIGN || layout.size() > CLASSES[CLASSES.len() - 1] {
        return None;
    }
    CLASSES.iter().position(|size| *size >= layout.size())
}

fn class_layout(class: usize) -> Layout {
    Layout::from_size_align(CLASSES[class], CACHED_ALIGN).expect("valid sizes")
}

/// Runs `f` on this CPU's list of `class`, with interrupts masked.
fn with_list<T>(class: usize, f: impl FnOnce(&mut FreeList) -> T) -> T {
    let irq = ksync::platform::irq_save();
    // SAFETY: this CPU's own entry, and nothing on this CPU can come in between.
    let result = f(unsafe { &mut (*LISTS[cpu::index()].0.get())[class] });
    ksync::platform::irq_restore(irq);
    result
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

// SAFETY: `talc` is a correct allocator; the lists hand out its blocks, each to one owner at a time, large
// and aligned enough for their class.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            if layout.size() > large::THRESHOLD {
                return large::allocate(layout);
            }
            // SAFETY: the caller's layout.
            return unsafe { TALC.lock().allocate(layout) }.map_or(ptr::null_mut(), NonNull::as_ptr);
        };
        with_list(class, |list| {
            if list.head.is_null() {
                let mut talc = TALC.lock();
                for _ in 0..BATCH {
                    // SAFETY: a valid layout; the new block is nobody's.
                    match unsafe { talc.allocate(class_layout(class)) } {
                        // SAFETY: as above.
                        Some(block) => unsafe { list.push(block) },
                        None => break,
                    }
                }
            }
            list.pop().map_or(ptr::null_mut(), NonNull::as_ptr)
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            if layout.size() > large::THRESHOLD {
                // SAFETY: the caller's promise: allocated here with this layout.
                return unsafe { large::deallocate(block, layout) };
            }
            // SAFETY: the caller's promise: allocated here with this layout, so by `talc`.
            return unsafe { TALC.lock().deallocate(block, layout) };
        };
        let Some(block) = NonNull::new(block) else { return };
        with_list(class, |list| {
            // SAFETY: the caller gives the block back; it was allocated with this class's size.
            unsafe { list.push(block) };
            if list.count > HIGH_WATER {
                let mut talc = TALC.lock();
                for _ in 0..2 * BATCH {
                    let Some(block) = list.pop() else { break };
                    // SAFETY: the block came from `talc` with the class's layout.
                    unsafe { talc.deallocate(block.as_ptr(), class_layout(class)) };
                }
            }
        });
    }
}

/// Bytes that the heap holds, used or not.
pub fn taken_bytes() -> usize {
    TAKEN.load(Ordering::Relaxed)
}
