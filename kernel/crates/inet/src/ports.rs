//! Who is bound to which port.
//!
//! Responsible for: conflicts between sockets that bind, the choice of a port for those that do not say one, and
//! which of the bound sockets a datagram or a connection belongs to. Not for: connections as such, which are found by
//! their whole tuple before anybody asks here.
//!
//! One spin lock guards a table. Owners are small (a weak reference); none is dropped in it but with its claim.

mod choice;
mod conflict;

use alloc::{sync::Arc, vec::Vec};
use core::{
    hash::Hasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hashbrown::HashMap;
use ksync::SpinLock;
use linux_abi::Errno;
use siphasher::sip::SipHasher13;

use crate::net::PortRange;
use choice::Chooser;

/// An address that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// An address of IPv4, or all of them: an IPv4 socket, or an IPv6 socket with a mapped address.
    V4(Ipv4Addr),
    /// An address of IPv6.
    V6(Ipv6Addr),
    /// All addresses of IPv6.
    AnyV6,
    /// All addresses of both versions: an IPv6 socket without `IPV6_V6ONLY`.
    Any,
}

impl BoundAddress {
    /// Whether it is one address.
    pub fn is_specific(self) -> bool {
        !matches!(self, Self::AnyV6 | Self::Any | Self::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Whether a packet for `address` is for a socket that is bound so.
    pub fn takes(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) | (Self::AnyV6, IpAddr::V6(_)) => true,
            (Self::V4(own), IpAddr::V4(address)) => own.is_unspecified() || own == address,
            (Self::V6(own), IpAddr::V6(address)) => own == address,
            _ => false,
        }
    }
}

/// What a bound socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is bound, perhaps connected.
    Bound,
    /// It takes connections.
    Listening,
    /// It is connected, and has its port only for that.
    Connected,
    /// Its connection is over, but segments may be on the way.
    TimeWait,
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// To which address.
    pub address: BoundAddress,
    /// To which interface, or 0.
    pub interface: u32,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// The peer, if it has one.
    pub remote: Option<(IpAddr, u16)>,
    /// What the socket does.
    pub phase: Phase,
}

/// Whose rules hold for conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictRule {
    /// TCP's: who reuses an address must not share it with a listener.
    Tcp,
    /// UDP's: who reuses an address shares it.
    Udp,
}

/// Where a packet came from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Our side.
    pub local: (IpAddr, u16),
    /// The other side.
    pub remote: (IpAddr, u16),
    /// Where it came in.
    pub interface: u32,
}

struct Entry<T> {
    id: u64,
    binding: Binding,
    owner: T,
}

/// What is on one port.
struct Port<T> {
    /// Those that were bound to it, in that order.
    bound: Vec<Entry<T>>,
    /// Those that have it for a connection only: accepted ones, and those that never bound. They may be many.
    connected: HashMap<u64, Entry<T>>,
}

impl<T> Default for Port<T> {
    fn default() -> Self {
        Self { bound: Vec::new(), connected: HashMap::new() }
    }
}

impl<T> Port<T> {
    fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.bound.iter().chain(self.connected.values())
    }

    /// Whether a connection of a socket that is not bound can have the port.
    fn fit(&self, binding: &Binding) -> Fit {
        if !self.bound.is_empty() {
            return Fit::Taken;
        }
        let same = |entry: &&Entry<T>| {
            entry.binding.remote == binding.remote && entry.binding.address == binding.address
        };
        self.connected.values().filter(same).fold(Fit::Free, |fit, entry| match entry.binding.phase {
            Phase::TimeWait if fit != Fit::Taken => Fit::TimeWait,
            _ => Fit::Taken,
        })
    }

    fn entry_mut(&mut self, id: u64) -> Option<&mut Entry<T>> {
        match self.bound.iter_mut().find(|entry| entry.id == id) {
            Some(entry) => Some(entry),
            None => self.connected.get_mut(&id),
        }
    }
}

/// Whether a port is free for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Free,
    /// But for one that is over.
    TimeWait,
    Taken,
}

struct Ports<T> {
    by_number: HashMap<u16, Port<T>>,
    last_id: u64,
}

/// All ports of a protocol. `T` is what leads to a socket.
pub struct PortTable<T> {
    ports: SpinLock<Ports<T>>,
    rule: ConflictRule,
    chooser: Chooser,
    /// Of the hash that shares connections among sockets with `SO_REUSEPORT`.
    key: [u8; 16],
}

impl<T: Clone> PortTable<T> {
    /// A table in which nobody is bound. Each key is random.
    pub fn new(rule: ConflictRule, choice_key: [u8; 16], sharing_key: [u8; 16]) -> Arc<Self> {
        Arc::new(Self {
            ports: SpinLock::new(Ports { by_number: HashMap::new(), last_id: 0 }),
            rule,
            chooser: Chooser::new(choice_key),
            key: sharing_key,
        })
    }

