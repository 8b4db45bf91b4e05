//! `SOL_IPV6` (`do_ipv6_setsockopt` and `do_ipv6_getsockopt` in `net/ipv6/ipv6_sockglue.c`).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use linux_abi::{
    Errno,
    inet::{In6Pktinfo, Ip6MtuInfo, SockaddrIn6, ipv6_option::*, pmtu_discovery::IP_PMTUDISC_OMIT},
    socket::{SocketType, family::AF_INET6},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Ipv6Options, ReceiveV6, hops};
use crate::socket_core::{SocketCore, number};

/// The least MTU of IPv6 (RFC 8200, section 5).
const MIN_MTU: i32 = 1280;
/// The hop limit where no router said another one.
const DEFAULT_HOP_LIMIT: i32 = 64;

fn receive_flag(name: i32) -> Option<ReceiveV6> {
    Some(match name {
        IPV6_RECVPKTINFO => ReceiveV6::PKTINFO,
        IPV6_RECVHOPLIMIT => ReceiveV6::HOP_LIMIT,
        IPV6_RECVTCLASS => ReceiveV6::TRAFFIC_CLASS,
        IPV6_RECVORIGDSTADDR => ReceiveV6::ORIGINAL_DESTINATION,
        IPV6_RECVERR => ReceiveV6::ERROR,
        IPV6_FLOWINFO => ReceiveV6::FLOW_INFO,
        _ => return None,
    })
}

impl SocketCore {
    pub(super) fn ipv6_option(&self, name: i32) -> Result<Vec<u8>, Errno> {
        if let Some(flag) = receive_flag(name) {
            return Ok(number(self.with(|options| i32::from(options.ipv6.receive.contains(flag)))));
        }
        match name {
            IPV6_MTU => Ok(number(self.connected_mtu()? as i32)),
            IPV6_PATHMTU => {
                let mtu = self.connected_mtu()?;
                let mut address = SockaddrIn6 { family: AF_INET6, ..SockaddrIn6::default() };
                if let Some(remote) = self.endpoints().remote
                    && let core::net::IpAddr::V6(remote) = remote.address
                {
                    address.address = remote.octets();
                }
                Ok(Ip6MtuInfo { address, mtu }.as_bytes().to_vec())
            }
            IPV6_CHECKSUM if self.kind != SocketType::Raw => Err(Errno::ENOPROTOOPT),
            // Seen of a stream only, which keeps none.
            IPV6_PKTINFO => Err(Errno::ENOPROTOOPT),
            IPV6_TRANSPARENT => Ok(number(self.with(|options| i32::from(options.ip.transparent)))),
            IPV6_FREEBIND => Ok(number(self.with(|options| i32::from(options.ip.free_bind)))),
            _ => self.with(|options| options.ipv6.get(name)),
        }
    }

    pub(super) fn set_ipv6_option(&self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if let Some(result) = self.set_ipv6_membership(name, value) {
            return result;
        }
        if name == IPV6_PKTINFO {
            return self.set_sticky_source(value);
        }
        let given = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let unknown = || Err(Errno::ENOPROTOOPT);
        if let Some(flag) = receive_flag(name) {
            let asked = given.ok_or(Errno::EINVAL)?;
            self.update_options(|options| options.ipv6.receive.set(flag, asked != 0));
            return Ok(());
        }
        match name {
            IPV6_MULTICAST_IF | IPV6_MULTICAST_HOPS if self.is_stream() => return unknown(),
            IPV6_CHECKSUM if self.kind != SocketType::Raw => return unknown(),
            IPV6_V6ONLY if self.endpoints().local.port != 0 => return Err(Errno::EINVAL),
            _ => {}
        }
        let is_known = self.with(|options| options.ipv6.get(name)).is_ok()
            || matches!(name, IPV6_TRANSPARENT | IPV6_FREEBIND | IPV6_MTU);
        if !is_known {
            return unknown();
        }
        let asked = given.ok_or(Errno::EINVAL)?;
        match name {
            IPV6_MULTICAST_IF | IPV6_UNICAST_IF => {
                let index = if name == IPV6_UNICAST_IF { u32::from_be(asked as u32) } else { asked as u32 };
                let bound = self.with(|options| options.common.interface);
                if index != 0 && name == IPV6_MULTICAST_IF && bound != 0 && bound != index {
                    return Err(Errno::EINVAL);
                }
                if index != 0 && self.net.ip.interface(index).is_none() {
                    let error = if name == IPV6_MULTICAST_IF { Errno::ENODEV } else { Errno::EADDRNOTAVAIL };
                    return Err(error);
                }
                self.update_options(|options| match name {
                    IPV6_MULTICAST_IF => options.ipv6.multicast.interface = index,
                    _ => options.ipv6.unicast_interface = index,
                });
                Ok(())
            }
            IPV6_TRANSPARENT => {
                self.update_options(|options| options.ip.transparent = asked != 0);
                Ok(())
            }
            IPV6_FREEBIND => {
                self.update_options(|options| options.ip.free_bind = asked != 0);
                Ok(())
            }
            _ => self.update_options(|options| options.ipv6.set(name, asked)),
        }
    }

