//! Eviction: clean pages that nobody uses, by second chance, when frames run short.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use ksync::Mutex;

use crate::{
    PageCache,
    cache::{Fill, State},
};

/// Most pages that one file gives at a time.
const MAX_BITE_PAGES: usize = 256;
/// Most pages looked at with the lock held.
const MAX_PASSED_PAGES: usize = 4096;

/// All caches, and the one where the next eviction begins.
struct Registry {
    caches: Vec<Weak<PageCache>>,
    next: usize,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { caches: Vec::new(), next: 0 });

pub(crate) fn register(cache: &Arc<PageCache>) {
    let mut registry = REGISTRY.lock();
    // Dead entries go whenever the list would have to grow.
    if registry.caches.len() == registry.caches.capacity() {
        registry.caches.retain(|cache| cache.strong_count() > 0);
    }
    registry.caches.push(Arc::downgrade(cache));
}

/// Evicts about `wanted` pages and returns how many it did: a callback for
/// `frames::register_reclaimer`. Never waits: the thread that is short of memory may hold any lock.
pub fn evict(wanted: usize) -> usize {
    let Some(mut registry) = REGISTRY.try_lock() else { return 0 };
    let count = registry.caches.len();
    let mut evicted = 0;
    // The first round takes second chances away, the second takes the pages; a third, for hands were under way.
    for _ in 0..3 * count {
        if evicted >= wanted {
            break;
        }
        let index = registry.next % count;
        registry.next = index + 1;
        if let Some(cache) = registry.caches[index].upgrade() {
            evicted += cache.sweep(wanted - evicted);
        }
    }
    evicted
}

/// Pages of all files in memory, and how many of them are dirty.
pub fn totals() -> (usize, usize) {
    let caches: Vec<_> = REGISTRY.lock().caches.iter().filter_map(Weak::upgrade).collect();
    caches.iter().fold((0, 0), |sum, cache| (sum.0 + cache.page_count(), sum.1 + cache.dirty_count()))
}

impl PageCache {
    /// Evicts up to `wanted` pages of this file, between the hand and the file's end.
    fn sweep(&self, wanted: usize) -> usize {
        let mut evicted = 0;
        while evicted < wanted
            && let Some(bite) = self.bite(wanted - evicted)
        {
            evicted += bite.evicted;
            if bite.came_round {
                break;
            }
        }
        evicted
    }

    /// Evicts clean pages in `range` that nobody uses, and returns how many (`POSIX_FADV_DONTNEED`).
    pub fn drop_clean(&self, range: core::ops::Range<u64>) -> usize {
        // A range of bytes inside of a page has no whole page, and its first comes after its last.
        if range.is_empty() {
            return 0;
        }
        let mut state = self.state.lock();
        let State { pages, dirty, .. } = &mut *state;
        let unused: Vec<u64> = pages
            .range(range)
            .filter(|(index, cached)| {
                cached.fill == Fill::Done && cached.page.ref_count() == 1 && !dirty.contains(**index)
            })
            .map(|(index, _)| *index)
            .collect();
        let gone: Vec<_> = unused.iter().filter_map(|index| pages.remove(index)).collect();
        drop(state);
        gone.len()
    }

    /// Evicts a few pages at a time, so that little has to be allocated where memory is short. `None`: not now.
    fn bite(&self, wanted: usize) -> Option<Bite> {
        let mut state = self.state.try_lock()?;
        let size = wanted.min(MAX_BITE_PAGES);
        let mut gone = Vec::new();
        gone.try_reserve(size).ok()?;
        let State { pages, dirty, hand, .. } = &mut *state;
        let mut indices = [0; MAX_BITE_PAGES];
        let mut chosen = 0;
        let mut next_hand = 0;
        for (passed, (index, cached)) in pages.range_mut(*hand..).enumerate() {
            if chosen == size || passed == MAX_PASSED_PAGES {
                next_hand = *index;
                break;
            }
            // A page in writeback has a second reference.
            let is_unused =
                cached.fill == Fill::Done && cached.page.ref_count() == 1 && !dirty.contains(*index);
            if is_unused && !core::mem::take(&mut cached.recently_used) {
                indices[chosen] = *index;
                chosen += 1;
            }
        }
        *hand = next_hand;
        gone.extend(indices[..chosen].iter().filter_map(|index| pages.remove(index)));
        drop(state);
        Some(Bite { evicted: gone.len(), came_round: next_hand == 0 })
    }
}

/// What a look at some of a file's pages led to.
struct Bite {
    evicted: usize,
    /// The hand is at the file's beginning again.
    came_round: bool,
}
