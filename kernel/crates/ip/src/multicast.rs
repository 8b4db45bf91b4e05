//! Multicast: which groups and sources an interface listens to, and telling routers so: IGMP (RFC 3376, with 2236 and 1112
//! for older routers) and MLD (RFC 3810, with 2710).
//!
//! [`Groups`] has a lock of its own, which is taken last. Reports are not sent where a membership changes, but noted
//! with a time, and sent by [`Stack::poll`].

use alloc::{collections::BTreeMap, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ksync::Mutex;
use linux_abi::Errno;
use packet::internet_checksum;

use crate::{
    Datagram, GroupInfo, Stack, extension,
    icmp::v6,
    interface::{Family, Interface},
    protocol,
    wire::{
        IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, Ipv4Header, Ipv6Header, be16, bytes_of, ipv4_at, ipv6_at,
        multicast_mac, packet_of, pseudo_header_sum,
    },
};

/// Which sources of a group a member wants to hear (RFC 3376, section 2; RFC 3810, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// What the list means.
    pub mode: FilterMode,
    /// Sources.
    pub sources: Vec<IpAddr>,
}

impl SourceFilter {
    /// All sources.
    pub const ANY: Self = Self { mode: FilterMode::Exclude, sources: Vec::new() };
    const NONE: Self = Self { mode: FilterMode::Include, sources: Vec::new() };
}

/// What a list of sources means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// These only.
    Include,
    /// All but these.
    Exclude,
}

/// Groups of one interface and family at most.
const MAX_GROUPS: usize = 256;
/// Sources that one member may name.
const MAX_SOURCES: usize = 64;
/// How often a change is told (the robustness variable).
const ROBUSTNESS: u8 = 2;
/// The longest time between two tellings of a change.
const REPEAT_NS: u64 = 1_000_000_000;
/// How long a router of an older version is remembered: robustness times the query interval, and a response.
const OLDER_QUERIER_NS: u64 = 260_000_000_000;
/// Records in one report: those of groups with all sources fit into the least MTU.
const RECORDS_PER_REPORT: usize = 50;

const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Record types (RFC 3376, 4.2.12; the same in RFC 3810).
const MODE_IS_INCLUDE: u8 = 1;
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;

/// Message types of IGMP.
const IGMP_QUERY: u8 = 0x11;
const IGMP_V1_REPORT: u8 = 0x12;
const IGMP_V2_REPORT: u8 = 0x16;
const IGMP_LEAVE: u8 = 0x17;
const IGMP_V3_REPORT: u8 = 0x22;

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    Socket(u64),
    /// An address of ours, at its solicited-node group.
    Address(Ipv6Addr),
    /// Every machine.
    System,
}

/// Which version of the protocol routers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    /// IGMPv1.
    First,
    /// IGMPv2, MLDv1.
    Second,
    /// IGMPv3, MLDv2.
    Third,
}

#[derive(Debug)]
struct Group {
    members: BTreeMap<Member, SourceFilter>,
    /// What the members together want, and routers were told last.
    filter: SourceFilter,
    /// A change that is still to be told.
    change: Option<Pending>,
    /// When a query is to be answered.
    response_ns: Option<u64>,
}

#[derive(Debug)]
struct Pending {
    left: u8,
    next_ns: u64,
}

#[derive(Default)]
struct Inner {
    groups: BTreeMap<(u32, IpAddr), Group>,
    /// Older routers: the version, and until when.
    older: BTreeMap<(u32, Family), (Version, u64)>,
}

/// All groups of all interfaces.
#[derive(Default)]
pub(crate) struct Groups {
    inner: Mutex<Inner>,
}

/// A message that is due.
enum Report {
    /// Records of groups: type, group, sources.
    Records(Vec<(u8, IpAddr, Vec<IpAddr>)>),
    /// One group, in the words of an older version.
    Member(IpAddr, Version),
    Leave(IpAddr),
}

