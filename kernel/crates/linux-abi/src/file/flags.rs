//! Flags and commands of calls on files.

use crate::Errno;

/// Directory descriptor that stands for the working directory.
pub const AT_FDCWD: i32 = -100;
/// Longest path with its NUL; longer is `ENAMETOOLONG`.
pub const PATH_MAX: usize = 4096;
/// Longest name in a directory.
pub const NAME_MAX: usize = 255;
/// Most buffers of `readv(2)`; more is `EINVAL`.
pub const IOV_MAX: usize = 1024;
/// The bits of `open`'s flags that hold the [`AccessMode`].
pub const O_ACCMODE: u32 = 3;

abi_enum! {
    /// What a descriptor may be used for; the low bits of `open`'s flags.
    pub enum AccessMode: u32 {
        /// Reading.
        ReadOnly = 0, "O_RDONLY";
        /// Writing.
        WriteOnly = 1, "O_WRONLY";
        /// Both.
        ReadWrite = 2, "O_RDWR";
        /// Neither, though opening needs both permissions: `ioctl` only (`open(2)`, "Notes").
        Ioctl = 3, "O_ACCMODE";
    }
}

impl AccessMode {
    /// The mode in `open`'s flags.
    pub const fn of(flags: u32) -> Self {
        match flags & O_ACCMODE {
            0 => Self::ReadOnly,
            1 => Self::WriteOnly,
            2 => Self::ReadWrite,
            _ => Self::Ioctl,
        }
    }

    /// Whether reading is allowed.
    pub const fn can_read(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite)
    }

    /// Whether writing is allowed.
    pub const fn can_write(self) -> bool {
        matches!(self, Self::WriteOnly | Self::ReadWrite)
    }
}

abi_flags! {
    /// Flags of [`open(2)`](https://man7.org/linux/man-pages/man2/open.2.html) without the [`AccessMode`].
    /// `open` and `openat` ignore unknown bits ([`OpenFlags::of`]); `openat2` refuses them.
    pub struct OpenFlags: u32 {
        /// Create if absent.
        const CREAT = 0o100;
        /// With `CREAT`: `EEXIST` if present.
        const EXCL = 0o200;
        /// Never the controlling terminal.
        const NOCTTY = 0o400;
        /// Cut to length 0.
        const TRUNC = 0o1000;
        /// Every write at the end.
        const APPEND = 0o2000;
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Writes wait for the data to be on disk.
        const DSYNC = 0o10000;
        /// `SIGIO` when I/O is possible (`FASYNC`).
        const ASYNC = 0o20000;
        /// Not through the page cache.
        const DIRECT = 0o40000;
        /// Implied on x86-64, and reported by `F_GETFL`.
        const LARGEFILE = 0o100000;
        /// Only a directory (`ENOTDIR`).
        const DIRECTORY = 0o200000;
        /// Not through a final symbolic link (`ELOOP`).
        const NOFOLLOW = 0o400000;
        /// Access time stays.
        const NOATIME = 0o1000000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
        /// `__O_SYNC`: with `DSYNC` it is `O_SYNC`, writes wait for data and metadata.
        const SYNC_METADATA = 0o4000000;
        /// The path only: no I/O.
        const PATH = 0o10000000;
        /// `__O_TMPFILE`: with `DIRECTORY` it is `O_TMPFILE`, a file without a name.
        const TMPFILE_ALONE = 0o20000000;
    }
}

impl OpenFlags {
    /// `O_SYNC`.
    pub const SYNC: Self = Self::SYNC_METADATA.union(Self::DSYNC);

    /// `O_TMPFILE`.
    pub const TMPFILE: Self = Self::TMPFILE_ALONE.union(Self::DIRECTORY);

    /// What `F_SETFL` can change (`SETFL_MASK` in `fs/fcntl.c`); it ignores the rest.
    pub const SETTABLE: Self =
        Self::APPEND.union(Self::NONBLOCK).union(Self::ASYNC).union(Self::DIRECT).union(Self::NOATIME);

    /// What only concerns the opening, and `F_GETFL` does not show.
    pub const CREATION: Self =
        Self::CREAT.union(Self::EXCL).union(Self::NOCTTY).union(Self::TRUNC).union(Self::CLOEXEC);

    /// The flags in the argument of `open` or `openat`.
    pub const fn of(raw: u32) -> Self {
        Self::from_bits_truncate(raw & !O_ACCMODE)
    }
}

/// `struct open_how` of [`openat2(2)`](https://man7.org/linux/man-pages/man2/openat2.2.html).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
pub struct OpenHow {
    /// Access mode and [`OpenFlags`].
    pub flags: u64,
    /// Permissions of a file that is made.
    pub mode: u64,
    /// [`ResolveFlags`].
    pub resolve: u64,
}

