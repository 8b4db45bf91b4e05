//! Images of mke2fs: reading them, changing them, and what e2fsck says after.

mod support;

use std::{
    fs,
    ops::ControlFlow,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path as HostPath,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use block::{BlockDevice, MemoryDisk, WriteCache};
use ext4::Ext4;
use linux_abi::{
    Errno,
    file::{FallocateFlags, FileType, OpenFlags, Whence},
};
use support::{Random, Scratch, Tree, assert_clean, assert_clean_but, e2fsck::Flaw, make_image, tool};
use vfs::{Blocking, FileSystem, NewInode, Path, SliceSrc, SyncKind, XattrMode};

/// Writes a tree with all that an image of ours may hold.
fn fill(directory: &HostPath) {
    let mut random = Random::new(1);
    fs::create_dir_all(directory.join("usr/lib/deep/er")).unwrap();
    for n in 0..300 {
        let bytes: Vec<u8> = (0..random.below(9000)).map(|i| (i / 7 + n) as u8).collect();
        fs::write(directory.join(format!("usr/lib/file-with-a-rather-long-name-{n}")), bytes).unwrap();
    }
    let large: Vec<u8> = (0..5_000_001u32).map(|i| ((i / 4096) ^ i) as u8).collect();
    fs::write(directory.join("usr/large"), large).unwrap();
    fs::write(directory.join("empty"), b"").unwrap();
    fs::set_permissions(directory.join("empty"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("usr/large", directory.join("short-link")).unwrap();
    symlink("usr/".repeat(40) + "large", directory.join("long-link")).unwrap();
    let sparse = fs::File::create(directory.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 3_000_000).unwrap();
    sparse.set_len(9_000_000).unwrap();
}

/// Compares everything below `directory` with what is mounted.
fn compare(tree: &Tree, directory: &HostPath, at: &Path) -> usize {
    let file = tree.names.open(at, b".", &READ_DIRECTORY).unwrap();
    let mut found = Vec::new();
    file.read_directory(&mut |entry| {
        found.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind));
        ControlFlow::Continue(())
    })
    .unwrap();
    found.retain(|(name, _)| name != "." && name != ".." && name != "lost+found");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut expected: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    assert_eq!(found.iter().map(|entry| &entry.0).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    let mut count = 0;
    for (name, kind) in &found {
        let host = directory.join(name);
        let path = tree.names.resolve(at, name.as_bytes(), vfs::FinalLink::Stay).unwrap();
        let (ours, theirs) = (path.inode().metadata().unwrap(), fs::symlink_metadata(&host).unwrap());
        assert_eq!(Some(ours.kind), *kind);
        assert_eq!(ours.mode(), std::os::unix::fs::MetadataExt::mode(&theirs), "{host:?}");
        count += 1;
        match ours.kind {
            FileType::Directory => count += compare(tree, &host, &path),
            FileType::Symlink => {
                let text = fs::read_link(&host).unwrap();
                assert_eq!(path.inode().read_link().unwrap(), text.as_os_str().as_encoded_bytes());
            }
            _ => {
                assert_eq!(ours.size, theirs.len());
                assert!(tree.contents(&path).unwrap() == fs::read(&host).unwrap(), "{host:?} differs");
            }
        }
    }
    count
}

const READ_DIRECTORY: vfs::OpenRequest =
    vfs::OpenRequest { access: vfs::AccessMode::ReadOnly, flags: OpenFlags::DIRECTORY, permissions: 0 };

/// Counts requests, and can be told to fail.
struct Counting {
    disk: MemoryDisk,
    reads: AtomicUsize,
}

impl BlockDevice for Counting {
    fn sector_count(&self) -> u64 {
        self.disk.sector_count()
    }

    fn write_cache(&self) -> WriteCache {
        self.disk.write_cache()
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.disk.read_scattered(sector, buffers)
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        self.disk.write_gathered(sector, buffers)
    }

    fn flush(&self) -> Result<(), Errno> {
        self.disk.flush()
    }
}

#[test]
fn all_of_an_image_is_read_as_it_was_made() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let scratch = Scratch::new();
    let source = scratch.path("tree");
    fill(&source);
    for options in [
        &["-b", "4096"][..],
        &["-b", "1024"],
        &["-b", "4096", "-O", "^has_journal"],
        &["-O", "^extents,^64bit"],
    ] {
        let image = make_image(&mke2fs, Some(&source), "64M", options);
        let tree = Tree::mount(Arc::new(MemoryDisk::new(image))).unwrap();
        assert_eq!(compare(&tree, &source, tree.root()), 309, "{options:?}");
    }
}

#[test]
fn large_files_are_read_with_large_requests() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let scratch = Scratch::new();
    let source = scratch.path("tree");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("modules"), vec![0x5a; 32 << 20]).unwrap();
    let image = make_image(&mke2fs, Some(&source), "64M", &[]);
    let device = Arc::new(Counting { disk: MemoryDisk::new(image), reads: AtomicUsize::new(0) });
    let tree = Tree::mount(device.clone()).unwrap();
    let before = device.reads.load(Ordering::Relaxed);
    assert_eq!(tree.read("modules").unwrap().len(), 32 << 20);
    let requests = device.reads.load(Ordering::Relaxed) - before;
    assert!(requests < 60, "{requests} requests for 32 MiB");
    let before = device.reads.load(Ordering::Relaxed);
    assert_eq!(tree.read("modules").unwrap().len(), 32 << 20);
    assert!(device.reads.load(Ordering::Relaxed) - before < 40, "most of it is cached");
}

