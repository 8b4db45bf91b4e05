//! Open files, readiness, and the file-system interface.
//!
//! Everything that a file descriptor can name implements [`File`]: regular files, directories,
//! pipes, event counters, sockets, devices. What of it belongs to a single `open(2)` (offset, status
//! flags) is an [`OpenFile`], which descriptors share after `dup(2)`.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod close_watch;
mod dentry;
mod fd_table;
mod file;
mod inode;
mod io;
mod known_as;
mod locks;
mod mount;
mod namespace;
mod notify;
mod open;
mod open_file;
mod poll;
mod regular;
mod size_limit;
mod walk;
mod write_errors;

pub use close_watch::{CloseWatch, CloseWatcher, WatchList};
pub use dentry::{Dentry, DentryCache, DentryState};
pub use fd_table::{Fd, FdFlags, FdTable};
pub use file::{ANONYMOUS_DEVICE, Blocking, File, MemoryObject, ObjectName, PageAccess, Seekable};
pub use inode::{
    AttributeChanges, DirectoryEntry, EntrySink, FileSystem, Inode, InodeId, LinkTarget, Metadata,
    NameCaching, NewInode, Progress, RenameKind, SyncKind, Timestamp, WritePosition, Writeback, Written,
    XattrMode, next_anonymous_device,
};
pub use io::{Part, ReadDst, SliceSrc, WriteSrc, transfer_parts};
pub use known_as::{
    KnownAs, PrivateCopies, replace_pages, set_unmapper, set_write_protector, unmap_pages,
    write_protect_pages,
};
pub use linux_abi::file::AccessMode;
pub use locks::{HeldLock, LockKind, LockOwner, LockRange, LockTable, LockWait};
pub use mount::{Mount, Path};
pub use namespace::{MountRequest, Namespace, SpecialFiles};
pub use notify::{Inotify, WatchRequest};
pub use open::OpenRequest;
pub use open_file::{OpenFile, WriteOptions, bracketed_name};
pub use poll::{Notified, Observer, ObserverId, PollEvents, Pollee, Sharing};
pub use regular::{DirectoryFile, PathFile, RegularFile};
pub use size_limit::{check_new_size, set_file_size_alarm, set_file_size_limit};
pub use walk::{Ending, FinalLink, Last, SpecialComponent};
pub use write_errors::{ErrorCursor, WriteErrors};
