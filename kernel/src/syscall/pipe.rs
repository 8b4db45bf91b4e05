//! Pipes.

use alloc::sync::Arc;

use ipc::pipe::{Mode, pipe};
use linux_abi::file::{OpenFlags, PipeFlags};
use vfs::{AccessMode, File};

use super::Result;
use crate::{ipc::install_pair, user::UserPtr};

/// `pipe(2)`.
pub fn sys_pipe(descriptors: UserPtr<[i32; 2]>) -> Result {
    sys_pipe2(descriptors, 0)
}

/// `pipe2(2)`. `O_NOTIFICATION_PIPE` is `EINVAL`, like any flag that there is not.
pub fn sys_pipe2(descriptors: UserPtr<[i32; 2]>, flags: u32) -> Result {
    let flags = PipeFlags::from_raw(flags)?;
    let mode = if flags.contains(PipeFlags::DIRECT) { Mode::Packets } else { Mode::Stream };
    let status = OpenFlags::from_bits_retain(flags.bits());
    let (reader, writer) = pipe(mode);
    let reader = (reader as Arc<dyn File>, AccessMode::ReadOnly, status.difference(OpenFlags::DIRECT));
    install_pair([reader, (writer, AccessMode::WriteOnly, status)], descriptors)?;
    Ok(0)
}
