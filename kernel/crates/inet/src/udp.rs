//! UDP sockets (`udp(7)`).
//!
//! What comes lies in the socket's [`Inbox`], either put there by the slow path ([`deliver`]), or taken out of the
//! socket's [channel] by whoever looks. What goes is sent at once, in the sender's thread.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | `UdpSocket::inner` (sleeping) | port, inbox, channel, what is corked | nothing; never held while the application's memory is touched |
//! | `UdpFlows::registered` (sleeping) | which flows are in the table | `inner` |

mod channel;
mod deliver;
mod header;
mod options;
mod send;

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use ipc::socket::{Received, SendOptions, Socket};
use ksync::Mutex;
use linux_abi::{
    Errno,
    inet::protocol::IPPROTO_UDP,
    socket::{MessageFlags, ShutdownHow, SocketType},
};
use netchannels::{Channel, Receiver};
use vfs::{Blocking, PollEvents, Pollee, ReadDst, WriteSrc};

pub(crate) use channel::UdpFlows;
pub use deliver::{deliver, icmp_error};
pub(crate) use header::Bad;

use crate::{
    Common, Endpoint, Family, Net, PortClaim, SocketCore,
    datagram::{Arrived, Inbox, READABLE, SendControl, Shut, hand_over, readiness},
};

/// A UDP socket.
pub struct UdpSocket {
    this: Weak<UdpSocket>,
    core: Arc<SocketCore>,
    channel: Arc<Channel>,
    inner: Mutex<Inner>,
}

struct Inner {
    claim: Option<PortClaim<Weak<UdpSocket>>>,
    /// The application chose the address, the port (`SOCK_BINDADDR_LOCK`, `SOCK_BINDPORT_LOCK`).
    address_is_bound: bool,
    port_is_bound: bool,
    inbox: Inbox,
    receiver: Receiver,
    shut: Shut,
    options: options::UdpOptions,
    /// What waits for `UDP_CORK` to be taken off or for a call without `MSG_MORE`.
    corked: Option<Corked>,
    is_closed: bool,
}

/// A datagram that is not complete.
struct Corked {
    to: Endpoint,
    control: SendControl,
    data: Vec<u8>,
}

impl UdpSocket {
    /// A socket that is neither bound nor connected.
    pub fn new(net: &Arc<Net>, family: Family) -> Arc<Self> {
        let common = Common::new(&net.settings);
        let core = SocketCore::new(net, family, SocketType::Datagram, IPPROTO_UDP as u8, common);
        let core = Arc::new(core);
        Arc::new_cyclic(|this| {
            let (channel, receiver) = channel::new(&core, this);
            Self {
                this: this.clone(),
                core,
                channel,
                inner: Mutex::new(Inner {
                    claim: None,
                    address_is_bound: false,
                    port_is_bound: false,
                    inbox: Inbox::default(),
                    receiver,
                    shut: Shut::default(),
                    options: options::UdpOptions::default(),
                    corked: None,
                    is_closed: false,
                }),
            }
        })
    }

    /// What all sockets have.
    pub fn core(&self) -> &SocketCore {
        &self.core
    }

    /// Bytes in the receive queue, and datagrams that found no room: for `/proc/net/udp`.
    pub fn queue_figures(&self) -> (usize, u32) {
        let mut inner = self.inner.lock();
        self.drain(&mut inner);
        (inner.inbox.memory_bytes(), inner.inbox.dropped)
    }

    /// Gets a port for a socket that has none.
    fn bind_somewhere(&self, inner: &mut Inner) -> Result<(), Errno> {
        if inner.claim.is_some() {
            return Ok(());
        }
        let local = self.core.endpoints().local;
        self.claim(inner, local).map_err(|_| Errno::EAGAIN)
    }

    fn claim(&self, inner: &mut Inner, local: Endpoint) -> Result<(), Errno> {
        let binding = self.core.binding(&local);
        let claim =
            self.core.net.udp_ports.bind(local.port, binding, self.core.local_ports(), self.this.clone())?;
        let port = claim.port();
        self.core.update_endpoints(|endpoints| endpoints.local = Endpoint { port, ..local });
        inner.claim = Some(claim);
        self.refresh_flows(inner);
        Ok(())
    }

    /// Ends the connection (`__udp_disconnect`).
    fn disconnect(&self, inner: &mut Inner) {
        self.core.update_endpoints(|endpoints| {
            endpoints.remote = None;
            if !inner.address_is_bound {
                endpoints.local.address = self.core.family.unspecified();
            }
            if !inner.port_is_bound {
                endpoints.local.port = 0;
            }
        });
        self.core.update_options(|options| options.common.interface = 0);
        if inner.port_is_bound {
            self.refresh_claim(inner);
        } else {
            self.give_port_back(inner);
        }
    }

    fn give_port_back(&self, inner: &mut Inner) {
        let Some(claim) = inner.claim.take() else { return };
        let port = claim.port();
        drop(claim);
        self.core.net.udp_flows.refresh(&self.core.net, port);
    }

    /// Lets the table of ports know of a change of addresses or options.
    fn refresh_claim(&self, inner: &Inner) {
        let Some(claim) = &inner.claim else { return };
        let endpoints = self.core.endpoints();
        let mut binding = self.core.binding(&endpoints.local);
        binding.remote = endpoints.remote.map(|remote| (remote.address, remote.port));
        let before = claim.binding();
        claim.update(|current| *current = binding);
        if before != Some(binding) {
            self.refresh_flows(inner);
        }
    }

