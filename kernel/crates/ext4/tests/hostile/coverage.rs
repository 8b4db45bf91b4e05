//! What of the code an input has reached, where the compiler was asked to count it.
//!
//! Stable Rust can: `RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
//! -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"` makes a counter for each edge (LLVM's SanitizerCoverage), and hands
//! them to the two functions here. Without it there are no counters, and nothing is ever new.

use std::{
    collections::HashSet,
    slice,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

static COUNTERS: Mutex<Vec<&'static [AtomicU8]>> = Mutex::new(Vec::new());

/// Called at the start for each module that was compiled so.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *const AtomicU8, end: *const AtomicU8) {
    let count = (end as usize).saturating_sub(start as usize);
    // SAFETY: LLVM's promise: an array of bytes that lives as long as the program; they are counted up without a lock, and only compared.
    let counters = unsafe { slice::from_raw_parts(start, count) };
    COUNTERS.lock().unwrap().push(counters);
}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_start: *const usize, _end: *const usize) {}

/// Edges, with how often they were taken, in powers of two.
#[derive(Default)]
pub struct Coverage {
    seen: HashSet<(usize, u32)>,
}

impl Coverage {
    pub fn is_counted() -> bool {
        !COUNTERS.lock().unwrap().is_empty()
    }

    /// Begins anew with the next input.
    pub fn reset() {
        COUNTERS
            .lock()
            .unwrap()
            .iter()
            .flat_map(|part| part.iter())
            .for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Whether the last input has reached something new.
    pub fn is_new(&mut self) -> bool {
        let counters = COUNTERS.lock().unwrap();
        let all = counters.iter().flat_map(|part| part.iter()).enumerate();
        let taken = all.filter_map(|(edge, count)| match count.load(Ordering::Relaxed) {
            0 => None,
            count => Some((edge, count.ilog2())),
        });
        let before = self.seen.len();
        self.seen.extend(taken);
        self.seen.len() > before
    }

    pub fn count(&self) -> usize {
        self.seen.iter().map(|(edge, _)| edge).collect::<HashSet<_>>().len()
    }
}
