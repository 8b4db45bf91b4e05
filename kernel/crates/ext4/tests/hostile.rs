//! Damaged and hostile images: errors, never a panic, never an endless loop, never all the memory.
//!
//! Images are made here that have everything a reader has to believe in: a tree of directories with an index,
//! fragmented files, attributes, links, a journal to replay and inodes to free. Each round then changes one in
//! some places, most often where a structure lies, and mounts, reads and changes it. A seed gives the same image
//! each time. `CREMA_EXT4_FACTOR` makes so many times as many, `CREMA_EXT4_SEED` others.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    ops::ControlFlow,
    panic,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use block::{BlockDevice, MemoryDisk, WriteCache};
use linux_abi::{
    Errno,
    file::{FallocateFlags, FileType, OpenFlags},
};
use support::{Random, Tree, first_seed, make_image, rounds, tool};
use vfs::{FileSystem, NewInode, Path, SyncKind, XattrMode};

/// Counts the bytes in use, so that an image that makes its reader ask for gigabytes is found out.
struct Counting;

static IN_USE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system allocator's doing; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on: `alloc` had the pointer from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// More than any good image of this size needs, with what the test itself has.
const MAX_MORE_BYTES: usize = 128 << 20;
/// No image of this size takes so many requests; after them the disk fails, which ends any loop that reads.
const MAX_REQUESTS: u64 = 100_000;
/// Long for what takes milliseconds, on a busy machine too.
const MAX_TIME: Duration = Duration::from_secs(120);

struct Bounded {
    disk: MemoryDisk,
    requests: AtomicU64,
}

impl Bounded {
    fn count(&self) -> Result<(), Errno> {
        if self.requests.fetch_add(1, Ordering::Relaxed) < MAX_REQUESTS { Ok(()) } else { Err(Errno::EIO) }
    }
}

impl BlockDevice for Bounded {
    fn sector_count(&self) -> u64 {
        self.disk.sector_count()
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::Volatile
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.count()?;
        self.disk.read_scattered(sector, buffers)
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        self.count()?;
        self.disk.write_gathered(sector, buffers)
    }

    fn flush(&self) -> Result<(), Errno> {
        self.count()
    }
}

