//! Images that have everything a reader has to believe in, as a power cut leaves them.

use std::sync::{Arc, OnceLock};

use block::MemoryDisk;
use linux_abi::file::OpenFlags;
use vfs::{FileSystem, NewInode, XattrMode};

use crate::support::{Tree, make_image, tool};

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
    // Where it belongs, and not in the journal alone; what comes now is in both.
    drop(large);
    tree.file_system.shut_down().unwrap();
    drop(tree);
    let tree = Tree::mount(disk.clone()).unwrap();
    let _open = tree.open("dir/file-20", OpenFlags::empty()).unwrap();
    tree.unlink("dir/file-20").unwrap();
    tree.write_at("sub/lower/last", 0, &[3; 5000]).unwrap();
    tree.file_system.sync().unwrap();
    disk.contents()
}

/// One with extents, one with block maps, one with checksums.
pub fn bases() -> &'static [Vec<u8>] {
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
