//! The RAM file system: `/tmp`, `/dev`, `/dev/shm`, `/run`, and the objects of `memfd_create(2)`.
//!
//! Contents are page frames in a map per file; what is absent is a hole. Everything is charged against
//! the file system's limit, and answers `ENOSPC` beyond it, or when the machine has no frames left.
//!
//! Locks: a file's `changes` serialises its writes and changes of size, and is taken before its
//! `pages`; a directory's `entries` stands alone (changes of directories are already serialised by
//! the name space); `attributes` is innermost.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod contents;
mod directory;
mod node;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use frames::PAGE_SIZE;
use linux_abi::{
    Errno,
    file::{FileType, NAME_MAX, Seals, Statfs, magic},
};
use spin::Once;
use vfs::{FileSystem, Inode, next_anonymous_device};

use node::Node;

/// A RAM file system.
pub struct Tmpfs {
    name: &'static str,
    device: u64,
    limit_pages: usize,
    used_pages: AtomicUsize,
    next_number: AtomicU64,
    inodes: AtomicUsize,
    root: Once<Arc<Node>>,
}

impl Tmpfs {
    /// An empty file system, shown as `name`, that holds at most `limit_pages` pages; its root
    /// directory has `permissions`.
    pub fn new(name: &'static str, limit_pages: usize, permissions: u16) -> Arc<Self> {
        let file_system = Arc::new(Self {
            name,
            device: next_anonymous_device(),
            limit_pages,
            used_pages: AtomicUsize::new(0),
            next_number: AtomicU64::new(1),
            inodes: AtomicUsize::new(0),
            root: Once::new(),
        });
        file_system.root.call_once(|| Node::directory(&file_system, permissions));
        file_system
    }

    /// A file without a name, for `memfd_create(2)`.
    pub fn create_memfd(self: &Arc<Self>, seals: Seals) -> Arc<dyn Inode> {
        Node::regular(self, 0o777, seals, 0)
    }

    fn next_number(&self) -> u64 {
        self.inodes.fetch_add(1, Ordering::Relaxed);
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes pages of the limit.
    fn charge(&self, pages: usize) -> Result<(), Errno> {
        let charged = self.used_pages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(pages).filter(|used| *used <= self.limit_pages)
        });
        charged.map(drop).map_err(|_| Errno::ENOSPC)
    }

    fn uncharge(&self, pages: usize) {
        self.used_pages.fetch_sub(pages, Ordering::Relaxed);
    }
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
        let inodes = self.inodes.load(Ordering::Relaxed) as u64;
        // Inodes have no limit of their own; as many as pages look plausible to whoever counts.
        let files = self.limit_pages as u64;
        Ok(Statfs {
            kind: magic::TMPFS,
            bsize: PAGE_SIZE as i64,
            frsize: PAGE_SIZE as i64,
            blocks: self.limit_pages as u64,
            bfree: free,
            bavail: free,
            files,
            ffree: files.saturating_sub(inodes),
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
