//! Raw sockets (`raw(7)`), and sockets that ping without being raw (`icmp(7)`).
//!
//! A raw socket gets a copy of each datagram of its protocol: IPv4's with its header, IPv6's without. A ping socket sends
//! echo requests with an identifier that is its port, and gets the answers to them.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | `RawSocket::inner` (sleeping) | inbox, filter | nothing; never held while the application's memory is touched |
//! | `RawSockets::all` (spin) | which sockets there are | nothing |

mod incoming;
mod send;

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use ipc::socket::{Received, SendOptions, Socket};
use ksync::{Mutex, SpinLock};
use linux_abi::{
    Errno,
    inet::{
        ICMP_FILTER, ICMPV6_FILTER,
        ipv6_option::IPV6_CHECKSUM,
        level::{SOL_ICMPV6, SOL_IPV6, SOL_RAW},
        protocol::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW},
    },
    socket::{MessageFlags, ShutdownHow, SocketType},
};
use vfs::{Blocking, PollEvents, Pollee, ReadDst, WriteSrc};

pub(crate) use incoming::{deliver, icmp_error};

use crate::{
    Common, ConflictRule, Endpoint, Family, Net, PortClaim, PortRange, PortTable, SocketCore,
    datagram::{Destination, Inbox, SendControl, Shut, hand_over, readiness},
    socket_core::read_number,
};

/// Identifiers that ping sockets choose from.
const IDENTIFIERS: PortRange = PortRange { first: 1, last: u16::MAX };

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawMode {
    /// All datagrams of a protocol (`SOCK_RAW`).
    Raw,
    /// Echo requests of its own (`SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6`).
    Ping,
}

/// All raw sockets, and the identifiers of those that ping.
pub(crate) struct RawSockets {
    all: SpinLock<Vec<Weak<RawSocket>>>,
    identifiers: [Arc<PortTable<Weak<RawSocket>>>; 2],
}

impl RawSockets {
    pub(crate) fn new(choice_key: [u8; 16], sharing_key: [u8; 16]) -> Self {
        let table = || PortTable::new(ConflictRule::Udp, choice_key, sharing_key);
        Self { all: SpinLock::new(Vec::new()), identifiers: [table(), table()] }
    }

    /// Those that are there.
    pub(crate) fn sockets(&self) -> Vec<Arc<RawSocket>> {
        self.all.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// A raw socket.
pub struct RawSocket {
    this: Weak<RawSocket>,
    core: SocketCore,
    mode: RawMode,
    inner: Mutex<Inner>,
}

struct Inner {
    inbox: Inbox,
    shut: Shut,
    claim: Option<PortClaim<Weak<RawSocket>>>,
    address_is_bound: bool,
    filter: Filter,
    is_closed: bool,
}

/// Which types of ICMP messages are not received: a bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Filter([u32; 8]);

impl Filter {
    fn blocks(self, kind: u8) -> bool {
        self.0[usize::from(kind >> 5)] >> (kind & 31) & 1 != 0
    }
}

impl RawSocket {
    /// A socket for datagrams of `protocol`.
    pub fn new(net: &Arc<Net>, family: Family, mode: RawMode, protocol: u8) -> Arc<Self> {
        let kind = if mode == RawMode::Raw { SocketType::Raw } else { SocketType::Datagram };
        let core = SocketCore::new(net, family, kind, protocol, Common::new(&net.settings));
        if mode == RawMode::Raw {
            // The port of a raw socket is its protocol (`inet_create`).
            core.update_endpoints(|endpoints| endpoints.local.port = u16::from(protocol));
            if i32::from(protocol) == IPPROTO_RAW && family == Family::V4 {
                core.update_options(|options| options.ip.header_included = true);
            }
        }
        let socket = Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            core,
            mode,
            inner: Mutex::new(Inner {
                inbox: Inbox::default(),
                shut: Shut::default(),
                claim: None,
                address_is_bound: false,
                filter: Filter::default(),
                is_closed: false,
            }),
        });
        net.raw.all.lock().push(Arc::downgrade(&socket));
        socket
    }

