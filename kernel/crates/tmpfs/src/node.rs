//! Inodes.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{
    any::Any,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

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

use crate::{
    Tmpfs,
    contents::Contents,
    directory::{Directory, Found},
    first_links,
    lower::LowerFile,
};

/// An inode.
pub(crate) struct Node {
    pub(crate) file_system: Arc<Tmpfs>,
    number: u64,
    body: Body,
    lower: Option<Lower>,
    attributes: SpinLock<Attributes>,
    /// `None` while they are those of the lower inode.
    xattrs: Mutex<Option<Xattrs>>,
    known_as: KnownAs,
}

/// The inode of the lower file system that a node began as.
struct Lower {
    inode: Arc<dyn Inode>,
    /// The node differs from it, and the file system keeps it.
    is_kept: AtomicBool,
    /// Size of a directory or a link, as it was there.
    size: u64,
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

enum Body {
    Regular(Contents),
    Directory(Directory),
    Symlink(Box<[u8]>),
    /// A link of the lower file system.
    LowerSymlink(Arc<dyn Inode>),
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
/// Texts of links from this length on are charged as a page, as by Linux (`SHORT_SYMLINK_LEN` in `mm/shmem.c`).
const CHARGED_LINK_BYTES: usize = 128;

impl Node {
    fn new(file_system: &Arc<Tmpfs>, body: Body, permissions: u16, links: u32, gid: u32) -> Arc<Self> {
        let now = Timestamp::now();
        Arc::new(Self {
            file_system: file_system.clone(),
            number: file_system.next_number(),
            body,
            lower: None,
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
            xattrs: Mutex::new(Some(Xattrs::new())),
            known_as: KnownAs::default(),
        })
    }

    /// The node of an inode of the lower file system, which it differs from in nothing yet.
    pub(crate) fn over(file_system: &Arc<Tmpfs>, inode: Arc<dyn Inode>) -> Result<Arc<Self>, Errno> {
        let metadata = inode.metadata()?;
        let body = match metadata.kind {
            FileType::Regular => {
                let (lower, pages) = LowerFile::new(inode.clone(), metadata.size, metadata.blocks)?;
                Body::Regular(Contents::over(lower, pages, metadata.size))
            }
            FileType::Directory => Body::Directory(Directory::over(inode.clone())),
            FileType::Symlink => Body::LowerSymlink(inode.clone()),
            kind => Body::Special(kind, metadata.device),
        };
        Ok(Arc::new(Self {
            file_system: file_system.clone(),
            number: metadata.id.number,
            body,
            lower: Some(Lower { inode, is_kept: AtomicBool::new(false), size: metadata.size }),
            attributes: SpinLock::new(Attributes {
                permissions: metadata.permissions,
                links: metadata.links,
                uid: metadata.uid,
                gid: metadata.gid,
                accessed: metadata.accessed,
                modified: metadata.modified,
                changed: metadata.changed,
                born: metadata.born.unwrap_or(metadata.changed),
            }),
            xattrs: Mutex::new(None),
            known_as: KnownAs::default(),
        }))
    }

