//! The shared object as the kernel embeds it: what its ELF file says, and what the dynamic linker of this
//! machine, which is the application's, makes of it.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use goblin::elf::{Elf, program_header::*, section_header::SHN_UNDEF, sym::STB_WEAK};
use vdso_image::IMAGE;

const NAMES: [&str; 5] = ["clock_gettime", "gettimeofday", "clock_getres", "getcpu", "time"];

#[test]
fn it_is_one_segment_without_relocations() {
    let elf = Elf::parse(IMAGE).unwrap();
    assert_eq!(elf.soname, Some("linux-vdso.so.1"));
    assert!(elf.libraries.is_empty() && elf.interpreter.is_none());
    assert_eq!(elf.dynrelas.len() + elf.dynrels.len() + elf.pltrelocs.len() + elf.shdr_relocs.len(), 0);
    let segments: Vec<_> = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD).collect();
    let [segment] = segments[..] else { panic!("{segments:?}") };
    assert_eq!((segment.p_offset, segment.p_vaddr, segment.p_flags), (0, 0, PF_R | PF_X));
    assert_eq!(segment.p_filesz, segment.p_memsz, "no zeroed part");
    for header in &elf.program_headers {
        match header.p_type {
            PT_DYNAMIC | PT_GNU_EH_FRAME => assert_eq!(header.p_flags, PF_R),
            PT_GNU_STACK => assert_eq!(header.p_flags, PF_R | PF_W),
            PT_LOAD => {}
            other => panic!("program header {other:#x}"),
        }
    }
    assert!(IMAGE.len() <= 2 * 4096, "{} bytes", IMAGE.len());
}

#[test]
fn every_symbol_is_defined_and_has_its_version() {
    let elf = Elf::parse(IMAGE).unwrap();
    let versions = elf.versym.as_ref().unwrap();
    let definitions = elf.verdef.as_ref().unwrap();
    let find = |name: &str| {
        let (index, symbol) = elf
            .dynsyms
            .iter()
            .enumerate()
            .find(|(_, symbol)| elf.dynstrtab.get_at(symbol.st_name) == Some(name))
            .unwrap_or_else(|| panic!("no {name}"));
        let version = versions.get_at(index).unwrap().version();
        let definition = definitions.iter().find(|definition| definition.vd_ndx == version).unwrap();
        let version_name = definition.iter().next().unwrap().vda_name;
        assert_eq!(elf.dynstrtab.get_at(version_name), Some("LINUX_2.6"), "{name}");
        symbol
    };
    for name in NAMES {
        let prefixed = find(&format!("__vdso_{name}"));
        let plain = find(name);
        assert!(prefixed.is_function() && plain.is_function() && prefixed.st_size > 0);
        assert_eq!(plain.st_value, prefixed.st_value);
        assert_eq!(plain.st_bind(), STB_WEAK);
    }
    let undefined = elf.dynsyms.iter().skip(1).filter(|symbol| symbol.st_shndx == SHN_UNDEF as usize).count();
    assert_eq!(undefined, 0);
    assert_eq!(elf.dynsyms.len(), 1 + 2 * NAMES.len() + 1, "the names, and the version itself");
}

#[test]
fn the_dynamic_linker_finds_the_functions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("linux-vdso.so");
    std::fs::write(&path, IMAGE).unwrap();
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the object has no constructors, and nothing of it is called here.
    unsafe {
        let object = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!object.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
        for name in NAMES {
            for name in [name.to_string(), format!("__vdso_{name}")] {
                let symbol = CString::new(name).unwrap();
                assert!(
                    !libc::dlvsym(object, symbol.as_ptr(), c"LINUX_2.6".as_ptr()).is_null(),
                    "{symbol:?}"
                );
                assert!(libc::dlvsym(object, symbol.as_ptr(), c"LINUX_2.7".as_ptr()).is_null(), "{symbol:?}");
            }
        }
        assert_eq!(libc::dlclose(object), 0);
    }
}