impl OpenHow {
    /// Size of the first version.
    pub const SIZE_VER0: usize = 24;
}

abi_flags! {
    /// How `openat2(2)` may walk a path.
    pub struct ResolveFlags: u64 {
        /// Not from one mount to another (`EXDEV`).
        const NO_XDEV = 0x01;
        /// Not through links that lead straight to an object (`ELOOP`).
        const NO_MAGICLINKS = 0x02;
        /// Through no symbolic link at all (`ELOOP`).
        const NO_SYMLINKS = 0x04;
        /// Never out of the directory where the walk begins (`EXDEV`).
        const BENEATH = 0x08;
        /// The directory where the walk begins is its root.
        const IN_ROOT = 0x10;
        /// Only by what is in memory (`EAGAIN`).
        const CACHED = 0x20;
    }
}

impl ResolveFlags {
    /// What keeps a walk inside of a directory.
    pub const SCOPED: Self = Self::BENEATH.union(Self::IN_ROOT);
}

abi_flags! {
    /// Flags of the calls whose names end in `at`, of `statx` and of `AT_EMPTY_PATH` users. Each call allows
    /// some of them and refuses the rest with `EINVAL`.
    pub struct AtFlags: u32 {
        /// Not through a final symbolic link.
        const SYMLINK_NOFOLLOW = 0x100;
        /// `unlinkat`: remove a directory. The same bit is `AT_EACCESS` for `faccessat2`.
        const REMOVEDIR = 0x200;
        /// `linkat`: through a final symbolic link.
        const SYMLINK_FOLLOW = 0x400;
        /// Do not mount.
        const NO_AUTOMOUNT = 0x800;
        /// An empty path means the descriptor itself.
        const EMPTY_PATH = 0x1000;
        /// `statx`: ask the server. With `STATX_DONT_SYNC` it is `EINVAL`.
        const STATX_FORCE_SYNC = 0x2000;
        /// `statx`: do not ask the server.
        const STATX_DONT_SYNC = 0x4000;
    }
}

impl AtFlags {
    /// `faccessat2`: with the effective ids.
    pub const EACCESS: Self = Self::REMOVEDIR;

    /// The flags, if a call allows them all.
    pub const fn allowed(raw: u32, allowed: Self) -> Result<Self, Errno> {
        if raw & !allowed.bits() != 0 { Err(Errno::EINVAL) } else { Ok(Self::from_bits_truncate(raw)) }
    }
}

abi_flags! {
    /// `mode` of [`access(2)`](https://man7.org/linux/man-pages/man2/access.2.html). No bit is `F_OK`:
    /// existence.
    pub struct AccessModeBits: u32 {
        /// `X_OK`.
        const EXECUTE = 1;
        /// `W_OK`.
        const WRITE = 2;
        /// `R_OK`.
        const READ = 4;
    }
}

abi_enum! {
    /// Commands of [`fcntl(2)`](https://man7.org/linux/man-pages/man2/fcntl.2.html); an unknown one is
    /// `EINVAL`.
    pub enum FcntlCommand: u32 {
        /// Duplicate to the lowest free descriptor not below the argument.
        DupFd = 0, "F_DUPFD";
        /// [`FdFlags`].
        GetFd = 1, "F_GETFD";
        /// Set them.
        SetFd = 2, "F_SETFD";
        /// Access mode and [`OpenFlags`].
        GetFl = 3, "F_GETFL";
        /// Set [`OpenFlags::SETTABLE`].
        SetFl = 4, "F_SETFL";
        /// Who holds a lock.
        GetLk = 5, "F_GETLK";
        /// Lock or unlock; `EAGAIN`.
        SetLk = 6, "F_SETLK";
        /// Lock or unlock; wait.
        SetLkW = 7, "F_SETLKW";
        /// Who gets `SIGIO`.
        SetOwn = 8, "F_SETOWN";
        /// The same, asked.
        GetOwn = 9, "F_GETOWN";
        /// The signal instead of `SIGIO`.
        SetSig = 10, "F_SETSIG";
        /// The same, asked.
        GetSig = 11, "F_GETSIG";
        /// As `SetOwn`, also a thread.
        SetOwnEx = 15, "F_SETOWN_EX";
        /// The same, asked.
        GetOwnEx = 16, "F_GETOWN_EX";
        /// As `GetLk`, locks of the open file.
        OfdGetLk = 36, "F_OFD_GETLK";
        /// As `SetLk`, locks of the open file.
        OfdSetLk = 37, "F_OFD_SETLK";
        /// As `SetLkW`, locks of the open file.
        OfdSetLkW = 38, "F_OFD_SETLKW";
        /// Set a lease.
        SetLease = 1024, "F_SETLEASE";
        /// Ask for a lease.
        GetLease = 1025, "F_GETLEASE";
        /// Watch a directory.
        Notify = 1026, "F_NOTIFY";
        /// As `DupFd`, and close on exec.
        DupFdCloexec = 1030, "F_DUPFD_CLOEXEC";
        /// Size of a pipe.
        SetPipeSize = 1031, "F_SETPIPE_SZ";
        /// The same, asked.
        GetPipeSize = 1032, "F_GETPIPE_SZ";
        /// Add [`Seals`].
        AddSeals = 1033, "F_ADD_SEALS";
        /// The same, asked.
        GetSeals = 1034, "F_GET_SEALS";
    }
}

