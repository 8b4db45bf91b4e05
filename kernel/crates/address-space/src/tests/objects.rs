//! Objects that change under their mappings.

use linux_abi::memory::MremapFlags;

use super::*;
use crate::Identity;

const SHARED: u32 = 1;
const PRIVATE: u32 = 2;

#[test]
fn private_copies_and_shared_writes() {
    let machine = Machine::new();
    let file = TestFile::new(10);
    let shared = machine.map_file(BASE, 10 * 4096, SHARED, &file, 0);
    let private = machine.map_file(BASE + (1 << 20), 10 * 4096, PRIVATE, &file, 0);
    assert_eq!(machine.read(private + 2 * 4096), Ok(pattern(2)));
    assert!(file.state().dirty.is_empty());
    machine.write(shared + 2 * 4096, 7).unwrap();
    assert_eq!(machine.read(private + 2 * 4096), Ok(7), "unwritten private pages show the file");
    machine.write(private + 2 * 4096, 8).unwrap();
    assert_eq!((machine.read(shared + 2 * 4096), machine.read(private + 2 * 4096)), (Ok(7), Ok(8)));
    machine.write(private + 3 * 4096, 9).unwrap();
    assert_eq!(machine.read(shared + 3 * 4096), Ok(pattern(3)));
    assert_eq!(Vec::from_iter(file.state().dirty.drain()), [2]);
    let resident = machine.space.resident();
    assert_eq!(resident.anonymous, 2 * 4096);
    machine.space.madvise(private, 10 * 4096, 4).unwrap();
    assert_eq!(machine.read(private + 2 * 4096), Ok(7));
    assert_eq!(machine.space.resident().anonymous, 0);
}

#[test]
fn reads_map_what_is_at_hand_around() {
    let machine = Machine::new();
    let file = TestFile::new(64);
    (0..64).for_each(|index| drop(file.page(index, PageAccess::Read)));
    let at = machine.map_file(BASE, 64 * 4096, PRIVATE, &file, 0);
    machine.read(at + 20 * 4096).unwrap();
    // The window is pages 16..32; one in three needs the slow way, and the page itself is there.
    let mapped: Vec<_> = (0..64).filter(|n| machine.space.table.query(at + n * 4096).is_some()).collect();
    let expected: Vec<_> = (16..32).filter(|n| n % 3 != 0).collect();
    assert_eq!(mapped, expected);
}

#[test]
fn truncation_unmaps_and_write_back_protects() {
    let machine = Machine::new();
    let file = TestFile::new(10);
    let shared = machine.map_file(BASE, 10 * 4096, SHARED, &file, 0);
    let private = machine.map_file(BASE + (1 << 20), 4 * 4096, PRIVATE, &file, 4 * 4096);
    (0..10).for_each(|n| machine.write(shared + n * 4096, n as u8).unwrap());
    machine.write(private + 3 * 4096, 99).unwrap();
    machine.write(private, 98).unwrap();

    file.state().dirty.clear();
    assert!(machine.space.write_protect_object_range(&*file, 2..5));
    assert!(!machine.space.write_protect_object_range(&*file, 2..5));
    (0..10).for_each(|n| machine.write(shared + n * 4096, n as u8).unwrap());
    let mut dirty = Vec::from_iter(file.state().dirty.drain());
    dirty.sort();
    assert_eq!(dirty, [2, 3, 4]);

    {
        let mut state = file.state();
        state.len_pages = 6;
        state.pages.retain(|index, _| *index < 6);
    }
    machine.space.unmap_object_range(&*file, 6..u64::MAX, PrivateCopies::Unmap);
    for n in 0..10 {
        let expected = if n < 6 { Ok(n as u8) } else { Err(FaultError::BeyondObject) };
        assert_eq!(machine.read(shared + n * 4096), expected);
    }
    assert_eq!(machine.read(private), Ok(98));
    assert_eq!(machine.read(private + 3 * 4096), Err(FaultError::BeyondObject), "private copies go too");
    assert!(file.state().pages.values().all(|page| page.ref_count() <= 2));

    // An object that is not mapped costs no walk, and one that is mapped again is found again.
    machine.space.munmap(BASE, 2 << 20).unwrap();
    machine.space.unmap_object_range(&*file, 0..1, PrivateCopies::Unmap);
    assert!(machine.space.mapped_objects.lock().is_empty());
    let again = machine.map_file(BASE, 4096, SHARED, &file, 0);
    machine.write(again, 1).unwrap();
    assert!(machine.space.write_protect_object_range(&*file, 0..1));
}

