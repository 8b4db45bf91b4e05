//! The tracker over a model of page tables and TLBs, against a model that simply remembers each write.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const DIRTY: u64 = 4;

#[derive(Default)]
struct ModelLeaf(AtomicU64);

impl Leaf for ModelLeaf {
    fn is_dirty(&self) -> bool {
        self.0.load(Ordering::Relaxed) & DIRTY != 0
    }

    fn arm(&self, engine: Engine) -> Armed {
        let bits = match engine {
            Engine::Dirty => DIRTY,
            Engine::Trap => DIRTY | WRITABLE,
        };
        if self.0.fetch_and(!bits, Ordering::Relaxed) & bits == 0 { Armed::Unchanged } else { Armed::Stale }
    }
}

/// What an aligned 2 MiB is mapped by.
enum Entry {
    Small(Vec<ModelLeaf>),
    Huge(ModelLeaf),
}

const BASE: usize = 1 << 30;
const REGIONS: usize = 3;
const PAGES: usize = REGIONS * HUGE_PAGE_PAGES;
const CPUS: usize = 2;

struct Model {
    entries: RefCell<Vec<Entry>>,
    /// What each CPU's TLB holds: by page, whether it lets writes through without another look at the leaf.
    tlbs: RefCell<[BTreeSet<usize>; CPUS]>,
    flushes: RefCell<u64>,
}

impl Model {
    fn new(huge: [bool; REGIONS]) -> Self {
        let fresh = || ModelLeaf(AtomicU64::new(PRESENT | WRITABLE | DIRTY));
        let entry = |is_huge| {
            if is_huge {
                Entry::Huge(fresh())
            } else {
                Entry::Small((0..HUGE_PAGE_PAGES).map(|_| fresh()).collect())
            }
        };
        Self {
            entries: RefCell::new(huge.into_iter().map(entry).collect()),
            tlbs: RefCell::default(),
            flushes: RefCell::new(0),
        }
    }

    fn with_leaf<R>(&self, page: usize, use_it: impl FnOnce(&ModelLeaf) -> R) -> R {
        match &self.entries.borrow()[page / HUGE_PAGE_PAGES] {
            Entry::Small(leaves) => use_it(&leaves[page % HUGE_PAGE_PAGES]),
            Entry::Huge(leaf) => use_it(leaf),
        }
    }

    /// A write as a processor does it, with the fault handler's work where one is needed.
    fn write(&self, cpu: usize, page: usize) {
        if self.tlbs.borrow()[cpu].contains(&page) {
            return;
        }
        self.with_leaf(page, |leaf| leaf.0.fetch_or(PRESENT | WRITABLE | DIRTY, Ordering::Relaxed));
        self.tlbs.borrow_mut()[cpu].insert(page);
    }

    /// `MADV_DONTNEED` of a small page, with its flush.
    fn discard(&self, page: usize) -> bool {
        let is_small = matches!(self.entries.borrow()[page / HUGE_PAGE_PAGES], Entry::Small(_));
        if is_small {
            self.with_leaf(page, |leaf| leaf.0.store(0, Ordering::Relaxed));
            self.tlbs.borrow_mut().iter_mut().for_each(|tlb| {
                tlb.remove(&page);
            });
        }
        is_small
    }

    fn is_huge(&self, region: usize) -> bool {
        matches!(self.entries.borrow()[region], Entry::Huge(_))
    }
}

impl LeafTable for Model {
    type Leaf = ModelLeaf;

