//! What the fuzzers share.

use std::{fs, path::Path, sync::Once};

use frames::PageRef;
use packet::Fragment;

/// Bytes in a page frame.
pub fn page_of(bytes: &[u8]) -> Fragment {
    let page = PageRef::new_zeroed().expect("host memory");
    page.write(0, bytes);
    Fragment::new(page, 0, bytes.len())
}

/// Makes memory for frames, and puts `seeds` into the corpus that `CREMA_FUZZ_CORPUS` names.
pub fn begin(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        frames::host::init();
        let Some(folder) = std::env::var_os("CREMA_FUZZ_CORPUS") else { return };
        for (number, seed) in seeds().iter().enumerate() {
            let path = Path::new(&folder).join(format!("seed-{number}"));
            fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    });
}
