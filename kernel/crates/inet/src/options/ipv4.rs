//! `SOL_IP` (`do_ip_setsockopt` and `do_ip_getsockopt` in `net/ipv4/ip_sockglue.c`).

use alloc::vec::Vec;
use core::{net::Ipv4Addr, sync::atomic::Ordering::Relaxed};

use linux_abi::{
    Errno,
    inet::{IpMreqn, ip_option::*, pmtu_discovery::IP_PMTUDISC_OMIT},
    socket::SocketType,
};
use zerocopy::FromBytes;

use super::{IpOptions, ReceiveV4, hops};
use crate::socket_core::{SocketCore, number};

/// Flags that are kept for the receiver.
fn receive_flag(name: i32) -> Option<ReceiveV4> {
    Some(match name {
        IP_PKTINFO => ReceiveV4::PKTINFO,
        IP_RECVTTL => ReceiveV4::TTL,
        IP_RECVTOS => ReceiveV4::TOS,
        IP_RECVORIGDSTADDR => ReceiveV4::ORIGINAL_DESTINATION,
        IP_RECVERR => ReceiveV4::ERROR,
        _ => return None,
    })
}

/// The lowest two bits of the type of service are TCP's own (RFC 3168).
const ECN_MASK: u8 = 3;

impl SocketCore {
    pub(super) fn ipv4_option(&self, name: i32) -> Result<Vec<u8>, Errno> {
        if let Some(flag) = receive_flag(name) {
            return Ok(number(self.with(|options| i32::from(options.ip.receive.contains(flag)))));
        }
        let value = match name {
            // A packet of IPv4 is no longer than its length can say.
            IP_MTU => self.connected_mtu()?.min(u32::from(u16::MAX)) as i32,
            IP_PROTOCOL => i32::from(self.protocol),
            IP_TTL => {
                let default = self.net.settings.default_ttl.load(Relaxed) as i32;
                self.with(|options| options.ip.ttl.map_or(default, i32::from))
            }
            IP_MULTICAST_IF => return Ok(self.with(|options| options.ip.multicast_address.to_vec())),
            // No options are ever sent.
            IP_OPTIONS => return Ok(Vec::new()),
            _ => return self.with(|options| options.ip.get(name)),
        };
        Ok(number(value))
    }

    pub(super) fn set_ipv4_option(&self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if let Some(result) = self.set_ipv4_membership(name, value) {
            return result;
        }
        // A single byte is taken, too.
        let asked = match (value.first_chunk(), value.first()) {
            (Some(bytes), _) => i32::from_ne_bytes(*bytes),
            (None, Some(byte)) => i32::from(*byte),
            (None, None) => 0,
        };
        if let Some(flag) = receive_flag(name) {
            self.update_options(|options| options.ip.receive.set(flag, asked != 0));
            return Ok(());
        }
        match name {
            IP_MULTICAST_IF => self.set_multicast_interface(value),
            IP_UNICAST_IF => {
                let bytes: [u8; 4] = value.try_into().map_err(|_| Errno::EINVAL)?;
                let index = u32::from_be_bytes(bytes);
                if index != 0 && self.net.ip.interface(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                self.update_options(|options| options.ip.unicast_interface = index);
                Ok(())
            }
            IP_HDRINCL | IP_NODEFRAG if self.kind != SocketType::Raw => Err(Errno::ENOPROTOOPT),
            IP_MULTICAST_TTL if self.is_stream() => Err(Errno::EINVAL),
            // These need at least one byte.
            IP_TTL | IP_MINTTL | IP_MULTICAST_TTL | IP_MULTICAST_LOOP | IP_MULTICAST_ALL | IP_FREEBIND
            | IP_TRANSPARENT
                if value.is_empty() =>
            {
                Err(Errno::EINVAL)
            }
            IP_LOCAL_PORT_RANGE => {
                let bytes: [u8; 4] = value.try_into().map_err(|_| Errno::EINVAL)?;
                let range = u32::from_ne_bytes(bytes);
                let (low, high) = (range as u16, (range >> 16) as u16);
                if low != 0 && high != 0 && low > high {
                    return Err(Errno::EINVAL);
                }
                self.update_options(|options| options.ip.local_ports = [low, high]);
                Ok(())
            }
            // Taking all options off is done already.
            IP_OPTIONS if value.is_empty() => Ok(()),
            _ => {
                let is_stream = self.is_stream();
                self.update_options(|options| {
                    options.ip.set(name, asked, is_stream)?;
                    if name == IP_TOS {
                        options.common.priority = priority_of_tos(options.ip.tos);
                    }
                    Ok(())
                })
            }
        }
    }

    /// The path's MTU of a connected socket: `ENOTCONN`.
    pub(super) fn connected_mtu(&self) -> Result<u32, Errno> {
        let endpoints = self.endpoints();
        let remote = endpoints.remote.ok_or(Errno::ENOTCONN)?;
        let route = self.net.ip.route(remote.address, None, remote.interface())?;
        Ok(route.mtu)
    }

    fn set_multicast_interface(&self, value: &[u8]) -> Result<(), Errno> {
        if self.is_stream() || value.len() < size_of::<Ipv4Addr>() {
            return Err(Errno::EINVAL);
        }
        let request = match IpMreqn::read_from_prefix(value) {
            Ok((request, _)) => request,
            Err(_) => match value.get(4..8).and_then(|bytes| bytes.try_into().ok()) {
                Some(address) => IpMreqn { address, ..IpMreqn::default() },
                None => IpMreqn {
                    address: value[..4].try_into().map_err(|_| Errno::EINVAL)?,
                    ..IpMreqn::default()
                },
            },
        };
        let index = match (request.interface, Ipv4Addr::from(request.address)) {
            (0, Ipv4Addr::UNSPECIFIED) => 0,
            (0, address) => self.interface_with(address).ok_or(Errno::EADDRNOTAVAIL)?,
            (index, _) => u32::try_from(index)
                .ok()
                .filter(|index| self.net.ip.interface(*index).is_some())
                .ok_or(Errno::EADDRNOTAVAIL)?,
        };
        self.update_options(|options| {
            if index != 0 && options.common.interface != 0 && options.common.interface != index {
                return Err(Errno::EINVAL);
            }
            options.ip.multicast.interface = index;
            options.ip.multicast_address = request.address;
            Ok(())
        })
    }

    /// The interface that has an address.
    pub(crate) fn interface_with(&self, address: Ipv4Addr) -> Option<u32> {
        let interfaces = self.net.ip.interfaces();
        interfaces
            .iter()
            .find(|interface| interface.addresses.iter().any(|own| own.address == address))
            .map(|interface| interface.index)
    }
}

impl IpOptions {
    fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let value = match name {
            IP_TOS => i32::from(self.tos),
            IP_MINTTL => i32::from(self.min_ttl),
            IP_MTU_DISCOVER => i32::from(self.mtu_discover),
            IP_FREEBIND => i32::from(self.free_bind),
            IP_TRANSPARENT => i32::from(self.transparent),
            IP_HDRINCL => i32::from(self.header_included),
            IP_NODEFRAG => i32::from(self.no_defragmentation),
            IP_BIND_ADDRESS_NO_PORT => i32::from(self.bind_address_no_port),
            IP_LOCAL_PORT_RANGE => i32::from(self.local_ports[0]) | i32::from(self.local_ports[1]) << 16,
            // In network order, as it was set.
            IP_UNICAST_IF => self.unicast_interface.to_be() as i32,
            IP_MULTICAST_TTL => i32::from(self.multicast.hop_limit),
            IP_MULTICAST_LOOP => i32::from(self.multicast.is_looped),
            IP_MULTICAST_ALL => i32::from(self.multicast.receives_all),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(number(value))
    }