/// Works on the tree and keeps a model; then everything is compared, before and after a remount.
fn work(tree: &Tree, random: &mut Random, steps: usize) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut model = std::collections::BTreeMap::new();
    tree.make("w", NewInode::Directory).unwrap();
    for step in 0..steps {
        let name = format!("w/{}", random.below(12));
        match random.below(10) {
            0..=3 => {
                let offset = random.below(200_000);
                let bytes = vec![step as u8 | 1; 1 + random.below(70_000) as usize];
                tree.write_at(&name, offset, &bytes).unwrap();
                let file: &mut Vec<u8> = model.entry(name).or_default();
                let end = offset as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[offset as usize..end].fill(step as u8 | 1);
            }
            4 if model.contains_key(&name) => {
                let size = random.below(250_000);
                tree.find(&name).unwrap().inode().truncate(size).unwrap();
                model.get_mut(&name).unwrap().resize(size as usize, 0);
            }
            5 if model.contains_key(&name) => {
                let other = format!("w/{}", random.below(12));
                tree.rename(&name, &other).unwrap();
                let file = model.remove(&name).unwrap();
                model.insert(other, file);
            }
            6 => assert_eq!(tree.unlink(&name).is_ok(), model.remove(&name).is_some()),
            7 if model.contains_key(&name) => {
                let (offset, length) = (random.below(200_000), 1 + random.below(50_000));
                let flags = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
                tree.find(&name).unwrap().inode().allocate(flags, offset, length).unwrap();
                let file = model.get_mut(&name).unwrap();
                let end = file.len().min((offset + length) as usize);
                if (offset as usize) < end {
                    file[offset as usize..end].fill(0);
                }
            }
            8 if model.contains_key(&name) => {
                tree.find(&name).unwrap().inode().sync(SyncKind::Everything).unwrap();
            }
            9 => {
                tree.names.dentries().clear();
                page_cache::evict(10_000);
            }
            _ => {}
        }
        if let Some((name, contents)) = model.iter().nth(random.below(12) as usize) {
            assert!(tree.read(name).unwrap() == *contents, "{name} differs after step {step}");
        }
    }
    model
}

#[test]
fn work_survives_and_leaves_a_clean_file_system() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    for (seed, block_size) in [(1, "4096"), (2, "4096"), (3, "1024")] {
        let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "48M", &["-b", block_size])));
        let tree = Tree::mount(disk.clone()).unwrap();
        let model = work(&tree, &mut Random::new(seed), 400);
        tree.names.dentries().clear();
        tree.file_system.shut_down().unwrap();
        drop(tree);
        assert_clean(&disk.contents());
        let tree = Tree::mount(disk).unwrap();
        for (name, contents) in &model {
            assert!(tree.read(name).unwrap() == *contents, "{name} differs after the remount");
        }
    }
}

