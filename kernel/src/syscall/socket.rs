//! Sockets.
//!
//! [`create`] is where a family of sockets is added; all other calls go through the trait `Socket`.

mod message;

use alloc::{sync::Arc, vec::Vec};

use inet::Family;
use ipc::{
    socket::{SendOptions, Socket, SocketFile},
    unix::UnixSocket,
};
use linux_abi::{
    Errno,
    file::OpenFlags,
    socket::{
        ADDRESS_MAX, MessageFlags, SOCK_TYPE_MASK, SOMAXCONN, ShutdownHow, SocketFlags, SocketType,
        family::{AF_INET, AF_INET6, AF_MAX, AF_NETLINK, AF_UNIX},
    },
};
use vfs::{AccessMode, Blocking, File, OpenFile};

use super::Result;
use crate::{
    ipc::{CREDENTIALS, LOCAL_SOCKETS, install, install_pair, open_file, raise_sigpipe},
    net, refuse_once,
    user::{UserBuffers, UserPtr},
};

pub use message::{sys_recvmmsg, sys_recvmsg, sys_sendmmsg, sys_sendmsg};

/// The longest value of an option that is looked at.
const OPTION_MAX: usize = 4096;

/// Makes a socket of a family.
fn create(family: u16, kind: SocketType, protocol: i32) -> core::result::Result<Arc<dyn Socket>, Errno> {
    match family {
        AF_UNIX => Ok(UnixSocket::new(&LOCAL_SOCKETS, local_kind(kind, protocol)?, CREDENTIALS)),
        AF_INET => net::create(Family::V4, kind, protocol),
        AF_INET6 => net::create(Family::V6, kind, protocol),
        AF_NETLINK => net::create_netlink(kind, protocol),
        family => {
            refuse_once!("sockets of family {family} are not offered: EAFNOSUPPORT");
            Err(Errno::EAFNOSUPPORT)
        }
    }
}

fn local_kind(kind: SocketType, protocol: i32) -> core::result::Result<SocketType, Errno> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        SocketType::Stream | SocketType::Datagram | SocketType::SeqPacket => Ok(kind),
        // A BSD habit that Linux allows for.
        SocketType::Raw => Ok(SocketType::Datagram),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

struct NewSocket {
    family: u16,
    kind: SocketType,
    status: OpenFlags,
}

/// Checks what `socket` and `socketpair` have in common, in Linux's order.
fn decode(family: i32, kind: u32) -> core::result::Result<NewSocket, Errno> {
    let status = status_of(kind & !SOCK_TYPE_MASK)?;
    let family = u16::try_from(family).ok().filter(|family| *family < AF_MAX).ok_or(Errno::EAFNOSUPPORT)?;
    let kind = match kind & SOCK_TYPE_MASK {
        // Numbers without a name below SOCK_MAX are types that no family has.
        raw @ 0..11 => SocketType::from_raw(raw).ok_or(Errno::ESOCKTNOSUPPORT)?,
        _ => return Err(Errno::EINVAL),
    };
    Ok(NewSocket { family, kind, status })
}

fn status_of(flags: u32) -> core::result::Result<OpenFlags, Errno> {
    Ok(OpenFlags::from_bits_retain(SocketFlags::from_raw(flags)?.bits()))
}

fn install_socket(socket: Arc<dyn Socket>, status: OpenFlags) -> core::result::Result<u32, Errno> {
    install(Arc::new(SocketFile::new(socket)), AccessMode::ReadWrite, status)
}

/// `socket(2)`.
pub fn sys_socket(family: i32, kind: u32, protocol: i32) -> Result {
    let new = decode(family, kind)?;
    Ok(install_socket(create(new.family, new.kind, protocol)?, new.status)? as usize)
}

/// `socketpair(2)`.
pub fn sys_socketpair(family: i32, kind: u32, protocol: i32, descriptors: UserPtr<[i32; 2]>) -> Result {
    let new = decode(family, kind)?;
    if new.family != AF_UNIX {
        // A family that has sockets has no pairs of them.
        return create(new.family, new.kind, protocol).and(Err(Errno::EOPNOTSUPP));
    }
    let (a, b) = UnixSocket::pair(&LOCAL_SOCKETS, local_kind(new.kind, protocol)?, CREDENTIALS);
    let end = |socket| {
        let file: Arc<dyn File> = Arc::new(SocketFile::new(socket));
        (file, AccessMode::ReadWrite, new.status)
    };
    install_pair([end(a), end(b)], descriptors)?;
    Ok(0)
}

/// A descriptor's open file, which is a socket: `EBADF`, `ENOTSOCK`.
struct OpenSocket(Arc<OpenFile>);

impl OpenSocket {
    fn get(fd: i32) -> core::result::Result<Self, Errno> {
        let open = open_file(fd)?;
        SocketFile::of(&**open.file())?;
        Ok(Self(open))
    }

    fn socket(&self) -> core::result::Result<&Arc<dyn Socket>, Errno> {
        SocketFile::of(&**self.0.file())
    }

    /// Whether a call with these flags may wait.
    fn blocking(&self, flags: MessageFlags) -> Blocking {
        if flags.contains(MessageFlags::DONTWAIT) { Blocking::No } else { self.0.blocking() }
    }

    /// Sends, and raises `SIGPIPE` where that belongs to it.
    fn send(&self, src: &mut UserBuffers, options: SendOptions<'_>) -> Result {
        let socket = self.socket()?;
        let flags = options.flags;
        let result = socket.send(src, options, self.blocking(flags));
        if result == Err(Errno::EPIPE) && socket.raises_sigpipe() && !flags.contains(MessageFlags::NOSIGNAL) {
            raise_sigpipe();
        }
        result
    }
}

