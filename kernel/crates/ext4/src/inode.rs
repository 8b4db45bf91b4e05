//! Inodes: attributes, and which operation goes where.

use alloc::{string::String, sync::Arc, vec, vec::Vec};
use core::{
    any::Any,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{DeviceNumber, FallocateFlags, FileType, Whence},
};
use page_cache::PageCache;
use rsext4::{
    Ext4Timestamp, FileExtent, FilePermissions, InodeFlags, InodeInfo, InodeMetadataUpdate, InodeNumber,
};
use vfs::{
    AttributeChanges, EntrySink, FileSystem, Inode, InodeId, KnownAs, MemoryObject, Metadata, NewInode, Path,
    ReadDst, RenameKind, SyncKind, Timestamp, WriteErrors, WritePosition, WriteSrc, Written, XattrMode,
    unmap_pages,
};

use crate::{Ext4, errno, inode_times::FineTimes, unnamed};

/// The root directory of every ext4.
const ROOT_INODE: u32 = 2;

/// An inode in use.
pub(crate) struct Ext4Inode {
    pub(crate) file_system: Arc<Ext4>,
    pub(crate) number: InodeNumber,
    kind: FileType,
    attributes: Mutex<Attributes>,
    /// Pages of a regular file; of other kinds, an empty cache.
    pub(crate) pages: Arc<PageCache>,
    /// Where the contents lie, once known; forgotten with every change.
    pub(crate) extents: Mutex<Option<Arc<[FileExtent]>>>,
    /// The sync after which all contents are on the device itself; before it, some may be in the
    /// crate's block cache only.
    pub(crate) settled_by: AtomicU64,
    /// The sync that makes durable all that changed of the inode through the crate.
    pub(crate) changed_by: AtomicU64,
    /// Extents lead to its contents, and not the block maps of ext2.
    pub(crate) has_extents: bool,
    /// Its contents lie in the inode itself, where only the crate finds them.
    pub(crate) is_inline: bool,
    /// Its last name is gone.
    is_removed: AtomicBool,
    /// It has no name yet but this one, that nobody sees (see `unnamed`).
    unnamed: Mutex<Option<String>>,
    link_text: spin::Once<Vec<u8>>,
    pub(crate) known_as: KnownAs,
}

struct Attributes {
    permissions: u16,
    links: u32,
    uid: u32,
    gid: u32,
    device: DeviceNumber,
    blocks: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    born: Timestamp,
    /// Size as the crate has it: behind that of the page cache while pages are dirty.
    stored_size: u64,
    /// The contents were written since the times were last stored.
    times_are_newer: bool,
}

/// The crate tells whole seconds only; what is finer is known while the inode stays in memory.
fn seconds(seconds: u32) -> Timestamp {
    Timestamp { seconds: seconds.into(), nanoseconds: 0 }
}

fn stored_time(time: Timestamp) -> Ext4Timestamp {
    Ext4Timestamp::new(time.seconds, time.nanoseconds)
}

impl Ext4Inode {
    pub(crate) fn new(file_system: Arc<Ext4>, info: InodeInfo) -> Result<Self, Errno> {
        let kind = FileType::of_mode(info.mode.into()).ok_or(Errno::EUCLEAN)?;
        let size = if kind == FileType::Regular { info.size } else { 0 };
        if size > i64::MAX as u64 {
            return Err(Errno::EUCLEAN);
        }
        let device = info.device_number.map(|d| DeviceNumber { major: d.major(), minor: d.minor() });
        let times = file_system.fine_times(info.number)?.unwrap_or(FineTimes {
            accessed: seconds(info.atime),
            modified: seconds(info.mtime),
            changed: seconds(info.ctime),
            born: seconds(info.btime),
        });
        Ok(Self {
            file_system,
            number: info.number,
            kind,
            attributes: Mutex::new(Attributes {
                permissions: info.mode & 0o7777,
                links: info.links.into(),
                uid: info.uid,
                gid: info.gid,
                device: device.unwrap_or_default(),
                blocks: info.blocks,
                accessed: times.accessed,
                modified: times.modified,
                changed: times.changed,
                born: times.born,
                stored_size: info.size,
                times_are_newer: false,
            }),
            pages: PageCache::new(size),
            extents: Mutex::new(None),
            settled_by: AtomicU64::new(0),
            changed_by: AtomicU64::new(0),
            has_extents: info.flags.contains(InodeFlags::EXTENTS)
                && !info.flags.contains(InodeFlags::INLINE_DATA),
            is_inline: info.flags.contains(InodeFlags::INLINE_DATA),
            is_removed: AtomicBool::new(false),
            unnamed: Mutex::new(None),
            link_text: spin::Once::new(),
            known_as: KnownAs::default(),
        })
    }