#[test]
fn attributes_links_and_special_files_are_kept() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "16M", &[])));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.write_at("f", 0, b"contents").unwrap();
    let file = tree.find("f").unwrap();
    let times = vfs::AttributeChanges {
        permissions: Some(0o640),
        uid: Some(1000),
        gid: Some(70_000),
        accessed: Some(vfs::Timestamp { seconds: 1_000_000_000, nanoseconds: 5 }),
        modified: Some(vfs::Timestamp { seconds: 1_100_000_000, nanoseconds: 6 }),
    };
    file.inode().set_attributes(&times).unwrap();
    let metadata = file.inode().metadata().unwrap();
    assert_eq!((metadata.permissions, metadata.uid, metadata.gid), (0o640, 1000, 70_000));
    assert_eq!((metadata.accessed, metadata.modified), (times.accessed.unwrap(), times.modified.unwrap()));
    tree.names.link(&file, tree.root(), b"g").unwrap();
    tree.make("p", NewInode::Fifo).unwrap();
    let number = linux_abi::file::DeviceNumber { major: 1, minor: 3 };
    tree.make("null", NewInode::Device(FileType::CharDevice, number)).unwrap();
    tree.make("l", NewInode::Symlink(b"f")).unwrap();
    let inode = file.inode();
    assert_eq!(inode.xattr(b"user.none"), Err(Errno::ENODATA));
    inode.set_xattr(b"user.color", b"blue", XattrMode::Create).unwrap();
    assert_eq!(inode.set_xattr(b"user.color", b"red", XattrMode::Create), Err(Errno::EEXIST));
    assert_eq!(inode.set_xattr(b"user.size", b"red", XattrMode::Replace), Err(Errno::ENODATA));
    assert_eq!(inode.set_xattr(b"strange.name", b"", XattrMode::Any), Err(Errno::EOPNOTSUPP));
    assert_eq!(inode.xattr_names().unwrap(), [b"user.color"]);
    drop(file);
    tree.file_system.shut_down().unwrap();
    drop(tree);
    assert_clean(&disk.contents());

    let tree = Tree::mount(disk).unwrap();
    let metadata = tree.find("g").unwrap().inode().metadata().unwrap();
    assert_eq!((metadata.links, metadata.permissions, metadata.uid, metadata.gid), (2, 0o640, 1000, 70_000));
    assert_eq!(metadata.modified.seconds, 1_100_000_000);
    assert_eq!(tree.find("p").unwrap().inode().kind(), FileType::Fifo);
    assert_eq!(tree.find("null").unwrap().inode().metadata().unwrap().device, number);
    assert_eq!(tree.find("l").unwrap().inode().read_link().unwrap(), b"f");
    let inode = tree.find("f").unwrap().inode().clone();
    assert_eq!(inode.xattr(b"user.color").unwrap(), b"blue");
    inode.remove_xattr(b"user.color").unwrap();
    assert!(inode.xattr_names().unwrap().is_empty());
}

#[test]
fn removed_files_give_their_space_back_and_full_disks_say_so() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "16M", &[])));
    let tree = Tree::mount(disk.clone()).unwrap();
    let megabyte = vec![7; 1 << 20];
    let file = tree.open("big", OpenFlags::CREAT).unwrap();
    let mut written = 0;
    let error = loop {
        match file.write(&mut SliceSrc::new(&megabyte), Blocking::Yes) {
            Ok(bytes) => written += bytes,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::ENOSPC);
    assert!(written > 5 << 20, "only {written} bytes fit");
    assert_eq!(file.sync(SyncKind::Everything), Ok(()), "what was accepted can be written");
    tree.unlink("big").unwrap();
    assert_eq!(tree.contents(file.path().unwrap()).unwrap().len(), written);
    drop(file);
    for round in 0..20 {
        let name = format!("again-{round}");
        tree.write_at(&name, 0, &vec![1; 4 << 20]).unwrap();
        tree.unlink(&name).unwrap();
    }
    tree.file_system.shut_down().unwrap();
    drop(tree);
    assert_clean(&disk.contents());
}