    /// What all sockets have.
    pub fn core(&self) -> &SocketCore {
        &self.core
    }

    /// What it is for.
    pub fn mode(&self) -> RawMode {
        self.mode
    }

    /// Bytes in the receive queue, and datagrams that found no room: for `/proc/net/raw`.
    pub fn queue_figures(&self) -> (usize, u32) {
        let inner = self.inner.lock();
        (inner.inbox.memory_bytes(), inner.inbox.dropped)
    }

    fn identifiers(&self) -> &Arc<PortTable<Weak<RawSocket>>> {
        &self.core.net.raw.identifiers[self.core.family as usize]
    }

    /// Gets an identifier for a ping socket that has none.
    fn identify(&self, inner: &mut Inner, local: Endpoint) -> Result<(), Errno> {
        if self.mode == RawMode::Raw || inner.claim.is_some() {
            return Ok(());
        }
        let claim =
            self.identifiers().bind(local.port, self.core.binding(&local), IDENTIFIERS, self.this.clone())?;
        self.core.update_endpoints(|endpoints| endpoints.local.port = claim.port());
        inner.claim = Some(claim);
        Ok(())
    }

    fn is_icmp(&self) -> bool {
        matches!(
            (self.core.family, i32::from(self.core.protocol)),
            (Family::V4, IPPROTO_ICMP) | (Family::V6, IPPROTO_ICMPV6)
        )
    }

    fn filter_option(&self, level: i32, name: i32) -> Option<Result<(), Errno>> {
        let is_filter = match (level, name) {
            (SOL_RAW, ICMP_FILTER) => self.core.family == Family::V4,
            (SOL_ICMPV6, ICMPV6_FILTER) => self.core.family == Family::V6,
            _ => return None,
        };
        Some(match (is_filter && self.mode == RawMode::Raw, self.is_icmp()) {
            (true, true) => Ok(()),
            (true, false) => Err(Errno::EOPNOTSUPP),
            (false, _) => Err(Errno::ENOPROTOOPT),
        })
    }

    /// `IPV6_CHECKSUM` is a raw socket's, also under the level `SOL_RAW` (`do_rawv6_setsockopt`).
    fn is_checksum_option(&self, level: i32, name: i32) -> bool {
        let is_raw6 = self.core.family == Family::V6 && self.mode == RawMode::Raw;
        is_raw6 && name == IPV6_CHECKSUM && (level == SOL_RAW || level == SOL_IPV6)
    }
}

