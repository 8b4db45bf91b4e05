//! Addresses of IPv6 that an interface makes for itself: stateless autoconfiguration (RFC 4862), and what else
//! routers tell (RFC 4861, 6.3; RFC 8106).

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::net::{IpAddr, Ipv6Addr};

use packet::MacAddress;

use crate::{
    AddressFlags, Autoconfiguration, Change, InterfaceIdentifiers, RouteOrigin, Stack,
    control::InterfaceControl,
    interface::{Family, Interface},
    multicast::{Member, SourceFilter},
    ndp::{PrefixInformation, RouterAdvertisement},
    neighbour::Evidence,
    prefix::Prefix,
    table::{Address, METRIC_PREFIX_V6, METRIC_USER_V6, RouteEntry},
    wire::solicited_node,
};

const SECOND_NS: u64 = 1_000_000_000;

/// First and longest time between two router solicitations (RFC 7559, 2).
const FIRST_SOLICITATION_NS: u64 = 4 * SECOND_NS;
const LONGEST_SOLICITATION_NS: u64 = 3600 * SECOND_NS;
/// Addresses from routers' prefixes at most (`max_addresses`), routers, and entries of each list.
const MAX_ADDRESSES: usize = 16;
const MAX_ROUTERS: usize = 8;
const MAX_DNS: usize = 8;
/// How often another identifier is tried if one is taken (`idgen_retries`).
const MAX_COLLISIONS: u8 = 3;
/// The lifetime below which a router may not bring that of an address (RFC 4862, 5.5.3(e)).
const TWO_HOURS_S: u32 = 7200;
/// The prefix of link-local addresses.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

/// Duplicate address detection of one address.
pub(crate) struct Detection {
    /// Whether the question was sent.
    has_asked: bool,
    next_ns: u64,
    /// How many identifiers were taken before this one.
    collisions: u8,
}

/// What routers told an interface.
pub(crate) struct Autoconf {
    mode: Autoconfiguration,
    /// When to ask for routers next, and how long to wait then.
    solicitation: Option<(u64, u64)>,
    /// Until when each is good.
    dns_servers: BTreeMap<Ipv6Addr, u64>,
    dns_search: BTreeMap<String, u64>,
}

impl Autoconf {
    pub(crate) fn new(mode: Autoconfiguration, now_ns: u64) -> Self {
        let solicitation = (mode == Autoconfiguration::On).then_some((now_ns, FIRST_SOLICITATION_NS));
        Self { mode, solicitation, dns_servers: BTreeMap::new(), dns_search: BTreeMap::new() }
    }

    /// Asks for routers soon: the link may be another one.
    pub(crate) fn ask_again(&mut self, now_ns: u64) {
        if self.mode == Autoconfiguration::On {
            self.solicitation = Some((now_ns, FIRST_SOLICITATION_NS));
        }
    }

    pub(crate) fn dns_servers(&self, now_ns: u64) -> impl Iterator<Item = Ipv6Addr> {
        // The resolver's file can name a link-local server only with its interface, and routers name others.
        self.dns_servers
            .iter()
            .filter(move |(server, until_ns)| **until_ns > now_ns && !server.is_unicast_link_local())
            .map(|(server, _)| *server)
    }

    pub(crate) fn dns_search(&self, now_ns: u64) -> impl Iterator<Item = &String> {
        self.dns_search.iter().filter(move |(_, until_ns)| **until_ns > now_ns).map(|(domain, _)| domain)
    }
}

/// When a lifetime ends; `None`: never.
fn end_ns(lifetime_s: u32, now_ns: u64) -> Option<u64> {
    (lifetime_s != u32::MAX).then(|| now_ns + u64::from(lifetime_s) * SECOND_NS)
}

/// Sets entries of a list with lifetimes; returns whether the list is another.
fn update<K: Ord + Clone>(
    list: &mut BTreeMap<K, u64>,
    told: impl Iterator<Item = (u32, K)>,
    now_ns: u64,
) -> bool {
    let mut has_changed = false;
    for (lifetime_s, key) in told {
        if lifetime_s == 0 {
            has_changed |= list.remove(&key).is_some();
        } else if list.len() < MAX_DNS || list.contains_key(&key) {
            has_changed |= list.insert(key, end_ns(lifetime_s, now_ns).unwrap_or(u64::MAX)).is_none();
        }
    }
    has_changed
}

