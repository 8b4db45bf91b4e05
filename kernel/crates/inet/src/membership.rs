//! Membership in multicast groups (`ip_mc_join_group` and others in `net/ipv4/igmp.c`, `ipv6_sock_mc_join` and others in
//! `net/ipv6/mcast.c`).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ip::{FilterMode, SourceFilter};
use linux_abi::{
    Errno,
    inet::{GroupReq, GroupSourceReq, IpMreqSource, IpMreqn, Ipv6Mreq, ip_option::*, ipv6_option::*},
};
use zerocopy::FromBytes;

use crate::{Endpoint, Family, SocketCore};

/// Most groups of IPv4 that a socket is a member of (`net.ipv4.igmp_max_memberships`).
const GROUPS_MAX: usize = 20;
/// Most sources in a filter (`net.ipv4.igmp_max_msf`, `net.ipv6.mld_max_msf`).
const SOURCES_MAX_V4: usize = 10;
const SOURCES_MAX_V6: usize = 64;

/// A group that a socket is a member of.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    group: IpAddr,
    interface: u32,
    filter: SourceFilter,
}

/// What is done about one source of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceChange {
    Join,
    Leave,
    Block,
    Unblock,
}

impl SourceChange {
    const fn mode(self) -> FilterMode {
        match self {
            Self::Join | Self::Leave => FilterMode::Include,
            Self::Block | Self::Unblock => FilterMode::Exclude,
        }
    }

    const fn adds(self) -> bool {
        matches!(self, Self::Join | Self::Block)
    }
}