    /// An inode of this file system behind a trait object.
    pub(crate) fn of(inode: &Arc<dyn Inode>) -> Result<Arc<Self>, Errno> {
        let any: Arc<dyn Any + Send + Sync> = inode.clone();
        any.downcast().map_err(|_| Errno::EXDEV)
    }

    pub(crate) fn require(&self, kind: FileType) -> Result<(), Errno> {
        match (self.kind, kind) {
            (own, wanted) if own == wanted => Ok(()),
            (_, FileType::Directory) => Err(Errno::ENOTDIR),
            (FileType::Directory, _) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Something of it was changed through the crate just now.
    fn note_changed(&self) {
        self.changed_by.store(self.file_system.commits.next(), Ordering::Release);
    }

    /// Makes durable what was written back, and what the crate has changed of the inode.
    pub(crate) fn make_durable(&self, kind: SyncKind) -> Result<(), Errno> {
        let changed_by = match kind {
            SyncKind::Data => &self.settled_by,
            SyncKind::Everything => &self.changed_by,
        };
        if changed_by.load(Ordering::Acquire).max(self.settled_by.load(Ordering::Acquire))
            > self.file_system.commits.last_done()
        {
            self.file_system.commit_changes()
        } else {
            self.file_system.flush()
        }
    }

    /// Takes over what the crate has after a change made through it.
    pub(crate) fn refresh(&self) -> Result<(), Errno> {
        self.note_changed();
        let info = self.file_system.read(|mounted| mounted.inode(self.number))?;
        let mut attributes = self.attributes.lock();
        attributes.permissions = info.mode & 0o7777;
        attributes.links = if self.unnamed.lock().is_some() { 0 } else { info.links.into() };
        attributes.uid = info.uid;
        attributes.gid = info.gid;
        attributes.blocks = info.blocks;
        attributes.stored_size = info.size;
        Ok(())
    }

    /// Like [`refresh`](Self::refresh), for a directory whose entries changed just now.
    pub(crate) fn entries_changed(&self) -> Result<(), Errno> {
        self.refresh()?;
        let mut attributes = self.attributes.lock();
        attributes.modified = Timestamp::now();
        attributes.changed = attributes.modified;
        Ok(())
    }

    /// Like [`refresh`](Self::refresh), for an inode whose names changed just now. One whose last name
    /// went is freed when nobody has it any more.
    pub(crate) fn names_changed(&self, links: Option<u16>) -> Result<(), Errno> {
        if links == Some(0) {
            self.is_removed.store(true, Ordering::Relaxed);
            self.note_changed();
            self.attributes.lock().links = 0;
        } else {
            self.refresh()?;
        }
        self.attributes.lock().changed = Timestamp::now();
        Ok(())
    }

    /// It was made just now: its times are finer than the crate tells.
    pub(crate) fn created_now(&self) {
        self.note_changed();
        // Without its name there is no reading its contents.
        self.settled_by.fetch_max(self.changed_by.load(Ordering::Relaxed), Ordering::AcqRel);
        let now = Timestamp::now();
        let mut attributes = self.attributes.lock();
        (attributes.accessed, attributes.modified, attributes.changed, attributes.born) =
            (now, now, now, now);
    }

    /// It has no name but this one.
    pub(crate) fn set_unnamed(&self, name: String) {
        *self.unnamed.lock() = Some(name);
        self.attributes.lock().links = 0;
    }

    /// Its name among those that have none, if it is one of them: it is about to get another.
    pub(crate) fn take_unnamed(&self) -> Option<String> {
        self.unnamed.lock().take()
    }

    /// Whether this directory has an entry of this name that nobody sees.
    pub(crate) fn hides(&self, entry: &[u8]) -> bool {
        entry == unnamed::DIRECTORY && self.number.raw() == ROOT_INODE
    }

    pub(crate) fn stored_size(&self) -> u64 {
        self.attributes.lock().stored_size
    }

    /// The contents were changed: the times are now, and stored with the next writeback.
    fn contents_changed(&self) {
        let mut attributes = self.attributes.lock();
        attributes.modified = Timestamp::now();
        attributes.changed = attributes.modified;
        attributes.times_are_newer = true;
    }

    /// Writes dirty pages back, and newer times if `kind` is everything.
    pub(crate) fn write_back(&self, kind: SyncKind) -> Result<(), Errno> {
        if self.is_removed.load(Ordering::Relaxed) {
            // Nobody will read it after this; while it is in use its pages stay in memory.
            return Ok(());
        }
        self.pages.write_back_all(self)?;
        if kind == SyncKind::Data {
            return Ok(());
        }
        let modified = {
            let mut attributes = self.attributes.lock();
            core::mem::take(&mut attributes.times_are_newer).then_some(attributes.modified)
        };
        if let Some(modified) = modified {
            let update =
                InodeMetadataUpdate { mtime: Some(stored_time(modified)), ..InodeMetadataUpdate::default() };
            self.note_changed();
            self.file_system.change(|mounted| mounted.update_inode_metadata(self.number, update))?;
            self.note_changed();
        }
        Ok(())
    }
}

impl Drop for Ext4Inode {
    fn drop(&mut self) {
        let mut is_removed = *self.is_removed.get_mut();
        if let Some(name) = self.unnamed.get_mut().take() {
            // If it cannot be removed now, the next mount does it.
            is_removed = self.file_system.remove_unnamed(&name).is_ok();
        }
        if is_removed {
            self.file_system.space.withdraw(self.pages.dirty_count() as u64 * frames::PAGE_SIZE as u64);
        } else if let Err(error) = self.write_back(SyncKind::Everything) {
            log::error!("ext4: data of inode {} is lost: {error:?}", self.number);
            self.file_system.space.withdraw(self.pages.dirty_count() as u64 * frames::PAGE_SIZE as u64);
        }
        let changed_by = (*self.settled_by.get_mut()).max(*self.changed_by.get_mut());
        self.file_system.forget(self.number, changed_by, is_removed, self.pages.write_errors());
    }
}

impl Inode for Ext4Inode {
    fn id(&self) -> InodeId {
        InodeId { device: self.file_system.device(), number: self.number.raw().into() }
    }

    fn kind(&self) -> FileType {
        self.kind
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        let attributes = self.attributes.lock();
        let size = match self.kind {
            FileType::Regular => self.pages.size(),
            _ => attributes.stored_size,
        };
        // Dirty pages count as if they had their blocks already, as with Linux's delayed allocation.
        let blocks = attributes.blocks + self.pages.dirty_count() as u64 * 8;
        Ok(Metadata {
            id: self.id(),
            kind: self.kind,
            permissions: attributes.permissions,
            links: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            device: attributes.device,
            size,
            block_bytes: 4096,
            blocks,
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
        let owner = match (changes.uid, changes.gid) {
            (None, None) => None,
            (uid, gid) => {
                let attributes = self.attributes.lock();
                Some((uid.unwrap_or(attributes.uid), gid.unwrap_or(attributes.gid)))
            }
        };
        let update = InodeMetadataUpdate {
            permissions: changes
                .permissions
                .map(|bits| FilePermissions::new(bits & 0o7777))
                .transpose()
                .map_err(errno)?,
            owner,
            atime: changes.accessed.map(stored_time),
            mtime: changes.modified.map(stored_time),
            ..InodeMetadataUpdate::default()
        };
        if self.is_removed.load(Ordering::Relaxed) {
            // The crate changes no orphans; nobody will see it on the device.
            let mut attributes = self.attributes.lock();
            attributes.permissions = changes.permissions.unwrap_or(attributes.permissions);
            (attributes.uid, attributes.gid) = owner.unwrap_or((attributes.uid, attributes.gid));
        } else {
            self.file_system.change(|mounted| mounted.update_inode_metadata(self.number, update))?;
            self.refresh()?;
        }
        let mut attributes = self.attributes.lock();
        attributes.accessed = changes.accessed.unwrap_or(attributes.accessed);
        if let Some(modified) = changes.modified {
            attributes.modified = modified;
            attributes.times_are_newer = self.pages.dirty_count() > 0;
        }
        attributes.changed = Timestamp::now();
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.lookup_entry(name)?)
    }

    fn create(&self, name: &[u8], new: NewInode<'_>, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        Ok(self.create_entry(name, new, permissions)?)
    }

    fn create_unnamed(&self, permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        self.require(FileType::Directory)?;
        Ok(self.file_system.create_unnamed(permissions)?)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.link_entry(name, &*Self::of(target)?)
    }

    fn unlink(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.unlink_entry(name, &*Self::of(target)?)
    }

    fn rmdir(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.remove_directory(name, &*Self::of(target)?)
    }

    fn rename(
        &self,
        name: &[u8],
        new_directory: &Arc<dyn Inode>,
        new_name: &[u8],
        kind: RenameKind,
    ) -> Result<(), Errno> {
        self.rename_entry(name, &*Self::of(new_directory)?, new_name, kind)
    }

    fn read_directory(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        self.read_entries(cookie, sink)
    }

    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        self.require(FileType::Symlink).map_err(|_| Errno::EINVAL)?;
        let text = self.link_text.try_call_once(|| {
            let size = usize::try_from(self.stored_size()).map_err(|_| Errno::EUCLEAN)?;
            if size == 0 || size > linux_abi::file::PATH_MAX {
                return Err(Errno::EUCLEAN);
            }
            let mut text = vec![0; size];
            let read = self.file_system.read(|mounted| mounted.read_inode(self.number, 0, &mut text))?;
            if read == size { Ok(text) } else { Err(Errno::EUCLEAN) }
        })?;
        Ok(text.clone())
    }

    fn read_at(&self, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        self.require(FileType::Regular)?;
        self.pages.read(self, offset, dst)
    }

    fn write_at(&self, position: WritePosition, src: &mut dyn WriteSrc) -> Result<Written, Errno> {
        /// With the smallest blocks.
        const LOWEST_LIMIT_BYTES: u64 = u32::MAX as u64 * 1024;
        self.require(FileType::Regular)?;
        if let WritePosition::At(offset) = position {
            let end = offset.saturating_add(src.remaining() as u64);
            if end > LOWEST_LIMIT_BYTES && end > self.file_system.max_file_bytes() {
                return Err(Errno::EFBIG);
            }
        }
        let written = self.pages.write(self, position, src)?;
        if written.bytes > 0 {
            self.contents_changed();
        }
        Ok(written)
    }

    fn truncate(&self, size: u64) -> Result<(), Errno> {
        self.require(FileType::Regular)?;
        let shrinks = size < self.pages.size();
        self.set_size(size)?;
        if shrinks {
            unmap_pages(self, size.div_ceil(frames::PAGE_SIZE as u64)..u64::MAX);
        }
        self.contents_changed();
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        self.require(FileType::Regular)?;
        self.allocate_range(flags, offset, length)?;
        self.contents_changed();
        Ok(())
    }

    fn seek_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        self.require(FileType::Regular)?;
        self.find_region(offset, whence)
    }

    fn write_back_range(&self, range: Range<u64>) -> Result<(), Errno> {
        if self.is_removed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let page = frames::PAGE_SIZE as u64;
        self.pages.write_back(self, range.start / page, range.end.div_ceil(page))
    }

    fn direct_alignment(&self) -> Option<usize> {
        Some(self.file_system.disk.device().logical_block_bytes())
    }

    fn read_direct(&self, offset: u64, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        self.require(FileType::Regular)?;
        self.pages.read_direct(self, offset, dst)
    }

    fn drop_cached(&self, range: Range<u64>) {
        let page = frames::PAGE_SIZE as u64;
        self.pages.drop_clean(range.start.div_ceil(page)..range.end / page);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.write_back(kind)?;
        self.make_durable(kind)
    }

    fn write_errors(&self) -> Option<&WriteErrors> {
        Some(self.pages.write_errors())
    }

    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        match self.kind {
            FileType::Regular => Ok(self),
            _ => Err(Errno::ENODEV),
        }
    }

    fn opened_at(&self, path: &Path) {
        self.known_as.set(path);
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.get_attribute(name)
    }

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        self.attribute_names()
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        self.set_attribute(name, value, mode)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        self.remove_attribute(name)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
