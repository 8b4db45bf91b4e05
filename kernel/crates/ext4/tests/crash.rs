//! Power cuts. Writes and flushes to the disk are recorded; then the power is cut at random points,
//! and each write since the last flush is lost with probability one half. After a remount, what
//! was made durable must be there, and everything else must be a state that the files have had.
//!
//! `CREMA_EXT4_FACTOR` makes so many times as many cuts.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use block::MemoryDisk;
use linux_abi::file::OpenFlags;
use support::{
    Random, Tree, assert_clean, make_image,
    power::{Recorder, complaints_after_replay, cut_power},
    rounds, tool,
};
use vfs::{FileSystem, SyncKind};

type Files = BTreeMap<String, Vec<u8>>;

/// The files after some operation, and when that was.
struct State {
    /// Events before the operation began.
    begun: usize,
    /// Events when it had ended.
    ended: usize,
    /// Whether it made everything durable.
    is_durable: bool,
    files: Files,
}

/// What programs do that care: a log that is appended to and cut, and files that are replaced whole by
/// writing a new one, syncing it, and renaming it.
fn run(tree: &Tree, recorder: &Recorder, random: &mut Random) -> Vec<State> {
    let mut files = Files::from([("log".to_owned(), Vec::new())]);
    let log = tree.open("log", OpenFlags::CREAT).unwrap();
    tree.file_system.sync().unwrap();
    let ended = recorder.event_count();
    let mut history = vec![State { begun: 0, ended, is_durable: true, files: files.clone() }];
    for step in 0..150u32 {
        let begun = recorder.event_count();
        let snapshot = format!("snapshot-{}", random.below(4));
        match random.below(10) {
            0..=4 => {
                let length = 1 + random.below(9000) as usize;
                let bytes: Vec<u8> = (0..length).map(|i| (step as usize * 7 + i / 512) as u8).collect();
                let contents = files.get_mut("log").unwrap();
                tree.write_at("log", contents.len() as u64, &bytes).unwrap();
                contents.extend(bytes);
            }
            5..=7 => {
                let bytes = vec![step as u8 | 1; 1 + random.below(60_000) as usize];
                tree.write_at("new", 0, &bytes).unwrap();
                tree.open("new", OpenFlags::empty()).unwrap().sync(SyncKind::Everything).unwrap();
                tree.rename("new", &snapshot).unwrap();
                files.insert(snapshot, bytes);
            }
            8 if files.remove(&snapshot).is_some() => tree.unlink(&snapshot).unwrap(),
            _ => {
                let contents = files.get_mut("log").unwrap();
                contents.truncate(contents.len() / 2);
                log.inode().unwrap().truncate(contents.len() as u64).unwrap();
            }
        }
        let is_durable = random.below(2) == 0;
        if is_durable {
            tree.file_system.sync().unwrap();
        }
        let ended = recorder.event_count();
        history.push(State { begun, ended, is_durable, files: files.clone() });
    }
    history
}

/// Checks the files of a remounted tree against the states that they may be in.
fn check(tree: &Tree, history: &[State], cut: usize, name: &str) {
    let last_durable = history.iter().rposition(|state| state.is_durable && state.ended <= cut).unwrap();
    let possible: Vec<_> = history[last_durable..].iter().filter(|state| state.begun <= cut).collect();
    for number in 0..4 {
        let snapshot = format!("snapshot-{number}");
        let found = tree.read(&snapshot).ok();
        assert!(
            possible.iter().any(|state| state.files.get(&snapshot) == found.as_ref()),
            "{name}: {snapshot} is a mixture"
        );
    }
    // The log may have lost what was not durable, but not a byte of what all states share.
    let found = tree.read("log").unwrap();
    let shared = possible.iter().map(|state| state.files["log"].len()).min().unwrap();
    let durable = &possible[0].files["log"];
    let shared = shared.min(durable.len());
    assert!(found.len() >= shared && found[..shared] == durable[..shared], "{name}: the log lost bytes");
}

#[test]
fn power_cuts_lose_nothing_that_was_durable() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    for seed in 1..=3 {
        let base = make_image(&mke2fs, None, "32M", &["-b", "4096"]);
        let recorder = Arc::new(Recorder::new(base.clone()));
        let tree = Tree::mount(recorder.clone()).unwrap();
        let mut random = Random::new(seed);
        let history = run(&tree, &recorder, &mut random);
        let events = recorder.events.lock().unwrap().clone();
        for _ in 0..rounds(6) {
            let first = history[0].ended + 1;
            let cut = first + random.below((events.len() - first) as u64) as usize;
            let name = format!("seed {seed}, cut after {cut} of {} events", events.len());
            let image = cut_power(&base, &events, cut, &mut random);
            assert_eq!(complaints_after_replay(&image), Vec::<String>::new(), "{name}");
            let disk = Arc::new(MemoryDisk::new(image));
            let tree = Tree::mount(disk.clone()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            check(&tree, &history, cut, &name);
            tree.file_system.shut_down().unwrap();
            drop(tree);
            assert_clean(&disk.contents());
        }
    }
}
