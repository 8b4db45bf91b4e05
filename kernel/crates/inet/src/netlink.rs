//! Netlink sockets, of the family `NETLINK_ROUTE` (`netlink(7)`, `rtnetlink(7)`): programs ask what interfaces,
//! addresses, routes and neighbours there are, and follow changes.
//!
//! A request is answered when it is sent: the answer waits in the asker's queue. What would change something is `EPERM`:
//! the configuration of the machine is its host's.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | `NetlinkSocket::inner` (spin) | port, groups, queue | nothing |
//! | `Registry::ports` (spin) | who has which port | nothing |

mod changes;
mod dump;
mod message;
mod request;

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use ipc::socket::{Control, Received, SendOptions, Socket};
use ksync::SpinLock;
use linux_abi::{
    Errno,
    inet::level::SOL_NETLINK,
    netlink::{SockaddrNl, group::RTNLGRP_MAX, option::*},
    socket::{
        MessageFlags, SOL_SOCKET, ShutdownHow, SocketType, Ucred,
        family::{AF_NETLINK, AF_UNSPEC},
        option::{SO_DOMAIN, SO_PROTOCOL},
    },
};
use vfs::{Blocking, PollEvents, Pollee, ReadDst, WriteSrc};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) use changes::Changes;
pub use changes::Follower;

use crate::{
    Common, Family, Net, SocketCore, Switches,
    datagram::{READABLE, WRITABLE},
    socket_core::{number, read_number},
};

/// The longest message that is taken.
const MESSAGE_MAX: usize = 1 << 20;

/// Who has which port. Ports of netlink are numbers that sockets choose; by default the process's id.
#[derive(Default)]
pub(crate) struct Registry {
    ports: SpinLock<BTreeMap<u32, Weak<NetlinkSocket>>>,
}

impl Registry {
    fn claim(&self, port: u32, socket: &Weak<NetlinkSocket>) -> Result<(), Errno> {
        let mut ports = self.ports.lock();
        if ports.contains_key(&port) {
            return Err(Errno::EADDRINUSE);
        }
        ports.insert(port, socket.clone());
        Ok(())
    }

    fn release(&self, port: u32) {
        let gone = self.ports.lock().remove(&port);
        drop(gone);
    }

    pub(super) fn sockets(&self) -> Vec<Arc<NetlinkSocket>> {
        self.ports.lock().values().filter_map(Weak::upgrade).collect()
    }
}

/// A netlink socket.
pub struct NetlinkSocket {
    this: Weak<NetlinkSocket>,
    core: SocketCore,
    process: u32,
    inner: SpinLock<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Its own port, once it has one.
    port: Option<u32>,
    /// The port that it is connected to, and groups.
    peer: Option<(u32, u32)>,
    /// Groups that it is a member of: bit `n` for group `n + 1`.
    groups: u64,
    queue: VecDeque<Arc<Vec<u8>>>,
    queued_bytes: usize,
    /// Options that are on, by number.
    options: u32,
}

/// Options of `SOL_NETLINK` that are on or off.
const SWITCHES: [i32; 6] = [
    NETLINK_PKTINFO,
    NETLINK_BROADCAST_ERROR,
    NETLINK_NO_ENOBUFS,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
];

impl Inner {
    fn is_on(&self, option: i32) -> bool {
        self.options >> option & 1 != 0
    }
}

fn read_address(bytes: &[u8]) -> Result<SockaddrNl, Errno> {
    let (address, _) = SockaddrNl::read_from_prefix(bytes).map_err(|_| Errno::EINVAL)?;
    if address.family == AF_NETLINK { Ok(address) } else { Err(Errno::EINVAL) }
}

fn address_bytes(port: u32, groups: u32) -> Vec<u8> {
    SockaddrNl { family: AF_NETLINK, pad: 0, port, groups }.as_bytes().to_vec()
}

