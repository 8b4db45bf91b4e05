//! The tables that routing reads: interfaces, their addresses, and routes.
//!
//! They are small (a few interfaces, tens of routes), so they are searched from end to end; sockets keep what they
//! found ([`Route`](crate::Route)), and ask anew only when [the generation](Tables::generation) has changed. All of it is under one
//! readers-writer lock in [`Stack`](crate::Stack). Writers tell their changes by [`Change`]s.

use alloc::{sync::Arc, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    AddressFlags, AddressInfo, AddressKind, Change, LOOPBACK_INDEX, RouteInfo, RouteKind, RouteOrigin,
    RouteTable, Scope,
    interface::Interface,
    prefix::{Prefix, broadcast_of, is_link_local, scope_of, width},
};

/// Routes at most: routers may tell many.
const MAX_ROUTES: usize = 128;
/// Addresses at most.
const MAX_ADDRESSES: usize = 64;

/// Metric of routes of IPv6 that come with an address or an on-link prefix (`IP6_RT_PRIO_ADDRCONF`).
pub(crate) const METRIC_PREFIX_V6: u32 = 256;
/// Metric of other routes of IPv6 (`IP6_RT_PRIO_USER`).
pub(crate) const METRIC_USER_V6: u32 = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) interface: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix_len: u8,
    pub(crate) flags: AddressFlags,
    /// Until when it is for new connections.
    pub(crate) preferred_until_ns: Option<u64>,
    /// Until when it is ours.
    pub(crate) valid_until_ns: Option<u64>,
    pub(crate) origin: RouteOrigin,
}

impl Address {
    fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) => broadcast_of(address, self.prefix_len),
            IpAddr::V6(_) => None,
        }
    }

    pub(crate) fn info(&self, now_ns: u64) -> AddressInfo {
        let left = |until_ns: u64| (until_ns.saturating_sub(now_ns) / 1_000_000_000) as u32;
        // As on Linux, the loopback's address is not told with one, though there is a route to it.
        let broadcast = self.broadcast().filter(|address| !address.is_loopback());
        AddressInfo {
            address: self.address,
            prefix_len: self.prefix_len,
            broadcast,
            scope: scope_of(self.address),
            flags: self.flags,
            preferred_left_s: self.preferred_until_ns.map(left),
            valid_left_s: self.valid_until_ns.map(left),
        }
    }

    /// Whether packets may come from it and go to it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.flags.intersects(AddressFlags::TENTATIVE | AddressFlags::DAD_FAILED)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    pub(crate) destination: Prefix,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) interface: u32,
    pub(crate) metric: u32,
    pub(crate) preferred_source: Option<IpAddr>,
    pub(crate) origin: RouteOrigin,
    pub(crate) expires_ns: Option<u64>,
    /// A router's own word of itself (RFC 4191, 2.1): 1, 0 or -1.
    pub(crate) preference: i8,
}

impl RouteEntry {
    pub(crate) fn info(&self, now_ns: u64) -> RouteInfo {
        RouteInfo {
            destination: self.destination.address,
            prefix_len: self.destination.len,
            gateway: self.gateway,
            interface: self.interface,
            kind: RouteKind::Unicast,
            scope: match (self.gateway, self.destination.address) {
                (None, IpAddr::V4(_)) => Scope::Link,
                _ => Scope::Universe,
            },
            preferred_source: self.preferred_source,
            metric: self.metric,
            origin: self.origin,
            table: RouteTable::Main,
            expires_s: self
                .expires_ns
                .map(|expires_ns| (expires_ns.saturating_sub(now_ns) / 1_000_000_000) as u32),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.destination, self.gateway, self.interface, self.metric)
            == (other.destination, other.gateway, other.interface, other.metric)
    }
}

