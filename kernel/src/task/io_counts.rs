//! What threads read and write by calls, for `/proc/self/io`.
//!
//! A thread changes only its own counts, so it needs no atomic addition for them.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_abi::Errno;
use proc_fs::IoCounts;

use super::{current, threads};

/// The counts of one thread, or of all that ended.
pub struct Counts {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

static OF_ENDED: Counts = Counts::new();

impl Counts {
    /// Nothing yet.
    pub const fn new() -> Self {
        let [read_bytes, written_bytes, reads, writes] = [const { AtomicU64::new(0) }; 4];
        Self { read_bytes, written_bytes, reads, writes }
    }

    /// What they say now.
    pub fn get(&self) -> IoCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        IoCounts {
            read_bytes: load(&self.read_bytes),
            written_bytes: load(&self.written_bytes),
            reads: load(&self.reads),
            writes: load(&self.writes),
        }
    }

    fn fields(&self) -> [&AtomicU64; 4] {
        [&self.read_bytes, &self.written_bytes, &self.reads, &self.writes]
    }
}

fn count(calls: &AtomicU64, bytes: &AtomicU64, done: usize) {
    calls.store(calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    bytes.store(bytes.load(Ordering::Relaxed) + done as u64, Ordering::Relaxed);
}

/// Counts a call of the running thread that read, and passes its result on.
pub fn count_read(result: Result<usize, Errno>) -> Result<usize, Errno> {
    let counts = &current().io;
    count(&counts.reads, &counts.read_bytes, result.unwrap_or(0));
    result
}

/// Counts a call of the running thread that wrote, and passes its result on.
pub fn count_write(result: Result<usize, Errno>) -> Result<usize, Errno> {
    let counts = &current().io;
    count(&counts.writes, &counts.written_bytes, result.unwrap_or(0));
    result
}

/// A thread ended: its counts go to those of all that did.
pub(super) fn keep(counts: &Counts) {
    for (sum, last) in OF_ENDED.fields().into_iter().zip(counts.fields()) {
        sum.fetch_add(last.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// What the whole process read and wrote.
pub fn of_process() -> IoCounts {
    threads().iter().map(|thread| thread.io.get()).fold(OF_ENDED.get(), |sum, one| IoCounts {
        read_bytes: sum.read_bytes + one.read_bytes,
        written_bytes: sum.written_bytes + one.written_bytes,
        reads: sum.reads + one.reads,
        writes: sum.writes + one.writes,
    })
}