impl NetlinkSocket {
    /// A socket of `NETLINK_ROUTE` for the process with the id `process`.
    pub fn new(net: &Arc<Net>, kind: SocketType, process: u32) -> Arc<Self> {
        // The core's options are those of any socket; its family is only seen through `option`, below.
        let core = SocketCore::new(net, Family::V4, kind, 0, Common::new(&net.settings));
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            core,
            process,
            inner: SpinLock::new(Inner::default()),
        })
    }

    fn registry(&self) -> &Registry {
        &self.core.net.netlink
    }

    /// Its port, groups and bytes that wait: for `/proc/net/netlink`.
    pub fn figures(&self) -> (u32, u32, usize) {
        let inner = self.inner.lock();
        (inner.port.unwrap_or(0), inner.groups as u32, inner.queued_bytes)
    }

    /// Takes a port: `port`, or if that is 0 the process's id, or any other that is free.
    fn take_port(&self, port: u32) -> Result<u32, Errno> {
        if let Some(own) = self.inner.lock().port {
            return if port == 0 || port == own { Ok(own) } else { Err(Errno::EINVAL) };
        }
        let own = if port != 0 {
            self.registry().claim(port, &self.this)?;
            port
        } else {
            // Numbers that no process has, downwards (`netlink_autobind`).
            let others = (0..u32::MAX / 2).map(|n| (-4097_i32 as u32).wrapping_sub(n));
            core::iter::once(self.process)
                .chain(others)
                .find(|port| self.registry().claim(*port, &self.this).is_ok())
                .ok_or(Errno::EADDRINUSE)?
        };
        let mut inner = self.inner.lock();
        match inner.port {
            None => {
                inner.port = Some(own);
                Ok(own)
            }
            Some(other) => {
                drop(inner);
                self.registry().release(own);
                Ok(other)
            }
        }
    }

    /// Puts a message into the queue; `ENOBUFS` is the socket's error if there is no room.
    fn queue(&self, message: Vec<u8>) {
        let limit = self.core.with(|options| options.common.receive_buffer) as usize;
        let mut inner = self.inner.lock();
        if inner.queued_bytes >= limit {
            let is_quiet = inner.is_on(NETLINK_NO_ENOBUFS);
            drop(inner);
            if !is_quiet {
                self.core.set_error(Errno::ENOBUFS);
                self.core.pollee.notify(PollEvents::ERR);
            }
            return;
        }
        inner.queued_bytes += message.len();
        inner.queue.push_back(Arc::new(message));
        drop(inner);
        self.core.pollee.notify(READABLE);
    }

    fn take(&self, flags: MessageFlags) -> Option<Arc<Vec<u8>>> {
        let mut inner = self.inner.lock();
        if flags.contains(MessageFlags::PEEK) {
            return inner.queue.front().cloned();
        }
        let message = inner.queue.pop_front()?;
        inner.queued_bytes -= message.len();
        Some(message)
    }

    fn set_group(&self, group: i32, is_member: bool) -> Result<(), Errno> {
        let bit = match u32::try_from(group) {
            Ok(group @ 1..=RTNLGRP_MAX) => 1 << (group - 1),
            _ => return Err(Errno::EINVAL),
        };
        let mut inner = self.inner.lock();
        inner.groups = if is_member { inner.groups | bit } else { inner.groups & !bit };
        Ok(())
    }
}

