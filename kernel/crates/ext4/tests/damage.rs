//! What a mount says of the file system, and what becomes of one that shows damage while it is in use.

mod support;

use std::{process::Command, sync::Arc};

use block::{BlockDevice, MemoryDisk, SECTOR_BYTES};
use ext4::Health;
use linux_abi::{Errno, file::OpenFlags};
use support::{Scratch, Tree, assert_clean, make_image, tool};
use vfs::{FileSystem, NewInode, SyncKind};

const BLOCK_BYTES: usize = 4096;

fn image(options: &[&str]) -> Option<Vec<u8>> {
    let options = [&["-b", "4096"], options].concat();
    Some(make_image(&tool("mke2fs")?, None, "16M", &options))
}

/// What e2fsck makes of a damaged image, which has to be something that is in order.
fn repaired(image: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    std::fs::write(&path, image).unwrap();
    let output = Command::new(tool("e2fsck").unwrap()).arg("-fy").arg(&path).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code <= 2), "{output:?}");
    std::fs::read(&path).unwrap()
}

/// The first block that begins like this.
fn block_with(image: &[u8], start: &[u8]) -> usize {
    image.chunks(BLOCK_BYTES).position(|block| block.starts_with(start)).expect("there is such a block")
}

#[test]
fn a_mount_tells_clean_from_recovered() {
    let Some(image) = image(&[]) else { return };
    let disk = Arc::new(MemoryDisk::new(image));
    let tree = Tree::mount(disk.clone()).unwrap();
    assert_eq!(tree.file_system.health(), Health::Good);
    tree.write_at("kept", 0, b"kept").unwrap();
    let removed = tree.open("removed", OpenFlags::CREAT).unwrap();
    tree.unlink("removed").unwrap();
    tree.file_system.sync().unwrap();
    let cut_off = Arc::new(MemoryDisk::new(disk.contents()));
    drop(removed);

    let again = Tree::mount(cut_off.clone()).unwrap();
    assert_eq!(again.file_system.health(), Health::Recovered);
    assert_eq!(again.read("kept"), Ok(b"kept".to_vec()));
    again.file_system.shut_down().unwrap();
    drop(again);
    assert_clean(&cut_off.contents());
    assert_eq!(Tree::mount(cut_off).unwrap().file_system.health(), Health::Good);
}

#[test]
fn without_a_journal_an_unclean_file_system_is_not_trusted() {
    let Some(image) = image(&["-O", "^has_journal"]) else { return };
    let disk = Arc::new(MemoryDisk::new(image));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.write_at("file", 0, b"written").unwrap();
    tree.file_system.sync().unwrap();
    let again = Tree::mount(Arc::new(MemoryDisk::new(disk.contents()))).unwrap();
    assert!(matches!(again.file_system.health(), Health::Damaged(_)));
    assert_eq!(again.read("file"), Ok(b"written".to_vec()));
    assert_eq!(again.write_at("file", 0, b"more"), Err(Errno::EROFS));
    tree.file_system.shut_down().unwrap();
    assert_clean(&disk.contents());
    let again = Tree::mount(disk).unwrap();
    assert_eq!(again.file_system.health(), Health::Good);
}

#[test]
fn a_journal_that_cannot_be_replayed_is_damage() {
    let Some(image) = image(&[]) else { return };
    let disk = Arc::new(MemoryDisk::new(image));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.write_at("file", 0, b"written").unwrap();
    tree.file_system.sync().unwrap();
    let mut cut_off = disk.contents();
    // The journal's own superblock: its magic number, and type 4 (Linux journal.rst).
    let journal = block_with(&cut_off, &[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
    let block_bytes = journal * BLOCK_BYTES + 0xc;
    cut_off[block_bytes..block_bytes + 4].copy_from_slice(&77_u32.to_be_bytes());
    let tree = Tree::mount(Arc::new(MemoryDisk::new(cut_off))).unwrap();
    assert!(matches!(tree.file_system.health(), Health::Damaged(_)));
    assert_eq!(tree.make("new", NewInode::Directory).err(), Some(Errno::EROFS));
}

#[test]
fn damage_ends_changes_and_is_noted() {
    let Some(image) = image(&[]) else { return };
    let disk = Arc::new(MemoryDisk::new(image));
    let tree = Tree::mount(disk.clone()).unwrap();
    tree.make("directory", NewInode::Directory).unwrap();
    tree.write_at("directory/marked", 0, b"x").unwrap();
    tree.write_at("other", 0, b"fine").unwrap();
    tree.file_system.shut_down().unwrap();
    drop(tree);
    // In the directory, and in the journal's copy of it.
    let bytes = disk.contents();
    let names: Vec<_> = bytes.windows(6).enumerate().filter(|(_, window)| window == b"marked").collect();
    for (at, _) in names {
        let mut sector = bytes[at / SECTOR_BYTES * SECTOR_BYTES..][..SECTOR_BYTES].to_vec();
        sector[at % SECTOR_BYTES] = b'M';
        disk.write((at / SECTOR_BYTES) as u64, &sector).unwrap();
    }

    let tree = Tree::mount(disk.clone()).unwrap();
    let other = tree.open("other", OpenFlags::empty()).unwrap();
    tree.write_at("other", 0, b"done").unwrap();
    other.sync(SyncKind::Everything).unwrap();
    tree.write_at("other", 0, b"late").unwrap();
    assert_eq!(tree.find("directory/marked").err(), Some(Errno::EUCLEAN));
    let Health::Damaged(reason) = tree.file_system.health() else { panic!("not noticed") };
    assert!(reason.contains("checksum"), "{reason}");
    // The writer of what cannot be written any more hears of it; reading goes on.
    assert_eq!(other.sync(SyncKind::Everything), Err(Errno::EROFS));
    assert_eq!(tree.write_at("other", 9000, b"more"), Err(Errno::EROFS));
    assert_eq!(tree.make("new", NewInode::Directory).err(), Some(Errno::EROFS));
    assert!(tree.read("other").is_ok());
    tree.file_system.shut_down().unwrap();
    drop((tree, other));

    let noted = Tree::mount(disk.clone()).unwrap();
    assert!(matches!(noted.file_system.health(), Health::Damaged(_)));
    assert_eq!(noted.make("new", NewInode::Directory).err(), Some(Errno::EROFS));
    assert_eq!(noted.read("other"), Ok(b"done".to_vec()));
    drop(noted);
    let disk = Arc::new(MemoryDisk::new(repaired(&disk.contents())));
    let tree = Tree::mount(disk).unwrap();
    assert_eq!(tree.file_system.health(), Health::Good);
    assert_eq!(tree.read("other"), Ok(b"done".to_vec()));
}
