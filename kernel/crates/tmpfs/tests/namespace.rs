//! The rules of the name space, on RAM file systems.

use std::{ops::ControlFlow, sync::Arc, thread};

use linux_abi::{
    Errno,
    file::{AccessMode, DeviceNumber, FileType, OpenFlags, RenameFlags, StatfsFlags, Whence},
};
use tmpfs::Tmpfs;
use vfs::{
    Blocking, DentryState, File, FinalLink, Inode, MountRequest, Namespace, NewInode, OpenFile, OpenRequest,
    Path, SliceSrc, SpecialFiles,
};

struct NoSpecialFiles;

impl SpecialFiles for NoSpecialFiles {
    fn open_device(&self, _: FileType, _: DeviceNumber, _: AccessMode) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    fn open_fifo(&self, _: &Arc<dyn Inode>, _: AccessMode, _: Blocking) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }
}

struct Tree(Namespace);

fn request(file_system: Arc<Tmpfs>, flags: StatfsFlags) -> MountRequest<'static> {
    MountRequest { file_system, source: "tmpfs", flags, options: "" }
}

impl Tree {
    fn new() -> Self {
        frames::host::init();
        let root = request(Tmpfs::new("tmpfs", 100_000, 0o755), StatfsFlags::empty());
        let unnamed = Tmpfs::new("tmpfs", 10_000, 0o755);
        Self(Namespace::new(root, unnamed, Box::new(NoSpecialFiles)).unwrap())
    }

    /// A tree with these directories (ending in `/`), files, and links (`name->text`).
    fn with(paths: &[&str]) -> Self {
        let tree = Self::new();
        for path in paths {
            if let Some((name, text)) = path.split_once("->") {
                tree.make(name, NewInode::Symlink(text.as_bytes())).unwrap();
            } else if path.ends_with('/') {
                tree.make(path, NewInode::Directory).unwrap();
            } else {
                tree.make(path, NewInode::Regular).unwrap();
            }
        }
        tree
    }

    fn root(&self) -> &Path {
        self.0.root()
    }

    fn make(&self, path: &str, new: NewInode<'_>) -> Result<Path, Errno> {
        self.0.create(self.root(), path.as_bytes(), new, 0o644)
    }

    fn find(&self, path: &str) -> Result<Path, Errno> {
        self.0.resolve(self.root(), path.as_bytes(), FinalLink::Follow)
    }

    fn text(&self, path: &str) -> Result<String, Errno> {
        self.find(path).map(|path| String::from_utf8(self.0.path_text(&path).0).unwrap())
    }

    fn open(&self, path: &str, access: AccessMode, flags: OpenFlags) -> Result<Arc<OpenFile>, Errno> {
        let request = OpenRequest { access, flags, permissions: 0o644 };
        self.0.open(self.root(), path.as_bytes(), &request)
    }

    fn rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        self.0.rename(self.root(), old.as_bytes(), self.root(), new.as_bytes(), flags)
    }

    fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.0.unlink(self.root(), path.as_bytes())
    }

    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.0.rmdir(self.root(), path.as_bytes())
    }
}