    fn set(&mut self, name: i32, asked: i32, is_stream: bool) -> Result<(), Errno> {
        match name {
            IP_TOS if is_stream => self.tos = (asked as u8 & !ECN_MASK) | (self.tos & ECN_MASK),
            IP_TOS => self.tos = asked as u8,
            IP_TTL => self.ttl = hops(asked, 1)?,
            IP_MINTTL => self.min_ttl = u8::try_from(asked).map_err(|_| Errno::EINVAL)?,
            IP_MTU_DISCOVER => {
                let value = u8::try_from(asked).map_err(|_| Errno::EINVAL)?;
                if i32::from(value) > IP_PMTUDISC_OMIT {
                    return Err(Errno::EINVAL);
                }
                self.mtu_discover = value;
            }
            IP_FREEBIND => self.free_bind = asked != 0,
            IP_TRANSPARENT => self.transparent = asked != 0,
            IP_HDRINCL => self.header_included = asked != 0,
            IP_NODEFRAG => self.no_defragmentation = asked != 0,
            IP_BIND_ADDRESS_NO_PORT => self.bind_address_no_port = asked != 0,
            IP_MULTICAST_TTL => self.multicast.hop_limit = hops(asked, 0)?.unwrap_or(1),
            IP_MULTICAST_LOOP => self.multicast.is_looped = asked != 0,
            IP_MULTICAST_ALL if asked == 0 || asked == 1 => self.multicast.receives_all = asked != 0,
            IP_MULTICAST_ALL => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

/// The queueing priority that goes with a type of service (`ip_tos2prio` in `net/ipv4/route.c`).
pub(super) fn priority_of_tos(tos: u8) -> i32 {
    const BEST_EFFORT: i32 = 0;
    const FILLER: i32 = 1;
    const BULK: i32 = 2;
    const INTERACTIVE_BULK: i32 = 4;
    const INTERACTIVE: i32 = 6;
    // By RFC 1349's four bits, the lowest of which (minimise cost) is ECN's today.
    match tos >> 1 & 0xf {
        0 | 2 => BEST_EFFORT,
        1 | 3 => FILLER,
        4 | 6 => BULK,
        5 | 7 => BULK,
        8 | 10 => INTERACTIVE,
        9 | 11 => INTERACTIVE,
        _ => INTERACTIVE_BULK,
    }
}
