//! Tables against a map of pages, read back by a walker that knows nothing of the code under test.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LEAF: EntryFlags = EntryFlags::PRESENT.union(EntryFlags::WRITABLE).union(EntryFlags::NO_EXECUTE);
const HUGE: usize = HUGE_PAGE_SIZE;

/// Translates as the processor does (figure 4-8), from raw words.
fn translate(root: PhysAddr, address: usize) -> Option<(u64, u64)> {
    let mut table = root.as_u64();
    for shift in [39, 30, 21, 12] {
        let slot = PhysAddr::new(table + ((address >> shift & 511) * 8) as u64).as_ptr().cast::<u64>();
        // SAFETY: a word of a table that the test keeps.
        let word = unsafe { slot.read_volatile() };
        if word & 1 == 0 {
            return None;
        }
        let leaf = shift == 12 || word & 0x80 != 0;
        if leaf {
            let mask = (1u64 << shift) - 1;
            let base = word & 0x000f_ffff_ffff_f000 & !mask;
            return Some((base | (address as u64 & mask), word & (1 << 63 | 2)));
        }
        table = word & 0x000f_ffff_ffff_f000;
    }
    None
}

fn map(table: &PageTable, address: usize, frame: u64, flags: EntryFlags) {
    let Slot::Small(cell) = table.small_slot(address).unwrap() else { panic!("a huge leaf is in the way") };
    cell.replace(Entry::EMPTY, Entry::new(PhysAddr::new(frame), flags)).unwrap();
}

#[test]
fn encodes_as_the_manual_says() {
    let entry = Entry::new(PhysAddr::new(0x1234_5000), LEAF | EntryFlags::DIRTY);
    // SAFETY: the types have the same representation.
    let raw: u64 = unsafe { core::mem::transmute(entry) };
    assert_eq!(raw, 1 << 63 | 0x1234_5000 | 0x43);
    assert!(!entry.has(EntryFlags::USER) && entry.is_present());
    assert_eq!(entry.address().as_u64(), 0x1234_5000);
}

#[test]
fn a_huge_leaf_splits_into_what_it_mapped() {
    frames::host::init();
    let table = PageTable::new().unwrap();
    let cell = table.huge_slot(3 * HUGE).unwrap();
    let block = 0x4000_0000;
    let flags = LEAF | EntryFlags::HUGE | EntryFlags::DIRTY;
    cell.replace(Entry::EMPTY, Entry::new(PhysAddr::new(block), flags)).unwrap();
    assert!(matches!(table.small_slot(3 * HUGE + 4096).unwrap(), Slot::Huge(_)));
    assert_eq!(translate(table.root(), 3 * HUGE + 0x1234), Some((block + 0x1234, 1 << 63 | 2)));
    let mut flushed = false;
    table
        .split_huge(3 * HUGE + 0x5000, || {
            assert_eq!(translate(table.root(), 3 * HUGE), None, "not present during the flush");
            flushed = true;
        })
        .unwrap();
    assert!(flushed);
    for offset in [0, 0x1234, HUGE - 1] {
        assert_eq!(translate(table.root(), 3 * HUGE + offset), Some((block + offset as u64, 1 << 63 | 2)));
    }
    let mut leaves = 0;
    table.for_each_leaf(0..LOWER_HALF_END, |address, size, cell| {
        assert_eq!((address, size), (3 * HUGE + leaves * PAGE_SIZE, LeafSize::Small));
        assert!(cell.load().has(LEAF | EntryFlags::DIRTY) && !cell.load().has(EntryFlags::HUGE));
        cell.take();
        leaves += 1;
    });
    assert_eq!((leaves, table.table_bytes()), (512, 3 * 4096));
    // SAFETY: nothing is mapped any more, and nobody else uses the tables.
    unsafe { table.take_tables(3 * HUGE..4 * HUGE, 0..LOWER_HALF_END, drop) };
    assert_eq!(table.table_bytes(), 0);
}