#[test]
fn replaced_pages_are_asked_for_again_but_private_copies_stay() {
    let machine = Machine::new();
    let file = TestFile::new(4);
    let shared = machine.map_file(BASE, 4 * 4096, SHARED, &file, 0);
    let private = machine.map_file(BASE + (1 << 20), 4 * 4096, PRIVATE, &file, 0);
    (0..4).for_each(|n| machine.write(shared + n * 4096, n as u8).unwrap());
    machine.write(private, 99).unwrap();
    assert_eq!(machine.read(private + 4096), Ok(1));

    file.state().pages.values_mut().for_each(|page| *page = page.duplicate().unwrap());
    file.state().pages.values().for_each(|page| page.write(0, &[50]));
    assert_eq!(machine.read(shared + 4096), Ok(1));
    machine.space.unmap_object_range(&*file, 0..3, PrivateCopies::Keep);
    for (n, expected) in [50, 50, 50, 3].into_iter().enumerate() {
        assert_eq!(machine.read(shared + n * 4096), Ok(expected));
    }
    assert_eq!((machine.read(private), machine.read(private + 4096)), (Ok(99), Ok(50)));
}

#[test]
fn a_length_of_zero_duplicates_a_shared_mapping() {
    let machine = Machine::new();
    let at = machine
        .space
        .mmap(MapRequest {
            address: 0,
            len: 8 * 4096,
            prot: Prot::READ | Prot::WRITE,
            map_type: SHARED,
            flags: MapFlags::ANONYMOUS,
            source: None,
            offset: 0,
        })
        .unwrap();
    machine.write(at + 4096, 5).unwrap();
    let other = machine.space.mremap(at, 0, 8 * 4096, MremapFlags::MAYMOVE, 0).unwrap();
    assert_ne!(at, other);
    assert_eq!(machine.read(other + 4096), Ok(5));
    machine.write(other, 6).unwrap();
    assert_eq!(machine.space.identify(at + 5), machine.space.identify(other + 5));
    assert!(matches!(machine.space.identify(at + 4099), Ok(Identity::Shared { offset: 4099, .. })));
    assert_eq!(machine.space.identify(0), Err(Errno::EFAULT));
    assert_eq!(machine.read(at), Ok(6));
    assert_eq!(machine.space.resident().shared_memory, 4 * 4096);
    // And one that grows past its object is a bus error there.
    let grown = machine.space.mremap(other, 8 * 4096, 9 * 4096, MremapFlags::MAYMOVE, 0).unwrap();
    assert_eq!(machine.read(grown + 8 * 4096), Err(FaultError::BeyondObject));
}

#[test]
fn residency_and_rights() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 4 * 4096, MapFlags::empty()).unwrap();
    machine.write(at + 4096, 1).unwrap();
    let mut seen = Vec::new();
    machine
        .space
        .mincore(at, 4 * 4096, |part| {
            seen.extend_from_slice(part);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [0, 1, 0, 0]);
    assert_eq!(machine.access(at + 4096, Access::Execute, |_| ()), Err(FaultError::NoAccess));
    machine.space.mprotect(at, 4 * 4096, 5).unwrap();
    assert_eq!(machine.access(at + 4096, Access::Execute, |_| ()), Ok(()));
    assert_eq!(machine.write(at + 4096, 1), Err(FaultError::NoAccess));
    assert_eq!(machine.read(at + 4096), Ok(1));
    machine.space.mprotect(at, 4 * 4096, 0).unwrap();
    assert_eq!(machine.read(at + 4096), Err(FaultError::NoAccess));
    // Write-only memory can be read on x86.
    machine.space.mprotect(at, 4 * 4096, 2).unwrap();
    assert_eq!((machine.read(at + 4096), machine.read(at)), (Ok(1), Ok(0)));
}

#[test]
fn terabytes_cost_nothing() {
    let machine = Machine::new();
    let at = machine.map_anonymous(0, 16 << 40, MapFlags::NORESERVE).unwrap();
    machine.space.mprotect(at, 16 << 40, 0).unwrap();
    assert_eq!(machine.space.table_bytes(), 0);
    machine.space.munmap(at, 16 << 40).unwrap();
    assert_eq!(machine.space.mapped_bytes(), 0);
}
