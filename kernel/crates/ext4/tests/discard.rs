//! What is freed is given back to the device, and nothing else.

mod support;

use std::{ops::Range, process::Command, sync::Arc};

use block::{BlockDevice, MemoryDisk, SECTOR_BYTES};
use ext4::Discard;
use linux_abi::{
    Errno,
    file::{FallocateFlags, OpenFlags},
};
use support::{
    Random, Scratch, Tree, assert_clean, first_seed, make_image,
    power::{Event, Recorder, cut_power},
    rounds, tool,
};
use vfs::{Blocking, FileSystem, SyncKind};

const MIB: u64 = 1 << 20;

fn pattern(seed: u64, length: u64) -> Vec<u8> {
    (0..length).map(|at| (at / 512 + seed) as u8 | 1).collect()
}

fn volume(size: &str) -> Option<(Vec<u8>, Arc<Recorder>, Tree)> {
    let image = make_image(&tool("mke2fs")?, None, size, &["-b", "4096"]);
    let recorder = Arc::new(Recorder::new(image.clone()));
    let tree = Tree::mount(recorder.clone()).unwrap();
    Some((image, recorder, tree))
}

fn discards(events: &[Event]) -> Vec<Range<u64>> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Discard { sector, sectors } => Some(*sector..sector + sectors),
            _ => None,
        })
        .collect()
}

fn discarded_bytes(recorder: &Recorder) -> u64 {
    let events = recorder.events.lock().unwrap();
    discards(&events).iter().map(|range| (range.end - range.start) * SECTOR_BYTES as u64).sum()
}

#[test]
fn what_is_removed_is_given_back_after_a_commit() {
    let Some((_, recorder, tree)) = volume("64M") else { return };
    let (kept, removed) = (pattern(1, 2 * MIB), pattern(2, 8 * MIB));
    tree.write_at("/kept", 0, &kept).unwrap();
    for round in 0..2 {
        tree.write_at("/removed", 0, &removed).unwrap();
        tree.file_system.sync().unwrap();
        tree.unlink("/removed").unwrap();
        let kept_file = tree.open("/kept", OpenFlags::empty()).unwrap();
        kept_file.write_at(0, &mut vfs::SliceSrc::new(&kept[..10]), Blocking::Yes).unwrap();
        // Who waits for something else does not wait for this.
        kept_file.inode().unwrap().sync(SyncKind::Everything).unwrap();
        assert_eq!(discarded_bytes(&recorder), round * 8 * MIB);
        tree.file_system.sync().unwrap();
        assert_eq!(discarded_bytes(&recorder), (round + 1) * 8 * MIB);
    }
    assert_eq!(tree.read("/kept").unwrap(), kept);
    tree.file_system.shut_down().unwrap();
    assert_clean(&recorder.disk.contents());
}

#[test]
fn what_shrinks_or_gets_a_hole_gives_back_at_once() {
    let Some((_, recorder, tree)) = volume("64M") else { return };
    let bytes = pattern(3, 8 * MIB);
    tree.write_at("/file", 0, &bytes).unwrap();
    tree.file_system.sync().unwrap();
    let inode = tree.find("/file").unwrap().inode().clone();
    inode.truncate(6 * MIB + 5).unwrap();
    assert_eq!(discarded_bytes(&recorder), 2 * MIB - 4096);
    inode.allocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, MIB + 100, MIB).unwrap();
    assert_eq!(discarded_bytes(&recorder), 3 * MIB - 2 * 4096);
    // Little is not worth a request.
    inode.truncate(6 * MIB - 4096).unwrap();
    assert_eq!(discarded_bytes(&recorder), 3 * MIB - 2 * 4096);
    let mut expected = bytes[..6 * MIB as usize - 4096].to_vec();
    expected[MIB as usize + 100..2 * MIB as usize + 100].fill(0);
    inode.drop_cached(0..8 * MIB);
    assert!(tree.read("/file").unwrap() == expected);
    tree.file_system.shut_down().unwrap();
    assert_clean(&recorder.disk.contents());
}

#[test]
fn nothing_is_given_back_unasked_where_that_is_off() {
    let Some((_, recorder, tree)) = volume("64M") else { return };
    tree.file_system.set_discard(Discard::OnRequest);
    tree.write_at("/file", 0, &pattern(4, 4 * MIB)).unwrap();
    tree.file_system.sync().unwrap();
    tree.find("/file").unwrap().inode().truncate(2 * MIB).unwrap();
    tree.unlink("/file").unwrap();
    tree.file_system.sync().unwrap();
    tree.file_system.shut_down().unwrap();
    assert_eq!(discarded_bytes(&recorder), 0);
}

#[test]
fn trimming_leaves_all_that_is_in_use() {
    let Some((_, recorder, tree)) = volume("200M") else { return };
    tree.file_system.set_discard(Discard::OnRequest);
    let (kept, unnamed) = (pattern(5, 3 * MIB), pattern(6, 2 * MIB));
    tree.write_at("/gone", 0, &pattern(7, 5 * MIB)).unwrap();
    tree.write_at("/kept", 0, &kept).unwrap();
    tree.write_at("/unnamed", 0, &unnamed).unwrap();
    tree.file_system.sync().unwrap();
    let open = tree.open("/unnamed", OpenFlags::empty()).unwrap();
    tree.unlink("/unnamed").unwrap();
    tree.unlink("/gone").unwrap();
    let free = |tree: &Tree| tree.file_system.statistics().unwrap().bfree * 4096;
    let trimmed = tree.file_system.trim(0..u64::MAX, 0).unwrap();
    assert_eq!(trimmed, discarded_bytes(&recorder));
    // A part of the second group may never have been used.
    assert!((60 * MIB..=free(&tree)).contains(&trimmed), "{trimmed} of {}", free(&tree));
    for (file, bytes) in [(tree.find("/kept").unwrap().inode(), &kept), (open.inode().unwrap(), &unnamed)] {
        file.drop_cached(0..8 * MIB);
        let mut found = vec![0; bytes.len()];
        assert_eq!(file.read_at(0, &mut &mut found[..]).unwrap(), bytes.len());
        assert!(found == *bytes);
    }
    // Only within the range, and only what is long enough.
    assert_eq!(tree.file_system.trim(0..u64::MAX, 128 * MIB), Ok(0));
    for (range, least) in [(0..u64::MAX, 256 * MIB), (200 * MIB..u64::MAX, 0), (0..4095, 0)] {
        assert_eq!(tree.file_system.trim(range, least), Err(Errno::EINVAL));
    }
    assert!(tree.file_system.trim(8 * MIB..16 * MIB, 4096).unwrap() <= 8 * MIB);
    drop(open);
    tree.file_system.shut_down().unwrap();
    assert_clean(&recorder.disk.contents());
}

