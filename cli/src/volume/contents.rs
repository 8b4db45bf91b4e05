//! What is in a volume, read and written on the host: the kernel's own `ext4` on a file in place of a disk, so that nobody needs root.
//!
//! Responsible for turning a volume into a tar archive and back ([`export`], [`import`]), with owners, permissions, times, links, devices
//! and extended attributes. Not responsible for the archive's format ([`tar`](super::tar)), nor for who may use the volume.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    ops::ControlFlow,
    os::unix::fs::FileExt,
    sync::{Arc, Once},
};

use block::{BlockDevice, SECTOR_BYTES, WriteCache, checked_sectors};
use ext4::{Access, Ext4};
use linux_abi::{
    Errno,
    file::{DeviceNumber, FileType},
};
use vfs::{
    AttributeChanges, FileSystem, Inode, Metadata, NewInode, SliceSrc, SyncKind, WritePosition, XattrMode,
};

use super::tar::{Entry, Kind, Reader, Writer};
use crate::failure::{Failure, Result, reason};

/// What is copied at once.
const PART_BYTES: usize = 1 << 20;
/// What is a hole if it is all zeros.
const BLOCK_BYTES: usize = 4096;
/// Changes are written to the file after so much, as there is little memory for those that are not.
const SYNC_BYTES: u64 = 32 << 20;
/// An entry without contents counts as so much.
const ENTRY_BYTES: u64 = 16 << 10;
/// Made by mke2fs for e2fsck; empty it is nothing of the user's.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// A file as a disk.
struct FileDisk {
    file: File,
    sectors: u64,
    access: Access,
}

impl BlockDevice for FileDisk {
    fn sector_count(&self) -> u64 {
        self.sectors
    }