/// What several filters let through together (RFC 3376, 3.2).
fn merge<'a>(filters: impl Iterator<Item = &'a SourceFilter>) -> SourceFilter {
    let mut excluded: Option<Vec<IpAddr>> = None;
    let mut included: Vec<IpAddr> = Vec::new();
    for filter in filters {
        match filter.mode {
            FilterMode::Include => included.extend(&filter.sources),
            FilterMode::Exclude => {
                let sources = match excluded.take() {
                    None => filter.sources.clone(),
                    Some(known) => {
                        known.into_iter().filter(|source| filter.sources.contains(source)).collect()
                    }
                };
                excluded = Some(sources);
            }
        }
    }
    let (mode, mut sources) = match excluded {
        Some(mut excluded) => {
            excluded.retain(|source| !included.contains(source));
            (FilterMode::Exclude, excluded)
        }
        None => (FilterMode::Include, included),
    };
    sources.sort_unstable();
    sources.dedup();
    sources.truncate(MAX_SOURCES);
    SourceFilter { mode, sources }
}

/// Whether routers are told of a group (RFC 3376, 5; RFC 3810, 6).
fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group != ALL_SYSTEMS,
        IpAddr::V6(group) => group != ALL_NODES && group.octets()[1] & 0xf > 1,
    }
}

impl Groups {
    /// Whether an interface listens to a group.
    pub(crate) fn listens(&self, interface: u32, group: IpAddr) -> bool {
        self.inner.lock().groups.get(&(interface, group)).is_some_and(|group| !group.members.is_empty())
    }

    /// Sets what a member wants to hear; `None` for nothing more. Returns whether there is something to tell.
    pub(crate) fn set(
        &self,
        interface: u32,
        group: IpAddr,
        member: Member,
        filter: Option<SourceFilter>,
        now_ns: u64,
    ) -> Result<bool, Errno> {
        let mut inner = self.inner.lock();
        let key = (interface, group);
        if filter.as_ref().is_some_and(|filter| filter.sources.len() > MAX_SOURCES) {
            return Err(Errno::ENOBUFS);
        }
        if !inner.groups.contains_key(&key) {
            if filter.is_none() {
                return Ok(false);
            }
            let same_kind = |(known, address): &&(u32, IpAddr)| {
                *known == interface && address.is_ipv4() == group.is_ipv4()
            };
            if inner.groups.keys().filter(same_kind).count() >= MAX_GROUPS {
                return Err(Errno::ENOBUFS);
            }
        }
        let entry = inner.groups.entry(key).or_insert_with(|| Group {
            members: BTreeMap::new(),
            filter: SourceFilter::NONE,
            change: None,
            response_ns: None,
        });
        match filter {
            // A member that includes no source is none.
            Some(filter) if filter != SourceFilter::NONE => entry.members.insert(member, filter),
            _ => entry.members.remove(&member),
        };
        let merged = merge(entry.members.values());
        let has_changed = merged != entry.filter;
        if has_changed {
            entry.filter = merged;
            if is_reported(group) {
                entry.change = Some(Pending { left: ROBUSTNESS, next_ns: now_ns });
            }
        }
        if entry.members.is_empty() && entry.change.is_none() {
            inner.groups.remove(&key);
        }
        Ok(has_changed)
    }

    /// The groups of an interface.
    pub(crate) fn snapshot(&self, interface: u32) -> Vec<GroupInfo> {
        let inner = self.inner.lock();
        let groups = inner.groups.range((interface, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..);
        groups
            .take_while(|((known, _), _)| *known == interface)
            .filter(|(_, entry)| !entry.members.is_empty())
            .map(|((_, group), entry)| GroupInfo { group: *group, members: entry.members.len() as u32 })
            .collect()
    }

    /// When the next report is due.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let times = inner
            .groups
            .values()
            .flat_map(|group| [group.change.as_ref().map(|change| change.next_ns), group.response_ns]);
        times.flatten().min()
    }

