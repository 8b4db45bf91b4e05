//! Where a datagram goes, and what it is made of.

use alloc::{boxed::Box, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering::Relaxed,
};

use frames::{PAGE_SIZE, PageRef};
use ip::{MulticastLoop, OutputOptions, PathMtuDiscovery, Route, RouteKind};
use linux_abi::{Errno, socket::MessageFlags};
use packet::{Fragment, Packet};
use vfs::WriteSrc;

use super::SendControl;
use crate::{Endpoint, SocketCore, Switches, options::path_mtu_discovery};

/// Room that IP and the link need in front of what a transport sends, fragments' headers included.
const FRONT_ROOM: usize = 62;

/// The longest datagram of either version, without headers of IP: its length has 16 bits.
pub(crate) const LEN_MAX: usize = 0xffff;

/// How long the message of a call is, which the protocols of datagrams have no out-of-band data in.
pub(crate) fn message_len(src: &dyn WriteSrc, flags: MessageFlags) -> Result<usize, Errno> {
    let len = src.remaining();
    if len > LEN_MAX {
        return Err(Errno::EMSGSIZE);
    }
    if flags.contains(MessageFlags::OOB) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(len)
}

/// Where a datagram goes, and how.
pub(crate) struct Destination {
    pub(crate) endpoint: Endpoint,
    pub(crate) route: Route,
    pub(crate) source: IpAddr,
    pub(crate) options: OutputOptions,
}

impl Destination {
    /// Finds the way to `endpoint` for a socket, as its options and the datagram's control data say
    /// (`udp_sendmsg`, `udpv6_sendmsg`). `EACCES` for a broadcast without `SO_BROADCAST`.
    pub(crate) fn find(
        core: &SocketCore,
        protocol: u8,
        endpoint: Endpoint,
        control: &SendControl,
        flags: MessageFlags,
    ) -> Result<Self, Errno> {
        let mut endpoint = endpoint;
        // "Any" address is this machine.
        endpoint.address = match endpoint.address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        let is_multicast = endpoint.address.is_multicast();
        let local = core.endpoints().local.address;
        let wants = Wants::of(core, endpoint.address, protocol, is_multicast);
        let interface =
            [control.interface, core.bound_interface(), endpoint.interface().unwrap_or(0), wants.interface]
                .into_iter()
                .find(|index| *index != 0);
        let bound =
            (!local.is_unspecified() && !local.is_multicast() && !is_broadcast(local)).then_some(local);
        let source = control.source.or(bound).or(wants.source);
        let route = core.net.ip.route(endpoint.address, source, interface)?;
        if route.kind == RouteKind::Broadcast && !core.has_switch(Switches::BROADCAST) {
            return Err(Errno::EACCES);
        }
        let is_direct = flags.contains(MessageFlags::DONTROUTE) || core.has_switch(Switches::DONTROUTE);
        if is_direct && route.kind == RouteKind::Unicast && route.next_hop != endpoint.address {
            return Err(Errno::ENETUNREACH);
        }
        let mut options = wants.options;
        if let Some(hop_limit) = control.hop_limit {
            options.hop_limit = Some(hop_limit);
        }
        if let Some(class) = control.traffic_class {
            options.tos = class;
        }
        if control.dont_fragment == Some(true) {
            options.path_mtu_discovery = PathMtuDiscovery::Do;
        }
        let source = source.unwrap_or(route.source);
        Ok(Self { endpoint, route, source, options })
    }

    /// Bytes of the largest packet that is not cut into fragments.
    pub(crate) fn most_bytes(&self) -> u32 {
        self.options.most_bytes.map_or(self.route.mtu, |most| most.min(self.route.mtu))
    }

    /// Sends packets that begin with the transport's header.
    pub(crate) fn send(&self, core: &SocketCore, packets: &mut Vec<Box<Packet>>) -> Result<(), Errno> {
        core.net.ip.output(&self.route, self.source, self.endpoint.address, self.options, packets)
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// What a socket's options want of a datagram.
struct Wants {
    interface: u32,
    source: Option<IpAddr>,
    options: OutputOptions,
}

impl Wants {
    fn of(core: &SocketCore, destination: IpAddr, protocol: u8, is_multicast: bool) -> Self {
        let default_ttl = core.net.settings.default_ttl.load(Relaxed) as u8;
        core.with(|all| {
            let mut options = OutputOptions::new(protocol);
            let (unicast, multicast, hop_limit, source) = match destination {
                IpAddr::V4(_) => {
                    let ip = &all.ip;
                    options.tos = ip.tos;
                    options.path_mtu_discovery = path_mtu_discovery(ip.mtu_discover);
                    let source = Ipv4Addr::from(ip.multicast_address);
                    let source = (is_multicast && !source.is_unspecified()).then_some(source.into());
                    (ip.unicast_interface, ip.multicast, Some(ip.ttl.unwrap_or(default_ttl)), source)
                }
                IpAddr::V6(_) => {
                    let ip = &all.ipv6;
                    options.tos = ip.traffic_class;
                    options.most_bytes = (ip.fragment_size != 0).then_some(ip.fragment_size);
                    options.path_mtu_discovery = if ip.dont_fragment {
                        PathMtuDiscovery::Do
                    } else {
                        path_mtu_discovery(ip.mtu_discover)
                    };
                    let sticky = Ipv6Addr::from(ip.sticky_source.0);
                    let source = (!sticky.is_unspecified()).then_some(sticky.into());
                    let interface =
                        if ip.sticky_source.1 != 0 { ip.sticky_source.1 } else { ip.unicast_interface };
                    (interface, ip.multicast, ip.hop_limit, source)
                }
            };
            if is_multicast {
                options.hop_limit = Some(multicast.hop_limit);
                options.multicast_loop =
                    if multicast.is_looped { MulticastLoop::On } else { MulticastLoop::Off };
            } else {
                options.hop_limit = hop_limit;
            }
            let interface =
                if is_multicast && multicast.interface != 0 { multicast.interface } else { unicast };
            Self { interface, source, options }
        })
    }
}

/// A packet with `header` bytes of header, unspecified, and `len` bytes of the application's behind: in the head if
/// they fit, else in frames.
pub(crate) fn copy_payload(header: usize, len: usize, src: &mut dyn WriteSrc) -> Result<Box<Packet>, Errno> {
    let mut packet = Box::new(Packet::with_front(FRONT_ROOM));
    packet.append_head(header);
    if len <= packet.head_room_behind() {
        let room = packet.append_head(len);
        let mut filled = 0;
        while filled < len {
            match src.take(&mut room[filled..]) {
                Ok(0) | Err(_) => return Err(Errno::EFAULT),
                Ok(taken) => filled += taken,
            }
        }
        return Ok(packet);
    }
    let mut left = len;
    while left > 0 {
        let page = PageRef::new_zeroed().map_err(|_| Errno::ENOBUFS)?;
        let part = left.min(PAGE_SIZE);
        if src.take_page(&page, 0, part)? < part {
            return Err(Errno::EFAULT);
        }
        packet.push(Fragment::new(page, 0, part)).map_err(|_| Errno::EMSGSIZE)?;
        left -= part;
    }
    Ok(packet)
}
