//! What the kernel tells about files.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The bits of a mode that hold the [`FileType`].
pub const S_IFMT: u32 = 0o170000;

/// The bits of a mode that `chmod(2)` sets.
pub const MODE_PERMISSIONS: u32 = 0o7777;

/// What one `read` or `write` moves at most: `INT_MAX` rounded down to a page (`read(2)`, "Notes").
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// What a file is, from `st_mode` or `d_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum FileType {
    /// `S_IFIFO`.
    Fifo = 0o010000,
    /// `S_IFCHR`.
    CharDevice = 0o020000,
    /// `S_IFDIR`.
    Directory = 0o040000,
    /// `S_IFBLK`.
    BlockDevice = 0o060000,
    /// `S_IFREG`.
    Regular = 0o100000,
    /// `S_IFLNK`.
    Symlink = 0o120000,
    /// `S_IFSOCK`.
    Socket = 0o140000,
}

impl FileType {
    /// The type's bits in `st_mode`.
    pub const fn mode_bits(self) -> u32 {
        self as u32
    }

    /// The type in a mode.
    pub const fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & S_IFMT {
            0o010000 => Self::Fifo,
            0o020000 => Self::CharDevice,
            0o040000 => Self::Directory,
            0o060000 => Self::BlockDevice,
            0o100000 => Self::Regular,
            0o120000 => Self::Symlink,
            0o140000 => Self::Socket,
            _ => return None,
        })
    }

    /// `d_type` of a directory entry: the mode's type bits shifted down (`DT_*`, `readdir(3)`). Unknown is 0.
    pub const fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// A device's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DeviceNumber {
    /// The driver: 12 bits.
    pub major: u32,
    /// The device: 20 bits.
    pub minor: u32,
}

impl DeviceNumber {
    /// As `st_dev` and `st_rdev` have it (`new_encode_dev` in `linux/kdev_t.h`).
    pub const fn encode(self) -> u64 {
        ((self.minor & 0xff) | self.major << 8 | (self.minor & !0xff) << 12) as u64
    }

    /// From `mknod(2)`'s argument (`new_decode_dev`).
    pub const fn decode(raw: u32) -> Self {
        Self { major: (raw & 0xf_ff00) >> 8, minor: (raw & 0xff) | (raw >> 12 & 0xf_ff00) }
    }
}

/// `struct fstrim_range` of `FITRIM` (`include/uapi/linux/fs.h`), in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrimRange {
    pub start: u64,
    /// Of the range; after the call, of what was given back.
    pub len: u64,
    /// Pieces that are shorter stay.
    pub minlen: u64,
}

/// `struct stat` of x86-64 (uapi `asm/stat.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stat {
    /// The device: [`DeviceNumber::encode`].
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// Names of the file.
    pub nlink: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Zero.
    pub padding: u32,
    /// For a device file, which.
    pub rdev: u64,
    /// Bytes.
    pub size: i64,
    /// Good size for I/O.
    pub blksize: i64,
    /// Units of 512 bytes.
    pub blocks: i64,
    /// Last access.
    pub atime: u64,
    /// Its nanoseconds.
    pub atime_nsec: u64,
    /// Last change of the contents.
    pub mtime: u64,
    /// Its nanoseconds.
    pub mtime_nsec: u64,
    /// Last change of the inode.
    pub ctime: u64,
    /// Its nanoseconds.
    pub ctime_nsec: u64,
    /// Zero.
    pub unused: [i64; 3],
}

assert_layout!(Stat, size = 144, mode @ 24, rdev @ 40, size @ 48, blocks @ 64, atime @ 72, ctime @ 104);

abi_flags! {
    /// What [`statx(2)`](https://man7.org/linux/man-pages/man2/statx.2.html) is asked for, and has told. Bit
    /// 31 set is `EINVAL`, other unknown bits are ignored.
    pub struct StatxMask: u32 {
        /// The type in `mode`.
        const TYPE = 0x1;
        /// The permissions in `mode`.
        const MODE = 0x2;
        /// `nlink`.
        const NLINK = 0x4;
        /// `uid`.
        const UID = 0x8;
        /// `gid`.
        const GID = 0x10;
        /// `atime`.
        const ATIME = 0x20;
        /// `mtime`.
        const MTIME = 0x40;
        /// `ctime`.
        const CTIME = 0x80;
        /// `ino`.
        const INO = 0x100;
        /// `size`.
        const SIZE = 0x200;
        /// `blocks`.
        const BLOCKS = 0x400;
        /// `btime`.
        const BTIME = 0x800;
        /// `mnt_id`.
        const MNT_ID = 0x1000;
        /// `dio_mem_align`, `dio_offset_align`.
        const DIOALIGN = 0x2000;
    }
}

impl StatxMask {
    /// All that `stat(2)` tells.
    pub const BASIC_STATS: Self = Self::from_bits_truncate(0x7ff);
}

