//! `splice(2)`: bytes between a pipe and a file, without a way through the application.
//!
//! The pipe's own lock is held while its bytes go to the file, as on Linux, so none is lost if the file does not take it.

use alloc::sync::Arc;
use core::cmp::min;

use ::ipc::pipe::PipeEnd;
use linux_abi::{
    Errno,
    file::{MAX_RW_COUNT, OpenFlags, SpliceFlags},
};
use vfs::{Blocking, OpenFile, PollEvents, ReadDst, Seekable, SliceSrc};

use super::{
    Result,
    file::{Cursor, after_write, copy},
};
use crate::{fs::descriptor, refuse_once, user::UserPtr};

/// `splice(2)`.
pub fn sys_splice(
    from: i32,
    from_offset: UserPtr<i64>,
    to: i32,
    to_offset: UserPtr<i64>,
    count: usize,
    flags: u32,
) -> Result {
    if count == 0 {
        return Ok(0);
    }
    let flags = SpliceFlags::from_raw(flags)?;
    let (source, target) = (descriptor(from)?, descriptor(to)?);
    source.require_readable()?;
    target.require_writable()?;
    let count = min(count, MAX_RW_COUNT);
    let pipe_blocking = |pipe: &OpenFile| {
        if flags.contains(SpliceFlags::NONBLOCK) { Blocking::No } else { pipe.blocking() }
    };
    match (is_pipe(&source), is_pipe(&target)) {
        (true, true) => {
            if !from_offset.is_null() || !to_offset.is_null() {
                return Err(Errno::ESPIPE);
            }
            refuse_once!("splice from one pipe to another is not offered: EINVAL");
            Err(Errno::EINVAL)
        }
        (true, false) => {
            if !from_offset.is_null() {
                return Err(Errno::ESPIPE);
            }
            check_offset(&target, to_offset)?;
            if target.flags().contains(OpenFlags::APPEND) {
                return Err(Errno::EINVAL);
            }
            let blocking = pipe_blocking(&source);
            from_pipe(&source, Cursor::new(target, to_offset)?, count, blocking)
        }
        (false, true) => {
            if !to_offset.is_null() {
                return Err(Errno::ESPIPE);
            }
            check_offset(&source, from_offset)?;
            let blocking = pipe_blocking(&target);
            to_pipe(Cursor::new(source, from_offset)?, target, count, blocking)
        }
        (false, false) => Err(Errno::EINVAL),
    }
}

fn is_pipe(file: &OpenFile) -> bool {
    file.file().as_any().is::<PipeEnd>()
}

fn check_offset(file: &OpenFile, offset: UserPtr<i64>) -> core::result::Result<(), Errno> {
    let is_stream = file.file().seekable() == Seekable::No;
    if is_stream && !offset.is_null() { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Takes what a pipe gives and writes it to a file.
struct Sink {
    file: Cursor,
    left: usize,
}

impl ReadDst for Sink {
    fn remaining(&self) -> usize {
        self.left
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        let len = min(bytes.len(), self.left);
        let blocking = self.file.file.blocking();
        let written = self.file.write(&mut SliceSrc::new(&bytes[..len]), blocking)?;
        self.left -= written;
        Ok(written)
    }
}

fn from_pipe(pipe: &OpenFile, file: Cursor, count: usize, blocking: Blocking) -> Result {
    let mut sink = Sink { file, left: count };
    let result = pipe.read(&mut sink, blocking);
    let result = after_write(&sink.file.file, result)?;
    sink.file.finish()?;
    Ok(result)
}

/// Fills the pipe's room from a file. It waits until there is some, but not for more: the caller may be who reads.
fn to_pipe(mut file: Cursor, pipe: Arc<OpenFile>, count: usize, blocking: Blocking) -> Result {
    let mut end = Cursor::new(pipe.clone(), UserPtr::new(0))?;
    let result = loop {
        match (copy(&mut file, &mut end, count, Blocking::No), blocking, pipe.file().pollee()) {
            (Err(Errno::EAGAIN), Blocking::Yes, Some(pollee)) => {
                let is_ready = || pipe.file().poll().intersects(PollEvents::OUT | PollEvents::ERR);
                pollee.wait(None, || is_ready().then_some(()))?;
            }
            (result, ..) => break result,
        }
    };
    after_write(&pipe, result)
}
