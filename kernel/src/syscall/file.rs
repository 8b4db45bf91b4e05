//! Opening, reading, writing and seeking.

use alloc::{sync::Arc, vec};
use core::cmp::min;

use ::ipc::{
    pipe::PipeEnd,
    socket::{SendOptions, Socket, SocketFile},
};
use frames::PageRef;
use inet::TcpSocket;
use linux_abi::{
    Errno,
    file::{
        AT_FDCWD, AccessMode, Fadvice, FileType, MAX_RW_COUNT, O_ACCMODE, OpenFlags, OpenHow, ResolveFlags,
        RwFlags, SyncFileRangeFlags, Whence,
    },
    socket::MessageFlags,
};
use packet::Fragment;
use vfs::{Blocking, OpenFile, OpenRequest, ReadDst, SliceSrc, SyncKind, WriteOptions, WriteSrc};
use zerocopy::FromBytes;

use super::{Result, UserString};
use crate::{
    fs::{self, descriptor, namespace},
    task::io_counts::{count_read, count_write},
    user::{UserBuffers, UserPtr},
};

/// Kernel memory through which `sendfile(2)` and `copy_file_range(2)` copy.
const COPY_BYTES: usize = 64 << 10;

/// `open(2)`.
pub fn sys_open(path: UserString, flags: u32, mode: u32) -> Result {
    sys_openat(AT_FDCWD, path, flags, mode)
}

/// `creat(2)`.
pub fn sys_creat(path: UserString, mode: u32) -> Result {
    let flags = OpenFlags::CREAT | OpenFlags::TRUNC;
    sys_openat(AT_FDCWD, path, flags.bits() | AccessMode::WriteOnly as u32, mode)
}

/// `openat(2)`.
pub fn sys_openat(directory: i32, path: UserString, flags: u32, mode: u32) -> Result {
    let path = path.0.read_path()?;
    let base = fs::base_of(directory, &path)?;
    let request = OpenRequest {
        access: AccessMode::of(flags),
        flags: OpenFlags::of(flags),
        permissions: (mode & 0o7777) as u16 & !fs::umask(),
    };
    let file = namespace().open(&base, &path, &request)?;
    fs::install(file, request.flags)
}

/// `openat2(2)`.
pub fn sys_openat2(directory: i32, path: UserString, how: UserPtr<u8>, size: usize) -> Result {
    const PAGE_BYTES: usize = 4096;
    if size < OpenHow::SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_BYTES {
        return Err(Errno::E2BIG);
    }
    let bytes = how.read_vec(size)?;
    let Ok((how, rest)) = OpenHow::read_from_prefix(&bytes) else { return Err(Errno::EINVAL) };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let (request, limits) = decode_how(how)?;
    let path = path.0.read_path()?;
    // A walk that is kept inside of the directory begins there, whatever the path begins with.
    let is_scoped = limits.intersects(ResolveFlags::SCOPED);
    let base = fs::base_of(directory, if is_scoped { b"" } else { &path })?;
    if limits.contains(ResolveFlags::CACHED) {
        // Whether all is in memory is not known before: the caller is to ask again without this flag.
        return Err(Errno::EAGAIN);
    }
    let file = namespace().open_within(&base, &path, &request, limits)?;
    fs::install(file, request.flags)
}

/// Checks what `openat2` was asked, which it does more strictly than `open` (`build_open_flags` in Linux's `fs/open.c`).
fn decode_how(how: OpenHow) -> core::result::Result<(OpenRequest, ResolveFlags), Errno> {
    let raw = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let access = AccessMode::of(raw);
    let flags = OpenFlags::from_raw(raw & !O_ACCMODE)?;
    let limits = ResolveFlags::from_raw(how.resolve)?;
    let creates = flags.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE_ALONE);
    let kept_by_path = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    let is_valid = !limits.contains(ResolveFlags::SCOPED)
        && how.mode & !if creates { 0o7777 } else { 0 } == 0
        && !flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY)
        && (!flags.contains(OpenFlags::PATH) || (kept_by_path.contains(flags) && raw & O_ACCMODE == 0));
    if !is_valid {
        return Err(Errno::EINVAL);
    }
    Ok((OpenRequest { access, flags, permissions: how.mode as u16 & !fs::umask() }, limits))
}

/// An offset that a call was given: `EINVAL` if it is negative.
fn offset_of(offset: i64) -> core::result::Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno::EINVAL)
}

/// The same for a transfer of `len` bytes there, which must not go past the largest offset (`rw_verify_area` in Linux's
/// `fs/read_write.c`).
fn offset_of_transfer(offset: i64, len: usize) -> core::result::Result<u64, Errno> {
    let end = i64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    if end.is_some() { offset_of(offset) } else { Err(Errno::EINVAL) }
}

