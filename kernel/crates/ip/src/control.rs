//! How interfaces get their addresses, and lose them.
//!
//! Under one lock ([`Stack::control`]), which is taken before that of the tables. What changed is told after both
//! are let go of.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering,
};

use linux_abi::Errno;
use packet::Packet;

use crate::{
    AddressFlags, Change, DnsConfig, InterfaceConfig, Ipv4Config, OutputOptions, RouteOrigin, Stack,
    dhcp::{Client, Event, Lease, Outgoing},
    interface::{Family, Interface},
    prefix::Prefix,
    protocol,
    slaac::{Autoconf, Detection},
    table::{Address, METRIC_USER_V6, RouteEntry},
    wire::{
        BROADCAST_MAC, IPV4_HEADER_BYTES, Ipv4Header, be16, bytes_of, checksum_is_good, packet_of,
        pseudo_header_sum,
    },
};

/// How long a program's first use of the network waits for an address.
const CONFIGURING_NS: u64 = 4_000_000_000;

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;
const UDP_HEADER_BYTES: usize = 8;

/// What is known of one interface.
pub(crate) struct InterfaceControl {
    pub(crate) config: InterfaceConfig,
    dhcp: Option<Client>,
    lease: Option<Lease>,
    pub(crate) autoconf: Autoconf,
    /// Addresses whose uniqueness is being looked into.
    pub(crate) detections: BTreeMap<Ipv6Addr, Detection>,
}

/// How interfaces get their addresses.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) interfaces: BTreeMap<u32, InterfaceControl>,
}

impl Control {
    /// Servers as the user named them, or else DHCP's, then routers'; domains likewise.
    pub(crate) fn dns(&self, now_ns: u64) -> DnsConfig {
        let mut servers: Vec<IpAddr> = Vec::new();
        let mut search: Vec<String> = Vec::new();
        for interface in self.interfaces.values() {
            if !interface.config.dns.is_empty() {
                servers.extend(&interface.config.dns);
                continue;
            }
            if let Some(lease) = &interface.lease {
                servers.extend(lease.dns_servers.iter().map(|&server| IpAddr::V4(server)));
                search.extend(lease.domain.clone());
            }
            servers.extend(interface.autoconf.dns_servers(now_ns).map(IpAddr::V6));
            search.extend(interface.autoconf.dns_search(now_ns).cloned());
        }
        let mut seen = Vec::new();
        servers.retain(|server| {
            let is_new = !seen.contains(server);
            seen.push(*server);
            is_new
        });
        search.dedup();
        DnsConfig { servers, search }
    }
}

