//! Open files, readiness, and the file-system interface.
//!
//! Everything that a file descriptor can name implements [`File`]: regular files, directories,
//! pipes, event counters, sockets, devices. What of it belongs to a single `open(2)` (offset, status
//! flags) is an [`OpenFile`], which descriptors share after `dup(2)`.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod close_watch;
mod file;
mod io;
mod poll;

pub use close_watch::{CloseWatch, CloseWatcher, WatchList};
pub use file::{Blocking, File, MemoryObject, ObjectName, PageAccess};
pub use io::{ReadDst, SliceSrc, WriteSrc};
pub use poll::{Notified, Observer, ObserverId, PollEvents, Pollee, Sharing};