    /// Takes in a query. `max_ns`: within which time to answer.
    fn query(&self, interface: u32, query: &Query, now_ns: u64, mut random: impl FnMut() -> u64) {
        let mut inner = self.inner.lock();
        let family = if query.group.is_ipv4() { Family::V4 } else { Family::V6 };
        if query.version < Version::Third {
            let until_ns = now_ns + OLDER_QUERIER_NS;
            let older = inner.older.entry((interface, family)).or_insert((query.version, until_ns));
            *older = (older.0.min(query.version), until_ns);
        }
        for ((known, group), entry) in &mut inner.groups {
            let is_asked = *known == interface
                && group.is_ipv4() == query.group.is_ipv4()
                && (query.group.is_unspecified() || *group == query.group)
                && is_reported(*group)
                && !entry.members.is_empty();
            if is_asked {
                let at_ns = now_ns + random() % query.max_response_ns.max(1);
                entry.response_ns = Some(entry.response_ns.map_or(at_ns, |known_ns| known_ns.min(at_ns)));
            }
        }
    }

    /// Another machine has told of the group: in the older versions, once is enough.
    fn overheard(&self, interface: u32, group: IpAddr) {
        if let Some(entry) = self.inner.lock().groups.get_mut(&(interface, group)) {
            entry.response_ns = None;
        }
    }

    /// The reports that are due, by interface.
    fn due(&self, now_ns: u64, mut random: impl FnMut() -> u64) -> Vec<(u32, Report)> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.older.retain(|_, (_, until_ns)| *until_ns > now_ns);
        let mut reports = Vec::new();
        let mut records: BTreeMap<(u32, Family), Vec<_>> = BTreeMap::new();
        for ((interface, group), entry) in &mut inner.groups {
            let family = if group.is_ipv4() { Family::V4 } else { Family::V6 };
            let version = inner.older.get(&(*interface, family)).map_or(Version::Third, |older| older.0);
            let is_change = entry.change.as_ref().is_some_and(|change| change.next_ns <= now_ns);
            if is_change && let Some(change) = &mut entry.change {
                change.left -= 1;
                change.next_ns = now_ns + 1 + random() % REPEAT_NS;
                if change.left == 0 {
                    entry.change = None;
                }
            }
            let is_response = entry.response_ns.take_if(|at_ns| *at_ns <= now_ns).is_some();
            if !is_change && !is_response {
                continue;
            }
            let kind = match (is_change, entry.filter.mode) {
                (true, FilterMode::Include) => CHANGE_TO_INCLUDE,
                (true, FilterMode::Exclude) => CHANGE_TO_EXCLUDE,
                (false, FilterMode::Include) => MODE_IS_INCLUDE,
                (false, FilterMode::Exclude) => MODE_IS_EXCLUDE,
            };
            match version {
                Version::Third => {
                    let record = (kind, *group, entry.filter.sources.clone());
                    records.entry((*interface, family)).or_default().push(record);
                }
                _ if !entry.members.is_empty() => reports.push((*interface, Report::Member(*group, version))),
                Version::Second => reports.push((*interface, Report::Leave(*group))),
                // IGMPv1 leaves in silence.
                Version::First => {}
            }
        }
        inner.groups.retain(|_, entry| !entry.members.is_empty() || entry.change.is_some());
        for ((interface, _), records) in records {
            for chunk in records.chunk_by_weight() {
                reports.push((interface, Report::Records(chunk)));
            }
        }
        reports
    }
}

/// Records cut so that each report fits into the least MTU.
trait ChunkByWeight: Sized {
    fn chunk_by_weight(self) -> Vec<Self>;
}

impl ChunkByWeight for Vec<(u8, IpAddr, Vec<IpAddr>)> {
    fn chunk_by_weight(self) -> Vec<Self> {
        let mut chunks: Vec<Self> = Vec::new();
        let mut weight = RECORDS_PER_REPORT + 1;
        for record in self {
            let own = 1 + record.2.len();
            if weight + own > RECORDS_PER_REPORT {
                chunks.push(Vec::new());
                weight = 0;
            }
            weight += own;
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(record);
            }
        }
        chunks
    }
}