    fn connect_to(&self, remote: Endpoint) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if remote.address.is_ipv4() && self.core.family == Family::V6 && self.core.is_v6_only() {
            return Err(Errno::ENETUNREACH);
        }
        self.bind_somewhere(&mut inner)?;
        if remote.needs_scope() && remote.scope == 0 && self.core.bound_interface() == 0 {
            return Err(Errno::EINVAL);
        }
        // A second connect looks for a source anew if the address was not bound.
        if !inner.address_is_bound {
            self.core.update_endpoints(|endpoints| {
                endpoints.local.address = self.core.family.unspecified();
            });
        }
        let destination = crate::datagram::Destination::find(
            &self.core,
            IPPROTO_UDP as u8,
            remote,
            &SendControl::default(),
            MessageFlags::empty(),
        )?;
        self.core.update_endpoints(|endpoints| {
            if endpoints.local.address.is_unspecified() {
                endpoints.local.address = destination.source;
                endpoints.local.scope = destination.endpoint.scope;
            }
            endpoints.remote = Some(destination.endpoint);
        });
        self.refresh_claim(&inner);
        Ok(())
    }

    fn receive_one(
        &self,
        dst: &mut dyn ReadDst,
        flags: MessageFlags,
        blocking: Blocking,
    ) -> Result<Received, Errno> {
        let found = self.core.wait(blocking, self.core.receive_timeout(), || {
            let mut inner = self.inner.lock();
            self.drain(&mut inner);
            if let Some(error) = self.core.take_error() {
                return Some(Err(error));
            }
            if let Some(arrived) = inner.inbox.take(flags) {
                return Some(Ok(Some((arrived, inner.inbox.dropped))));
            }
            // Without waiting, a shut socket is only empty.
            (inner.shut.receiving && blocking == Blocking::Yes).then_some(Ok(None))
        })?;
        let Some((arrived, dropped)) = found else { return Ok(Received::default()) };
        hand_over(&self.core, &arrived, dropped, dst, flags)
    }
}

impl Socket for UdpSocket {
    fn kind(&self) -> SocketType {
        SocketType::Datagram
    }

    fn bind(&self, address: &[u8]) -> Result<(), Errno> {
        let local = Endpoint::decode_to_bind(self.core.family, address)?;
        self.core.check_bind_address(&local)?;
        let mut inner = self.inner.lock();
        if inner.claim.is_some() {
            return Err(Errno::EINVAL);
        }
        self.claim(&mut inner, local)?;
        inner.address_is_bound = !local.address.is_unspecified();
        inner.port_is_bound = local.port != 0;
        self.core.bind_to_scope(&local);
        Ok(())
    }

    fn listen(&self, _backlog: u32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, address: &[u8], _blocking: Blocking) -> Result<(), Errno> {
        match Endpoint::decode_to_connect(self.core.family, SocketType::Datagram, address)? {
            Some(remote) => self.connect_to(remote),
            None => {
                self.disconnect(&mut self.inner.lock());
                Ok(())
            }
        }
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
        if flags.contains(MessageFlags::ERRQUEUE) {
            let error = {
                let mut inner = self.inner.lock();
                let error = inner.inbox.take_error().ok_or(Errno::EAGAIN)?;
                // The next one is what the socket's error is now (`sock_dequeue_err_skb`).
                match inner.inbox.next_error() {
                    Some(next) => self.core.set_error(next),
                    None => drop(self.core.take_error()),
                }
                error
            };
            return error.receive(self.core.family, dst);
        }
        self.receive_one(dst, flags, blocking)
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<(), Errno> {
        let is_connected = self.core.endpoints().remote.is_some();
        self.inner.lock().shut.add(how);
        self.core.pollee.notify(PollEvents::all());
        // Done all the same: those who wait are woken (`inet_shutdown`).
        if is_connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get_option(level, name)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.change_option(level, name, value)
    }

    fn poll(&self) -> PollEvents {
        let mut inner = self.inner.lock();
        self.drain(&mut inner);
        readiness(&self.core, &inner.inbox, inner.shut)
    }

    fn pollee(&self) -> &Pollee {
        &self.core.pollee
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        self.drain(&mut inner);
        Ok(inner.inbox.first_len())
    }

    fn unsent_bytes(&self) -> Result<usize, Errno> {
        Ok(0)
    }

    fn close(&self) {
        let (inbox, corked) = {
            let mut inner = self.inner.lock();
            inner.is_closed = true;
            self.give_port_back(&mut inner);
            inner.receiver.close();
            (core::mem::take(&mut inner.inbox), inner.corked.take())
        };
        self.core.leave_all_groups();
        drop((inbox, corked));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl UdpSocket {
    /// Puts a datagram into the inbox, and tells those who wait.
    fn take_in(&self, arrived: Arrived) {
        let mut inner = self.inner.lock();
        // What came before by the channel stays before.
        self.drain(&mut inner);
        let taken = self.put(&mut inner, arrived);
        drop(inner);
        if taken {
            self.core.pollee.notify(READABLE);
        }
    }

    /// Puts a datagram into the inbox if there is room.
    fn put(&self, inner: &mut Inner, arrived: Arrived) -> bool {
        if inner.is_closed {
            return false;
        }
        let limit = self.core.with(|options| options.common.receive_buffer) as usize;
        let family = if arrived.source.address.is_ipv4() { Family::V4 } else { Family::V6 };
        let counters = self.core.net.udp_counters(family);
        match inner.inbox.push(arrived, limit) {
            Ok(()) => counters.received(),
            Err(_) => counters.no_room(),
        }
        true
    }
}
