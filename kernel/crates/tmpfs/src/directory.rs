//! Entries of a directory.
//!
//! A directory of the lower file system keeps here only what differs from it: names that it did not have or that
//! name something else now, and those that are gone (*whiteouts*). The rest is looked up there. A directory that
//! was made here has no lower one, whatever had its name before.
//!
//! # Cookies
//! Reading gives the lower directory's entries first, with its own cookies, then those that are here. ext4's
//! cookies are hashes of 63 bits of which none has the upper 31 all set (`ext4fs_dirhash` in Linux's
//! `fs/ext4/hash.c` keeps that for the end), so in such a directory ours begin there.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::ops::ControlFlow;

use hashbrown::HashMap;
use ksync::Mutex;
use linux_abi::Errno;
use vfs::{DirectoryEntry, EntrySink, Inode};

use crate::node::Node;

/// A directory's names.
pub(crate) struct Directory {
    entries: Mutex<Entries>,
    lower: Option<Arc<dyn Inode>>,
}

/// What a directory says of a name by itself.
pub(crate) enum Found {
    Node(Arc<Node>),
    /// No such name.
    Absent,
    /// Whatever the lower directory has.
    InLower(Arc<dyn Inode>),
}

/// Names by themselves, and by the cookie under which reading finds them.
struct Entries {
    by_name: HashMap<Box<[u8]>, Entry>,
    by_cookie: BTreeMap<u64, Box<[u8]>>,
    cookies: Cookies,
}

struct Entry {
    /// `None` is a whiteout, which has no cookie.
    node: Option<Arc<Node>>,
    cookie: u64,
    /// The lower directory has an entry of this name, which this one hides.
    hides_lower: bool,
}

/// Gives out cookies from `first` to `last`, those after `next` first.
struct Cookies {
    first: u64,
    last: u64,
    next: u64,
}

/// The first cookie behind those of a lower directory.
const FIRST_ABOVE_LOWER: u64 = 0x7fff_ffff_0000_0000;

impl Cookies {
    fn from(first: u64) -> Self {
        // The very last number is that of an offset after everything.
        Self { first, last: i64::MAX as u64 - 1, next: first }
    }

    fn take(&mut self, used: &BTreeMap<u64, Box<[u8]>>) -> u64 {
        loop {
            let cookie = self.next;
            // In a directory in which thousands of millions of names came and went they are given out again.
            self.next = if cookie == self.last { self.first } else { cookie + 1 };
            if !used.contains_key(&cookie) {
                return cookie;
            }
        }
    }
}

impl Directory {
    /// An empty one.
    pub(crate) fn new() -> Self {
        // Cookies stand for "after this entry", and those up to 2 are not the file system's.
        Self::with(None, Cookies::from(3))
    }

    /// One with the entries of a directory of the lower file system.
    pub(crate) fn over(lower: Arc<dyn Inode>) -> Self {
        // That of the first entry is one more: this one stands for "after the lower entries".
        Self::with(Some(lower), Cookies::from(FIRST_ABOVE_LOWER + 1))
    }

    fn with(lower: Option<Arc<dyn Inode>>, cookies: Cookies) -> Self {
        let entries = Entries { by_name: HashMap::new(), by_cookie: BTreeMap::new(), cookies };
        Self { entries: Mutex::new(entries), lower }
    }

    pub(crate) fn find(&self, name: &[u8]) -> Found {
        match (self.entries.lock().by_name.get(name), &self.lower) {
            (Some(Entry { node: Some(node), .. }), _) => Found::Node(node.clone()),
            (Some(_), _) | (None, None) => Found::Absent,
            (None, Some(lower)) => Found::InLower(lower.clone()),
        }
    }

    /// Whether what the name leads to is kept here.
    pub(crate) fn keeps(&self, name: &[u8]) -> bool {
        self.entries.lock().by_name.get(name).is_some_and(|entry| entry.node.is_some())
    }

