//! The tree of names: resolving paths, and changing what they lead to.
//!
//! Locks, outermost first: `renames` (a rename for writing, so that no two are under way and no
//! loop of directories can arise; reading a path for reading), one directory's names
//! ([`Dentry`](crate::Dentry)), then the file system's own.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use ksync::RwLock;
use linux_abi::{
    Errno,
    file::{DeviceNumber, FileType, RenameFlags, ResolveFlags, Statfs, StatfsFlags},
};

use crate::{
    AccessMode, Blocking, Dentry, DentryCache, DentryState, Ending, File, FileSystem, FinalLink, Inode, Last,
    Metadata, Mount, NewInode, Path, Progress, RenameKind, SpecialComponent, Writeback,
    dentry::lock_both,
    mount::{MountTable, absolute_path},
    notify,
    walk::Walk,
};

/// Opens what lies behind device files and named pipes.
pub trait SpecialFiles: Send + Sync {
    /// Opens a device; `ENXIO` if there is no such one.
    fn open_device(
        &self,
        kind: FileType,
        device: DeviceNumber,
        access: AccessMode,
    ) -> Result<Arc<dyn File>, Errno>;

    /// Opens a named pipe; waits for the other side as `fifo(7)` says.
    fn open_fifo(
        &self,
        inode: &Arc<dyn Inode>,
        access: AccessMode,
        blocking: Blocking,
    ) -> Result<Arc<dyn File>, Errno>;
}

/// The tree of names of all mounted file systems.
pub struct Namespace {
    root: Path,
    /// Where objects outside of the tree belong.
    unnamed: Arc<Mount>,
    mounts: MountTable,
    dentries: DentryCache,
    special: Box<dyn SpecialFiles>,
    renames: RwLock<()>,
}

/// How to mount.
pub struct MountRequest<'a> {
    /// What.
    pub file_system: Arc<dyn FileSystem>,
    /// First field of `/proc/mounts`.
    pub source: &'a str,
    /// General options.
    pub flags: StatfsFlags,
    /// The file system's own options, for `/proc/mounts`.
    pub options: &'a str,
}

impl MountRequest<'_> {
    fn into_mount(self, id: u32, mountpoint: Option<Path>) -> Result<Mount, Errno> {
        Ok(Mount {
            id,
            root: Dentry::root(self.file_system.clone().root()?),
            file_system: self.file_system,
            mountpoint,
            flags: self.flags,
            source: self.source.into(),
            options: self.options.into(),
        })
    }
}

/// Dentries that are kept beyond their use.
const DENTRY_CAPACITY: usize = 16_384;