    /// Binds to a port, or to a free one of `range` if `port` is 0: `EADDRINUSE`.
    pub fn bind(
        self: &Arc<Self>,
        port: u16,
        binding: Binding,
        range: PortRange,
        owner: T,
    ) -> Result<PortClaim<T>, Errno> {
        let mut ports = self.ports.lock();
        let port = if port != 0 {
            if ports.conflicts(self.rule, port, &binding, conflict::Choice::Given) {
                return Err(Errno::EADDRINUSE);
            }
            port
        } else {
            self.chooser
                .to_bind(range)
                .find(|port| !ports.conflicts(self.rule, *port, &binding, conflict::Choice::Free))
                .ok_or(Errno::EADDRINUSE)?
        };
        Ok(self.claim(&mut ports, port, binding, owner))
    }

    /// Takes a port for a connection of a socket that is not bound. Ports are shared between connections to
    /// different peers; if there are few free ones, also with one to the same peer in TIME_WAIT, which the caller then
    /// has to get rid of. `binding` has the peer, and the one local address. `EADDRNOTAVAIL`.
    pub fn connect(
        self: &Arc<Self>,
        mut binding: Binding,
        range: PortRange,
        owner: T,
    ) -> Result<PortClaim<T>, Errno> {
        /// How many ports are looked at in vain before one in TIME_WAIT has to do.
        const PATIENCE: usize = 64;
        binding.phase = Phase::Connected;
        let mut ports = self.ports.lock();
        let mut free = None;
        let mut in_time_wait = None;
        for (tried, port) in self.chooser.to_connect(range, &binding).enumerate() {
            match ports.by_number.get(&port).map_or(Fit::Free, |on_port| on_port.fit(&binding)) {
                Fit::Free => free = Some(port),
                Fit::TimeWait => in_time_wait = in_time_wait.or(Some(port)),
                Fit::Taken => {}
            }
            if free.is_some() || (tried >= PATIENCE && in_time_wait.is_some()) {
                break;
            }
        }
        let port = free.or(in_time_wait).ok_or(Errno::EADDRNOTAVAIL)?;
        Ok(self.claim(&mut ports, port, binding, owner))
    }

    /// Notes a connection that was accepted at a port.
    pub fn accept(self: &Arc<Self>, port: u16, mut binding: Binding, owner: T) -> PortClaim<T> {
        binding.phase = Phase::Connected;
        self.claim(&mut self.ports.lock(), port, binding, owner)
    }

    fn claim(self: &Arc<Self>, ports: &mut Ports<T>, port: u16, binding: Binding, owner: T) -> PortClaim<T> {
        ports.last_id += 1;
        let id = ports.last_id;
        let entry = Entry { id, binding, owner };
        let on_port = ports.by_number.entry(port).or_default();
        if binding.phase == Phase::Connected {
            on_port.connected.insert(id, entry);
        } else {
            on_port.bound.push(entry);
        }
        PortClaim { table: self.clone(), port, id }
    }

    /// The socket that a packet belongs to: of those bound and of phase `phase` that take it, the most specific;
    /// of those that share a port (`SO_REUSEPORT`), one by the hash of the addresses, so that the packets of one
    /// sender always come to the same.
    pub fn lookup(&self, incoming: &Incoming, phase: Phase) -> Option<T> {
        let ports = self.ports.lock();
        let port = ports.by_number.get(&incoming.local.1)?;
        let mut best: Option<(&Entry<T>, u32)> = None;
        let mut equals = 0;
        for entry in port.bound.iter().filter(|entry| entry.binding.phase == phase) {
            let Some(score) = entry.binding.score(incoming) else { continue };
            match best {
                Some((_, best_score)) if score < best_score => {}
                Some((first, best_score)) if score == best_score => {
                    // Of sockets that share with SO_REUSEADDR only, the one bound last gets it.
                    if !(first.binding.reuse_port && entry.binding.reuse_port) {
                        best = Some((entry, score));
                        equals = 0;
                    }
                    equals += 1;
                }
                _ => {
                    best = Some((entry, score));
                    equals = 1;
                }
            }
        }
        let (first, best_score) = best?;
        if equals == 1 || !first.binding.reuse_port {
            return Some(first.owner.clone());
        }
        let chosen = (u64::from(self.hash(incoming) as u32) * equals) >> 32;
        port.bound
            .iter()
            .filter(|entry| entry.binding.phase == phase && entry.binding.reuse_port)
            .filter(|entry| entry.binding.score(incoming) == Some(best_score))
            .nth(chosen as usize)
            .map(|entry| entry.owner.clone())
    }