#[test]
fn regions_and_preallocation() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "16M", &[])));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.write_at("f", 1 << 20, &[1; 4096]).unwrap();
    let inode = tree.find("f").unwrap().inode().clone();
    assert_eq!(inode.seek_region(0, Whence::Data), Ok(1 << 20));
    assert_eq!(inode.seek_region(0, Whence::Hole), Ok(0));
    assert_eq!(inode.seek_region(1 << 20, Whence::Hole), Ok((1 << 20) + 4096));
    inode.allocate(FallocateFlags::empty(), 0, 2 << 20).unwrap();
    assert_eq!(inode.metadata().unwrap().size, 2 << 20);
    assert!(inode.metadata().unwrap().blocks >= 4096);
    let contents = tree.read("f").unwrap();
    assert!(contents[..1 << 20].iter().all(|byte| *byte == 0) && contents[1 << 20] == 1);
    assert_eq!(inode.seek_region((1 << 20) + 4096, Whence::Data), Err(Errno::ENXIO));
    assert_eq!(inode.allocate(FallocateFlags::COLLAPSE_RANGE, 0, 4096), Err(Errno::EOPNOTSUPP));
    tree.write_at("f", 5000, b"over unwritten blocks").unwrap();
    inode.sync(SyncKind::Data).unwrap();
    page_cache::evict(10_000);
    assert_eq!(&tree.read("f").unwrap()[5000..5021], b"over unwritten blocks");
}

#[test]
fn many_names_in_a_directory() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "64M", &[])));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.make("d", NewInode::Directory).unwrap();
    let name = |n: u32| format!("d/a-name-that-fills-blocks-quickly-{n:05}");
    for n in 0..3000 {
        tree.make(&name(n), NewInode::Regular).unwrap();
    }
    // Removing while reading, as a recursive delete does.
    let directory = tree.names.open(tree.root(), b"d", &READ_DIRECTORY).unwrap();
    let mut removed = 0;
    loop {
        let mut batch = Vec::new();
        directory
            .read_directory(&mut |entry| {
                if batch.len() == 50 {
                    return ControlFlow::Break(());
                }
                batch.push(String::from_utf8(entry.name.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        if batch.is_empty() {
            break;
        }
        for name in batch.iter().filter(|name| name.starts_with('a')) {
            tree.unlink(&format!("d/{name}")).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, 3000);
    tree.names.rmdir(tree.root(), b"d").unwrap();
    tree.file_system.shut_down().unwrap();
    drop((directory, tree));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.file_system.shut_down().unwrap();
    assert_clean(&disk.contents());
}

#[test]
fn a_rename_may_make_other_names_move() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    // The new names are longer: blocks overflow, so the directory gets an index, and its leaves are split.
    for (kind, count) in
        [(NewInode::Regular, 400), (NewInode::Directory, 250), (NewInode::Symlink(b"to"), 150)]
    {
        let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "32M", &[])));
        let tree = Tree::mount(disk.clone()).unwrap();
        tree.make("d", NewInode::Directory).unwrap();
        let old = |n: u32| format!("d/{n}");
        let new = |n: u32| format!("d/{}-{n}", "long-".repeat(20 + n as usize % 25));
        for n in 0..count {
            tree.make(&old(n), kind).unwrap();
        }
        let number = |name: &str| tree.find(name).map(|path| path.inode().metadata().unwrap().id.number);
        for n in 0..count {
            let before = number(&old(n)).unwrap();
            tree.rename(&old(n), &new(n)).unwrap();
            assert_eq!(number(&old(n)), Err(Errno::ENOENT));
            assert_eq!(number(&new(n)), Ok(before));
        }
        let links = if kind == NewInode::Directory { 2 } else { 1 };
        tree.file_system.sync().unwrap();
        drop(tree);
        let tree = Tree::mount(disk.clone()).unwrap();
        for n in 0..count {
            assert_eq!(tree.find(&new(n)).unwrap().inode().metadata().unwrap().links, links);
        }
        tree.file_system.shut_down().unwrap();
        // A directory whose blocks lie scattered has a tree of extents, whose own block rsext4 0.9.2 does not count.
        assert_clean_but(&disk.contents(), &[Flaw::DirectoryBlocks]);
    }
}