impl Stack {
    /// Configures an interface, in place of what configured it before. `ENODEV` without such an interface, `EINVAL` for
    /// addresses or gateways that cannot be.
    pub fn configure(&self, interface: u32, config: InterfaceConfig) -> Result<(), Errno> {
        let link = self.tables.read().interface(interface).cloned().ok_or(Errno::ENODEV)?;
        let mac = link.mac.ok_or(Errno::EINVAL)?;
        check(&config)?;
        let now_ns = self.now_ns();
        let mut changes = Vec::new();
        let mut control = self.control.lock();
        self.deconfigure(&link, now_ns, &mut changes);
        let mut state = InterfaceControl {
            dhcp: None,
            lease: None,
            autoconf: Autoconf::new(config.ipv6.autoconfiguration, now_ns),
            detections: BTreeMap::new(),
            config,
        };
        match &state.config.ipv4 {
            Ipv4Config::None => {}
            Ipv4Config::Dhcp => {
                state.dhcp = Some(Client::new(mac, state.config.hostname.clone(), now_ns, self.random()));
                self.configuring_until_ns.store(now_ns + CONFIGURING_NS, Ordering::Release);
            }
            Ipv4Config::Static { addresses, gateways } => {
                for &(address, prefix_len) in addresses {
                    self.assign_v4(
                        &link,
                        address,
                        prefix_len,
                        None,
                        RouteOrigin::Static,
                        now_ns,
                        &mut changes,
                    );
                }
                for &gateway in gateways {
                    let destination = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                    let route = RouteEntry {
                        destination,
                        gateway: Some(gateway.into()),
                        interface,
                        metric: 0,
                        preferred_source: None,
                        origin: RouteOrigin::Static,
                        expires_ns: None,
                        preference: 0,
                    };
                    self.tables.write().put_route(route, now_ns, &mut changes);
                }
            }
        }
        self.start_v6(&link, &mut state, now_ns, &mut changes);
        for &gateway in &state.config.ipv6.gateways {
            let route = RouteEntry {
                destination: Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0),
                gateway: Some(gateway.into()),
                interface,
                metric: METRIC_USER_V6,
                preferred_source: None,
                origin: RouteOrigin::Static,
                expires_ns: None,
                preference: 0,
            };
            self.tables.write().put_route(route, now_ns, &mut changes);
        }
        if !state.config.dns.is_empty() {
            changes.push(Change::Dns);
        }
        control.interfaces.insert(interface, state);
        drop(control);
        self.tell(changes);
        self.poll_wanted();
        Ok(())
    }

    /// Notes that a link's cable was put in or pulled out. Whoever is new on a link asks for routers and for an address
    /// at once.
    pub fn carrier_changed(&self, interface: u32) {
        let now_ns = self.now_ns();
        let Some(link) = self.tables.read().interface(interface).cloned() else { return };
        if link.link.carrier()
            && let Some(state) = self.control.lock().interfaces.get_mut(&interface)
        {
            state.autoconf.ask_again(now_ns);
            if let Some(client) = &mut state.dhcp {
                client.hurry(now_ns);
            }
        }
        self.tell(Vec::from([Change::Link { interface }]));
        self.poll_wanted();
    }

    /// Takes everything from an interface.
    fn deconfigure(&self, link: &Interface, now_ns: u64, changes: &mut Vec<Change>) {
        let mut tables = self.tables.write();
        let own: Vec<_> = tables
            .addresses
            .iter()
            .filter(|address| address.interface == link.index)
            .map(|address| address.address)
            .collect();
        for address in own {
            tables.remove_address(address, link.index, now_ns, changes);
        }
        tables.remove_routes(now_ns, changes, |route| route.interface == link.index);
        drop(tables);
        link.set_mtu(Family::V4, None);
        link.set_mtu(Family::V6, None);
        let mut waste: Vec<Box<Packet>> = Vec::new();
        link.neighbours.clear(&mut waste);
    }

    /// Gives an interface an address of IPv4, and tells the neighbours (RFC 5227, 2.3): one of them may know it as
    /// another machine's.
    #[expect(clippy::too_many_arguments, reason = "an address is as much as that")]
    fn assign_v4(
        &self,
        link: &Interface,
        address: Ipv4Addr,
        prefix_len: u8,
        valid_until_ns: Option<u64>,
        origin: RouteOrigin,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let flags = if valid_until_ns.is_none() { AddressFlags::PERMANENT } else { AddressFlags::empty() };
        let entry = Address {
            interface: link.index,
            address: address.into(),
            prefix_len,
            flags,
            preferred_until_ns: valid_until_ns,
            valid_until_ns,
            origin,
        };
        let mut tables = self.tables.write();
        let is_new = tables.find_address(address.into(), Some(link.index)).is_none();
        let has_room = tables.put_address(entry, now_ns, changes);
        drop(tables);
        if is_new && has_room {
            self.send_arp_request(link, address, address, None);
        }
    }

    /// Takes what a DHCP server sent, which comes to an address that may not be ours yet. The packet begins with its IP
    /// header, which is sound. Whether it was that.
    pub(crate) fn input_dhcp(&self, link: &Interface, header: &Ipv4Header, packet: &Packet) -> bool {
        let udp = packet.head().get(header.header_bytes..).unwrap_or_default();
        let is_from_server = header.protocol == protocol::UDP
            && !header.is_fragment()
            && be16(udp, 0) == Some(DHCP_SERVER_PORT)
            && be16(udp, 2) == Some(DHCP_CLIENT_PORT);
        if !is_from_server {
            return false;
        }
        let mut control = self.control.lock();
        let Some(client) =
            control.interfaces.get_mut(&link.index).and_then(|interface| interface.dhcp.as_mut())
        else {
            return false;
        };
        let bytes = bytes_of(packet, header.header_bytes, 4096);
        let len = be16(&bytes, 4).map_or(0, usize::from);
        let sum = pseudo_header_sum(header.source.into(), header.destination.into(), protocol::UDP, len);
        let mut segment = packet.clone();
        segment.trim_front(header.header_bytes);
        segment.truncate(len);
        let is_sound = (UDP_HEADER_BYTES..=bytes.len()).contains(&len)
            && (be16(&bytes, 6) == Some(0) || checksum_is_good(&segment, sum));
        if !is_sound {
            return true;
        }
        let now_ns = self.now_ns();
        let event = client.receive(&bytes[UDP_HEADER_BYTES..len], now_ns, self.random());
        let mut changes = Vec::new();
        if let Some(event) = event {
            self.dhcp_event(link, &mut control, event, now_ns, &mut changes);
        }
        drop(control);
        self.tell(changes);
        self.poll_wanted();
        true
    }

    fn dhcp_event(
        &self,
        link: &Interface,
        control: &mut Control,
        event: Event,
        now_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let Some(state) = control.interfaces.get_mut(&link.index) else { return };
        let old = state.lease.take();
        let new = match event {
            Event::Bound(lease) => Some(lease),
            Event::Lost => None,
        };
        let dns_of = |lease: &Option<Lease>| {
            lease.as_ref().map(|lease| (lease.dns_servers.clone(), lease.domain.clone())).unwrap_or_default()
        };
        if dns_of(&old) != dns_of(&new) {
            changes.push(Change::Dns);
        }
        let is_of_lease =
            |route: &RouteEntry| route.interface == link.index && route.origin == RouteOrigin::Dhcp;
        match &new {
            None => {
                let mut tables = self.tables.write();
                tables.remove_routes(now_ns, changes, is_of_lease);
                if let Some(old) = &old {
                    tables.remove_address(old.address.into(), link.index, now_ns, changes);
                }
                drop(tables);
                link.set_mtu(Family::V4, None);
            }
            Some(lease) => {
                link.set_mtu(Family::V4, lease.mtu);
                let (address, prefix_len) = (lease.address, lease.prefix_len);
                if let Some(old) = old.filter(|old| (old.address, old.prefix_len) != (address, prefix_len)) {
                    let mut tables = self.tables.write();
                    tables.remove_address(old.address.into(), link.index, now_ns, changes);
                }
                let expires_ns = lease.expires_ns;
                self.assign_v4(link, address, prefix_len, expires_ns, RouteOrigin::Dhcp, now_ns, changes);
                let mut tables = self.tables.write();
                let routes: Vec<_> = lease
                    .routes
                    .iter()
                    .map(|&(destination, gateway)| RouteEntry {
                        destination,
                        gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
                        interface: link.index,
                        metric: 0,
                        preferred_source: Some(address.into()),
                        origin: RouteOrigin::Dhcp,
                        expires_ns: None,
                        preference: 0,
                    })
                    .collect();
                tables.remove_routes(now_ns, changes, |route| is_of_lease(route) && !routes.contains(route));
                routes.into_iter().for_each(|route| tables.put_route(route, now_ns, changes));
                drop(tables);
                if self.configuring_until_ns.swap(0, Ordering::AcqRel) != 0 {
                    changes.push(Change::Configured);
                }
            }
        }
        state.lease = new;
    }

    /// Does what is due with addresses, and says when there is something next.
    pub(crate) fn poll_control(&self, now_ns: u64) -> Option<u64> {
        let mut changes = Vec::new();
        let mut deadlines = Vec::new();
        let mut control = self.control.lock();
        let links = self.tables.read().interfaces.clone();
        for link in &links {
            let Some(state) = control.interfaces.get_mut(&link.index) else { continue };
            if let Some(client) = &mut state.dhcp {
                let (outgoing, event) = client.poll(now_ns, self.random());
                deadlines.push(client.next_deadline_ns());
                if let Some(event) = event {
                    self.dhcp_event(link, &mut control, event, now_ns, &mut changes);
                }
                if let Some(outgoing) = outgoing {
                    self.send_dhcp(link, &outgoing);
                }
            }
            let Some(state) = control.interfaces.get_mut(&link.index) else { continue };
            deadlines.extend(self.poll_v6(link, state, now_ns, &mut changes));
        }
        if self.tables.read().next_expiry_ns().is_some_and(|expiry_ns| expiry_ns <= now_ns) {
            self.tables.write().expire(now_ns, &mut changes);
        }
        deadlines.extend(self.tables.read().next_expiry_ns());
        let configuring_until_ns = self.configuring_until_ns.load(Ordering::Acquire);
        if configuring_until_ns > now_ns {
            deadlines.push(configuring_until_ns);
        } else if configuring_until_ns != 0 {
            self.configuring_until_ns.store(0, Ordering::Release);
            changes.push(Change::Configured);
        }
        drop(control);
        self.tell(changes);
        deadlines.into_iter().min()
    }

    fn send_dhcp(&self, link: &Interface, outgoing: &Outgoing) {
        let len = (UDP_HEADER_BYTES + outgoing.payload.len()) as u16;
        let (from, to) = outgoing.from_to.unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
        let mut segment = Vec::with_capacity(usize::from(len));
        segment.extend(DHCP_CLIENT_PORT.to_be_bytes());
        segment.extend(DHCP_SERVER_PORT.to_be_bytes());
        segment.extend(len.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(&outgoing.payload);
        let sum = pseudo_header_sum(from.into(), to.into(), protocol::UDP, usize::from(len));
        let sum = !packet::internet_checksum::fold(packet::internet_checksum::add(sum, &segment));
        let sum = if sum == 0 { 0xffff } else { sum };
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        let Ok(mut packet) = packet_of(&segment) else { return };
        if !to.is_broadcast() {
            // To the server alone, as any datagram; if that fails, there will be another attempt.
            if let Ok(route) = self.route(to.into(), Some(from.into()), None) {
                let options = OutputOptions::new(protocol::UDP);
                let _ = self.output(&route, from.into(), to.into(), options, &mut Vec::from([packet]));
            }
            return;
        }
        let header = Ipv4Header {
            header_bytes: IPV4_HEADER_BYTES,
            total_bytes: IPV4_HEADER_BYTES + segment.len(),
            tos: 0xc0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: protocol::UDP,
            source: from,
            destination: to,
        };
        packet.prepend(IPV4_HEADER_BYTES).copy_from_slice(&header.bytes());
        self.counters.ipv4.out_requests.add(1);
        link.transmit(&mut Vec::from([packet]), BROADCAST_MAC);
    }
}

/// Whether a configuration can be.
fn check(config: &InterfaceConfig) -> Result<(), Errno> {
    let mut is_good = true;
    if let Ipv4Config::Static { addresses, gateways } = &config.ipv4 {
        is_good &= addresses.iter().all(|(address, len)| {
            *len <= 32
                && !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_broadcast()
                && !address.is_loopback()
        });
        // A gateway must be on the link (Linux: "Nexthop has invalid gateway").
        is_good &= gateways.iter().all(|&gateway| {
            addresses
                .iter()
                .any(|&(own, len)| own != gateway && Prefix::new(own.into(), len).contains(gateway.into()))
        });
    }
    let v6 = &config.ipv6;
    is_good &= v6.addresses.iter().all(|(address, len)| {
        *len <= 128
            && !address.is_unspecified()
            && !address.is_multicast()
            && !address.is_loopback()
            && address.to_ipv4_mapped().is_none()
    });
    is_good &= v6.gateways.iter().all(|&gateway| {
        gateway.is_unicast_link_local()
            || v6
                .addresses
                .iter()
                .any(|&(own, len)| own != gateway && Prefix::new(own.into(), len).contains(gateway.into()))
    });
    if is_good { Ok(()) } else { Err(Errno::EINVAL) }
}
