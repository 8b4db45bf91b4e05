//! Inodes.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{any::Any, ops::Range, sync::atomic::Ordering};

use frames::{PAGE_SIZE, PageRef};
use ksync::{Mutex, SpinLock};
use linux_abi::{
    Errno,
    file::{DeviceNumber, FallocateFlags, FileType, Seals, Whence},
};
use vfs::{
    AttributeChanges, EntrySink, FileSystem, Inode, InodeId, KnownAs, MemoryObject, Metadata, NewInode,
    ObjectName, PageAccess, Path, ReadDst, RenameKind, Timestamp, WritePosition, WriteSrc, Written,
    XattrMode, unmap_pages,
};

use crate::{Tmpfs, contents::Contents, directory::Entries, first_links};

/// An inode.
pub(crate) struct Node {
    file_system: Arc<Tmpfs>,
    number: u64,
    body: Body,
    attributes: SpinLock<Attributes>,
    xattrs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    known_as: KnownAs,
}

enum Body {
    Regular(Contents),
    Directory(Mutex<Entries>),
    Symlink(Box<[u8]>),
    Special(FileType, DeviceNumber),
}

struct Attributes {
    permissions: u16,
    links: u32,
    uid: u32,
    gid: u32,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    born: Timestamp,
}

const SET_GID: u16 = 0o2000;
/// Largest value of an extended attribute (`XATTR_SIZE_MAX` in uapi `linux/limits.h`).
const MAX_XATTR_BYTES: usize = 65_536;

impl Node {
    fn new(file_system: &Arc<Tmpfs>, body: Body, permissions: u16, links: u32, gid: u32) -> Arc<Self> {
        let now = Timestamp::now();
        Arc::new(Self {
            file_system: file_system.clone(),
            number: file_system.next_number(),
            body,
            attributes: SpinLock::new(Attributes {
                permissions,
                links,
                uid: 0,
                gid,
                accessed: now,
                modified: now,
                changed: now,
                born: now,
            }),
            xattrs: Mutex::default(),
            known_as: KnownAs::default(),
        })
    }

    pub(crate) fn directory(file_system: &Arc<Tmpfs>, permissions: u16) -> Arc<Self> {
        Self::new(file_system, Body::Directory(Mutex::new(Entries::new())), permissions, 2, 0)
    }

    pub(crate) fn regular(file_system: &Arc<Tmpfs>, permissions: u16, seals: Seals, links: u32) -> Arc<Self> {
        Self::new(file_system, Body::Regular(Contents::new(seals)), permissions, links, 0)
    }

