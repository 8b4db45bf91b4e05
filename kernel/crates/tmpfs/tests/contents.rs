//! Contents of files against a plain vector; holes, seals and mappings.

use std::sync::Arc;

use linux_abi::{
    Errno,
    file::{FallocateFlags, Seals, Whence},
};
use proptest::prelude::*;
use tmpfs::Tmpfs;
use vfs::{FileSystem, Inode, PageAccess, SliceSrc, WritePosition};

fn memfd() -> (Arc<Tmpfs>, Arc<dyn Inode>) {
    frames::host::init();
    let file_system = Tmpfs::new("tmpfs", 1000, 0o777);
    let inode = file_system.create_memfd(Seals::empty());
    (file_system, inode)
}

fn write(inode: &Arc<dyn Inode>, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    Ok(inode.write_at(WritePosition::At(offset), &mut SliceSrc::new(bytes))?.bytes)
}

fn read(inode: &Arc<dyn Inode>, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    let done = inode.read_at(offset, &mut &mut bytes[..]).unwrap();
    bytes.truncate(done);
    bytes
}

const PUNCH: FallocateFlags = FallocateFlags::KEEP_SIZE.union(FallocateFlags::PUNCH_HOLE);

#[test]
fn holes_are_found_and_cost_nothing() {
    let (file_system, inode) = memfd();
    inode.truncate(1 << 40).unwrap();
    write(&inode, 8192, &[1; 100]).unwrap();
    write(&inode, 1 << 30, &[1; 5000]).unwrap();
    assert_eq!(inode.metadata().unwrap().blocks, 3 * 8);
    assert_eq!(inode.seek_region(0, Whence::Data), Ok(8192));
    assert_eq!(inode.seek_region(8200, Whence::Data), Ok(8200));
    assert_eq!(inode.seek_region(8200, Whence::Hole), Ok(12288));
    assert_eq!(inode.seek_region(0, Whence::Hole), Ok(0));
    assert_eq!(inode.seek_region(12288, Whence::Data), Ok(1 << 30));
    assert_eq!(inode.seek_region((1 << 30) + 8192, Whence::Data), Err(Errno::ENXIO));
    assert_eq!(inode.seek_region(1 << 40, Whence::Hole), Err(Errno::ENXIO));
    inode.allocate(PUNCH, 0, 1 << 35).unwrap();
    assert_eq!(inode.metadata().unwrap().blocks, 0);
    assert_eq!(file_system.statistics().unwrap().bfree, 1000);
}

#[test]
fn the_limit_is_kept_and_given_back() {
    let (file_system, inode) = memfd();
    assert_eq!(inode.allocate(FallocateFlags::empty(), 0, 1001 << 12), Err(Errno::ENOSPC));
    assert_eq!(file_system.statistics().unwrap().bfree, 1000);
    inode.allocate(FallocateFlags::KEEP_SIZE, 0, 1000 << 12).unwrap();
    assert_eq!((inode.metadata().unwrap().size, file_system.statistics().unwrap().bfree), (0, 0));
    drop(inode);
    assert_eq!(file_system.statistics().unwrap().bfree, 1000);
}

#[test]
fn seals_are_kept() {
    let (_file_system, inode) = memfd();
    write(&inode, 0, &[7; 8192]).unwrap();
    let page = inode.clone().memory_object().unwrap().page(1, PageAccess::SharedWrite).unwrap();
    assert_eq!(inode.add_seals(Seals::WRITE), Err(Errno::EBUSY));
    drop(page);
    inode.add_seals(Seals::SHRINK | Seals::GROW).unwrap();
    assert_eq!(inode.truncate(100), Err(Errno::EPERM));
    assert_eq!(inode.truncate(10_000), Err(Errno::EPERM));
    assert_eq!(write(&inode, 8000, &[1; 1000]), Ok(192));
    assert_eq!(write(&inode, 8192, &[1; 1000]), Err(Errno::EPERM));
    inode.add_seals(Seals::WRITE | Seals::SEAL).unwrap();
    assert_eq!(write(&inode, 0, &[1]), Err(Errno::EPERM));
    assert_eq!(inode.allocate(PUNCH, 0, 4096), Err(Errno::EPERM));
    assert_eq!(inode.add_seals(Seals::SHRINK), Err(Errno::EPERM));
    assert_eq!(inode.seals(), Ok(Seals::SHRINK | Seals::GROW | Seals::WRITE | Seals::SEAL));
}

#[test]
fn mappings_and_reads_see_the_same_pages() {
    let (_file_system, inode) = memfd();
    inode.truncate(5000).unwrap();
    let object = inode.clone().memory_object().unwrap();
    assert_eq!(object.page(2, PageAccess::Read).err(), Some(Errno::EFAULT));
    object.page(1, PageAccess::SharedWrite).unwrap().write(0, b"mapped");
    assert_eq!(read(&inode, 4096, 6), b"mapped");
    write(&inode, 4096, b"M").unwrap();
    let mut first = [0];
    object.cached_page(1).unwrap().read(0, &mut first);
    assert_eq!(&first, b"M");
    object.page(1, PageAccess::SharedWrite).unwrap().write(2000, b"past the end");
    inode.truncate(8192).unwrap();
    assert_eq!(read(&inode, 5000, 4000), vec![0; 3192]);
}

proptest! {
    #[test]
    fn behaves_like_a_vector(operations in prop::collection::vec((0..4u8, 0..30_000u64, 1..12_000usize, any::<u8>()), 1..50)) {
        let (file_system, inode) = memfd();
        let mut model: Vec<u8> = Vec::new();
        for (operation, offset, len, value) in operations {
            let end = offset as usize + len;
            match operation {
                0 => {
                    prop_assert_eq!(write(&inode, offset, &vec![value; len]), Ok(len));
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].fill(value);
                }
                1 => {
                    inode.truncate(offset).unwrap();
                    model.resize(offset as usize, 0);
                }
                2 => {
                    inode.allocate(PUNCH, offset, len as u64).unwrap();
                    let end = end.min(model.len());
                    if (offset as usize) < end { model[offset as usize..end].fill(0); }
                }
                _ => {
                    let (start, end) = (model.len().min(offset as usize), model.len().min(end));
                    prop_assert_eq!(read(&inode, offset, len), &model[start..end]);
                }
            }
            prop_assert_eq!(inode.metadata().unwrap().size, model.len() as u64);
        }
        prop_assert_eq!(read(&inode, 0, 100_000), model);
        drop(inode);
        prop_assert_eq!(file_system.statistics().unwrap().bfree, 1000);
    }
}