/// Ends a call that wrote: it is counted, and an `EPIPE` comes with `SIGPIPE`, as writing to a pipe or a stream socket that
/// nobody reads does. Other files have the error alone: a console whose host is gone must not kill the program.
pub(super) fn after_write(file: &OpenFile, result: Result) -> Result {
    let result = count_write(result);
    if result == Err(Errno::EPIPE) {
        let any = file.file().as_any();
        let is_stream = SocketFile::of(&**file.file()).is_ok_and(|socket| socket.raises_sigpipe());
        if any.is::<PipeEnd>() || is_stream {
            crate::ipc::raise_sigpipe();
        }
    }
    result
}

/// `read(2)`.
pub fn sys_read(fd: i32, buffer: u64, len: usize) -> Result {
    let file = descriptor(fd)?;
    count_read(file.read(&mut UserBuffers::single(buffer, len)?, file.blocking()))
}

/// `write(2)`.
pub fn sys_write(fd: i32, buffer: u64, len: usize) -> Result {
    let file = descriptor(fd)?;
    after_write(&file, file.write(&mut UserBuffers::single(buffer, len)?, file.blocking()))
}

/// `pread64(2)`.
pub fn sys_pread64(fd: i32, buffer: u64, len: usize, offset: i64) -> Result {
    let offset = offset_of_transfer(offset, len)?;
    let file = descriptor(fd)?;
    count_read(file.read_at(offset, &mut UserBuffers::single(buffer, len)?, file.blocking()))
}

/// `pwrite64(2)`.
pub fn sys_pwrite64(fd: i32, buffer: u64, len: usize, offset: i64) -> Result {
    let offset = offset_of_transfer(offset, len)?;
    let file = descriptor(fd)?;
    after_write(&file, file.write_at(offset, &mut UserBuffers::single(buffer, len)?, file.blocking()))
}

/// `readv(2)`.
pub fn sys_readv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize) -> Result {
    let file = descriptor(fd)?;
    count_read(file.read(&mut UserBuffers::from_iovec(vector, count)?, file.blocking()))
}

/// `writev(2)`.
pub fn sys_writev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize) -> Result {
    let file = descriptor(fd)?;
    after_write(&file, file.write(&mut UserBuffers::from_iovec(vector, count)?, file.blocking()))
}

/// `preadv(2)`. The offset is in two registers for the sake of 32-bit machines; here the first has all.
pub fn sys_preadv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64) -> Result {
    let offset = offset_of(offset)?;
    let file = descriptor(fd)?;
    count_read(file.read_at(offset, &mut UserBuffers::from_iovec(vector, count)?, file.blocking()))
}

/// `pwritev(2)`.
pub fn sys_pwritev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64) -> Result {
    let offset = offset_of(offset)?;
    let file = descriptor(fd)?;
    after_write(&file, file.write_at(offset, &mut UserBuffers::from_iovec(vector, count)?, file.blocking()))
}

/// The flags of `preadv2` and `pwritev2`: unknown ones are `EOPNOTSUPP`.
fn rw_flags(raw: u32) -> core::result::Result<RwFlags, Errno> {
    RwFlags::from_bits(raw).ok_or(Errno::EOPNOTSUPP)
}

