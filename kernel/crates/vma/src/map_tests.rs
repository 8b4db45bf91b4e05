//! The map against one entry a page, and at its full size.

use proptest::prelude::*;

use super::*;
use crate::{Backing, PAGE_SIZE};

const PAGES: usize = 48;
const BASE: usize = 0x10_0000;

/// What the model knows of a page: flags, object and the page of the object.
type Page = Option<(VmFlags, Option<(u8, u64)>)>;

fn at(page: usize) -> usize {
    BASE + page * PAGE_SIZE
}

fn page_of(vma: &Vma<u8>) -> Page {
    Some((vma.flags, vma.backing.as_ref().map(|backing| (backing.object, backing.page_offset))))
}

fn check(map: &VmaMap<u8>, model: &[Page]) {
    map.tree.check();
    for (page, expected) in model.iter().enumerate() {
        let found = map.find(at(page)).map(|(range, vma)| vma.advanced(at(page) - range.start));
        assert_eq!(found.as_ref().and_then(page_of), *expected, "page {page}");
    }
    assert_eq!(map.total_bytes(), model.iter().flatten().count() * PAGE_SIZE);
    // Neighbours that could be one are one.
    let areas: Vec<_> = map.intersecting(0..usize::MAX).collect();
    assert_eq!(areas.len(), map.len());
    for pair in areas.windows(2) {
        let joined =
            pair[0].0.end == pair[1].0.start && pair[0].1.is_continued_by(pair[0].0.len(), pair[1].1);
        assert!(!joined, "{pair:?}");
    }
}

/// The gap search against a look at every address.
fn check_gaps(map: &VmaMap<u8>, model: &[Page]) {
    for len in 1..=PAGES {
        for align in [1, 4] {
            let request =
                GapRequest { len: len * PAGE_SIZE, bounds: at(3)..at(PAGES - 3), align: align * PAGE_SIZE };
            let wanted = len + align - 1;
            let fits = |start: usize| (start..start + wanted).all(|page| model[page].is_none());
            let starts: Vec<_> = (3..PAGES - 3).filter(|s| s + wanted <= PAGES - 3 && fits(*s)).collect();
            let highest = starts.last().map(|s| at(s + wanted - len) & !(request.align - 1));
            let lowest = starts.first().map(|s| at(*s).next_multiple_of(request.align));
            assert_eq!(map.find_gap_top_down(&request), highest, "{request:?}");
            assert_eq!(map.find_gap_bottom_up(&request), lowest, "{request:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Map(usize, usize, u8, Option<(u8, u64)>),
    Unmap(usize, usize),
    Protect(usize, usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let backing = proptest::option::of((0u8..2, 0u64..4));
    prop_oneof![
        3 => (0..PAGES, 1usize..12, 0u8..3, backing).prop_map(|(s, n, f, b)| Step::Map(s, n, f, b)),
        2 => (0..PAGES, 1usize..20).prop_map(|(s, n)| Step::Unmap(s, n)),
        2 => (0..PAGES, 1usize..20, 0u8..3).prop_map(|(s, n, f)| Step::Protect(s, n, f)),
    ]
}

fn flags(index: u8) -> VmFlags {
    [VmFlags::READ, VmFlags::READ | VmFlags::WRITE, VmFlags::empty()][usize::from(index)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn behaves_as_an_entry_for_each_page(steps in proptest::collection::vec(step(), 1..60)) {
        let mut map = VmaMap::<u8>::new();
        let mut model: Vec<Page> = vec![None; PAGES];
        for step in steps {
            match step {
                Step::Map(start, len, flag, backing) => {
                    let end = (start + len).min(PAGES);
                    map.remove(at(start)..at(end), |_| ()).unwrap();
                    let vma = Vma {
                        flags: flags(flag),
                        backing: backing.map(|(object, page_offset)| Backing { object, page_offset }),
                    };
                    map.insert(at(start)..at(end), vma).unwrap();
                    for (n, page) in (0..).zip(&mut model[start..end]) {
                        *page = Some((flags(flag), backing.map(|(object, first)| (object, first + n))));
                    }
                }
                Step::Unmap(start, len) => {
                    let end = (start + len).min(PAGES);
                    let mut removed = vec![None; PAGES];
                    map.remove(at(start)..at(end), |area| {
                        for page in 0..area.range.len() / PAGE_SIZE {
                            let vma = area.vma.advanced(page * PAGE_SIZE);
                            removed[(area.range.start - BASE) / PAGE_SIZE + page] = page_of(&vma);
                        }
                    })
                    .unwrap();
                    prop_assert_eq!(&removed[start..end], &model[start..end]);
                    model[start..end].fill(None);
                }
                Step::Protect(start, len, flag) => {
                    let end = (start + len).min(PAGES);
                    map.update_flags(at(start)..at(end), |_| flags(flag)).unwrap();
                    for page in model[start..end].iter_mut().flatten() {
                        page.0 = flags(flag);
                    }
                }
            }
            check(&map, &model);
        }
        check_gaps(&map, &model);
    }
}

#[test]
fn sixty_thousand_areas() {
    let mut map = VmaMap::<u8>::new();
    let vma = Vma { flags: VmFlags::READ, backing: None };
    // Every second page: 60,000 areas and as many gaps of a page.
    for n in 0..60_000 {
        map.insert(at(2 * n)..at(2 * n + 1), vma.clone()).unwrap();
    }
    map.tree.check();
    assert_eq!(map.len(), 60_000);
    let bounds = at(0)..at(120_000);
    let request = |pages| GapRequest { len: pages * PAGE_SIZE, bounds: bounds.clone(), align: PAGE_SIZE };
    assert_eq!(map.find_gap_top_down(&request(2)), None);
    assert_eq!(map.find_gap_top_down(&request(1)), Some(at(119_999)));
    map.remove(at(60_000)..at(60_001), |_| ()).unwrap();
    for _ in 0..100_000 {
        assert_eq!(map.find_gap_top_down(&request(3)), Some(at(59_999)));
    }
    // One that joins all the rest of a stretch.
    map.update_flags(at(0)..at(120_000), |_| VmFlags::empty()).unwrap();
    for n in 0..1_000 {
        map.insert(at(2 * n + 1)..at(2 * n + 2), Vma { flags: VmFlags::empty(), backing: None }).unwrap();
    }
    assert_eq!(map.len(), 59_999 - 1_000);
    map.tree.check();
    map.remove(0..usize::MAX, |_| ()).unwrap();
    assert!(map.is_empty() && map.total_bytes() == 0);
}

#[test]
fn the_last_page_of_the_address_range_is_no_special_case() {
    let mut map = VmaMap::<u8>::new();
    let top = 0x7fff_ffff_f000;
    map.insert(top - PAGE_SIZE..top, Vma { flags: VmFlags::READ, backing: None }).unwrap();
    let request = GapRequest { len: 1 << 46, bounds: 0x10000..top, align: 2 << 20 };
    let found = map.find_gap_top_down(&request).unwrap();
    assert!(found.is_multiple_of(2 << 20) && found + (1 << 46) <= top - PAGE_SIZE);
    assert_eq!(map.find_gap_top_down(&GapRequest { len: usize::MAX & !4095, ..request }), None);
}