impl Socket for NetlinkSocket {
    fn kind(&self) -> SocketType {
        self.core.kind
    }

    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        let address = read_address(address)?;
        // One that has a port already must name it (`netlink_bind`).
        if self.inner.lock().port.is_some_and(|own| own != address.port) {
            return Err(Errno::EINVAL);
        }
        self.take_port(address.port)?;
        let mut inner = self.inner.lock();
        // The first 32 groups are what an address has room for.
        inner.groups = inner.groups & !u64::from(u32::MAX) | u64::from(address.groups);
        Ok(())
    }

    fn listen(&self, _backlog: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, address: &[u8], _blocking: Blocking) -> Result<(), Errno> {
        let family = address.first_chunk().map(|family| u16::from_ne_bytes(*family)).ok_or(Errno::EINVAL)?;
        if family == AF_UNSPEC {
            self.inner.lock().peer = None;
            return Ok(());
        }
        let peer = read_address(address)?;
        self.take_port(0)?;
        self.inner.lock().peer = Some((peer.port, peer.groups));
        Ok(())
    }

    fn accept(&self, _blocking: Blocking) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        let inner = self.inner.lock();
        Ok(address_bytes(inner.port.unwrap_or(0), inner.groups as u32))
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        // One that is not connected talks to the kernel.
        let (port, groups) = self.inner.lock().peer.unwrap_or_default();
        Ok(address_bytes(port, groups))
    }

    fn send(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        _blocking: Blocking,
    ) -> Result<usize, Errno> {
        if options.flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = match options.address {
            Some(address) => read_address(address)?.port,
            None => self.inner.lock().peer.map_or(0, |(port, _)| port),
        };
        let port = self.take_port(0)?;
        let len = src.remaining();
        if len > MESSAGE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut message = alloc::vec![0; len];
        let mut filled = 0;
        while filled < len {
            match src.take(&mut message[filled..]) {
                Ok(0) | Err(_) => return Err(Errno::EFAULT),
                Ok(taken) => filled += taken,
            }
        }
        if to != 0 {
            // Other programs' sockets, of which there is one process's.
            return Err(Errno::ECONNREFUSED);
        }
        request::answer(self, port, &message);
        Ok(len)
    }

    fn receive(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let message = self.core.wait(blocking, self.core.receive_timeout(), || {
            if let Some(error) = self.core.take_error() {
                return Some(Err(error));
            }
            self.take(flags).map(Ok)
        })?;
        let room = dst.remaining().min(message.len());
        let copied = if room == 0 { 0 } else { dst.put(&message)? };
        let is_cut = copied < message.len();
        let mut control = Vec::new();
        if self.inner.lock().is_on(NETLINK_PKTINFO) {
            // `struct nl_pktinfo`: the group, which answers have none of.
            control.push(Control::Other {
                level: SOL_NETLINK,
                kind: NETLINK_PKTINFO,
                data: 0_u32.to_ne_bytes().to_vec(),
            });
        }
        if self.core.has_switch(Switches::PASSCRED) {
            control.push(Control::Credentials(Ucred { pid: 0, uid: 0, gid: 0 }));
        }
        Ok(Received {
            len: if flags.contains(MessageFlags::TRUNC) { message.len() } else { copied },
            flags: if is_cut { MessageFlags::TRUNC } else { MessageFlags::empty() },
            address: Some(address_bytes(0, 0)),
            control,
        })
    }

    fn shutdown(&self, _how: ShutdownHow) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match (level, name) {
            (SOL_SOCKET, SO_DOMAIN) => Ok(number(i32::from(AF_NETLINK))),
            (SOL_SOCKET, SO_PROTOCOL) => Ok(number(linux_abi::netlink::NETLINK_ROUTE)),
            (SOL_SOCKET, _) => self.core.option(level, name),
            (SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS) => Ok(self.inner.lock().groups.to_ne_bytes().to_vec()),
            (SOL_NETLINK, name) if SWITCHES.contains(&name) => {
                Ok(number(i32::from(self.inner.lock().is_on(name))))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == SOL_SOCKET {
            return self.core.set_option(level, name, value);
        }
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let asked = read_number(value)?;
        match name {
            NETLINK_ADD_MEMBERSHIP => self.set_group(asked, true),
            NETLINK_DROP_MEMBERSHIP => self.set_group(asked, false),
            name if SWITCHES.contains(&name) => {
                let mut inner = self.inner.lock();
                let bit = 1 << name;
                inner.options = if asked != 0 { inner.options | bit } else { inner.options & !bit };
                Ok(())
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn poll(&self) -> PollEvents {
        let mut events = WRITABLE;
        if self.core.has_error() {
            events |= PollEvents::ERR;
        }
        if !self.inner.lock().queue.is_empty() {
            events |= READABLE;
        }
        events
    }

    fn pollee(&self) -> &Pollee {
        &self.core.pollee
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn unsent_bytes(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn close(&self) {
        let (port, queue) = {
            let mut inner = self.inner.lock();
            (inner.port.take(), core::mem::take(&mut inner.queue))
        };
        drop(queue);
        if let Some(port) = port {
            self.registry().release(port);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
