//! Messages with scattered data and with control data: `sendmsg(2)`, `recvmsg(2)` and their plurals.

use alloc::{sync::Arc, vec::Vec};

use ipc::socket::{Control, Received, SendOptions};
use linux_abi::{
    Errno,
    file::FdFlags,
    socket::{CmsgHdr, MMsgHdr, MessageFlags, MsgHdr, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, Ucred},
    time::Timespec,
};
use vfs::OpenFile;
use zerocopy::{FromBytes, IntoBytes};

use super::{OpenSocket, Result, read_address};
use crate::{
    arch::clock,
    fs,
    ipc::{open_file, take_back},
    syscall::poll::deadline_of,
    user::{UserBuffers, UserPtr},
};

/// The most control data of one message (`net.core.optmem_max`).
const CONTROL_MAX: u64 = 131_072;
/// The most messages of one call, and buffers of one message (`UIO_MAXIOV`).
const COUNT_MAX: usize = 1024;
const HEADER: usize = size_of::<CmsgHdr>();

/// The length of control data with the padding behind them (`CMSG_ALIGN`).
const fn padded(len: usize) -> usize {
    len.next_multiple_of(size_of::<u64>())
}

fn buffers(header: &MsgHdr) -> core::result::Result<UserBuffers, Errno> {
    if header.iov_len > COUNT_MAX as u64 {
        return Err(Errno::EMSGSIZE);
    }
    UserBuffers::from_iovec(UserPtr::new(header.iov), header.iov_len as usize)
}

/// Decodes the control data of a message that is sent. Which of other levels mean anything, the family knows.
fn decode_control(header: &MsgHdr) -> core::result::Result<Vec<Control>, Errno> {
    if header.control == 0 || header.control_len == 0 {
        return Ok(Vec::new());
    }
    if header.control_len > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let bytes = UserPtr::<u8>::new(header.control).read_vec(header.control_len as usize)?;
    let mut rest = &bytes[..];
    let mut control = Vec::new();
    while let Ok((item, _)) = CmsgHdr::read_from_prefix(rest) {
        let len = item.len as usize;
        if len < HEADER || len > rest.len() {
            return Err(Errno::EINVAL);
        }
        let data = &rest[HEADER..len];
        match (item.level, item.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => control.push(Control::Rights(decode_rights(data)?)),
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                control.push(Control::Credentials(Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?));
            }
            (level, kind) => control.push(Control::Other { level, kind, data: data.to_vec() }),
        }
        rest = &rest[padded(len).min(rest.len())..];
    }
    Ok(control)
}

fn decode_rights(data: &[u8]) -> core::result::Result<Vec<Arc<OpenFile>>, Errno> {
    data.chunks_exact(size_of::<i32>())
        .map(|fd| open_file(fd.try_into().map_or(-1, i32::from_ne_bytes)))
        .collect()
}

/// Where the control data of a received message go.
struct ControlOut {
    place: u64,
    room: usize,
    used: usize,
    truncated: bool,
}

impl ControlOut {
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) -> core::result::Result<(), Errno> {
        if self.room < HEADER {
            self.truncated = true;
            return Ok(());
        }
        let len = (HEADER + data.len()).min(self.room);
        self.truncated |= len < HEADER + data.len();
        let header = CmsgHdr { len: len as u64, level, kind };
        let place: UserPtr<u8> = UserPtr::new(self.place);
        place.write_slice(header.as_bytes())?;
        place.add(HEADER).write_slice(&data[..len - HEADER])?;
        let taken = padded(len).min(self.room);
        self.place += taken as u64;
        self.room -= taken;
        self.used += taken;
        Ok(())
    }

    /// Opens the files that were handed over, as many as there is room to tell; the others are closed.
    fn put_rights(&mut self, files: Vec<Arc<OpenFile>>, flags: FdFlags) -> core::result::Result<(), Errno> {
        let room = self.room.saturating_sub(HEADER) / size_of::<i32>();
        self.truncated |= files.len() > room;
        let mut fds: Vec<i32> = Vec::new();
        for file in files.into_iter().take(room) {
            match fs::descriptors().insert(file, flags) {
                Ok(fd) => fds.push(fd as i32),
                Err(_) => {
                    self.truncated = true;
                    break;
                }
            }
        }
        if fds.is_empty() {
            return Ok(());
        }
        let result = self.put(SOL_SOCKET, SCM_RIGHTS, fds.as_bytes());
        if result.is_err() {
            // Nobody knows their numbers.
            fds.into_iter().for_each(|fd| take_back(fd as u32));
        }
        result
    }
}

fn send_one(open: &OpenSocket, header: &MsgHdr, flags: MessageFlags) -> Result {
    let address = if header.name == 0 {
        None
    } else {
        // Longer than any address counts as the longest (`__copy_msghdr` in `net/socket.c`).
        let len = if header.name_len < 0 { header.name_len } else { header.name_len.min(128) };
        Some(read_address(UserPtr::new(header.name), len)?).filter(|address| !address.is_empty())
    };
    let mut src = buffers(header)?;
    let control = decode_control(header)?;
    open.send(&mut src, SendOptions { address: address.as_deref(), control, flags })
}

