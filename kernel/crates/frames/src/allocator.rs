//! The allocator of the machine: arenas, the caches in front of them, and reclaim behind.

use core::{
    array,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use ksync::{SpinLock, platform};

use crate::{
    MAX_CPUS, MAX_ORDER, OutOfMemory, PAGE_SHIFT, PAGE_SIZE, PhysAddr,
    buddy::{Arena, Memory},
    cpu_cache::{BATCH, CpuCache, FrameStack},
    frame_table::{FrameInfo, FrameState, FrameTable},
    reclaim::{self, Outcome},
};

const MAX_ARENAS: usize = 32;
/// Memory for which there is one arena, at least. Fewer would contend, more would break up more
/// large blocks.
const ARENA_FRAMES: usize = 512 << (20 - PAGE_SHIFT);
const MAX_REGIONS: usize = 64;
/// How often reclaim is asked before an allocation fails although reclaim says it frees something.
const RECLAIM_ROUNDS: usize = 16;
/// Least number of frames to reclaim at once: going through a cache for one page does not pay.
const RECLAIM_FRAMES: usize = 64;
/// The share of all frames that is kept for those who can neither wait for reclaim nor fail, and its largest size:
/// 8 MiB. Everybody else has memory reclaimed before it is touched (Linux's `min_free_kbytes`).
const RESERVE_SHARE: usize = 128;
const MAX_RESERVE_FRAMES: usize = 2048;

/// Numbers of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// All that can ever be allocated.
    pub total: usize,
    /// Neither allocated nor in a cache.
    pub free: usize,
    /// Free, in CPUs' caches.
    pub cached: usize,
    /// Taken by the descriptions of the frames; not part of `total`.
    pub metadata: usize,
}

/// Frames of one machine, or of one test.
pub(crate) struct FrameAllocator {
    layout: spin::Once<Layout>,
    arenas: [SpinLock<Arena>; MAX_ARENAS],
    caches: [CpuCache; MAX_CPUS],
    /// Free frames in the arenas, as of a moment ago.
    free: AtomicUsize,
}

struct Layout {
    table: FrameTable,
    arena_count: usize,
    direct_map_offset: usize,
    total_frames: usize,
    metadata_frames: usize,
}

impl FrameAllocator {
    pub(crate) const fn new() -> Self {
        Self {
            layout: spin::Once::new(),
            arenas: [const { SpinLock::new(Arena::new()) }; MAX_ARENAS],
            caches: [const { CpuCache::new() }; MAX_CPUS],
            free: AtomicUsize::new(0),
        }
    }

    /// # Safety
    /// As for [`init`].
    pub(crate) unsafe fn init(&self, regions: &[Range<u64>], direct_map_offset: usize) {
        assert!(regions.len() <= MAX_REGIONS, "more than {MAX_REGIONS} regions of memory");
        let mut storage: [Range<u32>; MAX_REGIONS] = array::from_fn(|_| 0..0);
        let mut count = 0;
        for region in regions {
            // Frame 0 marks the end of lists.
            let start = region.start.div_ceil(PAGE_SIZE as u64).max(1);
            let end = region.end >> PAGE_SHIFT;
            if start < end {
                let end = u32::try_from(end).expect("memory beyond 16 TiB");
                storage[count] = start as u32..end;
                count += 1;
            }
        }
        let regions = &mut storage[..count];
        regions.sort_unstable_by_key(|region| region.start);
        assert!(regions.windows(2).all(|pair| pair[0].end <= pair[1].start), "regions of memory overlap");
        let all_frames: usize = regions.iter().map(|region| region.len()).sum();

        let metadata_frames = FrameTable::size_bytes(regions).div_ceil(PAGE_SIZE);
        let arena_count = (all_frames / ARENA_FRAMES).clamp(1, MAX_ARENAS);
        let home = regions.iter().max_by_key(|region| region.len()).expect("no memory").clone();
        assert!(home.len() > metadata_frames, "no room for the descriptions of the frames");
        let memory = direct_map_offset.wrapping_add((home.start as usize) << PAGE_SHIFT) as *mut u8;
        // SAFETY: the caller gives us the regions, mapped at the offset; `home` has room.
        let table = unsafe { FrameTable::new_at(memory, regions, arena_count) };
        let layout = self.layout.call_once(|| Layout {
            table,
            arena_count,
            direct_map_offset,
            total_frames: all_frames - metadata_frames,
            metadata_frames,
        });
        for region in regions.iter() {
            let mut start = region.start;
            if *region == home {
                start += metadata_frames as u32;
            }
            while start < region.end {
                // An arena's part of memory ends between sections.
                let section_end = (start + 1).next_multiple_of(crate::frame_table::SECTION_FRAMES);
                let end = section_end.min(region.end);
                self.arenas[layout.table.arena_of(start)].lock().add_range(layout.memory(), start..end);
                self.free.fetch_add((end - start) as usize, Ordering::Relaxed);
                start = end;
            }
        }
    }

