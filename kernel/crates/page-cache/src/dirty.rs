//! Dirty pages, and writing them back.
//!
//! A page whose write fails stays dirty: it is tried again with every write-back, so that a second `fsync(2)`
//! which succeeds has written it. (Linux takes it for clean, and its second `fsync` succeeds with the data lost.)
//! The failure is recorded in [`PageCache::write_errors`] whoever was writing. What bounds the memory that such
//! pages take: a file that cannot be written takes no more data once dirty pages are beyond the limit.

use alloc::{collections::BTreeSet, vec, vec::Vec};
use core::{
    ops::{Range, RangeBounds},
    sync::atomic::{AtomicUsize, Ordering},
};

use frames::{PAGE_SIZE, PageRef};
use ksync::platform;
use linux_abi::Errno;

use crate::{
    PageCache, PageSource, Protection,
    cache::{PAGE, State},
    limits,
};

/// Most pages written with one call: 1 MiB.
const RUN_PAGES: usize = 256;
/// What somebody who makes pages dirty writes back when there are too many: 1 MiB.
pub(crate) const PAYMENT_PAGES: usize = RUN_PAGES;

/// Dirty pages of all files.
static DIRTY_PAGES: AtomicUsize = AtomicUsize::new(0);
/// Pages that are being written at this moment.
static WRITEBACK_PAGES: AtomicUsize = AtomicUsize::new(0);

/// Dirty pages of all files.
pub fn dirty_pages() -> usize {
    DIRTY_PAGES.load(Ordering::Relaxed)
}

/// Pages that are being written at this moment.
pub fn writeback_pages() -> usize {
    WRITEBACK_PAGES.load(Ordering::Relaxed)
}

/// The dirty pages of a file, which are counted among those of all files.
#[derive(Default)]
pub(crate) struct DirtySet {
    indices: BTreeSet<u64>,
    /// When the first of them became dirty.
    since_ns: Option<u64>,
}

impl DirtySet {
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        let is_new = self.indices.insert(index);
        if is_new {
            DIRTY_PAGES.fetch_add(1, Ordering::Relaxed);
            self.since_ns.get_or_insert_with(platform::now_ns);
        }
        is_new
    }

    fn remove(&mut self, index: u64) -> bool {
        let was_there = self.indices.remove(&index);
        self.removed(usize::from(was_there));
        was_there
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.indices.contains(&index)
    }

    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    /// Removes all from `first` on, and returns how many.
    pub(crate) fn remove_from(&mut self, first: u64) -> usize {
        let removed = self.indices.split_off(&first).len();
        self.removed(removed);
        removed
    }

    fn removed(&mut self, count: usize) {
        DIRTY_PAGES.fetch_sub(count, Ordering::Relaxed);
        if self.indices.is_empty() {
            self.since_ns = None;
        }
    }

    fn range(&self, range: impl RangeBounds<u64>) -> impl Iterator<Item = u64> {
        self.indices.range(range).copied()
    }
}

impl Drop for DirtySet {
    fn drop(&mut self) {
        DIRTY_PAGES.fetch_sub(self.indices.len(), Ordering::Relaxed);
    }
}

impl PageCache {
    /// Writes the dirty pages in `first..last` back: all that can be written, whatever becomes of the others.
    /// The first error.
    pub fn write_back(&self, source: &dyn PageSource, first: u64, last: u64) -> Result<(), Errno> {
        self.write_back_some(source, first..last, usize::MAX)
    }

    /// Writes all dirty pages back.
    pub fn write_back_all(&self, source: &dyn PageSource) -> Result<(), Errno> {
        self.write_back(source, 0, u64::MAX)
    }

    /// Writes dirty pages in `range` back until at least `enough` are.
    fn write_back_some(
        &self,
        source: &dyn PageSource,
        range: Range<u64>,
        enough: usize,
    ) -> Result<(), Errno> {
        let _alone = self.writebacks.lock();
        let mut from = range.start;
        let mut written = 0;
        let mut result = Ok(());
        let mut buffer = Vec::new();
        while written < enough
            && let Some(run) = self.next_run(source, from..range.end)
        {
            from = run.first + run.pages.len() as u64;
            written += run.pages.len();
            let outcome = self.write_run(source, run, &mut buffer);
            if let Err(error) = outcome {
                self.write_errors.record(error);
            }
            result = result.and(outcome);
        }
        if written > 0 {
            self.state.lock().is_failing = result.is_err();
        }
        result
    }

