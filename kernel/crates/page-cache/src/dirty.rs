//! Dirty pages, and writing them back.

use alloc::{vec, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use frames::{PAGE_SIZE, PageRef};
use linux_abi::Errno;

use crate::{
    PageCache, PageSource,
    cache::{PAGE, State},
};

/// Most pages written with one call: 1 MiB.
const RUN_PAGES: usize = 256;
/// Dirty pages of a file beyond which its writer writes them back: 32 MiB.
const MAX_DIRTY_PAGES: usize = 8192;
/// The share of all memory that one file may make dirty.
const MAX_DIRTY_SHARE: usize = 16;

impl PageCache {
    /// Writes the dirty pages in `first..last` back.
    pub fn write_back(&self, source: &dyn PageSource, first: u64, last: u64) -> Result<(), Errno> {
        let _alone = self.writebacks.lock();
        let mut from = first;
        let mut buffer = Vec::new();
        while let Some(run) = self.next_run(from, last) {
            from = run.first + run.pages.len() as u64;
            let bytes = ((run.size - run.first * PAGE) as usize).min(run.pages.len() * PAGE_SIZE);
            if buffer.len() < run.pages.len() * PAGE_SIZE {
                buffer = vec![0; run.pages.len() * PAGE_SIZE];
            }
            // A copy: the application may be writing to the pages through mappings.
            for (page, part) in run.pages.iter().zip(buffer.chunks_exact_mut(PAGE_SIZE)) {
                page.read(0, part);
            }
            match source.write_bytes(run.first * PAGE, &buffer[..bytes]) {
                // The pages, which `run` keeps from being evicted until here, are on storage.
                Ok(()) => source.release_pages(run.cleaned.len()),
                Err(error) => {
                    let mut state = self.state.lock();
                    let cleaned = run.cleaned.len();
                    let again = run.cleaned.into_iter().filter(|index| state.dirty.insert(*index)).count();
                    drop(state);
                    // Those that were made dirty anew meanwhile were reserved for anew, too.
                    source.release_pages(cleaned - again);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes all dirty pages back.
    pub fn write_back_all(&self, source: &dyn PageSource) -> Result<(), Errno> {
        self.write_back(source, 0, u64::MAX)
    }

    /// Dirty pages.
    pub fn dirty_count(&self) -> usize {
        self.state.lock().dirty.len()
    }

    /// Writes dirty pages back if there are too many.
    pub(crate) fn write_back_excess(&self, source: &dyn PageSource) -> Result<(), Errno> {
        static LIMIT: AtomicUsize = AtomicUsize::new(0);
        let mut limit = LIMIT.load(Ordering::Relaxed);
        if limit == 0 {
            limit = (frames::statistics().total / MAX_DIRTY_SHARE).clamp(RUN_PAGES, MAX_DIRTY_PAGES);
            LIMIT.store(limit, Ordering::Relaxed);
        }
        if self.dirty_count() > limit { self.write_back_all(source) } else { Ok(()) }
    }

    /// Takes the next run of neighbouring dirty pages in `from..last`, as clean but for those that a
    /// mapping may go on writing.
    fn next_run(&self, from: u64, last: u64) -> Option<Run> {
        let mut state = self.state.lock();
        let State { size, pages, dirty, .. } = &mut *state;
        let first = *dirty.range(from..last).next()?;
        let mut run = Run { first, size: *size, pages: Vec::new(), cleaned: Vec::new() };
        let indices: Vec<u64> = dirty.range(first..last).take(RUN_PAGES).copied().collect();
        for (index, expected) in indices.into_iter().zip(first..) {
            if index != expected {
                break;
            }
            let Some(cached) = pages.get_mut(&index) else {
                unreachable!("a dirty page stays in the cache");
            };
            if cached.mapped_writable && cached.page.ref_count() > 1 {
                // Still mapped: the next write to it raises no fault, so it has to stay dirty.
            } else {
                cached.mapped_writable = false;
                dirty.remove(&index);
                run.cleaned.push(index);
            }
            run.pages.push(cached.page.clone());
        }
        Some(run)
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
}