impl SocketCore {
    /// Handles the options of `SOL_IP` that are about groups; `None` for others.
    pub(crate) fn set_ipv4_membership(&self, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        let change = match name {
            IP_ADD_SOURCE_MEMBERSHIP => Some(SourceChange::Join),
            IP_DROP_SOURCE_MEMBERSHIP => Some(SourceChange::Leave),
            IP_BLOCK_SOURCE => Some(SourceChange::Block),
            IP_UNBLOCK_SOURCE => Some(SourceChange::Unblock),
            _ => None,
        };
        match (change, name) {
            (Some(change), _) => Some(self.change_ipv4_source(change, value)),
            (None, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => {
                Some(self.change_ipv4_group(name == IP_ADD_MEMBERSHIP, value))
            }
            _ => self.set_any_membership(Family::V4, name, value),
        }
    }

    /// Likewise for `SOL_IPV6`.
    pub(crate) fn set_ipv6_membership(&self, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        if !matches!(name, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP) {
            return self.set_any_membership(Family::V6, name, value);
        }
        Some((|| {
            let (request, _) = Ipv6Mreq::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
            self.check_may_join()?;
            let group = IpAddr::V6(Ipv6Addr::from(request.group));
            let interface = u32::try_from(request.interface).map_err(|_| Errno::ENODEV)?;
            if name == IPV6_ADD_MEMBERSHIP {
                self.join(group, interface)
            } else {
                self.leave(group, interface)
            }
        })())
    }

    /// The options with addresses of either family (RFC 3678).
    fn set_any_membership(&self, family: Family, name: i32, value: &[u8]) -> Option<Result<(), Errno>> {
        let change = match name {
            MCAST_JOIN_SOURCE_GROUP => SourceChange::Join,
            MCAST_LEAVE_SOURCE_GROUP => SourceChange::Leave,
            MCAST_BLOCK_SOURCE => SourceChange::Block,
            MCAST_UNBLOCK_SOURCE => SourceChange::Unblock,
            MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP => {
                return Some((|| {
                    let (request, _) = GroupReq::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                    self.check_may_join()?;
                    let group = address_of(family, &request.group)?;
                    if name == MCAST_JOIN_GROUP {
                        self.join(group, request.interface)
                    } else {
                        self.leave(group, request.interface)
                    }
                })());
            }
            _ => return None,
        };
        Some((|| {
            let (request, _) = GroupSourceReq::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
            let group = address_of(family, &request.group)?;
            let source = address_of(family, &request.source)?;
            self.change_source(change, group, source, request.interface)
        })())
    }

    fn change_ipv4_group(&self, joins: bool, value: &[u8]) -> Result<(), Errno> {
        self.check_may_join()?;
        let request = match IpMreqn::read_from_prefix(value) {
            Ok((request, _)) => request,
            Err(_) => {
                let bytes: [u8; 8] =
                    value.get(..8).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
                let [a, b, c, d, e, f, g, h] = bytes;
                IpMreqn { group: [a, b, c, d], address: [e, f, g, h], interface: 0 }
            }
        };
        let interface = self.ipv4_interface(request.interface as u32, request.address.into());
        let group = IpAddr::V4(request.group.into());
        if joins { self.join(group, interface?) } else { self.leave(group, interface?) }
    }

    fn change_ipv4_source(&self, change: SourceChange, value: &[u8]) -> Result<(), Errno> {
        let request = IpMreqSource::read_from_bytes(value).map_err(|_| Errno::EINVAL)?;
        let interface = self.ipv4_interface(0, request.interface.into())?;
        let group = IpAddr::V4(request.group.into());
        self.change_source(change, group, IpAddr::V4(request.source.into()), interface)
    }

    /// The interface by its index, else by its address; 0 leaves it to the route.
    fn ipv4_interface(&self, index: u32, address: Ipv4Addr) -> Result<u32, Errno> {
        match (index, address) {
            (0, Ipv4Addr::UNSPECIFIED) => Ok(0),
            (0, address) => self.interface_with(address).ok_or(Errno::ENODEV),
            (index, _) => Ok(index),
        }
    }

    /// Connections have no groups.
    fn check_may_join(&self) -> Result<(), Errno> {
        if self.is_stream() { Err(Errno::EPROTO) } else { Ok(()) }
    }

    /// The interface that a group is joined on: the one that is named, else that of the route there.
    fn group_interface(&self, group: IpAddr, interface: u32) -> Result<u32, Errno> {
        if interface != 0 {
            return self.net.ip.interface(interface).map(|found| found.index).ok_or(Errno::ENODEV);
        }
        match self.net.ip.route(group, None, None) {
            Ok(route) => Ok(route.interface),
            // No default route: the first interface that can do multicast serves IPv6 (`ipv6_sock_mc_join` looks a route
            // up, and each interface has one for ff00::/8).
            Err(_) => self
                .net
                .ip
                .interfaces()
                .iter()
                .find(|found| group.is_ipv6() && found.flags.contains(ip::InterfaceFlags::MULTICAST))
                .map(|found| found.index)
                .ok_or(Errno::ENODEV),
        }
    }

    fn join(&self, group: IpAddr, interface: u32) -> Result<(), Errno> {
        self.join_with(group, interface, SourceFilter::ANY)
    }

    fn join_with(&self, group: IpAddr, interface: u32, filter: SourceFilter) -> Result<(), Errno> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let interface = self.group_interface(group, interface)?;
        {
            let memberships = self.memberships.lock();
            if memberships.iter().any(|member| (member.group, member.interface) == (group, interface)) {
                return Err(Errno::EADDRINUSE);
            }
            if group.is_ipv4() && memberships.len() >= GROUPS_MAX {
                return Err(Errno::ENOBUFS);
            }
        }
        self.net.ip.set_membership(interface, group, self.id, Some(filter.clone()))?;
        self.memberships.lock().push(Membership { group, interface, filter });
        Ok(())
    }

