//! Counting what a guest's processors do, with the plugin in `benchmarks/net/count.c`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Failure, Result},
    scratch::ScratchFolder,
};

/// 64-bit words for each CPU in the plugin's file; the first are the counts, in the order of [`Counts`].
const WORDS_PER_CPU: usize = 8;

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
    pub fn new(plugin: &Path) -> Result<Self> {
        Ok(Self { plugin: plugin.into(), scratch: ScratchFolder::new_in(&std::env::temp_dir())? })
    }

    pub fn qemu_arguments(&self) -> Vec<String> {
        vec!["-plugin".into(), format!("{},counts={}", self.plugin.display(), self.file().display())]
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("counts")
    }

    /// What was counted so far; only after the machine has started.
    pub fn read(&self) -> Result<Counts> {
        let file = self.file();
        let bytes = fs::read(&file).map_err(Failure::io("read", &file))?;
        Ok(sum(&bytes))
    }
}

fn sum(bytes: &[u8]) -> Counts {
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words.iter().copied().map(u64::from_ne_bytes).collect();
    let total = |place: usize| words.chunks_exact(WORDS_PER_CPU).map(|cpu| cpu[place]).sum();
    Counts { instructions: total(0), device_accesses: total(1), msr_writes: total(2), halts: total(3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_summed() {
        let words: Vec<u64> = vec![1, 2, 3, 4, 0, 0, 0, 0, 10, 20, 30, 40, 0, 0, 0, 0];
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        let expected = Counts { instructions: 11, device_accesses: 22, msr_writes: 33, halts: 44 };
        assert_eq!(sum(&bytes), expected);
    }
}