    fn layout(&self) -> &Layout {
        self.layout.get().expect("frames::init has not run")
    }

    pub(crate) fn info(&self, frame: u32) -> &FrameInfo {
        self.layout().table.info(frame)
    }

    fn cache(&self) -> &SpinLock<FrameStack> {
        // Should the thread move to another CPU before it takes the lock, it uses a cache that is
        // not its CPU's: slower, not wrong.
        &self.caches[platform::cpu_index() % MAX_CPUS].0
    }

    /// A block without asking for memory back, even from the reserve. The block's first frame has one reference.
    pub(crate) fn try_alloc(&self, order: u32) -> Option<u32> {
        assert!(order <= MAX_ORDER, "no blocks of order {order}");
        let frame = if order == 0 { self.alloc_single() } else { self.alloc_from_arenas(order) }?;
        self.info(frame).references.store(1, Ordering::Relaxed);
        Some(frame)
    }

    /// Like [`try_alloc`](Self::try_alloc), but not from the reserve.
    fn try_alloc_keeping_reserve(&self, order: u32) -> Option<u32> {
        if self.missing_frames(order) == 0 {
            return self.try_alloc(order);
        }
        if order > 0 {
            return None;
        }
        // What is in a cache has left the arenas, and is no reserve.
        let frame = self.pop_cached(&mut self.cache().lock())?;
        self.info(frame).references.store(1, Ordering::Relaxed);
        Some(frame)
    }

    /// How many frames have to become free before a block is not from the reserve.
    fn missing_frames(&self, order: u32) -> usize {
        let reserve = (self.layout().total_frames / RESERVE_SHARE).min(MAX_RESERVE_FRAMES);
        (reserve + (1 << order)).saturating_sub(self.free.load(Ordering::Relaxed))
    }

    fn alloc_single(&self) -> Option<u32> {
        {
            let mut cache = self.cache().lock();
            if cache.len() == 0 {
                self.refill(&mut cache);
            }
            if let Some(frame) = self.pop_cached(&mut cache) {
                return Some(frame);
            }
        }
        // No arena has any. The other CPUs' caches may.
        self.drain_caches();
        self.alloc_from_arenas(0)
    }

    fn pop_cached(&self, cache: &mut FrameStack) -> Option<u32> {
        let frame = cache.pop()?;
        debug_assert_eq!(self.info(frame).state(), FrameState::Cached);
        self.info(frame).set_state(FrameState::Allocated(0));
        Some(frame)
    }

    fn refill(&self, cache: &mut FrameStack) {
        let layout = self.layout();
        let had = cache.len();
        for arena in self.arenas_by_preference() {
            let mut arena = arena.lock();
            while cache.len() < BATCH {
                let Some(frame) = arena.alloc(layout.memory(), 0) else { break };
                layout.table.info(frame).set_state(FrameState::Cached);
                cache.push(frame);
            }
            if cache.len() >= BATCH {
                break;
            }
        }
        self.free.fetch_sub(cache.len() - had, Ordering::Relaxed);
    }

    /// The arenas, beginning with the one that this CPU shares with the fewest others.
    fn arenas_by_preference(&self) -> impl Iterator<Item = &SpinLock<Arena>> {
        let count = self.layout().arena_count;
        let first = platform::cpu_index() % count;
        (0..count).map(move |n| &self.arenas[(first + n) % count])
    }

    fn alloc_from_arenas(&self, order: u32) -> Option<u32> {
        let memory = self.layout().memory();
        let frame = self.arenas_by_preference().find_map(|arena| arena.lock().alloc(memory, order))?;
        self.free.fetch_sub(1 << order, Ordering::Relaxed);
        Some(frame)
    }

    fn alloc(&self, order: u32) -> Result<u32, OutOfMemory> {
        if let Some(frame) = self.try_alloc_keeping_reserve(order) {
            return Ok(frame);
        }
        self.alloc_by_reclaim(order)
    }

    #[cold]
    fn alloc_by_reclaim(&self, order: u32) -> Result<u32, OutOfMemory> {
        for _ in 0..RECLAIM_ROUNDS {
            // Frames in caches are neither merged nor seen by the larger orders.
            self.drain_caches();
            if let Some(frame) = self.try_alloc_keeping_reserve(order) {
                return Ok(frame);
            }
            let wanted = RECLAIM_FRAMES.max(1 << order) + self.missing_frames(order);
            if reclaim::reclaim(wanted) == Outcome::GiveUp {
                break;
            }
        }
        self.drain_caches();
        self.try_alloc_keeping_reserve(order).ok_or(OutOfMemory)
    }

