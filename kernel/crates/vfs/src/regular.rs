//! The open files of regular files, directories and `O_PATH` descriptors.

use alloc::sync::Arc;
use core::any::Any;

use linux_abi::Errno;

use crate::{
    Blocking, File, Inode, MemoryObject, Metadata, PollEvents, ReadDst, Seekable, WritePosition, WriteSrc,
    Written,
    size_limit::{self, Limited},
};

/// An open regular file: everything is up to its inode.
pub struct RegularFile {
    inode: Arc<dyn Inode>,
}

impl RegularFile {
    /// The open file of `inode`.
    pub fn new(inode: Arc<dyn Inode>) -> Self {
        Self { inode }
    }
}

impl File for RegularFile {
    fn read_at(&self, offset: u64, dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        self.inode.read_at(offset, dst)
    }

    fn write_at(&self, offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        Ok(self.write_position(WritePosition::At(offset), src, blocking)?.bytes)
    }

    fn write_position(
        &self,
        position: WritePosition,
        src: &mut dyn WriteSrc,
        _blocking: Blocking,
    ) -> Result<Written, Errno> {
        if size_limit::is_limited() {
            let offset = match position {
                WritePosition::At(offset) => offset,
                WritePosition::End => self.inode.metadata()?.size,
            };
            if let Some(left) = size_limit::room_at(offset, src.remaining())? {
                return self.inode.write_at(position, &mut Limited { src, left });
            }
        }
        self.inode.write_at(position, src)
    }

    fn seekable(&self) -> Seekable {
        Seekable::Yes
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        self.inode.metadata()
    }

    fn memory_object(&self) -> Result<Arc<dyn MemoryObject>, Errno> {
        self.inode.clone().memory_object()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open directory: its entries are read through [`OpenFile`](crate::OpenFile).
pub struct DirectoryFile {
    inode: Arc<dyn Inode>,
}

impl DirectoryFile {
    /// The open file of the directory `inode`.
    pub fn new(inode: Arc<dyn Inode>) -> Self {
        Self { inode }
    }
}

impl File for DirectoryFile {
    fn read_at(&self, _offset: u64, _dst: &mut dyn ReadDst, _blocking: Blocking) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> Seekable {
        Seekable::Yes
    }

    fn metadata(&self) -> Result<Metadata, Errno> {
        self.inode.metadata()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What an `O_PATH` descriptor has in place of an open file.
pub struct PathFile;

impl File for PathFile {
    fn poll(&self) -> PollEvents {
        PollEvents::NVAL
    }

    fn seekable(&self) -> Seekable {
        Seekable::Yes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