/// `preadv2(2)`: an offset of -1 is the file's own.
pub fn sys_preadv2(
    fd: i32,
    vector: UserPtr<[u64; 2]>,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> Result {
    let flags = rw_flags(flags)?;
    if flags.contains(RwFlags::NOWAIT) {
        return read_at_hand(fd, vector, count, offset);
    }
    if offset == -1 { sys_readv(fd, vector, count) } else { sys_preadv(fd, vector, count, offset) }
}

/// A read with `RWF_NOWAIT`: of a regular file on a disk what is in memory (`EAGAIN` if nothing is), of pipes and sockets what has come.
/// Other files cannot promise it: `EOPNOTSUPP`, as on Linux.
fn read_at_hand(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64) -> Result {
    let file = descriptor(fd)?;
    let mut dst = UserBuffers::from_iovec(vector, count)?;
    let place = if offset == -1 { None } else { Some(offset_of(offset)?) };
    if let Ok(inode) = file.inode() {
        if inode.kind() != FileType::Regular || inode.direct_alignment().is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
        if file.flags().contains(OpenFlags::DIRECT) {
            return Err(Errno::EAGAIN);
        }
        let start = place.unwrap_or_else(|| file.offset());
        let end = start.saturating_add(ReadDst::remaining(&dst) as u64).min(file.metadata()?.size);
        if start < end {
            let object = file.file().memory_object()?;
            let page_bytes = frames::PAGE_SIZE as u64;
            let mut at = start;
            while at < end && object.cached_page(at / page_bytes).is_some() {
                at = (at / page_bytes + 1) * page_bytes;
            }
            if at == start {
                return Err(Errno::EAGAIN);
            }
            dst.limit((at.min(end) - start) as usize);
        }
    }
    count_read(match place {
        None => file.read(&mut dst, Blocking::No),
        Some(offset) => file.read_at(offset, &mut dst, Blocking::No),
    })
}

/// `pwritev2(2)`.
pub fn sys_pwritev2(
    fd: i32,
    vector: UserPtr<[u64; 2]>,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> Result {
    let flags = rw_flags(flags)?;
    if flags.contains(RwFlags::NOWAIT) {
        // Linux's ext4 has no such writes to the page cache either.
        return Err(Errno::EOPNOTSUPP);
    }
    let sync = match flags.contains(RwFlags::SYNC) {
        true => Some(SyncKind::Everything),
        false => flags.contains(RwFlags::DSYNC).then_some(SyncKind::Data),
    };
    let options = WriteOptions { appends: flags.contains(RwFlags::APPEND), sync };
    let offset = if offset == -1 { None } else { Some(offset_of(offset)?) };
    let file = descriptor(fd)?;
    let mut src = UserBuffers::from_iovec(vector, count)?;
    let result = match offset {
        None => file.write_with(options, &mut src, file.blocking()),
        Some(offset) => file.write_at_with(options, offset, &mut src, file.blocking()),
    };
    after_write(&file, result)
}

/// `lseek(2)`.
pub fn sys_lseek(fd: i32, distance: i64, whence: u32) -> Result {
    let file = descriptor(fd)?;
    let whence = Whence::from_raw(whence).ok_or(Errno::EINVAL)?;
    Ok(file.seek(distance, whence)? as usize)
}

/// `fsync(2)`.
pub fn sys_fsync(fd: i32) -> Result {
    descriptor(fd)?.sync(SyncKind::Everything).map(|()| 0)
}

/// `fdatasync(2)`.
pub fn sys_fdatasync(fd: i32) -> Result {
    descriptor(fd)?.sync(SyncKind::Data).map(|()| 0)
}

/// `sync(2)`: never fails.
pub fn sys_sync() -> Result {
    if let Err(error) = namespace().sync_all() {
        log::error!("sync: {error:?}");
    }
    Ok(0)
}

/// `syncfs(2)`.
pub fn sys_syncfs(fd: i32) -> Result {
    descriptor(fd)?.sync_file_system().map(|()| 0)
}

/// `sync_file_range(2)`. For who waits, more is synced than asked for, which it allows: a file system may hold back what was
/// written to it.
pub fn sys_sync_file_range(fd: i32, offset: i64, len: i64, flags: u32) -> Result {
    let file = descriptor(fd)?;
    let flags = SyncFileRangeFlags::from_raw(flags)?;
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    require_file_with_blocks(&file, Errno::ESPIPE)?;
    let end = if len == 0 { i64::MAX } else { offset + len };
    let mut result = Ok(());
    if flags.contains(SyncFileRangeFlags::WRITE) {
        result = file.inode()?.write_back_range(offset as u64..end as u64);
    }
    if flags.intersects(SyncFileRangeFlags::WAIT_BEFORE | SyncFileRangeFlags::WAIT_AFTER) {
        result = result.and(file.sync(SyncKind::Data));
    }
    result.map(|()| 0)
}

fn require_file_with_blocks(file: &OpenFile, error: Errno) -> core::result::Result<(), Errno> {
    file.require_not_path_only()?;
    if file.path().is_none() {
        return Err(error);
    }
    match file.metadata()?.kind {
        FileType::Regular | FileType::BlockDevice | FileType::Directory => Ok(()),
        _ => Err(error),
    }
}

/// `fadvise64(2)`: acted on is what will be wanted soon, and what will not be wanted any more.
pub fn sys_fadvise64(fd: i32, offset: i64, len: i64, advice: u32) -> Result {
    let file = descriptor(fd)?;
    file.require_not_path_only()?;
    if file.metadata()?.kind == FileType::Fifo {
        return Err(Errno::ESPIPE);
    }
    let advice = Fadvice::from_raw(advice).ok_or(Errno::EINVAL)?;
    if len < 0 {
        return Err(Errno::EINVAL);
    }
    let (Ok(offset), Ok(inode)) = (u64::try_from(offset), file.inode()) else { return Ok(0) };
    match advice {
        Fadvice::WillNeed => {
            let len = if len == 0 { MAX_READAHEAD } else { min(len as usize, MAX_READAHEAD) };
            // Advice: that it cannot be read will be seen by who reads it.
            let _ = inode.read_at(offset, &mut Nowhere { remaining: len });
        }
        Fadvice::DontNeed => {
            let end = if len == 0 { i64::MAX as u64 } else { offset.saturating_add(len as u64) };
            // What cannot be written stays, and the failure is told by `fsync`.
            let _ = inode.write_back_range(offset..end);
            inode.drop_cached(offset..end);
        }
        _ => {}
    }
    Ok(0)
}

/// The most that is read for `readahead(2)` or advice at once.
const MAX_READAHEAD: usize = 2 << 20;

/// A destination that keeps nothing: reading to it fills the page cache.
struct Nowhere {
    remaining: usize,
}

impl ReadDst for Nowhere {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        let len = min(bytes.len(), self.remaining);
        self.remaining -= len;
        Ok(len)
    }

    fn put_page(&mut self, _page: &frames::PageRef, _offset: usize, len: usize) -> Result {
        let len = min(len, self.remaining);
        self.remaining -= len;
        Ok(len)
    }
}

/// `readahead(2)`.
pub fn sys_readahead(fd: i32, offset: i64, len: usize) -> Result {
    let file = descriptor(fd)?;
    file.require_readable()?;
    let inode = file.inode()?;
    if inode.kind() != FileType::Regular {
        return Err(Errno::EINVAL);
    }
    inode.read_at(offset_of(offset)?, &mut Nowhere { remaining: min(len, MAX_READAHEAD) })?;
    Ok(0)
}

/// Where a copy reads or writes: at an offset of the caller's, or at the file's own.
pub(super) struct Cursor {
    pub(super) file: Arc<OpenFile>,
    at: UserPtr<i64>,
    offset: Option<u64>,
}

impl Cursor {
    pub(super) fn new(file: Arc<OpenFile>, at: UserPtr<i64>) -> core::result::Result<Self, Errno> {
        let offset = at.non_null().map(|at| offset_of(at.read()?)).transpose()?;
        Ok(Self { file, at, offset })
    }

    fn read(&mut self, mut part: &mut [u8], blocking: Blocking) -> Result {
        match &mut self.offset {
            Some(offset) => self.file.read_at(*offset, &mut part, blocking),
            None => self.file.read(&mut part, blocking),
        }
    }

    /// Like `read`, into something that takes page frames.
    fn read_into(&mut self, dst: &mut dyn ReadDst) -> Result {
        match self.offset {
            Some(offset) => self.file.read_at(offset, dst, Blocking::Yes),
            None => self.file.read(dst, Blocking::Yes),
        }
    }

    pub(super) fn write(&mut self, src: &mut SliceSrc<'_>, blocking: Blocking) -> Result {
        let written = match &mut self.offset {
            Some(offset) => self.file.write_at(*offset, src, blocking)?,
            None => self.file.write(src, blocking)?,
        };
        self.moved(written);
        Ok(written)
    }

    fn moved(&mut self, by: usize) {
        if let Some(offset) = &mut self.offset {
            *offset += by as u64;
        }
    }

    /// Goes back over what was read but not used.
    fn untake(&mut self, len: usize) {
        if self.offset.is_none() && len > 0 {
            // It was just read from a file that has offsets.
            let _ = self.file.seek(-(len as i64), Whence::Current);
        }
    }

    pub(super) fn finish(&self) -> core::result::Result<(), Errno> {
        match self.offset {
            Some(offset) => self.at.write(offset as i64),
            None => Ok(()),
        }
    }
}

/// Copies up to `count` bytes, waiting for room if `blocking` says so; the first error counts only if nothing was copied.
pub(super) fn copy(from: &mut Cursor, to: &mut Cursor, count: usize, blocking: Blocking) -> Result {
    let mut buffer = vec![0; min(count, COPY_BYTES)];
    let mut total = 0;
    while total < count {
        let part = min(buffer.len(), count - total);
        let read = match from.read(&mut buffer[..part], Blocking::Yes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        };
        let mut src = SliceSrc::new(&buffer[..read]);
        let mut outcome = Ok(0);
        while src.remaining() > 0 && outcome.is_ok() {
            outcome =
                to.write(&mut src, blocking).and_then(|n| if n == 0 { Err(Errno::EAGAIN) } else { Ok(n) });
        }
        let written = read - src.remaining();
        from.moved(written);
        from.untake(src.remaining());
        total += written;
        if let Err(error) = outcome {
            if total == 0 {
                return Err(error);
            }
            break;
        }
    }
    from.finish()?;
    to.finish()?;
    Ok(total)
}

/// `sendfile(2)`.
pub fn sys_sendfile(to: i32, from: i32, offset: UserPtr<i64>, count: usize) -> Result {
    let source = descriptor(from)?;
    source.require_readable()?;
    // It must be something that can be mapped (sendfile(2)).
    if source.file().seekable() == vfs::Seekable::No {
        return Err(if offset.is_null() { Errno::EINVAL } else { Errno::ESPIPE });
    }
    let target = descriptor(to)?;
    target.require_writable()?;
    if target.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL);
    }
    let mut from = Cursor::new(source, offset)?;
    let blocking = target.blocking();
    let count = min(count, MAX_RW_COUNT);
    let socket = SocketFile::of(&**target.file()).ok();
    if let Some(connection) = socket.and_then(|socket| socket.as_any().downcast_ref::<TcpSocket>()) {
        return after_write(&target, send_pages(&mut from, connection, count, blocking));
    }
    let mut to = Cursor::new(target, UserPtr::new(0))?;
    let result = copy(&mut from, &mut to, count, blocking);
    after_write(&to.file, result)
}