    /// Gives back a block that nobody has a reference to.
    pub(crate) fn free(&self, frame: u32, order: u32) {
        let layout = self.layout();
        let info = layout.table.info(frame);
        assert_eq!(
            info.state(),
            FrameState::Allocated(order),
            "frame {frame:#x} is freed but not so allocated"
        );
        if order == 0 {
            info.set_state(FrameState::Cached);
            let mut cache = self.cache().lock();
            if cache.is_full() {
                self.drain(&mut cache, BATCH);
            }
            cache.push(frame);
        } else {
            self.arenas[layout.table.arena_of(frame)].lock().free(layout.memory(), frame, order);
            self.free.fetch_add(1 << order, Ordering::Relaxed);
        }
    }

    fn drain(&self, cache: &mut FrameStack, count: usize) {
        let layout = self.layout();
        let had = cache.len();
        cache.take_coldest(count, |frame| {
            self.arenas[layout.table.arena_of(frame)].lock().free(layout.memory(), frame, 0);
        });
        self.free.fetch_add(had - cache.len(), Ordering::Relaxed);
    }

    fn drain_caches(&self) {
        for cache in &self.caches {
            self.drain(&mut cache.0.lock(), usize::MAX);
        }
    }

    /// Makes 2^order single frames of an allocated block, each with one reference.
    pub(crate) fn split(&self, frame: u32, order: u32) {
        assert_eq!(self.info(frame).state(), FrameState::Allocated(order));
        for frame in frame..frame + (1 << order) {
            let info = self.info(frame);
            info.set_state(FrameState::Allocated(0));
            info.references.store(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let layout = self.layout();
        Statistics {
            total: layout.total_frames,
            free: self.arenas[..layout.arena_count].iter().map(|arena| arena.lock().free_frames()).sum(),
            cached: self.caches.iter().map(|cache| cache.0.lock().len()).sum(),
            metadata: layout.metadata_frames,
        }
    }
}

impl Layout {
    fn memory(&self) -> Memory<'_> {
        Memory { table: &self.table, direct_map_offset: self.direct_map_offset }
    }
}

pub(crate) static FRAMES: FrameAllocator = FrameAllocator::new();

/// The direct map's offset, beside the layout for the sake of a quick [`PhysAddr::as_ptr`].
static DIRECT_MAP_OFFSET: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn direct_map(address: PhysAddr) -> *mut u8 {
    DIRECT_MAP_OFFSET.load(Ordering::Relaxed).wrapping_add(address.as_u64() as usize) as *mut u8
}

/// Gives the allocator the usable `regions` of physical memory (byte ranges, in any order), which
/// are mapped at `direct_map_offset` plus their physical address. Once, before anything else here.
///
/// # Safety
/// The regions are RAM that nothing uses and nothing but this allocator will use, mapped writable at
/// the offset for good.
pub unsafe fn init(regions: &[Range<u64>], direct_map_offset: usize) {
    DIRECT_MAP_OFFSET.store(direct_map_offset, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { FRAMES.init(regions, direct_map_offset) }
}

/// Takes a block of 2^order frames, aligned to its size, with arbitrary contents. Asks for memory
/// back (and so may wait, if interrupts are unmasked) before it fails.
pub fn alloc_frames(order: u32) -> Result<PhysAddr, OutOfMemory> {
    FRAMES.alloc(order).map(PhysAddr::of_frame)
}

/// Like [`alloc_frames`], and fails rather than ask for memory back: for blocks that are a bonus,
/// such as huge pages.
pub fn try_alloc_frames(order: u32) -> Result<PhysAddr, OutOfMemory> {
    FRAMES.try_alloc_keeping_reserve(order).map(PhysAddr::of_frame).ok_or(OutOfMemory)
}

/// Like [`try_alloc_frames`], from the reserve too: for the kernel's own heap, most of whose users cannot fail.
pub fn alloc_reserved_frames(order: u32) -> Result<PhysAddr, OutOfMemory> {
    FRAMES.try_alloc(order).map(PhysAddr::of_frame).ok_or(OutOfMemory)
}

/// Gives back a block.
///
/// # Safety
/// `address` is of a block of exactly this order from [`alloc_frames`] or [`try_alloc_frames`],
/// which nobody uses from now on: not a mapping, a stale TLB entry, or a device.
pub unsafe fn free_frames(address: PhysAddr, order: u32) {
    FRAMES.free(address.frame_number(), order);
}

/// Numbers of frames now; a moving target, taken piece by piece.
pub fn statistics() -> Statistics {
    FRAMES.statistics()
}

#[cfg(test)]
#[path = "allocator_tests.rs"]
mod tests;
