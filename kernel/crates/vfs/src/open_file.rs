//! Open file descriptions: what of a file belongs to one `open(2)`, shared by duplicated descriptors.
//!
//! The offset's lock is held across a read or write at it, so that those of several threads follow
//! each other, as POSIX asks for regular files; streams have no offset and take no lock.

use alloc::{sync::Arc, vec::Vec};
use core::{
    any::Any,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use ksync::Mutex;
use linux_abi::{
    Errno,
    file::{FileType, OpenFlags, Whence},
};

use crate::{
    AccessMode, Blocking, CloseWatch, DentryState, DirectoryEntry, EntrySink, ErrorCursor, File, FileSystem,
    Inode, InodeId, Metadata, Namespace, Path, ReadDst, Seekable, SyncKind, WritePosition, WriteSrc, Written,
    locks::{LockOwner, LockTable},
    notify,
};

/// What one write asks for beyond the flags of its file (`pwritev2(2)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// It goes to the end, as with `O_APPEND`.
    pub appends: bool,
    /// So much of it is durable when it returns.
    pub sync: Option<SyncKind>,
}

/// `EINVAL` unless an offset, and buffers by the bits of their addresses and lengths, are multiples of `alignment`.
fn check_alignment(offset: u64, bits: usize, alignment: usize) -> Result<(), Errno> {
    let is_aligned = offset.is_multiple_of(alignment as u64) && bits.is_multiple_of(alignment);
    if is_aligned { Ok(()) } else { Err(Errno::EINVAL) }
}

/// What `open(2)` made.
pub struct OpenFile {
    /// Unlike any other's: the owner of `flock(2)` and open-file-description locks.
    id: u64,
    file: Arc<dyn File>,
    path: Option<Path>,
    access: AccessMode,
    flags: AtomicU32,
    offset: Mutex<u64>,
    has_locks: AtomicBool,
    /// What it was told of failed writes of its file; its mappings share this.
    told: Arc<ErrorCursor>,
    /// What it was told of those of the whole file system (`syncfs(2)`).
    told_by_syncfs: ErrorCursor,
    close_watch: CloseWatch,
}

