//! What a file descriptor can name.

use alloc::{sync::Arc, vec::Vec};
use core::any::Any;

use frames::PageRef;
use linux_abi::{Errno, file::FileType};

use crate::{InodeId, Metadata, PollEvents, Pollee, ReadDst, WriteErrors, WritePosition, WriteSrc, Written};

/// Whether a call may wait for the file to become ready (`O_NONBLOCK`, `MSG_DONTWAIT`, `RWF_NOWAIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Wait.
    Yes,
    /// Answer `EAGAIN` instead.
    No,
}

/// Whether a file has offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seekable {
    /// It has.
    Yes,
    /// It takes any, but its own stays 0: `/dev/null` and the like (`null_lseek` in Linux's
    /// `drivers/char/mem.c`).
    StaysAtStart,
    /// It is a stream: `lseek(2)` and `pread(2)` answer `ESPIPE`.
    No,
}

/// An object behind a file descriptor.
///
/// Streams (pipes, sockets, terminals) ignore the offsets. An operation that the kind of object
/// does not have answers with the errno that Linux gives, which is what the defaults do.
pub trait File: Send + Sync + Any {
    /// Reads at `offset` into `dst`, as far as there is data and room; 0 is the end of the file.
    fn read_at(&self, _offset: u64, _dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes what `src` has at `offset`.
    fn write_at(&self, _offset: u64, _src: &mut dyn WriteSrc, _blocking: Blocking) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes at an offset or at the end, whichever `position` says, and tells where that ended.
    fn write_position(
        &self,
        position: WritePosition,
        src: &mut dyn WriteSrc,
        blocking: Blocking,
    ) -> Result<Written, Errno> {
        let offset = match position {
            WritePosition::At(offset) => offset,
            WritePosition::End => self.metadata()?.size,
        };
        let bytes = self.write_at(offset, src, blocking)?;
        Ok(Written { bytes, end: offset + bytes as u64 })
    }

    /// Whether the file has offsets.
    fn seekable(&self) -> Seekable {
        Seekable::No
    }

    /// What `fstat(2)` tells of an object that is in no file system. Those in one are asked through
    /// their inode.
    fn metadata(&self) -> Result<Metadata, Errno> {
        // The inode that Linux shares between event counters, epoll instances and the like is of no
        // type at all; programs only compare it.
        Ok(Metadata::anonymous(InodeId { device: ANONYMOUS_DEVICE, number: 1 }, FileType::Regular, 0o600))
    }

    /// What `/proc/self/fd` shows for an object that is in no file system.
    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:[unknown]".to_vec()
    }

    /// Whether such an object can be opened again through `/proc/self/fd` (pipes and terminals can).
    fn can_reopen(&self) -> bool {
        false
    }

    /// What is ready now.
    fn poll(&self) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// Where to wait for readiness, or `None` if the object is always ready (`epoll_ctl(2)` then
    /// answers `EPERM`).
    fn pollee(&self) -> Option<&Pollee> {
        None
    }

    /// The memory that `mmap(2)` of this file maps.
    fn memory_object(&self) -> Result<Arc<dyn MemoryObject>, Errno> {
        Err(Errno::ENODEV)
    }

    /// Device-specific control; `argument` is what the application passed, unchecked.
    fn ioctl(&self, _request: u32, _argument: usize) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    /// How many bytes a read would find now (`FIONREAD`), for objects that can say.
    fn readable_bytes(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    /// For those calls that only one kind of file has (`epoll_ctl`, `timerfd_settime`, ...).
    fn as_any(&self) -> &dyn Any;
}

/// `st_dev` of objects that are in no file system.
pub const ANONYMOUS_DEVICE: u64 = 12;

/// What a page of a [`MemoryObject`] is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAccess {
    /// It will only be read, or copied before it is written (private mappings).
    Read,
    /// It will be written through a shared mapping: the object must take it as dirty.
    SharedWrite,
}

/// A source of pages that can be mapped: a file's page cache, a memfd, a device's shared memory.
pub trait MemoryObject: Send + Sync {
    /// The page at `index` (in pages from the start). May wait for I/O; never called with a lock of
    /// the memory map held. `EFAULT` beyond the end of the object, which becomes SIGBUS; `EIO` and
    /// `ENOSPC` likewise.
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno>;

    /// The page at `index` if that takes no waiting; for mapping around a fault.
    fn cached_page(&self, _index: u64) -> Option<PageRef> {
        None
    }

    /// Writes the pages in `first..last` that may have been written through mappings back to where
    /// they belong (`msync(2)`).
    fn sync_pages(&self, _first: u64, _last: u64) -> Result<(), Errno> {
        Ok(())
    }

    /// The failures of such writes, if there can be any.
    fn write_errors(&self) -> Option<&WriteErrors> {
        None
    }

    /// Makes a hole of these pages (`MADV_REMOVE`), and takes them out of all mappings if the object is a
    /// file.
    fn remove_pages(&self, _pages: core::ops::Range<u64>) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// What `/proc/self/maps` prints: path, device and inode number.
    fn describe(&self) -> ObjectName;
}

/// The identity of a mapped object, as `/proc/self/maps` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectName {
    /// Path from the root, or a name such as `/memfd:x (deleted)`.
    pub path: alloc::string::String,
    /// Device number (`st_dev`).
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}