    fn leave(&self, group: IpAddr, interface: u32) -> Result<(), Errno> {
        if !group.is_multicast() && group.is_ipv6() {
            return Err(Errno::EINVAL);
        }
        let wanted = match interface {
            // Whichever it was joined on.
            0 if group.is_ipv6() => None,
            0 => self.group_interface(group, 0).ok(),
            index => Some(self.group_interface(group, index)?),
        };
        let left = {
            let mut memberships = self.memberships.lock();
            let place = memberships
                .iter()
                .position(|member| {
                    member.group == group && wanted.is_none_or(|wanted| member.interface == wanted)
                })
                .ok_or(Errno::EADDRNOTAVAIL)?;
            memberships.remove(place)
        };
        self.net.ip.set_membership(left.interface, group, self.id, None)
    }

    /// `ip_mc_source`, `ip6_mc_source`.
    fn change_source(
        &self,
        change: SourceChange,
        group: IpAddr,
        source: IpAddr,
        interface: u32,
    ) -> Result<(), Errno> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let interface = self.group_interface(group, interface)?;
        if change == SourceChange::Join {
            let none = SourceFilter { mode: FilterMode::Include, sources: Vec::new() };
            match self.join_with(group, interface, none) {
                Ok(()) | Err(Errno::EADDRINUSE) => {}
                Err(error) => return Err(error),
            }
        }
        let filter = {
            let mut memberships = self.memberships.lock();
            let place = memberships
                .iter()
                .position(|member| (member.group, member.interface) == (group, interface))
                .ok_or(Errno::EINVAL)?;
            let filter = &mut memberships[place].filter;
            if filter.mode != change.mode() {
                // A filter that has sources already keeps its mode.
                if !filter.sources.is_empty() {
                    return Err(Errno::EINVAL);
                }
                filter.mode = change.mode();
            }
            let found = filter.sources.iter().position(|known| *known == source);
            match (change.adds(), found) {
                (true, Some(_)) | (false, None) => return Err(Errno::EADDRNOTAVAIL),
                (true, None) => {
                    let most = if group.is_ipv4() { SOURCES_MAX_V4 } else { SOURCES_MAX_V6 };
                    if filter.sources.len() >= most {
                        return Err(Errno::ENOBUFS);
                    }
                    filter.sources.push(source);
                    Some(filter.clone())
                }
                (false, Some(found)) => {
                    filter.sources.remove(found);
                    if filter.sources.is_empty() && filter.mode == FilterMode::Include {
                        // The last one: the group is left.
                        memberships.remove(place);
                        None
                    } else {
                        Some(filter.clone())
                    }
                }
            }
        };
        self.net.ip.set_membership(interface, group, self.id, filter)
    }

    /// Leaves all groups, when the socket is closed.
    pub(crate) fn leave_all_groups(&self) {
        let memberships = core::mem::take(&mut *self.memberships.lock());
        for member in memberships {
            // The interface may be gone, and the membership with it.
            let _ = self.net.ip.set_membership(member.interface, member.group, self.id, None);
        }
    }

    /// Whether the socket wants what `source` sends to `group` (`ip_mc_sf_allow`, `inet6_mc_check`).
    pub(crate) fn wants_group(&self, group: IpAddr, source: IpAddr, interface: u32) -> bool {
        if !group.is_multicast() {
            return true;
        }
        let memberships = self.memberships.lock();
        let member = memberships
            .iter()
            .find(|member| member.group == group && (interface == 0 || member.interface == interface));
        match member {
            Some(Membership { filter, .. }) => {
                filter.sources.contains(&source) == (filter.mode == FilterMode::Include)
            }
            None => {
                drop(memberships);
                self.with(|options| match group {
                    IpAddr::V4(_) => options.ip.multicast.receives_all,
                    IpAddr::V6(_) => options.ipv6.multicast.receives_all,
                })
            }
        }
    }
}

fn address_of(family: Family, bytes: &[u8]) -> Result<IpAddr, Errno> {
    let address = Endpoint::decode_any(bytes)?.address;
    match (family, address) {
        (Family::V4, IpAddr::V4(_)) | (Family::V6, IpAddr::V6(_)) => Ok(address),
        _ => Err(Errno::EADDRNOTAVAIL),
    }
}
