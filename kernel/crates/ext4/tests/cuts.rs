//! Power cuts under the patterns of databases: logs that are appended to, pages overwritten in place and through
//! mappings, room preallocated and filled, files replaced by renaming, files deleted whose blocks others get, a disk
//! that is full. All at once, on a small disk with a small journal, which is emptied often.
//!
//! Each sector says which file it belongs to, where in it, and when it was written. After a cut a file may hold
//! what it has held at any time since the last sync that was acknowledged before the cut, sector by sector; never
//! anything older, and never anything of another file.
//!
//! `CREMA_EXT4_FACTOR` makes so many times as many cuts, `CREMA_EXT4_SEED` other histories.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use block::{MemoryDisk, SECTOR_BYTES};
use linux_abi::{
    Errno,
    file::{FallocateFlags, OpenFlags},
};
use support::{
    Random, Tree, assert_clean, first_seed, make_image,
    power::{Recorder, complaints_after_replay, cut_power},
    rounds, tool,
};
use vfs::{FileSystem, MemoryObject, PageAccess, SyncKind};

/// What a sector holds: nothing, or the file's own contents of some time.
type Version = u32;
const ZEROS: Version = 0;
/// What is only ever appended is the same whenever it is written.
const APPENDED: Version = 1;

/// A value that changes, from `begun` events on. What was acknowledged when there were `acknowledged` events
/// is not undone by a later cut.
#[derive(Clone)]
struct Change<T> {
    value: T,
    begun: usize,
    acknowledged: usize,
}

/// All that something has been.
#[derive(Clone)]
struct History<T>(Vec<Change<T>>);

impl<T: Clone> History<T> {
    fn new(value: T, begun: usize) -> Self {
        Self(vec![Change { value, begun, acknowledged: usize::MAX }])
    }

    fn change(&mut self, value: T, begun: usize) {
        self.0.push(Change { value, begun, acknowledged: usize::MAX });
    }

    fn now(&self) -> &T {
        &self.0.last().unwrap().value
    }

    /// What it is now is durable.
    fn acknowledge(&mut self, events: usize) {
        let last = self.0.last_mut().unwrap();
        last.acknowledged = last.acknowledged.min(events);
    }

    /// What it may be after a cut.
    fn possible(&self, cut: usize) -> impl Iterator<Item = &T> {
        let first = self.0.iter().rposition(|change| change.acknowledged <= cut).unwrap_or(0);
        self.0[first..]
            .iter()
            .enumerate()
            .filter(move |(n, change)| *n == 0 || change.begun <= cut)
            .map(|(_, c)| &c.value)
    }
}

#[derive(Clone)]
struct FileModel {
    size: History<usize>,
    sectors: Vec<History<Version>>,
}

