//! Options of TCP, and what of the common ones the protocol has to know (`do_tcp_setsockopt`, `do_tcp_getsockopt`).

use alloc::vec::Vec;

use ksync::platform;
use linux_abi::{
    Errno,
    inet::{TcpInfo, level::SOL_TCP, tcp_option::*},
    socket::{SOL_SOCKET, option::*},
};
use tcp::{Algorithm, BufferSize, Options, State, limits};
use zerocopy::IntoBytes;

use super::{Role, TcpSocket};
use crate::{BufferLock, Switches};

/// Longest time, in seconds, that the keep-alive options take, and most probes (`MAX_TCP_KEEPIDLE`...).
const MAX_KEEP_S: i32 = 32_767;
const MAX_KEEP_PROBES: i32 = 127;
const MAX_SYN_RETRIES: i32 = 127;
/// `TCP_FIN_TIMEOUT_MAX`, in seconds.
const MAX_LINGER2_S: i32 = 120;
/// Longest name of an algorithm (`TCP_CA_NAME_MAX`).
const NAME_MAX: usize = 16;
/// The first retransmission of a SYN-ACK comes after so long, in seconds, and each after twice as long.
const FIRST_TIMEOUT_S: u32 = 1;
const LONGEST_TIMEOUT_S: u32 = 120;

fn number_of(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL)
}

fn bytes_of(number: i32) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

fn in_range(number: i32, least: i32, most: i32) -> Result<i32, Errno> {
    if (least..=most).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) }
}

/// `TCP_DEFER_ACCEPT` counts retransmissions of the SYN-ACK, and is shown as the time that these take
/// (`secs_to_retrans`, `retrans_to_secs`).
fn deferral_s(asked_s: i32) -> u32 {
    let asked_s = asked_s.max(0) as u32;
    if asked_s == 0 {
        return 0;
    }
    let (mut period_s, mut timeout_s) = (FIRST_TIMEOUT_S, FIRST_TIMEOUT_S);
    while asked_s > period_s {
        timeout_s = (timeout_s * 2).min(LONGEST_TIMEOUT_S);
        period_s += timeout_s;
    }
    period_s
}

