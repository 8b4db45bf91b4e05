//! `inotify(7)`: who watches which inode, and telling them what happens to it.
//!
//! The name space and open files report through the `pub(crate)` functions here ([`opened`], [`created`],
//! ...), which know what `include/linux/fsnotify.h` knows: which inodes an event concerns, under which name,
//! and in what order. [`Inotify`] is the file that watches and is read. An inode is found by its [`InodeId`],
//! so inodes know nothing of it; a watch holds its inode, so that the number is not given to another one.
//!
//! Most programs watch nothing, and those that do are rarely interested in reads. So [`INTEREST`] says which
//! events anybody waits for, and a report of any other costs one load.
//!
//! Locks: [`WATCHES`] guards who watches what, and is taken before an instance's own queue. Nothing is
//! dropped and nobody woken while it is held. Changes of names are reported with the directory locked, so
//! that events come in the order of what happened.
//!
//! Not reported: unmounting, which the name space does not do; and a mapped file's close comes with its last
//! descriptor, not its last mapping.

mod inotify;
mod watches;

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ksync::SpinLock;
use linux_abi::{event::InotifyMask, file::FileType};

pub use self::inotify::{Inotify, WatchRequest};
use self::{
    inotify::Group,
    watches::{Event, Reporting, Watches},
};
use crate::{AttributeChanges, Dentry, DentryState, Inode, Path};

static WATCHES: SpinLock<Watches> = SpinLock::new(Watches::new());
/// The events that are in any watch's mask.
static INTEREST: AtomicU32 = AtomicU32::new(0);
/// How many watches there are: the end of an inode concerns each.
static WATCH_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether anybody waits for one of these events. Who added a watch and told the caller of it is seen here.
fn is_wanted(events: InotifyMask) -> bool {
    INTEREST.load(Ordering::Relaxed) & events.bits() != 0
}

fn has_watches() -> bool {
    WATCH_COUNT.load(Ordering::Relaxed) != 0
}

/// Reports under the lock; wakes and drops what has to be after it.
fn report(reports: impl FnOnce(&mut Reporting<'_>)) {
    let mut outcome = watches::Outcome::default();
    {
        let mut watches = WATCHES.lock();
        reports(&mut Reporting { watches: &mut watches, outcome: &mut outcome });
        watches.publish();
    }
    outcome.settle();
}

fn directory_bit(inode: &Arc<dyn Inode>) -> InotifyMask {
    if inode.kind() == FileType::Directory { InotifyMask::ISDIR } else { InotifyMask::empty() }
}

/// What came to an object by way of an open file counts as of an unlinked one, for `IN_EXCL_UNLINK`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Descriptor,
    Name,
}

/// Something happened to what `dentry` names: its directory is told with the name, and the inode without.
fn at_dentry(dentry: &Dentry, events: InotifyMask, through: Through) {
    if !is_wanted(events) {
        return;
    }
    let mask = events | directory_bit(dentry.inode());
    let is_unlinked = through == Through::Descriptor && dentry.state() == DentryState::Removed;
    let (parent, name) = (dentry.parent(), dentry.name());
    report(|reporting| {
        if let Some(parent) = &parent {
            let event = Event { mask, cookie: 0, name: Some(name), is_unlinked };
            reporting.deliver(parent.inode().id(), &event);
        }
        reporting.deliver(dentry.inode().id(), &Event { mask, cookie: 0, name: None, is_unlinked });
    });
}

/// Something happened to an inode, whatever its names.
fn at_inode(inode: &Arc<dyn Inode>, events: InotifyMask) {
    if is_wanted(events) {
        let mask = events | directory_bit(inode);
        report(|reporting| {
            reporting.deliver(inode.id(), &Event { mask, cookie: 0, name: None, is_unlinked: false });
        });
    }
}

/// Something happened to a name in a directory, which names a `child`.
fn at_name(
    directory: &Arc<dyn Inode>,
    name: &[u8],
    child: &Arc<dyn Inode>,
    events: InotifyMask,
    cookie: u32,
) {
    if is_wanted(events) {
        let mask = events | directory_bit(child);
        let event = Event { mask, cookie, name: Some(name.into()), is_unlinked: false };
        report(|reporting| reporting.deliver(directory.id(), &event));
    }
}

/// A file was opened.
pub(crate) fn opened(path: &Path) {
    at_dentry(&path.dentry, InotifyMask::OPEN, Through::Descriptor);
}

/// An open file was closed.
pub(crate) fn closed(path: &Path, could_write: bool) {
    let event = if could_write { InotifyMask::CLOSE_WRITE } else { InotifyMask::CLOSE_NOWRITE };
    at_dentry(&path.dentry, event, Through::Descriptor);
}

/// An open file, or an open directory, was read.
pub(crate) fn read(path: &Path) {
    at_dentry(&path.dentry, InotifyMask::ACCESS, Through::Descriptor);
}

