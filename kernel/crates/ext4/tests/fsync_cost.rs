//! What reaches the device for one `fsync`: requests, blocks and flushes, which do not depend on the machine.
//!
//! `cargo test -p ext4 --test fsync_cost -- --nocapture` prints the table of docs/storage.md. Linux needs for the same
//! one or two flushes: two for a commit of the journal on a disk without FUA, one where there is nothing to commit.

mod support;

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use block::{BlockDevice, MemoryDisk, WriteCache};
use linux_abi::{
    Errno,
    file::{FallocateFlags, OpenFlags},
};
use support::{Tree, assert_clean, make_image, tool};
use vfs::{FileSystem, NewInode, SyncKind};

/// Counts what it is asked for.
struct Counter {
    disk: MemoryDisk,
    writes: AtomicU64,
    bytes: AtomicU64,
    flushes: AtomicU64,
    /// How long a flush takes, so that others can come while one is under way.
    flush_time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    writes: u64,
    bytes: u64,
    flushes: u64,
}

impl Counter {
    fn new(image: Vec<u8>, flush_time: Duration) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let disk = MemoryDisk::new(image);
        Arc::new(Self { disk, writes: zero(), bytes: zero(), flushes: zero(), flush_time })
    }

    fn cost(&self) -> Cost {
        let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Cost { writes: load(&self.writes), bytes: load(&self.bytes), flushes: load(&self.flushes) }
    }
}

impl BlockDevice for Counter {
    fn sector_count(&self) -> u64 {
        self.disk.sector_count()
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::Volatile
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        self.disk.read_scattered(sector, buffers)
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(buffers.iter().map(|b| b.len() as u64).sum(), Ordering::SeqCst);
        self.disk.write_gathered(sector, buffers)
    }

    fn flush(&self) -> Result<(), Errno> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.flush_time > Duration::ZERO {
            thread::sleep(self.flush_time);
        }
        Ok(())
    }
}

const ROUNDS: u64 = 40;

fn image() -> Option<Vec<u8>> {
    Some(make_image(&tool("mke2fs")?, None, "48M", &["-b", "4096", "-J", "size=8"]))
}

/// What one call of `step` costs on average. It makes so many flushes at most.
fn measure(name: &str, disk: &Counter, most_flushes: u64, mut step: impl FnMut(u64)) {
    step(0);
    let (before, mut over) = (disk.cost(), 0);
    for round in 1..=ROUNDS {
        let flushes = disk.cost().flushes;
        step(round);
        over += u32::from(disk.cost().flushes - flushes > most_flushes);
    }
    let after = disk.cost();
    let per = |after: u64, before: u64| (after - before) as f64 / ROUNDS as f64;
    println!(
        "| {name:40} | {:4.1} | {:5.1} | {:4.1} |",
        per(after.writes, before.writes),
        per(after.bytes, before.bytes) / 4096.0,
        per(after.flushes, before.flushes)
    );
    // Now and then the journal is emptied.
    assert!(over <= 1, "{name}: more than {most_flushes} flushes, {over} times");
}