    /// Source and interface for all that is sent (RFC 3542, section 6.7); nothing takes them back.
    fn set_sticky_source(&self, value: &[u8]) -> Result<(), Errno> {
        if value.is_empty() {
            self.update_options(|options| options.ipv6.sticky_source = ([0; 16], 0));
            return Ok(());
        }
        let source = In6Pktinfo::read_from_bytes(value).map_err(|_| Errno::EINVAL)?;
        let index = u32::try_from(source.interface).map_err(|_| Errno::EINVAL)?;
        let bound = self.with(|options| options.common.interface);
        if bound != 0 && index != bound {
            return Err(Errno::EINVAL);
        }
        if index != 0 && self.net.ip.interface(index).is_none() {
            return Err(Errno::ENODEV);
        }
        let address = Ipv6Addr::from(source.address);
        let is_ours = address.is_unspecified()
            || self.net.ip.address_kind(address.into(), None) == ip::AddressKind::Local;
        if !is_ours {
            return Err(Errno::EINVAL);
        }
        self.update_options(|options| options.ipv6.sticky_source = (source.address, index));
        Ok(())
    }
}

impl Ipv6Options {
    fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            IPV6_V6ONLY => i32::from(self.only),
            IPV6_TCLASS => i32::from(self.traffic_class),
            IPV6_UNICAST_HOPS => self.hop_limit.map_or(DEFAULT_HOP_LIMIT, i32::from),
            IPV6_MINHOPCOUNT => i32::from(self.min_hop_limit),
            IPV6_MTU_DISCOVER => i32::from(self.mtu_discover),
            IPV6_DONTFRAG => i32::from(self.dont_fragment),
            IPV6_FLOWINFO_SEND => i32::from(self.sends_flow_info),
            IPV6_AUTOFLOWLABEL => i32::from(self.auto_flow_label),
            IPV6_UNICAST_IF => self.unicast_interface.to_be() as i32,
            IPV6_ADDR_PREFERENCES => self.address_preferences,
            IPV6_CHECKSUM => self.checksum_offset,
            IPV6_MULTICAST_IF => self.multicast.interface as i32,
            IPV6_MULTICAST_HOPS => i32::from(self.multicast.hop_limit),
            IPV6_MULTICAST_LOOP => i32::from(self.multicast.is_looped),
            IPV6_MULTICAST_ALL => i32::from(self.multicast.receives_all),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(number(value))
    }

    fn set(&mut self, name: i32, asked: i32) -> Result<(), Errno> {
        let byte = |least| hops(asked, least);
        match name {
            IPV6_V6ONLY => self.only = asked != 0,
            IPV6_TCLASS => self.traffic_class = byte(0)?.unwrap_or(0),
            IPV6_UNICAST_HOPS => self.hop_limit = byte(0)?,
            IPV6_MINHOPCOUNT => self.min_hop_limit = u8::try_from(asked).map_err(|_| Errno::EINVAL)?,
            IPV6_MTU_DISCOVER => {
                let value = u8::try_from(asked).map_err(|_| Errno::EINVAL)?;
                if i32::from(value) > IP_PMTUDISC_OMIT {
                    return Err(Errno::EINVAL);
                }
                self.mtu_discover = value;
            }
            IPV6_MTU if asked != 0 && asked < MIN_MTU => return Err(Errno::EINVAL),
            IPV6_MTU => self.fragment_size = asked as u32,
            IPV6_DONTFRAG => self.dont_fragment = asked != 0,
            IPV6_FLOWINFO_SEND => self.sends_flow_info = asked != 0,
            IPV6_AUTOFLOWLABEL => self.auto_flow_label = asked != 0,
            IPV6_ADDR_PREFERENCES => self.address_preferences = asked,
            IPV6_CHECKSUM if asked > 0 && asked & 1 != 0 => return Err(Errno::EINVAL),
            IPV6_CHECKSUM => self.checksum_offset = asked.max(-1),
            IPV6_MULTICAST_HOPS => self.multicast.hop_limit = byte(0)?.unwrap_or(1),
            IPV6_MULTICAST_LOOP if asked == 0 || asked == 1 => self.multicast.is_looped = asked != 0,
            IPV6_MULTICAST_LOOP => return Err(Errno::EINVAL),
            IPV6_MULTICAST_ALL => self.multicast.receives_all = asked != 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
