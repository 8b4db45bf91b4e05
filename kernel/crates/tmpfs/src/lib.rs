//! The RAM file system: `/tmp`, `/dev`, `/dev/shm`, `/run`, the objects of `memfd_create(2)`, and the layer over
//! the root image.
//!
//! Contents are page frames in a map per file; what is absent is a hole. Everything is charged against
//! the file system's limits, for pages and for names, and answers `ENOSPC` beyond them, or when the machine has no
//! frames left.
//!
//! **Over a lower file system** ([`Tmpfs::over`]) it begins with the tree of that one, which it never changes.
//! There is one node for each inode, whether it comes from below or not, and it stays the same object with the
//! same number when it is changed: a descriptor, a mapping, a watch or a lock from before goes on with what is now.
//! What was not changed is asked of the lower inode: bytes, pages, names, attributes' values. What differs is kept
//! in the node: attributes as a whole, contents page by page (`contents`), directories name by name (`directory`).
//! A node that differs is kept for as long as it has a name ([`LowerNodes`]); others come and go with their use.
//!
//! Locks: a file's `changes` serialises its writes and changes of size, and is taken before its
//! `pages`; a directory's `entries` stands alone (changes of directories are already serialised by
//! the name space), and so does the table of lower nodes: nothing is dropped while it is locked; `attributes` is
//! innermost. The lower file system is asked with `changes` or `xattrs` held at most.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod contents;
mod directory;
mod lower;
mod lower_nodes;
mod node;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use frames::{OutOfMemory, PAGE_SIZE, PageRef};
use linux_abi::{
    Errno,
    file::{FileType, NAME_MAX, Seals, Statfs, magic},
};
use spin::Once;
use vfs::{FileSystem, Inode, next_anonymous_device};

use lower_nodes::LowerNodes;
use node::Node;

/// A RAM file system.
pub struct Tmpfs {
    name: &'static str,
    device: u64,
    limit_pages: usize,
    used_pages: AtomicUsize,
    next_number: AtomicU64,
    /// Names of inodes that were made here, or were moved.
    names: AtomicUsize,
    root: Once<Arc<Node>>,
    lower: Option<LowerNodes>,
}

/// The first number of an inode that was made above a lower file system: ext4's have 32 bits.
const FIRST_NUMBER_ABOVE_LOWER: u64 = 1 << 32;

impl Tmpfs {
    /// An empty file system, shown as `name`, that holds at most `limit_pages` pages; its root
    /// directory has `permissions`.
    pub fn new(name: &'static str, limit_pages: usize, permissions: u16) -> Arc<Self> {
        let file_system = Self::empty(name, limit_pages, 1, None);
        file_system.root.call_once(|| Node::directory(&file_system, permissions));
        file_system
    }

    /// A file system with the tree of `lower`, shown as `overlay`, that holds at most `limit_pages` pages of
    /// changes. The lower one must not change meanwhile, and its inodes' numbers have 32 bits.
    pub fn over(lower: &Arc<dyn FileSystem>, limit_pages: usize) -> Result<Arc<Self>, Errno> {
        let nodes = LowerNodes::default();
        let file_system = Self::empty("overlay", limit_pages, FIRST_NUMBER_ABOVE_LOWER, Some(nodes));
        let root = file_system.lower_node(lower.clone().root()?)?;
        file_system.root.call_once(|| root);
        Ok(file_system)
    }

    fn empty(
        name: &'static str,
        limit_pages: usize,
        first_number: u64,
        lower: Option<LowerNodes>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            device: next_anonymous_device(),
            limit_pages,
            used_pages: AtomicUsize::new(0),
            next_number: AtomicU64::new(first_number),
            names: AtomicUsize::new(0),
            root: Once::new(),
            lower,
        })
    }

    /// A file without a name, for `memfd_create(2)`.
    pub fn create_memfd(self: &Arc<Self>, seals: Seals) -> Arc<dyn Inode> {
        Node::regular(self, 0o777, seals, 0)
    }

    fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes pages of the limit.
    fn charge(&self, pages: usize) -> Result<(), Errno> {
        take_of(&self.used_pages, pages, self.limit_pages)
    }

    fn uncharge(&self, pages: usize) {
        self.used_pages.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Takes a page of the limit, and of the machine.
    fn new_page(&self, make: impl FnOnce() -> Result<PageRef, OutOfMemory>) -> Result<PageRef, Errno> {
        self.charge(1)?;
        make().map_err(|_| {
            self.uncharge(1);
            Errno::ENOSPC
        })
    }

    /// Names have a limit of their own, as they take the kernel's memory. It is that of Linux's tmpfs if
    /// `limit_pages` is: as many as pages.
    fn charge_names(&self, names: usize) -> Result<(), Errno> {
        take_of(&self.names, names, self.limit_pages)
    }

    fn uncharge_names(&self, names: usize) {
        self.names.fetch_sub(names, Ordering::Relaxed);
    }
}

fn take_of(counter: &AtomicUsize, count: usize, limit: usize) -> Result<(), Errno> {
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(count).filter(|used| *used <= limit)
    });
    taken.map(drop).map_err(|_| Errno::ENOSPC)
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn device(&self) -> u64 {
        self.device
    }

    fn root(self: Arc<Self>) -> Result<Arc<dyn Inode>, Errno> {
        match self.root.get() {
            Some(root) => Ok(root.clone()),
            None => Err(Errno::EIO),
        }
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        let used = self.used_pages.load(Ordering::Relaxed);
        let free = self.limit_pages.saturating_sub(used) as u64;
        let names = self.names.load(Ordering::Relaxed) as u64;
        let files = self.limit_pages as u64;
        Ok(Statfs {
            kind: if self.lower.is_some() { magic::OVERLAYFS } else { magic::TMPFS },
            bsize: PAGE_SIZE as i64,
            frsize: PAGE_SIZE as i64,
            blocks: self.limit_pages as u64,
            bfree: free,
            bavail: free,
            files,
            ffree: files.saturating_sub(names),
            fsid: [self.device as i32, 0],
            namelen: NAME_MAX as i64,
            ..Statfs::default()
        })
    }
}

/// The link count that a new inode of a kind starts with: a directory also has its own `.`.
const fn first_links(kind: FileType) -> u32 {
    if matches!(kind, FileType::Directory) { 2 } else { 1 }
}
