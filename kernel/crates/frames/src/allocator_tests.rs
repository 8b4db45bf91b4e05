//! The allocator against a model of owned ranges, its corner cases, and many threads at once.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one region is meant")]

use std::{collections::BTreeMap, sync::Arc, thread};

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// An allocator over leaked memory that appears as these physical regions.
fn allocator(regions: &[Range<u64>]) -> &'static FrameAllocator {
    let start = regions.iter().map(|r| r.start).min().unwrap() & !(4 * MIB - 1);
    let end = regions.iter().map(|r| r.end).max().unwrap();
    let memory = crate::host::leak((end - start) as usize);
    let allocator = Box::leak(Box::new(FrameAllocator::new()));
    // SAFETY: leaked memory of our own, mapped at this offset.
    unsafe { allocator.init(regions, memory.addr().wrapping_sub(start as usize)) };
    allocator
}

#[test]
fn everything_can_be_taken_and_merges_again() {
    // Odd edges, a hole within a section, and a region that ends in another section.
    let regions = [MIB..3 * MIB + 4096, 5 * MIB + 100..9 * MIB - 1, 100 * MIB..140 * MIB, 0..8192];
    let frames = allocator(&regions);
    let start = frames.statistics();
    assert_eq!(start.free, start.total);
    let mut taken = Vec::new();
    while let Some(frame) = frames.try_alloc(0) {
        let address = u64::from(frame) << PAGE_SHIFT;
        assert!(
            regions.iter().any(|r| r.start <= address && address + 4096 <= r.end),
            "{address:#x} is outside"
        );
        taken.push(frame);
    }
    assert_eq!(taken.len(), start.total);
    taken.sort_unstable();
    assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "a frame was given out twice");
    taken.iter().for_each(|&frame| frames.free(frame, 0));
    frames.drain_caches();
    assert_eq!(frames.statistics(), start);
    // Merged: as many of the largest blocks as there were are there again.
    let blocks: Vec<_> = std::iter::from_fn(|| frames.try_alloc(MAX_ORDER)).collect();
    assert!(blocks.len() >= 9, "only {} blocks of 4 MiB", blocks.len());
    blocks.iter().for_each(|block| assert_eq!(block % 1024, 0));
}

#[test]
fn arenas_cover_memory_without_overlap() {
    let frames = allocator(&[4 * MIB..1500 * MIB]);
    assert_eq!(frames.layout().arena_count, 2);
    let mut seen = std::collections::HashSet::new();
    while let Some(block) = frames.try_alloc(MAX_ORDER) {
        assert!(seen.insert(block));
    }
    assert!(frames.arenas[..2].iter().all(|arena| arena.lock().free_frames() < 2048));
    seen.iter().for_each(|&block| frames.free(block, MAX_ORDER));
    assert_eq!(frames.statistics().free, frames.statistics().total);
}

#[test]
fn threads_share_without_giving_a_frame_twice() {
    let frames = allocator(&[4 * MIB..20 * MIB]);
    let start = frames.statistics();
    let owners: Arc<Vec<AtomicUsize>> = Arc::new((0..8192).map(|_| AtomicUsize::new(0)).collect());
    let threads: Vec<_> = (1..=4)
        .map(|id| {
            let owners = owners.clone();
            thread::spawn(move || {
                let mut held: Vec<(u32, u32)> = Vec::new();
                let give_back = |(frame, order): (u32, u32)| {
                    for n in frame..frame + (1 << order) {
                        assert_eq!(owners[n as usize].swap(0, Ordering::Relaxed), id);
                    }
                    frames.free(frame, order);
                };
                let mut random = id as u64;
                for _ in 0..30_000 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let order = ((random >> 60) as u32).saturating_sub(10);
                    if random >> 40 & 1 == 0 || held.len() > 600 {
                        held.pop().into_iter().for_each(give_back);
                    } else if let Some(frame) = frames.try_alloc(order) {
                        for n in frame..frame + (1 << order) {
                            assert_eq!(owners[n as usize].swap(id, Ordering::Relaxed), 0);
                        }
                        held.push((frame, order));
                    }
                }
                held.into_iter().for_each(give_back);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    frames.drain_caches();
    assert_eq!(frames.statistics(), start);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn blocks_are_aligned_disjoint_and_come_back(
        steps in proptest::collection::vec((0u32..=MAX_ORDER, any::<prop::sample::Index>(), any::<bool>()), 1..300)
    ) {
        let frames = allocator(&[4 * MIB..12 * MIB, 14 * MIB..19 * MIB]);
        let start = frames.statistics();
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for (order, index, is_free) in steps {
            if is_free && !held.is_empty() {
                let (&frame, &order) = held.iter().nth(index.index(held.len())).unwrap();
                held.remove(&frame);
                frames.free(frame, order);
            } else if let Some(frame) = frames.try_alloc(order) {
                prop_assert_eq!(frame % (1 << order), 0);
                if let Some((&before, &o)) = held.range(..=frame).next_back() {
                    prop_assert!(before + (1 << o) <= frame);
                }
                if let Some((&after, _)) = held.range(frame..).next() {
                    prop_assert!(frame + (1 << order) <= after);
                }
                held.insert(frame, order);
            }
            let now = frames.statistics();
            let used: usize = held.values().map(|order| 1 << order).sum();
            prop_assert_eq!(now.free + now.cached + used, start.total);
        }
    }
}

static RECLAIMABLE: SpinLock<Vec<crate::PageRef>> = SpinLock::new(Vec::new());

#[test]
fn reclaim_is_asked_before_failure_and_does_not_recurse() {
    // In a process of its own, as it uses up the shared allocator.
    if std::env::var_os("RECLAIM_CHILD").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "allocator::tests::reclaim_is_asked_before_failure_and_does_not_recurse"])
            .env("RECLAIM_CHILD", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    crate::host::init();
    let mut taken = Vec::new();
    // SAFETY: nobody reads the pages.
    while let Ok(page) = unsafe { crate::PageRef::new_uninit() } {
        taken.push(page);
    }
    RECLAIMABLE.lock().extend(taken.drain(..100));
    crate::register_reclaimer(|wanted| {
        assert!(alloc_frames(0).is_err(), "the memory is full while this runs");
        let mut list = RECLAIMABLE.lock();
        let count = wanted.min(list.len());
        list.drain(..count).count()
    });
    let before = taken.len();
    while let Ok(page) = crate::PageRef::new_zeroed() {
        taken.push(page);
    }
    // A CPU's cache takes a batch at a time, which may have come from the reserve.
    assert!((100 - BATCH..=100).contains(&(taken.len() - before)), "{}", taken.len() - before);
    assert!(RECLAIMABLE.lock().is_empty());
    assert!(alloc_reserved_frames(0).is_ok(), "the reserve is not for everybody");
}
