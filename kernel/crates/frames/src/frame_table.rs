//! The eight bytes that describe each frame, and how they are found.
//!
//! Physical memory is cut into sections of 128 MiB. A table has for each section where the descriptions of
//! its frames lie, so that a hole (as between the end of low memory and 4 GiB) costs nothing, and finding a
//! description takes two loads. The descriptions of a section cover whole 4 MiB blocks, hence the buddy of a
//! described frame is always described too.

use core::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{MAX_ORDER, PAGE_SIZE};

/// Logarithm of the frames in a section: 2^15, 128 MiB.
pub const SECTION_SHIFT: u32 = 15;
/// Frames in a section.
pub const SECTION_FRAMES: u32 = 1 << SECTION_SHIFT;
const BLOCK_FRAMES: u32 = 1 << MAX_ORDER;

/// What a frame is used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// Not the allocator's: not RAM, the kernel's own image, or these descriptions.
    Reserved,
    /// First frame of a free block of this order on an arena's list.
    Free(u32),
    /// First frame of a block of this order that somebody owns.
    Allocated(u32),
    /// In a CPU's cache.
    Cached,
    /// Not the first frame of its block.
    Tail,
}

impl FrameState {
    const fn encode(self) -> u32 {
        match self {
            Self::Reserved => 0,
            Self::Free(order) => 1 | order << 8,
            Self::Allocated(order) => 2 | order << 8,
            Self::Cached => 3,
            Self::Tail => 4,
        }
    }

    const fn decode(word: u32) -> Self {
        match word & 0xff {
            1 => Self::Free(word >> 8),
            2 => Self::Allocated(word >> 8),
            3 => Self::Cached,
            4 => Self::Tail,
            _ => Self::Reserved,
        }
    }
}

/// What is kept about a frame. All zeros is a reserved frame.
#[repr(C)]
pub struct FrameInfo {
    state: AtomicU32,
    /// References to a single allocated frame, or to an allocated block by its first frame. In a free block,
    /// a link (see `buddy`).
    pub references: AtomicU32,
}

impl FrameInfo {
    pub fn state(&self) -> FrameState {
        // Relaxed: whoever acts on a state owns the frame or holds its arena's lock.
        FrameState::decode(self.state.load(Ordering::Relaxed))
    }

    pub fn set_state(&self, state: FrameState) {
        self.state.store(state.encode(), Ordering::Relaxed);
    }
}

/// One section of physical memory.
#[derive(Clone, Copy)]
#[repr(C)]
struct Section {
    /// Description of the frame `first`, or null if nothing here is RAM.
    infos: *const FrameInfo,
    first: u32,
    /// Frames described, and the arena that they belong to.
    frames: u16,
    arena: u16,
}

/// The descriptions of all frames.
pub struct FrameTable {
    sections: &'static [Section],
}

// SAFETY: the table is not changed after it has been made, and what it points to are atomics.
unsafe impl Send for FrameTable {}
// SAFETY: as above.
unsafe impl Sync for FrameTable {}

/// The part of section `section` that needs descriptions: from the first to the last frame of RAM
/// in it, in whole blocks of the largest order.
fn described(regions: &[Range<u32>], section: u32) -> Option<Range<u32>> {
    let (start, end) = (section << SECTION_SHIFT, (section + 1) << SECTION_SHIFT);
    regions
        .iter()
        .map(|region| region.start.max(start)..region.end.min(end))
        .filter(|part| !part.is_empty())
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .map(|part| part.start & !(BLOCK_FRAMES - 1)..part.end.next_multiple_of(BLOCK_FRAMES))
}

fn section_count(regions: &[Range<u32>]) -> u32 {
    regions.iter().map(|region| region.end.div_ceil(SECTION_FRAMES)).max().unwrap_or(0)
}

impl FrameTable {
    /// Bytes that the table for `regions` (in frames) takes.
    pub fn size_bytes(regions: &[Range<u32>]) -> usize {
        let sections = section_count(regions);
        let infos: usize = (0..sections).filter_map(|s| described(regions, s)).map(|r| r.len()).sum();
        sections as usize * size_of::<Section>() + infos * size_of::<FrameInfo>()
    }

    /// Makes the table for `regions` at `memory`, and spreads its sections over `arenas` arenas.
    ///
    /// # Safety
    /// `memory` is page-aligned, valid for [`size_bytes`](Self::size_bytes) bytes for good, and
    /// nobody else's.
    pub unsafe fn new_at(memory: *mut u8, regions: &[Range<u32>], arenas: usize) -> Self {
        debug_assert!(memory.addr().is_multiple_of(PAGE_SIZE));
        // SAFETY: the caller gives the memory; all zeros is a valid `FrameInfo`.
        unsafe { memory.write_bytes(0, Self::size_bytes(regions)) };
        let count = section_count(regions) as usize;
        let populated = (0..count as u32).filter(|&s| described(regions, s).is_some()).count();
        let sections = memory.cast::<Section>();
        // SAFETY: `sections` has room for `count` sections by `size_bytes`; the infos come after it.
        let mut infos = unsafe { sections.add(count) }.cast::<FrameInfo>();
        let mut ordinal = 0;
        for index in 0..count {
            let section = match described(regions, index as u32) {
                None => Section { infos: core::ptr::null(), first: 0, frames: 0, arena: 0 },
                Some(range) => {
                    // Neighbours share an arena: each arena has one contiguous part of memory.
                    let arena = (ordinal * arenas / populated) as u16;
                    ordinal += 1;
                    let this = infos;
                    // SAFETY: `size_bytes` counted these too.
                    infos = unsafe { infos.add(range.len()) };
                    Section { infos: this, first: range.start, frames: range.len() as u16, arena }
                }
            };
            // SAFETY: `index < count`; the memory is aligned to a page.
            unsafe { sections.add(index).write(section) };
        }
        // SAFETY: all `count` sections have just been written, and stay for good.
        Self { sections: unsafe { core::slice::from_raw_parts(sections, count) } }
    }

    fn section(&self, frame: u32) -> &Section {
        &self.sections[(frame >> SECTION_SHIFT) as usize]
    }

    /// The description of a frame. Panics if the frame is in no region.
    #[inline]
    pub fn info(&self, frame: u32) -> &FrameInfo {
        let section = self.section(frame);
        let index = frame.wrapping_sub(section.first);
        assert!(index < u32::from(section.frames), "frame {frame:#x} is not in managed memory");
        // SAFETY: the section describes `frames` frames from `first`, and the index is below that.
        unsafe { &*section.infos.add(index as usize) }
    }

    /// Which arena the frame belongs to.
    #[inline]
    pub fn arena_of(&self, frame: u32) -> usize {
        usize::from(self.section(frame).arena)
    }
}