    fn write_cache(&self) -> WriteCache {
        WriteCache::Volatile
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    fn read_scattered(&self, sector: u64, buffers: &mut [&mut [u8]]) -> Result<(), Errno> {
        checked_sectors(self.sectors, sector, buffers.iter().map(|buffer| buffer.len()))?;
        let mut offset = sector * SECTOR_BYTES as u64;
        for buffer in buffers {
            self.file.read_exact_at(buffer, offset).map_err(|_| Errno::EIO)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn write_gathered(&self, sector: u64, buffers: &[&[u8]]) -> Result<(), Errno> {
        checked_sectors(self.sectors, sector, buffers.iter().map(|buffer| buffer.len()))?;
        let mut offset = sector * SECTOR_BYTES as u64;
        for buffer in buffers {
            self.file.write_all_at(buffer, offset).map_err(|_| Errno::EIO)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Errno> {
        self.file.sync_data().map_err(|_| Errno::EIO)
    }
}

fn mount(file: &File, access: Access) -> Result<Arc<Ext4>> {
    static MEMORY: Once = Once::new();
    MEMORY.call_once(|| {
        frames::host::init();
        frames::register_reclaimer(page_cache::evict);
    });
    let io = |error: io::Error| Failure::new(format!("cannot read the volume: {}", reason(&error)));
    let bytes = file.metadata().map_err(io)?.len();
    let file = file.try_clone().map_err(io)?;
    let disk = FileDisk { file, sectors: bytes / SECTOR_BYTES as u64, access };
    Ext4::mount(Arc::new(disk), DeviceNumber { major: 0, minor: 1 }, access)
        .map_err(|error| Failure::new(format!("the volume cannot be mounted: {}", words(error))))
}

/// An error number for somebody who does not know them.
fn words(error: Errno) -> String {
    match error {
        Errno::ENOSPC => "the volume is full".into(),
        Errno::EUCLEAN => "the file system is damaged".into(),
        Errno::EOPNOTSUPP => "the file system has features that are not known here".into(),
        Errno::EIO => "its file cannot be read or written".into(),
        error => error.name().into(),
    }
}

fn at(path: &[u8]) -> impl Fn(Errno) -> Failure + use<> {
    let shown = String::from_utf8_lossy(path).into_owned();
    move |error| Failure::new(format!("{shown}: {}", words(error)))
}

/// What an archive has not, or cannot have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub sockets: u64,
    pub xattrs: u64,
}

/// Writes all that is in a volume as an archive.
pub fn export(file: &File, to: impl Write) -> Result<LeftOut> {
    let file_system = mount(file, Access::ReadOnly)?;
    file_system.want_fine_times().map_err(at(b"/"))?;
    let root = file_system.clone().root().map_err(at(b"/"))?;
    let mut export = Export { writer: Writer::new(to), names: HashMap::new(), left_out: LeftOut::default() };
    export.entry(&root, b"./")?;
    let mut open = vec![export.open(root, b"./".to_vec())?];
    while let Some(directory) = open.last_mut() {
        let Some(name) = directory.names.pop() else {
            open.pop();
            continue;
        };
        let path = [&directory.path[..], &name].concat();
        let inode = directory.inode.lookup(&name).map_err(at(&path))?;
        let is_top = directory.path == b"./";
        if inode.kind() == FileType::Directory {
            let path = [&path[..], b"/"].concat();
            let inner = export.open(inode.clone(), path.clone())?;
            if is_top && name == LOST_AND_FOUND && inner.names.is_empty() {
                continue;
            }
            export.entry(&inode, &path)?;
            open.push(inner);
        } else {
            export.entry(&inode, &path)?;
        }
    }
    export.writer.finish().map_err(cannot_write)?;
    Ok(export.left_out)
}

fn cannot_write(error: io::Error) -> Failure {
    Failure::new(format!("cannot write the archive: {}", reason(&error)))
}

/// A directory of which some is written.
struct OpenDirectory {
    inode: Arc<dyn Inode>,
    /// With a slash at its end.
    path: Vec<u8>,
    /// Names that are still to be written, the next one last.
    names: Vec<Vec<u8>>,
}

struct Export<W: Write> {
    writer: Writer<W>,
    /// The first name of each file that has several.
    names: HashMap<u64, Vec<u8>>,
    left_out: LeftOut,
}

impl<W: Write> Export<W> {
    fn open(&self, inode: Arc<dyn Inode>, path: Vec<u8>) -> Result<OpenDirectory> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut cookie = 0;
        loop {
            let (before, from) = (names.len(), cookie);
            let mut take = |entry: vfs::DirectoryEntry<'_>| {
                names.push(entry.name.to_vec());
                cookie = entry.next_cookie;
                ControlFlow::Continue(())
            };
            inode.read_directory(from, &mut take).map_err(at(&path))?;
            if names.len() == before {
                break;
            }
        }
        // The same volume makes the same archive.
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(OpenDirectory { inode, path, names })
    }

    fn entry(&mut self, inode: &Arc<dyn Inode>, path: &[u8]) -> Result<()> {
        let metadata = inode.metadata().map_err(at(path))?;
        let Metadata { kind, permissions, links, uid, gid, device, size, modified, .. } = metadata;
        let DeviceNumber { major, minor } = device;
        let first = self.names.get(&metadata.id.number).cloned();
        let kind = match (kind, first) {
            (FileType::Socket, _) => {
                self.left_out.sockets += 1;
                return Ok(());
            }
            (kind, Some(first)) if kind != FileType::Directory => Kind::HardLink(first),
            (FileType::Regular, _) => Kind::Regular { size },
            (FileType::Directory, _) => Kind::Directory,
            (FileType::Symlink, _) => Kind::Symlink(inode.read_link().map_err(at(path))?),
            (FileType::CharDevice, _) => Kind::CharDevice { major, minor },
            (FileType::BlockDevice, _) => Kind::BlockDevice { major, minor },
            (FileType::Fifo, _) => Kind::Fifo,
        };
        if links > 1 && kind != Kind::Directory {
            self.names.entry(metadata.id.number).or_insert_with(|| path.to_vec());
        }
        let mut xattrs = Vec::new();
        if !matches!(kind, Kind::HardLink(_)) {
            for name in inode.xattr_names().map_err(at(path))? {
                let value = inode.xattr(&name).map_err(at(path))?;
                xattrs.push((name, value));
            }
        }
        let has_contents = matches!(kind, Kind::Regular { .. });
        let entry = Entry { path: path.to_vec(), kind, permissions, uid, gid, modified, xattrs };
        self.writer.start(&entry).map_err(cannot_write)?;
        let mut buffer = vec![0; if has_contents { PART_BYTES } else { 0 }];
        let mut offset = 0;
        while has_contents && offset < size {
            let part = usize::try_from(size - offset).unwrap_or(usize::MAX).min(PART_BYTES);
            match inode.read_at(offset, &mut &mut buffer[..part]).map_err(at(path))? {
                0 => return Err(at(path)(Errno::EIO)),
                read => {
                    self.writer.write_all(&buffer[..read]).map_err(cannot_write)?;
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }
}

/// Puts all that is in an archive into a volume. What is there already is replaced; directories are merged.
pub fn import(file: &File, from: impl Read) -> Result<LeftOut> {
    let file_system = mount(file, Access::ReadWrite)?;
    let done = Import::new(&file_system).and_then(|mut import| {
        import.all(&mut Reader::new(from))?;
        Ok(import.left_out)
    });
    // Also after a mistake, for the volume is to be left in order.
    let left = file_system.shut_down().map_err(|error| Failure::new(words(error)));
    done.and_then(|left_out| left.map(|()| left_out))
}

struct Import {
    file_system: Arc<Ext4>,
    root: Arc<dyn Inode>,
    /// The directory of the last entry, which is most often that of the next.
    parent: (Vec<u8>, Arc<dyn Inode>),
    /// What entries say of directories counts when these are filled: filling one changes its time.
    directories: Vec<(Arc<dyn Inode>, Entry)>,
    /// Written since the last sync.
    unsynced_bytes: u64,
    left_out: LeftOut,
}

impl Import {
    fn new(file_system: &Arc<Ext4>) -> Result<Self> {
        let root = file_system.clone().root().map_err(at(b"/"))?;
        Ok(Self {
            file_system: file_system.clone(),
            parent: (vec![], root.clone()),
            root,
            directories: vec![],
            unsynced_bytes: 0,
            left_out: LeftOut::default(),
        })
    }

    fn all(&mut self, reader: &mut Reader<impl Read>) -> Result<()> {
        let cannot_read =
            |error: io::Error| Failure::new(format!("cannot read the archive: {}", reason(&error)));
        while let Some(entry) = reader.next().map_err(cannot_read)? {
            self.entry(entry, reader)?;
            self.written(ENTRY_BYTES)?;
        }
        // Inner ones last, as they were made: an outer one's attributes do not depend on them.
        for (directory, entry) in std::mem::take(&mut self.directories) {
            self.set_attributes(&directory, &entry)?;
        }
        Ok(())
    }

    fn written(&mut self, bytes: u64) -> Result<()> {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.unsynced_bytes = 0;
            self.file_system.sync().map_err(|error| Failure::new(words(error)))?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, contents: &mut impl Read) -> Result<()> {
        let names = components(&entry.path)?;
        let Some((name, above)) = names.split_last() else {
            // The root, as in `tar -C folder -c .`.
            self.directories.push((self.root.clone(), entry));
            return Ok(());
        };
        let parent = self.directory(above, &entry.path)?;
        let failed = at(&entry.path);
        let there = match parent.lookup(name) {
            Ok(inode) => Some(inode),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(failed(error)),
        };
        let is_directory = entry.kind == Kind::Directory;
        match there {
            Some(inode) if inode.kind() == FileType::Directory && is_directory => {
                self.directories.push((inode, entry));
                return Ok(());
            }
            Some(inode) if inode.kind() == FileType::Directory => {
                let path = String::from_utf8_lossy(&entry.path);
                return Err(Failure::new(format!(
                    "{path}: the volume has a directory there, and the archive has none"
                )));
            }
            Some(inode) => parent.unlink(name, &inode).map_err(&failed)?,
            None => {}
        }
        let new = match &entry.kind {
            Kind::HardLink(target) => {
                let target = self.find(target)?;
                return parent.link(name, &target).map_err(failed);
            }
            Kind::Regular { .. } => NewInode::Regular,
            Kind::Directory => NewInode::Directory,
            Kind::Symlink(target) => NewInode::Symlink(target),
            Kind::CharDevice { major, minor } => {
                NewInode::Device(FileType::CharDevice, DeviceNumber { major: *major, minor: *minor })
            }
            Kind::BlockDevice { major, minor } => {
                NewInode::Device(FileType::BlockDevice, DeviceNumber { major: *major, minor: *minor })
            }
            Kind::Fifo => NewInode::Fifo,
        };
        let inode = parent.create(name, new, entry.permissions).map_err(&failed)?;
        if let Kind::Regular { size } = entry.kind {
            self.fill(&inode, size, &entry.path, contents)?;
        }
        if is_directory {
            self.directories.push((inode, entry));
            return Ok(());
        }
        self.set_attributes(&inode, &entry)
    }

    /// Writes the contents of a file; whole blocks of zeros become holes.
    fn fill(
        &mut self,
        inode: &Arc<dyn Inode>,
        size: u64,
        path: &[u8],
        contents: &mut impl Read,
    ) -> Result<()> {
        let failed = at(path);
        let mut buffer = vec![0; PART_BYTES.min(usize::try_from(size).unwrap_or(usize::MAX))];
        let mut offset = 0;
        while offset < size {
            let part = usize::try_from(size - offset).unwrap_or(usize::MAX).min(PART_BYTES);
            let part = &mut buffer[..part];
            contents
                .read_exact(part)
                .map_err(|error| Failure::new(format!("cannot read the archive: {}", reason(&error))))?;
            for block in part.chunks(BLOCK_BYTES) {
                if block.iter().any(|byte| *byte != 0) {
                    let mut source = SliceSrc::new(block);
                    let written = inode.write_at(WritePosition::At(offset), &mut source).map_err(&failed)?;
                    if written.bytes < block.len() {
                        return Err(failed(Errno::ENOSPC));
                    }
                    self.written(block.len() as u64)?;
                }
                offset += block.len() as u64;
            }
        }
        // A hole at the end is none until there is something behind it.
        inode.truncate(size).map_err(failed)
    }

    fn set_attributes(&mut self, inode: &Arc<dyn Inode>, entry: &Entry) -> Result<()> {
        let failed = at(&entry.path);
        for (name, value) in &entry.xattrs {
            match inode.set_xattr(name, value, XattrMode::Any) {
                Ok(()) => {}
                // Of another system: ext4 has no place for its names.
                Err(Errno::EOPNOTSUPP) => self.left_out.xattrs += 1,
                Err(error) => return Err(failed(error)),
            }
        }
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        const SET_ID: u16 = 0o6000;
        if entry.permissions & SET_ID != 0 && inode.kind() == FileType::Regular {
            // What is written to the device later would take these bits away, as a write(2) does.
            inode.sync(SyncKind::Data).map_err(&failed)?;
        }
        // First, for a change of the owner takes set-id bits away (chown(2)).
        let owner =
            AttributeChanges { uid: Some(entry.uid), gid: Some(entry.gid), ..AttributeChanges::default() };
        inode.set_attributes(&owner).map_err(&failed)?;
        let changes = AttributeChanges {
            permissions: (!is_link).then_some(entry.permissions),
            accessed: Some(entry.modified),
            modified: Some(entry.modified),
            ..AttributeChanges::default()
        };
        inode.set_attributes(&changes).map_err(failed)
    }

    /// The directory with these names; what does not exist of it is made.
    fn directory(&mut self, names: &[&[u8]], path: &[u8]) -> Result<Arc<dyn Inode>> {
        let joined = names.join(&b'/');
        if self.parent.0 == joined {
            return Ok(self.parent.1.clone());
        }
        let mut inode = self.root.clone();
        for name in names {
            inode = match inode.lookup(name) {
                Err(Errno::ENOENT) => inode.create(name, NewInode::Directory, 0o755),
                found => found,
            }
            .map_err(at(path))?;
        }
        if inode.kind() != FileType::Directory {
            return Err(at(path)(Errno::ENOTDIR));
        }
        self.parent = (joined, inode.clone());
        Ok(inode)
    }

    /// What is there already under this name of the archive.
    fn find(&self, path: &[u8]) -> Result<Arc<dyn Inode>> {
        let names = components(path)?;
        names.iter().try_fold(self.root.clone(), |inode, name| inode.lookup(name)).map_err(at(path))
    }
}

/// The names in a path of an archive, which is relative to the volume, however it begins.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    let shown = || String::from_utf8_lossy(path);
    if names.contains(&&b".."[..]) {
        return Err(Failure::new(format!("{}: a path of the archive leads out of it", shown())));
    }
    if names.iter().any(|name| name.len() > 255 || name.contains(&0)) {
        return Err(Failure::new(format!("{}: a name of the archive is too long, or impossible", shown())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
