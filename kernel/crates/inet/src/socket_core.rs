//! What every socket of the Internet has: addresses, a pending error, somebody who waits, and the options that mean
//! the same to all.
//!
//! The pending error is an atomic. One spin lock guards the options and another one the addresses, so that whoever
//! shows them (`/proc/net`, `getsockopt`) waits for nobody.

mod common;

use alloc::{sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
};

use ip::AddressKind;
use ksync::{SpinLock, WaitError, platform};
use linux_abi::{
    Errno,
    socket::{SOL_SOCKET, SocketType},
};
use vfs::{Blocking, Pollee};

pub use common::{BufferLock, Common, Switches, Timeout, Timestamps};
pub(crate) use common::{number, read_number};

use crate::{
    Net,
    address::{Endpoint, Family},
    membership::Membership,
    net::PortRange,
    options::{IpOptions, Ipv6Options, ReceiveV4, ReceiveV6},
    ports::{Binding, BoundAddress, Phase},
};

/// Addresses of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Its own; the unspecified address as long as none was given, port 0 as long as it has none.
    pub local: Endpoint,
    /// Its peer's.
    pub remote: Option<Endpoint>,
}

/// All options that are not a protocol's own.
#[derive(Clone, Debug)]
pub struct Options {
    /// `SOL_SOCKET`.
    pub common: Common,
    /// `SOL_IP`.
    pub ip: IpOptions,
    /// `SOL_IPV6`.
    pub ipv6: Ipv6Options,
}

/// What every socket of the Internet has.
pub struct SocketCore {
    /// The network.
    pub net: Arc<Net>,
    /// Its family.
    pub family: Family,
    /// Its type.
    pub kind: SocketType,
    /// Its protocol (`IPPROTO_*`).
    pub protocol: u8,
    /// Who waits for it.
    pub pollee: Pollee,
    /// Its name among members of groups, and in `SO_COOKIE`.
    pub id: u64,
    error: AtomicU16,
    options: SpinLock<Options>,
    endpoints: SpinLock<Endpoints>,
    pub(crate) memberships: SpinLock<Vec<Membership>>,
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);

impl SocketCore {
    /// The core of a new socket with the buffers' sizes `common` has.
    pub fn new(net: &Arc<Net>, family: Family, kind: SocketType, protocol: u8, common: Common) -> Self {
        let mut options = Options { common, ip: IpOptions::new(), ipv6: Ipv6Options::new() };
        // IPv6 sockets hear only the IPv4 groups that they joined (`inet6_create` leaves `mc_all` off).
        options.ip.multicast.receives_all = family == Family::V4;
        Self::with_options(net, family, kind, protocol, options)
    }

    /// The core of a socket that was accepted: it has its listener's options.
    pub fn accepted(&self) -> Self {
        let options = self.options.lock().clone();
        Self::with_options(&self.net, self.family, self.kind, self.protocol, options)
    }

    fn with_options(
        net: &Arc<Net>,
        family: Family,
        kind: SocketType,
        protocol: u8,
        options: Options,
    ) -> Self {
        let unspecified = Endpoint::unspecified(family);
        Self {
            net: net.clone(),
            family,
            kind,
            protocol,
            pollee: Pollee::new(),
            id: LAST_ID.fetch_add(1, Relaxed) + 1,
            error: AtomicU16::new(0),
            options: SpinLock::new(options),
            endpoints: SpinLock::new(Endpoints { local: unspecified, remote: None }),
            memberships: SpinLock::new(Vec::new()),
        }
    }

    /// The addresses.
    pub fn endpoints(&self) -> Endpoints {
        *self.endpoints.lock()
    }

    /// Its own address, as the application gets it.
    pub fn local_address(&self) -> Vec<u8> {
        self.endpoints().local.encode(self.family)
    }

    /// Its peer's address: `ENOTCONN`.
    pub fn peer_address(&self) -> Result<Vec<u8>, Errno> {
        let remote = self.endpoints().remote.ok_or(Errno::ENOTCONN)?;
        Ok(remote.encode(self.family))
    }

    /// Changes the addresses.
    pub fn update_endpoints(&self, change: impl FnOnce(&mut Endpoints)) {
        change(&mut self.endpoints.lock());
    }

    /// Looks at the options.
    pub fn with<T>(&self, look: impl FnOnce(&Options) -> T) -> T {
        look(&self.options.lock())
    }

    /// Changes the options.
    pub fn update_options<T>(&self, change: impl FnOnce(&mut Options) -> T) -> T {
        change(&mut self.options.lock())
    }