    fn contents(&self) -> Result<&Contents, Errno> {
        match &self.body {
            Body::Regular(contents) => Ok(contents),
            Body::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn entries(&self) -> Result<&Mutex<Entries>, Errno> {
        match &self.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// A node behind an inode of this file system.
    fn of(inode: &Arc<dyn Inode>) -> Result<Arc<Self>, Errno> {
        let any: Arc<dyn Any + Send + Sync> = inode.clone();
        any.downcast().map_err(|_| Errno::EXDEV)
    }

    /// The contents changed.
    fn touch(&self) {
        let mut attributes = self.attributes.lock();
        attributes.modified = Timestamp::now();
        attributes.changed = attributes.modified;
    }

    /// The number of names changed.
    fn change_links(&self, change: impl FnOnce(u32) -> u32) {
        let mut attributes = self.attributes.lock();
        attributes.links = change(attributes.links);
        attributes.changed = Timestamp::now();
    }

    /// An entry came to or went from this directory; `subdirectories` is by how many more it has.
    fn entry_changed(&self, subdirectories: i32) {
        self.touch();
        if subdirectories != 0 {
            self.change_links(|links| links.saturating_add_signed(subdirectories));
        }
    }

    /// A directory's or file's last name was removed.
    fn name_removed(&self) {
        let is_directory = self.is_directory();
        self.change_links(|links| if is_directory { 0 } else { links.saturating_sub(1) });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.file_system.inodes.fetch_sub(1, Ordering::Relaxed);
        if let Body::Regular(contents) = &self.body {
            self.file_system.uncharge(contents.page_count());
        }
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { device: self.file_system.device(), number: self.number }
    }

    fn kind(&self) -> FileType {
        match self.body {
            Body::Regular(_) => FileType::Regular,
            Body::Directory(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
            Body::Special(kind, _) => kind,
        }
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let (size, pages, device) = match &self.body {
            Body::Regular(contents) => (contents.size(), contents.page_count(), DeviceNumber::default()),
            // 20 bytes for each entry, `.` and `..` included, as Linux's shmem counts.
            Body::Directory(entries) => (20 * (entries.lock().len() as u64 + 2), 0, DeviceNumber::default()),
            Body::Symlink(text) => (text.len() as u64, 0, DeviceNumber::default()),
            Body::Special(_, device) => (0, 0, *device),
        };
        let attributes = self.attributes.lock();
        Ok(Metadata {
            id: self.id(),
            kind: self.kind(),
            permissions: attributes.permissions,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            device,
            size,
            block_bytes: 4096,
            blocks: pages as u64 * 8,
            accessed: attributes.accessed,
            modified: attributes.modified,
            changed: attributes.changed,
            born: Some(attributes.born),
        })
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.file_system.clone()
    }

    fn set_attributes(&self, changes: &AttributeChanges) -> Result<(), Errno> {
        let mut attributes = self.attributes.lock();
        if let Some(permissions) = changes.permissions {
            attributes.permissions = permissions;
        }
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        attributes.accessed = changes.accessed.unwrap_or(attributes.accessed);
        attributes.modified = changes.modified.unwrap_or(attributes.modified);
        attributes.changed = Timestamp::now();
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        match self.entries()?.lock().get(name) {
            Some(node) => Ok(node.clone()),
            None => Err(Errno::ENOENT),
        }
    }

    fn create(&self, name: &[u8], new: NewInode<'_>, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        let entries = self.entries()?;
        let body = match new {
            NewInode::Regular => Body::Regular(Contents::new(Seals::SEAL)),
            NewInode::Directory => Body::Directory(Mutex::new(Entries::new())),
            NewInode::Symlink(text) => Body::Symlink(text.into()),
            NewInode::Device(kind, device) => Body::Special(kind, device),
            NewInode::Fifo | NewInode::Socket => Body::Special(new.kind(), DeviceNumber::default()),
        };
        let (own_permissions, own_gid) = {
            let attributes = self.attributes.lock();
            (attributes.permissions, attributes.gid)
        };
        // A set-group-id directory hands its group down, and the bit to directories (inode(7)).
        let inherits = own_permissions & SET_GID != 0;
        let gid = if inherits { own_gid } else { 0 };
        let is_directory = new.kind() == FileType::Directory;
        let permissions = match new {
            NewInode::Symlink(_) => 0o777,
            _ if inherits && is_directory => permissions | SET_GID,
            _ => permissions,
        };
        let node = Self::new(&self.file_system, body, permissions, first_links(new.kind()), gid);
        entries.lock().insert(name, node.clone());
        self.entry_changed(i32::from(is_directory));
        Ok(node)
    }

    fn create_unnamed(&self, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        self.entries()?;
        Ok(Self::regular(&self.file_system, permissions, Seals::SEAL, 0))
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let target = Self::of(target)?;
        target.change_links(|links| links + 1);
        self.entries()?.lock().insert(name, target);
        self.entry_changed(0);
        Ok(())
    }

    fn unlink(&self, name: &[u8], _target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.entries()?.lock().remove(name).ok_or(Errno::ENOENT)?;
        node.name_removed();
        self.entry_changed(0);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        if !Self::of(target)?.entries()?.lock().is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let node = self.entries()?.lock().remove(name).ok_or(Errno::ENOENT)?;
        node.name_removed();
        self.entry_changed(-1);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        new_directory: &Arc<dyn Inode>,
        new_name: &[u8],
        kind: RenameKind,
    ) -> Result<(), Errno> {
        let new_directory = Self::of(new_directory)?;
        let (old_entries, new_entries) = (self.entries()?, new_directory.entries()?);
        let source = old_entries.lock().get(name).cloned().ok_or(Errno::ENOENT)?;
        let target = new_entries.lock().get(new_name).cloned();
        let count = |node: &Arc<Self>| i32::from(node.is_directory());
        match (target, kind) {
            (Some(target), RenameKind::Exchange) => {
                old_entries.lock().replace(name, target.clone());
                new_entries.lock().replace(new_name, source.clone());
                self.entry_changed(count(&target) - count(&source));
                new_directory.entry_changed(count(&source) - count(&target));
                target.change_links(|links| links);
            }
            (None, RenameKind::Exchange) => return Err(Errno::ENOENT),
            (Some(target), RenameKind::Replace) => {
                if let Body::Directory(entries) = &target.body
                    && !entries.lock().is_empty()
                {
                    return Err(Errno::ENOTEMPTY);
                }
                old_entries.lock().remove(name);
                new_entries.lock().replace(new_name, source.clone());
                target.name_removed();
                self.entry_changed(-count(&source));
                new_directory.entry_changed(count(&source) - count(&target));
            }
            (None, RenameKind::Replace) => {
                old_entries.lock().remove(name);
                new_entries.lock().insert(new_name, source.clone());
                self.entry_changed(-count(&source));
                new_directory.entry_changed(count(&source));
            }
        }
        // The change time of what was renamed, as Linux sets it.
        source.change_links(|links| links);
        Ok(())
    }

    fn read_directory(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        self.entries()?.lock().read(cookie, sink)
    }

    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        match &self.body {
            Body::Symlink(text) => Ok(text.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn read_at(&self, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        self.contents()?.read(offset, dst)
    }

    fn write_at(&self, position: WritePosition, src: &mut dyn WriteSrc) -> Result<Written, Errno> {
        let written = self.contents()?.write(&self.file_system, position, src)?;
        if written.bytes > 0 {
            self.touch();
        }
        Ok(written)
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        let contents = self.contents()?;
        let shrinks = size < contents.size();
        contents.truncate(&self.file_system, size)?;
        if shrinks {
            unmap_pages(self, size.div_ceil(PAGE_SIZE as u64)..u64::MAX);
        }
        self.touch();
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        self.contents()?.allocate(&self.file_system, flags, offset, length)?;
        if flags.contains(FallocateFlags::PUNCH_HOLE) {
            let page = PAGE_SIZE as u64;
            let (first, end) = (offset.div_ceil(page), (offset + length) / page);
            if first < end {
                unmap_pages(self, first..end);
            }
        }
        self.touch();
        Ok(())
    }

    fn seek_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        self.contents()?.seek_region(offset, whence)
    }

    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        match self.body {
            Body::Regular(_) => Ok(self),
            _ => Err(Errno::ENODEV),
        }
    }

    fn opened_at(&self, path: &Path) {
        self.known_as.set(path);
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        if value.len() > MAX_XATTR_BYTES {
            return Err(Errno::E2BIG);
        }
        let mut xattrs = self.xattrs.lock();
        match (xattrs.contains_key(name), mode) {
            (true, XattrMode::Create) => return Err(Errno::EEXIST),
            (false, XattrMode::Replace) => return Err(Errno::ENODATA),
            _ => xattrs.insert(name.to_vec(), value.to_vec()),
        };
        drop(xattrs);
        self.change_links(|links| links);
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        self.xattrs.lock().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    fn seals(&self) -> Result<Seals, Errno> {
        self.contents().map(Contents::seals).map_err(|_| Errno::EINVAL)
    }

    fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        self.contents().map_err(|_| Errno::EINVAL)?.add_seals(seals)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MemoryObject for Node {
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        self.contents()?.mapped_page(&self.file_system, index, access)
    }

    fn cached_page(&self, index: u64) -> Option<PageRef> {
        self.contents().ok()?.cached_page(index)
    }

    fn remove_pages(&self, pages: Range<u64>) -> Result<(), Errno> {
        let page = PAGE_SIZE as u64;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.allocate(hole, pages.start * page, (pages.end - pages.start) * page)
    }

    fn describe(&self) -> ObjectName {
        ObjectName { path: self.known_as.text(), device: self.file_system.device(), inode: self.number }
    }
}