struct Query {
    version: Version,
    /// Unspecified: all groups.
    group: IpAddr,
    max_response_ns: u64,
}

impl Query {
    /// RFC 3376, 4.1 and 7.1.
    fn parse_v4(bytes: &[u8]) -> Option<Self> {
        let group = ipv4_at(bytes, 4)?.into();
        let code = bytes[1];
        let (version, tenths) = match (bytes.len(), code) {
            // IGMPv1 has no such field, and means ten seconds.
            (8, 0) => (Version::First, 100),
            (8, _) => (Version::Second, u64::from(code)),
            (12.., 0..128) => (Version::Third, u64::from(code)),
            (12.., _) => (Version::Third, u64::from(code & 0xf | 0x10) << (u64::from(code >> 4 & 7) + 3)),
            _ => return None,
        };
        Some(Self { version, group, max_response_ns: tenths * 100_000_000 })
    }

    /// RFC 3810, 5.1 and 8.1.
    fn parse_v6(bytes: &[u8]) -> Option<Self> {
        let group = ipv6_at(bytes, 8)?.into();
        let code = u64::from(be16(bytes, 4)?);
        let (version, milliseconds) = match bytes.len() {
            24 => (Version::Second, code),
            28.. if code < 0x8000 => (Version::Third, code),
            28.. => (Version::Third, (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3)),
            _ => return None,
        };
        Some(Self { version, group, max_response_ns: milliseconds * 1_000_000 })
    }
}

impl Stack {
    /// Sets what `member` (a number that names a socket) wants to hear of `group` on `interface`; `None` ends its
    /// membership. The interface listens to what any of its members wants; which sources a socket gets is the socket's
    /// affair. `ENODEV` without such an interface, `EINVAL` if `group` is none, `ENOBUFS` if it listens to too many.
    pub fn set_membership(
        &self,
        interface: u32,
        group: IpAddr,
        member: u64,
        filter: Option<SourceFilter>,
    ) -> Result<(), Errno> {
        if self.tables.read().interface(interface).is_none() {
            return Err(Errno::ENODEV);
        }
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        if self.groups.set(interface, group, Member::Socket(member), filter, self.now_ns())? {
            self.poll_wanted();
        }
        Ok(())
    }

    /// Takes a message of IGMP; raw sockets get it afterwards.
    pub(crate) fn input_igmp(&self, link: &Interface, datagram: &Datagram) {
        let bytes = bytes_of(&datagram.packet, 0, 1500);
        let is_sound = bytes.len() >= 8
            && internet_checksum::fold(internet_checksum::add(0, &bytes)) == 0xffff
            && bytes.len() == datagram.packet.len();
        if !is_sound || link.is_loopback() {
            return;
        }
        match bytes[0] {
            IGMP_QUERY => {
                if let Some(query) = Query::parse_v4(&bytes) {
                    self.groups.query(link.index, &query, self.now_ns(), || self.random());
                    self.poll_wanted();
                }
            }
            IGMP_V1_REPORT | IGMP_V2_REPORT => {
                if let Some(group) = ipv4_at(&bytes, 4) {
                    self.groups.overheard(link.index, group.into());
                }
            }
            _ => {}
        }
    }

    /// Takes a message of MLD whose checksum is right.
    pub(crate) fn input_mld(&self, link: &Interface, datagram: &Datagram) {
        // RFC 3810, 5.1.14: from the link, and not through a router.
        let is_from_link = matches!(datagram.source, IpAddr::V6(source) if source.is_unicast_link_local());
        if !is_from_link || datagram.hop_limit != 1 || link.is_loopback() {
            return;
        }
        let bytes = bytes_of(&datagram.packet, 0, 1500);
        match bytes[0] {
            v6::MULTICAST_LISTENER_QUERY => {
                if let Some(query) = Query::parse_v6(&bytes) {
                    self.groups.query(link.index, &query, self.now_ns(), || self.random());
                    self.poll_wanted();
                }
            }
            v6::MULTICAST_LISTENER_REPORT => {
                if let Some(group) = ipv6_at(&bytes, 8) {
                    self.groups.overheard(link.index, group.into());
                }
            }
            _ => {}
        }
    }

