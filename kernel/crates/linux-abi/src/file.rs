//! Files: `open(2)`, `fcntl(2)`, `stat(2)`, `statx(2)`, `statfs(2)`, `getdents64(2)`, `lseek(2)`, `readv(2)`,
//! `fallocate(2)`, `renameat2(2)`, `flock(2)` (uapi `asm-generic/fcntl.h`, `linux/fcntl.h`, `asm/stat.h`,
//! `linux/stat.h`, `asm-generic/statfs.h`, `linux/falloc.h`, `linux/magic.h`).

mod flags;
mod stat;

pub use flags::{
    AT_FDCWD, AccessMode, AccessModeBits, AtFlags, Fadvice, FallocateFlags, FcntlCommand, FdFlags,
    FlockOperation, IOV_MAX, NAME_MAX, O_ACCMODE, OpenFlags, OpenHow, PATH_MAX, PipeFlags, RenameFlags,
    ResolveFlags, RwFlags, Seals, SpliceFlags, SyncFileRangeFlags, Whence, XATTR_CREATE, XATTR_REPLACE,
};
pub use stat::{
    DeviceNumber, Dirent64, FileType, Flock, Iovec, LockType, MAX_RW_COUNT, MODE_PERMISSIONS, S_IFMT, Stat,
    Statfs, StatfsFlags, Statx, StatxAttributes, StatxMask, StatxTimestamp, TrimRange,
    dirent64_record_length, magic,
};