/// The bytes of a sector.
fn stamp(file: usize, sector: usize, version: Version) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    if version != ZEROS {
        for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
            let value = (file as u32) << 20
                ^ (sector as u32) << 8
                ^ version << 28
                ^ version
                ^ 0x8000_0000
                ^ (at as u32 % 3);
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

struct World {
    tree: Tree,
    recorder: Arc<Recorder>,
    files: Vec<FileModel>,
    names: BTreeMap<String, History<Option<usize>>>,
    version: Version,
}

impl World {
    fn events(&self) -> usize {
        self.recorder.event_count()
    }

    fn id(&self, name: &str) -> Option<usize> {
        self.names.get(name).and_then(|history| *history.now())
    }

    fn create(&mut self, name: &str) -> usize {
        if let Some(id) = self.id(name) {
            return id;
        }
        let begun = self.events();
        self.tree.open(name, OpenFlags::CREAT).unwrap();
        let id = self.files.len();
        self.files.push(FileModel { size: History::new(0, begun), sectors: Vec::new() });
        self.set_name(name, Some(id), begun);
        id
    }

    fn set_name(&mut self, name: &str, id: Option<usize>, begun: usize) {
        match self.names.get_mut(name) {
            Some(history) => history.change(id, begun),
            None => {
                let mut history = History::new(None, 0);
                history.acknowledge(0);
                history.change(id, begun);
                self.names.insert(name.into(), history);
            }
        }
    }

    /// The contents of a range, sector by sector.
    fn contents(id: usize, from: usize, length: usize, version: Version) -> Vec<u8> {
        let end = from + length;
        let all: Vec<u8> =
            (from / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).flat_map(|s| stamp(id, s, version)).collect();
        all[from % SECTOR_BYTES..][..length].to_vec()
    }

    fn note(&mut self, id: usize, from: usize, length: usize, version: Version, begun: usize) {
        let file = &mut self.files[id];
        for sector in from / SECTOR_BYTES..(from + length).div_ceil(SECTOR_BYTES) {
            while file.sectors.len() <= sector {
                let mut zeros = History::new(ZEROS, 0);
                zeros.acknowledge(0);
                file.sectors.push(zeros);
            }
            file.sectors[sector].change(version, begun);
        }
    }

    fn write(&mut self, name: &str, from: usize, length: usize, version: Version) -> Result<(), Errno> {
        let id = self.create(name);
        let begun = self.events();
        let bytes = Self::contents(id, from, length, version);
        let written = self.tree.write_at_most(name, from as u64, &bytes);
        let written = written.or_else(|error| if error == Errno::ENOSPC { Ok(0) } else { Err(error) })?;
        if written > 0 {
            self.note(id, from, written, version, begun);
            let end = from + written;
            if end > *self.files[id].size.now() {
                self.files[id].size.change(end, begun);
            }
        }
        if written < length { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    fn append(&mut self, name: &str, length: usize) {
        let id = self.create(name);
        let _ = self.write(name, *self.files[id].size.now(), length, APPENDED);
    }

    fn fresh_version(&mut self) -> Version {
        self.version += 1;
        2 + self.version % 200
    }

    fn sync(&mut self, name: &str, kind: SyncKind) {
        let Some(id) = self.id(name) else { return };
        self.tree.open(name, OpenFlags::empty()).unwrap().sync(kind).unwrap();
        let events = self.events();
        self.files[id].size.acknowledge(events);
        self.files[id].sectors.iter_mut().for_each(|sector| sector.acknowledge(events));
        self.names.get_mut(name).unwrap().acknowledge(events);
    }

    fn sync_directory(&mut self) {
        self.tree.root().inode().sync(SyncKind::Everything).unwrap();
        let events = self.events();
        self.names.values_mut().for_each(|name| name.acknowledge(events));
    }

    fn replace(&mut self, name: &str, length: usize) {
        let version = self.fresh_version();
        if self.write("new", 0, length, version).is_err() {
            return self.unlink("new");
        }
        self.sync("new", SyncKind::Everything);
        let (id, begun) = (self.id("new"), self.events());
        self.tree.rename("new", name).unwrap();
        self.set_name("new", None, begun);
        self.set_name(name, id, begun);
        self.sync_directory();
    }

    fn unlink(&mut self, name: &str) {
        if self.id(name).is_some() {
            let begun = self.events();
            self.tree.unlink(name).unwrap();
            self.set_name(name, None, begun);
        }
    }

    fn through_mapping(&mut self, name: &str, page: usize, syncs: bool) {
        let Some(id) = self.id(name) else { return };
        let (version, begun) = (self.fresh_version(), self.events());
        let path = self.tree.find(name).unwrap();
        let object: Arc<dyn MemoryObject> = path.inode().clone().memory_object().unwrap();
        let Ok(mapped) = object.page(page as u64, PageAccess::SharedWrite) else { return };
        mapped.write(0, &Self::contents(id, page * 4096, 4096, version));
        self.note(id, page * 4096, 4096, version, begun);
        drop(mapped);
        if syncs {
            object.sync_pages(page as u64, page as u64 + 1).unwrap();
            let events = self.events();
            for sector in page * 8..page * 8 + 8 {
                self.files[id].sectors[sector].acknowledge(events);
            }
        }
    }

    fn punch(&mut self, name: &str, page: usize, pages: usize) {
        let Some(id) = self.id(name) else { return };
        let begun = self.events();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let path = self.tree.find(name).unwrap();
        path.inode().allocate(flags, page as u64 * 4096, pages as u64 * 4096).unwrap();
        self.note(id, page * 4096, pages * 4096, ZEROS, begun);
    }

    fn step(&mut self, random: &mut Random) {
        let number = random.below(3);
        let page = random.below(32) as usize;
        match random.below(17) {
            0..=2 => {
                let name = format!("log-{number}");
                self.append(&name, 1 + random.below(6000) as usize);
                if random.below(2) == 0 {
                    self.sync(&name, SyncKind::Data);
                }
            }
            3 | 4 => self.replace(&format!("replaced-{number}"), 1 + random.below(20_000) as usize),
            5..=7 => {
                let version = self.fresh_version();
                let _ = self.write("pages", page * 4096, 4096 * (1 + random.below(3) as usize), version);
                if random.below(2) == 0 {
                    self.sync("pages", SyncKind::Data);
                }
            }
            8 => self.through_mapping("pages", page, random.below(2) == 0),
            9 => {
                let name = format!("preallocated-{number}");
                let id = self.create(&name);
                let (begun, length) = (self.events(), 64 * 4096);
                let path = self.tree.find(&name).unwrap();
                if path.inode().allocate(FallocateFlags::empty(), 0, length as u64).is_ok()
                    && *self.files[id].size.now() < length
                {
                    self.files[id].size.change(length, begun);
                }
            }
            10 => {
                let name = format!("preallocated-{number}");
                let version = self.fresh_version();
                let _ = self.write(&name, page * 2 * 4096, 512 * (1 + random.below(20) as usize), version);
                if random.below(3) == 0 {
                    self.sync(&name, SyncKind::Data);
                }
            }
            11 => {
                for n in 0..12 {
                    self.append(&format!("small-{n}"), 1 + random.below(3000) as usize);
                }
            }
            12 => (0..12).for_each(|n| self.unlink(&format!("small-{n}"))),
            13 => self.unlink(&format!("log-{number}")),
            14 => {
                // All the room there is, and then back with most of it.
                self.fill();
                self.append("log-0", 5000);
                self.sync("log-0", SyncKind::Everything);
                self.unlink("filler");
            }
            15 => self.punch("pages", page, 1 + random.below(4) as usize),
            _ => {
                let name = format!("preallocated-{number}");
                self.unlink(&name);
            }
        }
        if random.below(25) == 0 {
            self.tree.file_system.sync().unwrap();
            let events = self.events();
            self.names.values_mut().for_each(|name| name.acknowledge(events));
            let ids: Vec<_> = self.names.values().filter_map(|name| *name.now()).collect();
            for id in ids {
                self.files[id].size.acknowledge(events);
                self.files[id].sectors.iter_mut().for_each(|sector| sector.acknowledge(events));
            }
        }
    }

    /// Takes all the room there is.
    fn fill(&mut self) {
        let id = self.create("filler");
        loop {
            let size = *self.files[id].size.now();
            if self.write("filler", size, 100_000, APPENDED).is_err() {
                break;
            }
        }
    }
}

/// Why `found` cannot be what the file holds after the cut, if so.
fn objection(id: usize, file: &FileModel, cut: usize, found: &[u8]) -> Option<String> {
    let (least, most) = file
        .size
        .possible(cut)
        .fold((usize::MAX, 0), |(least, most), size| (least.min(*size), most.max(*size)));
    if found.len() < least || found.len() > most {
        return Some(format!("{} bytes, not {least} to {most}", found.len()));
    }
    for (sector, bytes) in found.chunks(SECTOR_BYTES).enumerate() {
        let zeros = [ZEROS];
        let is_possible = |version: &Version| stamp(id, sector, *version)[..bytes.len()] == *bytes;
        let fits = match file.sectors.get(sector) {
            Some(history) => history.possible(cut).any(is_possible),
            None => zeros.iter().any(is_possible),
        };
        // An append that was under way: the sector has a part that was there and zeros.
        let is_growing = file.sectors.get(sector).is_some_and(|history| *history.now() == APPENDED) && {
            let whole = stamp(id, sector, APPENDED);
            let same = bytes.iter().zip(whole).take_while(|(a, b)| **a == *b).count();
            let acknowledged = least.saturating_sub(sector * SECTOR_BYTES);
            same >= acknowledged.min(bytes.len()) && bytes[same..].iter().all(|byte| *byte == 0)
        };
        if !fits && !is_growing {
            return Some(format!("sector {sector} holds {:02x?}...", &bytes[..bytes.len().min(16)]));
        }
    }
    None
}

fn check(
    tree: &Tree,
    files: &[FileModel],
    names: &BTreeMap<String, History<Option<usize>>>,
    cut: usize,
    case: &str,
) {
    for (name, history) in names {
        let found = match tree.read(name) {
            Ok(found) => Some(found),
            Err(Errno::ENOENT) => None,
            Err(error) => panic!("{case}: {name}: {error:?}"),
        };
        let mut objections = Vec::new();
        let fits = history.possible(cut).any(|id| match (id, &found) {
            (None, None) => true,
            (Some(id), Some(found)) => match objection(*id, &files[*id], cut, found) {
                None => true,
                Some(objection) => {
                    objections.push(format!("file {id}: {objection}"));
                    false
                }
            },
            _ => false,
        });
        assert!(
            fits,
            "{case}: {name} {}: {objections:?}",
            if found.is_some() { "is wrong" } else { "is lost" }
        );
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_foreign_appears() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    for seed in first_seed()..first_seed() + 2 {
        let base = make_image(&mke2fs, None, "10M", &["-b", "4096", "-J", "size=4"]);
        let recorder = Arc::new(Recorder::new(base.clone()));
        let tree = Tree::mount(recorder.clone()).unwrap();
        let random = &mut Random::new(seed);
        let mut world =
            World { tree, recorder: recorder.clone(), files: Vec::new(), names: BTreeMap::new(), version: 0 };
        world.create("pages");
        world.write("pages", 0, 35 * 4096, APPENDED).unwrap();
        world.tree.file_system.sync().unwrap();
        world.sync("pages", SyncKind::Everything);
        let first = world.events();
        for _ in 0..100 {
            world.step(random);
        }
        let World { files, names, .. } = &world;
        let events = recorder.events.lock().unwrap().clone();
        for _ in 0..rounds(4) {
            let cut = first + random.below((events.len() - first) as u64) as usize;
            let case = format!("seed {seed}, cut after {cut} of {} events", events.len());
            let image = cut_power(&base, &events, cut, random);
            assert_eq!(complaints_after_replay(&image), Vec::<String>::new(), "{case}");
            let disk = Arc::new(MemoryDisk::new(image));
            let tree = Tree::mount(disk.clone()).unwrap_or_else(|error| panic!("{case}: {error:?}"));
            check(&tree, files, names, cut, &case);
            tree.file_system.shut_down().unwrap();
            drop(tree);
            assert_clean(&disk.contents());
        }
    }
}
