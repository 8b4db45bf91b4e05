//! Write tracking over real page tables and a TLB that forgets nothing by itself.

use std::collections::BTreeSet;

use frames::HUGE_PAGE_SIZE as HUGE;
use linux_abi::memory::{Advice, MremapFlags};
use mmu_gc::{Engine, WriteTracker};

use super::*;

const PAGES: usize = 1100;
const ENGINES: [Engine; 2] = [Engine::Dirty, Engine::Trap];

/// Numbers of the pages of `range` that are told as written.
fn written(machine: &Machine, tracker: &WriteTracker, range: Range<usize>) -> BTreeSet<usize> {
    let pages = range.len() / PAGE_SIZE;
    let mut bitmap = vec![0u64; pages.div_ceil(64)];
    tracker.collect(&machine.space, range, &mut bitmap).unwrap();
    (0..pages).filter(|n| bitmap[n / 64] >> (n % 64) & 1 == 1).collect()
}

fn touched(machine: &Machine) -> Range<usize> {
    let at = machine.map_anonymous(0, PAGES * PAGE_SIZE, MapFlags::empty()).unwrap();
    (0..PAGES).for_each(|n| machine.write(at + n * PAGE_SIZE, n as u8).unwrap());
    at..at + PAGES * PAGE_SIZE
}

#[test]
fn writes_are_told_and_reads_are_not() {
    for engine in ENGINES {
        let machine = Machine::new();
        let range = touched(&machine);
        let mut tracker = WriteTracker::new();
        tracker.arm(&machine.space, range.clone(), engine).unwrap();
        assert!(written(&machine, &tracker, range.clone()).is_empty());
        for n in 0..PAGES {
            assert_eq!(machine.read(range.start + n * PAGE_SIZE), Ok(n as u8));
        }
        assert!(written(&machine, &tracker, range.clone()).is_empty());
        for n in [0, 511, 512, 700, 1099] {
            machine.write(range.start + n * PAGE_SIZE + 9, 1).unwrap();
            machine.write(range.start + n * PAGE_SIZE + 10, 1).unwrap();
        }
        let expected = BTreeSet::from([0, 511, 512, 700, 1099]);
        assert_eq!(written(&machine, &tracker, range.clone()), expected);
        assert_eq!(machine.space.write_traps(), if engine == Engine::Trap { 5 } else { 0 });
        tracker.arm(&machine.space, range.clone(), engine).unwrap();
        machine.write(range.start + 700 * PAGE_SIZE, 1).unwrap();
        assert_eq!(written(&machine, &tracker, range), BTreeSet::from([700]));
    }
}

#[test]
fn changes_of_the_map_lose_no_write() {
    for engine in ENGINES {
        let machine = Machine::new();
        let range = touched(&machine);
        let at = |n: usize| range.start + n * PAGE_SIZE;
        let mut tracker = WriteTracker::new();
        tracker.arm(&machine.space, range.clone(), engine).unwrap();
        // Rights taken and given back say nothing about writes, before or after one.
        machine.write(at(1), 1).unwrap();
        machine.space.mprotect(at(0), 4 * PAGE_SIZE, Prot::READ.bits()).unwrap();
        machine.space.mprotect(at(0), 4 * PAGE_SIZE, 0).unwrap();
        machine.space.mprotect(at(0), 4 * PAGE_SIZE, (Prot::READ | Prot::WRITE).bits()).unwrap();
        machine.write(at(2), 1).unwrap();
        // A page that was dropped has nothing to tell until it is written again; a new one is written by that.
        machine.write(at(10), 1).unwrap();
        machine.write(at(11), 1).unwrap();
        machine.space.madvise(at(10), 4 * PAGE_SIZE, Advice::DontNeed.raw()).unwrap();
        assert_eq!(machine.read(at(10)), Ok(0));
        machine.write(at(11), 1).unwrap();
        machine.write(at(12), 1).unwrap();
        // Moved within the range: what is at the new address was not there before.
        let flags = MremapFlags::MAYMOVE | MremapFlags::FIXED;
        machine.space.mremap(at(20), PAGE_SIZE, PAGE_SIZE, flags, at(30)).unwrap();
        // Mapped anew in the old place.
        machine.space.munmap(at(40), 2 * PAGE_SIZE).unwrap();
        let fixed = machine.map_anonymous(at(40), 2 * PAGE_SIZE, MapFlags::FIXED).unwrap();
        assert_eq!(fixed, at(40));
        machine.write(at(41), 1).unwrap();
        assert_eq!(written(&machine, &tracker, range.clone()), BTreeSet::from([1, 2, 11, 12, 30, 41]));
    }
}

