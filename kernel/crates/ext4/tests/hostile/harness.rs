//! Works on an image in a thread of its own, with a bound on all that it may take.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ops::ControlFlow,
    panic,
    sync::{
        Arc, Mutex, Once,
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
use vfs::{FileSystem, NewInode, Path, SyncKind, XattrMode};

use crate::support::Tree;

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

    fn can_discard(&self) -> bool {
        true
    }

    fn discard(&self, sector: u64, sectors: u64) -> Result<(), Errno> {
        self.count()?;
        self.disk.discard(sector, sectors)
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
    let _ = tree.file_system.trim(0..u64::MAX, 0);
    let _ = tree.file_system.shut_down();
}

/// Where a thread panicked, for whom a hook notes it.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has panics of such threads noted, and nothing logged.
pub fn be_quiet() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let usual_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("hostile") {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                PANICS.lock().unwrap().push(format!("{place}: {}", info.payload_as_str().unwrap_or("")));
            } else {
                usual_hook(info);
            }
        }));
    });
    log::set_max_level(log::LevelFilter::Off);
}

/// Works on an image in a thread of its own; says what went wrong.
pub fn outcome(image: Vec<u8>) -> Result<(), String> {
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