/// An open file was written.
pub(crate) fn written(path: &Path) {
    at_dentry(&path.dentry, InotifyMask::MODIFY, Through::Descriptor);
}

/// A file got another size.
pub(crate) fn resized(path: &Path) {
    at_dentry(&path.dentry, InotifyMask::MODIFY, Through::Name);
}

/// Attributes were set (`fsnotify_change`).
pub(crate) fn attributes_changed(path: &Path, changes: &AttributeChanges) {
    let mut events = InotifyMask::empty();
    if changes.permissions.is_some() || changes.uid.is_some() || changes.gid.is_some() {
        events |= InotifyMask::ATTRIB;
    }
    events |= match (changes.accessed, changes.modified) {
        (Some(_), Some(_)) => InotifyMask::ATTRIB,
        (Some(_), None) => InotifyMask::ACCESS,
        (None, Some(_)) => InotifyMask::MODIFY,
        (None, None) => InotifyMask::empty(),
    };
    at_dentry(&path.dentry, events, Through::Name);
}

/// Extended attributes were set or removed.
pub(crate) fn xattrs_changed(path: &Path) {
    at_dentry(&path.dentry, InotifyMask::ATTRIB, Through::Name);
}

/// An inode got a name that it was made with.
pub(crate) fn created(directory: &Arc<dyn Inode>, name: &[u8], child: &Arc<dyn Inode>) {
    at_name(directory, name, child, InotifyMask::CREATE, 0);
}

/// An inode got another name.
pub(crate) fn linked(directory: &Arc<dyn Inode>, name: &[u8], child: &Arc<dyn Inode>) {
    at_inode(child, InotifyMask::ATTRIB);
    at_name(directory, name, child, InotifyMask::CREATE, 0);
}

/// A name is gone; the caller holds `removed`, and the cache does not any more.
pub(crate) fn removed(directory: &Arc<dyn Inode>, name: &[u8], removed: &Arc<Dentry>) {
    if !removed.is_directory() {
        at_inode(removed.inode(), InotifyMask::ATTRIB);
    }
    // Linux tells the inode's own watchers first, if nobody else has the file open.
    if Arc::strong_count(removed) == 1 {
        dropped(removed);
    }
    at_name(directory, name, removed.inode(), InotifyMask::DELETE, 0);
}

/// One side of a rename.
pub(crate) struct Side<'a> {
    pub(crate) directory: &'a Arc<dyn Inode>,
    pub(crate) name: &'a [u8],
}

/// `source` went from one name to another, and took it from `replaced`.
pub(crate) fn renamed(
    from: &Side<'_>,
    to: &Side<'_>,
    source: &Arc<dyn Inode>,
    replaced: Option<&Arc<dyn Inode>>,
) {
    static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);
    if !has_watches() {
        return;
    }
    let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
    at_name(from.directory, from.name, source, InotifyMask::MOVED_FROM, cookie);
    at_name(to.directory, to.name, source, InotifyMask::MOVED_TO, cookie);
    if let Some(replaced) = replaced {
        at_inode(replaced, InotifyMask::ATTRIB);
    }
    at_inode(source, InotifyMask::MOVE_SELF);
}

/// Nobody uses a removed name any more: if it was the inode's last, its watches end.
pub(crate) fn dropped(dentry: &Dentry) {
    if !has_watches() {
        return;
    }
    let inode = dentry.inode();
    let is_gone =
        inode.kind() == FileType::Directory || inode.metadata().is_ok_and(|metadata| metadata.links == 0);
    if is_gone {
        report(|reporting| reporting.end(inode.id()));
    }
}

impl Path {
    /// Sets attributes, and tells those who watch.
    pub fn set_attributes(&self, changes: &AttributeChanges) -> Result<(), linux_abi::Errno> {
        self.inode().set_attributes(changes)?;
        attributes_changed(self, changes);
        Ok(())
    }

    /// Sets a regular file's size, and tells those who watch.
    pub fn truncate(&self, size: u64) -> Result<(), linux_abi::Errno> {
        self.inode().truncate(size)?;
        resized(self);
        Ok(())
    }

    /// Sets an extended attribute, and tells those who watch.
    pub fn set_xattr(
        &self,
        name: &[u8],
        value: &[u8],
        mode: crate::XattrMode,
    ) -> Result<(), linux_abi::Errno> {
        self.inode().set_xattr(name, value, mode)?;
        xattrs_changed(self);
        Ok(())
    }

    /// Removes an extended attribute, and tells those who watch.
    pub fn remove_xattr(&self, name: &[u8]) -> Result<(), linux_abi::Errno> {
        self.inode().remove_xattr(name)?;
        xattrs_changed(self);
        Ok(())
    }
}

/// Groups to wake, without repetition.
#[derive(Default)]
struct Woken(Vec<Arc<Group>>);

impl Woken {
    fn add(&mut self, group: &Arc<Group>) {
        if !self.0.iter().any(|other| Arc::ptr_eq(other, group)) {
            self.0.push(group.clone());
        }
    }
}
