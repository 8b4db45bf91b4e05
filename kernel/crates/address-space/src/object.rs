//! Objects behind areas, and shared anonymous memory, which is one.

use alloc::{collections::BTreeMap, string::ToString, sync::Arc};
use core::{fmt, ops::Range};

use frames::PageRef;
use ksync::Mutex;
use linux_abi::Errno;
use vfs::{ErrorCursor, MemoryObject, ObjectName, PageAccess};

/// What kind of memory an object's pages are, for the counts of `/proc/self/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    File,
    SharedMemory,
}

/// A mapped object; equal if it is the same one, mapped through the same open file.
#[derive(Clone)]
pub struct ObjectRef {
    object: Arc<dyn MemoryObject>,
    /// What the open file that was mapped was told of failed writes.
    told: Option<Arc<ErrorCursor>>,
    pub(crate) kind: ObjectKind,
}

impl ObjectRef {
    pub(crate) fn file(object: Arc<dyn MemoryObject>, told: Option<Arc<ErrorCursor>>) -> Self {
        Self { object, told, kind: ObjectKind::File }
    }

    pub(crate) fn shared_memory(object: Arc<SharedAnonymous>) -> Self {
        Self { object, told: None, kind: ObjectKind::SharedMemory }
    }

    /// The object.
    pub fn object(&self) -> &Arc<dyn MemoryObject> {
        &self.object
    }

    /// Writes pages in this range back (`msync(2)`), and tells the open file that was mapped of what failed since it
    /// was told last.
    pub(crate) fn sync(&self, pages: Range<u64>) -> Result<(), Errno> {
        let result = self.object.sync_pages(pages.start, pages.end);
        let earlier = self.told.as_ref().map_or(Ok(()), |told| told.check(self.object.write_errors()));
        result.and(earlier)
    }

    pub(crate) fn key(&self) -> usize {
        key_of(&*self.object)
    }
}

/// The identity of an object: its address, without the vtable, of which there may be several.
pub(crate) fn key_of(object: &dyn MemoryObject) -> usize {
    (&raw const *object).addr()
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        let told = |object: &Self| object.told.as_ref().map(Arc::as_ptr);
        self.key() == other.key() && told(self) == told(other)
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({:#x})", self.key())
    }
}

/// Memory of `MAP_SHARED | MAP_ANONYMOUS`: pages of zeros that keep what is written to them for as long
/// as any mapping of them exists.
pub struct SharedAnonymous {
    len_pages: u64,
    pages: Mutex<BTreeMap<u64, PageRef>>,
}

impl SharedAnonymous {
    /// `len_pages` pages, none of which takes memory yet.
    pub fn new(len_pages: u64) -> Self {
        Self { len_pages, pages: Mutex::new(BTreeMap::new()) }
    }
}

impl MemoryObject for SharedAnonymous {
    fn page(&self, index: u64, _access: PageAccess) -> Result<PageRef, Errno> {
        if index >= self.len_pages {
            return Err(Errno::EFAULT);
        }
        if let Some(page) = self.pages.lock().get(&index) {
            return Ok(page.clone());
        }
        // Allocated outside the lock, since that may wait for a reclaimer.
        let new = PageRef::new_zeroed().map_err(|_| Errno::ENOMEM)?;
        Ok(self.pages.lock().entry(index).or_insert(new).clone())
    }

    fn cached_page(&self, index: u64) -> Option<PageRef> {
        self.pages.try_lock()?.get(&index).cloned()
    }

    fn remove_pages(&self, pages: Range<u64>) -> Result<(), Errno> {
        let gone = {
            let mut held = self.pages.lock();
            let mut gone = held.split_off(&pages.start);
            held.append(&mut gone.split_off(&pages.end));
            gone
        };
        drop(gone);
        Ok(())
    }

    fn describe(&self) -> ObjectName {
        // As Linux shows it: such memory is a deleted file of a hidden tmpfs.
        ObjectName { path: "/dev/zero (deleted)".to_string(), device: 1, inode: 1 }
    }
}
