//! Mounts, and paths as places in them.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use ksync::RwLock;
use linux_abi::file::StatfsFlags;

use crate::{Dentry, DentryState, FileSystem, Inode};

/// A file system at its place in the tree.
pub struct Mount {
    /// Number in `/proc/self/mountinfo`, and `stx_mnt_id`.
    pub id: u32,
    /// What is mounted.
    pub file_system: Arc<dyn FileSystem>,
    /// Its root directory.
    pub root: Arc<Dentry>,
    /// Where; `None` for the root of the tree, and for objects outside of it.
    pub mountpoint: Option<Path>,
    /// How.
    pub flags: StatfsFlags,
    /// From what: the first field of `/proc/mounts`.
    pub source: Box<str>,
    /// Options of the file system itself, as `/proc/mounts` shows them after the general ones.
    pub options: Box<str>,
}

/// A place in the tree: a name, and the mount through which it was reached.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// What is there.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether both are the same place.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Whether it is the root directory of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// Whether the mount allows no changes.
    pub fn is_read_only(&self) -> bool {
        self.mount.flags.contains(StatfsFlags::RDONLY)
    }
}

/// All mounts, in the order they were made.
#[derive(Default)]
pub(crate) struct MountTable {
    mounts: RwLock<Vec<Arc<Mount>>>,
}

impl MountTable {
    pub(crate) fn add(&self, make: impl FnOnce(u32) -> Mount) -> Arc<Mount> {
        let mut mounts = self.mounts.write();
        // Linux numbers mounts from 1, of which some are its own; 20 looks no different to a reader.
        let mount = Arc::new(make(20 + mounts.len() as u32));
        if let Some(mountpoint) = &mount.mountpoint {
            mountpoint.dentry.mounts.fetch_add(1, Ordering::Release);
        }
        mounts.push(mount.clone());
        mount
    }

    pub(crate) fn list(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().clone()
    }

    /// From a mount point to the root of what is mounted there, as often as need be.
    pub(crate) fn cross(&self, mut path: Path) -> Path {
        while path.dentry.mounts.load(Ordering::Acquire) != 0 {
            let mounts = self.mounts.read();
            let covering = mounts.iter().rev().find(|m| m.mountpoint.as_ref().is_some_and(|p| p.is(&path)));
            match covering {
                Some(mount) => path = Path { mount: mount.clone(), dentry: mount.root.clone() },
                None => break,
            }
        }
        path
    }

    /// The directory above `path`, but nothing above `root`.
    pub(crate) fn parent(&self, mut path: Path, root: &Path) -> Path {
        loop {
            if path.is(root) {
                return path;
            }
            if path.is_mount_root() {
                match &path.mount.mountpoint {
                    Some(mountpoint) => path = mountpoint.clone(),
                    None => return path,
                }
            } else {
                return match path.dentry.parent() {
                    Some(dentry) => self.cross(Path { mount: path.mount, dentry }),
                    None => path,
                };
            }
        }
    }
}

/// The path from `root` to `path`, and whether a name on it was removed. What lies outside of the
/// tree (a memfd, a pipe) has just a name.
pub(crate) fn absolute_path(path: &Path, root: &Path) -> (Vec<u8>, DentryState) {
    path_below(path, Some(root))
}

/// The path from the top of the tree to `path`.
pub(crate) fn path_from_top(path: &Path) -> (Vec<u8>, DentryState) {
    path_below(path, None)
}

fn path_below(path: &Path, root: Option<&Path>) -> (Vec<u8>, DentryState) {
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    let mut state = DentryState::Linked;
    let mut at = path.clone();
    while !root.is_some_and(|root| at.is(root)) {
        if at.is_mount_root() {
            match &at.mount.mountpoint {
                Some(mountpoint) => at = mountpoint.clone(),
                None => break,
            }
            continue;
        }
        if at.dentry.state() == DentryState::Removed {
            state = DentryState::Removed;
        }
        match at.dentry.parent() {
            Some(parent) => {
                names.push(at.dentry.name());
                at.dentry = parent;
            }
            None => return (at.dentry.name().to_vec(), state),
        }
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    (text, state)
}
