//! Huge pages.

use frames::HUGE_PAGE_SIZE as HUGE;
use linux_abi::memory::{Advice, MremapFlags};

use super::*;
use crate::HugePagePolicy;

fn advise(machine: &Machine, at: usize, len: usize, advice: Advice) {
    machine.space.madvise(at, len, advice.raw()).unwrap();
}

#[test]
fn come_when_asked_for_and_split_when_cut() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 4 * HUGE, MapFlags::empty()).unwrap();
    assert!(at.is_multiple_of(HUGE), "large anonymous mappings are aligned for them");
    machine.write(at, 1).unwrap();
    assert_eq!(machine.space.resident().anonymous, 4096);
    advise(&machine, at, 4 * HUGE, Advice::HugePage);
    for n in 1..4 {
        machine.write(at + n * HUGE + 5 * 4096, n as u8).unwrap();
    }
    assert_eq!(machine.space.usage(at..at + 4 * HUGE).anonymous_huge, 3 * HUGE);
    // Cut by unmapping, by protecting, and by discarding.
    machine.space.munmap(at + HUGE, 5 * 4096).unwrap();
    machine.space.mprotect(at + 2 * HUGE, 6 * 4096, 0).unwrap();
    advise(&machine, at + 3 * HUGE, 5 * 4096, Advice::DontNeed);
    assert_eq!(machine.space.usage(at..at + 4 * HUGE).anonymous_huge, 0);
    assert_eq!(machine.space.resident().anonymous, 4096 + 3 * HUGE - 2 * 5 * 4096);
    assert_eq!(machine.read(at + HUGE + 5 * 4096), Ok(1));
    assert_eq!(machine.read(at + 2 * HUGE + 5 * 4096), Err(FaultError::NoAccess));
    assert_eq!(machine.read(at + 3 * HUGE + 5 * 4096), Ok(3));
    machine.space.mprotect(at + 2 * HUGE, HUGE, 3).unwrap();
    assert_eq!(machine.read(at + 2 * HUGE + 5 * 4096), Ok(2));
    machine.space.munmap(at, 4 * HUGE).unwrap();
    assert_eq!(machine.space.resident().total(), 0);
    assert_eq!(machine.space.table_bytes(), 0);
}

#[test]
fn move_whole_or_in_pieces() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 3 * HUGE, MapFlags::empty()).unwrap();
    advise(&machine, at, 3 * HUGE, Advice::HugePage);
    for n in 0..3 {
        machine.write(at + n * HUGE + 7, 10 + n as u8).unwrap();
    }
    let target = BASE + 9 * HUGE;
    let flags = MremapFlags::MAYMOVE | MremapFlags::FIXED;
    let moved = machine.space.mremap(at, 3 * HUGE, 3 * HUGE, flags, target).unwrap();
    assert_eq!(machine.space.usage(moved..moved + 3 * HUGE).anonymous_huge, 3 * HUGE);
    let again = machine.space.mremap(moved, 3 * HUGE, 3 * HUGE, flags, BASE + 4096).unwrap();
    assert_eq!(machine.space.usage(again..again + 3 * HUGE).anonymous_huge, 0);
    for n in 0..3 {
        assert_eq!(machine.read(again + n * HUGE + 7), Ok(10 + n as u8));
        assert_eq!(machine.read(moved + n * HUGE + 7), Err(FaultError::NotMapped));
    }
    assert_eq!(machine.space.resident().anonymous, 3 * HUGE);
}

#[test]
fn obey_the_policy() {
    let machine = Machine::new();
    let huge = |policy, advice: Option<Advice>| {
        machine.space.set_huge_page_policy(policy);
        let at = machine.map_anonymous(0, HUGE, MapFlags::empty()).unwrap();
        if let Some(advice) = advice {
            advise(&machine, at, HUGE, advice);
        }
        machine.write(at, 1).unwrap();
        let huge = machine.space.usage(at..at + HUGE).anonymous_huge;
        machine.space.munmap(at, HUGE).unwrap();
        huge != 0
    };
    use HugePagePolicy::*;
    assert!(huge(Always, None) && huge(Always, Some(Advice::HugePage)));
    assert!(!huge(Always, Some(Advice::NoHugePage)));
    assert!(!huge(Madvise, None) && huge(Madvise, Some(Advice::HugePage)));
    assert!(!huge(Never, Some(Advice::HugePage)));
}

#[test]
fn flags_of_a_part_split_too() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, HUGE, MapFlags::empty()).unwrap();
    advise(&machine, at, HUGE, Advice::HugePage);
    machine.write(at, 1).unwrap();
    machine.write(at + HUGE - 1, 2).unwrap();
    machine.space.mlock(at + HUGE / 2, HUGE / 2, 0).unwrap();
    // The locked half stays when the other is dropped.
    advise(&machine, at, HUGE / 2, Advice::DontNeed);
    assert_eq!((machine.read(at), machine.read(at + HUGE - 1)), (Ok(0), Ok(2)));
}

#[test]
fn harvest_gives_what_was_written() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 8 * 4096, MapFlags::empty()).unwrap();
    (0..8).for_each(|n| machine.write(at + n * 4096, 1).unwrap());
    let dirty = || {
        let mut pages = Vec::new();
        machine.space.harvest(at..at + 8 * 4096, EntryFlags::DIRTY, |address, _, _| {
            pages.push((address - at) / 4096);
        });
        pages
    };
    assert_eq!(dirty().len(), 8);
    assert_eq!(dirty().len(), 0);
    machine.write(at + 3 * 4096, 1).unwrap();
    machine.read(at + 4 * 4096).unwrap();
    machine.write(at + 6 * 4096, 1).unwrap();
    // Going through no access and back is not writing.
    machine.space.mprotect(at, 8 * 4096, 0).unwrap();
    machine.space.mprotect(at, 8 * 4096, 3).unwrap();
    assert_eq!(dirty(), [3, 6]);
}
