//! `ioctl(2)` of sockets (`sock_ioctl` in `net/socket.c`): what a socket itself knows, then what the interfaces do.

use inet::{TcpSocket, interface_list, interface_request};
use ipc::socket::SocketFile;
use linux_abi::{
    Errno,
    interface::{
        Ifconf, Ifreq,
        request::{SIOCATMARK, SIOCGIFCONF, SIOCOUTQ},
    },
    socket::{SOL_SOCKET, option::SO_DOMAIN},
};
use vfs::File;

use super::net;
use crate::{syscall::Result, user::UserPtr};

/// `SIOCOUTQNSD` (uapi `linux/sockios.h`).
const SIOCOUTQNSD: u32 = 0x894b;
/// Requests about interfaces (`linux/sockios.h`).
const INTERFACE_REQUESTS: core::ops::RangeInclusive<u32> = 0x8910..=0x8972;

/// Answers a request to a socket; `None` if the file is none, or if the request is another's.
pub fn request(file: &dyn File, request: u32, argument: u64) -> Option<Result> {
    let socket = SocketFile::of(file).ok()?;
    let number = |value: core::result::Result<i32, Errno>| {
        Some(value.and_then(|value| UserPtr::<i32>::new(argument).write(value)).map(|()| 0))
    };
    match request {
        SIOCATMARK | SIOCOUTQNSD => {
            let socket = socket.as_any().downcast_ref::<TcpSocket>()?;
            number(socket.stream_number(request))
        }
        SIOCOUTQ => number(socket.unsent_bytes().map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX))),
        SIOCGIFCONF => Some(interface_addresses(UserPtr::new(argument))),
        request if INTERFACE_REQUESTS.contains(&request) => {
            let family = socket.option(SOL_SOCKET, SO_DOMAIN).ok()?;
            let family = family.first_chunk().map_or(0, |bytes| u16::from_ne_bytes(*bytes));
            Some(about_interface(family, request, UserPtr::new(argument)))
        }
        _ => None,
    }
}

fn about_interface(family: u16, request: u32, place: UserPtr<Ifreq>) -> Result {
    let mut ifreq = place.read()?;
    interface_request(net(), family, request, &mut ifreq)?;
    place.write(ifreq)?;
    Ok(0)
}

/// `SIOCGIFCONF`: as many entries as there is room for; without a buffer, how much room all need.
fn interface_addresses(place: UserPtr<Ifconf>) -> Result {
    let mut request = place.read()?;
    // The JDK leaves the length unset when it has no buffer; and Linux finds no room in a negative one.
    let room = usize::try_from(request.len).unwrap_or(0) / size_of::<Ifreq>();
    let entries = interface_list(net());
    let count = if request.buffer == 0 { entries.len() } else { entries.len().min(room) };
    if request.buffer != 0 {
        let into: UserPtr<Ifreq> = UserPtr::new(request.buffer);
        for (n, entry) in entries.into_iter().take(count).enumerate() {
            into.add(n).write(entry)?;
        }
    }
    request.len = (count * size_of::<Ifreq>()) as i32;
    place.write(request)?;
    Ok(0)
}