abi_flags! {
    /// Flags of a descriptor (`F_SETFD`).
    pub struct FdFlags: u32 {
        /// Close on exec.
        const CLOEXEC = 1;
    }
}

abi_flags! {
    /// Seals of a memfd (`F_ADD_SEALS` in `fcntl(2)`).
    pub struct Seals: u32 {
        /// No more seals.
        const SEAL = 0x01;
        /// It cannot shrink.
        const SHRINK = 0x02;
        /// It cannot grow.
        const GROW = 0x04;
        /// It cannot be written.
        const WRITE = 0x08;
        /// It cannot be written, but through mappings that exist.
        const FUTURE_WRITE = 0x10;
    }
}

abi_enum! {
    /// `whence` of [`lseek(2)`](https://man7.org/linux/man-pages/man2/lseek.2.html).
    pub enum Whence: u32 {
        /// From the start.
        Set = 0, "SEEK_SET";
        /// From the present offset.
        Current = 1, "SEEK_CUR";
        /// From the end.
        End = 2, "SEEK_END";
        /// The next data; `ENXIO` past the end.
        Data = 3, "SEEK_DATA";
        /// The next hole.
        Hole = 4, "SEEK_HOLE";
    }
}

abi_flags! {
    /// Flags of [`fallocate(2)`](https://man7.org/linux/man-pages/man2/fallocate.2.html); unknown ones are
    /// `EOPNOTSUPP`.
    pub struct FallocateFlags: u32 {
        /// The size stays.
        const KEEP_SIZE = 0x01;
        /// A hole; needs `KEEP_SIZE`.
        const PUNCH_HOLE = 0x02;
        /// Take the range out.
        const COLLAPSE_RANGE = 0x08;
        /// Zeroes.
        const ZERO_RANGE = 0x10;
        /// Put a hole in between.
        const INSERT_RANGE = 0x20;
        /// Unshare copied blocks.
        const UNSHARE_RANGE = 0x40;
    }
}

abi_flags! {
    /// Flags of [`renameat2(2)`](https://man7.org/linux/man-pages/man2/rename.2.html).
    pub struct RenameFlags: u32 {
        /// `EEXIST` if the target exists.
        const NOREPLACE = 1;
        /// Swap.
        const EXCHANGE = 2;
        /// Leave a whiteout.
        const WHITEOUT = 4;
    }
}

abi_flags! {
    /// Operation of [`flock(2)`](https://man7.org/linux/man-pages/man2/flock.2.html): one of the first, third
    /// and fourth.
    pub struct FlockOperation: u32 {
        /// Shared.
        const SH = 1;
        /// Exclusive.
        const EX = 2;
        /// Do not wait.
        const NB = 4;
        /// Unlock.
        const UN = 8;
    }
}

abi_flags! {
    /// Flags of [`pipe2(2)`](https://man7.org/linux/man-pages/man2/pipe.2.html).
    pub struct PipeFlags: u32 {
        /// Do not wait.
        const NONBLOCK = 0o4000;
        /// Packets.
        const DIRECT = 0o40000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
    }
}

abi_flags! {
    /// Flags of [`splice(2)`](https://man7.org/linux/man-pages/man2/splice.2.html) and `tee(2)`.
    pub struct SpliceFlags: u32 {
        /// Move pages.
        const MOVE = 1;
        /// Do not wait.
        const NONBLOCK = 2;
        /// More will come.
        const MORE = 4;
        /// Give pages away.
        const GIFT = 8;
    }
}

abi_flags! {
    /// Flags of [`preadv2(2)`](https://man7.org/linux/man-pages/man2/readv.2.html); unknown ones are
    /// `EOPNOTSUPP`.
    pub struct RwFlags: u32 {
        /// Poll for completion.
        const HIPRI = 0x1;
        /// As `O_DSYNC`.
        const DSYNC = 0x2;
        /// As `O_SYNC`.
        const SYNC = 0x4;
        /// Do not wait.
        const NOWAIT = 0x8;
        /// As `O_APPEND`.
        const APPEND = 0x10;
    }
}

