//! Binding and connecting.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::atomic::Ordering::Relaxed,
};

use ip::{OutputOptions, Route};
use ksync::{Timer, platform};
use linux_abi::{Errno, socket::SocketType};
use netchannels::{Channel, FlowKey, Interest, Receiver, Transport};
use packet::Packet;
use tcp::{Connection, Isn, State, Tuple};
use vfs::{Blocking, PollEvents};

use super::{
    Inner, Phase, Role, Shut, Stream, TcpSocket,
    shared::{Handle, TimerHook},
    turn::path_of,
};
use crate::{Endpoint, Family, Switches, Timeout, ingress::Flow};

/// Packets that wait in a channel at most: more than a window of small segments, and little enough that a peer who
/// ignores the window gains nothing.
const CHANNEL_PACKETS: usize = 512;

/// How many tuples in TIME_WAIT are tried until one may be used again.
const REUSE_ATTEMPTS: usize = 32;

/// How an attempt to connect stands.
enum Progress {
    /// It goes on.
    Pending(Errno),
    /// It has ended so.
    Over(Result<(), Errno>),
}

impl TcpSocket {
    pub(super) fn bind_to(&self, address: &[u8]) -> Result<(), Errno> {
        let local = Endpoint::decode_to_bind(self.core().family, address)?;
        if local.address.is_multicast() || local.address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.core().check_bind_address(&local)?;
        let mut inner = self.lock();
        if !matches!(inner.role, Role::Idle) || inner.claim.is_some() {
            return Err(Errno::EINVAL);
        }
        self.claim_port(&mut inner, local)?;
        inner.port_is_bound = local.port != 0;
        inner.address_is_bound = !local.address.is_unspecified();
        Ok(())
    }

    /// Takes a port at an address, any free one if it says none.
    pub(super) fn claim_port(&self, inner: &mut Inner, local: Endpoint) -> Result<(), Errno> {
        let binding = self.core().binding(&local);
        let net = self.net();
        let range = net.settings.local_ports();
        let claim = net.tcp_ports.bind(local.port, binding, range, self.this.clone())?;
        let port = claim.port();
        inner.claim = Some(claim);
        self.core().update_endpoints(|endpoints| endpoints.local = Endpoint { port, ..local });
        Ok(())
    }

    pub(super) fn connect_to(&self, address: &[u8], blocking: Blocking) -> Result<(), Errno> {
        let family = self.core().family;
        let remote = Endpoint::decode_to_connect(family, SocketType::Stream, address)?;
        let Some(remote) = remote else { return self.disconnect() };
        let mut inner = self.lock();
        let first = match inner.phase {
            Phase::Connected => return Err(Errno::EISCONN),
            Phase::Disconnecting => return Err(Errno::EINVAL),
            Phase::Connecting => Errno::EALREADY,
            Phase::Unconnected => {
                match &inner.role {
                    Role::Idle => {}
                    // A listener, or a connection that was shut down while it was made.
                    Role::Listening(_) | Role::Stream(_) => return Err(Errno::EISCONN),
                }
                self.begin(&mut inner, remote)?;
                inner.phase = Phase::Connecting;
                Errno::EINPROGRESS
            }
        };
        let progress = Self::progress(&mut inner, first);
        drop(inner);
        match progress {
            Progress::Over(result) => self.end_connect(result),
            Progress::Pending(error) => self.wait_for_connect(error, blocking),
        }
    }

    fn progress(inner: &mut Inner, pending: Errno) -> Progress {
        let Some(stream) = inner.stream() else { return Progress::Over(Err(Errno::ECONNABORTED)) };
        match stream.connection.state() {
            State::SynSent | State::SynReceived => Progress::Pending(pending),
            State::Closed => {
                let error = stream.connection.take_error();
                Progress::Over(Err(error.unwrap_or(Errno::ECONNABORTED)))
            }
            _ => {
                inner.phase = Phase::Connected;
                Progress::Over(Ok(()))
            }
        }
    }

