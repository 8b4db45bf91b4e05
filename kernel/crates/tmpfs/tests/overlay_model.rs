//! Random changes of a RAM layer over a tree, beside the same changes of the same tree in plain memory.

mod tree;

use std::{collections::HashMap, sync::Arc};

use linux_abi::{
    Errno,
    file::{FallocateFlags, FileType, OpenFlags, RenameFlags, Whence},
};
use proptest::prelude::*;
use tree::{Tree, read, write};
use vfs::{AttributeChanges, NewInode, OpenFile, PageAccess, XattrMode};

#[derive(Clone, Debug)]
enum Operation {
    Create(usize),
    MakeDirectory(usize),
    Symlink(usize),
    Write {
        path: usize,
        offset: u64,
        len: usize,
        byte: u8,
    },
    Append {
        path: usize,
        byte: u8,
    },
    Truncate {
        path: usize,
        size: u64,
    },
    Punch {
        path: usize,
        offset: u64,
        len: u64,
    },
    Allocate {
        path: usize,
        offset: u64,
        len: u64,
    },
    WriteMapped {
        path: usize,
        page: u64,
        byte: u8,
    },
    Seek {
        path: usize,
        offset: u64,
        whence: Whence,
    },
    Unlink(usize),
    RemoveDirectory(usize),
    Link(usize, usize),
    Rename(usize, usize, RenameFlags),
    Permissions(usize, u16),
    SetXattr(usize, u8),
    RemoveXattr(usize),
    /// Keeps a descriptor open.
    Hold(usize),
    /// Writes through a descriptor that is kept open.
    WriteHeld {
        which: usize,
        offset: u64,
        byte: u8,
    },
    Release(usize),
    /// Lets the name space forget what it has cached.
    Forget,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Paths of up to three names.
const PATHS: usize = 4 + 16 + 64;

fn path(index: usize) -> String {
    match index {
        0..4 => NAMES[index].into(),
        4..20 => format!("{}/{}", path((index - 4) / 4), NAMES[index % 4]),
        _ => format!("{}/{}", path(4 + (index - 20) / 4), NAMES[index % 4]),
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || prop_oneof![4 => 0..20usize, 1 => 20..PATHS];
    let offset = || 0..40_000u64;
    prop_oneof![
        2 => name().prop_map(Operation::Create),
        2 => name().prop_map(Operation::MakeDirectory),
        1 => name().prop_map(Operation::Symlink),
        6 => (name(), offset(), prop_oneof![1..5000usize, Just(4096)], any::<u8>(), any::<bool>()).prop_map(
            |(path, offset, len, byte, aligned)| {
                let offset = if aligned { offset / 4096 * 4096 } else { offset };
                Operation::Write { path, offset, len, byte }
            }
        ),
        2 => (name(), any::<u8>()).prop_map(|(path, byte)| Operation::Append { path, byte }),
        2 => (name(), offset()).prop_map(|(path, size)| Operation::Truncate { path, size }),
        2 => (name(), offset(), 1..20_000u64)
            .prop_map(|(path, offset, len)| Operation::Punch { path, offset, len }),
        1 => (name(), offset(), 1..20_000u64)
            .prop_map(|(path, offset, len)| Operation::Allocate { path, offset, len }),
        2 => (name(), 0..10u64, any::<u8>())
            .prop_map(|(path, page, byte)| Operation::WriteMapped { path, page, byte }),
        2 => (name(), offset(), prop_oneof![Just(Whence::Data), Just(Whence::Hole)])
            .prop_map(|(path, offset, whence)| Operation::Seek { path, offset, whence }),
        3 => name().prop_map(Operation::Unlink),
        3 => name().prop_map(Operation::RemoveDirectory),
        2 => (name(), name()).prop_map(|(old, new)| Operation::Link(old, new)),
        5 => (name(), name(), prop_oneof![
            3 => Just(RenameFlags::empty()),
            1 => Just(RenameFlags::EXCHANGE),
            1 => Just(RenameFlags::NOREPLACE),
        ])
        .prop_map(|(old, new, flags)| Operation::Rename(old, new, flags)),
        1 => (name(), 0..0o1000u16).prop_map(|(path, bits)| Operation::Permissions(path, bits)),
        1 => (name(), any::<u8>()).prop_map(|(path, value)| Operation::SetXattr(path, value)),
        1 => name().prop_map(Operation::RemoveXattr),
        2 => name().prop_map(Operation::Hold),
        2 => (0..4usize, offset(), any::<u8>())
            .prop_map(|(which, offset, byte)| Operation::WriteHeld { which, offset, byte }),
        1 => (0..4usize).prop_map(Operation::Release),
        2 => Just(Operation::Forget),
    ]
}

/// A tree, and descriptors that are open on it.
struct Side {
    tree: Tree,
    held: Vec<Arc<OpenFile>>,
}

impl Side {
    fn new(tree: Tree) -> Self {
        Self { tree, held: Vec::new() }
    }

    /// Does it, and says what came of it.
    fn perform(&mut self, operation: &Operation) -> Result<u64, Errno> {
        let tree = &self.tree;
        let open = |index: &usize| tree.open(&path(*index), OpenFlags::NOFOLLOW);
        match operation {
            Operation::Create(at) => tree.make(&path(*at), NewInode::Regular).map(|_| 0),
            Operation::MakeDirectory(at) => tree.make(&path(*at), NewInode::Directory).map(|_| 0),
            Operation::Symlink(at) => tree.make(&path(*at), NewInode::Symlink(b"text")).map(|_| 0),
            Operation::Write { path, offset, len, byte } => {
                let file = open(path)?;
                write(&file, *offset, &vec![*byte; *len]).map(|done| done as u64)
            }
            Operation::Append { path: at, byte } => {
                let file = tree.open(&path(*at), OpenFlags::NOFOLLOW | OpenFlags::APPEND)?;
                write(&file, 0, &[*byte; 100]).map(|done| done as u64)
            }
            Operation::Truncate { path, size } => open(path)?.inode()?.truncate(*size).map(|()| 0),
            Operation::Punch { path, offset, len } => {
                let flags = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
                open(path)?.inode()?.allocate(flags, *offset, *len).map(|()| 0)
            }
            Operation::Allocate { path, offset, len } => {
                open(path)?.inode()?.allocate(FallocateFlags::empty(), *offset, *len).map(|()| 0)
            }
            Operation::WriteMapped { path, page, byte } => {
                let object = open(path)?.inode()?.clone().memory_object()?;
                object.page(*page, PageAccess::SharedWrite)?.write(7, &[*byte]);
                Ok(0)
            }
            Operation::Seek { path, offset, whence } => open(path)?.inode()?.seek_region(*offset, *whence),
            Operation::Unlink(at) => tree.unlink(&path(*at)).map(|()| 0),
            Operation::RemoveDirectory(at) => tree.rmdir(&path(*at)).map(|()| 0),
            Operation::Link(old, new) => tree.link(&path(*old), &path(*new)).map(|()| 0),
            Operation::Rename(old, new, flags) => tree.rename(&path(*old), &path(*new), *flags).map(|()| 0),
            Operation::Permissions(at, bits) => {
                let changes = AttributeChanges { permissions: Some(*bits), ..AttributeChanges::default() };
                tree.find(&path(*at))?.inode().set_attributes(&changes).map(|()| 0)
            }
            Operation::SetXattr(at, value) => {
                let mode = if value.is_multiple_of(2) { XattrMode::Any } else { XattrMode::Create };
                tree.find(&path(*at))?.inode().set_xattr(b"user.x", &[*value], mode).map(|()| 0)
            }
            Operation::RemoveXattr(at) => tree.find(&path(*at))?.inode().remove_xattr(b"user.x").map(|()| 0),
            Operation::Hold(at) => {
                if self.held.len() < 4 {
                    let file = open(at)?;
                    self.held.push(file);
                }
                Ok(self.held.len() as u64)
            }
            Operation::WriteHeld { which, offset, byte } => match self.held.get(*which) {
                Some(file) => write(file, *offset, &[*byte; 10]).map(|done| done as u64),
                None => Ok(0),
            },
            Operation::Release(which) => {
                if *which < self.held.len() {
                    self.held.remove(*which);
                }
                Ok(0)
            }
            Operation::Forget => {
                tree.names.dentries().clear();
                Ok(0)
            }
        }
    }

    /// What can be seen of everything below a directory; numbers of inodes are given apart.
    fn snapshot(&self, directory: &str, seen: &mut Vec<String>, numbers: &mut Vec<u64>) {
        for name in self.tree.list(if directory.is_empty() { "/" } else { directory }) {
            let at = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let inode = self.tree.find(&at).unwrap().inode().clone();
            let metadata = inode.metadata().unwrap();
            numbers.push(metadata.id.number);
            let contents = match metadata.kind {
                FileType::Regular => {
                    self.tree.text(&at).map(|bytes| (bytes.len(), checksum(&bytes))).unwrap()
                }
                FileType::Symlink => (inode.read_link().unwrap().len(), 0),
                _ => (0, 0),
            };
            let xattr = inode.xattr(b"user.x");
            seen.push(format!(
                "{at} {:?} {:o} {} {contents:?} {xattr:?} {:?}",
                metadata.kind,
                metadata.permissions,
                metadata.links,
                inode.xattr_names().unwrap()
            ));
            if metadata.kind == FileType::Directory {
                self.snapshot(&at, seen, numbers);
            }
        }
    }

    fn held_contents(&self) -> Vec<(u32, u64)> {
        let contents = |file: &Arc<OpenFile>| {
            let metadata = file.metadata().unwrap();
            (metadata.links, checksum(&read(file, 0, metadata.size as usize).unwrap()))
        };
        self.held.iter().map(contents).collect()
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The tree that both sides begin with.
fn fill(tree: &Tree) {
    for directory in ["a", "a/a", "b", "b/c"] {
        tree.make(directory, NewInode::Directory).unwrap();
    }
    for (number, file) in ["c", "a/b", "a/a/a", "a/a/b", "b/c/d", "b/a"].into_iter().enumerate() {
        tree.write(file, &vec![number as u8 + 1; number * 5000]).unwrap();
    }
    tree.link("a/b", "b/d").unwrap();
    tree.make("a/c", NewInode::Symlink(b"b")).unwrap();
    tree.find("c").unwrap().inode().set_xattr(b"user.x", b"0", XattrMode::Any).unwrap();
    // A file with a hole.
    let sparse = tree.open("d", OpenFlags::CREAT).unwrap();
    write(&sparse, 20_000, &[9; 10_000]).unwrap();
}

/// Removes all that is below a directory.
fn clear(tree: &Tree, directory: &str) {
    for name in tree.list(if directory.is_empty() { "/" } else { directory }) {
        let at = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        if tree.find(&at).unwrap().dentry.is_directory() {
            clear(tree, &at);
            tree.rmdir(&at).unwrap();
        } else {
            tree.unlink(&at).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn a_layer_over_a_tree_is_like_the_tree(operations in prop::collection::vec(operation(), 1..60)) {
        let lower = Tree::plain();
        fill(&lower);
        let mut layer = Side::new(Tree::over(&lower, 5000));
        let model_tree = Tree::plain();
        fill(&model_tree);
        let mut model = Side::new(model_tree);
        let before = Side::new(Tree::new(lower.file_system.clone()));
        let snapshot = |side: &Side| {
            let (mut seen, mut numbers) = (Vec::new(), Vec::new());
            side.snapshot("", &mut seen, &mut numbers);
            (seen, numbers)
        };
        let untouched = snapshot(&before);
        // Numbers on one side belong to those on the other for good.
        let mut partners = HashMap::new();
        for operation in &operations {
            let (ours, expected) = (layer.perform(operation), model.perform(operation));
            match operation {
                // Where data and holes lie may differ: a page that is copied is data.
                Operation::Seek { .. } => prop_assert_eq!(ours.is_err(), expected.is_err(), "{:?}", operation),
                _ => prop_assert_eq!(ours, expected, "{:?}", operation),
            }
            prop_assert_eq!(layer.held_contents(), model.held_contents(), "after {:?}", operation);
        }
        for _ in 0..2 {
            let ((ours, our_numbers), (expected, numbers)) = (snapshot(&layer), snapshot(&model));
            prop_assert_eq!(ours, expected);
            for (our, number) in our_numbers.into_iter().zip(numbers) {
                prop_assert_eq!(*partners.entry(our).or_insert(number), number);
            }
            layer.tree.names.dentries().clear();
        }
        prop_assert_eq!(snapshot(&before), untouched, "the lower tree is as it was");
        layer.held.clear();
        clear(&layer.tree, "");
        layer.tree.names.dentries().clear();
        prop_assert_eq!(layer.tree.in_use(), (0, 0));
    }
}