    /// To be called before any change: the node differs from its lower inode from now on.
    fn keep(&self) {
        if let (Some(lower), Some(nodes)) = (&self.lower, &self.file_system.lower)
            && !lower.is_kept.load(Ordering::Relaxed)
        {
            nodes.keep(self.number);
            lower.is_kept.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn directory(file_system: &Arc<Tmpfs>, permissions: u16) -> Arc<Self> {
        Self::new(file_system, Body::Directory(Directory::new()), permissions, 2, 0)
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

    fn entries(&self) -> Result<&Directory, Errno> {
        match &self.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The node of this name, `ENOENT` if there is none.
    fn child(&self, name: &[u8]) -> Result<Arc<Self>, Errno> {
        match self.entries()?.find(name) {
            Found::Node(node) => Ok(node),
            Found::Absent => Err(Errno::ENOENT),
            Found::InLower(lower) => self.file_system.lower_node(lower.lookup(name)?),
        }
    }

    /// Like [`child`](Self::child), with `None` for a name that is free.
    fn find_child(&self, name: &[u8]) -> Result<Option<Arc<Self>>, Errno> {
        match self.child(name) {
            Ok(node) => Ok(Some(node)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Files of tmpfs have seals, those of overlayfs do not (`memfd_file_seals_ptr` in Linux's `mm/memfd.c`).
    fn sealable(&self) -> Result<&Contents, Errno> {
        match &self.file_system.lower {
            None => self.contents().map_err(|_| Errno::EINVAL),
            Some(_) => Err(Errno::EINVAL),
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
        self.keep();
        let mut attributes = self.attributes.lock();
        attributes.modified = Timestamp::now();
        attributes.changed = attributes.modified;
    }

    /// The number of names changed.
    fn change_links(&self, change: impl FnOnce(u32) -> u32) {
        self.keep();
        let links = {
            let mut attributes = self.attributes.lock();
            attributes.links = change(attributes.links);
            attributes.changed = Timestamp::now();
            attributes.links
        };
        if let (Some(_), Some(nodes), 0) = (&self.lower, &self.file_system.lower, links) {
            // The caller has a reference of his own.
            nodes.let_go(self.number);
        }
    }

    /// An entry came to or went from this directory; `subdirectories` is by how many more it has.
    fn entry_changed(&self, subdirectories: i32) {
        self.touch();
        if subdirectories != 0 {
            self.change_links(|links| links.saturating_add_signed(subdirectories));
        }
    }

    /// A directory's only name, or a file's, was removed.
    fn name_removed(&self) {
        let is_directory = self.is_directory();
        self.change_links(|links| if is_directory { 0 } else { links.saturating_sub(1) });
    }

    /// A name of `self` in `directory` was removed, and whether that was kept by the directory itself.
    fn uncharge_name(&self, was_own: bool) {
        if was_own {
            self.file_system.uncharge_names(1);
        }
    }

    /// Changes the extended attributes. They are copied from the lower inode first, and charged by what they
    /// take; if there is no room for that, nothing happens.
    fn change_xattrs(&self, change: impl FnOnce(&mut Xattrs) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut xattrs = self.xattrs.lock();
        let mut changed = match (&*xattrs, &self.lower) {
            (Some(own), _) => own.clone(),
            (None, Some(lower)) => lower_xattrs(&lower.inode)?,
            (None, None) => Xattrs::new(),
        };
        let before = xattrs.as_ref().map_or(0, xattr_pages);
        change(&mut changed)?;
        let after = xattr_pages(&changed);
        self.file_system.charge(after.saturating_sub(before))?;
        self.file_system.uncharge(before.saturating_sub(after));
        *xattrs = Some(changed);
        drop(xattrs);
        // The change time.
        self.change_links(|links| links);
        Ok(())
    }
}

/// All extended attributes of an inode of the lower file system; none if it does not have such things.
fn lower_xattrs(inode: &Arc<dyn Inode>) -> Result<Xattrs, Errno> {
    let names = match inode.xattr_names() {
        Err(Errno::EOPNOTSUPP) => return Ok(Xattrs::new()),
        names => names?,
    };
    names.into_iter().map(|name| inode.xattr(&name).map(|value| (name, value))).collect()
}

/// What extended attributes are charged as.
fn xattr_pages(xattrs: &Xattrs) -> usize {
    let bytes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    // A few bytes are charged with the name of their inode.
    if bytes < CHARGED_LINK_BYTES { 0 } else { bytes.div_ceil(PAGE_SIZE) }
}

/// What the text of a link is charged as.
fn link_pages(text: &[u8]) -> usize {
    usize::from(text.len() >= CHARGED_LINK_BYTES)
}

impl Drop for Node {
    fn drop(&mut self) {
        let pages = match &self.body {
            Body::Regular(contents) => contents.page_count(),
            Body::Symlink(text) => link_pages(text),
            _ => 0,
        };
        self.file_system.uncharge(pages + self.xattrs.get_mut().as_ref().map_or(0, xattr_pages));
        if let (Some(_), Some(nodes)) = (&self.lower, &self.file_system.lower) {
            nodes.forget(self.number, self);
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
            Body::Symlink(_) | Body::LowerSymlink(_) => FileType::Symlink,
            Body::Special(kind, _) => kind,
        }
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let lower_size = self.lower.as_ref().map(|lower| lower.size);
        let (size, pages) = match &self.body {
            Body::Regular(contents) => (contents.size(), contents.taken_pages()),
            // 20 bytes for each entry, `.` and `..` included, as Linux's shmem counts.
            Body::Directory(entries) => (lower_size.unwrap_or(40) + 20 * entries.len() as u64, 0),
            Body::Symlink(text) => (text.len() as u64, 0),
            Body::LowerSymlink(_) => (lower_size.unwrap_or(0), 0),
            Body::Special(..) => (0, 0),
        };
        let device = match self.body {
            Body::Special(_, device) => device,
            _ => DeviceNumber::default(),
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
            blocks: pages * 8,
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
        self.keep();
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
        Ok(self.child(name)?)
    }

    fn create(&self, name: &[u8], new: NewInode<'_>, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        let entries = self.entries()?;
        self.file_system.charge_names(1)?;
        if let NewInode::Symlink(text) = new
            && let Err(error) = self.file_system.charge(link_pages(text))
        {
            self.file_system.uncharge_names(1);
            return Err(error);
        }
        let body = match new {
            NewInode::Regular => Body::Regular(Contents::new(Seals::SEAL)),
            NewInode::Directory => Body::Directory(Directory::new()),
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
        entries.insert(name, node.clone());
        self.entry_changed(i32::from(is_directory));
        Ok(node)
    }

    fn create_unnamed(&self, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        self.entries()?;
        Ok(Self::regular(&self.file_system, permissions, Seals::SEAL, 0))
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let (entries, target) = (self.entries()?, Self::of(target)?);
        self.file_system.charge_names(1)?;
        target.change_links(|links| links + 1);
        entries.insert(name, target);
        self.entry_changed(0);
        Ok(())
    }

    fn unlink(&self, name: &[u8], _target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let node = self.child(name)?;
        self.uncharge_name(self.entries()?.remove(name));
        node.name_removed();
        self.entry_changed(0);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        if !Self::of(target)?.entries()?.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        let node = self.child(name)?;
        self.uncharge_name(self.entries()?.remove(name));
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
        let source = self.child(name)?;
        let target = new_directory.find_child(new_name)?;
        // Where it goes, its name is kept here and paid for.
        let moved_in = usize::from(!old_entries.keeps(name));
        let count = |node: &Arc<Self>| i32::from(node.is_directory());
        match (target, kind) {
            (Some(target), RenameKind::Exchange) => {
                self.file_system.charge_names(moved_in + usize::from(!new_entries.keeps(new_name)))?;
                old_entries.replace(name, target.clone());
                new_entries.replace(new_name, source.clone());
                self.entry_changed(count(&target) - count(&source));
                new_directory.entry_changed(count(&source) - count(&target));
                target.change_links(|links| links);
            }
            (None, RenameKind::Exchange) => return Err(Errno::ENOENT),
            (Some(target), RenameKind::Replace) => {
                if let Body::Directory(entries) = &target.body
                    && !entries.is_empty()?
                {
                    return Err(Errno::ENOTEMPTY);
                }
                self.file_system.charge_names(moved_in)?;
                old_entries.remove(name);
                self.uncharge_name(new_entries.replace(new_name, source.clone()));
                target.name_removed();
                self.entry_changed(-count(&source));
                new_directory.entry_changed(count(&source) - count(&target));
            }
            (None, RenameKind::Replace) => {
                self.file_system.charge_names(moved_in)?;
                old_entries.remove(name);
                new_entries.insert(new_name, source.clone());
                self.entry_changed(-count(&source));
                new_directory.entry_changed(count(&source));
            }
        }
        // The change time of what was renamed, as Linux sets it.
        source.change_links(|links| links);
        Ok(())
    }

    fn read_directory(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        self.entries()?.read(cookie, sink)
    }

    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        match &self.body {
            Body::Symlink(text) => Ok(text.to_vec()),
            Body::LowerSymlink(lower) => lower.read_link(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn read_at(&self, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        self.contents()?.read(offset, dst)
    }

    fn write_at(&self, position: WritePosition, src: &mut dyn WriteSrc) -> Result<Written, Errno> {
        let contents = self.contents()?;
        self.keep();
        let written = contents.write(self, position, src)?;
        if written.bytes > 0 {
            self.touch();
        }
        Ok(written)
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        let contents = self.contents()?;
        self.keep();
        let shrinks = size < contents.size();
        contents.truncate(self, size)?;
        if shrinks {
            unmap_pages(self, size.div_ceil(PAGE_SIZE as u64)..u64::MAX);
        }
        self.touch();
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        let contents = self.contents()?;
        self.keep();
        contents.allocate(self, flags, offset, length)?;
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

    fn drop_cached(&self, range: Range<u64>) {
        // Pages of ours are no copies of anything.
        if let Some(lower) = &self.lower {
            lower.inode.drop_cached(range);
        }
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
        match (&*self.xattrs.lock(), &self.lower) {
            (Some(own), _) => own.get(name).cloned().ok_or(Errno::ENODATA),
            (None, Some(lower)) => lower.inode.xattr(name).map_err(|error| match error {
                Errno::EOPNOTSUPP => Errno::ENODATA,
                error => error,
            }),
            (None, None) => Err(Errno::ENODATA),
        }
    }

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        match (&*self.xattrs.lock(), &self.lower) {
            (Some(own), _) => Ok(own.keys().cloned().collect()),
            (None, Some(lower)) => lower_xattrs(&lower.inode).map(|all| all.into_keys().collect()),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        if value.len() > MAX_XATTR_BYTES {
            return Err(Errno::E2BIG);
        }
        self.change_xattrs(|xattrs| {
            match (xattrs.contains_key(name), mode) {
                (true, XattrMode::Create) => return Err(Errno::EEXIST),
                (false, XattrMode::Replace) => return Err(Errno::ENODATA),
                _ => xattrs.insert(name.to_vec(), value.to_vec()),
            };
            Ok(())
        })
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        self.change_xattrs(|xattrs| xattrs.remove(name).map(drop).ok_or(Errno::ENODATA))
    }

    fn seals(&self) -> Result<Seals, Errno> {
        self.sealable().map(Contents::seals)
    }

    fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        self.sealable()?.add_seals(seals)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MemoryObject for Node {
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        if access == PageAccess::SharedWrite {
            self.keep();
        }
        self.contents()?.mapped_page(self, index, access)
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
