//! What a file's contents have in the lower file system: which of its pages still come from there.
//!
//! The lower file never changes, so a page of it is as good as one of ours until the first write to it. Ranges
//! of pages are given up by truncation and by holes; a page that was copied hides the lower one, whatever the
//! ranges say.

use alloc::{collections::BTreeMap, sync::Arc};
use core::ops::Range;

use frames::PAGE_SIZE;
use linux_abi::{Errno, file::Whence};
use vfs::{Inode, MemoryObject};

const PAGE: u64 = PAGE_SIZE as u64;

/// A regular file of the lower file system.
pub(crate) struct LowerFile {
    pub(crate) inode: Arc<dyn Inode>,
    /// Its pages.
    pub(crate) object: Arc<dyn MemoryObject>,
    /// Space that it takes, in pages.
    pub(crate) taken_pages: u64,
}

impl LowerFile {
    /// The file, and the pages that it has.
    pub(crate) fn new(inode: Arc<dyn Inode>, size: u64, blocks: u64) -> Result<(Self, LowerPages), Errno> {
        let object = inode.clone().memory_object()?;
        let pages = LowerPages::of_size(size);
        Ok((Self { inode, object, taken_pages: blocks.div_ceil(PAGE / 512) }, pages))
    }

    /// The start of the next data or hole at or after `offset`, below `end`: `None` if there is none.
    pub(crate) fn seek_region(&self, offset: u64, end: u64, whence: Whence) -> Result<Option<u64>, Errno> {
        match self.inode.seek_region(offset, whence) {
            Ok(found) => Ok(Some(found).filter(|found| *found < end)),
            Err(Errno::ENXIO) => Ok((whence == Whence::Hole).then_some(offset)),
            Err(error) => Err(error),
        }
    }
}

/// The pages that come from the lower file unless they were copied.
#[derive(Default)]
pub(crate) struct LowerPages {
    /// Start to end; the ranges neither touch nor overlap.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl LowerPages {
    fn of_size(size: u64) -> Self {
        let pages = size.div_ceil(PAGE);
        Self { ranges: (pages > 0).then_some((0, pages)).into_iter().collect(), count: pages }
    }

    /// The range that the page at `index` is in.
    pub(crate) fn range_at(&self, index: u64) -> Option<Range<u64>> {
        let (start, end) = self.ranges.range(..=index).next_back()?;
        (index < *end).then_some(*start..*end)
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.range_at(index).is_some()
    }

    /// The start of the first range above `index`.
    pub(crate) fn next_start(&self, index: u64) -> Option<u64> {
        self.ranges.range(index + 1..).next().map(|(start, _)| *start)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Gives `pages` up.
    pub(crate) fn remove(&mut self, pages: Range<u64>) {
        if pages.is_empty() {
            return;
        }
        let first = self.range_at(pages.start).map_or(pages.start, |range| range.start);
        let mut cut = self.ranges.split_off(&first);
        let mut rest = cut.split_off(&pages.end);
        self.ranges.append(&mut rest);
        for (start, end) in cut {
            self.count -= end - start;
            self.put(start..pages.start);
            self.put(pages.end..end);
        }
    }

    fn put(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.count += range.end - range.start;
            self.ranges.insert(range.start, range.end);
        }
    }
}
