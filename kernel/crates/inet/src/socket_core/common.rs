//! Options of `SOL_SOCKET` (`socket(7)`; `sk_setsockopt` and `sk_getsockopt` in `net/core/sock.c`).

use alloc::{string::String, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;
use linux_abi::{
    Errno,
    interface::IFNAMSIZ,
    socket::{Linger, SocketTimeout, SocketType, Ucred, option::*},
    time::Timeval,
};
use zerocopy::{FromBytes, IntoBytes};

use super::SocketCore;
use crate::net::Settings;

bitflags! {
    /// Options that are on or off.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Switches: u32 {
        /// `SO_DEBUG`
        const DEBUG = 1 << 0;
        /// `SO_REUSEADDR`
        const REUSEADDR = 1 << 1;
        /// `SO_REUSEPORT`
        const REUSEPORT = 1 << 2;
        /// `SO_DONTROUTE`
        const DONTROUTE = 1 << 3;
        /// `SO_BROADCAST`
        const BROADCAST = 1 << 4;
        /// `SO_KEEPALIVE`
        const KEEPALIVE = 1 << 5;
        /// `SO_OOBINLINE`
        const OOBINLINE = 1 << 6;
        /// `SO_NO_CHECK`
        const NO_CHECK = 1 << 7;
        /// `SO_PASSCRED`
        const PASSCRED = 1 << 8;
        /// `SO_RXQ_OVFL`
        const RXQ_OVFL = 1 << 9;
        /// `SO_SELECT_ERR_QUEUE`
        const SELECT_ERR_QUEUE = 1 << 10;
    }
}

impl Switches {
    fn of(name: i32) -> Option<Self> {
        Some(match name {
            SO_DEBUG => Self::DEBUG,
            SO_REUSEADDR => Self::REUSEADDR,
            SO_REUSEPORT => Self::REUSEPORT,
            SO_DONTROUTE => Self::DONTROUTE,
            SO_BROADCAST => Self::BROADCAST,
            SO_KEEPALIVE => Self::KEEPALIVE,
            SO_OOBINLINE => Self::OOBINLINE,
            SO_NO_CHECK => Self::NO_CHECK,
            SO_PASSCRED => Self::PASSCRED,
            SO_RXQ_OVFL => Self::RXQ_OVFL,
            SO_SELECT_ERR_QUEUE => Self::SELECT_ERR_QUEUE,
            _ => return None,
        })
    }
}

/// How long a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// For ever.
    None,
    /// This many nanoseconds.
    AfterNs(u64),
    /// Not at all: a negative time was set.
    Never,
}

/// Which receive times are told (`SO_TIMESTAMP`, `SO_TIMESTAMPNS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// None.
    Off,
    /// As a `struct timeval`.
    Microseconds,
    /// As a `struct timespec`.
    Nanoseconds,
}

bitflags! {
    /// Which buffers' sizes the program has set (`SO_BUF_LOCK`): these do not grow by themselves.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BufferLock: u32 {
        /// The send buffer's.
        const SEND = 1;
        /// The receive buffer's.
        const RECEIVE = 2;
    }
}

/// Least sizes of the buffers (`SOCK_MIN_SNDBUF`, `SOCK_MIN_RCVBUF` on x86-64).
const MIN_SEND_BUFFER: u32 = 4608;
const MIN_RECEIVE_BUFFER: u32 = 2304;

/// Options of `SOL_SOCKET`.
#[derive(Clone, Debug)]
pub struct Common {
    /// Those that are on or off.
    pub switches: Switches,
    /// `SO_LINGER`.
    pub linger: Linger,
    /// `SO_SNDBUF`, in bytes, as `getsockopt` shows it: twice what was asked for.
    pub send_buffer: u32,
    /// `SO_RCVBUF`, likewise.
    pub receive_buffer: u32,
    /// Which of them were set.
    pub buffer_lock: BufferLock,
    /// `SO_RCVLOWAT`.
    pub receive_low_water: u32,
    /// `SO_SNDTIMEO`.
    pub send_timeout: Timeout,
    /// `SO_RCVTIMEO`.
    pub receive_timeout: Timeout,
    /// `SO_BINDTODEVICE`: the interface's index, or 0.
    pub interface: u32,
    /// `SO_PRIORITY`.
    pub priority: i32,
    /// `SO_MARK`.
    pub mark: u32,
    /// `SO_TIMESTAMP`, `SO_TIMESTAMPNS`.
    pub timestamps: Timestamps,
    /// `SO_INCOMING_CPU`: which CPU's packets are preferred, -1 for none.
    pub incoming_cpu: i32,
    /// `SO_MAX_PACING_RATE`, bytes in a second; all ones: no limit.
    pub max_pacing_rate: u64,
    /// `SO_BUSY_POLL`, microseconds.
    pub busy_poll: u32,
}

impl Common {
    /// Of a new socket with the default buffers.
    pub fn new(settings: &Settings) -> Self {
        Self::with_buffers(settings.send_buffer[0].load(Relaxed), settings.receive_buffer[0].load(Relaxed))
    }

