//! What a file system implements: inodes and the file system that they belong to.
//!
//! The name space above ([`Namespace`](crate::Namespace)) resolves paths, caches names, checks access
//! and mounts, and serialises changes of a directory: while it calls `create`, `link`, `unlink`,
//! `rmdir` or `rename`, no other change of the directories involved is under way. Everything else
//! may be called by several threads at once.

use alloc::{sync::Arc, vec::Vec};
use core::{
    any::Any,
    ops::{ControlFlow, Range},
    sync::atomic::{AtomicU32, Ordering},
};

use linux_abi::{
    Errno,
    file::{DeviceNumber, FallocateFlags, FileType, Seals, Statfs, Whence},
};

use crate::{AccessMode, File, MemoryObject, Path, ReadDst, WriteErrors, WriteSrc};

/// Which inode: the device of its file system, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub number: u64,
}

/// A point in time, in the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds, before 1970 negative.
    pub seconds: i64,
    /// Nanoseconds after that, below a thousand million.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The time now.
    pub fn now() -> Self {
        Self::from_ns(ksync::platform::realtime_ns())
    }

    /// The time `ns` nanoseconds after the epoch.
    pub const fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / 1_000_000_000) as i64, nanoseconds: (ns % 1_000_000_000) as u32 }
    }
}

/// What `stat(2)` and `statx(2)` tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Which inode.
    pub id: InodeId,
    /// Its type.
    pub kind: FileType,
    /// Permissions with set-id and sticky bits (07777).
    pub permissions: u16,
    /// Names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// For a device file, which.
    pub device: DeviceNumber,
    /// Bytes.
    pub size: u64,
    /// Good size for I/O in bytes.
    pub block_bytes: u32,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of the inode.
    pub changed: Timestamp,
    /// Creation, if the file system keeps it.
    pub born: Option<Timestamp>,
}

impl Metadata {
    /// Metadata of an object that is in no file system: nobody's, empty, of this moment.
    pub fn anonymous(id: InodeId, kind: FileType, permissions: u16) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            kind,
            permissions,
            links: 1,
            uid: 0,
            gid: 0,
            device: DeviceNumber::default(),
            size: 0,
            block_bytes: 4096,
            blocks: 0,
            accessed: now,
            modified: now,
            changed: now,
            born: None,
        }
    }

    /// Type and permissions as `st_mode` has them.
    pub const fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.permissions as u32
    }
}

/// A change of attributes; what is `None` stays. The inode's change time becomes the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeChanges {
    /// New permissions (07777).
    pub permissions: Option<u16>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of last access.
    pub accessed: Option<Timestamp>,
    /// New time of last change of the contents.
    pub modified: Option<Timestamp>,
}

/// What to make with [`Inode::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewInode<'a> {
    /// An empty file.
    Regular,
    /// An empty directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(&'a [u8]),
    /// A device file.
    Device(FileType, DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl NewInode<'_> {
    /// The type of what is made.
    pub const fn kind(&self) -> FileType {
        match self {
            Self::Regular => FileType::Regular,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::Device(kind, _) => *kind,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// What becomes of an existing target of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameKind {
    /// It is replaced, if there is one.
    Replace,
    /// It takes the place of what is renamed.
    Exchange,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePosition {
    /// To this offset.
    At(u64),
    /// To the end, wherever that is when the write happens (`O_APPEND`).
    End,
}

/// What a write has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes written.
    pub bytes: usize,
    /// Offset after the last of them.
    pub end: u64,
}

/// How much a `sync` has to make durable; what comes later includes what comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// The contents, and what is needed to read them again (`fdatasync(2)`).
    Data,
    /// All of the inode too (`fsync(2)`).
    Everything,
}

/// Which changes the writer thread writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writeback {
    /// Contents that became dirty before this time, in the kernel's clock.
    OlderThan {
        /// Since the boot.
        deadline_ns: u64,
    },
    /// Contents, the oldest first, until there are few enough dirty pages ([`Progress`]).
    Excess,
}

/// Whether to go on with a piece of work in the background.
pub type Progress<'a> = dyn Fn() -> ControlFlow<()> + 'a;

