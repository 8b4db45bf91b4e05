//! Real files (the test program itself, the host's dynamic linker and C library) and hostile ones.

use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};
use linux_abi::{Errno, memory::Prot};
use proptest::prelude::*;

use crate::{ImageKind, LoadPlan, PAGE_SIZE, Segment, StackProtection, Symbols, USER_END};

/// A program header, for files made here.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

const TABLE_OFFSET: u64 = 64;

/// The bytes of an ELF file with these program headers, and `length` bytes in all.
fn file(kind: u16, entry: u64, headers: &[Header], length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(b"\x7fELF\x02\x01\x01");
    bytes.resize(16, 0);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(62u16.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(entry.to_le_bytes());
    bytes.extend(TABLE_OFFSET.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for field in [64u16, 56, headers.len() as u16, 64, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    for header in headers {
        bytes.extend(header.kind.to_le_bytes());
        bytes.extend(header.flags.to_le_bytes());
        for field in [
            header.offset,
            header.address,
            header.address,
            header.file_size,
            header.memory_size,
            header.align,
        ] {
            bytes.extend(field.to_le_bytes());
        }
    }
    bytes.resize(bytes.len().max(length), 0);
    bytes
}

const EXEC: u16 = 2;
const DYN: u16 = 3;

fn load(address: u64, offset: u64, file_size: u64, memory_size: u64) -> Header {
    Header { kind: PT_LOAD, flags: PF_R | PF_W, offset, address, file_size, memory_size, align: PAGE_SIZE }
}

fn plan(kind: u16, headers: &[Header]) -> Result<LoadPlan, Errno> {
    LoadPlan::read(file(kind, 0x1000, headers, 0x4000).as_slice())
}

fn own_image() -> Vec<u8> {
    std::fs::read(std::env::current_exe().unwrap()).unwrap()
}

/// What carrying out a plan relies on.
fn assert_sound(plan: &LoadPlan) {
    assert!(!plan.segments().is_empty());
    let range = plan.address_range();
    assert!(range.start < range.end && range.end <= USER_END);
    assert!(plan.alignment().is_power_of_two() && plan.alignment() >= PAGE_SIZE);
    let mut lowest = 0;
    for segment in plan.segments() {
        assert_eq!(segment.start % PAGE_SIZE, 0);
        assert_eq!(segment.file_offset % PAGE_SIZE, 0);
        assert!(segment.file_bytes <= segment.memory_bytes && segment.memory_bytes > 0);
        assert!(segment.file_pages() <= segment.pages());
        assert!(segment.file_offset.checked_add(segment.file_pages()).unwrap() <= i64::MAX as u64);
        assert!(segment.zeroed().end <= segment.file_pages());
        assert!(segment.zeroed().end - segment.zeroed().start < PAGE_SIZE);
        assert!(segment.start >= lowest && range.contains(&segment.start) && segment.end() <= range.end);
        // The next may begin in this one's last page.
        lowest = (segment.end() - PAGE_SIZE).max(segment.start);
    }
    if let Some(path) = plan.interpreter() {
        assert!(!path.is_empty() && path.len() < 4096 && !path.contains(&0));
    }
}

#[test]
fn this_program_is_position_independent_with_an_interpreter() {
    let image = own_image();
    let plan = LoadPlan::read(image.as_slice()).unwrap();
    assert_sound(&plan);
    assert_eq!(plan.kind(), ImageKind::PositionIndependent);
    assert_eq!(plan.interpreter(), Some(b"/lib64/ld-linux-x86-64.so.2".as_slice()));
    assert_eq!(plan.stack(), StackProtection::NotExecutable);
    assert_eq!(plan.program_headers(0x1000), 0x1000 + 64);
    assert!(plan.segments().iter().any(|s| s.prot == Prot::READ | Prot::EXEC));
    assert!(plan.segments().iter().any(|s| s.prot == Prot::READ | Prot::WRITE && !s.zeroed().is_empty()));
}

#[test]
fn the_interpreter_has_none_itself() {
    let Ok(image) = std::fs::read("/lib64/ld-linux-x86-64.so.2") else { return };
    let plan = LoadPlan::read(image.as_slice()).unwrap();
    assert_sound(&plan);
    assert_eq!(plan.interpreter(), None);
    let entry = plan.entry(0);
    let code = plan.segments().iter().find(|s| (s.start..s.end()).contains(&entry)).unwrap();
    assert!(code.prot.contains(Prot::EXEC));
}

/// Runs in this process: the mappings that Linux made of the same file must be those of the plan.
#[test]
fn the_plan_is_what_linux_mapped() {
    let path = std::env::current_exe().unwrap();
    let plan = LoadPlan::read(own_image().as_slice()).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped: Vec<(u64, u64, u64)> = maps
        .lines()
        .filter(|line| line.ends_with(path.to_str().unwrap()))
        .map(|line| {
            let mut fields = line.split_whitespace();
            let (start, end) = fields.next().unwrap().split_once('-').unwrap();
            let offset = fields.nth(1).unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(start), number(end), number(offset))
        })
        .collect();
    let bias = plan.bias_for(mapped[0].0);
    let covered = |address: u64, offset: u64| {
        mapped
            .iter()
            .any(|(start, end, at)| (*start..*end).contains(&address) && at + (address - start) == offset)
    };
    for segment in plan.segments() {
        for page in (0..segment.file_pages()).step_by(PAGE_SIZE as usize) {
            let address = bias + segment.start + page;
            assert!(covered(address, segment.file_offset + page), "{segment:x?} at {address:x}\n{maps}");
        }
    }
}

#[test]
fn a_segment_is_cut_into_pages() {
    let plan = plan(DYN, &[load(0x1234, 0x234, 0x100, 0x3000)]).unwrap();
    let expected = Segment {
        start: 0x1000,
        file_offset: 0,
        file_bytes: 0x334,
        memory_bytes: 0x3234,
        prot: Prot::READ | Prot::WRITE,
    };
    assert_eq!(plan.segments(), [expected]);
    assert_eq!((expected.file_pages(), expected.pages()), (0x1000, 0x4000));
    assert_eq!(expected.zeroed(), 0x334..0x1000);
    assert_eq!(plan.address_range(), 0x1000..0x5000);
}

#[test]
fn a_segment_of_zeroes_needs_no_file() {
    let plan = plan(DYN, &[load(0x1800, 0x77, 0, 0x1000)]).unwrap();
    let segment = plan.segments()[0];
    assert_eq!((segment.file_pages(), segment.pages(), segment.zeroed().is_empty()), (0, 0x2000, true));
}

#[test]
fn segments_may_share_a_page_but_not_bytes() {
    assert!(plan(DYN, &[load(0x1000, 0, 0x800, 0x800), load(0x1800, 0x800, 0x800, 0x800)]).is_ok());
    assert_eq!(
        plan(DYN, &[load(0x1000, 0, 0x801, 0x801), load(0x1800, 0x800, 0x800, 0x800)]),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        plan(DYN, &[load(0x2000, 0, 0x100, 0x100), load(0x1000, 0, 0x100, 0x100)]),
        Err(Errno::EINVAL)
    );
}

#[test]
fn impossible_segments_are_refused() {
    for segment in [
        load(0x1000, 0x800, 0x100, 0x100),
        load(0x1000, 0, 0x200, 0x100),
        load(USER_END, 0, 0x100, 0x100),
        load(USER_END - 0x1000, 0, 0, 0x1001),
        load(0x1000, 0, 0, u64::MAX),
        load(!0xfff, 0, 0x1000, 0x1000),
        load(0xffff_ffff_8000_0000, 0, 0x1000, 0x1000),
        load(0x1000, !0xfff, 0x1000, 0x1000),
        load(0x1000, i64::MAX as u64 & !0xfff, 0x1000, 0x1000),
    ] {
        assert_eq!(plan(DYN, &[segment]), Err(Errno::EINVAL));
        assert_eq!(plan(EXEC, &[segment]), Err(Errno::EINVAL));
    }
    assert_eq!(plan(EXEC, &[load(0, 0, 0x100, 0x100)]), Err(Errno::EPERM));
    assert_eq!(plan(DYN, &[load(0, 0, 0, USER_END)]), Err(Errno::ENOMEM));
    assert_eq!(plan(DYN, &[Header { align: 1 << 63, ..load(0, 0, 1, 1) }]), Err(Errno::ENOMEM));
    assert_eq!(plan(DYN, &[load(0x1000, 0, 0, 0)]), Err(Errno::EINVAL));
    assert_eq!(plan(DYN, &[Header { kind: PT_PHDR, ..load(0x1000, 0, 1, 1) }]), Err(Errno::EINVAL));
    let bad_entry = file(EXEC, USER_END, &[load(0x1000, 0, 1, 1)], 0x1000);
    assert_eq!(LoadPlan::read(bad_entry.as_slice()), Err(Errno::EINVAL));
}

#[test]
fn the_interpreter_must_be_a_string() {
    let headers =
        |offset, size| [load(0x1000, 0, 1, 1), Header { kind: PT_INTERP, ..load(0, offset, size, size) }];
    let mut bytes = file(DYN, 0x1000, &headers(0x300, 5), 0x400);
    bytes[0x300..0x305].copy_from_slice(b"/ld\0\0");
    assert_eq!(LoadPlan::read(bytes.as_slice()).unwrap().interpreter(), Some(b"/ld".as_slice()));
    bytes[0x304] = b'x';
    assert_eq!(LoadPlan::read(bytes.as_slice()), Err(Errno::ENOEXEC));
    for (offset, size) in [(0x300, 0), (0x300, 1), (0x300, 4097), (0x3ff, 2), (u64::MAX, 2), (0x300, 5)] {
        assert_eq!(
            LoadPlan::read(file(DYN, 0, &headers(offset, size), 0x400).as_slice()),
            Err(Errno::ENOEXEC)
        );
    }
}

#[test]
fn the_stack_is_as_the_file_asks() {
    let with = |flags| {
        plan(DYN, &[load(0x1000, 0, 1, 1), Header { kind: PT_GNU_STACK, flags, ..Header::default() }])
    };
    assert_eq!(with(PF_R | PF_W | PF_X).unwrap().stack(), StackProtection::Executable);
    assert_eq!(with(PF_R | PF_W).unwrap().stack(), StackProtection::NotExecutable);
    assert_eq!(plan(DYN, &[load(0x1000, 0, 1, 1)]).unwrap().stack(), StackProtection::Unspecified);
}

#[test]
fn other_files_are_not_programs() {
    let good = file(DYN, 0x1000, &[load(0x1000, 0, 1, 1)], 0x400);
    assert!(LoadPlan::read(good.as_slice()).is_ok());
    for (offset, value) in [(0, 0), (4, 1), (5, 2), (16, 1), (18, 3), (54, 55), (56, 0), (56, 74)] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert_eq!(LoadPlan::read(bad.as_slice()), Err(Errno::ENOEXEC), "byte {offset} = {value}");
    }
    assert_eq!(LoadPlan::read(b"#!/bin/sh\n".as_slice()), Err(Errno::ENOEXEC));
    assert_eq!(LoadPlan::read([].as_slice()), Err(Errno::ENOEXEC));
}

#[test]
fn a_file_cut_short_is_refused_and_never_panics() {
    let image = own_image();
    let end_of_headers = 64 + 56 * LoadPlan::read(image.as_slice()).unwrap().program_header_count() as usize;
    for length in 0..end_of_headers {
        assert_eq!(LoadPlan::read(&image[..length]), Err(Errno::ENOEXEC), "{length}");
        assert!(Symbols::parse(&image[..length]).is_none());
    }
}

/// Every byte of the headers, each with the values that are most likely to hurt.
#[test]
fn every_damaged_byte_gives_a_sound_plan_or_an_error() {
    let mut image = own_image();
    image.truncate(0x2000);
    for index in 0..64 + 56 * 14 {
        let original = image[index];
        for value in [0, 1, 0x7f, 0x80, 0xff, original ^ 1, original.wrapping_add(1)] {
            image[index] = value;
            if let Ok(plan) = LoadPlan::read(image.as_slice()) {
                assert_sound(&plan);
            }
        }
        image[index] = original;
    }
}

#[test]
fn a_function_is_found_by_its_address() {
    let image = own_image();
    let symbols = Symbols::parse(&image).unwrap();
    let plan = LoadPlan::read(image.as_slice()).unwrap();
    let here = a_function_is_found_by_its_address as fn() as usize as u64;
    let base = std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .find(|line| line.ends_with(std::env::current_exe().unwrap().to_str().unwrap()))
        .map(|line| u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap())
        .unwrap();
    let found = symbols.lookup(here + 3 - plan.bias_for(base)).unwrap();
    assert!(found.name.contains("a_function_is_found_by_its_address"), "{found:?}");
    assert_eq!(found.offset, 3);
    assert_eq!(symbols.lookup(0), None);
    assert_eq!(symbols.lookup(u64::MAX), None);
}

fn any_header() -> impl Strategy<Value = Header> {
    let interesting = prop_oneof![
        0..0x8000u64,
        Just(0),
        Just(u64::MAX),
        Just(USER_END),
        Just(USER_END - PAGE_SIZE),
        any::<u64>(),
        (0..16u64).prop_map(|pages| pages * PAGE_SIZE),
    ];
    let kind =
        prop_oneof![4 => Just(PT_LOAD), 1 => Just(PT_INTERP), 1 => Just(PT_GNU_STACK), 1 => any::<u32>()];
    (
        kind,
        0..8u32,
        interesting.clone(),
        interesting.clone(),
        interesting.clone(),
        interesting.clone(),
        interesting,
    )
        .prop_map(|(kind, flags, offset, address, file_size, memory_size, align)| Header {
            kind,
            flags,
            offset,
            address,
            file_size,
            memory_size,
            align,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_headers_give_a_sound_plan_or_an_error(
        kind in 0..5u16, entry in any::<u64>(), headers in prop::collection::vec(any_header(), 0..8),
    ) {
        if let Ok(plan) = LoadPlan::read(file(kind, entry, &headers, 0x3000).as_slice()) {
            assert_sound(&plan);
        }
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic in any::<bool>()) {
        if magic && bytes.len() > 20 {
            bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        }
        let _ = LoadPlan::read(bytes.as_slice());
        if let Some(symbols) = Symbols::parse(&bytes) {
            let _ = symbols.lookup(0x1000);
        }
    }

    #[test]
    fn a_real_file_with_damage_never_panics(damage in prop::collection::vec((0..0x3000usize, any::<u8>()), 1..32)) {
        let mut image = own_image();
        let length = image.len();
        for (index, value) in damage {
            // The first pages, and as much of the end, where the section headers are.
            image[if index < 0x1800 { index } else { length - (index - 0x1800) - 1 }] = value;
        }
        if let Ok(plan) = LoadPlan::read(image.as_slice()) {
            assert_sound(&plan);
        }
        if let Some(symbols) = Symbols::parse(&image) {
            let _ = symbols.lookup(0x1000);
        }
    }
}