    /// All sockets that a packet to a group or to all belongs to.
    pub fn lookup_all(&self, incoming: &Incoming) -> Vec<T> {
        let ports = self.ports.lock();
        let Some(port) = ports.by_number.get(&incoming.local.1) else { return Vec::new() };
        let takers = port.bound.iter().filter(|entry| entry.binding.score(incoming).is_some());
        takers.map(|entry| entry.owner.clone()).collect()
    }

    /// All owners on one port.
    pub fn owners_at(&self, port: u16) -> Vec<T> {
        let ports = self.ports.lock();
        ports
            .by_number
            .get(&port)
            .map_or_else(Vec::new, |port| port.entries().map(|entry| entry.owner.clone()).collect())
    }

    /// All that are bound to a port, and how.
    pub fn on_port(&self, port: u16) -> Vec<(Binding, T)> {
        let ports = self.ports.lock();
        let Some(port) = ports.by_number.get(&port) else { return Vec::new() };
        port.bound.iter().map(|entry| (entry.binding, entry.owner.clone())).collect()
    }

    /// All ports that are taken.
    pub fn numbers(&self) -> Vec<u16> {
        self.ports.lock().by_number.keys().copied().collect()
    }

    /// All owners, by port.
    pub fn owners(&self) -> Vec<T> {
        let ports = self.ports.lock();
        let mut numbers: Vec<u16> = ports.by_number.keys().copied().collect();
        numbers.sort_unstable();
        numbers
            .iter()
            .filter_map(|number| ports.by_number.get(number))
            .flat_map(|port| port.entries().map(|entry| entry.owner.clone()))
            .collect()
    }

    fn hash(&self, incoming: &Incoming) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        core::hash::Hash::hash(&(incoming.local, incoming.remote), &mut hasher);
        hasher.finish()
    }
}

impl Binding {
    /// How well a packet fits; `None` if not at all (`compute_score` in `net/ipv4/udp.c` and
    /// `net/ipv4/inet_hashtables.c`).
    fn score(&self, incoming: &Incoming) -> Option<u32> {
        if !self.address.takes(incoming.local.0) {
            return None;
        }
        let mut score = 0;
        if self.address.is_specific() {
            score += 32;
        }
        if let Some(remote) = self.remote {
            if remote != incoming.remote {
                return None;
            }
            score += 8;
        }
        if self.interface != 0 {
            if self.interface != incoming.interface {
                return None;
            }
            score += 4;
        }
        if matches!((self.address, incoming.local.0), (BoundAddress::V4(_), IpAddr::V4(_))) {
            score += 1;
        }
        Some(score)
    }
}

/// A socket's place in a table; its drop gives the port back.
pub struct PortClaim<T> {
    table: Arc<PortTable<T>>,
    port: u16,
    id: u64,
}

impl<T> PortClaim<T> {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the socket is bound.
    pub fn binding(&self) -> Option<Binding> {
        let mut ports = self.table.ports.lock();
        ports.by_number.get_mut(&self.port)?.entry_mut(self.id).map(|entry| entry.binding)
    }

    /// Changes how the socket is bound: it was connected, or an option was set.
    pub fn update(&self, change: impl FnOnce(&mut Binding)) {
        let mut ports = self.table.ports.lock();
        if let Some(entry) = ports.by_number.get_mut(&self.port).and_then(|port| port.entry_mut(self.id)) {
            change(&mut entry.binding);
        }
    }

    /// Lets the socket take connections: `EADDRINUSE` if another one took the address meanwhile.
    pub fn listen(&self) -> Result<(), Errno> {
        let mut ports = self.table.ports.lock();
        let Some(port) = ports.by_number.get_mut(&self.port) else { return Err(Errno::EINVAL) };
        let Some(entry) = port.entry_mut(self.id) else { return Err(Errno::EINVAL) };
        let binding = Binding { phase: Phase::Listening, ..entry.binding };
        let (rule, id) = (self.table.rule, self.id);
        if port.entries().any(|other| {
            other.id != id && conflict::conflicts(rule, &binding, &other.binding, conflict::Choice::Given)
        }) {
            return Err(Errno::EADDRINUSE);
        }
        if let Some(entry) = port.entry_mut(id) {
            entry.binding.phase = Phase::Listening;
        }
        Ok(())
    }
}

impl<T> Drop for PortClaim<T> {
    fn drop(&mut self) {
        let mut ports = self.table.ports.lock();
        let Some(port) = ports.by_number.get_mut(&self.port) else { return };
        let by_connection = port.connected.remove(&self.id);
        let by_bind =
            port.bound.iter().position(|entry| entry.id == self.id).map(|place| port.bound.remove(place));
        let gone = if port.bound.is_empty() && port.connected.is_empty() {
            ports.by_number.remove(&self.port)
        } else {
            None
        };
        drop(ports);
        // An owner may be the last reference to something: dropped with no lock held.
        drop((by_connection, by_bind, gone));
    }
}

#[cfg(test)]
mod tests;
