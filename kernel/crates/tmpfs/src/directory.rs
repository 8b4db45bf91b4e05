//! Entries of a directory.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;
use linux_abi::Errno;
use vfs::{DirectoryEntry, EntrySink, Inode};

use crate::node::Node;

/// Names by themselves, and by the cookie under which reading finds them.
pub(crate) struct Entries {
    by_name: HashMap<Box<[u8]>, Entry>,
    by_cookie: BTreeMap<u64, Box<[u8]>>,
    next_cookie: u64,
}

struct Entry {
    node: Arc<Node>,
    cookie: u64,
}

impl Entries {
    pub(crate) fn new() -> Self {
        // Cookies stand for "after this entry", and those up to 2 are not the file system's.
        Self { by_name: HashMap::new(), by_cookie: BTreeMap::new(), next_cookie: 3 }
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.by_name.get(name).map(|entry| &entry.node)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.by_cookie.insert(cookie, name.into());
        self.by_name.insert(name.into(), Entry { node, cookie });
    }

    /// Puts another node under a name; it keeps its cookie.
    pub(crate) fn replace(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let entry = self.by_name.get_mut(name)?;
        Some(core::mem::replace(&mut entry.node, node))
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let entry = self.by_name.remove(name)?;
        self.by_cookie.remove(&entry.cookie);
        Some(entry.node)
    }

    pub(crate) fn read(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        for (at, name) in self.by_cookie.range(cookie + 1..) {
            let Some(entry) = self.by_name.get(name) else { continue };
            let entry = DirectoryEntry {
                name,
                inode: entry.node.id().number,
                kind: Some(entry.node.kind()),
                next_cookie: *at,
            };
            if sink(entry).is_break() {
                break;
            }
        }
        Ok(())
    }
}