/// Interfaces, addresses, routes.
pub(crate) struct Tables {
    pub(crate) interfaces: Vec<Arc<Interface>>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routes: Vec<RouteEntry>,
    pub(crate) generation: Arc<AtomicU32>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            interfaces: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            generation: Arc::new(AtomicU32::new(1)),
        }
    }

    /// Makes all routes that were given out outdated.
    pub(crate) fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn interface(&self, index: u32) -> Option<&Arc<Interface>> {
        self.interfaces.get((index as usize).checked_sub(1)?)
    }

    pub(crate) fn find_address(&self, address: IpAddr, interface: Option<u32>) -> Option<&Address> {
        self.addresses.iter().find(|entry| {
            entry.address == address && interface.is_none_or(|interface| interface == entry.interface)
        })
    }

    pub(crate) fn find_address_mut(&mut self, address: IpAddr, interface: u32) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|entry| (entry.address, entry.interface) == (address, interface))
    }

    /// Whether a packet to `address` is for us alone. All of 127.0.0.0/8 are (RFC 1122, 3.2.1.3), but its broadcast address.
    pub(crate) fn is_local(&self, address: IpAddr, interface: Option<u32>) -> bool {
        match address {
            IpAddr::V4(address) if address.is_loopback() => {
                interface.is_none_or(|interface| interface == LOOPBACK_INDEX)
                    && !self.is_broadcast(address, interface)
            }
            _ => self.addresses.iter().any(|entry| {
                entry.address == address
                    && entry.is_usable()
                    // Only a link-local address belongs to its link; others to the machine.
                    && (!is_link_local(address) || interface.is_none_or(|interface| interface == entry.interface))
            }),
        }
    }

    pub(crate) fn is_broadcast(&self, address: Ipv4Addr, interface: Option<u32>) -> bool {
        address.is_broadcast()
            || self.addresses.iter().any(|entry| {
                interface.is_none_or(|interface| interface == entry.interface)
                    && entry.broadcast() == Some(address)
            })
    }

    pub(crate) fn kind(&self, address: IpAddr, interface: Option<u32>) -> AddressKind {
        match address {
            _ if address.is_unspecified() => AddressKind::Unspecified,
            _ if address.is_multicast() => AddressKind::Multicast,
            _ if self.is_local(address, interface) => AddressKind::Local,
            IpAddr::V4(address) if self.is_broadcast(address, interface) => AddressKind::Broadcast,
            _ if self.find_address(address, interface).is_some() => AddressKind::Tentative,
            _ => AddressKind::Remote,
        }
    }

    /// Adds an address with the route to its subnet, or gives one that is there new flags and lifetimes. Whether there
    /// was room.
    pub(crate) fn put_address(&mut self, address: Address, now_ns: u64, changes: &mut Vec<Change>) -> bool {
        let (interface, info) = (address.interface, address.info(now_ns));
        let entry = match address.address {
            IpAddr::V4(_) => RouteEntry {
                destination: Prefix::new(address.address, address.prefix_len),
                gateway: None,
                interface,
                metric: 0,
                preferred_source: Some(address.address),
                origin: RouteOrigin::Kernel,
                expires_ns: None,
                preference: 0,
            },
            IpAddr::V6(_) => RouteEntry {
                destination: Prefix::new(address.address, address.prefix_len),
                gateway: None,
                interface,
                metric: METRIC_PREFIX_V6,
                preferred_source: None,
                origin: RouteOrigin::Kernel,
                expires_ns: None,
                preference: 0,
            },
        };
        let has_route = !address.flags.contains(AddressFlags::NO_PREFIX_ROUTE)
            && !address.address.is_loopback()
            && address.prefix_len < width(address.address);
        let mut is_news = true;
        if let Some(known) = self.find_address_mut(address.address, interface) {
            // Lifetimes are extended again and again: no route depends on them.
            is_news = (known.flags, known.prefix_len) != (address.flags, address.prefix_len);
            *known = address;
        } else if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.push(address);
        } else {
            return false;
        }
        changes.push(Change::AddressAdded { interface, address: info });
        if has_route {
            self.put_route(entry, now_ns, changes);
        }
        if is_news {
            self.touch();
        }
        true
    }

    /// Removes an address, and the routes that were there for it alone.
    pub(crate) fn remove_address(
        &mut self,
        address: IpAddr,
        interface: u32,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let Some(at) =
            self.addresses.iter().position(|entry| (entry.address, entry.interface) == (address, interface))
        else {
            return;
        };
        let gone = self.addresses.remove(at);
        changes.push(Change::AddressRemoved { interface, address: gone.info(now_ns) });
        let prefix = Prefix::new(gone.address, gone.prefix_len);
        let is_shared = self.addresses.iter().any(|entry| {
            entry.interface == interface && Prefix::new(entry.address, entry.prefix_len) == prefix
        });
        self.remove_routes(now_ns, changes, |route| {
            route.interface == interface
                && (route.preferred_source == Some(address)
                    || !is_shared
                        && route.origin == RouteOrigin::Kernel
                        && route.destination == prefix
                        && route.gateway.is_none())
        });
        self.touch();
    }

    /// Adds a route, or gives one that is there a new lifetime, source or preference.
    pub(crate) fn put_route(&mut self, route: RouteEntry, now_ns: u64, changes: &mut Vec<Change>) {
        if let Some(known) = self.routes.iter_mut().find(|known| known.is_same(&route)) {
            if *known != route {
                let is_news = (known.preferred_source, known.preference, known.origin)
                    != (route.preferred_source, route.preference, route.origin);
                *known = route;
                if is_news {
                    self.touch();
                }
            }
            return;
        }
        if self.routes.len() >= MAX_ROUTES {
            return;
        }
        changes.push(Change::RouteAdded(route.info(now_ns)));
        self.routes.push(route);
        self.touch();
    }

    /// Removes the routes that `condemned` names.
    pub(crate) fn remove_routes(
        &mut self,
        now_ns: u64,
        changes: &mut Vec<Change>,
        condemned: impl Fn(&RouteEntry) -> bool,
    ) {
        let before = self.routes.len();
        self.routes.retain(|route| {
            let goes = condemned(route);
            if goes {
                changes.push(Change::RouteRemoved(route.info(now_ns)));
            }
            !goes
        });
        if self.routes.len() != before {
            self.touch();
        }
    }

    /// When something outlives its time.
    pub(crate) fn next_expiry_ns(&self) -> Option<u64> {
        let addresses = self.addresses.iter().flat_map(|address| {
            let preferred =
                address.preferred_until_ns.filter(|_| !address.flags.contains(AddressFlags::DEPRECATED));
            [preferred, address.valid_until_ns]
        });
        addresses.chain(self.routes.iter().map(|route| route.expires_ns)).flatten().min()
    }

    /// Ends what has outlived its time.
    pub(crate) fn expire(&mut self, now_ns: u64, changes: &mut Vec<Change>) {
        let is_over = |until_ns: Option<u64>| until_ns.is_some_and(|until_ns| until_ns <= now_ns);
        let gone: Vec<_> = self
            .addresses
            .iter()
            .filter(|address| is_over(address.valid_until_ns))
            .map(|address| (address.address, address.interface))
            .collect();
        for (address, interface) in gone {
            self.remove_address(address, interface, now_ns, changes);
        }
        let mut has_changed = false;
        for address in &mut self.addresses {
            if is_over(address.preferred_until_ns) && !address.flags.contains(AddressFlags::DEPRECATED) {
                address.flags |= AddressFlags::DEPRECATED;
                changes.push(Change::AddressAdded {
                    interface: address.interface,
                    address: address.info(now_ns),
                });
                has_changed = true;
            }
        }
        if has_changed {
            self.touch();
        }
        self.remove_routes(now_ns, changes, |route| is_over(route.expires_ns));
    }

    /// The first usable link-local address of an interface.
    pub(crate) fn link_local(&self, interface: u32) -> Option<Ipv6Addr> {
        self.addresses
            .iter()
            .filter(|address| address.interface == interface && address.is_usable())
            .find_map(|address| match address.address {
                IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
                _ => None,
            })
    }

    /// All routes as Linux shows them: those of the local table come from the addresses.
    pub(crate) fn route_infos(&self, now_ns: u64) -> Vec<RouteInfo> {
        let mut infos: Vec<_> = self.routes.iter().map(|route| route.info(now_ns)).collect();
        for address in self.addresses.iter().filter(|address| address.is_usable()) {
            let own = |destination: IpAddr, prefix_len, kind, scope| RouteInfo {
                destination,
                prefix_len,
                gateway: None,
                interface: address.interface,
                kind,
                scope,
                preferred_source: address.address.is_ipv4().then_some(address.address),
                metric: 0,
                origin: RouteOrigin::Kernel,
                table: RouteTable::Local,
                expires_s: None,
            };
            let scope = if address.address.is_ipv4() { Scope::Host } else { Scope::Universe };
            if address.address.is_loopback() && address.address.is_ipv4() {
                infos.push(own(Ipv4Addr::new(127, 0, 0, 0).into(), 8, RouteKind::Local, scope));
            }
            infos.push(own(address.address, width(address.address), RouteKind::Local, scope));
            if let Some(broadcast) = address.broadcast() {
                infos.push(own(broadcast.into(), 32, RouteKind::Broadcast, Scope::Link));
            }
        }
        for interface in self.interfaces.iter().filter(|interface| !interface.is_loopback()) {
            infos.push(RouteInfo {
                destination: Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(),
                prefix_len: 8,
                gateway: None,
                interface: interface.index,
                kind: RouteKind::Multicast,
                scope: Scope::Universe,
                preferred_source: None,
                metric: METRIC_PREFIX_V6,
                origin: RouteOrigin::Kernel,
                table: RouteTable::Local,
                expires_s: None,
            });
        }
        infos
    }
}
