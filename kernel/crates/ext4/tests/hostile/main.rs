//! Damaged and hostile images: errors, never a panic, never an endless loop, never all the memory.
//!
//! Images are made here that have everything a reader has to believe in: a tree of directories with an index,
//! fragmented files, attributes, links, a journal to replay and inodes to free. Each round then changes one in
//! some places, and mounts, reads, changes, trims and unmounts it: anywhere ([`scatter`]), or field by field ([`structures`]). A seed gives the
//! same image each time. `CREMA_EXT4_FACTOR` makes so many times as many, `CREMA_EXT4_SEED` others.
//!
//! Compiled with counters ([`coverage`]) the search goes on from what has reached something new.

#[path = "../support/mod.rs"]
mod support;

mod coverage;
mod harness;
mod images;
mod scatter;
mod structures;

use std::collections::BTreeMap;

use coverage::Coverage;
use images::bases;
use structures::{Edit, Map, apply};
use support::{Random, first_seed, rounds};

/// Which base a round takes: most have no checksums.
const CHOICES: [usize; 6] = [0, 0, 0, 1, 1, 2];

/// What went wrong, and with which seeds.
#[derive(Default)]
struct Failures(BTreeMap<String, Vec<u64>>);

impl Failures {
    fn note(&mut self, seed: u64, outcome: Result<(), String>) {
        if let Err(failure) = outcome {
            self.0.entry(failure).or_default().push(seed);
        }
    }

    fn judge(&self) {
        for (failure, seeds) in &self.0 {
            let more = if seeds.len() > 5 { ", ..." } else { "" };
            eprintln!("{failure}: seeds {:?}{more}", &seeds[..seeds.len().min(5)]);
        }
        assert!(self.0.is_empty(), "{} ways to fail", self.0.len());
    }
}

/// One at a time: memory, panics and edges are counted for all of the process.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn damaged_images_give_errors() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bases = bases();
    if bases.is_empty() {
        return;
    }
    harness::be_quiet();
    let mut failures = Failures::default();
    for seed in first_seed()..first_seed() + rounds(120) {
        let random = &mut Random::new(seed);
        let mut image = bases[CHOICES[random.below(6) as usize]].clone();
        scatter::damage(&mut image, random);
        failures.note(seed, harness::outcome(image));
    }
    failures.judge();
}

/// Each field of each structure, with what is nasty in it, alone and with others.
#[test]
fn hostile_fields_give_errors() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bases = bases();
    if bases.is_empty() {
        return;
    }
    harness::be_quiet();
    let maps: Vec<Map> = bases.iter().map(|base| Map::of(base)).collect();
    // What all of this is about is there.
    let kinds: Vec<_> = maps[0].kinds().chain(maps[1].kinds()).collect();
    for kind in [
        "superblock",
        "group descriptor",
        "bitmap",
        "inode",
        "extent header",
        "extent",
        "block map",
        "directory entry",
        "directory index",
        "attribute",
        "attribute block",
        "journal record",
        "journal superblock",
        "journal descriptor",
    ] {
        assert!(kinds.contains(&kind), "there is no {kind}");
    }
    let mut coverage = Coverage::default();
    // Changes that have reached something, of which base.
    let mut corpus: Vec<(usize, Vec<Edit>)> = Vec::new();
    let mut failures = Failures::default();
    for seed in first_seed()..first_seed() + rounds(400) {
        let random = &mut Random::new(seed ^ 0x5eed);
        let (base, mut edits) = match corpus.len() as u64 {
            0 => (CHOICES[random.below(6) as usize], Vec::new()),
            _ if random.below(3) == 0 => (CHOICES[random.below(6) as usize], Vec::new()),
            count => corpus[random.below(count) as usize].clone(),
        };
        for _ in 0..1 + random.below(3) {
            edits.push(maps[base].change(&bases[base], random));
        }
        let mut image = bases[base].clone();
        apply(&mut image, &edits);
        Coverage::reset();
        failures.note(seed, harness::outcome(image));
        if coverage.is_new() && edits.len() < 40 {
            corpus.push((base, edits));
        }
    }
    if Coverage::is_counted() {
        eprintln!("{} edges, {} inputs that found some", coverage.count(), corpus.len());
    }
    failures.judge();
}
