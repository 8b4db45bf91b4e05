//! Against damaged copies of the libjvm of a JDK (found as in `vm_structs_tests`). Without one the tests pass and say that
//! they did nothing. What needs a VM is in `tests/gc_assist.rs`.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::vm_structs::tests::find_library;

fn refusal(result: Result<Symbols, Missing>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(Missing(why)) => why,
    }
}

/// A file of this test's own with `contents`.
fn scratch(name: &str, contents: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("crema-gc-assist-{}-{name}", std::process::id()));
    fs::write(&path, contents).unwrap();
    path
}

#[test]
fn modes_are_read() {
    assert_eq!(Mode::parse(None), Some(Mode::Off));
    assert_eq!(Mode::parse(Some(b"off")), Some(Mode::Off));
    assert_eq!(Mode::parse(Some(b"dirty")), Some(Mode::Dirty));
    assert_eq!(Mode::parse(Some(b"trap")), Some(Mode::Trap));
    assert_eq!(Mode::parse(Some(b"on")), None);
}

#[test]
fn the_names_are_found_in_the_distribution_s_library() {
    let Some(library) = find_library() else { return };
    let base = 0x1000_0000;
    let symbols = Symbols::read(&library, base).unwrap();
    let vtable = symbols.object("_ZTV10SerialHeap").unwrap();
    assert!(vtable.address > base && vtable.bytes > 64);
    assert!(symbols.function("_ZN16GenCollectedHeap11gc_prologueEb").is_ok());
    assert!(symbols.object("_ZN16GenCollectedHeap11gc_prologueEb").is_err());
    assert!(symbols.function("_ZN16GenCollectedHeap12no_such_nameEb").is_err());
}

#[test]
fn damaged_libraries_are_refused() {
    let Some(library) = find_library() else { return };
    let whole = fs::read(&library).unwrap();
    // The section table is at the end.
    let cut = scratch("cut", &whole[..whole.len() - 1000]);
    assert!(refusal(Symbols::read(&cut, 0)).contains("damaged"));
    let short = scratch("short", &whole[..40]);
    assert!(refusal(Symbols::read(&short, 0)).contains("damaged"));
    let other =
        scratch("other", b"#!/bin/sh\necho this is no library, but it is long enough for a header of one\n");
    assert!(refusal(Symbols::read(&other, 0)).contains("damaged"));
    for file in [cut, short, other] {
        fs::remove_file(file).unwrap();
    }
    assert!(Symbols::read(&PathBuf::from("/no/such/libjvm.so"), 0).is_err());
}

#[test]
fn a_library_without_symbols_is_refused() {
    let Some(library) = find_library() else { return };
    let mut bytes = fs::read(&library).unwrap();
    // Its table of symbols becomes one of nothing (SHT_NULL).
    let at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (first, count) = (at(&bytes, 40), usize::from(bytes[60]));
    for section in (0..count).map(|n| first + n * 64) {
        if bytes[section + 4] == 2 {
            bytes[section + 4] = 0;
        }
    }
    let stripped = scratch("stripped", &bytes);
    assert!(refusal(Symbols::read(&stripped, 0)).contains("no symbol table"));
    fs::remove_file(stripped).unwrap();
}

#[test]
fn a_slot_is_changed_only_if_it_is_the_only_one() {
    #[repr(C, align(4096))]
    struct Page([usize; 512]);
    let mut page = Box::new(Page([0; 512]));
    page.0[..4].copy_from_slice(&[7, 8, 9, 8]);
    let vtable = symbols::Object { address: page.0.as_ptr() as usize, bytes: 32 };
    let mut slots = Slots::default();
    assert!(slots.redirect(vtable, 8, 1).is_err());
    assert!(slots.redirect(vtable, 6, 1).is_err());
    slots.redirect(vtable, 9, 1).unwrap();
    slots.write().unwrap();
    let word = |n: usize| {
        // SAFETY: a word of the page, which is readable.
        unsafe { page.0.as_ptr().add(n).read_volatile() }
    };
    assert_eq!([word(0), word(1), word(2), word(3)], [7, 8, 1, 8]);
    // The page was left read-only, like a vtable's; the allocator wants it back writable.
    // SAFETY: the page is this test's alone.
    let opened = unsafe {
        libc::mprotect(vtable.address as *mut libc::c_void, 4096, libc::PROT_READ | libc::PROT_WRITE)
    };
    assert_eq!(opened, 0);
}