/// `sendmsg(2)`.
pub fn sys_sendmsg(fd: i32, message: UserPtr<MsgHdr>, flags: u32) -> Result {
    let open = OpenSocket::get(fd)?;
    send_one(&open, &message.read()?, MessageFlags::from_bits_truncate(flags))
}

/// Receives one message and fills in its header.
fn receive_one(open: &OpenSocket, message: UserPtr<MsgHdr>, flags: MessageFlags) -> Result {
    let mut header = message.read()?;
    if header.name != 0 && header.name_len < 0 {
        return Err(Errno::EINVAL);
    }
    let mut dst = buffers(&header)?;
    let Received { len, flags: mut found, address, control } =
        open.socket()?.receive(&mut dst, flags, open.blocking(flags))?;
    let room = if header.control == 0 { 0 } else { header.control_len as usize };
    let mut out = ControlOut { place: header.control, room, used: 0, truncated: false };
    let closes_on_exec = flags.intersection(MessageFlags::CMSG_CLOEXEC);
    let fd_flags = if closes_on_exec.is_empty() { FdFlags::empty() } else { FdFlags::CLOEXEC };
    for item in control {
        match item {
            Control::Credentials(credentials) => {
                out.put(SOL_SOCKET, SCM_CREDENTIALS, credentials.as_bytes())?;
            }
            Control::Other { level, kind, data } => out.put(level, kind, &data)?,
            Control::Rights(files) => out.put_rights(files, fd_flags)?,
        }
    }
    if header.name != 0 {
        let address = address.unwrap_or_default();
        let copied = address.len().min(header.name_len as usize);
        UserPtr::<u8>::new(header.name).write_slice(&address[..copied])?;
        header.name_len = address.len() as i32;
    }
    if out.truncated {
        found |= MessageFlags::CTRUNC;
    }
    header.control_len = out.used as u64;
    header.flags = found | closes_on_exec;
    // Only what the call answers is written: another thread may use the rest.
    let place = |offset| message.field::<u32>(offset);
    if header.name != 0 {
        place(core::mem::offset_of!(MsgHdr, name_len)).write(header.name_len as u32)?;
    }
    message.field::<u64>(core::mem::offset_of!(MsgHdr, control_len)).write(header.control_len)?;
    place(core::mem::offset_of!(MsgHdr, flags)).write(header.flags.bits())?;
    Ok(len)
}

/// `recvmsg(2)`.
pub fn sys_recvmsg(fd: i32, message: UserPtr<MsgHdr>, flags: u32) -> Result {
    let open = OpenSocket::get(fd)?;
    receive_one(&open, message, MessageFlags::from_bits_truncate(flags))
}

fn write_len(message: UserPtr<MMsgHdr>, len: usize) -> core::result::Result<(), Errno> {
    message.field::<u32>(core::mem::offset_of!(MMsgHdr, len)).write(len as u32)
}

/// `sendmmsg(2)`: an error counts only if not even the first message could be sent.
pub fn sys_sendmmsg(fd: i32, messages: UserPtr<MMsgHdr>, count: u32, flags: u32) -> Result {
    let open = OpenSocket::get(fd)?;
    let flags = MessageFlags::from_bits_truncate(flags);
    for n in 0..(count as usize).min(COUNT_MAX) {
        let message = messages.add(n);
        let sent = message
            .cast::<MsgHdr>()
            .read()
            .and_then(|header| send_one(&open, &header, flags))
            .and_then(|len| write_len(message, len));
        match sent {
            Ok(()) => {}
            Err(error) if n == 0 => return Err(error),
            Err(_) => return Ok(n),
        }
    }
    Ok((count as usize).min(COUNT_MAX))
}

/// `recvmmsg(2)`. The timeout is looked at after each message only, as on Linux (its manual, "Bugs"); what is
/// left of it is written back.
pub fn sys_recvmmsg(
    fd: i32,
    messages: UserPtr<MMsgHdr>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
) -> Result {
    let deadline_ns = deadline_of(timeout)?;
    let open = OpenSocket::get(fd)?;
    let mut flags = MessageFlags::from_bits_truncate(flags);
    let mut received = 0;
    while received < (count as usize).min(COUNT_MAX) {
        let message = messages.add(received);
        let each = flags.difference(MessageFlags::WAITFORONE);
        let result = receive_one(&open, message.cast(), each).and_then(|len| write_len(message, len));
        match result {
            Ok(()) => received += 1,
            Err(error) if received == 0 => return Err(error),
            Err(_) => break,
        }
        if flags.contains(MessageFlags::WAITFORONE) {
            flags |= MessageFlags::DONTWAIT;
        }
        if deadline_ns.is_some_and(|deadline_ns| clock::now_ns() >= deadline_ns) {
            break;
        }
    }
    if let Some(deadline_ns) = deadline_ns {
        timeout.write(Timespec::from_ns(deadline_ns.saturating_sub(clock::now_ns())))?;
    }
    Ok(received)
}
