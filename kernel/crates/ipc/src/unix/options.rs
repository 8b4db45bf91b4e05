//! Options of local sockets (`socket(7)`): those that mean something here, and those that Linux keeps for any
//! socket though they mean nothing to a local one.

use alloc::{collections::BTreeMap, vec::Vec};

use linux_abi::{
    Errno,
    socket::{Linger, SOL_SOCKET, SocketTimeout, family::AF_UNIX, option::*},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Phase, UnixSocket, message::DEFAULT_BUFFER};

/// The least buffers (`SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`).
const MIN_RECEIVE_BUFFER: usize = 2304;
const MIN_SEND_BUFFER: usize = 4608;
/// The most that may be asked for with privilege.
const FORCED_MAX: usize = i32::MAX as usize / 2;
/// The most that may be asked for without privilege (`net.core.wmem_max`).
const MAX_BUFFER: usize = 212_992;

/// What is set on a socket.
pub struct Options {
    /// Numbers that are kept as they are, or as 0 and 1.
    numbers: BTreeMap<i32, i32>,
    linger: Linger,
    receive_timeout: SocketTimeout,
    send_timeout: SocketTimeout,
    receive_buffer: usize,
}

/// Options that are kept as 0 or 1.
const SWITCHES: [i32; 7] =
    [SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEPORT, SO_PASSCRED];

impl Options {
    pub const fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            linger: Linger { on: 0, seconds: 0 },
            receive_timeout: SocketTimeout { sec: 0, usec: 0 },
            send_timeout: SocketTimeout { sec: 0, usec: 0 },
            receive_buffer: DEFAULT_BUFFER,
        }
    }

    /// A connection passes credentials if its listener did.
    pub fn inherit_credentials_passing(&mut self, listener_passes: i32) {
        self.numbers.insert(SO_PASSCRED, listener_passes);
    }

    pub fn number(&self, name: i32) -> i32 {
        self.numbers.get(&name).copied().unwrap_or(0)
    }

    pub fn passes_credentials(&self) -> bool {
        self.number(SO_PASSCRED) != 0
    }

    pub fn receive_low_water(&self) -> usize {
        self.number(SO_RCVLOWAT).max(1) as usize
    }

    pub fn receive_timeout_ns(&self) -> Option<u64> {
        timeout_ns(self.receive_timeout)
    }

    pub fn send_timeout_ns(&self) -> Option<u64> {
        timeout_ns(self.send_timeout)
    }
}

/// 0 is no timeout.
fn timeout_ns(timeout: SocketTimeout) -> Option<u64> {
    timeout.to_ns().ok().filter(|timeout_ns| *timeout_ns > 0)
}

fn read_number(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

fn read_timeout(value: &[u8]) -> Result<SocketTimeout, Errno> {
    let (timeout, _) = SocketTimeout::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    match timeout {
        SocketTimeout { usec, .. } if !(0..1_000_000).contains(&usec) => Err(Errno::EDOM),
        // A negative time has passed already, but means none (`sock_set_timeout`).
        SocketTimeout { sec, .. } if sec < 0 => Ok(SocketTimeout::default()),
        timeout => Ok(timeout),
    }
}

impl UnixSocket {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match name {
            SO_TYPE => self.kind.raw() as i32,
            SO_DOMAIN => i32::from(AF_UNIX),
            SO_PROTOCOL | SO_INCOMING_NAPI_ID | SO_DEBUG | SO_TIMESTAMP => 0,
            SO_INCOMING_CPU => -1,
            SO_SNDLOWAT => 1,
            SO_RCVLOWAT => self.options.lock().receive_low_water() as i32,
            SO_ERROR => self.state.lock().error.take().map_or(0, |error| error as i32),
            SO_ACCEPTCONN => i32::from(matches!(self.state.lock().phase, Phase::Listening { .. })),
            SO_SNDBUF => self.buffer.limit() as i32,
            SO_RCVBUF => self.options.lock().receive_buffer as i32,
            SO_PEERCRED => return Ok(self.state.lock().peer_credentials.as_bytes().to_vec()),
            SO_LINGER => return Ok(self.options.lock().linger.as_bytes().to_vec()),
            SO_RCVTIMEO => return Ok(self.options.lock().receive_timeout.as_bytes().to_vec()),
            SO_SNDTIMEO => return Ok(self.options.lock().send_timeout.as_bytes().to_vec()),
            SO_PRIORITY => self.options.lock().number(name),
            _ if SWITCHES.contains(&name) => self.options.lock().number(name),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(number.to_ne_bytes().to_vec())
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = read_number(value)?;
        let mut options = self.options.lock();
        match name {
            SO_LINGER => {
                let (linger, _) = Linger::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                options.linger = Linger { on: i32::from(linger.on != 0), ..linger };
            }
            SO_RCVTIMEO => options.receive_timeout = read_timeout(value)?,
            SO_SNDTIMEO => options.send_timeout = read_timeout(value)?,
            SO_RCVBUF | SO_RCVBUFFORCE => {
                options.receive_buffer = buffer_bytes(number, most_of(name), MIN_RECEIVE_BUFFER);
            }
            SO_SNDBUF | SO_SNDBUFFORCE => {
                drop(options);
                self.buffer.set_limit(buffer_bytes(number, most_of(name), MIN_SEND_BUFFER));
            }
            SO_RCVLOWAT => {
                let low_water = if number < 0 { i32::MAX } else { number };
                options.numbers.insert(name, low_water);
            }
            SO_PRIORITY => {
                options.numbers.insert(name, number);
            }
            SO_REUSEPORT if number != 0 => return Err(Errno::EOPNOTSUPP),
            _ if SWITCHES.contains(&name) => {
                options.numbers.insert(name, i32::from(number != 0));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

/// The kernel doubles what it is asked for, "to allow space for bookkeeping overhead" (`socket(7)`).
/// A negative size is a large one, and none where the limit does not hold (`sk_setsockopt` in `net/core/sock.c`).
fn buffer_bytes(asked: i32, most: usize, least: usize) -> usize {
    let asked = if most == FORCED_MAX { asked.max(0) as usize } else { asked as u32 as usize };
    (asked.min(most) * 2).max(least)
}

/// The limit that holds for an option that sets a buffer's size.
const fn most_of(name: i32) -> usize {
    match name {
        SO_SNDBUFFORCE | SO_RCVBUFFORCE => FORCED_MAX,
        _ => MAX_BUFFER,
    }
}