fn names(directory: &OpenFile) -> Vec<String> {
    let mut names = Vec::new();
    directory
        .read_directory(&mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

const READ: AccessMode = AccessMode::ReadOnly;
const WRITE: AccessMode = AccessMode::WriteOnly;
const BOTH: AccessMode = AccessMode::ReadWrite;
const NONE: OpenFlags = OpenFlags::empty();

#[test]
fn paths_resolve_as_path_resolution_7_says() {
    let tree =
        Tree::with(&["a/", "a/b/", "a/b/f", "up->..", "abs->/a/b", "deep->a/./b//../b/", "dangling->no"]);
    for (path, expected) in [
        ("/", Ok("/")),
        ("//..//../a", Ok("/a")),
        ("a/b/f", Ok("/a/b/f")),
        ("a/b/../../abs/f", Ok("/a/b/f")),
        ("abs/", Ok("/a/b")),
        ("deep", Ok("/a/b")),
        ("up/a", Ok("/a")),
        ("a/b/f/", Err(Errno::ENOTDIR)),
        ("a/b/f/x", Err(Errno::ENOTDIR)),
        ("a/b/f/.", Err(Errno::ENOTDIR)),
        ("a/b/f/..", Err(Errno::ENOTDIR)),
        ("none/..", Err(Errno::ENOENT)),
        ("dangling", Err(Errno::ENOENT)),
        ("", Err(Errno::ENOENT)),
    ] {
        assert_eq!(tree.text(path), expected.map(str::to_owned), "{path}");
    }
    let link = tree.0.resolve(tree.root(), b"abs", FinalLink::Stay).unwrap();
    assert_eq!(link.inode().kind(), FileType::Symlink);
    // Slashes after a link's name mean what it leads to.
    let through = tree.0.resolve(tree.root(), b"abs/", FinalLink::Stay).unwrap();
    assert_eq!(through.inode().kind(), FileType::Directory);
}

#[test]
fn lengths_and_loops_are_limited() {
    let tree = Tree::with(&["loop->loop", "l0->."]);
    assert_eq!(tree.find("loop").err(), Some(Errno::ELOOP));
    for n in 1..=40 {
        tree.make(&format!("l{n}"), NewInode::Symlink(format!("l{}", n - 1).as_bytes())).unwrap();
    }
    assert!(tree.find("l39").is_ok());
    assert_eq!(tree.find("l40").err(), Some(Errno::ELOOP));
    assert_eq!(tree.find(&"x".repeat(256)).err(), Some(Errno::ENAMETOOLONG));
    assert_eq!(tree.find(&"x".repeat(255)).err(), Some(Errno::ENOENT));
    assert_eq!(tree.find(&"./".repeat(2048)).err(), Some(Errno::ENAMETOOLONG));
    assert!(tree.find(&"./".repeat(2047)).is_ok());
}

#[test]
fn very_deep_trees_come_and_go() {
    let tree = Tree::new();
    let mut at = tree.root().clone();
    let mut path = vec![at.clone()];
    for _ in 0..20_000 {
        at = tree.0.create(&at, b"d", NewInode::Directory, 0o755).unwrap();
        path.push(at.clone());
    }
    assert_eq!(tree.0.path_text(&at).0.len(), 40_000);
    while let Some(directory) = path.pop() {
        if !path.is_empty() {
            tree.0.rmdir(path.last().unwrap(), b"d").unwrap();
        }
        drop(directory);
    }
    // Now only `at` holds the whole chain.
    assert_eq!(tree.0.working_directory_text(&at), Err(Errno::ENOENT));
    drop(at);
}

#[test]
fn open_creates_follows_and_refuses() {
    let tree = Tree::with(&["d/", "f", "to_f->f", "to_new->d/new", "to_d->d", "dangling->no/such"]);
    let create = OpenFlags::CREAT;
    for (path, access, flags, expected) in [
        ("none", READ, NONE, Some(Errno::ENOENT)),
        ("d", WRITE, NONE, Some(Errno::EISDIR)),
        ("d", READ, create, Some(Errno::EISDIR)),
        ("d", READ, OpenFlags::DIRECTORY, None),
        ("f", READ, OpenFlags::DIRECTORY, Some(Errno::ENOTDIR)),
        ("f/", READ, NONE, Some(Errno::ENOTDIR)),
        ("new/", WRITE, create, Some(Errno::EISDIR)),
        ("f", WRITE, create | OpenFlags::EXCL, Some(Errno::EEXIST)),
        ("dangling", WRITE, create | OpenFlags::EXCL, Some(Errno::EEXIST)),
        ("dangling", WRITE, create, Some(Errno::ENOENT)),
        ("to_f", READ, OpenFlags::NOFOLLOW, Some(Errno::ELOOP)),
        ("to_f", WRITE, create | OpenFlags::NOFOLLOW, Some(Errno::ELOOP)),
        ("to_d", READ, OpenFlags::NOFOLLOW | OpenFlags::DIRECTORY, Some(Errno::ENOTDIR)),
        ("to_f", READ, OpenFlags::NOFOLLOW | OpenFlags::PATH, None),
        ("to_f", WRITE, NONE, None),
        ("to_new", WRITE, create, None),
        ("/", READ, create, Some(Errno::EISDIR)),
        (".", READ, NONE, None),
        ("f", READ, OpenFlags::DIRECT, Some(Errno::EINVAL)),
        ("d", READ, OpenFlags::TMPFILE, Some(Errno::EINVAL)),
    ] {
        assert_eq!(tree.open(path, access, flags).err(), expected, "{path} {flags:?}");
    }
    assert!(tree.find("d/new").is_ok());
    let unnamed = tree.open("d", BOTH, OpenFlags::TMPFILE).unwrap();
    assert_eq!(unnamed.metadata().unwrap().links, 0);
    let shown = tree.0.shown_path(unnamed.path().unwrap());
    assert!(shown.starts_with(b"/d/#") && shown.ends_with(b" (deleted)"));
}

#[test]
fn open_files_read_write_append_and_seek() {
    let tree = Tree::new();
    let file = tree.open("f", BOTH, OpenFlags::CREAT).unwrap();
    assert_eq!(file.write(&mut SliceSrc::new(b"hello world"), Blocking::Yes), Ok(11));
    assert_eq!(file.seek(-5, Whence::End), Ok(6));
    let mut buffer = [0; 16];
    assert_eq!(file.read(&mut &mut buffer[..], Blocking::Yes), Ok(5));
    assert_eq!(&buffer[..5], b"world");
    assert_eq!(file.read(&mut &mut buffer[..], Blocking::Yes), Ok(0));
    assert_eq!(file.seek(-1, Whence::Set), Err(Errno::EINVAL));
    assert_eq!(file.seek(i64::MAX, Whence::End), Err(Errno::EINVAL));
    let appending = tree.open("f", WRITE, OpenFlags::APPEND).unwrap();
    assert_eq!(appending.write(&mut SliceSrc::new(b"!"), Blocking::Yes), Ok(1));
    assert_eq!(appending.offset(), 12);
    assert_eq!(appending.write_at(0, &mut SliceSrc::new(b"?"), Blocking::Yes), Ok(1));
    assert_eq!(appending.read(&mut &mut buffer[..], Blocking::Yes), Err(Errno::EBADF));
    assert_eq!(file.read_at(11, &mut &mut buffer[..], Blocking::Yes), Ok(2));
    assert_eq!(&buffer[..2], b"!?");
    assert_eq!(tree.open("f", WRITE, OpenFlags::TRUNC).unwrap().metadata().unwrap().size, 0);
    let only_path = tree.open("f", READ, OpenFlags::PATH).unwrap();
    assert_eq!(only_path.read(&mut &mut buffer[..], Blocking::Yes), Err(Errno::EBADF));
    assert_eq!(only_path.metadata().unwrap().kind, FileType::Regular);
}

#[test]
fn removed_files_live_while_they_are_open() {
    let tree = Tree::with(&["d/"]);
    let file = tree.open("d/f", BOTH, OpenFlags::CREAT).unwrap();
    tree.unlink("d/f").unwrap();
    assert_eq!(tree.find("d/f").err(), Some(Errno::ENOENT));
    assert_eq!(file.write(&mut SliceSrc::new(b"still here"), Blocking::Yes), Ok(10));
    assert_eq!(file.metadata().unwrap().links, 0);
    assert_eq!(tree.0.shown_path(file.path().unwrap()), b"/d/f (deleted)");
    let directory = tree.find("d").unwrap();
    tree.rmdir("d").unwrap();
    assert_eq!(tree.0.working_directory_text(&directory), Err(Errno::ENOENT));
    assert_eq!(
        tree.0.create(&directory, b"x", NewInode::Regular, 0o644).err(),
        Some(Errno::ENOENT),
        "nothing can be made in a removed directory"
    );
    let statistics = |tree: &Tree| tree.0.statistics(tree.root()).unwrap();
    let before = statistics(&tree).bfree;
    drop(file);
    assert_eq!(statistics(&tree).bfree, before + 1);
}

#[test]
fn names_are_removed_and_given_with_linuxs_errors() {
    let tree = Tree::with(&["d/", "d/sub/", "f", "l->d"]);
    assert_eq!(tree.unlink("d"), Err(Errno::EISDIR));
    assert_eq!(tree.unlink("f/"), Err(Errno::ENOTDIR));
    assert_eq!(tree.unlink("d/."), Err(Errno::EISDIR));
    assert_eq!(tree.rmdir("f"), Err(Errno::ENOTDIR));
    assert_eq!(tree.rmdir("d"), Err(Errno::ENOTEMPTY));
    assert_eq!(tree.rmdir("d/sub/."), Err(Errno::EINVAL));
    assert_eq!(tree.rmdir("d/sub/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(tree.rmdir("/"), Err(Errno::EBUSY));
    assert_eq!(tree.rmdir("l/"), Err(Errno::ENOTDIR));
    assert_eq!(tree.make("f", NewInode::Directory).err(), Some(Errno::EEXIST));
    assert_eq!(tree.make("n/", NewInode::Symlink(b"x")).err(), Some(Errno::ENOENT));
    assert_eq!(tree.make("d/", NewInode::Symlink(b"x")).err(), Some(Errno::EEXIST));
    assert_eq!(tree.make("n/n", NewInode::Regular).err(), Some(Errno::ENOENT));
    assert_eq!(tree.make("..", NewInode::Directory).err(), Some(Errno::EEXIST));
    assert_eq!(tree.find("d").unwrap().inode().metadata().unwrap().links, 3);
    assert_eq!(tree.rmdir("d/sub/"), Ok(()));
    assert_eq!(tree.find("d").unwrap().inode().metadata().unwrap().links, 2);

    let file = tree.find("f").unwrap();
    assert_eq!(tree.0.link(&file, tree.root(), b"d/g"), Ok(()));
    assert_eq!(tree.0.link(&file, tree.root(), b"d/g"), Err(Errno::EEXIST));
    assert_eq!(tree.0.link(&tree.find("d").unwrap(), tree.root(), b"e"), Err(Errno::EPERM));
    assert_eq!(file.inode().metadata().unwrap().links, 2);
    assert_eq!(file.inode().id(), tree.find("d/g").unwrap().inode().id());
    tree.unlink("f").unwrap();
    assert_eq!(file.inode().metadata().unwrap().links, 1);
    assert_eq!(file.dentry.state(), DentryState::Removed);
}

#[test]
fn renames_follow_rename_2() {
    let tree = Tree::with(&["d/", "d/e/", "d/e/f", "x", "empty/", "full/", "full/g"]);
    let plain = RenameFlags::empty();
    for (old, new, flags, expected) in [
        ("none", "y", plain, Err(Errno::ENOENT)),
        ("d", "d/e/d", plain, Err(Errno::EINVAL)),
        ("d/e", "d", plain, Err(Errno::ENOTEMPTY)),
        ("x", "d", plain, Err(Errno::EISDIR)),
        ("d", "x", plain, Err(Errno::ENOTDIR)),
        ("d", "full", plain, Err(Errno::ENOTEMPTY)),
        ("x", "y/", plain, Err(Errno::ENOTDIR)),
        ("x/", "y", plain, Err(Errno::ENOTDIR)),
        ("d/.", "y", plain, Err(Errno::EBUSY)),
        ("/", "y", plain, Err(Errno::EBUSY)),
        ("x", "full/g", RenameFlags::NOREPLACE, Err(Errno::EEXIST)),
        ("x", "none", RenameFlags::EXCHANGE, Err(Errno::ENOENT)),
        ("x", "y", RenameFlags::NOREPLACE | RenameFlags::EXCHANGE, Err(Errno::EINVAL)),
        ("x", "y", RenameFlags::WHITEOUT, Err(Errno::EINVAL)),
        ("x", "x", plain, Ok(())),
        ("d", "empty", plain, Ok(())),
    ] {
        assert_eq!(tree.rename(old, new, flags), expected, "{old} to {new} {flags:?}");
    }
    let inside = tree.find("empty/e/f").unwrap();
    assert_eq!(tree.0.path_text(&inside).0, b"/empty/e/f");
    tree.rename("empty/e", "full/g", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(tree.0.path_text(&inside).0, b"/full/g/f");
    assert_eq!(tree.find("empty/e").unwrap().inode().kind(), FileType::Regular);
    assert_eq!(tree.find("full").unwrap().inode().metadata().unwrap().links, 3);
    assert_eq!(tree.find("empty").unwrap().inode().metadata().unwrap().links, 2);
    // A replaced file is gone, also for whoever knew it as present or absent.
    assert!(tree.find("new").is_err());
    tree.rename("x", "new", plain).unwrap();
    assert!(tree.find("x").is_err() && tree.find("new").is_ok());
    // Names of the same file: nothing happens.
    let file = tree.find("new").unwrap();
    tree.0.link(&file, tree.root(), b"other").unwrap();
    tree.rename("new", "other", plain).unwrap();
    assert!(tree.find("new").is_ok() && tree.find("other").is_ok());
}

#[test]
fn mounts_are_crossed_both_ways() {
    let tree = Tree::with(&["m/", "m/hidden", "n/"]);
    let outside = tree.find("m").unwrap();
    tree.0.mount(b"/m", request(Tmpfs::new("tmpfs", 10, 0o1777), StatfsFlags::empty())).unwrap();
    tree.0.mount(b"/n", request(Tmpfs::new("tmpfs", 10, 0o755), StatfsFlags::RDONLY)).unwrap();
    assert!(tree.find("m/hidden").is_err());
    tree.make("m/d/", NewInode::Directory).unwrap();
    assert_eq!(tree.text("m/d/../../m/d"), Ok("/m/d".into()));
    let inside = tree.find("m").unwrap();
    assert_ne!(inside.inode().id(), outside.inode().id());
    assert_eq!(inside.inode().metadata().unwrap().permissions, 0o1777);
    assert_eq!(tree.rmdir("m"), Err(Errno::EBUSY));
    assert_eq!(tree.rename("m", "z", RenameFlags::empty()), Err(Errno::EBUSY));
    assert_eq!(tree.rename("m/d", "z", RenameFlags::empty()), Err(Errno::EXDEV));
    assert_eq!(tree.0.link(&tree.find("m/d").unwrap(), tree.root(), b"z"), Err(Errno::EXDEV));
    assert_eq!(tree.make("n/x", NewInode::Regular).err(), Some(Errno::EROFS));
    assert_eq!(tree.open("n/x", WRITE, OpenFlags::CREAT).err(), Some(Errno::EROFS));
    assert!(tree.0.statistics(&tree.find("n").unwrap()).unwrap().flags.contains(StatfsFlags::RDONLY));
    let full = tree.open("m/f", WRITE, OpenFlags::CREAT).unwrap();
    let bytes = vec![1; 11 * 4096];
    assert_eq!(full.write(&mut SliceSrc::new(&bytes), Blocking::Yes), Ok(10 * 4096));
    assert_eq!(full.write(&mut SliceSrc::new(&bytes), Blocking::Yes), Err(Errno::ENOSPC));
}

#[test]
fn directories_are_read_in_parts_while_they_change() {
    let tree = Tree::new();
    for n in 0..100 {
        tree.make(&format!("f{n}"), NewInode::Regular).unwrap();
    }
    let directory = tree.open("/", READ, OpenFlags::DIRECTORY).unwrap();
    let mut seen = Vec::new();
    while {
        let before = seen.len();
        let mut room = 7;
        directory
            .read_directory(&mut |entry| {
                if room == 0 {
                    return ControlFlow::Break(());
                }
                room -= 1;
                seen.push(String::from_utf8(entry.name.to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        // Removing what was read, as `rm -r` does, must not skip anything.
        for name in seen[before..].iter().filter(|name| name.starts_with('f')) {
            tree.unlink(name).unwrap();
        }
        seen.len() > before
    } {}
    assert_eq!(seen[..2], [".", ".."]);
    let mut files = seen[2..].to_vec();
    files.sort_by_key(|name| name[1..].parse::<u32>().unwrap());
    assert_eq!(files, (0..100).map(|n| format!("f{n}")).collect::<Vec<_>>());
    directory.seek(0, Whence::Set).unwrap();
    assert_eq!(names(&directory), [".", ".."]);
}

#[test]
fn forgotten_names_are_found_again() {
    let tree = Tree::with(&["a/", "a/b/", "a/b/c"]);
    let held = tree.find("a/b").unwrap();
    assert!(tree.find("a/none").is_err());
    tree.0.dentries().clear();
    tree.0.dentries().clear();
    assert!(Arc::ptr_eq(&held.dentry, &tree.find("a/b").unwrap().dentry), "what is in use stays");
    assert!(tree.find("a/b/c").is_ok());
    drop(held);
    tree.0.dentries().clear();
    assert_eq!(tree.text("a/b/c"), Ok("/a/b/c".into()));
}

#[test]
fn threads_change_the_tree_at_once() {
    let tree = Arc::new(Tree::with(&["a/", "b/", "a/x/", "b/y/"]));
    let threads: Vec<_> = (0..4)
        .map(|id| {
            let tree = tree.clone();
            thread::spawn(move || {
                for round in 0..500 {
                    let own = format!("a/{id}-{}", round % 3);
                    let other = format!("b/{id}-{}", round % 5);
                    let _ = tree.open(&own, WRITE, OpenFlags::CREAT);
                    let _ = tree.rename(&own, &other, RenameFlags::empty());
                    let _ = tree.rename("a/x", "b/y/x", RenameFlags::empty());
                    let _ = tree.rename("b/y/x", "a/x", RenameFlags::empty());
                    let _ = tree.rename("b/y", "a/x/y", RenameFlags::empty());
                    let _ = tree.rename("a/x/y", "b/y", RenameFlags::empty());
                    let _ = tree.make("a/t/", NewInode::Directory);
                    let _ = tree.rmdir("a/t");
                    if round % 50 == 0 {
                        tree.0.dentries().clear();
                    }
                    assert!(tree.find(&other).is_ok());
                    tree.unlink(&other).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let listing = |path: &str| names(&tree.open(path, READ, OpenFlags::DIRECTORY).unwrap());
    assert!(listing("a").iter().chain(&listing("b")).all(|name| !name.contains('-')));
    let places = ["a/x", "b/y/x", "b/y", "a/x/y"].iter().filter(|path| tree.find(path).is_ok()).count();
    assert!(places >= 2, "x and y are somewhere");
}