    /// How many names are kept here.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().by_cookie.len()
    }

    /// Whether there is no name, here or in the lower directory.
    pub(crate) fn is_empty(&self) -> Result<bool, Errno> {
        if self.len() > 0 {
            return Ok(false);
        }
        let mut is_empty = true;
        if let Some(lower) = &self.lower {
            lower.read_directory(0, &mut |entry| {
                if self.hides(entry.name) {
                    return ControlFlow::Continue(());
                }
                is_empty = false;
                ControlFlow::Break(())
            })?;
        }
        Ok(is_empty)
    }

    fn hides(&self, name: &[u8]) -> bool {
        self.entries.lock().by_name.contains_key(name)
    }

    /// Puts `node` under a name that is free.
    pub(crate) fn insert(&self, name: &[u8], node: Arc<Node>) {
        self.entries.lock().put(name, node, false);
    }

    /// Puts another node under a name that is not free. Returns whether the name was kept here before.
    pub(crate) fn replace(&self, name: &[u8], node: Arc<Node>) -> bool {
        let mut entries = self.entries.lock();
        let replaced = entries.put(name, node, self.lower.is_some());
        drop(entries);
        replaced.is_some()
    }

    /// Takes a name out. Returns whether it was kept here before.
    pub(crate) fn remove(&self, name: &[u8]) -> bool {
        let mut entries = self.entries.lock();
        let removed = entries.remove(name, self.lower.is_some());
        drop(entries);
        removed.is_some()
    }

    pub(crate) fn read(&self, mut cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        if let Some(lower) = &self.lower
            && cookie < FIRST_ABOVE_LOWER
        {
            let mut has_enough = false;
            lower.read_directory(cookie, &mut |entry| {
                if self.hides(entry.name) {
                    return ControlFlow::Continue(());
                }
                let next_cookie = entry.next_cookie.min(FIRST_ABOVE_LOWER);
                let flow = sink(DirectoryEntry { next_cookie, ..entry });
                has_enough = flow.is_break();
                flow
            })?;
            if has_enough {
                return Ok(());
            }
            cookie = FIRST_ABOVE_LOWER;
        }
        self.entries.lock().read(cookie, sink)
    }
}

impl Entries {
    /// Puts a node under a name, and returns the one that was there. If the name is not known here,
    /// `hides_lower` says whether the lower directory has it.
    fn put(&mut self, name: &[u8], node: Arc<Node>, hides_lower: bool) -> Option<Arc<Node>> {
        if let Some(entry) = self.by_name.get_mut(name)
            && entry.node.is_some()
        {
            // It keeps its cookie.
            return entry.node.replace(node);
        }
        let hides_lower = self.by_name.get(name).map_or(hides_lower, |whiteout| whiteout.hides_lower);
        let cookie = self.cookies.take(&self.by_cookie);
        self.by_cookie.insert(cookie, name.into());
        self.by_name.insert(name.into(), Entry { node: Some(node), cookie, hides_lower });
        None
    }

    /// Takes a name out, and returns the node that was there. If the name is not known here, `is_in_lower` says
    /// whether the lower directory has it.
    fn remove(&mut self, name: &[u8], is_in_lower: bool) -> Option<Arc<Node>> {
        match self.by_name.get_mut(name) {
            None => {
                if is_in_lower {
                    self.by_name.insert(name.into(), Entry { node: None, cookie: 0, hides_lower: true });
                }
                None
            }
            Some(entry) => {
                let node = entry.node.take()?;
                self.by_cookie.remove(&entry.cookie);
                if !entry.hides_lower {
                    self.by_name.remove(name);
                }
                Some(node)
            }
        }
    }

    fn read(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        for (at, name) in self.by_cookie.range(cookie + 1..) {
            let Some(Entry { node: Some(node), .. }) = self.by_name.get(name) else { continue };
            let entry =
                DirectoryEntry { name, inode: node.id().number, kind: Some(node.kind()), next_cookie: *at };
            if sink(entry).is_break() {
                break;
            }
        }
        Ok(())
    }
}