/// Reads a socket address: `EINVAL` if the length is none.
fn read_address(address: UserPtr<u8>, len: i32) -> core::result::Result<Vec<u8>, Errno> {
    let len = usize::try_from(len).ok().filter(|len| *len <= ADDRESS_MAX).ok_or(Errno::EINVAL)?;
    if len == 0 { Ok(Vec::new()) } else { address.read_vec(len) }
}

/// Writes as much of a socket address as there is room for, and its whole length.
fn write_address(address: &[u8], into: UserPtr<u8>, len: UserPtr<i32>) -> core::result::Result<(), Errno> {
    let room = usize::try_from(len.read()?).map_err(|_| Errno::EINVAL)?;
    into.write_slice(&address[..address.len().min(room)])?;
    len.write(address.len() as i32)
}

/// `bind(2)`.
pub fn sys_bind(fd: i32, address: UserPtr<u8>, len: i32) -> Result {
    let open = OpenSocket::get(fd)?;
    open.socket()?.bind(&read_address(address, len)?)?;
    Ok(0)
}

/// `listen(2)`.
pub fn sys_listen(fd: i32, backlog: u32) -> Result {
    // A negative length is a very long one.
    OpenSocket::get(fd)?.socket()?.listen(backlog.min(SOMAXCONN))?;
    Ok(0)
}

/// `connect(2)`.
pub fn sys_connect(fd: i32, address: UserPtr<u8>, len: i32) -> Result {
    let open = OpenSocket::get(fd)?;
    let address = read_address(address, len)?;
    open.socket()?.connect(&address, open.0.blocking())?;
    Ok(0)
}

/// `accept(2)`.
pub fn sys_accept(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>) -> Result {
    sys_accept4(fd, address, len, 0)
}

/// `accept4(2)`.
pub fn sys_accept4(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>, flags: u32) -> Result {
    let status = status_of(flags)?;
    let open = OpenSocket::get(fd)?;
    let accepted = Arc::new(SocketFile::new(open.socket()?.accept(open.0.blocking())?));
    if !address.is_null() {
        // A peer that has gone already is ECONNABORTED on Linux, and so it is here.
        let peer = accepted.socket().peer_address().map_err(|_| Errno::ECONNABORTED)?;
        write_address(&peer, address, len)?;
    }
    Ok(install(accepted, AccessMode::ReadWrite, status)? as usize)
}

/// `getsockname(2)`.
pub fn sys_getsockname(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>) -> Result {
    write_address(&OpenSocket::get(fd)?.socket()?.local_address()?, address, len)?;
    Ok(0)
}

/// `getpeername(2)`.
pub fn sys_getpeername(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>) -> Result {
    write_address(&OpenSocket::get(fd)?.socket()?.peer_address()?, address, len)?;
    Ok(0)
}

/// `sendto(2)`, and `send(2)` with a null address.
pub fn sys_sendto(
    fd: i32,
    buffer: u64,
    len: usize,
    flags: u32,
    address: UserPtr<u8>,
    address_len: i32,
) -> Result {
    let mut src = UserBuffers::single(buffer, len)?;
    let open = OpenSocket::get(fd)?;
    let address = address.non_null().map(|address| read_address(address, address_len)).transpose()?;
    let flags = MessageFlags::from_bits_truncate(flags);
    open.send(&mut src, SendOptions { address: address.as_deref(), control: Vec::new(), flags })
}

/// `recvfrom(2)`, and `recv(2)` with a null address.
pub fn sys_recvfrom(
    fd: i32,
    buffer: u64,
    len: usize,
    flags: u32,
    address: UserPtr<u8>,
    address_len: UserPtr<i32>,
) -> Result {
    let mut dst = UserBuffers::single(buffer, len)?;
    let open = OpenSocket::get(fd)?;
    let flags = MessageFlags::from_bits_truncate(flags);
    let received = open.socket()?.receive(&mut dst, flags, open.blocking(flags))?;
    if !address.is_null() {
        write_address(received.address.as_deref().unwrap_or_default(), address, address_len)?;
    }
    Ok(received.len)
}

/// `shutdown(2)`.
pub fn sys_shutdown(fd: i32, how: u32) -> Result {
    let open = OpenSocket::get(fd)?;
    open.socket()?.shutdown(ShutdownHow::from_raw(how).ok_or(Errno::EINVAL)?)?;
    Ok(0)
}

/// `setsockopt(2)`.
pub fn sys_setsockopt(fd: i32, level: i32, name: i32, value: UserPtr<u8>, len: i32) -> Result {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let open = OpenSocket::get(fd)?;
    open.socket()?.set_option(level, name, &value.read_vec(len.min(OPTION_MAX))?)?;
    Ok(0)
}

/// `getsockopt(2)`: gives as much of the value as there is room for.
pub fn sys_getsockopt(fd: i32, level: i32, name: i32, value: UserPtr<u8>, len: UserPtr<i32>) -> Result {
    let open = OpenSocket::get(fd)?;
    let room = usize::try_from(len.read()?).map_err(|_| Errno::EINVAL)?;
    let found = open.socket()?.option(level, name)?;
    let copied = found.len().min(room);
    value.write_slice(&found[..copied])?;
    len.write(copied as i32)?;
    Ok(0)
}
