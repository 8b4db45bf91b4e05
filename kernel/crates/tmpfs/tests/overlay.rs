//! A RAM layer over a file system that does not change.

mod tree;

use std::{
    ops::{ControlFlow, Range},
    sync::Mutex,
};

use linux_abi::{
    Errno,
    file::{FallocateFlags, OpenFlags, RenameFlags, Whence},
};
use tree::{Tree, entries, read, write};
use vfs::{AttributeChanges, NewInode, PageAccess, PrivateCopies, XattrMode, set_unmapper};

const NONE: OpenFlags = OpenFlags::empty();
const PUNCH: FallocateFlags = FallocateFlags::KEEP_SIZE.union(FallocateFlags::PUNCH_HOLE);
const PAGE: usize = 4096;

/// A lower tree with some files, and a layer over it.
fn layered() -> (Tree, Tree) {
    let lower = Tree::plain();
    for directory in ["etc", "lib", "lib/deep", "lib/deep/er"] {
        lower.make(directory, NewInode::Directory).unwrap();
    }
    lower.write("etc/hosts", b"localhost").unwrap();
    lower.write("lib/code", &[7; 5 * PAGE]).unwrap();
    lower.write("lib/deep/er/file", b"deep").unwrap();
    lower.link("etc/hosts", "etc/hosts2").unwrap();
    lower.make("link", NewInode::Symlink(b"etc/hosts")).unwrap();
    let inode = lower.find("etc/hosts").unwrap();
    inode.inode().set_xattr(b"user.a", b"1", XattrMode::Any).unwrap();
    let upper = Tree::over(&lower, 1000);
    (lower, upper)
}

fn number(tree: &Tree, path: &str) -> u64 {
    tree.find(path).unwrap().inode().id().number
}

#[test]
fn what_is_not_changed_takes_nothing() {
    let (lower, tree) = layered();
    assert_eq!(tree.text("etc/hosts").unwrap(), b"localhost");
    assert_eq!(tree.text("lib/code").unwrap(), [7; 5 * PAGE]);
    assert_eq!(tree.find("link").unwrap().inode().read_link().unwrap(), b"etc/hosts");
    assert_eq!(tree.find("etc/hosts").unwrap().inode().xattr(b"user.a").unwrap(), b"1");
    assert_eq!(tree.list("etc"), ["hosts", "hosts2"]);
    let file = tree.find("lib/code").unwrap();
    let page = |tree: &Tree| {
        let object = tree.find("lib/code").unwrap().inode().clone().memory_object().unwrap();
        object.page(3, PageAccess::Read).unwrap()
    };
    assert_eq!(page(&tree), page(&lower), "the very page");
    assert_eq!(file.inode().metadata().unwrap().blocks, 5 * 8);
    assert_eq!(number(&tree, "lib/code"), number(&lower, "lib/code"));
    assert_eq!(tree.in_use(), (0, 0));
}

#[test]
fn a_change_copies_what_it_touches() {
    let (lower, tree) = layered();
    let before = tree.open("lib/code", NONE).unwrap();
    let id = number(&tree, "lib/code");
    assert_eq!(write(&tree.open("lib/code", NONE).unwrap(), PAGE as u64 + 10, &[1; 20]), Ok(20));
    assert_eq!(tree.in_use().0, 1, "one page, not the file");
    // A descriptor from before sees it, and the number is the same.
    assert_eq!(read(&before, PAGE as u64 + 9, 3).unwrap(), [7, 1, 1]);
    assert_eq!(number(&tree, "lib/code"), id);
    assert_eq!(lower.text("lib/code").unwrap(), [7; 5 * PAGE]);
    // It stays though nobody uses it any more.
    drop(before);
    tree.names.dentries().clear();
    let mut expected = vec![7; 5 * PAGE];
    expected[PAGE + 10..PAGE + 30].fill(1);
    assert_eq!(tree.text("lib/code").unwrap(), expected);
    assert_eq!(number(&tree, "lib/code"), id);
    assert_eq!(tree.find("lib/code").unwrap().inode().metadata().unwrap().blocks, 5 * 8);

    // Attributes without the contents, for both names of a file.
    let permissions = AttributeChanges { permissions: Some(0o600), ..AttributeChanges::default() };
    tree.find("etc/hosts").unwrap().inode().set_attributes(&permissions).unwrap();
    tree.find("etc/hosts").unwrap().inode().set_xattr(b"user.b", b"2", XattrMode::Create).unwrap();
    tree.names.dentries().clear();
    let other = tree.find("etc/hosts2").unwrap();
    assert_eq!(other.inode().metadata().unwrap().permissions, 0o600);
    assert_eq!(other.inode().xattr_names().unwrap(), [b"user.a", b"user.b"]);
    assert_eq!(lower.find("etc/hosts").unwrap().inode().metadata().unwrap().permissions, 0o644);
    assert_eq!(tree.in_use().0, 1);
}