impl TcpSocket {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match level {
            SOL_SOCKET => self.get_common(name),
            SOL_TCP => self.get_tcp(name),
            _ => self.core().option(level, name),
        }
    }

    fn get_common(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let mut inner = self.lock();
        match (name, &mut inner.role) {
            (SO_ACCEPTCONN, role) => Ok(bytes_of(i32::from(matches!(role, Role::Listening(_))))),
            (SO_ERROR, Role::Stream(stream)) => {
                Ok(bytes_of(stream.connection.take_error().map_or(0, |error| error as i32)))
            }
            (SO_SNDBUF, Role::Stream(stream)) => {
                Ok(bytes_of(stream.connection.options().send_buffer.bytes() as i32))
            }
            (SO_RCVBUF, Role::Stream(stream)) => {
                Ok(bytes_of(stream.connection.options().receive_buffer.bytes() as i32))
            }
            _ => {
                drop(inner);
                self.core().option(SOL_SOCKET, name)
            }
        }
    }

    fn get_tcp(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let mut inner = self.lock();
        let state = match &inner.role {
            Role::Idle => State::Closed,
            Role::Listening(_) => State::Listen,
            Role::Stream(stream) => stream.presented_state(),
        };
        let lengths = match &inner.role {
            Role::Listening(listener) => Some(listener.queue_lengths()),
            _ => None,
        };
        let is_quick = inner.stream().is_none_or(|stream| stream.connection.quick_acknowledgements());
        let max_segment = inner.stream().map(|stream| stream.connection.max_segment());
        if name == TCP_INFO {
            let mut info = match inner.stream() {
                Some(stream) => stream.connection.info(platform::now_ns()),
                None => TcpInfo::default(),
            };
            info.state = state as u8;
            if let Some((waiting, backlog)) = lengths {
                // Linux has a listener's queue in these two.
                info.unacked = waiting as u32;
                info.sacked = backlog as u32;
            }
            return Ok(info.as_bytes().to_vec());
        }
        let options = match &inner.role {
            Role::Stream(stream) => stream.connection.options(),
            _ => &inner.options,
        };
        let number = match name {
            TCP_NODELAY => i32::from(options.nodelay),
            TCP_CORK => i32::from(options.cork),
            TCP_MAXSEG => {
                // What was asked for shows only while there is no connection.
                match max_segment {
                    Some(max_segment) => i32::from(max_segment),
                    None if options.max_segment != 0 => i32::from(options.max_segment),
                    None => 536,
                }
            }
            TCP_KEEPIDLE => options.keepalive_idle_s as i32,
            TCP_KEEPINTVL => options.keepalive_interval_s as i32,
            TCP_KEEPCNT => i32::from(options.keepalive_probes),
            TCP_SYNCNT => i32::from(options.syn_retries),
            TCP_LINGER2 => options.linger2_s,
            TCP_DEFER_ACCEPT => options.defer_accept_s as i32,
            TCP_WINDOW_CLAMP => options.window_clamp as i32,
            TCP_QUICKACK => i32::from(is_quick),
            TCP_CONGESTION => {
                let mut name = [0; NAME_MAX];
                let bytes = options.congestion.name().as_bytes();
                name[..bytes.len()].copy_from_slice(bytes);
                return Ok(name.to_vec());
            }
            TCP_USER_TIMEOUT => options.user_timeout_ms as i32,
            // Without one of its own, a socket shows 0.
            TCP_NOTSENT_LOWAT => match options.notsent_low_water {
                u32::MAX => 0,
                low_water => low_water as i32,
            },
            // Not offered, and off as on a Linux where nobody has asked for them.
            TCP_REPAIR
            | TCP_FASTOPEN
            | TCP_FASTOPEN_CONNECT
            | TCP_FASTOPEN_NO_COOKIE
            | TCP_SAVE_SYN
            | TCP_THIN_LINEAR_TIMEOUTS
            | TCP_THIN_DUPACK
            | TCP_INQ
            | TCP_TX_DELAY => 0,
            TCP_TIMESTAMP => (platform::now_ns() / 1_000_000) as i32,
            TCP_ULP => return Ok(Vec::new()),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(bytes_of(number))
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match level {
            SOL_TCP => self.change_tcp(name, value),
            SOL_SOCKET => {
                self.core().set_option(level, name, value)?;
                self.adopt_common(name);
                Ok(())
            }
            _ => {
                self.core().set_option(level, name, value)?;
                let output = self.output_options();
                if let Some(stream) = self.lock().stream() {
                    stream.output = output;
                }
                Ok(())
            }
        }
    }

    /// Lets the protocol know of an option of the common ones.
    fn adopt_common(&self, name: i32) {
        let common = self.core().with(|options| options.common.clone());
        let sized = |bytes, lock| {
            if common.buffer_lock.contains(lock) {
                BufferSize::Fixed(bytes)
            } else {
                BufferSize::Automatic(bytes)
            }
        };
        match name {
            SO_KEEPALIVE => {
                let on = common.switches.contains(Switches::KEEPALIVE);
                self.change(|options| options.keepalive = on);
            }
            SO_OOBINLINE => {
                let on = common.switches.contains(Switches::OOBINLINE);
                self.change(|options| options.oob_inline = on);
            }
            SO_RCVLOWAT => self.change(|options| options.receive_low_water = common.receive_low_water),
            SO_SNDBUF | SO_SNDBUFFORCE => {
                self.change(|options| options.send_buffer = sized(common.send_buffer, BufferLock::SEND));
                // There may be room now.
                self.core().pollee.notify(vfs::PollEvents::OUT | vfs::PollEvents::WRNORM);
            }
            SO_RCVBUF | SO_RCVBUFFORCE => {
                self.change(|options| {
                    options.receive_buffer = sized(common.receive_buffer, BufferLock::RECEIVE)
                });
            }
            SO_REUSEADDR | SO_REUSEPORT => {
                let inner = self.lock();
                if let Some(claim) = &inner.claim {
                    claim.update(|binding| {
                        binding.reuse_address = common.switches.contains(Switches::REUSEADDR);
                        binding.reuse_port = common.switches.contains(Switches::REUSEPORT);
                    });
                }
            }
            _ => {}
        }
    }

    /// Changes options of the protocol, wherever they are now.
    fn change(&self, change: impl FnOnce(&mut Options)) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        match &mut inner.role {
            Role::Idle => change(&mut inner.options),
            Role::Listening(listener) => {
                change(&mut inner.options);
                listener.set_options(&inner.options);
            }
            Role::Stream(stream) => {
                stream.connection.update_options(platform::now_ns(), change, &mut stream.out);
            }
        }
    }

    fn change_tcp(&self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == TCP_CONGESTION {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len()).min(NAME_MAX - 1);
            if value.is_empty() {
                return Err(Errno::EINVAL);
            }
            let name = core::str::from_utf8(&value[..end]).map_err(|_| Errno::ENOENT)?;
            let algorithm = Algorithm::from_name(name).ok_or(Errno::ENOENT)?;
            self.change(|options| options.congestion = algorithm);
            return Ok(());
        }
        if name == TCP_ULP {
            return Err(Errno::ENOENT);
        }
        let asked = number_of(value)?;
        match name {
            TCP_NODELAY => self.change(|options| options.nodelay = asked != 0),
            TCP_CORK => self.change(|options| options.cork = asked != 0),
            TCP_MAXSEG => {
                if asked != 0 {
                    in_range(asked, i32::from(limits::MIN_MSS) + 40, i32::from(limits::MAX_MAXSEG))?;
                }
                self.change(|options| options.max_segment = asked as u16);
            }
            TCP_KEEPIDLE => {
                let idle_s = in_range(asked, 1, MAX_KEEP_S)? as u32;
                self.change(|options| options.keepalive_idle_s = idle_s);
            }
            TCP_KEEPINTVL => {
                let interval_s = in_range(asked, 1, MAX_KEEP_S)? as u32;
                self.change(|options| options.keepalive_interval_s = interval_s);
            }
            TCP_KEEPCNT => {
                let probes = in_range(asked, 1, MAX_KEEP_PROBES)? as u8;
                self.change(|options| options.keepalive_probes = probes);
            }
            TCP_SYNCNT => {
                let retries = in_range(asked, 1, MAX_SYN_RETRIES)? as u8;
                self.change(|options| options.syn_retries = retries);
            }
            TCP_LINGER2 => {
                let seconds = match asked {
                    ..0 => -1,
                    0 => Options::default().linger2_s,
                    seconds => seconds.min(MAX_LINGER2_S),
                };
                self.change(|options| options.linger2_s = seconds);
            }
            TCP_DEFER_ACCEPT => self.change(|options| options.defer_accept_s = deferral_s(asked)),
            TCP_WINDOW_CLAMP => {
                let is_closed = !matches!(self.lock().role, Role::Stream(_));
                if asked == 0 && !is_closed {
                    return Err(Errno::EINVAL);
                }
                // Not below half of the least buffer (`SOCK_MIN_RCVBUF / 2`).
                let clamp =
                    if asked == 0 { 0 } else { (asked.max(0) as u32).max(limits::MIN_RECEIVE_BUFFER / 2) };
                self.change(|options| options.window_clamp = clamp);
            }
            TCP_QUICKACK => {
                let mut inner = self.lock();
                if let Some(stream) = inner.stream() {
                    let now_ns = platform::now_ns();
                    stream.connection.set_quick_acknowledgements(now_ns, asked & 1 != 0, &mut stream.out);
                }
            }
            TCP_USER_TIMEOUT => {
                let timeout_ms = u32::try_from(asked).map_err(|_| Errno::EINVAL)?;
                self.change(|options| options.user_timeout_ms = timeout_ms);
            }
            TCP_NOTSENT_LOWAT => {
                let low_water = if asked == 0 { u32::MAX } else { asked as u32 };
                self.change(|options| options.notsent_low_water = low_water);
            }
            // What is not offered can be switched off.
            TCP_FASTOPEN
            | TCP_FASTOPEN_CONNECT
            | TCP_FASTOPEN_NO_COOKIE
            | TCP_SAVE_SYN
            | TCP_THIN_LINEAR_TIMEOUTS
            | TCP_THIN_DUPACK
            | TCP_INQ
            | TCP_TX_DELAY
            | TCP_REPAIR
                if asked == 0 => {}
            TCP_FASTOPEN | TCP_FASTOPEN_CONNECT | TCP_REPAIR | TCP_SAVE_SYN | TCP_INQ => {
                return Err(Errno::EOPNOTSUPP);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