    /// Of a new socket with buffers of these sizes.
    pub const fn with_buffers(send_buffer: u32, receive_buffer: u32) -> Self {
        Self {
            switches: Switches::empty(),
            linger: Linger { on: 0, seconds: 0 },
            send_buffer,
            receive_buffer,
            buffer_lock: BufferLock::empty(),
            receive_low_water: 1,
            send_timeout: Timeout::None,
            receive_timeout: Timeout::None,
            interface: 0,
            priority: 0,
            mark: 0,
            timestamps: Timestamps::Off,
            incoming_cpu: -1,
            max_pacing_rate: u64::MAX,
            busy_poll: 0,
        }
    }
}

/// A number that an option is set to: `EINVAL` if there is none.
pub(crate) fn read_number(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

/// A number as the value of an option.
pub(crate) fn number(value: i32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn read_timeout(value: &[u8]) -> Result<Timeout, Errno> {
    let (time, _) = SocketTimeout::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    match time {
        Timeval { usec, .. } if !(0..1_000_000).contains(&usec) => Err(Errno::EDOM),
        Timeval { sec, .. } if sec < 0 => Ok(Timeout::Never),
        Timeval { sec: 0, usec: 0 } => Ok(Timeout::None),
        time => Ok(Timeout::AfterNs(time.to_ns()?)),
    }
}

fn timeout_bytes(timeout: Timeout) -> Vec<u8> {
    let time = match timeout {
        Timeout::AfterNs(ns) => Timeval::from_ns(ns),
        Timeout::None | Timeout::Never => Timeval::default(),
    };
    time.as_bytes().to_vec()
}

/// The kernel doubles what it is asked for, "to allow space for bookkeeping overhead" (`socket(7)`).
fn buffer_bytes(asked: u32, most: u32, least: u32) -> u32 {
    (asked.min(most).min(i32::MAX as u32 / 2) * 2).max(least)
}

impl SocketCore {
    pub(super) fn common_option(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            SO_TYPE => self.kind.raw() as i32,
            SO_DOMAIN => i32::from(self.family.number()),
            SO_PROTOCOL => i32::from(self.protocol),
            SO_ERROR => self.take_error().map_or(0, |error| error as i32),
            SO_ACCEPTCONN | SO_BSDCOMPAT | SO_INCOMING_NAPI_ID | SO_TIMESTAMPING => 0,
            SO_SNDLOWAT => 1,
            SO_PEERCRED => return Ok(Ucred::NOBODY.as_bytes().to_vec()),
            SO_COOKIE => return Ok(self.id.to_ne_bytes().to_vec()),
            SO_NETNS_COOKIE => return Ok(1_u64.to_ne_bytes().to_vec()),
            SO_BINDTODEVICE => return Ok(self.bound_interface_name()),
            _ => return self.with(|options| options.common.get(name)),
        };
        Ok(number(value))
    }

    /// The name of the interface with its NUL, or nothing (`sock_getbindtodevice`).
    fn bound_interface_name(&self) -> Vec<u8> {
        let index = self.with(|options| options.common.interface);
        match self.net.ip.interface(index).filter(|_| index != 0) {
            Some(interface) => interface.name.into_bytes().into_iter().chain([0]).collect(),
            None => Vec::new(),
        }
    }

    pub(super) fn set_common_option(&self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == SO_BINDTODEVICE {
            let bytes = &value[..value.len().min(IFNAMSIZ - 1)];
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            let index = if name.is_empty() {
                0
            } else {
                self.net.ip.interface_index(&String::from_utf8_lossy(name)).ok_or(Errno::ENODEV)?
            };
            self.update_options(|options| options.common.interface = index);
            return Ok(());
        }
        let asked = read_number(value)?;
        match name {
            SO_TYPE | SO_PROTOCOL | SO_DOMAIN | SO_ERROR => Err(Errno::ENOPROTOOPT),
            SO_BINDTOIFINDEX => {
                // Unlike a name, a number is not looked up (`sock_bindtoindex`).
                let index = u32::try_from(asked).map_err(|_| Errno::EINVAL)?;
                self.update_options(|options| options.common.interface = index);
                Ok(())
            }
            // Its completions would have to go to the queue of errors (`Documentation/networking/msg_zerocopy.rst`).
            SO_ZEROCOPY if asked != 0 => Err(Errno::EOPNOTSUPP),
            // There is never a filter.
            SO_DETACH_FILTER => Err(Errno::ENOENT),
            SO_PEEK_OFF => Err(Errno::EOPNOTSUPP),
            SO_OOBINLINE | SO_KEEPALIVE | SO_REUSEADDR | SO_DEBUG | SO_DONTROUTE | SO_BROADCAST
            | SO_REUSEPORT | SO_NO_CHECK | SO_PASSCRED | SO_RXQ_OVFL | SO_SELECT_ERR_QUEUE => {
                let Some(switch) = Switches::of(name) else { return Err(Errno::ENOPROTOOPT) };
                self.update_options(|options| options.common.switches.set(switch, asked != 0));
                Ok(())
            }
            _ => {
                let limits = [&self.net.settings.send_buffer, &self.net.settings.receive_buffer]
                    .map(|limit| limit[1].load(Relaxed));
                self.update_options(|options| options.common.set(name, asked, value, limits))
            }
        }
    }

    /// Whether `SOCK_STREAM`'s rules hold.
    pub fn is_stream(&self) -> bool {
        self.kind == SocketType::Stream
    }
}

impl Common {
    fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            SO_LINGER => return Ok(self.linger.as_bytes().to_vec()),
            SO_RCVTIMEO => return Ok(timeout_bytes(self.receive_timeout)),
            SO_SNDTIMEO => return Ok(timeout_bytes(self.send_timeout)),
            SO_MAX_PACING_RATE => return Ok(self.max_pacing_rate.to_ne_bytes().to_vec()),
            SO_SNDBUF => self.send_buffer as i32,
            SO_RCVBUF => self.receive_buffer as i32,
            SO_BUF_LOCK => self.buffer_lock.bits() as i32,
            SO_RCVLOWAT => self.receive_low_water as i32,
            SO_BINDTOIFINDEX => self.interface as i32,
            SO_PRIORITY => self.priority,
            SO_MARK => self.mark as i32,
            SO_TIMESTAMP => i32::from(self.timestamps == Timestamps::Microseconds),
            SO_TIMESTAMPNS => i32::from(self.timestamps == Timestamps::Nanoseconds),
            SO_INCOMING_CPU => self.incoming_cpu,
            SO_BUSY_POLL => self.busy_poll as i32,
            SO_ZEROCOPY => 0,
            SO_PEEK_OFF => -1,
            _ => match Switches::of(name) {
                Some(switch) => i32::from(self.switches.contains(switch)),
                None => return Err(Errno::ENOPROTOOPT),
            },
        };
        Ok(number(value))
    }

    /// `limits` are `wmem_max` and `rmem_max`.
    fn set(&mut self, name: i32, asked: i32, value: &[u8], limits: [u32; 2]) -> Result<(), Errno> {
        match name {
            SO_LINGER => {
                let (linger, _) = Linger::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                // Switching it off keeps the time.
                self.linger = match linger.on {
                    0 => Linger { on: 0, ..self.linger },
                    _ => Linger { on: 1, ..linger },
                };
            }
            SO_RCVTIMEO => self.receive_timeout = read_timeout(value)?,
            SO_SNDTIMEO => self.send_timeout = read_timeout(value)?,
            // A negative size is a large one here, and none where the limit does not hold.
            SO_SNDBUF => self.set_send_buffer(asked as u32, limits[0]),
            SO_SNDBUFFORCE => self.set_send_buffer(asked.max(0) as u32, u32::MAX),
            SO_RCVBUF => self.set_receive_buffer(asked as u32, limits[1]),
            SO_RCVBUFFORCE => self.set_receive_buffer(asked.max(0) as u32, u32::MAX),
            SO_BUF_LOCK => {
                self.buffer_lock = BufferLock::from_bits(asked as u32).ok_or(Errno::EINVAL)?;
            }
            SO_RCVLOWAT => {
                self.receive_low_water = if asked < 0 { i32::MAX as u32 } else { asked.max(1) as u32 };
            }
            SO_PRIORITY => self.priority = asked,
            SO_MARK => self.mark = asked as u32,
            SO_TIMESTAMP | SO_TIMESTAMPNS => {
                self.timestamps = match (asked, name) {
                    (0, _) => Timestamps::Off,
                    (_, SO_TIMESTAMP) => Timestamps::Microseconds,
                    _ => Timestamps::Nanoseconds,
                };
            }
            SO_INCOMING_CPU => self.incoming_cpu = asked,
            SO_MAX_PACING_RATE => {
                self.max_pacing_rate = match value.first_chunk() {
                    Some(rate) => u64::from_ne_bytes(*rate),
                    None if asked == -1 => u64::MAX,
                    None => u64::from(asked as u32),
                };
            }
            SO_BUSY_POLL => self.busy_poll = u32::try_from(asked).map_err(|_| Errno::EINVAL)?,
            // Obsolete, and without meaning; or switched off, as it is.
            SO_BSDCOMPAT | SO_ZEROCOPY => {}
            SO_TIMESTAMPING if asked == 0 => {}
            SO_TIMESTAMPING => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn set_send_buffer(&mut self, asked: u32, most: u32) {
        self.send_buffer = buffer_bytes(asked, most, MIN_SEND_BUFFER);
        self.buffer_lock |= BufferLock::SEND;
    }

    fn set_receive_buffer(&mut self, asked: u32, most: u32) {
        self.receive_buffer = buffer_bytes(asked, most, MIN_RECEIVE_BUFFER);
        self.buffer_lock |= BufferLock::RECEIVE;
    }
}