    /// Sends the reports that are due.
    pub(crate) fn poll_groups(&self, now_ns: u64) {
        if self.groups.next_deadline_ns().is_none_or(|deadline_ns| deadline_ns > now_ns) {
            return;
        }
        for (index, report) in self.groups.due(now_ns, || self.random()) {
            let Some(link) = self.tables.read().interface(index).cloned() else { continue };
            if !link.is_loopback() {
                self.send_report(&link, report);
            }
        }
    }

    fn send_report(&self, link: &Interface, report: Report) {
        match report {
            Report::Records(records) if records[0].1.is_ipv4() => {
                let mut message = Vec::from([IGMP_V3_REPORT, 0, 0, 0, 0, 0]);
                put_records(&mut message, &records);
                self.send_igmp(link, Ipv4Addr::new(224, 0, 0, 22), message);
            }
            Report::Records(records) => {
                let mut message = Vec::from([v6::MULTICAST_LISTENER_REPORT_V2, 0, 0, 0, 0, 0]);
                put_records(&mut message, &records);
                self.send_mld(link, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16), message);
            }
            Report::Member(IpAddr::V4(group), version) => {
                let kind = if version == Version::First { IGMP_V1_REPORT } else { IGMP_V2_REPORT };
                self.send_igmp(link, group, igmp_message(kind, group));
            }
            Report::Member(IpAddr::V6(group), _) => {
                self.send_mld(link, group, mld_message(v6::MULTICAST_LISTENER_REPORT, group));
            }
            Report::Leave(IpAddr::V4(group)) => {
                self.send_igmp(link, Ipv4Addr::new(224, 0, 0, 2), igmp_message(IGMP_LEAVE, group));
            }
            Report::Leave(IpAddr::V6(group)) => {
                let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
                self.send_mld(link, all_routers, mld_message(v6::MULTICAST_LISTENER_DONE, group));
            }
        }
    }

    fn send_igmp(&self, link: &Interface, destination: Ipv4Addr, mut message: Vec<u8>) {
        let sum = !internet_checksum::fold(internet_checksum::add(0, &message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let source = self.tables.read().select_source_v4(link.index, destination);
        // Routers look at what carries this option even if it is not for them (RFC 2113).
        const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
        let header_bytes = IPV4_HEADER_BYTES + ROUTER_ALERT.len();
        let header = Ipv4Header {
            header_bytes,
            total_bytes: header_bytes + message.len(),
            tos: 0xc0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 1,
            protocol: protocol::IGMP,
            source: source.unwrap_or(Ipv4Addr::UNSPECIFIED),
            destination,
        };
        let mut bytes = header.bytes().to_vec();
        bytes[0] = 0x46;
        bytes.extend(ROUTER_ALERT);
        bytes[10..12].fill(0);
        let sum = !internet_checksum::fold(internet_checksum::add(0, &bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(message);
        self.counters.ipv4.out_requests.add(1);
        if let Ok(packet) = packet_of(&bytes) {
            link.transmit(&mut Vec::from([packet]), multicast_mac(destination.into()));
        }
    }

    fn send_mld(&self, link: &Interface, destination: Ipv6Addr, mut message: Vec<u8>) {
        let source = self.tables.read().link_local(link.index).unwrap_or(Ipv6Addr::UNSPECIFIED);
        let sum = pseudo_header_sum(source.into(), destination.into(), protocol::ICMPV6, message.len());
        let sum = !internet_checksum::fold(internet_checksum::add(sum, &message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        // Hop-by-hop options: router alert for MLD (RFC 2711), padding.
        let options = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_bytes: options.len() + message.len(),
            next_header: extension::HOP_BY_HOP,
            hop_limit: 1,
            source,
            destination,
        };
        let mut bytes = Vec::with_capacity(IPV6_HEADER_BYTES + header.payload_bytes);
        bytes.extend(header.bytes());
        bytes.extend(options);
        self.counters.icmpv6.out_types[usize::from(message[0])].add(1);
        self.counters.ipv6.out_requests.add(1);
        bytes.extend(message);
        if let Ok(packet) = packet_of(&bytes) {
            link.transmit(&mut Vec::from([packet]), multicast_mac(destination.into()));
        }
    }
}

fn igmp_message(kind: u8, group: Ipv4Addr) -> Vec<u8> {
    let mut message = Vec::from([kind, 0, 0, 0]);
    message.extend(group.octets());
    message
}

fn mld_message(kind: u8, group: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::from([kind, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(group.octets());
    message
}

/// The number of records, and the records: the same in both protocols but for the length of addresses.
fn put_records(message: &mut Vec<u8>, records: &[(u8, IpAddr, Vec<IpAddr>)]) {
    let put = |message: &mut Vec<u8>, address: IpAddr| match address {
        IpAddr::V4(address) => message.extend(address.octets()),
        IpAddr::V6(address) => message.extend(address.octets()),
    };
    message.extend((records.len() as u16).to_be_bytes());
    for (kind, group, sources) in records {
        message.extend([*kind, 0]);
        message.extend((sources.len() as u16).to_be_bytes());
        put(message, *group);
        sources.iter().for_each(|source| put(message, *source));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn filter() -> impl Strategy<Value = SourceFilter> {
        (any::<bool>(), proptest::collection::vec(0..6_u8, 0..5)).prop_map(|(include, sources)| {
            SourceFilter {
                mode: if include { FilterMode::Include } else { FilterMode::Exclude },
                sources: sources.into_iter().map(source).collect(),
            }
        })
    }

    fn hears(filter: &SourceFilter, from: IpAddr) -> bool {
        filter.sources.contains(&from) == (filter.mode == FilterMode::Include)
    }

    proptest! {
        #[test]
        fn an_interface_hears_what_any_member_wants(filters in proptest::collection::vec(filter(), 0..5)) {
            let merged = merge(filters.iter());
            for from in (0..8).map(source) {
                prop_assert_eq!(hears(&merged, from), filters.iter().any(|filter| hears(filter, from)));
            }
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            Query::parse_v4(&bytes);
            Query::parse_v6(&bytes);
        }
    }

    #[test]
    fn joins_and_leaves_are_told_twice() {
        let groups = Groups::default();
        let group = IpAddr::from([239, 1, 1, 1]);
        let set = |member, filter| groups.set(2, group, Member::Socket(member), filter, 0).unwrap();
        assert!(set(1, Some(SourceFilter::ANY)));
        assert!(!set(2, Some(SourceFilter::ANY)));
        let due = |now_ns| {
            let mut records = vec![];
            for (_, report) in groups.due(now_ns, || 5) {
                let Report::Records(more) = report else { panic!("an old version") };
                records.extend(more.into_iter().map(|(kind, ..)| kind));
            }
            records
        };
        assert_eq!(due(0), [CHANGE_TO_EXCLUDE]);
        assert_eq!(due(3), []);
        assert_eq!(due(6), [CHANGE_TO_EXCLUDE]);
        assert_eq!(groups.next_deadline_ns(), None);
        assert!(!set(1, None));
        assert!(groups.listens(2, group));
        assert!(set(2, None));
        assert!(!groups.listens(2, group));
        assert_eq!(due(10), [CHANGE_TO_INCLUDE]);
        assert_eq!(due(16), [CHANGE_TO_INCLUDE]);
        assert!(groups.inner.lock().groups.is_empty());
    }
}