abi_flags! {
    /// `attributes` of [`Statx`].
    pub struct StatxAttributes: u64 {
        /// Compressed.
        const COMPRESSED = 0x4;
        /// Cannot be changed.
        const IMMUTABLE = 0x10;
        /// Can only grow.
        const APPEND = 0x20;
        /// Not for backups.
        const NODUMP = 0x40;
        /// Encrypted.
        const ENCRYPTED = 0x800;
        /// Mounts when used.
        const AUTOMOUNT = 0x1000;
        /// Root of a mount.
        const MOUNT_ROOT = 0x2000;
        /// With fs-verity.
        const VERITY = 0x10_0000;
        /// Without page cache.
        const DAX = 0x20_0000;
    }
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatxTimestamp {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
    /// Zero.
    pub reserved: i32,
}

/// `struct statx`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statx {
    /// What is told.
    pub mask: StatxMask,
    /// Good size for I/O.
    pub blksize: u32,
    /// Attributes.
    pub attributes: StatxAttributes,
    /// Names of the file.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Zero.
    pub spare0: u16,
    /// The inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// The attributes that the file system knows.
    pub attributes_mask: StatxAttributes,
    /// Last access.
    pub atime: StatxTimestamp,
    /// Creation.
    pub btime: StatxTimestamp,
    /// Last change of the inode.
    pub ctime: StatxTimestamp,
    /// Last change of the contents.
    pub mtime: StatxTimestamp,
    /// For a device file, which.
    pub rdev_major: u32,
    /// For a device file, which.
    pub rdev_minor: u32,
    /// The device.
    pub dev_major: u32,
    /// The device.
    pub dev_minor: u32,
    /// The mount.
    pub mnt_id: u64,
    /// Alignment of memory for direct I/O.
    pub dio_mem_align: u32,
    /// Alignment of offsets for direct I/O.
    pub dio_offset_align: u32,
    /// Zero.
    pub spare3: [u64; 12],
}

assert_layout!(
    Statx,
    size = 256,
    nlink @ 0x10,
    mode @ 0x1c,
    ino @ 0x20,
    atime @ 0x40,
    rdev_major @ 0x80,
    dev_major @ 0x88,
    mnt_id @ 0x90,
    spare3 @ 0xa0,
);

/// `struct statfs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statfs {
    /// Kind of file system; see [`magic`].
    pub kind: i64,
    /// Good size for I/O.
    pub bsize: i64,
    /// Blocks of `frsize` bytes.
    pub blocks: u64,
    /// Free ones.
    pub bfree: u64,
    /// Free ones for all users.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub ffree: u64,
    /// Identity.
    pub fsid: [i32; 2],
    /// Longest name.
    pub namelen: i64,
    /// Bytes of a block.
    pub frsize: i64,
    /// How it is mounted.
    pub flags: StatfsFlags,
    /// Zero.
    pub spare: [i64; 4],
}

assert_layout!(Statfs, size = 120, fsid @ 56, namelen @ 64, flags @ 80);

abi_flags! {
    /// `f_flags` of [`statfs(2)`](https://man7.org/linux/man-pages/man2/statfs.2.html).
    pub struct StatfsFlags: u64 {
        /// Read-only.
        const RDONLY = 0x1;
        /// Set-user-id bits are ignored.
        const NOSUID = 0x2;
        /// Device files are ignored.
        const NODEV = 0x4;
        /// Nothing can be executed.
        const NOEXEC = 0x8;
        /// Writes are synchronous.
        const SYNCHRONOUS = 0x10;
        /// The flags are valid; Linux always sets it.
        const VALID = 0x20;
        /// Access times stay.
        const NOATIME = 0x400;
        /// Access times of directories stay.
        const NODIRATIME = 0x800;
        /// Access times change rarely.
        const RELATIME = 0x1000;
    }
}

/// Kinds of file systems (uapi `linux/magic.h`).
#[allow(missing_docs, reason = "the names say it")]
pub mod magic {
    pub const EXT4: i64 = 0xef53;
    pub const TMPFS: i64 = 0x0102_1994;
    pub const OVERLAYFS: i64 = 0x794c_7630;
    pub const PROC: i64 = 0x9fa0;
    pub const SYSFS: i64 = 0x6265_6572;
    pub const CGROUP2: i64 = 0x6367_7270;
    pub const DEVPTS: i64 = 0x1cd1;
    pub const PIPEFS: i64 = 0x5049_5045;
    pub const SOCKFS: i64 = 0x534f_434b;
    pub const ANON_INODE: i64 = 0x0904_1934;
    pub const HUGETLBFS: i64 = 0x9584_58f6;
    pub const RAMFS: i64 = 0x8584_58f6;
}

