//! ext4 behind the VFS.
//!
//! The on-disk format and the journal are the `rsext4` crate's. This adapter gives it a device, and
//! puts around it what it lacks: an inode cache, page-cached contents read with large requests, locking
//! (the crate takes `&mut self`), and the order of operations that keeps data safe. A crash test
//! found that last part to matter: see `tests/crash.rs`, and the rules where they are kept:
//!
//! 1. blocks are freed only after the transaction that drops their last reference has committed:
//!    `Ext4::reap` and `Ext4Inode::set_size` sync first and straight after;
//! 2. `fsync` writes back the inode's dirty pages and then syncs once for all who wait;
//! 3. the crate's lock (`core`) is never held on behalf of a page or a name that is cached;
//! 4. the device is flushed as it says it needs; FUA is not offered;
//! 5. at power-off there is a sync; that the crate cannot unmount then (files are open) does no harm.
//!
//! Locks, outermost first: the page cache's own, an inode's `extents`, the table of inodes, `core`. An
//! inode's `attributes` and the list of the dead are innermost. No inode may be dropped while one of
//! the last three is held, as that takes them.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod commit;
mod contents;
mod core_io;
mod core_mount;
mod directory;
mod discard;
mod disk;
mod file_system;
mod free_space;
mod health;
mod inode;
mod inode_bitmaps;
mod inode_times;
mod marks;
mod reap;
mod space;
pub mod superblock;
mod unnamed;
mod xattr;

use linux_abi::Errno;
use rsext4::{Ext4Error, Ext4ErrorKind};

pub use discard::Discard;
pub use file_system::{Access, Ext4};
pub use health::{Health, first_damage};
pub use superblock::{Condition, Superblock};

/// The errno for an error of the crate. Damage is `EUCLEAN`, as Linux's ext4 has it.
fn errno(error: Ext4Error) -> Errno {
    match error.kind() {
        Ext4ErrorKind::Io => Errno::EIO,
        Ext4ErrorKind::Corrupted | Ext4ErrorKind::ChecksumMismatch | Ext4ErrorKind::BadSuperblock => {
            Errno::EUCLEAN
        }
        Ext4ErrorKind::JournalAborted | Ext4ErrorKind::ReadOnly => Errno::EROFS,
        Ext4ErrorKind::UnsupportedFeature
        | Ext4ErrorKind::UnsupportedCapability
        | Ext4ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        Ext4ErrorKind::NoSpace => Errno::ENOSPC,
        Ext4ErrorKind::NoMemory => Errno::ENOMEM,
        Ext4ErrorKind::QuotaExceeded => Errno::EDQUOT,
        Ext4ErrorKind::TooManyLinks => Errno::EMLINK,
        Ext4ErrorKind::PermissionDenied => Errno::EPERM,
        Ext4ErrorKind::NotFound => Errno::ENOENT,
        Ext4ErrorKind::AlreadyExists => Errno::EEXIST,
        Ext4ErrorKind::NotDirectory => Errno::ENOTDIR,
        Ext4ErrorKind::IsDirectory => Errno::EISDIR,
        Ext4ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        Ext4ErrorKind::Busy => Errno::EBUSY,
        Ext4ErrorKind::BadFileDescriptor => Errno::EBADF,
        Ext4ErrorKind::InvalidInput | Ext4ErrorKind::InvalidMagic => Errno::EINVAL,
        Ext4ErrorKind::Overflow => Errno::EOVERFLOW,
        Ext4ErrorKind::FileTooLarge => Errno::EFBIG,
        Ext4ErrorKind::Timeout => Errno::ETIMEDOUT,
    }
}