#[test]
fn cpus_race_to_make_tables_and_leaves() {
    frames::host::init();
    let table = PageTable::new().unwrap();
    let installed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for id in 1..=4u64 {
            let (table, installed) = (&table, &installed);
            scope.spawn(move || {
                for page in 0..4096 {
                    let address = page * 0x20_1000;
                    let Slot::Small(cell) = table.small_slot(address).unwrap() else { panic!() };
                    let new = Entry::new(PhysAddr::new(id << 12), LEAF);
                    if cell.replace(Entry::EMPTY, new).is_ok() {
                        installed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(installed.into_inner(), 4096);
    let mut leaves = 0;
    table.for_each_leaf(0..LOWER_HALF_END, |_, _, cell| {
        cell.take();
        leaves += 1;
    });
    let mut freed = 0;
    // SAFETY: nothing is mapped any more, and nobody else uses the tables.
    unsafe { table.take_tables(0..1 << 35, 0..LOWER_HALF_END, |_| freed += 1) };
    assert_eq!((leaves, table.table_bytes()), (4096, 0));
    // 8 GiB and a little: 4104 second-level entries, 9 third-level ones, 1 at the root.
    assert_eq!(freed, 4096 + 9 + 1);
}

/// Pages that lie about the borders of tables of all levels.
fn pages() -> impl Strategy<Value = usize> {
    let border = prop_oneof![Just(1usize << 39), Just(1 << 30), Just(1 << 21), Just(5 << 39), Just(3 << 30)];
    (border, 0usize..8).prop_map(|(border, n)| border + n * PAGE_SIZE - 4 * PAGE_SIZE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn behaves_as_a_map_of_pages(steps in proptest::collection::vec((0u8..4, pages(), 1u64..1 << 30), 1..150)) {
        frames::host::init();
        let table = PageTable::new().unwrap();
        let mut model: BTreeMap<usize, (u64, EntryFlags)> = BTreeMap::new();
        for (what, page, frame) in steps {
            match what {
                0 | 1 => {
                    if let std::collections::btree_map::Entry::Vacant(slot) = model.entry(page) {
                        slot.insert((frame << 12, LEAF));
                        map(&table, page, frame << 12, LEAF);
                    }
                }
                2 => {
                    let range = page..page + 3 * PAGE_SIZE;
                    table.for_each_leaf(range.clone(), |_, _, cell| {
                        cell.update(|entry| Some(entry.without(EntryFlags::WRITABLE)));
                    });
                    for (_, entry) in model.range_mut(range) {
                        entry.1.remove(EntryFlags::WRITABLE);
                    }
                }
                _ => {
                    let range = page..page + 5 * PAGE_SIZE;
                    let mut seen = Vec::new();
                    table.for_each_leaf(range.clone(), |address, _, cell| {
                        seen.push((address, cell.take().address().as_u64()));
                    });
                    let expected: Vec<_> = model.range(range.clone()).map(|(a, e)| (*a, e.0)).collect();
                    prop_assert_eq!(seen, expected);
                    model.retain(|address, _| !range.contains(address));
                    let floor = model.range(..range.start).next_back().map_or(0, |(a, _)| a + PAGE_SIZE);
                    let ceiling = model.range(range.end..).next().map_or(LOWER_HALF_END, |(a, _)| *a);
                    // SAFETY: nothing is mapped between floor and ceiling, and nobody else uses the tables.
                    unsafe { table.take_tables(range, floor..ceiling, drop) };
                }
            }
            for (&address, &(frame, flags)) in &model {
                let rights = flags.intersection(EntryFlags::WRITABLE | EntryFlags::NO_EXECUTE).bits();
                prop_assert_eq!(translate(table.root(), address + 5), Some((frame + 5, rights)));
            }
            if model.is_empty() {
                // SAFETY: as above.
                unsafe { table.take_tables(0..LOWER_HALF_END, 0..LOWER_HALF_END, drop) };
                prop_assert_eq!(table.table_bytes(), 0);
            }
        }
    }
}
