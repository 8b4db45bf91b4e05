//! Against the libjvm of a JDK (found by `JAVA_HOME`, else by `java` in `PATH`), in which no VM is made. Without one the
//! tests pass and say that they did nothing.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::*;

pub(crate) fn find_library() -> Option<PathBuf> {
    let from_path = || {
        let path = std::env::var_os("PATH")?;
        let java =
            std::env::split_paths(&path).map(|folder| folder.join("java")).find(|java| java.exists())?;
        Some(std::fs::canonicalize(java).ok()?.parent()?.parent()?.to_owned())
    };
    let home = std::env::var_os("JAVA_HOME").map(PathBuf::from).or_else(from_path)?;
    let library = home.join("lib/server/libjvm.so");
    library.exists().then_some(library)
}

/// The tables of this machine's JDK.
fn tables() -> Option<&'static VmStructs> {
    static TABLES: OnceLock<Option<VmStructs>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let path = CString::new(find_library()?.as_os_str().as_bytes()).ok()?;
        // SAFETY: HotSpot's initialisers only set variables of their own.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{path:?} cannot be loaded");
        // SAFETY: the handle is live and never closed.
        Some(unsafe { VmStructs::read(handle) }.unwrap())
    });
    if tables.is_none() {
        eprintln!("skipped: no JDK here (JAVA_HOME, or java in PATH)");
    }
    tables.as_ref()
}

#[test]
fn fields_of_the_collectors_are_found_with_their_types() {
    let Some(tables) = tables() else { return };
    let heap: StaticField<usize> =
        tables.static_field("Universe", "_collectedHeap", "CollectedHeap*").unwrap();
    // No VM has been made.
    assert_eq!(heap.read(), 0);
    let bottom: Field<usize> = tables.field("Space", "_bottom", "HeapWord*").unwrap();
    let end: Field<usize> = tables.field("Space", "_end", "HeapWord*").unwrap();
    assert!(bottom.offset() > 0 && end.offset() == bottom.offset() + 8);
    let space = [0usize, 0x1000, 0x2000, 0, 0, 0, 0, 0];
    // SAFETY: memory of ours in place of an object, longer than both offsets.
    unsafe {
        let object = space.as_ptr() as usize;
        assert!(end.offset() < size_of_val(&space));
        assert_eq!(bottom.read(object), space[bottom.offset() / 8]);
    }
    assert!(tables.type_size("ContiguousSpace").unwrap() > end.offset());
}

#[test]
fn what_is_not_as_expected_is_refused() {
    let Some(tables) = tables() else { return };
    let refused = |result: Result<(), Missing>| assert!(result.is_err());
    refused(tables.static_field::<usize>("Universe", "_noSuchField", "CollectedHeap*").map(drop));
    refused(tables.static_field::<usize>("Universe", "_collectedHeap", "SerialHeap*").map(drop));
    refused(tables.static_field::<i32>("Universe", "_collectedHeap", "CollectedHeap*").map(drop));
    refused(tables.static_field::<usize>("Space", "_bottom", "HeapWord*").map(drop));
    refused(tables.field::<usize>("Universe", "_collectedHeap", "CollectedHeap*").map(drop));
    refused(tables.type_size("NoSuchType").map(drop));
    refused(tables.int_constant("NoSuchConstant").map(drop));
}

#[test]
fn constants_are_read() {
    let Some(tables) = tables() else { return };
    assert_eq!(tables.int_constant("HeapWordSize").unwrap(), 8);
    assert_eq!(tables.long_constant("markWord::unlocked_value").unwrap(), 1);
}

#[test]
fn a_library_without_tables_is_refused() {
    // SAFETY: null opens the program itself, which is loaded for good.
    let handle = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_NOW) };
    // SAFETY: as above.
    let error = unsafe { VmStructs::read(handle) }.unwrap_err();
    assert!(error.to_string().contains("not exported"), "{error}");
}
