//! The dentry cache: names that were looked up, and what they name.
//!
//! Locks: [`Dentry::children`] guards the names in one directory, and is held across the file
//! system's change or lookup of them, so that the cache never disagrees with it. Only a rename and
//! the removal of a directory take two ([`lock_both`]), and both exclude other renames, so no order
//! is needed between unrelated ones; a removal takes the parent's first. `place`
//! guards a dentry's own name and parent; it changes only with the children of both parents locked.
//! A dentry holds its parent, and a parent its cached children; [`DentryCache::trim`] breaks that
//! circle for those that nobody else uses.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    sync::{Arc, Weak},
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hashbrown::HashMap;
use ksync::{Mutex, MutexGuard, SpinLock};
use linux_abi::{Errno, file::FileType};

use crate::{Inode, NameCaching};

/// A name in the tree, and the inode that it names.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    place: SpinLock<Place>,
    children: Mutex<Children>,
    /// Mounts on this directory: path walks look for them only if there are any.
    pub(crate) mounts: AtomicU32,
    recently_used: AtomicBool,
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
    state: DentryState,
}

/// Whether a dentry is still part of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DentryState {
    /// It is.
    Linked,
    /// Its name was removed.
    Removed,
}

/// Names of a directory: `None` for those that are known not to exist.
#[derive(Default)]
pub(crate) struct Children {
    names: HashMap<Box<[u8]>, Option<Arc<Dentry>>>,
    absent: usize,
}

/// How many names that do not exist a directory remembers. Class paths and locale searches ask for
/// the same few again and again.
const MAX_ABSENT_NAMES: usize = 512;

impl Children {
    pub(crate) fn insert(&mut self, name: &[u8], dentry: Arc<Dentry>) {
        if let Some(None) = self.names.insert(name.into(), Some(dentry)) {
            self.absent -= 1;
        }
    }

    pub(crate) fn insert_absent(&mut self, name: &[u8]) {
        if self.absent >= MAX_ABSENT_NAMES {
            self.names.retain(|_, child| child.is_some());
            self.absent = 0;
        }
        if !matches!(self.names.insert(name.into(), None), Some(None)) {
            self.absent += 1;
        }
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Dentry>> {
        let child = self.names.remove(name)?;
        if child.is_none() {
            self.absent -= 1;
        }
        child
    }
}

impl Dentry {
    fn new(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: &[u8]) -> Arc<Self> {
        let place = Place { parent, name: name.into(), state: DentryState::Linked };
        Arc::new(Self {
            inode,
            place: SpinLock::new(place),
            children: Mutex::default(),
            mounts: AtomicU32::new(0),
            recently_used: AtomicBool::new(false),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::new(inode, None, b"/")
    }

    /// An object that has no place in the tree, with the name that `/proc/self/fd` shows.
    pub fn unnamed(inode: Arc<dyn Inode>, shown_as: &[u8]) -> Arc<Self> {
        Self::new(inode, None, shown_as)
    }

    /// The same for an object that can never be given a name (`O_TMPFILE` with `O_EXCL`).
    pub(crate) fn never_named(inode: Arc<dyn Inode>, shown_as: &[u8]) -> Arc<Self> {
        let dentry = Self::unnamed(inode, shown_as);
        dentry.place.lock().state = DentryState::Removed;
        dentry
    }

    /// What it names.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Whether it names a directory.
    pub fn is_directory(&self) -> bool {
        self.inode.kind() == FileType::Directory
    }

    /// Its directory; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Its name.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// Whether its name still exists.
    pub fn state(&self) -> DentryState {
        self.place.lock().state
    }

    pub(crate) fn lock_children(&self) -> MutexGuard<'_, Children> {
        self.children.lock()
    }

    /// Whether `self` is `other` or lies above it.
    pub(crate) fn contains(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut current = Some(other.clone());
        while let Some(dentry) = current {
            if Arc::ptr_eq(self, &dentry) {
                return true;
            }
            current = dentry.parent();
        }
        false
    }

    /// Takes a removed name out of the cache; the caller holds the parent's `children`.
    pub(crate) fn remove_child(&self, children: &mut Children, name: &[u8]) {
        if let Some(child) = children.remove(name) {
            child.place.lock().state = DentryState::Removed;
        }
        children.insert_absent(name);
    }

    /// Takes a name out of the cache that is about to be given to another dentry or none.
    pub(crate) fn take_child(&self, children: &mut Children, name: &[u8]) {
        children.remove(name);
    }

    /// Moves `self` to a new name; the caller holds the `children` of both directories.
    pub(crate) fn move_to(&self, directory: &Arc<Dentry>, name: &[u8]) {
        let old_parent = {
            let mut place = self.place.lock();
            place.name = name.into();
            place.parent.replace(directory.clone())
        };
        drop(old_parent);
    }
}

impl Drop for Dentry {
    /// Lets go of the ancestors one after the other: a chain of removed directories that only this
    /// dentry held would otherwise be dropped by as deep a recursion.
    fn drop(&mut self) {
        if self.place.get_mut().state == DentryState::Removed {
            crate::notify::dropped(self);
        }
        let mut parent = self.place.get_mut().parent.take();
        while let Some(mut ancestor) = parent.and_then(Arc::into_inner) {
            parent = ancestor.place.get_mut().parent.take();
        }
    }
}

/// Locks the children of two directories, which may be the same; for a rename, with others excluded.
pub(crate) fn lock_both<'a>(
    first: &'a Arc<Dentry>,
    second: &'a Arc<Dentry>,
) -> (MutexGuard<'a, Children>, Option<MutexGuard<'a, Children>>) {
    if Arc::ptr_eq(first, second) {
        (first.lock_children(), None)
    } else {
        let first = first.lock_children();
        (first, Some(second.lock_children()))
    }
}

/// Decides which unused dentries stay: a ring of all that were made, gone round by second chance.
pub struct DentryCache {
    ring: SpinLock<VecDeque<Weak<Dentry>>>,
    capacity: usize,
}

impl DentryCache {
    /// A cache that begins to forget beyond `capacity` dentries.
    pub const fn new(capacity: usize) -> Self {
        Self { ring: SpinLock::new(VecDeque::new()), capacity }
    }