    fn wait_for_connect(&self, pending: Errno, blocking: Blocking) -> Result<(), Errno> {
        let timeout = self.core().send_timeout();
        if blocking == Blocking::No || timeout == Timeout::Never {
            return Err(pending);
        }
        let result = self.core().wait(Blocking::Yes, timeout, || {
            loop {
                let mut inner = self.lock();
                match Self::progress(&mut inner, pending) {
                    Progress::Over(result) => return Some(Ok(result)),
                    Progress::Pending(_) => {}
                }
                let stream = inner.stream()?;
                if self.arm_waiting(stream, Interest::READ).is_ok() {
                    return None;
                }
            }
        });
        if result.is_err() {
            // Nobody waits any more: the turn's end lets the worker see to the rest.
            drop(self.lock());
        }
        match result {
            Ok(result) => self.end_connect(result),
            // The time is over: it goes on in the background.
            Err(Errno::EAGAIN) => Err(pending),
            Err(error) => Err(error),
        }
    }

    /// A failed attempt leaves a socket that is as good as new.
    fn end_connect(&self, result: Result<(), Errno>) -> Result<(), Errno> {
        if result.is_err() {
            self.net().tcp_counters.attempt_fails.fetch_add(1, Relaxed);
            self.disconnect()?;
        }
        result
    }