#[test]
fn truncation_and_holes_hide_the_lower_file() {
    let (_lower, tree) = layered();
    let file = tree.open("lib/code", NONE).unwrap();
    let inode = file.inode().unwrap();
    inode.allocate(PUNCH, PAGE as u64 + 100, 2 * PAGE as u64).unwrap();
    let mut expected = vec![7; 5 * PAGE];
    expected[PAGE + 100..3 * PAGE + 100].fill(0);
    assert_eq!(tree.text("lib/code").unwrap(), expected);
    assert_eq!(tree.in_use().0, 2, "the two ends");
    assert_eq!(inode.seek_region(0, Whence::Hole), Ok(2 * PAGE as u64));
    assert_eq!(inode.seek_region(2 * PAGE as u64, Whence::Data), Ok(3 * PAGE as u64));
    assert_eq!(inode.metadata().unwrap().blocks, 4 * 8);

    inode.truncate(4 * PAGE as u64 + 5).unwrap();
    inode.truncate(6 * PAGE as u64).unwrap();
    expected.truncate(4 * PAGE + 5);
    expected.resize(6 * PAGE, 0);
    assert_eq!(tree.text("lib/code").unwrap(), expected);
    inode.truncate(0).unwrap();
    assert_eq!((tree.text("lib/code").unwrap().len(), tree.in_use().0), (0, 0));
    // What was cut off does not come back.
    inode.truncate(5 * PAGE as u64).unwrap();
    assert_eq!(tree.text("lib/code").unwrap(), [0; 5 * PAGE]);
}

#[test]
fn the_limit_is_an_error_and_harms_nothing() {
    let (lower, _) = layered();
    let tree = Tree::over(&lower, 6);
    let file = tree.open("lib/code", NONE).unwrap();
    assert_eq!(write(&file, 0, &[1; 3 * PAGE]), Ok(3 * PAGE));
    assert_eq!(tree.write("new", &[2; 10 * PAGE]), Ok(3 * PAGE));
    assert_eq!(write(&file, 3 * PAGE as u64, &[1; 100]), Err(Errno::ENOSPC));
    assert_eq!(write(&file, 3 * PAGE as u64, &[1; PAGE]), Err(Errno::ENOSPC));
    assert_eq!(file.inode().unwrap().truncate(3 * PAGE as u64 + 1), Err(Errno::ENOSPC));
    assert_eq!(read(&file, 3 * PAGE as u64 - 1, 3).unwrap(), [1, 7, 7]);
    let object = file.inode().unwrap().clone().memory_object().unwrap();
    assert_eq!(object.page(3, PageAccess::SharedWrite), Err(Errno::ENOSPC));
    // Names have a limit, too.
    for name in 0..5 {
        tree.make(&format!("name{name}"), NewInode::Regular).unwrap();
    }
    assert_eq!(tree.make("one more", NewInode::Regular).err(), Some(Errno::ENOSPC));
    assert_eq!(tree.link("new", "etc/new"), Err(Errno::ENOSPC));
    assert_eq!(tree.rename("etc/hosts", "lib/hosts", RenameFlags::empty()), Err(Errno::ENOSPC));
    assert_eq!(tree.rename("new", "lib/new", RenameFlags::empty()), Ok(()));

    drop((file, object));
    tree.unlink("lib/code").unwrap();
    tree.unlink("lib/new").unwrap();
    assert_eq!(tree.in_use(), (0, 5));
    assert_eq!(tree.write("new", &[2; 10 * PAGE]), Ok(6 * PAGE));
}