impl Socket for RawSocket {
    fn kind(&self) -> SocketType {
        self.core.kind
    }

    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        let local = Endpoint::decode_to_bind(self.core.family, address)?;
        if self.core.family == Family::V6 && local.address.is_ipv4() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut inner = self.inner.lock();
        if self.core.endpoints().remote.is_some() || inner.claim.is_some() {
            return Err(Errno::EINVAL);
        }
        self.core.check_bind_address(&local)?;
        self.identify(&mut inner, local)?;
        inner.address_is_bound = !local.address.is_unspecified();
        self.core.update_endpoints(|endpoints| {
            endpoints.local = Endpoint { port: endpoints.local.port, ..local };
        });
        self.core.bind_to_scope(&local);
        Ok(())
    }

    fn listen(&self, _backlog: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, address: &[u8], _blocking: Blocking) -> Result<(), Errno> {
        let remote = Endpoint::decode_to_connect(self.core.family, self.core.kind, address)?;
        let mut inner = self.inner.lock();
        let Some(remote) = remote else {
            let is_bound = inner.address_is_bound;
            self.core.update_endpoints(|endpoints| {
                endpoints.remote = None;
                if !is_bound {
                    endpoints.local.address = self.core.family.unspecified();
                }
            });
            return Ok(());
        };
        self.identify(&mut inner, self.core.endpoints().local)?;
        let control = SendControl::default();
        let found =
            Destination::find(&self.core, self.core.protocol, remote, &control, MessageFlags::empty())?;
        self.core.update_endpoints(|endpoints| {
            if endpoints.local.address.is_unspecified() {
                endpoints.local.address = found.source;
            }
            endpoints.remote = Some(found.endpoint);
        });
        Ok(())
    }

    fn accept(&self, _blocking: Blocking) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.core.local_address())
    }

    fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        self.core.peer_address()
    }

    fn send(
        &self,
        src: &mut dyn WriteSrc,
        options: SendOptions<'_>,
        _blocking: Blocking,
    ) -> Result<usize, Errno> {
        self.send_datagram(src, options)
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
        if flags.contains(MessageFlags::ERRQUEUE) {
            let error = self.inner.lock().inbox.take_error().ok_or(Errno::EAGAIN)?;
            return error.receive(self.core.family, dst);
        }
        let found = self.core.wait(blocking, self.core.receive_timeout(), || {
            let mut inner = self.inner.lock();
            if let Some(error) = self.core.take_error() {
                return Some(Err(error));
            }
            if let Some(arrived) = inner.inbox.take(flags) {
                return Some(Ok(Some((arrived, inner.inbox.dropped))));
            }
            (inner.shut.receiving && blocking == Blocking::Yes).then_some(Ok(None))
        })?;
        let Some((arrived, dropped)) = found else { return Ok(Received::default()) };
        hand_over(&self.core, &arrived, dropped, dst, flags)
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<(), Errno> {
        let is_connected = self.core.endpoints().remote.is_some();
        self.inner.lock().shut.add(how);
        self.core.pollee.notify(PollEvents::all());
        if is_connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if self.is_checksum_option(level, name) {
            return self.core.option(SOL_IPV6, IPV6_CHECKSUM);
        }
        match self.filter_option(level, name) {
            None => self.core.option(level, name),
            Some(result) => {
                result?;
                let words = if self.core.family == Family::V4 { 1 } else { 8 };
                let filter = self.inner.lock().filter;
                Ok(filter.0[..words].iter().flat_map(|word| word.to_ne_bytes()).collect())
            }
        }
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if self.is_checksum_option(level, name) {
            // ICMPv6's checksum is the kernel's in any case (RFC 3542, 3.1).
            if level == SOL_IPV6 && self.is_icmp() {
                read_number(value)?;
                return Err(Errno::EINVAL);
            }
            return self.core.set_option(SOL_IPV6, IPV6_CHECKSUM, value);
        }
        match self.filter_option(level, name) {
            None => self.core.set_option(level, name, value),
            Some(result) => {
                result?;
                let mut inner = self.inner.lock();
                let words = if self.core.family == Family::V4 { 1 } else { 8 };
                for (word, bytes) in inner.filter.0[..words].iter_mut().zip(value.as_chunks::<4>().0) {
                    *word = u32::from_ne_bytes(*bytes);
                }
                Ok(())
            }
        }
    }

    fn poll(&self) -> PollEvents {
        let inner = self.inner.lock();
        readiness(&self.core, &inner.inbox, inner.shut)
    }

    fn pollee(&self) -> &Pollee {
        &self.core.pollee
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.inner.lock().inbox.first_len())
    }

    fn unsent_bytes(&self) -> Result<usize, Errno> {
        Ok(0)
    }

    fn close(&self) {
        let (claim, inbox) = {
            let mut inner = self.inner.lock();
            inner.is_closed = true;
            (inner.claim.take(), core::mem::take(&mut inner.inbox))
        };
        let gone = {
            let mut all = self.core.net.raw.all.lock();
            all.iter().position(|socket| socket.ptr_eq(&self.this)).map(|place| all.swap_remove(place))
        };
        self.core.leave_all_groups();
        drop((claim, inbox, gone));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