/// Visits everything below `directory`, however damaged, a bounded number of steps deep and wide.
fn visit(tree: &Tree, directory: &Path, budget: &mut usize, depth: usize) {
    let request =
        vfs::OpenRequest { access: vfs::AccessMode::ReadOnly, flags: OpenFlags::DIRECTORY, permissions: 0 };
    let Ok(file) = tree.names.open(directory, b".", &request) else { return };
    let mut names = Vec::new();
    let _ = file.read_directory(&mut |entry| {
        names.push(entry.name.to_vec());
        if names.len() < 200 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for name in names {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let Ok(path) = tree.names.resolve(directory, &name, vfs::FinalLink::Stay) else { continue };
        let _ = path.inode().metadata();
        for name in path.inode().xattr_names().unwrap_or_default() {
            let _ = path.inode().xattr(&name);
        }
        match path.inode().kind() {
            FileType::Directory if name != b"." && name != b".." && depth < 8 => {
                visit(tree, &path, budget, depth + 1);
            }
            FileType::Symlink => drop(path.inode().read_link()),
            FileType::Regular => {
                let mut buffer = vec![0; 50_000];
                let _ = path.inode().read_at(0, &mut &mut buffer[..]);
                let _ = path.inode().read_at(1 << 20, &mut &mut buffer[..]);
                let _ = path.inode().seek_region(0, linux_abi::file::Whence::Hole);
            }
            _ => {}
        }
    }
}

/// Mounts, reads and changes an image.
fn work_on(image: Vec<u8>) {
    let disk = Bounded { disk: MemoryDisk::new(image), requests: AtomicU64::new(0) };
    let Ok(tree) = Tree::mount(Arc::new(disk)) else { return };
    visit(&tree, tree.root(), &mut 300, 0);
    let _ = tree.write_at_most("dir/new", 0, &[1; 20_000]);
    let _ = tree.write_at_most("dir/file-3", 100, &[2; 50_000]);
    let _ = tree.make("dir/subdirectory", NewInode::Directory);
    let _ = tree.rename("dir/file-4", "dir/file-5");
    let _ = tree.rename("dir/file-7", "sub/file");
    let _ = tree.unlink("dir/file-6");
    let _ = tree.names.rmdir(tree.root(), b"sub/empty");
    if let Ok(path) = tree.find("dir/large") {
        let inode = path.inode();
        let _ = inode.set_xattr(b"user.new", &[7; 300], XattrMode::Any);
        let _ = inode.allocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 30_000, 60_000);
        let _ = inode.allocate(FallocateFlags::empty(), 500_000, 100_000);
        let _ = inode.truncate(10_000);
        let _ = inode.sync(SyncKind::Everything);
    }
    let _ = tree.unlink("fragments");
    let _ = tree.file_system.shut_down();
}

/// An image with all that is in one, as a power cut leaves it.
fn base_image(mke2fs: &std::path::Path, options: &[&str]) -> Vec<u8> {
    let image = make_image(mke2fs, None, "4M", &[&["-b", "1024", "-J", "size=1"], options].concat());
    let disk = Arc::new(MemoryDisk::new(image));
    let tree = Tree::mount(disk.clone()).unwrap();
    for directory in ["dir", "sub", "sub/empty", "sub/lower"] {
        tree.make(directory, NewInode::Directory).unwrap();
    }
    for n in 0..60 {
        let name = format!("dir/file-{n}");
        tree.write_at(&name, 0, &vec![n as u8; n * 300]).unwrap();
    }
    for n in 0..40 {
        tree.make(&format!("dir/a-name-that-takes-room-so-that-there-is-an-index-{n}"), NewInode::Fifo)
            .unwrap();
    }
    tree.write_at("dir/large", 0, &[9; 300_000]).unwrap();
    for n in (0..60).rev() {
        tree.write_at("fragments", n * 4096, &[n as u8; 1024]).unwrap();
        tree.file_system.sync().unwrap();
    }
    tree.make("link", NewInode::Symlink(b"dir/large")).unwrap();
    tree.make("sub/long-link", NewInode::Symlink(&[b'x'; 300])).unwrap();
    let large = tree.find("dir/large").unwrap();
    large.inode().set_xattr(b"user.small", b"value", XattrMode::Any).unwrap();
    large.inode().set_xattr(b"user.large", &[b'v'; 700], XattrMode::Any).unwrap();
    tree.file_system.sync().unwrap();
    let _open = tree.open("dir/file-20", OpenFlags::empty()).unwrap();
    tree.unlink("dir/file-20").unwrap();
    tree.write_at("sub/lower/last", 0, &[3; 5000]).unwrap();
    tree.file_system.sync().unwrap();
    disk.contents()
}

/// Values that are wrong in ways of their own.
fn bad_value(random: &mut Random) -> u32 {
    match random.below(6) {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << random.below(32),
        3 => random.below(4096) as u32,
        4 => u32::MAX - random.below(64) as u32,
        _ => random.below(1 << 32) as u32,
    }
}

fn put(image: &mut [u8], at: usize, random: &mut Random) {
    let value = bad_value(random).to_le_bytes();
    let width = [1, 2, 4][random.below(3) as usize];
    image[at..at + width].copy_from_slice(&value[..width]);
}

const BLOCK: usize = 1024;

/// Where a block of directory entries, an extent node or a block of the journal begins.
fn structures(image: &[u8]) -> Vec<usize> {
    let is_structure = |block: &[u8]| {
        let begins = |bytes: &[u8]| block.starts_with(bytes);
        begins(&[0x0a, 0xf3]) || begins(&[0xc0, 0x3b, 0x39, 0x98]) || block[6..9] == [1, 2, b'.'] || {
            block[4] < 64
                && block[4] >= 12
                && block[5] == 0
                && block[4].is_multiple_of(4)
                && block[6] > 0
                && block[7] == 1
        }
    };
    (0..image.len() / BLOCK).map(|n| n * BLOCK).filter(|at| is_structure(&image[*at..*at + BLOCK])).collect()
}

/// Changes an image in a few places.
fn damage(image: &mut [u8], random: &mut Random) {
    let group = 2 * BLOCK;
    let word = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let inode_table = word(image, group + 8) * BLOCK;
    for _ in 0..1 + random.below(4) {
        match random.below(9) {
            0 => put(image, 1024 + random.below(1020) as usize, random),
            1 => put(image, group + random.below(64) as usize, random),
            // Bitmaps of blocks and inodes.
            2 => {
                let at = word(image, group + 4 * random.below(2) as usize) * BLOCK;
                if at + BLOCK <= image.len() {
                    put(image, at + random.below(BLOCK as u64 - 4) as usize, random);
                }
            }
            3 | 4 => {
                let inode = inode_table + random.below(140) as usize * 256;
                let length = if random.below(2) == 0 { 100 } else { 252 };
                let at = inode + random.below(length) as usize;
                if at + 4 <= image.len() {
                    put(image, at, random);
                }
            }
            5 | 6 => {
                let found = structures(image);
                let at = found[random.below(found.len() as u64) as usize];
                let near = if random.below(2) == 0 { 48 } else { BLOCK as u64 - 4 };
                put(image, at + random.below(near) as usize, random);
            }
            7 => {
                let (from, to) =
                    (random.below(image.len() as u64 / 1024), random.below(image.len() as u64 / 1024));
                let from = from as usize * BLOCK;
                image.copy_within(from..from + BLOCK, to as usize * BLOCK);
            }
            _ => {
                let at = random.below(image.len() as u64) as usize;
                image[at] ^= 1 << random.below(8);
            }
        }
    }
}

/// Where a thread panicked, for whom a hook notes it.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Works on an image in a thread of its own; says what went wrong.
fn outcome(image: Vec<u8>) -> Result<(), String> {
    let before = IN_USE_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(before, Ordering::Relaxed);
    let (done, is_done) = mpsc::channel();
    let worker = thread::Builder::new()
        .name("hostile".into())
        .spawn(move || {
            let result = panic::catch_unwind(|| work_on(image));
            let _ = done.send(());
            result.is_ok()
        })
        .unwrap();
    if is_done.recv_timeout(MAX_TIME).is_err() {
        return Err("it does not end".into());
    }
    if !worker.join().unwrap_or(false) {
        let panics = std::mem::take(&mut *PANICS.lock().unwrap());
        return Err(format!("panic: {}", panics.first().map_or("?", String::as_str)));
    }
    match PEAK_BYTES.load(Ordering::Relaxed) - before {
        more if more > MAX_MORE_BYTES => Err(format!("{} MiB of memory", more >> 20)),
        _ => Ok(()),
    }
}

fn bases() -> &'static [Vec<u8>] {
    static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let Some(mke2fs) = tool("mke2fs") else { return Vec::new() };
        // Checksums would catch nearly every change: without them it is up to the code.
        [&["-O", "^metadata_csum,^64bit"][..], &["-O", "^metadata_csum,^64bit,^extent"], &[]]
            .iter()
            .map(|options| base_image(&mke2fs, options))
            .collect()
    })
}

#[test]
fn damaged_images_give_errors() {
    let bases = bases();
    if bases.is_empty() {
        return;
    }
    log::set_max_level(log::LevelFilter::Off);
    let usual_hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some("hostile") {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PANICS.lock().unwrap().push(format!("{place}: {}", info.payload_as_str().unwrap_or("")));
        } else {
            usual_hook(info);
        }
    }));
    let mut failures: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in first_seed()..first_seed() + rounds(120) {
        // Most of the images without checksums.
        let random = &mut Random::new(seed);
        let mut image = bases[[0, 0, 0, 1, 1, 2][random.below(6) as usize]].clone();
        damage(&mut image, random);
        if let Err(failure) = outcome(image) {
            failures.entry(failure).or_default().push(seed);
        }
    }
    for (failure, seeds) in &failures {
        eprintln!(
            "{failure}: seeds {:?}{}",
            &seeds[..seeds.len().min(5)],
            if seeds.len() > 5 { ", ..." } else { "" }
        );
    }
    assert!(failures.is_empty(), "{} ways to fail", failures.len());
}
