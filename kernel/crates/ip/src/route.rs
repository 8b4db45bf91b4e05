//! Routes: finding one, and what a socket keeps of it.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use linux_abi::Errno;
use packet::{Offloads, Packet};

use crate::{
    AddressKind, LOOPBACK_INDEX, Stack,
    interface::{Family, Interface},
    neighbour::Neighbour,
    table::{RouteEntry, Tables},
};

/// The way to a destination, as a socket keeps it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Index of the interface.
    pub interface: u32,
    /// The source address that was asked for, or the best one for the destination.
    pub source: IpAddr,
    /// Who gets the packets on the link: the destination or a gateway. For the unspecified destination, which
    /// means this machine, the address that packets must have as their destination.
    pub next_hop: IpAddr,
    /// What kind of destination it is.
    pub kind: RouteKind,
    /// Largest IP packet, headers included, on the way to the destination, as far as known.
    pub mtu: u32,
    /// What the link does for its senders.
    pub offloads: Offloads,
    pub(crate) link: Arc<Interface>,
    pub(crate) neighbour: Option<Arc<Neighbour>>,
    /// The state of the tables of which this is true.
    generation: u32,
    current_generation: Arc<AtomicU32>,
}

impl Route {
    /// Whether the tables are still those that gave this route. If not, ask anew.
    pub fn is_current(&self) -> bool {
        self.generation == self.current_generation.load(Ordering::Acquire)
    }

