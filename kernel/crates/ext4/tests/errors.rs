//! Devices that fail: what `fsync` says, and what becomes of the data.

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use block::{BlockDevice, MemoryDisk, SECTOR_BYTES, WriteCache};
use linux_abi::{Errno, file::OpenFlags};
use support::{Tree, assert_clean, make_image, tool};
use vfs::{Blocking, OpenFile, Progress, SliceSrc, SyncKind, Writeback};

/// What a write has to contain for it to fail.
const MARK: [u8; 16] = *b"cannot be stored";

/// A disk on which data with a mark cannot be written, and optionally nothing be read.
struct Faulty {
    disk: MemoryDisk,
    fails: AtomicBool,
    fails_reads: AtomicBool,
    /// Writes that failed.
    failures: Mutex<usize>,
}

impl BlockDevice for Faulty {
    fn sector_count(&self) -> u64 {
        self.disk.sector_count()
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::None
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        if self.fails_reads.load(Ordering::SeqCst) {
            return Err(Errno::EIO);
        }
        self.disk.read_scattered(sector, buffers)
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        let has_mark = || buffers.iter().any(|b| b.chunks(SECTOR_BYTES).any(|s| s.starts_with(&MARK)));
        if self.fails.load(Ordering::SeqCst) && has_mark() {
            *self.failures.lock().unwrap() += 1;
            return Err(Errno::EIO);
        }
        self.disk.write_gathered(sector, buffers)
    }

    fn flush(&self) -> Result<(), Errno> {
        Ok(())
    }
}

fn mount() -> Option<(Arc<Faulty>, Tree)> {
    let mke2fs = tool("mke2fs")?;
    let faulty = Arc::new(Faulty {
        disk: MemoryDisk::new(make_image(&mke2fs, None, "16M", &[])),
        fails: AtomicBool::new(false),
        fails_reads: AtomicBool::new(false),
        failures: Mutex::new(0),
    });
    let tree = Tree::mount(faulty.clone()).unwrap();
    Some((faulty, tree))
}

fn marked() -> Vec<u8> {
    let mut bytes = vec![1; 8192];
    bytes[4096..4112].copy_from_slice(&MARK);
    bytes
}

fn write(file: &OpenFile, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(offset, &mut SliceSrc::new(bytes), Blocking::Yes)
}

/// A file whose blocks are on the device, opened twice.
fn two_open_files(tree: &Tree) -> [Arc<OpenFile>; 2] {
    tree.write_at("f", 0, &[7; 8192]).unwrap();
    let files = [0; 2].map(|_| tree.open("f", OpenFlags::empty()).unwrap());
    files[0].sync(SyncKind::Everything).unwrap();
    files
}

#[test]
fn each_open_file_learns_once_of_a_failed_write_and_the_data_is_tried_again() {
    let Some((faulty, tree)) = mount() else { return };
    let [first, second] = two_open_files(&tree);
    faulty.fails.store(true, Ordering::SeqCst);
    write(&first, 0, &marked()).unwrap();
    assert_eq!(first.sync(SyncKind::Data), Err(Errno::EIO));
    assert!(*faulty.failures.lock().unwrap() > 0);
    // From here on the device works: what `fsync` now calls done is on it.
    faulty.fails.store(false, Ordering::SeqCst);
    assert_eq!(second.sync(SyncKind::Data), Err(Errno::EIO), "the other one, too");
    assert_eq!((first.sync(SyncKind::Data), second.sync(SyncKind::Data)), (Ok(()), Ok(())));
    let third = tree.open("f", OpenFlags::empty()).unwrap();
    assert_eq!(third.sync(SyncKind::Data), Ok(()), "it was opened after others were told");
    drop((first, second, third));
    tree.file_system.shut_down().unwrap();
    drop(tree);
    assert_clean(&faulty.disk.contents());
    let tree = Tree::mount(faulty.clone()).unwrap();
    assert_eq!(tree.read("f").unwrap(), marked());
}

#[test]
fn what_the_writer_thread_runs_into_is_told_by_fsync() {
    let Some((faulty, tree)) = mount() else { return };
    let [first, second] = two_open_files(&tree);
    let not_for_us = tree.open("other", OpenFlags::CREAT).unwrap();
    faulty.fails.store(true, Ordering::SeqCst);
    write(&first, 0, &marked()).unwrap();
    let go_on: &Progress<'_> = &|| std::ops::ControlFlow::Continue(());
    tree.names.write_back(Writeback::Excess, go_on);
    faulty.fails.store(false, Ordering::SeqCst);
    tree.names.write_back(Writeback::Excess, go_on);
    assert_eq!(not_for_us.sync(SyncKind::Everything), Ok(()));
    // It was opened after the failure, and nobody was told yet.
    let later = tree.open("f", OpenFlags::empty()).unwrap();
    assert_eq!([&first, &second, &later].map(|file| file.sync(SyncKind::Everything)), [Err(Errno::EIO); 3]);
    assert_eq!([&first, &second, &later].map(|file| file.sync(SyncKind::Everything)), [Ok(()); 3]);
    assert_eq!(not_for_us.sync_file_system(), Err(Errno::EIO), "syncfs is about all files");
    assert_eq!(not_for_us.sync_file_system(), Ok(()));
}

#[test]
fn a_synchronous_write_that_fails_says_so() {
    let Some((faulty, tree)) = mount() else { return };
    two_open_files(&tree);
    let file = tree.open("f", OpenFlags::DSYNC).unwrap();
    faulty.fails.store(true, Ordering::SeqCst);
    assert_eq!(write(&file, 0, &marked()), Err(Errno::EIO));
    faulty.fails.store(false, Ordering::SeqCst);
    assert_eq!(write(&file, 0, &marked()), Ok(8192));
}

#[test]
fn reads_that_fail_are_errors_and_leave_no_page_behind() {
    let Some((faulty, tree)) = mount() else { return };
    let [first, _] = two_open_files(&tree);
    first.inode().unwrap().drop_cached(0..u64::MAX);
    faulty.fails_reads.store(true, Ordering::SeqCst);
    let mut bytes = [0; 100];
    assert_eq!(first.read_at(0, &mut &mut bytes[..], Blocking::Yes), Err(Errno::EIO));
    let object = first.file().memory_object().unwrap();
    assert_eq!(object.page(0, vfs::PageAccess::Read).err(), Some(Errno::EIO));
    faulty.fails_reads.store(false, Ordering::SeqCst);
    assert_eq!(first.read_at(0, &mut &mut bytes[..], Blocking::Yes), Ok(100));
    assert_eq!(bytes, [7; 100]);
}