#[test]
fn removed_names_stay_removed_and_directories_made_again_are_empty() {
    let (_lower, tree) = layered();
    assert_eq!(tree.rmdir("lib/deep"), Err(Errno::ENOTEMPTY));
    tree.unlink("lib/deep/er/file").unwrap();
    tree.names.dentries().clear();
    assert_eq!(tree.find("lib/deep/er/file").err(), Some(Errno::ENOENT));
    assert!(tree.list("lib/deep/er").is_empty());
    tree.rmdir("lib/deep/er").unwrap();
    tree.rmdir("lib/deep").unwrap();
    tree.names.dentries().clear();
    assert_eq!(tree.list("lib"), ["code"]);
    tree.make("lib/deep", NewInode::Directory).unwrap();
    assert!(tree.list("lib/deep").is_empty());
    assert_eq!(tree.find("lib/deep/er").err(), Some(Errno::ENOENT));
    assert_eq!(tree.find("lib").unwrap().inode().metadata().unwrap().links, 3);

    // One of two lower names: the other goes on.
    tree.unlink("etc/hosts").unwrap();
    tree.names.dentries().clear();
    assert_eq!(tree.text("etc/hosts2").unwrap(), b"localhost");
    assert_eq!(tree.find("etc/hosts2").unwrap().inode().metadata().unwrap().links, 1);
    tree.write("etc/hosts", b"another").unwrap();
    assert_eq!(tree.text("etc/hosts2").unwrap(), b"localhost");

    // A removed file can be read and written while it is open, and takes nothing afterwards.
    let file = tree.open("lib/code", NONE).unwrap();
    tree.unlink("lib/code").unwrap();
    let before = tree.in_use().0;
    write(&file, 0, &[1; 10]).unwrap();
    assert_eq!(read(&file, 9, 2).unwrap(), [1, 7]);
    assert_eq!(tree.in_use().0, before + 1);
    drop(file);
    assert_eq!(tree.in_use().0, before);
}

#[test]
fn lower_directories_are_renamed_with_all_that_is_below() {
    let (lower, tree) = layered();
    let id = number(&tree, "lib/deep");
    tree.write("lib/deep/new", b"x").unwrap();
    tree.rename("lib/deep", "etc/moved", RenameFlags::empty()).unwrap();
    tree.names.dentries().clear();
    assert_eq!(tree.find("lib/deep").err(), Some(Errno::ENOENT));
    assert_eq!(number(&tree, "etc/moved"), id);
    assert_eq!(tree.list("etc/moved"), ["er", "new"]);
    assert_eq!(tree.text("etc/moved/er/file").unwrap(), b"deep");
    assert_eq!(tree.find("lib").unwrap().inode().metadata().unwrap().links, 2);
    assert_eq!(tree.find("etc").unwrap().inode().metadata().unwrap().links, 3);
    // Back again, where a whiteout was.
    tree.rename("etc/moved", "lib/deep", RenameFlags::empty()).unwrap();
    tree.names.dentries().clear();
    assert_eq!(
        (tree.list("lib"), tree.list("etc")),
        (vec!["code".to_string(), "deep".into()], vec!["hosts".into(), "hosts2".into()])
    );
    tree.rename("etc", "lib", RenameFlags::EXCHANGE).unwrap();
    tree.names.dentries().clear();
    assert_eq!(tree.text("etc/deep/er/file").unwrap(), b"deep");
    assert_eq!(tree.text("lib/hosts").unwrap(), b"localhost");
    // Over a lower file, and over an emptied lower directory.
    tree.rename("lib/hosts", "etc/code", RenameFlags::empty()).unwrap();
    assert_eq!(tree.text("etc/code").unwrap(), b"localhost");
    tree.make("empty", NewInode::Directory).unwrap();
    assert_eq!(tree.rename("empty", "etc/deep/er", RenameFlags::empty()), Err(Errno::ENOTEMPTY));
    tree.unlink("etc/deep/er/file").unwrap();
    tree.rename("empty", "etc/deep/er", RenameFlags::empty()).unwrap();
    assert!(tree.list("etc/deep/er").is_empty());
    assert_eq!(lower.text("lib/deep/er/file").unwrap(), b"deep");
}

