//! Many threads at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % limit
    }
}

const ROUNDS: usize = 4_000;

/// Threads write and check bytes of their own in pages that they share, while others unmap, protect and
/// discard other pages of the same tables, and a file's pages are cleaned and cut off under them.
#[test]
fn faults_go_on_while_others_change_the_map() {
    let machine = Machine::new();
    let file = TestFile::new(32);
    let stable = machine.map_anonymous(BASE, 64 * 4096, MapFlags::FIXED).unwrap();
    let shared = machine.map_file(BASE + 64 * 4096, 32 * 4096, 1, &file, 0);
    let churn = BASE + 128 * 4096;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3u8)
            .map(|id| {
                let machine = &machine;
                scope.spawn(move || {
                    let mut random = Random(u64::from(id) + 1);
                    let mut private = [0u8; 64];
                    let mut common = [None; 16];
                    for _ in 0..ROUNDS {
                        let page = random.below(64);
                        let place = stable + page * 4096 + usize::from(id);
                        assert_eq!(machine.read(place), Ok(private[page]));
                        private[page] = random.below(256) as u8;
                        machine.write(place, private[page]).unwrap();
                        // The first half of the file is never cut off.
                        let page = random.below(16);
                        let place = shared + page * 4096 + usize::from(id);
                        if let Some(value) = common[page] {
                            assert_eq!(machine.read(place), Ok(value));
                        }
                        let value = random.below(256) as u8;
                        machine.write(place, value).unwrap();
                        common[page] = Some(value);
                        // The rest may or may not be there.
                        let _ = machine.write(shared + (16 + random.below(16)) * 4096, 1);
                        let _ = machine.write(churn + random.below(64) * 4096, id);
                        let _ = machine.read(churn + random.below(64) * 4096);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut random = Random(77);
            while !stop.load(Ordering::Relaxed) {
                let at = churn + random.below(64) * 4096;
                let len = (1 + random.below(16)) * 4096;
                match random.below(5) {
                    0 => machine.space.munmap(at, len).unwrap(),
                    1 => drop(machine.map_anonymous(at, len, MapFlags::FIXED)),
                    2 => drop(machine.space.mprotect(at, len, random.below(4) as u32)),
                    3 => drop(machine.space.madvise(at, len, 4)),
                    _ => drop(machine.map_file(at, len, 2, &file, 4096)),
                }
            }
        });
        scope.spawn(|| {
            let mut random = Random(99);
            while !stop.load(Ordering::Relaxed) {
                // Write-back, as an object does it: clean first, then protect, then copy.
                let page = random.below(16) as u64;
                if file.state().dirty.remove(&page) {
                    machine.space.write_protect_object_range(&*file, page..page + 1);
                    let Some(page_ref) = file.state().pages.get(&page).cloned() else { continue };
                    let mut copy = [[0; 16]; 2];
                    page_ref.read(0, &mut copy[0]);
                    thread::yield_now();
                    page_ref.read(0, &mut copy[1]);
                    // A write since then must have made the page dirty again.
                    if copy[0] != copy[1] {
                        assert!(file.state().dirty.contains(&page), "a write to a clean page was not told");
                    }
                }
                // Truncation and growth.
                let cut = 16 + random.below(16) as u64;
                {
                    let mut state = file.state();
                    state.len_pages = cut;
                    state.pages.retain(|index, _| *index < cut);
                }
                machine.space.unmap_object_range(&*file, cut..u64::MAX, PrivateCopies::Unmap);
                for index in cut..32 {
                    let leaf = machine.space.table.query(shared + index as usize * 4096);
                    assert!(leaf.is_none_or(|(entry, _)| entry.is_empty()), "mapped beyond the end");
                }
                file.state().len_pages = 32;
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    machine.space.munmap(BASE, 256 * 4096).unwrap();
    assert_eq!(machine.space.resident().total(), 0);
    assert_eq!(machine.space.table_bytes(), 0);
    assert!(file.state().pages.values().all(|page| page.ref_count() == 1));
}

/// Huge pages that come, are split, discarded and moved while others write to them.
#[test]
fn huge_pages_under_fire() {
    const HUGE: usize = frames::HUGE_PAGE_SIZE;
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 4 * HUGE, MapFlags::empty()).unwrap();
    machine.space.madvise(at, 4 * HUGE, 14).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3u8)
            .map(|id| {
                let machine = &machine;
                scope.spawn(move || {
                    let mut random = Random(u64::from(id) + 5);
                    let mut last = [0u8; 8];
                    for _ in 0..ROUNDS {
                        // The odd pages at the front of each huge page are kept, all others come and go.
                        let slot = random.below(8);
                        let place = at + slot / 2 * HUGE + (slot % 2 * 2 + 1) * 4096 + usize::from(id);
                        assert_eq!(machine.read(place), Ok(last[slot]));
                        last[slot] = random.below(256) as u8;
                        machine.write(place, last[slot]).unwrap();
                        let _ =
                            machine.write(at + random.below(4) * HUGE + (8 + random.below(500)) * 4096, id);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut random = Random(7);
            while !stop.load(Ordering::Relaxed) {
                let start = at + random.below(4) * HUGE + (8 + random.below(400)) * 4096;
                let len = (1 + random.below(100)) * 4096;
                match random.below(3) {
                    0 => machine.space.madvise(start, len, 4).unwrap(),
                    1 => {
                        machine.space.mprotect(start, len, 1).unwrap();
                        machine.space.mprotect(start, len, 3).unwrap();
                    }
                    _ => {
                        machine.space.munmap(start, len).unwrap();
                        machine.map_anonymous(start, len, MapFlags::FIXED).unwrap();
                        machine.space.madvise(start, len, 14).unwrap();
                    }
                }
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    machine.space.munmap(at, 4 * HUGE).unwrap();
    assert_eq!(machine.space.resident().total(), 0);
    assert_eq!(machine.space.table_bytes(), 0);
}