/// The fixed part of `struct linux_dirent64`: 19 bytes, after which come the name, a NUL, and zeroes up to
/// [`dirent64_record_length`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct Dirent64 {
    /// The inode.
    pub ino: u64,
    /// Where `lseek` finds the next entry.
    pub offset: i64,
    /// Bytes of this record.
    pub record_length: u16,
    /// [`FileType::dirent_type`].
    pub kind: u8,
}

assert_layout!(Dirent64, size = 19, offset @ 8, record_length @ 16, kind @ 18);

/// Bytes that `getdents64(2)` needs for an entry whose name has this many bytes: a multiple of 8.
pub const fn dirent64_record_length(name_length: usize) -> usize {
    (size_of::<Dirent64>() + name_length + 1).next_multiple_of(8)
}

/// `struct iovec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iovec {
    /// Address.
    pub base: u64,
    /// Bytes.
    pub length: u64,
}

assert_layout!(Iovec, size = 16, base @ 0, length @ 8);

/// `struct flock`: a lock on a range of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flock {
    /// See [`LockType`].
    pub kind: u16,
    /// Where `start` counts from: `SEEK_SET`, `SEEK_CUR` or `SEEK_END`.
    pub whence: u16,
    /// Not part of the ABI; zero.
    pub padding1: u32,
    /// First byte.
    pub start: i64,
    /// Bytes; 0 reaches to infinity, and a negative number counts down from `start`.
    pub length: i64,
    /// Who holds the lock: told by `F_GETLK`, -1 for a lock of an open file.
    pub pid: i32,
    /// Not part of the ABI; zero.
    pub padding2: u32,
}

assert_layout!(Flock, size = 32, kind @ 0, whence @ 2, start @ 8, length @ 16, pid @ 24);

abi_enum! {
    /// What a [`Flock`] asks for.
    pub enum LockType: u16 {
        /// Shared.
        Read = 0, "F_RDLCK";
        /// Exclusive.
        Write = 1, "F_WRLCK";
        /// None.
        Unlock = 2, "F_UNLCK";
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_are_libcs() {
        assert_eq!(size_of::<Stat>(), size_of::<libc::stat>());
        assert_eq!(offset_of!(Stat, size), offset_of!(libc::stat, st_size));
        assert_eq!(offset_of!(Stat, mtime), offset_of!(libc::stat, st_mtime));
        assert_eq!(size_of::<Statx>(), size_of::<libc::statx>());
        assert_eq!(offset_of!(Statx, btime), offset_of!(libc::statx, stx_btime));
        assert_eq!(size_of::<Statfs>(), size_of::<libc::statfs>());
        assert_eq!(offset_of!(Statfs, fsid), offset_of!(libc::statfs, f_fsid));
        assert_eq!(size_of::<Flock>(), size_of::<libc::flock>());
        assert_eq!(offset_of!(Flock, pid), offset_of!(libc::flock, l_pid));
        assert_eq!(offset_of!(libc::dirent64, d_name), size_of::<Dirent64>());
        assert_eq!(magic::EXT4, libc::EXT4_SUPER_MAGIC);
        assert_eq!(magic::TMPFS, libc::TMPFS_MAGIC);
        assert_eq!(magic::OVERLAYFS, libc::OVERLAYFS_SUPER_MAGIC);
        assert_eq!(magic::PROC, libc::PROC_SUPER_MAGIC);
        assert_eq!(magic::CGROUP2, libc::CGROUP2_SUPER_MAGIC);
    }

    #[test]
    fn device_numbers_are_glibcs() {
        for (major, minor) in [(0, 0), (8, 1), (259, 300), (4095, 0xf_ffff)] {
            let device = DeviceNumber { major, minor };
            assert_eq!(device.encode(), libc::makedev(major, minor));
            assert_eq!(DeviceNumber::decode(device.encode() as u32), device);
        }
    }

    #[test]
    fn file_types_round_trip() {
        for (mode, kind, dirent) in [
            (libc::S_IFREG, FileType::Regular, libc::DT_REG),
            (libc::S_IFDIR, FileType::Directory, libc::DT_DIR),
            (libc::S_IFLNK, FileType::Symlink, libc::DT_LNK),
            (libc::S_IFSOCK, FileType::Socket, libc::DT_SOCK),
            (libc::S_IFCHR, FileType::CharDevice, libc::DT_CHR),
        ] {
            assert_eq!(FileType::of_mode(mode | 0o755), Some(kind));
            assert_eq!((kind.mode_bits(), kind.dirent_type()), (mode, dirent));
        }
        assert_eq!(FileType::of_mode(0o755), None);
    }

    #[test]
    fn directory_records_are_multiples_of_eight() {
        assert_eq!(dirent64_record_length(1), 24);
        assert_eq!(dirent64_record_length(4), 24);
        assert_eq!(dirent64_record_length(5), 32);
    }
}
