//! The stack as a whole: what its parts share, and what it shows.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use csprng::{Credit, Generator, Stream};
use ksync::{Mutex, RwLock, SpinLock};
use packet::{Checksum, Link, Packet};
use siphasher::sip::SipHasher13;
use spin::Once;

use crate::{
    AddressFlags, AddressKind, Change, DnsConfig, IcmpCounters, InterfaceInfo, IpCounters, NeighbourInfo,
    Route, RouteInfo, RouteOrigin, Transport,
    control::Control,
    counters::Counters,
    icmp::Offence,
    input::FrameTo,
    interface::Interface,
    multicast::{Groups, Member, SourceFilter},
    path_mtu::PathMtuCache,
    rate_limit::RateLimit,
    reassembly::{Expired, Reassembly},
    table::{Address, Tables},
    wire::{Ipv4Header, Ipv6Header, bytes_of, packet_of},
};

/// Secrets of the stack, each to be filled with random bytes of its own.
pub struct Keys {
    /// For IP identifications and all that is hashed.
    pub hash: [u8; 16],
    /// For interface identifiers (RFC 7217); the same from boot to boot gives the same addresses.
    pub stable_privacy: [u8; 16],
    /// For random delays and transaction numbers.
    pub random: [u8; 32],
}

/// A hash that nobody can predict without its key.
pub(crate) struct KeyedHash(SipHasher13);

impl KeyedHash {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(key))
    }

    pub(crate) fn of(&self, value: &impl Hash) -> u64 {
        let mut hasher = self.0;
        value.hash(&mut hasher);
        hasher.finish()
    }
}

/// Packets at most that came back from our own sending to groups.
const MAX_LOOPED: usize = 256;
/// Counters of IP identifications; which one is a packet's is a secret (RFC 7739, 5.3).
const IDENTIFICATIONS: usize = 256;

/// Interfaces, addresses, routes, neighbours: the machine's IP.
///
/// | lock                     | guards                                  | kind     | order |
/// |--------------------------|-----------------------------------------|----------|-------|
/// | `control`                | how addresses come: DHCP, routers, DAD  | `Mutex`  | 1     |
/// | `tables`                 | interfaces, addresses, routes           | `RwLock` | 2     |
/// | a link's neighbours      | which there are                         | `Mutex`  | 3     |
/// | a neighbour              | its state and queue                     | spin     | 4     |
/// | `groups`                 | multicast memberships                   | `Mutex`  | 3     |
/// | `reassembly`             | fragments                               | `Mutex`  | 3     |
/// | `path_mtus`              | MTUs of ways                            | `Mutex`  | 3     |
/// | `rate_limit`, `random`, `looped` |                                 | spin     | 4     |
///
/// None is held while a link transmits (but `control`), nor while the transport is called.
pub struct Stack {
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    transport: Once<Arc<dyn Transport>>,
    pub(crate) tables: RwLock<Tables>,
    pub(crate) control: Mutex<Control>,
    pub(crate) groups: Groups,
    pub(crate) reassembly: Mutex<Reassembly>,
    path_mtus: Mutex<PathMtuCache>,
    pub(crate) rate_limit: SpinLock<RateLimit>,
    random: SpinLock<Stream>,
    looped: SpinLock<VecDeque<(u32, Box<Packet>)>>,
    pub(crate) hash: KeyedHash,
    pub(crate) stable_privacy: KeyedHash,
    identifications: [AtomicU32; IDENTIFICATIONS],
    pub(crate) counters: Counters,
    /// Until when the first address by DHCP is waited for; 0: it is not.
    pub(crate) configuring_until_ns: AtomicU64,
}

impl Stack {
    /// A stack without links, whose time comes from `clock` (monotonic nanoseconds).
    pub fn new(keys: Keys, clock: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        let mut generator = Generator::new();
        generator.mix(&keys.random, Credit::Full);
        let mut random = generator.stream();
        let identifications = core::array::from_fn(|_| {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            AtomicU32::new(u32::from_ne_bytes(bytes))
        });
        Self {
            clock,
            transport: Once::new(),
            tables: RwLock::new(Tables::new()),
            control: Mutex::new(Control::default()),
            groups: Groups::default(),
            reassembly: Mutex::new(Reassembly::default()),
            path_mtus: Mutex::new(PathMtuCache::default()),
            rate_limit: SpinLock::new(RateLimit::new()),
            random: SpinLock::new(random),
            looped: SpinLock::new(VecDeque::new()),
            hash: KeyedHash::new(&keys.hash),
            stable_privacy: KeyedHash::new(&keys.stable_privacy),
            identifications,
            counters: Counters::default(),
            configuring_until_ns: AtomicU64::new(0),
        }
    }

    /// Tells who takes what comes in. Called once, before any link starts.
    pub fn set_transport(&self, transport: Arc<dyn Transport>) {
        self.transport.call_once(|| transport);
    }