abi_flags! {
    /// Flags of [`sync_file_range(2)`](https://man7.org/linux/man-pages/man2/sync_file_range.2.html).
    pub struct SyncFileRangeFlags: u32 {
        /// Wait for writes that were begun.
        const WAIT_BEFORE = 1;
        /// Begin to write.
        const WRITE = 2;
        /// Wait for that.
        const WAIT_AFTER = 4;
    }
}

/// `setxattr(2)`: `EEXIST` if the attribute exists.
pub const XATTR_CREATE: u32 = 1;
/// `setxattr(2)`: `ENODATA` if it does not.
pub const XATTR_REPLACE: u32 = 2;

abi_enum! {
    /// Advice of [`fadvise64(2)`](https://man7.org/linux/man-pages/man2/posix_fadvise.2.html).
    pub enum Fadvice: u32 {
        /// No special treatment.
        Normal = 0, "POSIX_FADV_NORMAL";
        /// Random access.
        Random = 1, "POSIX_FADV_RANDOM";
        /// Sequential access.
        Sequential = 2, "POSIX_FADV_SEQUENTIAL";
        /// Will be needed.
        WillNeed = 3, "POSIX_FADV_WILLNEED";
        /// Will not be needed.
        DontNeed = 4, "POSIX_FADV_DONTNEED";
        /// Once only.
        NoReuse = 5, "POSIX_FADV_NOREUSE";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        for (ours, theirs) in [
            (OpenFlags::CREAT, libc::O_CREAT),
            (OpenFlags::EXCL, libc::O_EXCL),
            (OpenFlags::NOCTTY, libc::O_NOCTTY),
            (OpenFlags::TRUNC, libc::O_TRUNC),
            (OpenFlags::APPEND, libc::O_APPEND),
            (OpenFlags::NONBLOCK, libc::O_NONBLOCK),
            (OpenFlags::DSYNC, libc::O_DSYNC),
            (OpenFlags::SYNC, libc::O_SYNC),
            (OpenFlags::ASYNC, libc::O_ASYNC),
            (OpenFlags::DIRECT, libc::O_DIRECT),
            (OpenFlags::DIRECTORY, libc::O_DIRECTORY),
            (OpenFlags::NOFOLLOW, libc::O_NOFOLLOW),
            (OpenFlags::NOATIME, libc::O_NOATIME),
            (OpenFlags::CLOEXEC, libc::O_CLOEXEC),
            (OpenFlags::PATH, libc::O_PATH),
            (OpenFlags::TMPFILE, libc::O_TMPFILE),
        ] {
            assert_eq!(ours.bits(), theirs as u32, "{ours:?}");
        }
        assert_eq!(FcntlCommand::DupFdCloexec.raw(), libc::F_DUPFD_CLOEXEC as u32);
        assert_eq!(FcntlCommand::GetSeals.raw(), libc::F_GET_SEALS as u32);
        assert_eq!(FcntlCommand::SetLkW.raw(), libc::F_SETLKW as u32);
        assert_eq!(FcntlCommand::OfdSetLkW.raw(), libc::F_OFD_SETLKW as u32);
        assert_eq!(AtFlags::EMPTY_PATH.bits(), libc::AT_EMPTY_PATH as u32);
        assert_eq!(AtFlags::SYMLINK_FOLLOW.bits(), libc::AT_SYMLINK_FOLLOW as u32);
        assert_eq!(FallocateFlags::PUNCH_HOLE.bits(), libc::FALLOC_FL_PUNCH_HOLE as u32);
        assert_eq!(RenameFlags::EXCHANGE.bits(), libc::RENAME_EXCHANGE);
        assert_eq!(Whence::Hole.raw(), libc::SEEK_HOLE as u32);
    }

    #[test]
    fn a_call_allows_only_its_flags() {
        let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        assert_eq!(AtFlags::allowed(0x100, allowed), Ok(AtFlags::SYMLINK_NOFOLLOW));
        assert_eq!(AtFlags::allowed(0x200, allowed), Err(Errno::EINVAL));
        assert_eq!(AtFlags::allowed(0x8000_0000, allowed), Err(Errno::EINVAL));
    }

    #[test]
    fn the_access_mode_is_apart() {
        let raw = (libc::O_RDWR | libc::O_CREAT) as u32 | 0x4000_0000;
        assert_eq!(AccessMode::of(raw), AccessMode::ReadWrite);
        assert_eq!(OpenFlags::of(raw), OpenFlags::CREAT);
        assert!(!AccessMode::of(3).can_read());
    }
}