#[test]
fn a_device_that_does_not_care_is_not_asked() {
    struct Plain(MemoryDisk);
    impl BlockDevice for Plain {
        fn sector_count(&self) -> u64 {
            self.0.sector_count()
        }
        fn write_cache(&self) -> block::WriteCache {
            block::WriteCache::None
        }
        fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
            self.0.read_scattered(sector, buffers)
        }
        fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
            self.0.write_gathered(sector, buffers)
        }
        fn flush(&self) -> Result<(), Errno> {
            Ok(())
        }
    }
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Plain(MemoryDisk::new(make_image(&mke2fs, None, "32M", &[])));
    let tree = Tree::mount(Arc::new(disk)).unwrap();
    assert_eq!(tree.file_system.trim(0..u64::MAX, 0), Err(Errno::EOPNOTSUPP));
    tree.write_at("/file", 0, &pattern(8, MIB)).unwrap();
    tree.file_system.sync().unwrap();
    tree.unlink("/file").unwrap();
    tree.file_system.shut_down().unwrap();
}

/// The free blocks of an image whose journal is replayed first, as e2fsprogs sees them.
fn free_blocks(image: &[u8]) -> Vec<Range<u64>> {
    let (e2fsck, dumpe2fs) = (tool("e2fsck").unwrap(), tool("dumpe2fs").unwrap());
    let scratch = Scratch::new();
    let path = scratch.path("image");
    std::fs::write(&path, image).unwrap();
    let replayed = Command::new(e2fsck).args(["-E", "journal_only", "-y"]).arg(&path).output().unwrap();
    assert!(replayed.status.code().is_some_and(|code| code <= 1), "{replayed:?}");
    let listing = Command::new(dumpe2fs).arg(&path).output().unwrap();
    assert!(listing.status.success(), "{listing:?}");
    let listing = String::from_utf8(listing.stdout).unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap();
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "))
        .flat_map(|line| line.split(", ").filter(|piece| !piece.is_empty()))
        .map(|piece| match piece.split_once('-') {
            Some((first, last)) => number(first)..number(last) + 1,
            None => number(piece)..number(piece) + 1,
        })
        .collect()
}

/// What e2fsprogs finds after a power cut in the moment of a discard: each discarded block is free, whatever of the cache was lost.
#[test]
fn what_is_discarded_is_free_in_every_state_that_a_power_cut_can_leave() {
    if tool("e2fsck").is_none() || tool("dumpe2fs").is_none() {
        return;
    }
    for seed in first_seed()..first_seed() + rounds(1) {
        let Some((base, recorder, tree)) = volume("24M") else { return };
        let mut random = Random::new(seed);
        let mut open = Vec::new();
        for step in 0..120 {
            let name = format!("/{}", random.below(6));
            let length = random.below(MIB) + 1;
            match random.below(10) {
                0..=3 => match tree.write_at_most(&name, random.below(MIB), &pattern(step, length)) {
                    Ok(_) | Err(Errno::ENOSPC) => {}
                    Err(error) => panic!("{error:?}"),
                },
                4 => drop(tree.unlink(&name)),
                5 => open.extend(tree.open(&name, OpenFlags::CREAT).ok()),
                6 => open.clear(),
                7 => {
                    let _ = tree.find(&name).map(|path| path.inode().truncate(random.below(length)));
                }
                8 => {
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    let _ =
                        tree.find(&name).map(|path| path.inode().allocate(flags, random.below(MIB), length));
                }
                _ => tree.file_system.sync().unwrap(),
            }
        }
        let untrimmed = recorder.event_count();
        tree.file_system.trim(0..u64::MAX, 0).unwrap();
        let events = recorder.events.lock().unwrap().clone();
        let is_discard = |place: &usize| matches!(events[*place], Event::Discard { .. });
        // Of discards with nothing between them the last one says enough.
        let places: Vec<usize> = (0..events.len())
            .filter(is_discard)
            .filter(|place| place + 1 == events.len() || !is_discard(&(place + 1)))
            .collect();
        let (unasked, asked) = places.split_at(places.partition_point(|place| *place < untrimmed));
        assert!(unasked.len() > 5 && !asked.is_empty(), "{} and {} discards", unasked.len(), asked.len());
        for &place in unasked.iter().chain(asked.last()) {
            let free = free_blocks(&cut_power(&base, &events, place, &mut random));
            for range in discards(&events[place..=place]) {
                let blocks = range.start / 8..range.end.div_ceil(8);
                assert!(
                    blocks.clone().all(|block| free.iter().any(|free| free.contains(&block))),
                    "seed {seed}: event {place} discards {blocks:?}, which are not all free"
                );
            }
        }
    }
}