    pub(crate) fn transport(&self) -> Option<&Arc<dyn Transport>> {
        self.transport.get()
    }

    pub(crate) fn now_ns(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.lock().fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    pub(crate) fn poll_wanted(&self) {
        if let Some(transport) = self.transport() {
            transport.poll_wanted();
        }
    }

    /// Tells what changed. No lock is held.
    pub(crate) fn tell(&self, changes: Vec<Change>) {
        // An address that went has its group no more.
        for change in &changes {
            if let Change::AddressRemoved { interface, address } = change
                && let IpAddr::V6(address) = address.address
            {
                self.leave_solicited_node(*interface, address);
            }
        }
        if let Some(transport) = self.transport() {
            changes.into_iter().for_each(|change| transport.changed(change));
        }
    }

    /// Adds a link, up, and returns its interface's index: the first must be the [`Loopback`](crate::Loopback),
    /// which gets its addresses at once; others wait for [`configure`](Self::configure). The caller then starts the link
    /// with a receiver that gives [`input`](Self::input) what it does not handle itself.
    pub fn add_link(&self, link: Arc<dyn Link>) -> u32 {
        let now_ns = self.now_ns();
        let mut changes = Vec::new();
        let mut tables = self.tables.write();
        let index = tables.interfaces.len() as u32 + 1;
        let interface = Arc::new(Interface::new(index, link));
        tables.interfaces.push(interface.clone());
        changes.push(Change::Link { interface: index });
        if interface.is_loopback() {
            for (address, prefix_len) in
                [(IpAddr::from([127, 0, 0, 1]), 8), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), 128)]
            {
                let address = Address {
                    interface: index,
                    address,
                    prefix_len,
                    flags: AddressFlags::PERMANENT,
                    preferred_until_ns: None,
                    valid_until_ns: None,
                    origin: RouteOrigin::Kernel,
                };
                tables.put_address(address, now_ns, &mut changes);
            }
        }
        tables.touch();
        drop(tables);
        // RFC 1112, 4; RFC 4291, 2.8. Cannot fail: these are the first groups.
        for group in [IpAddr::from([224, 0, 0, 1]), IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1_u16])] {
            let _ = self.groups.set(index, group, Member::System, Some(SourceFilter::ANY), now_ns);
        }
        self.tell(changes);
        index
    }

    /// The next identification of a packet of IPv4.
    pub(crate) fn identification_v4(&self, header: &Ipv4Header) -> u16 {
        self.identification(&(header.source, header.destination, header.protocol)) as u16
    }

    /// The next identification of a fragmented packet of IPv6.
    pub(crate) fn identification_v6(&self, header: &Ipv6Header) -> u32 {
        self.identification(&(header.source, header.destination))
    }

    fn identification(&self, flow: &impl Hash) -> u32 {
        let hash = self.hash.of(flow);
        let counter = &self.identifications[hash as usize % IDENTIFICATIONS];
        // The flows of one counter see different numbers, so that none learns how much the others send.
        counter.fetch_add(1, Ordering::Relaxed).wrapping_add((hash >> 32) as u32)
    }

    /// Lets [`poll`](Self::poll) receive packets that we have sent to a group or to all. They begin with the IP header.
    pub(crate) fn queue_looped(&self, interface: u32, packets: &[Box<Packet>]) {
        for packet in packets {
            let mut packet = packet.clone();
            if let Checksum::Partial { .. } = packet.checksum {
                packet.checksum = Checksum::Verified;
            }
            let mut looped = self.looped.lock();
            if looped.len() < MAX_LOOPED {
                looped.push_back((interface, packet));
            }
        }
        self.poll_wanted();
    }

    /// Does what is due, delivers what was looped back, and returns when it is to be called again, if at all. Called
    /// by one thread.
    pub fn poll(&self) -> Option<u64> {
        loop {
            let next = self.looped.lock().pop_front();
            let Some((interface, packet)) = next else { break };
            let link = self.tables.read().interface(interface).cloned();
            if let Some(link) = link {
                self.input_looped(&link, packet);
            }
        }
        let now_ns = self.now_ns();
        let mut deadlines = Vec::new();
        let links = self.tables.read().interfaces.clone();
        for link in &links {
            let due = link.neighbours.poll(now_ns);
            for probe in due.probes {
                self.solicit(link, probe.neighbour.address, probe.to);
            }
            let tables = self.tables.read();
            // There may be another gateway that answers.
            if tables.routes.iter().any(|route| route.gateway.is_some_and(|at| due.failed.contains(&at))) {
                tables.touch();
            }
            drop(tables);
            self.report_unreachable(link, due.unreachable);
        }
        let expired = self.reassembly.lock().expire(now_ns);
        for Expired { key, first } in expired {
            let counters = self.counters.ip(key.source);
            counters.reassembly_timeouts.add(1);
            counters.reassembly_failures.add(1);
            let link = links.iter().find(|link| link.index == key.interface);
            if let (Some(link), Some((mut header, payload))) = (link, first) {
                // What is told is the first fragment as it came; IPv6's header was kept with its protocol behind it.
                if key.source.is_ipv6() {
                    header.truncate(crate::wire::IPV6_HEADER_BYTES);
                }
                header.extend(bytes_of(&payload, 0, 1280));
                if let Ok(packet) = packet_of(&header) {
                    self.icmp_offence(link, FrameTo::Us, &packet, Offence::ReassemblyTimeExceeded);
                }
            }
        }
        if self.path_mtus.lock().expire(now_ns) {
            self.tables.read().touch();
        }
        self.poll_groups(now_ns);
        deadlines.extend(self.poll_control(now_ns));
        deadlines.extend(links.iter().filter_map(|link| link.neighbours.next_deadline_ns()));
        deadlines.extend(self.reassembly.lock().next_deadline_ns());
        deadlines.extend(self.path_mtus.lock().next_deadline_ns());
        deadlines.extend(self.groups.next_deadline_ns());
        if !self.looped.lock().is_empty() {
            deadlines.push(now_ns);
        }
        deadlines.into_iter().min()
    }

    pub(crate) fn path_mtu(&self, destination: IpAddr) -> Option<u32> {
        self.path_mtus.lock().get(destination, self.now_ns())
    }

    /// Notes that the way to `destination` takes packets of `mtu` bytes at most, for ten minutes. For transports that
    /// got [`IcmpErrorKind::PacketTooBig`](crate::IcmpErrorKind::PacketTooBig) and can tell that the packet was theirs.
    pub fn update_path_mtu(&self, route: &Route, destination: IpAddr, mtu: u32) {
        if mtu >= route.link.mtu(route.family()) {
            return;
        }
        if self.path_mtus.lock().lower(destination, mtu, self.now_ns()) {
            self.tables.read().touch();
            self.poll_wanted();
        }
    }

    /// What `address` is to this machine, or to one interface of it.
    pub fn address_kind(&self, address: IpAddr, interface: Option<u32>) -> AddressKind {
        self.tables.read().kind(address, interface)
    }

    /// Whether some interface still waits for its first IPv4 address by DHCP. It does for a few seconds at most, so that
    /// whoever is about to use the network can wait for it.
    pub fn is_configuring(&self) -> bool {
        self.now_ns() < self.configuring_until_ns.load(Ordering::Acquire)
    }

    /// What the resolver is to know.
    pub fn dns(&self) -> DnsConfig {
        self.control.lock().dns(self.now_ns())
    }

    /// All interfaces, by index.
    pub fn interfaces(&self) -> Vec<InterfaceInfo> {
        let now_ns = self.now_ns();
        let tables = self.tables.read();
        let show = |link: &Arc<Interface>| InterfaceInfo {
            index: link.index,
            name: link.name.clone(),
            hardware_address: link.mac,
            mtu: link.link.mtu(),
            flags: link.flags(),
            addresses: tables
                .addresses
                .iter()
                .filter(|address| address.interface == link.index)
                .map(|address| address.info(now_ns))
                .collect(),
            groups: self.groups.snapshot(link.index),
            statistics: link.link.statistics(),
        };
        tables.interfaces.iter().map(show).collect()
    }

    /// One interface.
    pub fn interface(&self, index: u32) -> Option<InterfaceInfo> {
        self.interfaces().into_iter().find(|interface| interface.index == index)
    }

    /// Index of the interface with a name.
    pub fn interface_index(&self, name: &str) -> Option<u32> {
        self.tables.read().interfaces.iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// All routes, those of the local table too.
    pub fn routes(&self) -> Vec<RouteInfo> {
        let now_ns = self.now_ns();
        self.tables.read().route_infos(now_ns)
    }

    /// All neighbours.
    pub fn neighbours(&self) -> Vec<NeighbourInfo> {
        let links = self.tables.read().interfaces.clone();
        links.iter().flat_map(|link| link.neighbours.snapshot(link.index)).collect()
    }

    /// Counters of IPv4.
    pub fn ipv4_counters(&self) -> IpCounters {
        self.counters.ipv4.shown()
    }

    /// Counters of IPv6.
    pub fn ipv6_counters(&self) -> IpCounters {
        self.counters.ipv6.shown()
    }

    /// Counters of ICMP.
    pub fn icmpv4_counters(&self) -> IcmpCounters {
        self.counters.icmpv4.shown()
    }

    /// Counters of ICMPv6.
    pub fn icmpv6_counters(&self) -> IcmpCounters {
        self.counters.icmpv6.shown()
    }

    /// Counts packets that came to a transport without [`input`](Self::input): by a channel.
    pub fn count_delivered(&self, destination: IpAddr, packets: u64) {
        let counters = self.counters.ip(destination);
        counters.in_receives.add(packets);
        counters.in_delivers.add(packets);
    }
}