#[test]
fn threads_work_at_once() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "64M", &[])));
    let tree = Arc::new(Tree::mount(disk.clone()).unwrap());
    let threads: Vec<_> = (0..4u64)
        .map(|id| {
            let tree = tree.clone();
            thread::spawn(move || {
                let mut random = Random::new(id);
                for round in 0..60 {
                    let name = format!("t{id}-{}", random.below(4));
                    let bytes = vec![round as u8; 1 + random.below(100_000) as usize];
                    let _ = tree.unlink(&name);
                    tree.write_at(&name, 0, &bytes).unwrap();
                    if round % 8 == 0 {
                        tree.open(&name, OpenFlags::empty()).unwrap().sync(SyncKind::Data).unwrap();
                    }
                    if round % 16 == 0 {
                        tree.names.dentries().clear();
                        page_cache::evict(100);
                    }
                    assert!(tree.read(&name).unwrap() == bytes);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    tree.names.dentries().clear();
    tree.file_system.shut_down().unwrap();
    drop(tree);
    assert_clean(&disk.contents());
}

#[test]
fn what_is_no_ext4_is_refused() {
    for image in [vec![], vec![0; 512], vec![0; 1 << 20], vec![0xff; 1 << 20]] {
        let result = Ext4::mount(Arc::new(MemoryDisk::new(image)), support::DISK, ext4::Access::ReadWrite);
        assert!(result.is_err());
    }
}

#[test]
fn statistics_are_those_of_the_image() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "16M", &["-b", "1024"])));
    let statistics = Tree::mount(disk).unwrap().file_system.statistics().unwrap();
    assert_eq!((statistics.bsize, statistics.blocks), (1024, 16 << 10));
    assert!(statistics.bfree < statistics.blocks && statistics.bfree > 10_000);
}

/// What was preallocated and never written is freed with its file, wherever in it that is; also if the file is replaced, or removed while
/// it is open.
#[test]
fn what_was_preallocated_is_freed_with_its_file() {
    const MIB: u64 = 1 << 20;
    let Some(mke2fs) = tool("mke2fs") else { return };
    for block in ["1024", "4096"] {
        let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "48M", &["-b", block])));
        let tree = Tree::mount(disk.clone()).unwrap();
        tree.make("/folder", NewInode::Directory).unwrap();
        tree.file_system.sync().unwrap();
        let free = || tree.file_system.statistics().unwrap().bfree;
        let before = free();
        let preallocations = [
            (FallocateFlags::empty(), 0, MIB),
            (FallocateFlags::empty(), 5 * MIB, MIB),
            (FallocateFlags::KEEP_SIZE, 0, 2 * MIB),
            (FallocateFlags::KEEP_SIZE, 9 * MIB, 2 * MIB),
        ];
        for (flags, offset, length) in preallocations {
            for written in [0, 10, 8192] {
                for how in 0..3 {
                    tree.write_at("/file", 0, &vec![7; written]).unwrap();
                    let inode = tree.find("/file").unwrap().inode().clone();
                    inode.allocate(flags, offset, length).unwrap();
                    if how == 1 {
                        tree.file_system.sync().unwrap();
                        tree.write_at("/other", 0, &[1; 4096]).unwrap();
                        tree.rename("/other", "/file").unwrap();
                    }
                    let open = (how == 2).then(|| tree.open("/file", OpenFlags::empty()).unwrap());
                    tree.unlink("/file").unwrap();
                    tree.file_system.sync().unwrap();
                    drop((inode, open));
                    tree.file_system.sync().unwrap();
                    assert_eq!(
                        free(),
                        before,
                        "{block}: {flags:?} {offset}+{length} after {written} bytes, {how}"
                    );
                }
            }
        }
        tree.file_system.shut_down().unwrap();
        assert_clean(&disk.contents());
    }
}

/// Groups whose bitmap of inodes was never written get a whole one, with what is past the last inode.
#[test]
fn bitmaps_of_inodes_are_begun_as_linux_does() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    for options in [
        &["-b", "1024", "-g", "2048", "-N", "256"][..],
        &["-O", "^metadata_csum,uninit_bg"],
        &["-O", "^64bit"],
    ] {
        let options = [&["-b", "1024", "-g", "2048", "-N", "256"], options].concat();
        let disk = Arc::new(MemoryDisk::new(make_image(&mke2fs, None, "16M", &options)));
        let tree = Tree::mount(disk.clone()).unwrap();
        for number in 0..200 {
            tree.make(&format!("/{number}"), NewInode::Regular).unwrap();
            if number == 100 {
                // As a power cut would leave it.
                tree.file_system.sync().unwrap();
                let cut_off = Arc::new(MemoryDisk::new(disk.contents()));
                let recovered = Tree::mount(cut_off.clone()).unwrap();
                recovered.make("/after", NewInode::Regular).unwrap();
                recovered.file_system.shut_down().unwrap();
                assert_clean(&cut_off.contents());
            }
        }
        tree.file_system.shut_down().unwrap();
        assert_clean(&disk.contents());
    }
}