    /// The child of `directory` with this name; `ENOENT` if there is none.
    pub(crate) fn lookup(&self, directory: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>, Errno> {
        let child = self.lookup_locked(directory, &mut directory.lock_children(), name)?;
        child.ok_or(Errno::ENOENT)
    }

    /// The same for a caller that holds the directory's `children`; `None` if there is none.
    pub(crate) fn lookup_locked(
        &self,
        directory: &Arc<Dentry>,
        children: &mut Children,
        name: &[u8],
    ) -> Result<Option<Arc<Dentry>>, Errno> {
        if let Some(child) = children.names.get(name) {
            if let Some(child) = child {
                child.recently_used.store(true, Ordering::Relaxed);
            }
            return Ok(child.clone());
        }
        let caching = directory.inode.name_caching();
        if directory.state() == DentryState::Removed {
            return Ok(None);
        }
        match directory.inode.lookup(name) {
            Ok(inode) if caching == NameCaching::Forbidden => {
                Ok(Some(Dentry::new(inode, Some(directory.clone()), name)))
            }
            Ok(inode) => Ok(Some(self.insert(directory, children, name, inode))),
            Err(Errno::ENOENT) => {
                if caching == NameCaching::Allowed {
                    children.insert_absent(name);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a new child into the cache.
    pub(crate) fn insert(
        &self,
        directory: &Arc<Dentry>,
        children: &mut Children,
        name: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Arc<Dentry> {
        let child = Dentry::new(inode, Some(directory.clone()), name);
        children.insert(name, child.clone());
        self.ring.lock().push_back(Arc::downgrade(&child));
        child
    }

    /// Forgets dentries beyond the capacity. Called between operations, with no lock held.
    pub(crate) fn trim(&self) {
        let excess = self.ring.lock().len().saturating_sub(self.capacity);
        // A few steps at a time; each either shortens the ring or takes a second chance away.
        for _ in 0..excess.min(32) {
            self.step();
        }
    }

    /// Forgets everything that nobody uses, however recently.
    pub fn clear(&self) {
        // Twice: the first round takes the second chances, and children before parents may need it.
        for _ in 0..2 {
            let steps = self.ring.lock().len();
            (0..steps).for_each(|_| self.step());
        }
    }

    fn step(&self) {
        let Some(entry) = self.ring.lock().pop_front() else { return };
        let Some(dentry) = entry.upgrade() else { return };
        if dentry.recently_used.swap(false, Ordering::Relaxed) || !Self::forget(&dentry) {
            self.ring.lock().push_back(entry);
        }
    }

    /// Takes the dentry out of its parent if only the parent and the caller have it.
    fn forget(dentry: &Arc<Dentry>) -> bool {
        let Some(parent) = dentry.parent() else { return true };
        let Some(mut siblings) = parent.children.try_lock() else { return false };
        // Nobody can gain a reference while the siblings are locked: there is none but the parent's
        // and ours, and cached children would hold their parent.
        if Arc::strong_count(dentry) != 2 || dentry.state() == DentryState::Removed {
            return dentry.state() == DentryState::Removed;
        }
        let name = dentry.name();
        let forgotten = siblings.remove(&name);
        drop(siblings);
        drop(forgotten);
        true
    }
}
