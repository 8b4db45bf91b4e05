//! Random operations on ext4 and on a model side by side: each must have the same outcome, and all files the same
//! contents, also after the file system was mounted anew. In between `e2fsck` has a look.
//!
//! `CREMA_EXT4_FACTOR` makes so many times as many cases.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use block::MemoryDisk;
use linux_abi::{
    Errno,
    file::{FallocateFlags, OpenFlags},
};
use proptest::{prelude::*, test_runner::RngSeed};
use support::{Tree, assert_clean, make_image, rounds, tool};
use vfs::{FileSystem, NewInode, SyncKind, XattrMode};

#[derive(Clone, Debug)]
enum Operation {
    Write { name: usize, offset: u64, length: usize, value: u8 },
    Append { name: usize, length: usize, value: u8 },
    Truncate { name: usize, size: u64 },
    Allocate { name: usize, keeps_size: bool, offset: u64, length: u64 },
    Punch { name: usize, offset: u64, length: u64 },
    Zero { name: usize, keeps_size: bool, offset: u64, length: u64 },
    Read { name: usize },
    Rename { from: usize, to: usize },
    Link { from: usize, to: usize },
    Unlink { name: usize },
    MakeDirectory { name: usize },
    RemoveDirectory { name: usize },
    SetAttribute { name: usize, length: usize },
    Unnamed { to: Option<usize>, length: usize },
    Sync { name: usize, kind: SyncKind },
    SyncAll,
    Evict,
    Remount,
}

/// Few names, so that operations meet; the last ones are the likely directories.
const NAMES: [&str; 9] = ["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "d", "d/e"];

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let name = || 0..NAMES.len();
    let file = || 0..7usize;
    // Offsets and lengths that hit the edges of blocks more often than not.
    let offset = || prop_oneof![(0..40u64).prop_map(|block| block * 4096), 0..150_000u64];
    let length = || prop_oneof![(1..6usize).prop_map(|blocks| blocks * 4096), 1..20_000usize];
    let long = move || length().prop_map(|length| length as u64);
    let kind = prop_oneof![Just(SyncKind::Data), Just(SyncKind::Everything)];
    prop_oneof![
        6 => (file(), offset(), length(), 1..=255u8)
            .prop_map(|(name, offset, length, value)| Write { name, offset, length, value }),
        4 => (file(), length(), 1..=255u8).prop_map(|(name, length, value)| Append { name, length, value }),
        2 => (file(), offset()).prop_map(|(name, size)| Truncate { name, size }),
        2 => (file(), any::<bool>(), offset(), long())
            .prop_map(|(name, keeps_size, offset, length)| Allocate { name, keeps_size, offset, length }),
        2 => (file(), offset(), long()).prop_map(|(name, offset, length)| Punch { name, offset, length }),
        1 => (file(), any::<bool>(), offset(), long())
            .prop_map(|(name, keeps_size, offset, length)| Zero { name, keeps_size, offset, length }),
        3 => file().prop_map(|name| Read { name }),
        2 => (name(), name()).prop_map(|(from, to)| Rename { from, to }),
        1 => (file(), name()).prop_map(|(from, to)| Link { from, to }),
        2 => name().prop_map(|name| Unlink { name }),
        3 => (7..NAMES.len()).prop_map(|name| MakeDirectory { name }),
        1 => (7..NAMES.len()).prop_map(|name| RemoveDirectory { name }),
        1 => (name(), 1..900usize).prop_map(|(name, length)| SetAttribute { name, length }),
        1 => (prop::option::of(file()), length()).prop_map(|(to, length)| Unnamed { to, length }),
        3 => (file(), kind).prop_map(|(name, kind)| Sync { name, kind }),
        1 => Just(SyncAll),
        2 => Just(Evict),
        1 => Just(Remount),
    ]
}

#[derive(Default)]
struct Model {
    directories: BTreeSet<String>,
    files: BTreeMap<String, usize>,
    contents: Vec<Vec<u8>>,
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(parent, _)| parent)
}

impl Model {
    fn has_place_for(&self, name: &str) -> bool {
        parent(name).is_none_or(|parent| self.directories.contains(parent))
    }