    /// Sends the SYN.
    fn begin(&self, inner: &mut Inner, mut remote: Endpoint) -> Result<(), Errno> {
        let net = self.net();
        let core = self.core();
        // "Any" address is this machine.
        if remote.address.is_unspecified() {
            remote.address = match (remote.address, core.family) {
                (IpAddr::V4(_), _) => Ipv4Addr::LOCALHOST.into(),
                (IpAddr::V6(_), Family::V6) => Ipv6Addr::LOCALHOST.into(),
                (IpAddr::V6(_), Family::V4) => return Err(Errno::EAFNOSUPPORT),
            };
        }
        if core.family == Family::V6 && remote.address.is_ipv4() && core.with(|options| options.ipv6.only) {
            return Err(Errno::ENETUNREACH);
        }
        if remote.address.is_multicast() || remote.address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Errno::ENETUNREACH);
        }
        if remote.needs_scope() && remote.scope == 0 && self.outgoing_interface().is_none() {
            return Err(Errno::EINVAL);
        }
        let bound = core.endpoints().local;
        let source = (!bound.address.is_unspecified()).then_some(bound.address);
        match source {
            Some(IpAddr::V4(_)) if remote.address.is_ipv6() => return Err(Errno::EAFNOSUPPORT),
            Some(IpAddr::V6(_)) if remote.address.is_ipv4() => return Err(Errno::ENETUNREACH),
            _ => {}
        }
        let interface = self.outgoing_interface().or(remote.interface());
        let route = net.ip.route(remote.address, source, interface)?;
        if matches!(route.kind, ip::RouteKind::Broadcast | ip::RouteKind::Multicast) {
            return Err(Errno::ENETUNREACH);
        }
        let address = source.unwrap_or(route.source);
        let had_claim = inner.claim.is_some();
        let started = self.claim_tuple(inner, address, &remote, &route).map(|(tuple, isn, receiver)| {
            let now_ns = platform::now_ns();
            let isn = isn.unwrap_or_else(|| net.tcp_secrets.isn(now_ns, &tuple));
            let mut out = Vec::new();
            let connection =
                Connection::connect(now_ns, tuple, path_of(&route), isn, &inner.options, &mut out);
            (tuple, receiver, connection, out)
        });
        let (tuple, receiver, connection, out) = match started {
            Ok(started) => started,
            Err(error) => {
                if !had_claim {
                    inner.claim = None;
                }
                return Err(error);
            }
        };
        net.tcp_counters.active_opens.fetch_add(1, Relaxed);
        core.update_endpoints(|endpoints| {
            endpoints.local = endpoint_of(&tuple.local, &endpoints.local);
            endpoints.remote = Some(remote);
        });
        inner.shut = Shut::default();
        self.attach(inner, connection, receiver, Some(route), out);
        if let Some(stream) = inner.stream() {
            // Those who watch the socket looked at it before it had a channel: they wait for this.
            let _ = stream.receiver.arm(Interest::READ | Interest::WRITE);
        }
        Ok(())
    }

    /// Finds a local port and registers the flow. Gives the numbers with which a tuple in TIME_WAIT is used again.
    fn claim_tuple(
        &self,
        inner: &mut Inner,
        address: IpAddr,
        remote: &Endpoint,
        route: &Route,
    ) -> Result<(Tuple, Option<Isn>, Receiver), Errno> {
        let net = self.net();
        let scope = if remote.scope != 0 { remote.scope } else { route.interface };
        let remote_address = socket_address(remote.address, remote.port, scope);
        let mut isn = None;
        for _ in 0..REUSE_ATTEMPTS {
            if inner.claim.is_none() {
                let local = Endpoint::new(address, 0);
                let mut binding = self.core().binding(&local);
                binding.remote = Some((remote.address, remote.port));
                let range = net.settings.local_ports();
                inner.claim = Some(net.tcp_ports.connect(binding, range, self.this.clone())?);
            }
            let Some(claim) = &inner.claim else { return Err(Errno::EADDRNOTAVAIL) };
            let tuple = Tuple { local: socket_address(address, claim.port(), scope), remote: remote_address };
            let key = FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote);
            match self.register(key) {
                Ok(receiver) => {
                    claim.update(|binding| {
                        binding.remote = Some((remote.address, remote.port));
                        binding.address = match address {
                            IpAddr::V4(address) => crate::BoundAddress::V4(address),
                            IpAddr::V6(address) => crate::BoundAddress::V6(address),
                        };
                    });
                    return Ok((tuple, isn, receiver));
                }
                Err(Some(Flow::TimeWait(record))) => {
                    isn = record.reuse(net);
                    if isn.is_none() {
                        if inner.port_is_bound {
                            return Err(Errno::EADDRNOTAVAIL);
                        }
                        inner.claim = None;
                    }
                }
                Err(_) if inner.port_is_bound => return Err(Errno::EADDRNOTAVAIL),
                Err(_) => inner.claim = None,
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Puts the flow of a connection into the table, or says what is there.
    fn register(&self, key: FlowKey) -> Result<Receiver, Option<Flow>> {
        let net = self.net();
        let (channel, receiver) = Channel::new(CHANNEL_PACKETS, Handle::boxed(&self.shared));
        *self.shared.channel.lock() = Arc::downgrade(&channel);
        match net.flows.insert(key, Flow::Channel(channel)) {
            Ok(()) => {
                *self.shared.kept.lock() = self.this.upgrade();
                Ok(receiver)
            }
            Err(_) => Err(net.flows.get(&key)),
        }
    }

    /// Makes the socket one with a connection.
    fn attach(
        &self,
        inner: &mut Inner,
        connection: Connection,
        receiver: Receiver,
        route: Option<Route>,
        out: Vec<Box<Packet>>,
    ) {
        let tuple = connection.tuple();
        let key = FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote);
        inner.role = Role::Stream(Box::new(Stream {
            connection,
            receiver,
            key,
            route,
            output: self.output_options(),
            out,
            timer: Timer::new(Arc::new(TimerHook(self.shared.clone()))),
            armed_ns: None,
            accounted_bytes: 0,
            is_registered: true,
            is_unannounced: false,
            is_counted_orphan: false,
            has_waiting_thread: false,
            late: Vec::new(),
        }));
    }

    /// The socket of a connection that a listener's handshake has made; `None` if its tuple is taken.
    pub(super) fn accepted(
        &self,
        tuple: Tuple,
        connection: Connection,
        route: Route,
        out: Vec<Box<Packet>>,
    ) -> Option<Arc<TcpSocket>> {
        let socket = Self::with_core(self.core().accepted(), connection.options().clone());
        let key = FlowKey::connection(Transport::Tcp, tuple.local, tuple.remote);
        let receiver = socket.register(key).ok()?;
        let family = socket.core().family;
        let local = endpoint_of(&tuple.local, &Endpoint::unspecified(family));
        let remote = endpoint_of(&tuple.remote, &Endpoint::unspecified(family));
        socket.core().update_endpoints(|endpoints| {
            endpoints.local = local;
            endpoints.remote = Some(remote);
        });
        let mut binding = socket.core().binding(&local);
        binding.remote = Some((remote.address, remote.port));
        let mut inner = socket.lock();
        inner.claim = Some(self.net().tcp_ports.accept(local.port, binding, socket.this.clone()));
        inner.phase = Phase::Connected;
        socket.attach(&mut inner, connection, receiver, Some(route), out);
        drop(inner);
        Some(socket)
    }

    /// `connect` to `AF_UNSPEC`, and the end of an attempt that failed: a socket as good as new (`tcp_disconnect`).
    pub(super) fn disconnect(&self) -> Result<(), Errno> {
        let mut inner = self.lock();
        let listener = self.disconnect_locked(&mut inner);
        drop(inner);
        if let Some(listener) = listener {
            listener.close();
        }
        self.core().pollee.notify(PollEvents::all());
        Ok(())
    }

    pub(super) fn disconnect_locked(&self, inner: &mut Inner) -> Option<Arc<super::listener::Listener>> {
        let now_ns = platform::now_ns();
        if let Some(stream) = inner.stream()
            && stream.is_registered
        {
            stream.connection.abort(now_ns, &mut stream.out);
        }
        // The turn's end takes the flow out of the table and sends the reset; then the connection may go.
        self.end_turn(inner);
        let role = core::mem::replace(&mut inner.role, Role::Idle);
        inner.phase = Phase::Unconnected;
        inner.shut = Shut::default();
        self.forget_unread();
        let family = self.core().family;
        let keeps_address = inner.address_is_bound;
        self.core().update_endpoints(|endpoints| {
            endpoints.remote = None;
            if !keeps_address {
                endpoints.local.address = family.unspecified();
            }
        });
        if !inner.port_is_bound {
            inner.claim = None;
        } else if let Some(claim) = &inner.claim {
            let binding = self.core().binding(&self.core().endpoints().local);
            claim.update(|old| *old = binding);
        }
        match role {
            Role::Listening(listener) => Some(listener),
            Role::Stream(stream) => {
                self.net().tcp_memory.account(stream.accounted_bytes, 0);
                inner.options = stream.connection.options().clone();
                None
            }
            Role::Idle => None,
        }
    }

    /// The interface that the socket is bound to.
    pub(super) fn outgoing_interface(&self) -> Option<u32> {
        self.core().with(|options| Some(options.common.interface).filter(|interface| *interface != 0))
    }

    /// How IP is to send.
    pub(super) fn output_options(&self) -> OutputOptions {
        let is_ipv6 = matches!(self.core().endpoints().remote, Some(Endpoint { address: IpAddr::V6(_), .. }));
        self.core().with(|options| {
            let (hop_limit, tos) = if is_ipv6 {
                (options.ipv6.hop_limit, options.ipv6.traffic_class)
            } else {
                (options.ip.ttl, options.ip.tos)
            };
            OutputOptions { hop_limit, tos, ..OutputOptions::new(ip::protocol::TCP) }
        })
    }

    /// Whether `SO_REUSEADDR` is on.
    pub fn reuses_address(&self) -> bool {
        self.core().with(|options| options.common.switches.contains(Switches::REUSEADDR))
    }
}

/// An address with the interface by which a link-local one is reached.
fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, port, 0, interface).into()
        }
        address => SocketAddr::new(address, port),
    }
}

fn endpoint_of(address: &SocketAddr, before: &Endpoint) -> Endpoint {
    let scope = match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    Endpoint { address: address.ip(), port: address.port(), scope, flow_info: before.flow_info }
}
