//! Cost in what a guest's processors do, and not in time: counted with the plugin in `benchmarks/net/count.c`.
//!
//! The figures depend little on how fast or busy the host is, so that two commits can be compared on any machine. Only TCG has plugins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::model::{Figure, Observation};
use crate::{
    failure::{Failure, Result},
    scratch::ScratchFolder,
};

/// 64-bit words for each CPU in the plugin's file, and for each mark; the first are the counts, in the order of [`Counts`].
const WORDS: usize = 8;
/// The CPUs come first; then how many marks there are, and the marks, with their numbers after their counts.
const CPUS: usize = 64;

/// A file that the plugin counts in, and its way into QEMU.
pub struct Counter {
    plugin: PathBuf,
    scratch: ScratchFolder,
}

/// Sums over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub instructions: u64,
    /// To registers of devices in memory, and to ports.
    pub device_accesses: u64,
    pub msr_writes: u64,
    pub halts: u64,
}

impl Counter {
    /// `programs` is the folder in which the plugin was built.
    pub fn new(programs: &Path) -> Result<Self> {
        Ok(Self {
            plugin: programs.join("net-count.so"),
            scratch: ScratchFolder::new_in(&std::env::temp_dir())?,
        })
    }

    pub fn qemu_arguments(&self) -> Vec<String> {
        vec!["-plugin".into(), format!("{},counts={}", self.plugin.display(), self.file().display())]
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("counts")
    }

    /// What was counted so far; only after the machine has started.
    pub fn read(&self) -> Result<Counts> {
        Ok(sum(&self.words()?))
    }

    /// What had been counted when the guest came to each of its marks, with their numbers.
    pub fn marks(&self) -> Result<Vec<(u64, Counts)>> {
        Ok(marks(&self.words()?))
    }

    fn words(&self) -> Result<Vec<u64>> {
        let file = self.file();
        let bytes = fs::read(&file).map_err(Failure::io("read", &file))?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().copied().map(u64::from_ne_bytes).collect())
    }
}

impl Counts {
    fn of(words: &[u64]) -> Self {
        Self { instructions: words[0], device_accesses: words[1], msr_writes: words[2], halts: words[3] }
    }

    /// What was counted after `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(before.instructions),
            device_accesses: self.device_accesses.saturating_sub(before.device_accesses),
            msr_writes: self.msr_writes.saturating_sub(before.msr_writes),
            halts: self.halts.saturating_sub(before.halts),
        }
    }

    /// Whatever would leave the guest on hardware.
    pub fn exits(&self) -> u64 {
        self.device_accesses + self.msr_writes + self.halts
    }
}

fn sum(words: &[u64]) -> Counts {
    let total = |place: usize| words.chunks_exact(WORDS).take(CPUS).map(|cpu| cpu[place]).sum();
    Counts { instructions: total(0), device_accesses: total(1), msr_writes: total(2), halts: total(3) }
}

fn marks(words: &[u64]) -> Vec<(u64, Counts)> {
    let mut blocks = words.chunks_exact(WORDS).skip(CPUS);
    let count = blocks.next().map_or(0, |block| block[0]);
    blocks.take(usize::try_from(count).unwrap_or(0)).map(|mark| (mark[4], Counts::of(mark))).collect()
}

/// What each of so many operations has cost.
pub fn per_operation(name: &str, counts: &Counts, operations: f64) -> Observation {
    let counts = [
        ("instructions", counts.instructions),
        ("device_accesses", counts.device_accesses),
        ("MSR_writes", counts.msr_writes),
        ("halts", counts.halts),
    ];
    let figure = |(what, count): (&str, u64)| {
        Figure::new(format!("{what}_per_{name}"), "1", count as f64 / operations)
    };
    Observation { figures: counts.into_iter().map(figure).collect(), ..Observation::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_summed_and_marks_are_read() {
        let mut words = vec![0; WORDS * CPUS];
        words[..4].copy_from_slice(&[1, 2, 3, 4]);
        words[WORDS..WORDS + 4].copy_from_slice(&[10, 20, 30, 40]);
        let expected = Counts { instructions: 11, device_accesses: 22, msr_writes: 33, halts: 44 };
        assert_eq!((sum(&words), marks(&words)), (expected, vec![]));
        words.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        words.extend([100, 0, 0, 0, 1, 0, 0, 0]);
        words.extend([300, 5, 6, 7, 2, 0, 0, 0]);
        // There is room for more.
        words.extend([0; WORDS]);
        assert_eq!(sum(&words), expected);
        let marks = marks(&words);
        assert_eq!(marks.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        let between = marks[1].1.since(&marks[0].1);
        assert_eq!((between.instructions, between.exits()), (200, 18));
    }

    #[test]
    fn counts_become_counts_per_operation() {
        let counts = Counts { instructions: 1000, halts: 5, ..Counts::default() };
        let seen = per_operation("request", &counts, 10.0);
        let values: Vec<f64> = seen.figures.iter().map(|figure| figure.value).collect();
        assert_eq!(values, [100.0, 0.0, 0.0, 0.5]);
        assert_eq!(seen.figures[3].name, "halts_per_request");
    }
}