#[test]
fn a_huge_page_is_told_whole_and_split_then() {
    for engine in ENGINES {
        let machine = Machine::new();
        let at = machine.map_anonymous(0, 2 * HUGE, MapFlags::empty()).unwrap();
        let range = at..at + 2 * HUGE;
        machine.space.madvise(at, 2 * HUGE, Advice::HugePage.raw()).unwrap();
        machine.write(at, 1).unwrap();
        machine.write(at + HUGE, 1).unwrap();
        let mut tracker = WriteTracker::new();
        tracker.arm(&machine.space, range.clone(), engine).unwrap();
        assert_eq!(machine.space.usage(range.clone()).anonymous_huge, 2 * HUGE);
        machine.write(at + HUGE + 9 * PAGE_SIZE, 1).unwrap();
        assert_eq!(written(&machine, &tracker, range.clone()), (512..1024).collect());
        assert_eq!(tracker.arm(&machine.space, range.clone(), engine).unwrap().splits, 1);
        assert_eq!(machine.space.usage(range.clone()).anonymous_huge, HUGE);
        machine.write(at + HUGE + 9 * PAGE_SIZE, 2).unwrap();
        assert_eq!(written(&machine, &tracker, range.clone()), BTreeSet::from([512 + 9]));
        // An edge that cuts a huge page makes small ones of it, which keep what was written.
        machine.write(at + 5 * PAGE_SIZE, 3).unwrap();
        machine.space.madvise(at, 4 * PAGE_SIZE, Advice::DontNeed.raw()).unwrap();
        assert!(written(&machine, &tracker, range.clone()).contains(&5));
        machine.space.munmap(at, 2 * HUGE).unwrap();
        assert_eq!(machine.space.resident().total(), 0);
    }
}

#[test]
fn the_page_of_zeros_is_clean_until_it_is_replaced() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 4 * PAGE_SIZE, MapFlags::empty()).unwrap();
    let range = at..at + 4 * PAGE_SIZE;
    assert_eq!(machine.read(at), Ok(0));
    let mut tracker = WriteTracker::new();
    tracker.arm(&machine.space, range.clone(), Engine::Trap).unwrap();
    assert!(written(&machine, &tracker, range.clone()).is_empty());
    machine.write(at, 1).unwrap();
    assert_eq!(written(&machine, &tracker, range), BTreeSet::from([0]));
}

#[test]
fn no_write_of_many_threads_is_lost() {
    for engine in ENGINES {
        let machine = Machine::new();
        let range = touched(&machine);
        let mut tracker = WriteTracker::new();
        for round in 0..20 {
            tracker.arm(&machine.space, range.clone(), engine).unwrap();
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (machine, range) = (&machine, range.clone());
                    scope.spawn(move || {
                        for n in (thread..PAGES).step_by(7) {
                            machine.write(range.start + n * PAGE_SIZE + thread, round).unwrap();
                        }
                    });
                }
                // Arming and collecting beside the writers only ever finds too much.
                let mut beside = WriteTracker::new();
                beside.arm(&machine.space, range.start..range.start + PAGE_SIZE, Engine::Dirty).unwrap();
                written(&machine, &tracker, range.clone());
            });
            let found = written(&machine, &tracker, range.clone());
            let expected = (0..3).flat_map(|thread| (thread..PAGES).step_by(7));
            for n in expected.filter(|&n| n > 0) {
                assert!(found.contains(&n), "page {n} in round {round}");
            }
        }
    }
}