/// A TCP connection as the destination of a read: it takes the page cache's frames as they are. Does not wait, since
/// whoever reads may hold locks.
struct Connection<'a> {
    socket: &'a TcpSocket,
    left: usize,
}

impl ReadDst for Connection<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        let bytes = &bytes[..min(bytes.len(), self.left)];
        let options = SendOptions { flags: MessageFlags::MORE, ..SendOptions::default() };
        let sent = self.socket.send(&mut SliceSrc::new(bytes), options, Blocking::No)?;
        self.left -= sent;
        Ok(sent)
    }

    fn put_page(&mut self, page: &PageRef, offset: usize, len: usize) -> Result {
        let len = min(len, self.left);
        self.socket.send_fragment(Fragment::new(page.clone(), offset, len))?;
        self.left -= len;
        Ok(len)
    }
}

/// `sendfile(2)` to a TCP connection, without a copy.
fn send_pages(from: &mut Cursor, socket: &TcpSocket, count: usize, blocking: Blocking) -> Result {
    let mut total = 0;
    let mut result = Ok(());
    while total < count && result.is_ok() {
        let mut to = Connection { socket, left: count - total };
        match from.read_into(&mut to) {
            Ok(0) => break,
            Ok(sent) => {
                total += sent;
                from.moved(sent);
            }
            Err(Errno::EAGAIN) if blocking == Blocking::Yes => result = socket.wait_for_room(),
            Err(error) => result = Err(error),
        }
    }
    socket.push_out();
    from.finish()?;
    match result {
        Err(error) if total == 0 => Err(error),
        _ => Ok(total),
    }
}