/// Whether to replace an extended attribute (`setxattr(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Any,
    /// `EEXIST` if it exists.
    Create,
    /// `ENODATA` if it does not.
    Replace,
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Number of its inode.
    pub inode: u64,
    /// Its type, if the directory knows.
    pub kind: Option<FileType>,
    /// Where to go on after it: an opaque position that stays valid while entries come and go.
    pub next_cookie: u64,
}

/// Takes directory entries, and says when it has enough; an entry it breaks at was not taken.
pub type EntrySink<'a> = dyn FnMut(DirectoryEntry<'_>) -> ControlFlow<()> + 'a;

/// Where a symbolic link leads.
#[derive(Clone)]
pub enum LinkTarget {
    /// A path, relative to the link's directory.
    Text(Vec<u8>),
    /// Straight to an object, whatever its name is now (`/proc/self/fd/3`, `/proc/self/exe`).
    Object(Path),
}

/// Whether the name space may remember what a directory's lookups answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCaching {
    /// Names change through the name space only.
    Allowed,
    /// Names come and go by themselves (`/proc/self/fd`).
    Forbidden,
}

/// A file, directory, link or other object of a file system.
///
/// The defaults answer with the errno that Linux gives for an object that lacks the operation.
/// Names are validated: 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`.
pub trait Inode: Send + Sync + Any {
    /// Which inode.
    fn id(&self) -> InodeId;

    /// Its type, which never changes.
    fn kind(&self) -> FileType;

    /// What `stat(2)` tells.
    fn metadata(&self) -> Result<Metadata, Errno>;

    /// The file system that it belongs to.
    fn file_system(&self) -> Arc<dyn FileSystem>;

    /// Changes attributes.
    fn set_attributes(&self, _changes: &AttributeChanges) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: whether the answers of [`lookup`](Self::lookup) may be cached.
    fn name_caching(&self) -> NameCaching {
        NameCaching::Allowed
    }