impl OpenFile {
    fn with_path(file: Arc<dyn File>, path: Option<Path>, access: AccessMode, flags: OpenFlags) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let told = ErrorCursor::at_open(path.as_ref().and_then(|path| path.inode().write_errors()));
        let told_by_syncfs =
            ErrorCursor::at_open(path.as_ref().and_then(|path| path.mount.file_system.write_errors()));
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            file,
            path,
            access,
            flags: AtomicU32::new(flags.difference(OpenFlags::CREATION).bits()),
            offset: Mutex::new(0),
            has_locks: AtomicBool::new(false),
            told: Arc::new(told),
            told_by_syncfs,
            close_watch: CloseWatch::new(),
        })
    }

    /// An open file for an object outside of the tree: a pipe, a socket, an event counter.
    pub fn anonymous(file: Arc<dyn File>, access: AccessMode, flags: OpenFlags) -> Arc<Self> {
        Self::with_path(file, None, access, flags)
    }

    /// An open file for an object in the tree.
    pub fn at_path(file: Arc<dyn File>, path: Path, access: AccessMode, flags: OpenFlags) -> Arc<Self> {
        Self::with_path(file, Some(path), access, flags)
    }

    /// The object.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Who is told when its last descriptor is closed.
    pub fn close_watch(&self) -> &CloseWatch {
        &self.close_watch
    }

    /// Its place in the tree, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// Its inode, if it has one; those calls that only an inode has answer `EINVAL` without.
    pub fn inode(&self) -> Result<&Arc<dyn Inode>, Errno> {
        self.path.as_ref().map(Path::inode).ok_or(Errno::EINVAL)
    }

    /// What it was opened for.
    pub fn access(&self) -> AccessMode {
        self.access
    }

    /// The status flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Sets the status flags that `F_SETFL` can change to those in `flags`.
    pub fn set_status_flags(&self, flags: OpenFlags) -> Result<(), Errno> {
        let is_stored = |inode: &Arc<dyn Inode>| inode.kind() == FileType::Regular;
        let lacks_direct = |inode: &Arc<dyn Inode>| is_stored(inode) && inode.direct_alignment().is_none();
        if flags.contains(OpenFlags::DIRECT) && self.inode().is_ok_and(lacks_direct) {
            return Err(Errno::EINVAL);
        }
        let kept = self.flags().difference(OpenFlags::SETTABLE);
        self.flags.store((kept | flags.intersection(OpenFlags::SETTABLE)).bits(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether calls on it may wait.
    pub fn blocking(&self) -> Blocking {
        if self.flags().contains(OpenFlags::NONBLOCK) { Blocking::No } else { Blocking::Yes }
    }

    /// `EBADF` for a file opened with `O_PATH`, which only names its object.
    pub fn require_not_path_only(&self) -> Result<(), Errno> {
        if self.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// `EBADF` unless it was opened for reading.
    pub fn require_readable(&self) -> Result<(), Errno> {
        self.require_not_path_only()?;
        if self.access.can_read() { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// `EBADF` unless it was opened for writing.
    pub fn require_writable(&self) -> Result<(), Errno> {
        self.require_not_path_only()?;
        if self.access.can_write() { Ok(()) } else { Err(Errno::EBADF) }
    }

    fn require_seekable(&self) -> Result<(), Errno> {
        match self.file.seekable() {
            Seekable::Yes | Seekable::StaysAtStart => Ok(()),
            Seekable::No => Err(Errno::ESPIPE),
        }
    }

    /// What `fstat(2)` tells.
    pub fn metadata(&self) -> Result<Metadata, Errno> {
        match &self.path {
            Some(path) => path.inode().metadata(),
            None => self.file.metadata(),
        }
    }

    /// Reads at the file's own offset and moves it on.
    pub fn read(&self, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        self.require_readable()?;
        let done = match self.file.seekable() {
            Seekable::No | Seekable::StaysAtStart => self.file.read_at(0, dst, blocking)?,
            Seekable::Yes => {
                let mut offset = self.offset.lock();
                let done = self.read_stored(*offset, dst, blocking)?;
                *offset += done as u64;
                done
            }
        };
        self.tell_read(done);
        Ok(done)
    }

    /// Tells those who watch that `done` bytes were read.
    fn tell_read(&self, done: usize) {
        if let Some(path) = &self.path
            && done > 0
        {
            notify::read(path);
        }
    }

    /// Tells those who watch that `done` bytes were written.
    fn tell_written(&self, done: usize) {
        if let Some(path) = &self.path
            && done > 0
        {
            notify::written(path);
        }
    }

    /// Space was given to or taken from the file (`fallocate(2)`): that counts as a write.
    pub fn tell_allocated(&self) {
        self.path.as_ref().inspect(|path| notify::written(path));
    }

    /// Reads at `offset` (`pread(2)`).
    pub fn read_at(&self, offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        self.require_readable()?;
        self.require_seekable()?;
        let done = self.read_stored(offset, dst, blocking)?;
        self.tell_read(done);
        Ok(done)
    }

    /// What its transfers have to be aligned to, if they are direct.
    fn direct_alignment(&self) -> Option<usize> {
        if self.flags().contains(OpenFlags::DIRECT) { self.inode().ok()?.direct_alignment() } else { None }
    }

    fn read_stored(&self, offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        let Some(alignment) = self.direct_alignment() else {
            return self.file.read_at(offset, dst, blocking);
        };
        let inode = self.inode()?;
        // As on Linux, the end of the file comes before all else.
        if dst.remaining() == 0 || offset >= inode.metadata()?.size {
            return Ok(0);
        }
        check_alignment(offset, dst.alignment_bits(), alignment)?;
        inode.read_direct(offset, dst)
    }

    /// Writes to an object that has offsets. What is written directly is on the device when this returns, though the device
    /// may hold it back, and nothing of it stays in memory.
    fn write_stored(
        &self,
        position: WritePosition,
        src: &mut dyn WriteSrc,
        blocking: Blocking,
    ) -> Result<Written, Errno> {
        let Some(alignment) = self.direct_alignment() else {
            return self.file.write_position(position, src, blocking);
        };
        let inode = self.inode()?;
        let offset = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => inode.metadata()?.size,
        };
        if src.remaining() > 0 {
            check_alignment(offset, src.alignment_bits(), alignment)?;
        }
        let written = self.file.write_position(position, src, blocking)?;
        let range = written.end - written.bytes as u64..written.end;
        inode.write_back_range(range.clone())?;
        inode.drop_cached(range);
        Ok(written)
    }

    /// Writes at the file's own offset, or its end with `O_APPEND`, and moves the offset on.
    pub fn write(&self, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        self.write_with(WriteOptions::default(), src, blocking)
    }

    /// As [`write`](Self::write), with `options` on top of the file's flags.
    pub fn write_with(
        &self,
        options: WriteOptions,
        src: &mut dyn WriteSrc,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        self.require_writable()?;
        let done = match self.file.seekable() {
            Seekable::No | Seekable::StaysAtStart => self.file.write_at(0, src, blocking)?,
            Seekable::Yes => {
                let mut offset = self.offset.lock();
                let position = self.position(options, *offset);
                let written = self.write_stored(position, src, blocking)?;
                *offset = written.end;
                written.bytes
            }
        };
        self.tell_written(done);
        self.sync_if_asked(options, done)?;
        Ok(done)
    }

    fn position(&self, options: WriteOptions, offset: u64) -> WritePosition {
        match options.appends || self.flags().contains(OpenFlags::APPEND) {
            true => WritePosition::End,
            false => WritePosition::At(offset),
        }
    }

    /// Writes at `offset` (`pwrite(2)`); at the end if the file is `O_APPEND`, which is what Linux does.
    pub fn write_at(&self, offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        self.write_at_with(WriteOptions::default(), offset, src, blocking)
    }

    /// As [`write_at`](Self::write_at), with `options` on top of the file's flags.
    pub fn write_at_with(
        &self,
        options: WriteOptions,
        offset: u64,
        src: &mut dyn WriteSrc,
        blocking: Blocking,
    ) -> Result<usize, Errno> {
        self.require_writable()?;
        self.require_seekable()?;
        let written = self.write_stored(self.position(options, offset), src, blocking)?;
        self.tell_written(written.bytes);
        self.sync_if_asked(options, written.bytes)?;
        Ok(written.bytes)
    }

    /// Keeps the promise of `O_SYNC` and `O_DSYNC`, and of their like for one write.
    fn sync_if_asked(&self, options: WriteOptions, written: usize) -> Result<(), Errno> {
        let flags = self.flags();
        let of_flags = match flags.contains(OpenFlags::SYNC) {
            true => Some(SyncKind::Everything),
            false => flags.contains(OpenFlags::DSYNC).then_some(SyncKind::Data),
        };
        // What is no file on storage has nothing to be synced.
        let is_stored = self.inode().is_ok_and(|inode| inode.kind() == FileType::Regular);
        match of_flags.max(options.sync) {
            Some(kind) if written > 0 && is_stored => self.sync(kind),
            _ => Ok(()),
        }
    }

    /// `fsync(2)`; `EINVAL` for what has no inode.
    pub fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.require_not_path_only()?;
        let inode = self.inode()?;
        match inode.kind() {
            FileType::Regular | FileType::Directory => self.report(inode.sync(kind)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `result`, or else the failure of an earlier write that this open file was not told of yet. What it is told
    /// of here it is told of once.
    fn report(&self, result: Result<(), Errno>) -> Result<(), Errno> {
        let earlier = self.told.check(self.path.as_ref().and_then(|path| path.inode().write_errors()));
        result.and(earlier)
    }

    /// What it was told of failed writes; for its mappings.
    pub fn told(&self) -> &Arc<ErrorCursor> {
        &self.told
    }

    /// `syncfs(2)`.
    pub fn sync_file_system(&self) -> Result<(), Errno> {
        self.require_not_path_only()?;
        let Some(path) = &self.path else { return Ok(()) };
        let file_system = &path.mount.file_system;
        let result = file_system.sync();
        result.and(self.told_by_syncfs.check(file_system.write_errors()))
    }

    /// `lseek(2)`: the new offset.
    pub fn seek(&self, distance: i64, whence: Whence) -> Result<u64, Errno> {
        self.require_not_path_only()?;
        match self.file.seekable() {
            Seekable::Yes => {}
            Seekable::StaysAtStart => return Ok(0),
            Seekable::No => return Err(Errno::ESPIPE),
        }
        let mut offset = self.offset.lock();
        let from = |start: u64| {
            let target = i64::try_from(start).ok().and_then(|start| start.checked_add(distance));
            target.and_then(|target| u64::try_from(target).ok()).ok_or(Errno::EINVAL)
        };
        let target = match whence {
            Whence::Set => from(0)?,
            Whence::Current => from(*offset)?,
            Whence::End => from(self.metadata()?.size)?,
            Whence::Data | Whence::Hole => {
                let start = u64::try_from(distance).map_err(|_| Errno::ENXIO)?;
                let inode = self.inode()?;
                match inode.kind() {
                    FileType::Regular => inode.seek_region(start, whence)?,
                    _ => return Err(Errno::EINVAL),
                }
            }
        };
        // No file system's limit is lower, and most have to look it up.
        const LOWEST_LIMIT: u64 = 1 << 41;
        if target > LOWEST_LIMIT
            && let Some(path) = &self.path
            && target > path.inode().file_system().max_file_bytes()
        {
            return Err(Errno::EINVAL);
        }
        *offset = target;
        Ok(target)
    }

    /// The file's own offset (`/proc/self/fdinfo`).
    pub fn offset(&self) -> u64 {
        *self.offset.lock()
    }

    /// Uses the file's own offset and sets it to what `operation` returns (`sendfile(2)`).
    pub fn with_offset<T>(&self, operation: impl FnOnce(u64) -> Result<(T, u64), Errno>) -> Result<T, Errno> {
        let mut offset = self.offset.lock();
        let (value, new_offset) = operation(*offset)?;
        *offset = new_offset;
        Ok(value)
    }

    /// Gives `sink` the directory's entries from the offset on, `.` and `..` among them, and moves
    /// the offset behind the last one taken (`getdents64(2)`).
    pub fn read_directory(&self, sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        self.require_not_path_only()?;
        let path = self.path.as_ref().ok_or(Errno::ENOTDIR)?;
        let directory = path.inode();
        if directory.kind() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if path.dentry.state() == DentryState::Removed {
            return Err(Errno::ENOENT);
        }
        let mut offset = self.offset.lock();
        // Offsets 0 and 1 are those of `.` and `..`, which file systems do not report; after them
        // the offset is the file system's cookie, of which 0 stands as 2.
        if *offset == 0 {
            let entry = DirectoryEntry {
                name: b".",
                inode: directory.id().number,
                kind: Some(FileType::Directory),
                next_cookie: 1,
            };
            if sink(entry).is_break() {
                return Ok(());
            }
            *offset = 1;
        }
        if *offset == 1 {
            let parent = path.dentry.parent().map_or(directory.id(), |parent| parent.inode().id());
            let entry = DirectoryEntry {
                name: b"..",
                inode: parent.number,
                kind: Some(FileType::Directory),
                next_cookie: 2,
            };
            if sink(entry).is_break() {
                return Ok(());
            }
            *offset = 2;
        }
        let cookie = if *offset == 2 { 0 } else { *offset };
        let outcome = directory.read_directory(cookie, &mut |entry| {
            let next = entry.next_cookie;
            let flow = sink(entry);
            if flow == ControlFlow::Continue(()) {
                *offset = next;
            }
            flow
        });
        notify::read(path);
        outcome
    }

    /// Owner of locks that belong to this open file.
    pub fn lock_owner(&self) -> LockOwner {
        self.has_locks.store(true, Ordering::Relaxed);
        LockOwner::OpenFile(self.id)
    }

    /// The object's place, or one made up for an object without: what `/proc/self/fd/N` leads to.
    pub fn place(&self, namespace: &Namespace, file_system: &Arc<dyn FileSystem>) -> Path {
        match &self.path {
            Some(path) => path.clone(),
            None => {
                let name = self.file.shown_name();
                let inode = FileInode { file: self.file.clone(), file_system: file_system.clone() };
                namespace.unnamed(Arc::new(inode), &name)
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if *self.has_locks.get_mut()
            && let Some(path) = &self.path
        {
            LockTable::global().release_all(path.inode().id(), LockOwner::OpenFile(self.id));
        }
        if let Some(path) = &self.path
            && !self.flags().contains(OpenFlags::PATH)
        {
            notify::closed(path, self.access.can_write());
        }
    }
}

/// The inode of an object that has none: opening it again gives the same object.
struct FileInode {
    file: Arc<dyn File>,
    file_system: Arc<dyn FileSystem>,
}

impl Inode for FileInode {
    fn id(&self) -> InodeId {
        self.file.metadata().map_or(InodeId { device: self.file_system.device(), number: 0 }, |m| m.id)
    }

    fn kind(&self) -> FileType {
        self.file.metadata().map_or(FileType::Regular, |metadata| metadata.kind)
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        self.file.metadata()
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.file_system.clone()
    }

    fn open(self: Arc<Self>, _access: AccessMode) -> Option<Result<Arc<dyn File>, Errno>> {
        // `open(2)` of `/proc/self/fd/N` fails so for sockets and event counters on Linux.
        Some(if self.file.can_reopen() { Ok(self.file.clone()) } else { Err(Errno::ENXIO) })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The name of an anonymous object as `/proc/self/fd` shows it: `pipe:[12]`.
pub fn bracketed_name(kind: &str, number: u64) -> Vec<u8> {
    alloc::format!("{kind}:[{number}]").into_bytes()
}
