//! What a mapped file is called, and who unmaps it.

use alloc::{
    string::String,
    sync::{Arc, Weak},
};
use core::ops::Range;

use ksync::SpinLock;

use crate::{Dentry, DentryState, MemoryObject, Mount, Path, mount::path_from_top};

/// The place under which an inode was last opened: `/proc/self/maps` shows it.
#[derive(Default)]
pub struct KnownAs {
    place: SpinLock<Option<Place>>,
}

#[derive(Clone)]
enum Place {
    Named(Weak<Mount>, Weak<Dentry>),
    /// In no directory: it keeps its name though its dentry may go.
    Unnamed(Arc<str>),
}

impl KnownAs {
    /// It was opened there.
    pub fn set(&self, path: &Path) {
        let place = if path.is_mount_root() || path.dentry.parent().is_some() {
            Place::Named(Arc::downgrade(&path.mount), Arc::downgrade(&path.dentry))
        } else {
            Place::Unnamed(String::from_utf8_lossy(&path.dentry.name()).into())
        };
        let previous = self.place.lock().replace(place);
        drop(previous);
    }

    /// The path's text, with ` (deleted)` if it is gone; empty if it is not known.
    pub fn text(&self) -> String {
        let place = self.place.lock().clone();
        match place {
            Some(Place::Unnamed(name)) => name.as_ref().into(),
            Some(Place::Named(mount, dentry)) => {
                let (Some(mount), Some(dentry)) = (mount.upgrade(), dentry.upgrade()) else {
                    return String::new();
                };
                let (text, state) = path_from_top(&Path { mount, dentry });
                let mut text = String::from_utf8_lossy(&text).into_owned();
                if state == DentryState::Removed {
                    text.push_str(" (deleted)");
                }
                text
            }
            None => String::new(),
        }
    }
}

/// What becomes of the copies that private mappings have made of an object's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateCopies {
    /// They go too: the file does not reach there any more (`mmap(2)`: SIGBUS).
    Unmap,
    /// They stay as they are.
    Keep,
}

type Unmapper = fn(object: &dyn MemoryObject, pages: Range<u64>, copies: PrivateCopies);

static UNMAPPER: spin::Once<Unmapper> = spin::Once::new();

/// Gives the function that takes an object's pages out of all mappings; once.
pub fn set_unmapper(unmapper: Unmapper) {
    UNMAPPER.call_once(|| unmapper);
}

type WriteProtector = fn(object: &dyn MemoryObject, pages: Range<u64>);

static WRITE_PROTECTOR: spin::Once<WriteProtector> = spin::Once::new();

/// Gives the function that takes the right to write an object's pages from all mappings; once.
pub fn set_write_protector(write_protector: WriteProtector) {
    WRITE_PROTECTOR.call_once(|| write_protector);
}

/// Has the right to write these pages taken from all mappings, so that the next write asks for the page again.
/// `false` if nobody can do that. The object has marked the pages clean before, and holds no lock that giving
/// pages takes.
pub fn write_protect_pages(object: &dyn MemoryObject, pages: Range<u64>) -> bool {
    let write_protector = WRITE_PROTECTOR.get();
    if let Some(write_protector) = write_protector {
        write_protector(object, pages);
    }
    write_protector.is_some()
}

/// Has pages that an object does not have any more taken out of all mappings. The object has made
/// sure that it does not give them any more, and holds no lock that giving pages takes.
pub fn unmap_pages(object: &dyn MemoryObject, pages: Range<u64>) {
    if let Some(unmapper) = UNMAPPER.get() {
        unmapper(object, pages, PrivateCopies::Unmap);
    }
}

/// Has pages for which an object has others now taken out of all mappings, so that the next access finds
/// those. The same is required.
pub fn replace_pages(object: &dyn MemoryObject, pages: Range<u64>) {
    if let Some(unmapper) = UNMAPPER.get() {
        unmapper(object, pages, PrivateCopies::Keep);
    }
}