/// The hardware address in the form of an interface identifier (RFC 4291, appendix A).
fn eui64(MacAddress([a, b, c, d, e, f]): MacAddress) -> u64 {
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

impl Stack {
    /// An address of our own with a prefix of 64 bits.
    fn own_address(
        &self,
        link: &Interface,
        mac: MacAddress,
        identifiers: InterfaceIdentifiers,
        prefix: Ipv6Addr,
        collisions: u8,
    ) -> Ipv6Addr {
        let identifier = match identifiers {
            InterfaceIdentifiers::Eui64 => eui64(mac),
            // RFC 7217, 5: F(prefix, interface, -, collisions, key).
            InterfaceIdentifiers::StablePrivacy => {
                self.stable_privacy.of(&(prefix.octets(), link.name.as_str(), mac.0, collisions))
            }
        };
        Ipv6Addr::from_bits(Prefix::new(prefix.into(), 64).bits_v6() | u128::from(identifier))
    }

    /// Gives an interface its link-local address and those of the user.
    pub(crate) fn start_v6(
        &self,
        link: &Interface,
        state: &mut InterfaceControl,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let Some(mac) = link.mac else { return };
        let identifiers = state.config.ipv6.identifiers;
        let link_local = self.own_address(link, mac, identifiers, LINK_LOCAL, 0);
        let own = Address {
            interface: link.index,
            address: link_local.into(),
            prefix_len: 64,
            flags: AddressFlags::PERMANENT | AddressFlags::TENTATIVE,
            preferred_until_ns: None,
            valid_until_ns: None,
            origin: RouteOrigin::Kernel,
        };
        self.assign_v6(link, state, own.clone(), 0, now_ns, changes);
        for (address, prefix_len) in state.config.ipv6.addresses.clone() {
            let address =
                Address { address: address.into(), prefix_len, origin: RouteOrigin::Static, ..own.clone() };
            self.assign_v6(link, state, address, 0, now_ns, changes);
        }
    }

    /// Gives an interface an address that is yet to be found unique.
    fn assign_v6(
        &self,
        link: &Interface,
        state: &mut InterfaceControl,
        address: Address,
        collisions: u8,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let IpAddr::V6(own) = address.address else { return };
        if !self.tables.write().put_address(address, now_ns, changes) {
            return;
        }
        // Full only if sockets took all groups; then nobody finds us by this address.
        let group = solicited_node(own).into();
        let _ = self.groups.set(link.index, group, Member::Address(own), Some(SourceFilter::ANY), now_ns);
        // RFC 4862, 5.4.2 wants a random delay, so that machines that start together do not ask together.
        let next_ns = now_ns + self.random() % (SECOND_NS / 10);
        state.detections.insert(own, Detection { has_asked: false, next_ns, collisions });
    }

    pub(crate) fn leave_solicited_node(&self, interface: u32, own: Ipv6Addr) {
        let group = solicited_node(own).into();
        if self.groups.set(interface, group, Member::Address(own), None, self.now_ns()) == Ok(true) {
            self.poll_wanted();
        }
    }

    /// Does what is due, and says when there is something next.
    pub(crate) fn poll_v6(
        &self,
        link: &Interface,
        state: &mut InterfaceControl,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) -> Option<u64> {
        let mut deadlines = Vec::new();
        let mut unique = Vec::new();
        for (&address, detection) in &mut state.detections {
            if detection.next_ns <= now_ns {
                if detection.has_asked {
                    unique.push(address);
                    continue;
                }
                detection.has_asked = true;
                detection.next_ns = now_ns + link.neighbours.retransmit_ns();
                self.send_duplicate_probe(link, address);
            }
            deadlines.push(detection.next_ns);
        }
        for address in unique {
            state.detections.remove(&address);
            let mut tables = self.tables.write();
            if let Some(entry) = tables.find_address_mut(address.into(), link.index) {
                entry.flags.remove(AddressFlags::TENTATIVE);
                changes.push(Change::AddressAdded { interface: link.index, address: entry.info(now_ns) });
                tables.touch();
            }
        }
        let autoconf = &mut state.autoconf;
        if let Some((next_ns, wait_ns)) = &mut autoconf.solicitation {
            if *next_ns <= now_ns {
                self.send_router_solicitation(link);
                *next_ns = now_ns + *wait_ns;
                *wait_ns = (*wait_ns * 2).min(LONGEST_SOLICITATION_NS);
            }
            deadlines.push(*next_ns);
        }
        let before = autoconf.dns_servers.len() + autoconf.dns_search.len();
        autoconf.dns_servers.retain(|_, until_ns| *until_ns > now_ns);
        autoconf.dns_search.retain(|_, until_ns| *until_ns > now_ns);
        if autoconf.dns_servers.len() + autoconf.dns_search.len() != before {
            changes.push(Change::Dns);
        }
        let lists = autoconf.dns_servers.values().chain(autoconf.dns_search.values());
        deadlines.extend(lists.copied().filter(|&until_ns| until_ns != u64::MAX));
        deadlines.into_iter().min()
    }

    /// Somebody else has an address that was to be ours (RFC 4862, 5.4.5; RFC 7217, 6).
    pub(crate) fn duplicate_found(&self, link: &Interface, address: Ipv6Addr) {
        let now_ns = self.now_ns();
        let mut changes = Vec::new();
        let mut control = self.control.lock();
        if let Some(state) = control.interfaces.get_mut(&link.index)
            && let Some(detection) = state.detections.remove(&address)
        {
            let mut tables = self.tables.write();
            let identifiers = state.config.ipv6.identifiers;
            let is_made_here = tables
                .find_address(address.into(), Some(link.index))
                .is_some_and(|entry| entry.origin != RouteOrigin::Static);
            let may_retry = is_made_here
                && identifiers == InterfaceIdentifiers::StablePrivacy
                && detection.collisions < MAX_COLLISIONS;
            if may_retry {
                let entry = tables.find_address(address.into(), Some(link.index)).cloned();
                tables.remove_address(address.into(), link.index, now_ns, &mut changes);
                drop(tables);
                if let (Some(entry), Some(mac)) = (entry, link.mac) {
                    let collisions = detection.collisions + 1;
                    let next = self.own_address(link, mac, identifiers, address, collisions);
                    let entry = Address { address: next.into(), ..entry };
                    self.assign_v6(link, state, entry, collisions, now_ns, &mut changes);
                }
            } else if let Some(entry) = tables.find_address_mut(address.into(), link.index) {
                entry.flags.remove(AddressFlags::TENTATIVE);
                entry.flags.insert(AddressFlags::DAD_FAILED);
                changes.push(Change::AddressAdded { interface: link.index, address: entry.info(now_ns) });
                tables.touch();
            }
        }
        drop(control);
        self.tell(changes);
        self.poll_wanted();
    }

    /// A neighbour says that it is no router any more (RFC 4861, 7.2.5).
    pub(crate) fn router_resigned(&self, link: &Interface, router: Ipv6Addr) {
        let now_ns = self.now_ns();
        let mut changes = Vec::new();
        self.tables.write().remove_routes(now_ns, &mut changes, |route| {
            route.interface == link.index
                && route.origin == RouteOrigin::RouterAdvertisement
                && route.gateway == Some(router.into())
        });
        self.tell(changes);
    }

    /// Takes what a router says.
    pub(crate) fn router_advertisement(
        &self,
        link: &Interface,
        router: Ipv6Addr,
        told: &RouterAdvertisement,
    ) {
        let now_ns = self.now_ns();
        let mut changes = Vec::new();
        let mut control = self.control.lock();
        let Some(state) = control.interfaces.get_mut(&link.index) else { return };
        if state.autoconf.mode == Autoconfiguration::Off {
            return;
        }
        if told.router_lifetime_s > 0 {
            // RFC 7559, 2.1: whoever heard a router stops asking.
            state.autoconf.solicitation = None;
        }
        link.set_hop_limit(told.hop_limit);
        if told.reachable_ms != 0 && told.reachable_ms <= 3_600_000 {
            // RFC 4861, 6.3.4: between half and one and a half times.
            let base_ns = u64::from(told.reachable_ms) * 1_000_000;
            link.neighbours.set_reachable_ns(base_ns / 2 + self.random() % base_ns);
        }
        if told.retransmit_ms >= 10 {
            link.neighbours.set_retransmit_ns(u64::from(told.retransmit_ms).min(60_000) * 1_000_000);
        }
        if let Some(mtu) = told.mtu
            && mtu >= crate::wire::IPV6_MIN_MTU
            && mtu <= link.link.mtu()
            && mtu != link.mtu(Family::V6)
        {
            link.set_mtu(Family::V6, Some(mtu));
            self.tables.read().touch();
        }
        self.update_router(link, router, told, now_ns, &mut changes);
        for prefix in &told.prefixes {
            self.update_prefix(link, state, prefix, now_ns, &mut changes);
        }
        let autoconf = &mut state.autoconf;
        let servers = told.dns_servers.iter().copied().filter(|(_, server)| {
            !server.is_multicast() && !server.is_unspecified() && !server.is_loopback()
        });
        let mut is_news = update(&mut autoconf.dns_servers, servers, now_ns);
        is_news |= update(&mut autoconf.dns_search, told.dns_search.iter().cloned(), now_ns);
        if is_news {
            changes.push(Change::Dns);
        }
        drop(control);
        if let Some(mac) = told.link_address {
            let neighbour = self.neighbour(link, router.into());
            let mut ready = link.neighbours.learn(&neighbour, mac, Evidence::Unasked, now_ns);
            link.transmit(&mut ready, mac);
            link.neighbours.set_router(&neighbour, true);
        }
        self.tell(changes);
        self.poll_wanted();
    }

    fn update_router(
        &self,
        link: &Interface,
        router: Ipv6Addr,
        told: &RouterAdvertisement,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let destination = Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let gateway = Some(IpAddr::V6(router));
        let is_route = |route: &RouteEntry| {
            route.interface == link.index
                && route.origin == RouteOrigin::RouterAdvertisement
                && route.destination == destination
        };
        let mut tables = self.tables.write();
        if told.router_lifetime_s == 0 {
            tables.remove_routes(now_ns, changes, |route| is_route(route) && route.gateway == gateway);
            return;
        }
        let others = tables.routes.iter().filter(|route| is_route(route) && route.gateway != gateway);
        if others.count() >= MAX_ROUTERS {
            return;
        }
        // The preference of a router that was known may have changed.
        let route = RouteEntry {
            destination,
            gateway,
            interface: link.index,
            metric: METRIC_USER_V6,
            preferred_source: None,
            origin: RouteOrigin::RouterAdvertisement,
            expires_ns: end_ns(told.router_lifetime_s.into(), now_ns),
            preference: told.preference,
        };
        tables.put_route(route, now_ns, changes);
    }

    /// RFC 4862, 5.5.3, and RFC 4861, 6.3.4.
    fn update_prefix(
        &self,
        link: &Interface,
        state: &mut InterfaceControl,
        told: &PrefixInformation,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let is_odd = told.len > 128
            || told.prefix.is_unicast_link_local()
            || told.prefix.is_multicast()
            || told.prefix.is_loopback()
            || told.preferred_s > told.valid_s;
        if is_odd {
            return;
        }
        let prefix = Prefix::new(told.prefix.into(), told.len);
        if told.is_on_link {
            let route = RouteEntry {
                destination: prefix,
                gateway: None,
                interface: link.index,
                metric: METRIC_PREFIX_V6,
                preferred_source: None,
                origin: RouteOrigin::Kernel,
                expires_ns: end_ns(told.valid_s, now_ns),
                preference: 0,
            };
            let mut tables = self.tables.write();
            if told.valid_s == 0 {
                tables.remove_routes(now_ns, changes, |known| {
                    (known.destination, known.gateway, known.interface)
                        == (route.destination, None, route.interface)
                        && known.expires_ns.is_some()
                });
            } else {
                tables.put_route(route, now_ns, changes);
            }
        }
        // An interface identifier has 64 bits, and so has what is left for the prefix.
        if !told.is_autonomous || told.len != 64 {
            return;
        }
        let (mut own, is_new) = {
            let tables = self.tables.read();
            let mut known = tables.addresses.iter().filter(|address| {
                address.interface == link.index && address.origin == RouteOrigin::RouterAdvertisement
            });
            match known.clone().find(|address| prefix.contains(address.address)) {
                Some(address) => (address.clone(), false),
                None if told.valid_s == 0 || known.by_ref().count() >= MAX_ADDRESSES => return,
                None => {
                    let Some(mac) = link.mac else { return };
                    let identifiers = state.config.ipv6.identifiers;
                    let address = self.own_address(link, mac, identifiers, told.prefix, 0);
                    // The user may have given us the very address.
                    if tables.find_address(address.into(), Some(link.index)).is_some() {
                        return;
                    }
                    let privacy = match identifiers {
                        InterfaceIdentifiers::Eui64 => AddressFlags::empty(),
                        InterfaceIdentifiers::StablePrivacy => AddressFlags::STABLE_PRIVACY,
                    };
                    let address = Address {
                        interface: link.index,
                        address: address.into(),
                        prefix_len: 64,
                        // Whether the prefix is on the link is said by another flag.
                        flags: AddressFlags::TENTATIVE | AddressFlags::NO_PREFIX_ROUTE | privacy,
                        preferred_until_ns: None,
                        valid_until_ns: Some(0),
                        origin: RouteOrigin::RouterAdvertisement,
                    };
                    (address, true)
                }
            }
        };
        let left_s = own.valid_until_ns.map_or(u32::MAX, |until_ns| {
            (until_ns.saturating_sub(now_ns) / SECOND_NS).min(u64::from(u32::MAX - 1)) as u32
        });
        if told.valid_s > TWO_HOURS_S || told.valid_s > left_s || is_new {
            own.valid_until_ns = end_ns(told.valid_s, now_ns);
        } else if left_s > TWO_HOURS_S {
            own.valid_until_ns = end_ns(TWO_HOURS_S, now_ns);
        }
        own.preferred_until_ns = end_ns(told.preferred_s, now_ns);
        if told.preferred_s == 0 {
            own.flags.insert(AddressFlags::DEPRECATED);
        } else {
            own.flags.remove(AddressFlags::DEPRECATED);
        }
        if is_new {
            self.assign_v6(link, state, own, 0, now_ns, changes);
        } else {
            self.tables.write().put_address(own, now_ns, changes);
        }
    }
}
