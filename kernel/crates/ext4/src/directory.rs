//! Directories: names and the inodes behind them.

use alloc::{sync::Arc, vec::Vec};

use linux_abi::{Errno, file::FileType};
use rsext4::{
    DeviceNumber, DirectoryCursor, DirectoryEntryType, Ext4ErrorKind, Ext4Result, FileName, FilePermissions,
    InodeFlags, InodeNumber, MutationContext, RenameOptions, SpecialInodeKind,
};
use vfs::{DirectoryEntry, EntrySink, NewInode, RenameKind};

use crate::{core_io::Mounted, errno, inode::Ext4Inode};

/// Who makes inodes: the process is root's, and its umask was applied above.
pub(crate) const CREATOR: MutationContext = MutationContext::new(0, 0, 0, 0);
/// Entries read at a time.
const BATCH: usize = 64;

fn name(bytes: &[u8]) -> Result<FileName<'_>, Errno> {
    FileName::new(bytes).map_err(errno)
}

// A rename within a directory to a name that is not there is not the crate's. It looks where the old name is, adds the new
// one, and removes what it found; if names had to move for the new one (the first block becomes an index, a leaf is split), that
// is another record, and the crate takes the directory for damaged. Either way all is one transaction, as of any change.

/// Gives a file its new name, then takes the old one away. `false` if it has as many links as it can: then nothing is changed.
fn move_link(
    mounted: &mut Mounted,
    directory: InodeNumber,
    old: FileName<'_>,
    new: FileName<'_>,
    file: InodeNumber,
) -> Ext4Result<bool> {
    match mounted.hard_link(file, directory, new) {
        Ok(_) => mounted.unlink(directory, old).map(|_| true),
        Err(error) if error.kind() == Ext4ErrorKind::TooManyLinks => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes room for a name by one that comes and goes, so that no other has to move for it. Returns the inode to bury.
fn make_room(mounted: &mut Mounted, directory: InodeNumber, entry: FileName<'_>) -> Ext4Result<InodeNumber> {
    let permissions = FilePermissions::new(0)?;
    let made =
        mounted.create_special_inode(CREATOR, directory, entry, permissions, SpecialInodeKind::Fifo)?;
    mounted.unlink(directory, entry).map(|_| made.number)
}

impl Ext4Inode {
    pub(crate) fn lookup_entry(&self, entry: &[u8]) -> Result<Arc<Self>, Errno> {
        self.require(FileType::Directory)?;
        if self.hides(entry) {
            return Err(Errno::ENOENT);
        }
        let entry = name(entry)?;
        let found = self.file_system.read(|mounted| mounted.lookup_child(self.number, entry))?;
        self.file_system.inode(found.ok_or(Errno::ENOENT)?.number)
    }

    pub(crate) fn create_entry(
        &self,
        entry: &[u8],
        new: NewInode<'_>,
        permissions: u16,
    ) -> Result<Arc<Self>, Errno> {
        self.require(FileType::Directory)?;
        if self.hides(entry) {
            return Err(Errno::EPERM);
        }
        let entry = name(entry)?;
        let permissions = FilePermissions::new(permissions & 0o7777).map_err(errno)?;
        let special = match new {
            NewInode::Device(kind, device) => {
                let device = DeviceNumber::new(device.major, device.minor).map_err(errno)?;
                Some(match kind {
                    FileType::BlockDevice => SpecialInodeKind::BlockDevice(device),
                    _ => SpecialInodeKind::CharacterDevice(device),
                })
            }
            NewInode::Fifo => Some(SpecialInodeKind::Fifo),
            NewInode::Socket => Some(SpecialInodeKind::Socket),
            _ => None,
        };
        let info = self.file_system.change_names(|mounted| match (new, special) {
            (_, Some(kind)) => mounted.create_special_inode(CREATOR, self.number, entry, permissions, kind),
            (NewInode::Directory, _) => mounted.create_directory(CREATOR, self.number, entry, permissions),
            (NewInode::Symlink(text), _) => mounted.create_symlink(CREATOR, self.number, entry, text),
            _ => mounted.create_regular_file(CREATOR, self.number, entry, permissions),
        })?;
        self.entries_changed()?;
        let inode = self.file_system.inode(info.number)?;
        inode.created_now();
        Ok(inode)
    }

    pub(crate) fn link_entry(&self, entry: &[u8], target: &Self) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        if self.hides(entry) {
            return Err(Errno::EPERM);
        }
        let entry = name(entry)?;
        match target.take_unnamed() {
            Some(hidden) => {
                self.name_unnamed(entry, &hidden).inspect_err(|_| target.set_unnamed(hidden.clone()))?;
            }
            None => self
                .file_system
                .change_names(|mounted| mounted.hard_link(target.number, self.number, entry).map(drop))?,
        }
        target.names_changed(None)?;
        self.entries_changed()
    }

    pub(crate) fn unlink_entry(&self, entry: &[u8], target: &Self) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        let entry = name(entry)?;
        let outcome = self.file_system.change(|mounted| mounted.unlink(self.number, entry))?;
        target.names_changed(Some(outcome.remaining_links))?;
        self.entries_changed()
    }

    pub(crate) fn remove_directory(&self, entry: &[u8], target: &Self) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        let entry = name(entry)?;
        let outcome =
            self.file_system.change(|mounted| mounted.remove_empty_directory(self.number, entry))?;
        target.names_changed(Some(outcome.remaining_links))?;
        self.entries_changed()
    }

    pub(crate) fn rename_entry(
        &self,
        entry: &[u8],
        new_directory: &Self,
        new_entry: &[u8],
        kind: RenameKind,
    ) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        let source = self.lookup_entry(entry)?;
        let target = match new_directory.lookup_entry(new_entry) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        if new_directory.hides(new_entry) {
            return Err(Errno::EPERM);
        }
        let (entry, new_entry) = (name(entry)?, name(new_entry)?);
        let options = match kind {
            RenameKind::Replace => RenameOptions::REPLACE,
            RenameKind::Exchange => RenameOptions::EXCHANGE,
        };
        let is_within = self.number == new_directory.number && target.is_none();
        let is_directory = source.require(FileType::Directory).is_ok();
        let mut placeholders = Vec::new();
        let result = self.file_system.change_names(|mounted| {
            if is_within
                && (is_directory || !move_link(mounted, self.number, entry, new_entry, source.number)?)
            {
                placeholders.push(make_room(mounted, self.number, new_entry)?);
            } else if is_within {
                return Ok(None);
            }
            let outcome = mounted.rename(self.number, entry, new_directory.number, new_entry, options)?;
            Ok(outcome.replaced)
        });
        placeholders.into_iter().for_each(|number| self.file_system.bury(number));
        let replaced = result?;
        if let Some(target) = &target {
            let removed = replaced.filter(|replaced| replaced.inode == target.number);
            target.names_changed(removed.map(|removed| removed.remaining_links))?;
        }
        source.names_changed(None)?;
        self.entries_changed()?;
        new_directory.entries_changed()
    }

    pub(crate) fn read_entries(&self, cookie: u64, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        self.require(FileType::Directory)?;
        let mut reader = self.file_system.read(|mounted| mounted.open_directory_reader(self.number))?;
        let is_indexed = self
            .file_system
            .read(|mounted| mounted.inode(self.number))?
            .flags
            .contains(InodeFlags::DIRECTORY_INDEX);
        let mut cursor = cursor_of(cookie, is_indexed);
        loop {
            let entries = self
                .file_system
                .read(|mounted| mounted.read_directory_with_reader(&mut reader, cursor, BATCH))?;
            let Some(last) = entries.last() else { return Ok(()) };
            cursor = last.next_cursor;
            for entry in &entries {
                if entry.name == b"." || entry.name == b".." || self.hides(&entry.name) {
                    continue;
                }
                // The sink runs without the crate's lock: it may fault in the application's memory.
                let entry = DirectoryEntry {
                    name: &entry.name,
                    inode: entry.inode.raw().into(),
                    kind: file_type(entry.file_type),
                    next_cookie: cookie_of(entry.next_cursor),
                };
                if sink(entry).is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// The position after everything: above all hashes, which have their lowest bit clear, and offsets.
const END_COOKIE: u64 = i64::MAX as u64;

/// A cursor as the offset of a directory. A hash takes all its bits, so that of entries with the very
/// same hash some may be read twice, as on Linux; nothing is left out.
fn cookie_of(cursor: DirectoryCursor) -> u64 {
    match cursor {
        DirectoryCursor::Start => 0,
        DirectoryCursor::Linear { offset } => offset,
        // Above 2, which are not ours: `.` and `..` come first, and have a hash of 0.
        DirectoryCursor::HTree { major, minor, .. } => {
            (u64::from(major >> 1) << 32 | u64::from(minor)).max(3)
        }
        DirectoryCursor::End => END_COOKIE,
    }
}

fn cursor_of(cookie: u64, is_indexed: bool) -> DirectoryCursor {
    match cookie {
        0 => DirectoryCursor::Start,
        END_COOKIE => DirectoryCursor::End,
        cookie if is_indexed => {
            DirectoryCursor::HTree { major: (cookie >> 32 << 1) as u32, minor: cookie as u32, collision: 0 }
        }
        offset => DirectoryCursor::Linear { offset },
    }
}

fn file_type(kind: DirectoryEntryType) -> Option<FileType> {
    Some(match kind {
        DirectoryEntryType::RegularFile => FileType::Regular,
        DirectoryEntryType::Directory => FileType::Directory,
        DirectoryEntryType::Symlink => FileType::Symlink,
        DirectoryEntryType::CharacterDevice => FileType::CharDevice,
        DirectoryEntryType::BlockDevice => FileType::BlockDevice,
        DirectoryEntryType::Fifo => FileType::Fifo,
        DirectoryEntryType::Socket => FileType::Socket,
        DirectoryEntryType::Unknown => return None,
    })
}
