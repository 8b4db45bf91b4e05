//! Files without a name (`O_TMPFILE`).
//!
//! The crate neither makes an inode without a name nor gives one a name. So they have one, in a directory of the root
//! that nobody sees here: it is neither found nor listed. Giving the file its name is a rename, which is atomic. When its last
//! user goes it is removed like any other. What a power cut leaves in the directory is removed at the next mount for
//! writing, and the directory itself at every orderly end.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use linux_abi::{Errno, file::FileType};
use rsext4::{DirectoryCursor, Ext4Result, FileName, FilePermissions, InodeNumber, RenameOptions};

use crate::{Ext4, core_io::Mounted, directory::CREATOR, errno, inode::Ext4Inode};

/// The directory's name. A file system that was in use when its machine ended shows it on Linux.
pub(crate) const DIRECTORY: &[u8] = b".crema-unnamed";

fn directory(mounted: &mut Mounted) -> Ext4Result<Option<InodeNumber>> {
    let root = mounted.root_inode();
    Ok(mounted.lookup_child(root, FileName::new(DIRECTORY)?)?.map(|info| info.number))
}

fn existing_directory(mounted: &mut Mounted) -> Ext4Result<InodeNumber> {
    directory(mounted)?.ok_or_else(rsext4::Ext4Error::not_found)
}

/// Whether the directory is there, with nothing in it.
pub(crate) fn is_empty(mounted: &mut Mounted) -> Ext4Result<bool> {
    let Some(place) = directory(mounted)? else { return Ok(false) };
    let entries = mounted.read_directory(place, DirectoryCursor::Start, 3)?;
    Ok(entries.iter().all(|entry| entry.name == b"." || entry.name == b".."))
}

/// Removes what is in the directory, and the directory.
pub(crate) fn sweep(mounted: &mut Mounted) -> Ext4Result<()> {
    let Some(place) = directory(mounted)? else { return Ok(()) };
    let mut dead = Vec::new();
    loop {
        // From the start each time: removing changes where the entries are.
        let entries = mounted.read_directory(place, DirectoryCursor::Start, 64)?;
        let entries: Vec<_> = entries.into_iter().filter(|e| e.name != b"." && e.name != b"..").collect();
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let removed = mounted.unlink(place, FileName::new(&entry.name)?)?;
            dead.extend((removed.remaining_links == 0).then_some(removed.inode));
        }
    }
    let root = mounted.root_inode();
    dead.push(mounted.remove_empty_directory(root, FileName::new(DIRECTORY)?)?.inode);
    // Blocks are freed only when it is durable that nobody has them.
    mounted.sync()?;
    dead.into_iter().try_for_each(|inode| mounted.reap_unlinked_inode(inode))?;
    mounted.sync()
}

impl Ext4 {
    /// Makes a regular file without a name.
    pub(crate) fn create_unnamed(self: &Arc<Self>, permissions: u16) -> Result<Arc<Ext4Inode>, Errno> {
        let permissions = FilePermissions::new(permissions & 0o7777).map_err(errno)?;
        let name = format!("{:x}", self.next_unnamed.fetch_add(1, Ordering::Relaxed));
        let info = self.change_names(|mounted| {
            let place = match directory(mounted)? {
                Some(place) => place,
                None => {
                    let (root, private) = (mounted.root_inode(), FilePermissions::new(0o700)?);
                    mounted.create_directory(CREATOR, root, FileName::new(DIRECTORY)?, private)?.number
                }
            };
            mounted.create_regular_file(CREATOR, place, FileName::new(name.as_bytes())?, permissions)
        })?;
        let inode = self.inode(info.number)?;
        inode.set_unnamed(name);
        inode.created_now();
        Ok(inode)
    }

    /// Removes the file with this name among those without one: nobody uses it any more.
    pub(crate) fn remove_unnamed(&self, name: &str) -> Result<(), Errno> {
        self.change(|mounted| {
            let place = existing_directory(mounted)?;
            mounted.unlink(place, FileName::new(name.as_bytes())?).map(drop)
        })
    }
}

impl Ext4Inode {
    /// Gives an unnamed file, which is `hidden` among those, its first name, in this directory.
    pub(crate) fn name_unnamed(&self, entry: FileName<'_>, hidden: &String) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        self.file_system.change_names(|mounted| {
            let place = existing_directory(mounted)?;
            let hidden = FileName::new(hidden.as_bytes())?;
            mounted.rename(place, hidden, self.number, entry, RenameOptions::REPLACE).map(drop)
        })
    }
}