    fn is_file(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// The contents of a file, which is made if there is none.
    fn file(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        if !self.has_place_for(name) || self.directories.contains(name) {
            return None;
        }
        let id = *self.files.entry(name.into()).or_insert_with(|| {
            self.contents.push(Vec::new());
            self.contents.len() - 1
        });
        Some(&mut self.contents[id])
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> bool {
        let Some(contents) = self.file(name) else { return false };
        let end = offset + bytes.len();
        contents.resize(contents.len().max(end), 0);
        contents[offset..end].copy_from_slice(bytes);
        true
    }
}

fn check_all(tree: &Tree, model: &Model) {
    for (name, id) in &model.files {
        let path = tree.find(name).unwrap();
        assert!(tree.contents(&path).unwrap() == model.contents[*id], "{name} differs");
        let links = model.files.values().filter(|other| *other == id).count();
        assert_eq!(path.inode().metadata().unwrap().links as usize, links, "links of {name}");
    }
    for directory in model.directories.iter().map(String::as_str).chain([""]) {
        let path = if directory.is_empty() { tree.root().clone() } else { tree.find(directory).unwrap() };
        let mut found = BTreeSet::new();
        let request = vfs::OpenRequest {
            access: vfs::AccessMode::ReadOnly,
            flags: OpenFlags::DIRECTORY,
            permissions: 0,
        };
        let open = tree.names.open(&path, b".", &request).unwrap();
        open.read_directory(&mut |entry| {
            found.insert(String::from_utf8(entry.name.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        for usual in [".", "..", "lost+found"] {
            found.remove(usual);
        }
        let is_here = |name: &&String| parent(name).unwrap_or("") == directory;
        let expected: BTreeSet<_> = model
            .files
            .keys()
            .chain(&model.directories)
            .filter(is_here)
            .map(|name| name.rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "names in {directory:?}");
    }
}

fn allocate(tree: &Tree, name: &str, flags: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
    tree.find(name)?.inode().allocate(flags, offset, length)
}

fn keep(keeps_size: bool) -> FallocateFlags {
    if keeps_size { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() }
}

/// Does one operation on both.
fn apply(tree: &Tree, model: &mut Model, operation: &Operation) {
    use Operation::*;
    match *operation {
        Write { name, offset, length, value } => {
            let bytes = vec![value; length];
            let fits = model.write(NAMES[name], offset as usize, &bytes);
            assert_eq!(tree.write_at_most(NAMES[name], offset, &bytes).is_ok(), fits);
        }
        Append { name, length, value } => {
            let end = model.files.get(NAMES[name]).map_or(0, |id| model.contents[*id].len());
            let bytes = vec![value; length];
            let fits = model.write(NAMES[name], end, &bytes);
            assert_eq!(tree.write_at_most(NAMES[name], end as u64, &bytes).is_ok(), fits);
        }
        Truncate { name, size } if model.is_file(NAMES[name]) => {
            model.file(NAMES[name]).unwrap().resize(size as usize, 0);
            tree.find(NAMES[name]).unwrap().inode().truncate(size).unwrap();
        }
        Allocate { name, keeps_size, offset, length } if model.is_file(NAMES[name]) => {
            let contents = model.file(NAMES[name]).unwrap();
            if !keeps_size {
                contents.resize(contents.len().max((offset + length) as usize), 0);
            }
            allocate(tree, NAMES[name], keep(keeps_size), offset, length).unwrap();
        }
        Punch { name, offset, length } if model.is_file(NAMES[name]) => {
            let contents = model.file(NAMES[name]).unwrap();
            let size = contents.len();
            contents[size.min(offset as usize)..size.min((offset + length) as usize)].fill(0);
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            allocate(tree, NAMES[name], flags, offset, length).unwrap();
        }
        Zero { name, keeps_size, offset, length } if model.is_file(NAMES[name]) => {
            let contents = model.file(NAMES[name]).unwrap();
            if !keeps_size {
                contents.resize(contents.len().max((offset + length) as usize), 0);
            }
            let size = contents.len();
            contents[size.min(offset as usize)..size.min((offset + length) as usize)].fill(0);
            allocate(tree, NAMES[name], FallocateFlags::ZERO_RANGE | keep(keeps_size), offset, length)
                .unwrap();
        }
        Read { name } => match model.files.get(NAMES[name]) {
            Some(id) => assert!(tree.read(NAMES[name]).unwrap() == model.contents[*id], "{}", NAMES[name]),
            None => assert!(tree.read(NAMES[name]).is_err()),
        },
        Rename { from, to } if from != to => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let is_possible =
                model.is_file(from) && model.has_place_for(to) && !model.directories.contains(to);
            if model.directories.contains(from) {
                return;
            }
            assert_eq!(tree.rename(from, to).is_ok(), is_possible, "{from} {to}");
            // Two names of one file: nothing happens.
            if is_possible && model.files.get(from) != model.files.get(to) {
                let id = model.files.remove(from).unwrap();
                model.files.insert(to.into(), id);
            }
        }
        Link { from, to } => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let is_possible = model.is_file(from)
                && model.has_place_for(to)
                && !model.is_file(to)
                && !model.directories.contains(to);
            let linked = tree.find(from).and_then(|path| tree.names.link(&path, tree.root(), to.as_bytes()));
            assert_eq!(linked.is_ok(), is_possible, "{from} {to}: {linked:?}");
            if is_possible {
                model.files.insert(to.into(), model.files[from]);
            }
        }
        Unlink { name } => {
            let removed = model.files.remove(NAMES[name]).is_some();
            assert_eq!(tree.unlink(NAMES[name]).is_ok(), removed);
        }
        MakeDirectory { name } => {
            let is_possible = model.has_place_for(NAMES[name])
                && !model.is_file(NAMES[name])
                && !model.directories.contains(NAMES[name]);
            assert_eq!(tree.make(NAMES[name], NewInode::Directory).is_ok(), is_possible);
            if is_possible {
                model.directories.insert(NAMES[name].into());
            }
        }
        RemoveDirectory { name } => {
            let prefix = format!("{}/", NAMES[name]);
            let mut names = model.files.keys().chain(&model.directories);
            let is_possible =
                model.directories.contains(NAMES[name]) && !names.any(|name| name.starts_with(&prefix));
            assert_eq!(tree.names.rmdir(tree.root(), NAMES[name].as_bytes()).is_ok(), is_possible);
            if is_possible {
                model.directories.remove(NAMES[name]);
            }
        }
        SetAttribute { name, length } => {
            if let Ok(path) = tree.find(NAMES[name]) {
                let value = vec![length as u8; length];
                path.inode().set_xattr(b"user.length", &value, XattrMode::Any).unwrap();
                assert_eq!(path.inode().xattr(b"user.length"), Ok(value));
            }
        }
        Unnamed { to, length } => {
            let request = vfs::OpenRequest {
                access: vfs::AccessMode::ReadWrite,
                flags: OpenFlags::TMPFILE,
                permissions: 0o600,
            };
            let file = tree.names.open(tree.root(), b".", &request).unwrap();
            let bytes = vec![length as u8 | 1; length];
            file.write_at(0, &mut vfs::SliceSrc::new(&bytes), vfs::Blocking::Yes).unwrap();
            assert_eq!(file.inode().unwrap().metadata().unwrap().links, 0);
            let Some(to) = to.map(|to| NAMES[to]) else { return };
            let is_possible =
                model.has_place_for(to) && !model.is_file(to) && !model.directories.contains(to);
            let linked = tree.names.link(file.path().unwrap(), tree.root(), to.as_bytes());
            assert_eq!(linked.is_ok(), is_possible, "unnamed {to}: {linked:?}");
            if is_possible {
                assert_eq!(file.inode().unwrap().metadata().unwrap().links, 1);
                model.write(to, 0, &bytes);
            }
        }
        Sync { name, kind } => {
            if let (true, Ok(path)) = (model.is_file(NAMES[name]), tree.find(NAMES[name])) {
                path.inode().sync(kind).unwrap();
            }
        }
        SyncAll => tree.file_system.sync().unwrap(),
        Evict => drop((0..4).map(|_| page_cache::evict(10_000)).sum::<usize>()),
        _ => {}
    }
}

fn base() -> Option<&'static Vec<u8>> {
    static BASE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    BASE.get_or_init(|| Some(make_image(&tool("mke2fs")?, None, "12M", &["-b", "4096", "-J", "size=4"])))
        .as_ref()
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(4),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::with_cases(rounds(4) as u32)
    })]

    #[test]
    fn ext4_does_what_the_model_does(operations in prop::collection::vec(operation(), 1..90)) {
        let Some(image) = base() else { return Ok(()) };
        let disk = Arc::new(MemoryDisk::new(image.clone()));
        let mut tree = Tree::mount(disk.clone()).unwrap();
        let mut model = Model::default();
        for operation in &operations {
            if matches!(operation, Operation::Remount) {
                tree.file_system.shut_down().unwrap();
                drop(tree);
                assert_clean(&disk.contents());
                tree = Tree::mount(disk.clone()).unwrap();
                check_all(&tree, &model);
            } else {
                apply(&tree, &mut model, operation);
            }
        }
        check_all(&tree, &model);
        tree.file_system.shut_down().unwrap();
        drop(tree);
        assert_clean(&disk.contents());
        check_all(&Tree::mount(disk).unwrap(), &model);
    }
}