    /// For a directory: the inode with this name, `ENOENT` if none.
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// For a directory: makes an inode under a name that is known to be free.
    fn create(&self, _name: &[u8], _new: NewInode<'_>, _permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: makes an inode that has no name (`O_TMPFILE`).
    fn create_unnamed(&self, _permissions: u16) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// For a directory: gives `target`, of the same file system and no directory, a name that is
    /// known to be free.
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: removes the name of something that is no directory. The inode lives on until
    /// the last reference to it is dropped.
    fn unlink(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: removes an empty directory, `ENOTEMPTY` if it is not.
    fn rmdir(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: renames an entry of it. `new_directory` is of the same file system, source
    /// and target fit each other (both directories or neither), and no loop arises.
    fn rename(
        &self,
        _name: &[u8],
        _new_directory: &Arc<dyn Inode>,
        _new_name: &[u8],
        _kind: RenameKind,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// For a directory: the entries from `cookie` on (0 at the start), without `.` and `..`. Cookies
    /// 1 and 2 are never used: they belong to those two.
    fn read_directory(&self, _cookie: u64, _sink: &mut EntrySink<'_>) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }

    /// For a symbolic link: what `readlink(2)` shows.
    fn read_link(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    /// For a symbolic link: where it leads.
    fn follow(&self) -> Result<LinkTarget, Errno> {
        self.read_link().map(LinkTarget::Text)
    }

    /// For a regular file: reads; 0 at the end.
    fn read_at(&self, _offset: u64, _dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// For a regular file: writes.
    fn write_at(&self, _position: WritePosition, _src: &mut dyn WriteSrc) -> Result<Written, Errno> {
        Err(Errno::EINVAL)
    }

    /// For a regular file: sets the size.
    fn truncate(&self, _size: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// For a regular file: `fallocate(2)`. The range is checked, and not empty.
    fn allocate(&self, _flags: FallocateFlags, _offset: u64, _length: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// For a regular file: the start of the next data or hole (`whence` is nothing else) at or after
    /// `offset`; `ENXIO` past the end. By default all is data, as `lseek(2)` allows.
    fn seek_region(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        let size = self.metadata()?.size;
        match whence {
            _ if offset >= size => Err(Errno::ENXIO),
            Whence::Data => Ok(offset),
            _ => Ok(size),
        }
    }

    /// For a regular file: writes the dirty pages that hold `range` to the device, which may still hold them back, and
    /// says nothing of the inode (`sync_file_range(2)`).
    fn write_back_range(&self, _range: Range<u64>) -> Result<(), Errno> {
        Ok(())
    }

    /// For a regular file: to what offsets, lengths and buffers have to be aligned in direct I/O (`O_DIRECT`); `None` if
    /// there is none.
    fn direct_alignment(&self) -> Option<usize> {
        None
    }

    /// For a regular file: reads what the storage has, keeping nothing of it in memory. Alignment was checked.
    fn read_direct(&self, _offset: u64, _dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// For a regular file: forgets cached pages that lie in `range` as a whole and are clean
    /// (`POSIX_FADV_DONTNEED`).
    fn drop_cached(&self, _range: Range<u64>) {}

    /// Makes the inode durable.
    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }

    /// The failures of writes that happened after `write(2)` had returned, if the file can have any. What
    /// [`sync`](Self::sync) itself runs into is among them.
    fn write_errors(&self) -> Option<&WriteErrors> {
        None
    }

    /// For a regular file: the memory that `mmap(2)` maps.
    fn memory_object(self: Arc<Self>) -> Result<Arc<dyn MemoryObject>, Errno> {
        Err(Errno::ENODEV)
    }

    /// It was opened at this place; those that can be mapped remember it (see [`KnownAs`](crate::KnownAs)).
    fn opened_at(&self, _path: &Path) {}

    /// Makes the open file for kinds that need one of their own; `None` leaves it to the name space,
    /// which knows regular files, directories, devices and pipes.
    fn open(self: Arc<Self>, _access: AccessMode) -> Option<Result<Arc<dyn File>, Errno>> {
        None
    }

    /// The value of an extended attribute, `ENODATA` if there is none.
    fn xattr(&self, _name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The names of all extended attributes.
    fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute.
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _mode: XattrMode) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes an extended attribute.
    fn remove_xattr(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The seals of a memfd (`F_GET_SEALS`).
    fn seals(&self) -> Result<Seals, Errno> {
        Err(Errno::EINVAL)
    }

    /// Adds seals (`F_ADD_SEALS`).
    fn add_seals(&self, _seals: Seals) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// For the file system to find its own inodes again.
    fn as_any(&self) -> &dyn Any;
}

/// A mounted file system.
pub trait FileSystem: Send + Sync {
    /// Its name in `/proc/filesystems`.
    fn name(&self) -> &'static str;

    /// `st_dev` of its inodes.
    fn device(&self) -> u64;

    /// Its root directory.
    fn root(self: Arc<Self>) -> Result<Arc<dyn Inode>, Errno>;

    /// What `statfs(2)` tells, without the mount's flags.
    fn statistics(&self) -> Result<Statfs, Errno>;

    /// The largest size that a file can have here.
    fn max_file_bytes(&self) -> u64 {
        i64::MAX as u64
    }

    /// Makes everything durable.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// Writes changes in the background, as long as `progress` says so. What fails is recorded, for those who ask by
    /// `fsync(2)`.
    fn write_back(&self, _which: Writeback, _progress: &Progress<'_>) {}

    /// Gives free space within `range` (in bytes of the file system) back to its device, in pieces of at least `least` bytes, and returns how
    /// many bytes that were (`FITRIM`). `ENOTTY` if it has no such thing, `EOPNOTSUPP` if its device has no use for it.
    fn trim(&self, _range: Range<u64>, _least: u64) -> Result<u64, Errno> {
        Err(Errno::ENOTTY)
    }

    /// The failures of writes of any of its files, and of its own (`syncfs(2)`).
    fn write_errors(&self) -> Option<&WriteErrors> {
        None
    }
}

/// A device number for a file system without a device, as Linux gives out: major 0.
pub fn next_anonymous_device() -> u64 {
    static NEXT_MINOR: AtomicU32 = AtomicU32::new(20);
    DeviceNumber { major: 0, minor: NEXT_MINOR.fetch_add(1, Ordering::Relaxed) }.encode()
}