#[test]
fn an_fsync_costs_little() {
    let Some(image) = image() else { return };
    let disk = Counter::new(image, Duration::ZERO);
    let tree = Tree::mount(disk.clone()).unwrap();
    let sync = |path: &str, kind| tree.open(path, OpenFlags::CREAT).unwrap().sync(kind).unwrap();
    println!("| one step | writes | blocks | flushes |");

    tree.write_at("pages", 0, &vec![1; 1 << 20]).unwrap();
    tree.file_system.sync().unwrap();
    let page = |round: u64| round * 7 % 256 * 4096;
    measure("overwrite a page, fdatasync", &disk, 1, |round| {
        tree.write_at("pages", page(round), &[round as u8; 4096]).unwrap();
        sync("pages", SyncKind::Data);
    });
    measure("overwrite a page, fsync", &disk, 2, |round| {
        tree.write_at("pages", page(round), &[round as u8; 4096]).unwrap();
        sync("pages", SyncKind::Everything);
    });
    let small = tree.open("small", OpenFlags::CREAT).unwrap();
    tree.write_at("small", 0, &[1; 100]).unwrap();
    small.sync(SyncKind::Everything).unwrap();
    tree.write_at("log", 0, &[1; 100]).unwrap();
    measure("append 200 bytes, fdatasync", &disk, 2, |round| {
        tree.write_at("log", 100 + round * 200, &[round as u8; 200]).unwrap();
        sync("log", SyncKind::Data);
    });
    measure("append a page, fsync", &disk, 2, |round| {
        tree.write_at("appended", round * 4096, &[round as u8; 4096]).unwrap();
        sync("appended", SyncKind::Everything);
    });
    let preallocated = tree.open("preallocated", OpenFlags::CREAT).unwrap();
    preallocated.inode().unwrap().allocate(FallocateFlags::empty(), 0, 4 << 20).unwrap();
    measure("write into what fallocate gave, fdatasync", &disk, 2, |round| {
        tree.write_at("preallocated", round * 8192, &[round as u8; 8192]).unwrap();
        sync("preallocated", SyncKind::Data);
    });
    measure("create, write 1000 bytes, fsync", &disk, 2, |round| {
        let name = format!("created-{round}");
        tree.write_at(&name, 0, &[round as u8; 1000]).unwrap();
        sync(&name, SyncKind::Everything);
    });
    let root = tree.root().inode().clone();
    measure("the same, rename, fsync the directory", &disk, 4, |round| {
        tree.write_at("new", 0, &[round as u8; 1000]).unwrap();
        sync("new", SyncKind::Everything);
        tree.rename("new", "current").unwrap();
        root.sync(SyncKind::Everything).unwrap();
    });
    measure("mkdir, fsync the directory", &disk, 2, |round| {
        tree.make(&format!("directory-{round}"), NewInode::Directory).unwrap();
        root.sync(SyncKind::Everything).unwrap();
    });
    measure("fsync of what is durable already", &disk, 0, |_| sync("current", SyncKind::Everything));
    // The journal fills many times over, and is emptied now and then for a few flushes more.
    let before = disk.cost();
    for round in 0..3000u64 {
        tree.write_at("long-log", round * 100, &[round as u8; 100]).unwrap();
        sync("long-log", SyncKind::Data);
    }
    let flushes = disk.cost().flushes - before.flushes;
    println!("3000 appends with fdatasync: {flushes} flushes");
    assert!(flushes < 3000 * 2 + 300, "{flushes} flushes");
    tree.file_system.shut_down().unwrap();
    drop((tree, small, preallocated));
    assert_clean(&disk.disk.contents());
}

/// Threads that append to files of their own and sync share the commits of the journal.
fn flushes_of(threads: u64, steps: u64, image: &[u8]) -> u64 {
    let disk = Counter::new(image.to_vec(), Duration::from_micros(500));
    let tree = Arc::new(Tree::mount(disk.clone()).unwrap());
    for id in 0..threads {
        tree.write_at(&format!("log-{id}"), 0, b"begin").unwrap();
    }
    tree.file_system.sync().unwrap();
    let before = disk.cost().flushes;
    let start = Arc::new(Barrier::new(threads as usize));
    let workers: Vec<_> = (0..threads)
        .map(|id| {
            let (tree, start) = (tree.clone(), start.clone());
            thread::spawn(move || {
                let name = format!("log-{id}");
                let file = tree.open(&name, OpenFlags::empty()).unwrap();
                start.wait();
                for step in 0..steps {
                    tree.write_at(&name, 5 + step * 100, &[id as u8; 100]).unwrap();
                    file.sync(SyncKind::Data).unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let flushes = disk.cost().flushes - before;
    println!("{threads} threads: {:.2} flushes per fdatasync", flushes as f64 / (threads * steps) as f64);
    drop(Arc::into_inner(tree).unwrap());
    flushes
}

#[test]
fn threads_share_commits() {
    let Some(image) = image() else { return };
    let alone = flushes_of(1, 20, &image);
    assert!(alone <= 40, "{alone} flushes for one thread");
    // How many come while a flush is under way is the scheduler's choice; that none ever does is unlikely.
    let eight = flushes_of(8, 20, &image);
    assert!(eight < 8 * 20 * 2, "{eight} flushes for 8 threads");
    let many = flushes_of(64, 5, &image);
    assert!(many < 64 * 5 * 2, "{many} flushes for 64 threads");
}