impl Namespace {
    /// A tree whose root is that of `request`. `unnamed` is the file system of what has no name.
    pub fn new(
        request: MountRequest<'_>,
        unnamed: Arc<dyn FileSystem>,
        special: Box<dyn SpecialFiles>,
    ) -> Result<Self, Errno> {
        let mounts = MountTable::default();
        let mount = request.into_mount(0, None)?;
        let mount = mounts.add(|id| Mount { id, ..mount });
        let unnamed = Arc::new(Mount {
            id: 0,
            root: Dentry::root(unnamed.clone().root()?),
            file_system: unnamed,
            mountpoint: None,
            flags: StatfsFlags::empty(),
            source: "none".into(),
            options: "".into(),
        });
        Ok(Self {
            root: Path { dentry: mount.root.clone(), mount },
            unnamed,
            mounts,
            dentries: DentryCache::new(DENTRY_CAPACITY),
            special,
            renames: RwLock::new(()),
        })
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn mounts(&self) -> &MountTable {
        &self.mounts
    }

    /// All mounts, in the order they were made.
    pub fn mount_list(&self) -> Vec<Arc<Mount>> {
        self.mounts.list()
    }

    /// The cache of names.
    pub fn dentries(&self) -> &DentryCache {
        &self.dentries
    }

    /// Mounts a file system on the directory at `mountpoint`.
    pub fn mount(&self, mountpoint: &[u8], request: MountRequest<'_>) -> Result<Arc<Mount>, Errno> {
        let mountpoint = self.resolve(&self.root, mountpoint, FinalLink::Follow)?;
        if !mountpoint.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let mount = request.into_mount(0, Some(mountpoint))?;
        Ok(self.mounts.add(|id| Mount { id, ..mount }))
    }

    /// A place for an inode that has no name, such as a memfd or the pipe behind `/proc/self/fd/3`.
    pub fn unnamed(&self, inode: Arc<dyn Inode>, shown_as: &[u8]) -> Path {
        Path { mount: self.unnamed.clone(), dentry: Dentry::unnamed(inode, shown_as) }
    }

    /// The object that `path` leads to from `base`.
    pub fn resolve(&self, base: &Path, path: &[u8], final_link: FinalLink) -> Result<Path, Errno> {
        self.resolve_within(base, path, final_link, ResolveFlags::empty())
    }

    /// The same, by a walk that is limited.
    pub(crate) fn resolve_within(
        &self,
        base: &Path,
        path: &[u8],
        final_link: FinalLink,
        limits: ResolveFlags,
    ) -> Result<Path, Errno> {
        self.dentries.trim();
        Walk::new(self, base, path, limits)?.object(final_link)
    }

    /// The directory that the last name of `path` is in, and that name.
    pub fn resolve_last(&self, base: &Path, path: &[u8]) -> Result<Last, Errno> {
        self.dentries.trim();
        Walk::new(self, base, path, ResolveFlags::empty())?.last()
    }

    /// What `name` names in the directory at `directory`, mounts crossed.
    pub(crate) fn child(&self, directory: &Path, name: &[u8]) -> Result<Path, Errno> {
        let dentry = self.dentries.lookup(&directory.dentry, name)?;
        Ok(self.mounts.cross(Path { mount: directory.mount.clone(), dentry }))
    }

    /// The text of the path from the root to `path`, and whether a name on it was removed.
    pub fn path_text(&self, path: &Path) -> (Vec<u8>, DentryState) {
        let _no_rename = self.renames.read();
        absolute_path(path, &self.root)
    }

    /// As `/proc/self/fd` and `/proc/self/maps` show a path: ` (deleted)` follows a removed one.
    pub fn shown_path(&self, path: &Path) -> Vec<u8> {
        let (mut text, state) = self.path_text(path);
        if state == DentryState::Removed {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }

    /// `getcwd(2)`: `ENOENT` if the directory was removed.
    pub fn working_directory_text(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        match self.path_text(path) {
            (text, DentryState::Linked) => Ok(text),
            (_, DentryState::Removed) => Err(Errno::ENOENT),
        }
    }

    /// What `statfs(2)` tells of the file system at `path`.
    pub fn statistics(&self, path: &Path) -> Result<Statfs, Errno> {
        let mut statistics = path.mount.file_system.statistics()?;
        statistics.flags |= path.mount.flags | StatfsFlags::VALID;
        Ok(statistics)
    }

    /// Makes all file systems durable (`sync(2)`); the first error of any.
    pub fn sync_all(&self) -> Result<(), Errno> {
        let results: Vec<_> = self.mounts.list().iter().map(|mount| mount.file_system.sync()).collect();
        results.into_iter().collect()
    }

    /// Writes changes of all file systems in the background.
    pub fn write_back(&self, which: Writeback, progress: &Progress<'_>) {
        for mount in self.mounts.list().iter() {
            mount.file_system.write_back(which, progress);
        }
    }

    /// Makes `new` under the last name of `path`; `EEXIST` if it exists.
    pub fn create(
        &self,
        base: &Path,
        path: &[u8],
        new: NewInode<'_>,
        permissions: u16,
    ) -> Result<Path, Errno> {
        let (directory, name) = match self.resolve_last(base, path)? {
            Last::Special(..) => return Err(Errno::EEXIST),
            Last::Name { directory, name, ending } => {
                if ending == Ending::Slashes && new != NewInode::Directory {
                    // `may_create` comes after the lookup: an existing name is EEXIST, else ENOENT.
                    self.child(&directory, &name)?;
                    return Err(Errno::EEXIST);
                }
                (directory, name)
            }
        };
        self.create_in(&directory, &name, new, permissions)
    }

    /// Makes `new` in a directory; `EEXIST` if the name exists.
    pub(crate) fn create_in(
        &self,
        directory: &Path,
        name: &[u8],
        new: NewInode<'_>,
        permissions: u16,
    ) -> Result<Path, Errno> {
        let mut children = directory.dentry.lock_children();
        if self.dentries.lookup_locked(&directory.dentry, &mut children, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        Self::require_changeable(directory)?;
        let inode = directory.inode().create(name, new, permissions)?;
        let dentry = self.dentries.insert(&directory.dentry, &mut children, name, inode);
        notify::created(directory.inode(), name, dentry.inode());
        Ok(Path { mount: directory.mount.clone(), dentry })
    }

    fn require_changeable(directory: &Path) -> Result<(), Errno> {
        if directory.is_read_only() {
            return Err(Errno::EROFS);
        }
        match directory.dentry.state() {
            DentryState::Linked => Ok(()),
            DentryState::Removed => Err(Errno::ENOENT),
        }
    }

    /// Gives `target` another name (`link(2)`).
    pub fn link(&self, target: &Path, base: &Path, path: &[u8]) -> Result<(), Errno> {
        let (directory, name) = match self.resolve_last(base, path)? {
            Last::Special(..) => return Err(Errno::EEXIST),
            Last::Name { directory, name, ending: Ending::Plain } => (directory, name),
            Last::Name { directory, name, ending: Ending::Slashes } => {
                self.child(&directory, &name)?;
                return Err(Errno::EEXIST);
            }
        };
        if !Arc::ptr_eq(&target.mount, &directory.mount) {
            return Err(Errno::EXDEV);
        }
        let mut children = directory.dentry.lock_children();
        if self.dentries.lookup_locked(&directory.dentry, &mut children, &name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        Self::require_changeable(&directory)?;
        if target.dentry.is_directory() {
            return Err(Errno::EPERM);
        }
        if target.dentry.state() == DentryState::Removed && target.inode().metadata()?.links == 0 {
            // Its last name is gone for good (`vfs_link`).
            return Err(Errno::ENOENT);
        }
        directory.inode().link(&name, target.inode())?;
        self.dentries.insert(&directory.dentry, &mut children, &name, target.inode().clone());
        notify::linked(directory.inode(), &name, target.inode());
        Ok(())
    }

    /// Removes the name of something that is no directory (`unlink(2)`).
    pub fn unlink(&self, base: &Path, path: &[u8]) -> Result<(), Errno> {
        match self.resolve_last(base, path)? {
            // As `do_unlinkat` answers for a path that does not end in a name.
            Last::Special(..) => Err(Errno::EISDIR),
            Last::Name { directory, name, ending } => {
                self.remove(&directory, &name, |inode, name, target| {
                    if target.is_directory() {
                        return Err(Errno::EISDIR);
                    }
                    if ending == Ending::Slashes {
                        return Err(Errno::ENOTDIR);
                    }
                    inode.unlink(name, target.inode())
                })
            }
        }
    }

    /// Removes an empty directory (`rmdir(2)`).
    pub fn rmdir(&self, base: &Path, path: &[u8]) -> Result<(), Errno> {
        match self.resolve_last(base, path)? {
            Last::Special(_, SpecialComponent::Root) => Err(Errno::EBUSY),
            Last::Special(_, SpecialComponent::Dot) => Err(Errno::EINVAL),
            Last::Special(_, SpecialComponent::DotDot) => Err(Errno::ENOTEMPTY),
            Last::Name { directory, name, .. } => {
                // Two directories' names are locked below, which is else a rename's privilege.
                let _no_rename = self.renames.read();
                self.remove(&directory, &name, |inode, name, target| {
                    if !target.is_directory() {
                        return Err(Errno::ENOTDIR);
                    }
                    // No name may appear in the directory while it is removed.
                    let _names = target.lock_children();
                    inode.rmdir(name, target.inode())
                })
            }
        }
    }

    fn remove(
        &self,
        directory: &Path,
        name: &[u8],
        remove: impl FnOnce(&Arc<dyn Inode>, &[u8], &Arc<Dentry>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut children = directory.dentry.lock_children();
        let target =
            self.dentries.lookup_locked(&directory.dentry, &mut children, name)?.ok_or(Errno::ENOENT)?;
        if directory.is_read_only() {
            return Err(Errno::EROFS);
        }
        if target.mounts.load(Ordering::Acquire) != 0 {
            return Err(Errno::EBUSY);
        }
        remove(directory.inode(), name, &target)?;
        directory.dentry.remove_child(&mut children, name);
        notify::removed(directory.inode(), name, &target);
        // First the lock: the target's drop may free the inode's blocks.
        drop(children);
        drop(target);
        Ok(())
    }

    /// Renames (`renameat2(2)`).
    pub fn rename(
        &self,
        old_base: &Path,
        old_path: &[u8],
        new_base: &Path,
        new_path: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.contains(RenameFlags::EXCHANGE)
            && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT)
        {
            return Err(Errno::EINVAL);
        }
        if flags.contains(RenameFlags::WHITEOUT) {
            // No file system here has whiteouts; Linux answers so for those that lack them.
            return Err(Errno::EINVAL);
        }
        let kind =
            if flags.contains(RenameFlags::EXCHANGE) { RenameKind::Exchange } else { RenameKind::Replace };
        let old = self.resolve_last(old_base, old_path)?;
        let new = self.resolve_last(new_base, new_path)?;
        let (
            Last::Name { directory: old_dir, name: old_name, ending: old_ending },
            Last::Name { directory: new_dir, name: new_name, ending: new_ending },
        ) = (old, new)
        else {
            return Err(Errno::EBUSY);
        };
        if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
            return Err(Errno::EXDEV);
        }
        if old_dir.is_read_only() {
            return Err(Errno::EROFS);
        }

        let alone = self.renames.write();
        let (mut old_children, mut new_children) = lock_both(&old_dir.dentry, &new_dir.dentry);
        let source = self
            .dentries
            .lookup_locked(&old_dir.dentry, &mut old_children, &old_name)?
            .ok_or(Errno::ENOENT)?;
        let target = self.dentries.lookup_locked(
            &new_dir.dentry,
            new_children.as_deref_mut().unwrap_or(&mut old_children),
            &new_name,
        )?;
        match &target {
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
            None if kind == RenameKind::Exchange => return Err(Errno::ENOENT),
            _ => {}
        }
        if !source.is_directory() && old_ending == Ending::Slashes {
            return Err(Errno::ENOTDIR);
        }
        let new_is_directory = match (&target, kind) {
            (Some(target), RenameKind::Exchange) => target.is_directory(),
            _ => source.is_directory(),
        };
        if !new_is_directory && new_ending == Ending::Slashes {
            return Err(Errno::ENOTDIR);
        }
        if source.contains(&new_dir.dentry) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &target {
            if target.contains(&old_dir.dentry) {
                return Err(match kind {
                    RenameKind::Exchange => Errno::EINVAL,
                    RenameKind::Replace => Errno::ENOTEMPTY,
                });
            }
            if source.inode().id() == target.inode().id() {
                return Ok(());
            }
            if kind == RenameKind::Replace {
                match (source.is_directory(), target.is_directory()) {
                    (true, false) => return Err(Errno::ENOTDIR),
                    (false, true) => return Err(Errno::EISDIR),
                    _ => {}
                }
            }
        }
        if new_dir.dentry.state() == DentryState::Removed {
            return Err(Errno::ENOENT);
        }
        for dentry in target.iter().chain([&source]) {
            if dentry.mounts.load(Ordering::Acquire) != 0 {
                return Err(Errno::EBUSY);
            }
        }

        {
            let _no_children = match (&target, kind) {
                (Some(target), RenameKind::Replace) if target.is_directory() => Some(target.lock_children()),
                _ => None,
            };
            old_dir.inode().rename(&old_name, new_dir.inode(), &new_name, kind)?;
        }

        let from = notify::Side { directory: old_dir.inode(), name: &old_name };
        let to = notify::Side { directory: new_dir.inode(), name: &new_name };
        old_dir.dentry.take_child(&mut old_children, &old_name);
        let new_names = new_children.as_deref_mut().unwrap_or(&mut old_children);
        match (&target, kind) {
            (Some(target), RenameKind::Exchange) => {
                new_names.insert(&new_name, source.clone());
                source.move_to(&new_dir.dentry, &new_name);
                old_children.insert(&old_name, target.clone());
                target.move_to(&old_dir.dentry, &old_name);
                notify::renamed(&from, &to, source.inode(), None);
                notify::renamed(&to, &from, target.inode(), None);
            }
            (target, _) => {
                if target.is_some() {
                    new_dir.dentry.remove_child(new_names, &new_name);
                }
                new_names.insert(&new_name, source.clone());
                source.move_to(&new_dir.dentry, &new_name);
                old_children.insert_absent(&old_name);
                notify::renamed(&from, &to, source.inode(), target.as_ref().map(|target| target.inode()));
            }
        }
        // First the locks: the target's drop may free the inode's blocks.
        drop((old_children, new_children, alone));
        drop(target);
        Ok(())
    }

    /// The open file of an inode.
    pub(crate) fn open_inode(
        &self,
        path: &Path,
        access: AccessMode,
        blocking: Blocking,
    ) -> Result<Arc<dyn File>, Errno> {
        let inode = path.inode();
        inode.opened_at(path);
        if let Some(file) = inode.clone().open(access) {
            return file;
        }
        match inode.kind() {
            FileType::Regular => Ok(Arc::new(crate::RegularFile::new(inode.clone()))),
            FileType::Directory => Ok(Arc::new(crate::DirectoryFile::new(inode.clone()))),
            FileType::Fifo => self.special.open_fifo(inode, access, blocking),
            kind @ (FileType::CharDevice | FileType::BlockDevice) => {
                let Metadata { device, .. } = inode.metadata()?;
                self.special.open_device(kind, device, access)
            }
            FileType::Socket => Err(Errno::ENXIO),
            FileType::Symlink => Err(Errno::ELOOP),
        }
    }
}