    pub(crate) fn family(&self) -> Family {
        if self.next_hop.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What kind of destination a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// This machine.
    Local,
    /// Another machine.
    Unicast,
    /// All machines of the link. (`EACCES` without `SO_BROADCAST` is the socket's affair.)
    Broadcast,
    /// A group.
    Multicast,
}

/// What the tables say.
pub(crate) struct Found {
    pub(crate) interface: Arc<Interface>,
    pub(crate) source: IpAddr,
    pub(crate) next_hop: IpAddr,
    pub(crate) kind: RouteKind,
}

impl Tables {
    /// See [`Stack::route`].
    pub(crate) fn lookup(
        &self,
        destination: IpAddr,
        source: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<Found, Errno> {
        let source = source.filter(|source| !source.is_unspecified());
        if interface.is_some_and(|index| self.interface(index).is_none()) {
            return Err(Errno::ENODEV);
        }
        if let Some(source) = source {
            if source.is_ipv4() != destination.is_ipv4() {
                return Err(Errno::EINVAL);
            }
            if !self.is_local(source, None) {
                return Err(Errno::EINVAL);
            }
        }
        match destination {
            IpAddr::V4(destination) => self.lookup_v4(destination, source, interface),
            IpAddr::V6(destination) => self.lookup_v6(destination, source, interface),
        }
    }

    /// The route in the main table: the longest prefix; of equals the lowest metric, then a router that answers and the
    /// one that thinks best of itself, then the first (RFC 4861, 6.3.6; RFC 4191, 3.2).
    fn best(&self, destination: IpAddr, interface: Option<u32>) -> Option<&RouteEntry> {
        let answers = |route: &RouteEntry| {
            route.gateway.is_none_or(|gateway| {
                self.interface(route.interface).is_some_and(|link| !link.neighbours.is_failed(gateway))
            })
        };
        let candidates = self.routes.iter().filter(|route| {
            interface.is_none_or(|interface| interface == route.interface)
                && route.destination.contains(destination)
        });
        let rank = |route: &RouteEntry| (route.destination.len, Reverse(route.metric));
        let best = candidates.clone().map(rank).max()?;
        // Asking neighbours takes their lock: only if there is a choice.
        let mut equals = candidates.filter(|route| rank(route) == best);
        let first = equals.next()?;
        equals
            .fold((first, None), |(kept, kept_rank), next| {
                let kept_rank = kept_rank.unwrap_or_else(|| (answers(kept), kept.preference));
                let next_rank = (answers(next), next.preference);
                if next_rank > kept_rank { (next, Some(next_rank)) } else { (kept, Some(kept_rank)) }
            })
            .0
            .into()
    }

    fn to_this_machine(&self, destination: IpAddr, source: Option<IpAddr>) -> Result<Found, Errno> {
        let interface = self.interface(LOOPBACK_INDEX).ok_or(Errno::ENETUNREACH)?.clone();
        // What is sent to one's own address comes from it.
        let source = source.unwrap_or(destination);
        Ok(Found { interface, source, next_hop: destination, kind: RouteKind::Local })
    }

    /// Where group and broadcast packets go that name no interface.
    fn default_link(
        &self,
        destination: IpAddr,
        source: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Option<u32> {
        interface
            .or_else(|| {
                let source = source.filter(|source| !source.is_loopback())?;
                Some(self.find_address(source, None)?.interface)
            })
            .or_else(|| Some(self.best(destination, None)?.interface))
    }

    fn lookup_v4(
        &self,
        destination: Ipv4Addr,
        source: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<Found, Errno> {
        let to = IpAddr::V4(destination);
        let v4 = |source: Option<Ipv4Addr>| source.map(IpAddr::V4);
        match self.kind(to, None) {
            AddressKind::Unspecified => {
                self.to_this_machine(source.unwrap_or(Ipv4Addr::LOCALHOST.into()), source)
            }
            AddressKind::Local => self.to_this_machine(to, source),
            kind @ (AddressKind::Broadcast | AddressKind::Multicast) => {
                let subnet = || {
                    self.routes
                        .iter()
                        .find(|route| route.gateway.is_none() && route.destination.contains(to))
                        .map(|route| route.interface)
                };
                let interface = if kind == AddressKind::Broadcast && !destination.is_broadcast() {
                    interface.or_else(subnet).or(to.is_loopback().then_some(LOOPBACK_INDEX))
                } else {
                    self.default_link(to, source, interface)
                };
                let interface = self.interface(interface.ok_or(Errno::ENETUNREACH)?).ok_or(Errno::ENODEV)?;
                let source = source
                    .or_else(|| v4(self.select_source_v4(interface.index, destination)))
                    .unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                let kind = match kind {
                    AddressKind::Multicast => RouteKind::Multicast,
                    _ => RouteKind::Broadcast,
                };
                Ok(Found { interface: interface.clone(), source, next_hop: to, kind })
            }
            AddressKind::Tentative | AddressKind::Remote => {
                let (index, next_hop, preferred) = match self.best(to, interface) {
                    Some(route) => (route.interface, route.gateway.unwrap_or(to), route.preferred_source),
                    // As Linux has it: whoever names the interface and finds no route means its link.
                    None => (interface.ok_or(Errno::ENETUNREACH)?, to, None),
                };
                let interface = self.interface(index).ok_or(Errno::ENODEV)?.clone();
                let hop = match next_hop {
                    IpAddr::V4(hop) => hop,
                    IpAddr::V6(_) => destination,
                };
                let source = source
                    .or(preferred)
                    .or_else(|| v4(self.select_source_v4(index, hop)))
                    .ok_or(Errno::ENETUNREACH)?;
                if interface.is_loopback() || source.is_loopback() && !interface.is_loopback() {
                    // Nothing of 127.0.0.0/8 leaves the machine (RFC 1122, 3.2.1.3).
                    return Err(Errno::EINVAL);
                }
                Ok(Found { interface, source, next_hop, kind: RouteKind::Unicast })
            }
        }
    }

    fn lookup_v6(
        &self,
        destination: Ipv6Addr,
        source: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<Found, Errno> {
        let to = IpAddr::V6(destination);
        match self.kind(to, interface) {
            AddressKind::Unspecified => {
                self.to_this_machine(source.unwrap_or(Ipv6Addr::LOCALHOST.into()), source)
            }
            AddressKind::Local => self.to_this_machine(to, source),
            AddressKind::Multicast => {
                let first = || self.interfaces.iter().find(|link| !link.is_loopback()).map(|link| link.index);
                let index = self.default_link(to, source, interface).or_else(first);
                let interface = self.interface(index.ok_or(Errno::ENETUNREACH)?).ok_or(Errno::ENODEV)?;
                let source = source
                    .or_else(|| self.select_source_v6(interface.index, destination).map(IpAddr::V6))
                    .ok_or(Errno::EADDRNOTAVAIL)?;
                Ok(Found { interface: interface.clone(), source, next_hop: to, kind: RouteKind::Multicast })
            }
            AddressKind::Broadcast | AddressKind::Tentative | AddressKind::Remote => {
                if destination.is_unicast_link_local() && interface.is_none() {
                    return Err(Errno::EINVAL);
                }
                let route = self.best(to, interface).ok_or(Errno::ENETUNREACH)?;
                let next_hop = route.gateway.unwrap_or(to);
                let interface = self.interface(route.interface).ok_or(Errno::ENODEV)?.clone();
                let source = source
                    .or_else(|| self.select_source_v6(interface.index, destination).map(IpAddr::V6))
                    .ok_or(Errno::EADDRNOTAVAIL)?;
                if source.is_loopback() && !interface.is_loopback() {
                    return Err(Errno::EINVAL);
                }
                Ok(Found { interface, source, next_hop, kind: RouteKind::Unicast })
            }
        }
    }
}

impl Stack {
    /// The way to `destination`, from `source` if given (an address of ours, else `EINVAL`), by `interface` if given.
    ///
    /// `ENETUNREACH` if no route leads there; `EADDRNOTAVAIL` if there is no address to send from; `ENODEV`
    /// without such an interface; `EINVAL` if the two addresses are of different families, if one of them must not leave the
    /// machine, or for a link-local destination of IPv6 without an interface.
    pub fn route(
        &self,
        destination: IpAddr,
        source: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<Route, Errno> {
        // The generation is read before the tables: a change in between makes the route outdated, not wrong.
        let (found, generation, current_generation) = {
            let tables = self.tables.read();
            let generation = tables.generation.load(Ordering::Acquire);
            (tables.lookup(destination, source, interface), generation, tables.generation.clone())
        };
        let found = found.inspect_err(|_| {
            self.counters.ip(destination).out_no_routes.add(1);
        })?;
        let link = found.interface;
        let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
        let neighbour = (found.kind == RouteKind::Unicast && !link.is_loopback())
            .then(|| self.neighbour(&link, found.next_hop));
        let mtu = link.mtu(family).min(self.path_mtu(destination).unwrap_or(u32::MAX));
        Ok(Route {
            interface: link.index,
            source: found.source,
            next_hop: found.next_hop,
            kind: found.kind,
            mtu,
            offloads: link.link.offloads(),
            neighbour,
            link,
            generation,
            current_generation,
        })
    }

    /// The neighbour with an address on a link, known or new.
    pub(crate) fn neighbour(&self, link: &Interface, address: IpAddr) -> Arc<Neighbour> {
        let mut waste: Vec<Box<Packet>> = Vec::new();
        link.neighbours.find_or_insert(address, self.now_ns(), &mut waste)
    }
}