/// `copy_file_range(2)`.
pub fn sys_copy_file_range(
    from: i32,
    from_offset: UserPtr<i64>,
    to: i32,
    to_offset: UserPtr<i64>,
    count: usize,
    flags: u32,
) -> Result {
    let (source, target) = (descriptor(from)?, descriptor(to)?);
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    source.require_readable()?;
    target.require_writable()?;
    if target.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF);
    }
    for file in [&source, &target] {
        match file.metadata()?.kind {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
    }
    // As `generic_copy_file_checks` in Linux's `mm/filemap.c`: offsets count as unsigned first, and what is to be copied
    // ends at the end of the file before it is looked at whether the two overlap.
    for at in [from_offset, to_offset] {
        let offset = at.non_null().map(UserPtr::read).transpose()?.unwrap_or(0);
        (offset as u64).checked_add(count as u64).ok_or(Errno::EOVERFLOW)?;
    }
    let is_same = source.inode()?.id() == target.inode()?.id();
    let source_size = source.metadata()?.size;
    let mut from = Cursor::new(source, from_offset)?;
    let mut to = Cursor::new(target, to_offset)?;
    let start = |cursor: &Cursor| cursor.offset.unwrap_or_else(|| cursor.file.offset());
    let (from_start, to_start) = (start(&from), start(&to));
    let count = min(min(count, MAX_RW_COUNT) as u64, source_size.saturating_sub(from_start)) as usize;
    if is_same && from_start.abs_diff(to_start) < count as u64 {
        return Err(Errno::EINVAL);
    }
    copy(&mut from, &mut to, count, Blocking::Yes)
}