    fn write_run(&self, source: &dyn PageSource, run: Run, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        let bytes = ((run.size - run.first * PAGE) as usize).min(run.pages.len() * PAGE_SIZE);
        if buffer.len() < run.pages.len() * PAGE_SIZE {
            *buffer = vec![0; run.pages.len() * PAGE_SIZE];
        }
        // A copy: the application may be writing to the pages.
        for (page, part) in run.pages.iter().zip(buffer.chunks_exact_mut(PAGE_SIZE)) {
            page.read(0, part);
        }
        WRITEBACK_PAGES.fetch_add(run.pages.len(), Ordering::Relaxed);
        let result = source.write_bytes(run.first * PAGE, &buffer[..bytes]);
        WRITEBACK_PAGES.fetch_sub(run.pages.len(), Ordering::Relaxed);
        let cleaned = run.cleaned.len();
        let again = match result {
            // The pages, which `run` keeps from being evicted until here, are on storage.
            Ok(()) => 0,
            Err(_) => {
                let mut state = self.state.lock();
                run.cleaned.into_iter().filter(|index| state.dirty.insert(*index)).count()
            }
        };
        // Those that were made dirty anew meanwhile were reserved for anew, too.
        source.release_pages(cleaned - again);
        result
    }

    /// Dirty pages.
    pub fn dirty_count(&self) -> usize {
        self.state.lock().dirty.len()
    }

    /// Since when there have been dirty pages; `None` if there are none.
    pub fn dirty_since_ns(&self) -> Option<u64> {
        self.state.lock().dirty.since_ns
    }

    /// Whether a page may become dirty: not if there are too many already, and those of this file cannot be written.
    pub(crate) fn may_dirty(&self) -> Result<(), Errno> {
        let is_full = || dirty_pages() > limits::current().foreground;
        if self.state.lock().is_failing && is_full() { Err(Errno::EIO) } else { Ok(()) }
    }

    /// After pages were made dirty: has the writer thread, or the caller, write some back if there are too many. What
    /// fails is recorded, and reported by `fsync(2)`.
    pub(crate) fn balance(&self, source: &dyn PageSource) {
        let limits = limits::current();
        let dirty = dirty_pages();
        if dirty > limits.background {
            limits::wake_writer();
        }
        if dirty > limits.foreground {
            // Of his own file: so each who writes pays about what he takes, and nobody waits for others.
            let _ = self.write_back_some(source, 0..u64::MAX, PAYMENT_PAGES);
        }
    }

    /// Takes the next run of neighbouring dirty pages in `range`, as clean but for those that a mapping may go
    /// on writing unseen.
    fn next_run(&self, source: &dyn PageSource, range: Range<u64>) -> Option<Run> {
        let mut run = {
            let mut state = self.state.lock();
            let State { size, pages, dirty, .. } = &mut *state;
            let first = dirty.range(range.clone()).next()?;
            let mut run =
                Run { first, size: *size, pages: Vec::new(), cleaned: Vec::new(), mapped: Vec::new() };
            let indices: Vec<u64> = dirty.range(first..range.end).take(RUN_PAGES).collect();
            for (index, expected) in indices.into_iter().zip(first..) {
                if index != expected {
                    break;
                }
                let Some(cached) = pages.get_mut(&index) else {
                    unreachable!("a dirty page stays in the cache");
                };
                if core::mem::take(&mut cached.mapped_writable) && cached.page.ref_count() > 1 {
                    run.mapped.push(index);
                }
                dirty.remove(index);
                run.cleaned.push(index);
                run.pages.push(cached.page.clone());
            }
            run
        };
        if let (Some(first), Some(last)) = (run.mapped.first(), run.mapped.last())
            && source.write_protect(*first..*last + 1) == Protection::Impossible
        {
            self.keep_dirty(source, &mut run);
        }
        Some(run)
    }

    /// Puts mapped pages back among the dirty ones, since the next write to them would not be noticed.
    fn keep_dirty(&self, source: &dyn PageSource, run: &mut Run) {
        let mut twice = 0;
        {
            let mut state = self.state.lock();
            for index in &run.mapped {
                if let Some(cached) = state.pages.get_mut(index) {
                    cached.mapped_writable = true;
                }
                twice += usize::from(!state.dirty.insert(*index));
            }
        }
        let Run { cleaned, mapped, .. } = run;
        cleaned.retain(|index| mapped.binary_search(index).is_err());
        source.release_pages(twice);
    }
}

/// Neighbouring pages to be written.
struct Run {
    first: u64,
    /// Size of the file.
    size: u64,
    pages: Vec<PageRef>,
    /// Which of them are no longer marked as dirty.
    cleaned: Vec<u64>,
    /// Which of them were writable through mappings, in order.
    mapped: Vec<u64>,
}