#[test]
fn a_directory_can_be_read_in_parts_while_it_changes() {
    let lower = Tree::plain();
    (0..100).for_each(|n| drop(lower.make(&format!("low{n}"), NewInode::Regular).unwrap()));
    let tree = Tree::over(&lower, 1000);
    (0..100).for_each(|n| drop(tree.make(&format!("new{n}"), NewInode::Regular).unwrap()));
    tree.unlink("low50").unwrap();
    tree.rename("low51", "new51", RenameFlags::empty()).unwrap();
    let directory = tree.directory("/").unwrap();
    let mut seen = Vec::new();
    loop {
        let mut part = Vec::new();
        let take = &mut |entry: vfs::DirectoryEntry<'_>| {
            if part.len() == 7 {
                return ControlFlow::Break(());
            }
            part.push(String::from_utf8(entry.name.to_vec()).unwrap());
            ControlFlow::Continue(())
        };
        directory.read_directory(take).unwrap();
        if part.is_empty() {
            break;
        }
        // Those that were seen go; what is still to come stays where it is.
        part.iter().filter(|name| !name.starts_with('.')).for_each(|name| tree.unlink(name).unwrap());
        seen.extend(part);
    }
    seen.retain(|name| !name.starts_with('.'));
    seen.sort();
    let mut expected: Vec<String> = (0..100).flat_map(|n| [format!("low{n}"), format!("new{n}")]).collect();
    expected.retain(|name| name != "low50" && name != "low51");
    expected.sort();
    assert_eq!(seen, expected);
    directory.seek(0, Whence::Set).unwrap();
    assert!(entries(&directory).is_empty());
    assert_eq!(tree.in_use(), (0, 0));
}

static REPLACED: Mutex<Vec<(Range<u64>, PrivateCopies)>> = Mutex::new(Vec::new());

#[test]
fn a_mapping_from_before_the_copy_is_given_the_copy() {
    set_unmapper(|_, pages, copies| REPLACED.lock().unwrap().push((pages, copies)));
    let (lower, tree) = layered();
    let file = tree.open("lib/code", NONE).unwrap();
    let object = file.inode().unwrap().clone().memory_object().unwrap();
    write(&file, 0, &[1]).unwrap();
    let is_replaced = || REPLACED.lock().unwrap().contains(&(2..3, PrivateCopies::Keep));
    assert!(!is_replaced());
    let shown = object.page(2, PageAccess::Read).unwrap();
    assert_eq!(object.cached_page(2).as_ref(), Some(&shown));
    write(&file, 2 * PAGE as u64, &[1]).unwrap();
    assert!(is_replaced());
    let copy = object.page(2, PageAccess::Read).unwrap();
    assert_ne!(copy, shown);
    assert_eq!(object.cached_page(2).as_ref(), Some(&copy));
    // Writing through a shared mapping is a change like any other.
    let written = object.page(4, PageAccess::SharedWrite).unwrap();
    written.write(5, &[9]);
    drop((file, object, shown, copy, written));
    tree.names.dentries().clear();
    assert_eq!(tree.text("lib/code").unwrap()[4 * PAGE + 5], 9);
    assert_eq!(lower.text("lib/code").unwrap(), [7; 5 * PAGE]);
}

#[test]
fn unnamed_files_and_long_links_are_made_in_memory() {
    let (_lower, tree) = layered();
    let file = tree.open("etc", OpenFlags::TMPFILE).unwrap();
    write(&file, 0, b"secret").unwrap();
    tree.names.link(file.path().unwrap(), tree.root(), b"etc/named").unwrap();
    assert_eq!(tree.text("etc/named").unwrap(), b"secret");
    assert_eq!(file.inode().unwrap().seals(), Err(Errno::EINVAL));
    tree.make("long", NewInode::Symlink(&[b'x'; 200])).unwrap();
    assert_eq!(tree.in_use(), (2, 2));
    let inode = tree.find("long").unwrap();
    inode.inode().set_xattr(b"user.big", &[0; 5000], XattrMode::Any).unwrap();
    assert_eq!(tree.in_use().0, 4);
    inode.inode().remove_xattr(b"user.big").unwrap();
    assert_eq!(tree.in_use().0, 2);
}