    /// Sets the pending error, which the next call answers with, and which `SO_ERROR` takes. The caller notifies.
    pub fn set_error(&self, error: Errno) {
        self.error.store(error as u16, Relaxed);
    }

    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Relaxed) != 0
    }

    /// Takes the pending error.
    pub fn take_error(&self) -> Option<Errno> {
        if self.error.load(Relaxed) == 0 {
            return None;
        }
        Errno::from_number(self.error.swap(0, Relaxed))
    }

    /// Fails with the pending error, if there is one.
    pub fn check_error(&self) -> Result<(), Errno> {
        self.take_error().map_or(Ok(()), Err)
    }

    /// How the socket is bound if it is bound to `local`.
    pub fn binding(&self, local: &Endpoint) -> Binding {
        self.with(|options| Binding {
            address: self.bound_address(local, options.ipv6.only),
            interface: options.common.interface,
            reuse_address: options.common.switches.contains(Switches::REUSEADDR),
            reuse_port: options.common.switches.contains(Switches::REUSEPORT),
            remote: None,
            phase: Phase::Bound,
        })
    }

    fn bound_address(&self, local: &Endpoint, v6_only: bool) -> BoundAddress {
        match local.address {
            IpAddr::V4(address) => BoundAddress::V4(address),
            IpAddr::V6(address) if !address.is_unspecified() => BoundAddress::V6(address),
            IpAddr::V6(_) if v6_only => BoundAddress::AnyV6,
            IpAddr::V6(_) => BoundAddress::Any,
        }
    }

    /// Checks an address that the socket is to be bound to (`__inet_bind`, `__inet6_bind`): `EADDRNOTAVAIL` if it is
    /// not ours, `EINVAL` for an IPv4 address with `IPV6_V6ONLY` and for a link-local one without interface.
    pub fn check_bind_address(&self, local: &Endpoint) -> Result<(), Errno> {
        let (only, free, bound_interface) = self.with(|options| {
            (options.ipv6.only, options.ip.free_bind || options.ip.transparent, options.common.interface)
        });
        if self.family == Family::V6 && local.address.is_ipv4() && only {
            return Err(Errno::EINVAL);
        }
        if local.needs_scope() {
            let interface = if bound_interface != 0 { bound_interface } else { local.scope };
            if interface == 0 || (local.scope != 0 && local.scope != interface) {
                return Err(Errno::EINVAL);
            }
            if self.net.ip.interface(interface).is_none() {
                return Err(Errno::ENODEV);
            }
        }
        match self.net.ip.address_kind(local.address, local.interface()) {
            AddressKind::Unspecified | AddressKind::Local | AddressKind::Multicast => Ok(()),
            // Broadcast addresses can be bound to with IPv4.
            AddressKind::Broadcast => Ok(()),
            _ if free => Ok(()),
            AddressKind::Tentative | AddressKind::Remote => Err(Errno::EADDRNOTAVAIL),
        }
    }

    /// Whether an option is on.
    pub fn has_switch(&self, switch: Switches) -> bool {
        self.with(|options| options.common.switches.contains(switch))
    }

    /// `SO_BINDTODEVICE`.
    pub fn bound_interface(&self) -> u32 {
        self.with(|options| options.common.interface)
    }

    /// `IPV6_V6ONLY`.
    pub fn is_v6_only(&self) -> bool {
        self.with(|options| options.ipv6.only)
    }

    /// `IP_RECVERR` or `IPV6_RECVERR`.
    pub fn wants_errors(&self) -> bool {
        self.with(|options| match self.family {
            Family::V4 => options.ip.receive.contains(ReceiveV4::ERROR),
            Family::V6 => {
                options.ipv6.receive.contains(ReceiveV6::ERROR)
                    || options.ip.receive.contains(ReceiveV4::ERROR)
            }
        })
    }

    /// The ports from which a free one is taken: `IP_LOCAL_PORT_RANGE` within the system's.
    pub fn local_ports(&self) -> PortRange {
        let system = self.net.settings.local_ports();
        let [low, high] = self.with(|options| options.ip.local_ports);
        let low = if low == 0 { system.first } else { low.max(system.first) };
        let high = if high == 0 { system.last } else { high.min(system.last) };
        if low <= high { PortRange { first: low, last: high } } else { system }
    }

    /// A socket that is bound to a link-local address is bound to that link, too.
    pub fn bind_to_scope(&self, local: &Endpoint) {
        if let Some(interface) = local.interface() {
            self.update_options(|options| options.common.interface = interface);
        }
    }

    /// The first IPv4 address of an interface.
    pub fn address_on(&self, interface: u32) -> Option<Ipv4Addr> {
        let interface = self.net.ip.interface(interface)?;
        interface.addresses.iter().find_map(|own| match own.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// Waits until `attempt` has a result. `EAGAIN` if it has none and must not wait or has waited for `timeout`;
    /// `ERESTARTSYS` or, with a timeout, `EINTR` for a signal: such a call cannot be restarted, as it would wait as
    /// long again (`signal(7)`).
    pub fn wait<T>(
        &self,
        blocking: Blocking,
        timeout: Timeout,
        mut attempt: impl FnMut() -> Option<Result<T, Errno>>,
    ) -> Result<T, Errno> {
        if blocking == Blocking::No || timeout == Timeout::Never {
            return attempt().unwrap_or(Err(Errno::EAGAIN));
        }
        let deadline_ns = match timeout {
            Timeout::AfterNs(ns) => Some(platform::now_ns().saturating_add(ns)),
            _ => None,
        };
        match self.pollee.wait(deadline_ns, attempt) {
            Ok(result) => result,
            Err(WaitError::TimedOut) => Err(Errno::EAGAIN),
            Err(WaitError::Interrupted) if deadline_ns.is_some() => Err(Errno::EINTR),
            Err(WaitError::Interrupted) => Err(Errno::ERESTARTSYS),
        }
    }

    /// How long a receiving call waits.
    pub fn receive_timeout(&self) -> Timeout {
        self.with(|options| options.common.receive_timeout)
    }

    /// How long a sending call waits.
    pub fn send_timeout(&self) -> Timeout {
        self.with(|options| options.common.send_timeout)
    }

    /// An option of `SOL_SOCKET`, `SOL_IP` or `SOL_IPV6`. `ENOPROTOOPT` for those that the protocol has to know:
    /// `SO_ACCEPTCONN` and `SO_MEMINFO` are its own.
    pub fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match level {
            SOL_SOCKET => self.common_option(name),
            _ => self.ip_option(level, name),
        }
    }

    /// Sets an option of these levels.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match level {
            SOL_SOCKET => self.set_common_option(name, value),
            _ => self.set_ip_option(level, name, value),
        }
    }
}