    fn for_each_run(&self, range: Range<usize>, mut each: impl FnMut(Run<'_, ModelLeaf>)) {
        for (region, entry) in self.entries.borrow().iter().enumerate() {
            let start = BASE + region * HUGE_PAGE_BYTES;
            let first = range.start.max(start);
            let end = range.end.min(start + HUGE_PAGE_BYTES);
            if first >= end {
                continue;
            }
            match entry {
                Entry::Small(leaves) => each(Run::Small {
                    start: first,
                    leaves: &leaves[(first - start) / PAGE_BYTES..(end - start) / PAGE_BYTES],
                }),
                Entry::Huge(leaf) => each(Run::Huge { start, leaf }),
            }
        }
    }

    fn flush(&self, range: Range<usize>) {
        *self.flushes.borrow_mut() += 1;
        let pages = (range.start - BASE) / PAGE_BYTES..(range.end - BASE).div_ceil(PAGE_BYTES);
        // A huge entry goes as a whole.
        let pages =
            pages.start / HUGE_PAGE_PAGES * HUGE_PAGE_PAGES..pages.end.next_multiple_of(HUGE_PAGE_PAGES);
        self.tlbs.borrow_mut().iter_mut().for_each(|tlb| tlb.retain(|page| !pages.contains(page)));
    }

    fn split(&self, start: usize) -> bool {
        let region = (start - BASE) / HUGE_PAGE_BYTES;
        let mut entries = self.entries.borrow_mut();
        let Entry::Huge(leaf) = &entries[region] else { return false };
        let bits = leaf.0.load(Ordering::Relaxed);
        entries[region] =
            Entry::Small((0..HUGE_PAGE_PAGES).map(|_| ModelLeaf(AtomicU64::new(bits))).collect());
        drop(entries);
        let pages = region * HUGE_PAGE_PAGES..(region + 1) * HUGE_PAGE_PAGES;
        self.tlbs.borrow_mut().iter_mut().for_each(|tlb| tlb.retain(|page| !pages.contains(page)));
        true
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

fn addresses(pages: Range<usize>) -> Range<usize> {
    BASE + pages.start * PAGE_BYTES..BASE + pages.end * PAGE_BYTES
}

fn collected(tracker: &WriteTracker, model: &Model, pages: Range<usize>) -> (BTreeSet<usize>, CollectReport) {
    let mut bitmap = vec![0; pages.len().div_ceil(64)];
    let report = tracker.collect(model, addresses(pages.clone()), &mut bitmap).unwrap();
    let found = (0..pages.len()).filter(|n| bitmap[n / 64] >> (n % 64) & 1 == 1);
    (found.map(|n| pages.start + n).collect(), report)
}

#[test]
fn small_pages_are_told_exactly_and_in_any_part() {
    for engine in [Engine::Dirty, Engine::Trap] {
        let model = Model::new([false; REGIONS]);
        let mut tracker = WriteTracker::new();
        let report = tracker.arm(&model, addresses(10..1100), engine).unwrap();
        assert_eq!((report.entries_scanned, report.shoot_downs), (1090, 1));
        for page in [10, 63, 64, 511, 512, 1099] {
            model.write(0, page);
        }
        let (found, report) = collected(&tracker, &model, 10..1100);
        assert_eq!(found, BTreeSet::from([10, 63, 64, 511, 512, 1099]));
        assert_eq!((report.dirty_pages, report.entries_scanned), (6, 1090));
        assert_eq!(collected(&tracker, &model, 500..600).0, BTreeSet::from([511, 512]));
        // Nothing was armed anew.
        assert_eq!(collected(&tracker, &model, 10..1100).0.len(), 6);
        tracker.arm(&model, addresses(10..1100), engine).unwrap();
        assert!(collected(&tracker, &model, 10..1100).0.is_empty());
    }
}

#[test]
fn a_clean_range_needs_no_shoot_down() {
    let model = Model::new([false; REGIONS]);
    let mut tracker = WriteTracker::new();
    for expected in [1, 0] {
        let report = tracker.arm(&model, addresses(0..PAGES), Engine::Dirty).unwrap();
        assert_eq!(report.shoot_downs, expected);
    }
    assert_eq!(*model.flushes.borrow(), 1);
}

#[test]
fn a_huge_page_is_split_after_a_write_while_it_was_tracked() {
    let model = Model::new([true; REGIONS]);
    let mut tracker = WriteTracker::new();
    let all = || addresses(0..PAGES);
    assert_eq!(tracker.arm(&model, all(), Engine::Dirty).unwrap().splits, 0);
    model.write(1, HUGE_PAGE_PAGES + 7);
    assert_eq!(collected(&tracker, &model, 0..PAGES).1.dirty_pages, HUGE_PAGE_PAGES as u64);
    assert_eq!(tracker.arm(&model, all(), Engine::Dirty).unwrap().splits, 1);
    assert!(model.is_huge(0) && !model.is_huge(1) && model.is_huge(2));
    model.write(1, HUGE_PAGE_PAGES + 7);
    assert_eq!(collected(&tracker, &model, 0..PAGES).0, BTreeSet::from([HUGE_PAGE_PAGES + 7]));
}

#[test]
fn what_is_not_tracked_is_refused() {
    let model = Model::new([false; REGIONS]);
    let mut tracker = WriteTracker::new();
    let mut bitmap = [0; 1];
    assert_eq!(tracker.collect(&model, addresses(0..1), &mut bitmap), Err(NotTracked));
    assert_eq!(tracker.arm(&model, addresses(5..5), Engine::Dirty), Err(NotTracked));
    assert_eq!(tracker.arm(&model, BASE..BASE + 100, Engine::Dirty), Err(NotTracked));
    tracker.arm(&model, addresses(1..70), Engine::Dirty).unwrap();
    assert_eq!(tracker.collect(&model, addresses(0..10), &mut bitmap), Err(NotTracked));
    assert_eq!(tracker.collect(&model, addresses(60..71), &mut bitmap), Err(NotTracked));
    assert_eq!(tracker.collect(&model, addresses(1..70), &mut bitmap), Err(NotTracked));
    assert!(tracker.collect(&model, addresses(1..65), &mut bitmap).is_ok());
    tracker.disarm();
    assert_eq!(tracker.collect(&model, addresses(1..2), &mut bitmap), Err(NotTracked));
}

#[derive(Clone, Debug)]
enum Step {
    Write { cpu: usize, page: usize },
    Discard(usize),
    Split(usize),
    Arm(Range<usize>, Engine),
    Collect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..CPUS, 0..PAGES).prop_map(|(cpu, page)| Step::Write { cpu, page });
    let arm = (0..PAGES, 1..PAGES, any::<bool>()).prop_map(|(start, len, traps)| {
        let engine = if traps { Engine::Trap } else { Engine::Dirty };
        Step::Arm(start..(start + len).min(PAGES), engine)
    });
    let step = prop_oneof![
        20 => write,
        2 => (0..PAGES).prop_map(Step::Discard),
        1 => (0..REGIONS).prop_map(Step::Split),
        3 => arm,
        3 => Just(Step::Collect),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No write is ever left out, and a small page is told only if it was written.
    #[test]
    fn no_write_is_lost(huge in any::<[bool; REGIONS]>(), steps in steps()) {
        let model = Model::new(huge);
        let mut tracker = WriteTracker::new();
        let mut written = BTreeSet::new();
        let mut has_been_huge = huge;
        for step in steps {
            match step {
                Step::Write { cpu, page } => {
                    model.write(cpu, page);
                    written.insert(page);
                }
                Step::Discard(page) => {
                    if model.discard(page) {
                        written.remove(&page);
                    }
                }
                Step::Split(region) => {
                    model.split(BASE + region * HUGE_PAGE_BYTES);
                }
                Step::Arm(pages, engine) => {
                    tracker.arm(&model, addresses(pages), engine).unwrap();
                    written.clear();
                    has_been_huge = [0, 1, 2].map(|region| model.is_huge(region));
                }
                Step::Collect => {
                    let Some((range, _)) = tracker.armed() else { continue };
                    let pages = (range.start - BASE) / PAGE_BYTES..(range.end - BASE) / PAGE_BYTES;
                    let (found, report) = collected(&tracker, &model, pages.clone());
                    prop_assert_eq!(report.dirty_pages, found.len() as u64);
                    for page in pages {
                        let is_exact = !has_been_huge[page / HUGE_PAGE_PAGES];
                        prop_assert!(found.contains(&page) || !written.contains(&page), "{} is lost", page);
                        prop_assert!(!found.contains(&page) || written.contains(&page) || !is_exact, "{}", page);
                    }
                }
            }
        }
    }
}
