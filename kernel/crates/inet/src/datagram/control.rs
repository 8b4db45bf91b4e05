//! Control data of datagrams: what is received beside them, and what is sent (`ip_cmsg_recv_offset`, `ip_cmsg_send`
//! in `net/ipv4/ip_sockglue.c`; `ip6_datagram_recv_ctl`, `ip6_datagram_send_ctl` in `net/ipv6/datagram.c`).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use ipc::socket::{Control, Received};
use linux_abi::{
    Errno,
    inet::{
        In6Pktinfo, InPktinfo,
        ip_option::{IP_ORIGDSTADDR, IP_PKTINFO, IP_TOS, IP_TTL},
        ipv6_option::{
            IPV6_DONTFRAG, IPV6_FLOWINFO, IPV6_HOPLIMIT, IPV6_ORIGDSTADDR, IPV6_PKTINFO, IPV6_TCLASS,
        },
        level::{SOL_IP, SOL_IPV6, SOL_UDP},
        udp_option::UDP_SEGMENT,
    },
    socket::{
        MessageFlags, SOL_SOCKET,
        option::{SO_MARK, SO_RXQ_OVFL, SO_TIMESTAMP, SO_TIMESTAMPNS},
    },
    time::{Timespec, Timeval},
};
use vfs::ReadDst;
use zerocopy::{FromBytes, IntoBytes};

use super::{Arrived, queue::Taken};
use crate::{
    Family, SocketCore, Switches, Timestamps,
    options::{ReceiveV4, ReceiveV6},
};

/// Control data that a datagram was sent with.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendControl {
    /// Source address.
    pub(crate) source: Option<IpAddr>,
    /// Interface to send by.
    pub(crate) interface: u32,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) traffic_class: Option<u8>,
    pub(crate) dont_fragment: Option<bool>,
    /// Bytes of each datagram that the data are cut into (`UDP_SEGMENT`).
    pub(crate) segment_bytes: Option<u16>,
    /// Over IPv6, no checksum is made (`UDP_NO_CHECK6_TX`): the socket's, no control data say so.
    pub(crate) omits_checksum6: bool,
}

/// One piece of control data, as the application passed it.
struct Ancillary<'a> {
    level: i32,
    kind: i32,
    data: &'a [u8],
}

impl Ancillary<'_> {
    fn number(&self) -> Result<i32, Errno> {
        let bytes: [u8; 4] = self.data.try_into().map_err(|_| Errno::EINVAL)?;
        Ok(i32::from_ne_bytes(bytes))
    }

    /// A number of 0 to 255; -1 stands for the default.
    fn byte_or_default(&self) -> Result<Option<u8>, Errno> {
        match self.number()? {
            -1 => Ok(None),
            number => u8::try_from(number).map(Some).map_err(|_| Errno::EINVAL),
        }
    }
}

impl SendControl {
    /// Decodes control data for a datagram to `destination`.
    pub(crate) fn decode(core: &SocketCore, control: &[Control], destination: IpAddr) -> Result<Self, Errno> {
        let mut decoded = Self::default();
        for item in control {
            // Descriptors and credentials mean something to local sockets only; Linux passes over them.
            let Control::Other { level, kind, data } = item else { continue };
            let item = Ancillary { level: *level, kind: *kind, data };
            match (item.level, destination) {
                (SOL_SOCKET, _) if item.kind == SO_MARK => {
                    item.number()?;
                }
                (SOL_SOCKET, _) => return Err(Errno::EINVAL),
                (SOL_UDP, _) if item.kind == UDP_SEGMENT => {
                    let bytes: [u8; 2] = item.data.try_into().map_err(|_| Errno::EINVAL)?;
                    decoded.segment_bytes = Some(u16::from_ne_bytes(bytes));
                }
                (SOL_UDP, _) => return Err(Errno::EINVAL),
                (SOL_IP, IpAddr::V4(_)) => decoded.add_ipv4(&item)?,
                (SOL_IPV6, IpAddr::V4(_)) if core.family == Family::V6 && item.kind == IPV6_PKTINFO => {
                    decoded.add_mapped_source(&item)?;
                }
                (SOL_IPV6, IpAddr::V6(_)) => decoded.add_ipv6(&item)?,
                _ => {}
            }
        }
        Ok(decoded)
    }

    fn add_ipv4(&mut self, item: &Ancillary<'_>) -> Result<(), Errno> {
        match item.kind {
            IP_PKTINFO => {
                let info = InPktinfo::read_from_bytes(item.data).map_err(|_| Errno::EINVAL)?;
                self.interface = u32::try_from(info.interface).map_err(|_| Errno::ENODEV)?;
                let source = Ipv4Addr::from(info.specified_destination);
                self.source = (!source.is_unspecified()).then_some(source.into());
            }
            IP_TTL => match item.number()? {
                ttl @ 1..=255 => self.hop_limit = Some(ttl as u8),
                _ => return Err(Errno::EINVAL),
            },
            IP_TOS => {
                let tos = match item.data {
                    [tos] => i32::from(*tos),
                    _ => item.number()?,
                };
                self.traffic_class = Some(u8::try_from(tos).map_err(|_| Errno::EINVAL)?);
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn add_ipv6(&mut self, item: &Ancillary<'_>) -> Result<(), Errno> {
        match item.kind {
            IPV6_PKTINFO => {
                let info = In6Pktinfo::read_from_prefix(item.data).map_err(|_| Errno::EINVAL)?.0;
                self.interface = u32::try_from(info.interface).map_err(|_| Errno::ENODEV)?;
                let source = IpAddr::V6(info.address.into());
                self.source = (!source.is_unspecified()).then_some(source);
            }
            IPV6_HOPLIMIT => self.hop_limit = item.byte_or_default()?,
            IPV6_TCLASS => self.traffic_class = item.byte_or_default()?,
            IPV6_DONTFRAG => match item.number()? {
                flag @ 0..=1 => self.dont_fragment = Some(flag != 0),
                _ => return Err(Errno::EINVAL),
            },
            IPV6_FLOWINFO => {
                item.number()?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn add_mapped_source(&mut self, item: &Ancillary<'_>) -> Result<(), Errno> {
        let info = In6Pktinfo::read_from_prefix(item.data).map_err(|_| Errno::EINVAL)?.0;
        let source = IpAddr::V6(info.address.into()).to_canonical();
        self.interface = u32::try_from(info.interface).map_err(|_| Errno::ENODEV)?;
        match source {
            _ if source.is_unspecified() => {}
            IpAddr::V4(_) => self.source = Some(source),
            IpAddr::V6(_) => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

fn other(level: i32, kind: i32, data: &[u8]) -> Control {
    Control::Other { level, kind, data: data.to_vec() }
}

fn number(level: i32, kind: i32, value: i32) -> Control {
    other(level, kind, &value.to_ne_bytes())
}

/// Gives the application a datagram, and what comes with it; `dropped` is how many were lost before.
pub(crate) fn hand_over(
    core: &SocketCore,
    arrived: &Arrived,
    dropped: u32,
    dst: &mut dyn ReadDst,
    flags: MessageFlags,
) -> Result<Received, Errno> {
    let Taken { len, flags } = Taken::copy(arrived, dst, flags)?;
    let mut source = arrived.source;
    if source.needs_scope() {
        source.scope = interface_of(core, arrived);
    }
    Ok(Received {
        len,
        flags,
        address: Some(source.encode(core.family)),
        control: control_of(core, arrived, dropped),
    })
}

/// The control data that come with a datagram, as the socket's options ask; `dropped` is how many were lost before.
fn control_of(core: &SocketCore, arrived: &Arrived, dropped: u32) -> Vec<Control> {
    let (v4, v6, timestamps, counts_drops) = core.with(|options| {
        (
            options.ip.receive,
            options.ipv6.receive,
            options.common.timestamps,
            options.common.switches.contains(Switches::RXQ_OVFL),
        )
    });
    let mut control = Vec::new();
    match timestamps {
        Timestamps::Off => {}
        Timestamps::Microseconds => {
            control.push(other(SOL_SOCKET, SO_TIMESTAMP, Timeval::from_ns(arrived.time_ns).as_bytes()));
        }
        Timestamps::Nanoseconds => {
            control.push(other(SOL_SOCKET, SO_TIMESTAMPNS, Timespec::from_ns(arrived.time_ns).as_bytes()));
        }
    }
    if counts_drops && dropped > 0 {
        control.push(number(SOL_SOCKET, SO_RXQ_OVFL, dropped as i32));
    }
    match arrived.destination.address {
        IpAddr::V4(destination) => {
            // An IPv6 socket that gets IPv4 tells the destination as mapped (`ip6_datagram_recv_common_ctl`).
            if core.family == Family::V6 && v6.contains(ReceiveV6::PKTINFO) {
                let info = In6Pktinfo {
                    address: destination.to_ipv6_mapped().octets(),
                    interface: interface_of(core, arrived) as i32,
                };
                control.push(other(SOL_IPV6, IPV6_PKTINFO, info.as_bytes()));
            }
            add_ipv4(core, arrived, destination, v4, &mut control);
        }
        IpAddr::V6(destination) => add_ipv6(core, arrived, destination, v6, &mut control),
    }
    control
}

fn add_ipv4(
    core: &SocketCore,
    arrived: &Arrived,
    destination: Ipv4Addr,
    wanted: ReceiveV4,
    control: &mut Vec<Control>,
) {
    if wanted.contains(ReceiveV4::PKTINFO) {
        let interface = interface_of(core, arrived);
        // What an answer should come from: the destination, if that is an address of ours.
        let own = if destination.is_multicast() || destination.is_broadcast() {
            core.address_on(interface).unwrap_or(Ipv4Addr::UNSPECIFIED)
        } else {
            destination
        };
        let info = InPktinfo {
            interface: interface as i32,
            specified_destination: own.octets(),
            address: destination.octets(),
        };
        control.push(other(SOL_IP, IP_PKTINFO, info.as_bytes()));
    }
    if wanted.contains(ReceiveV4::TTL) {
        control.push(number(SOL_IP, IP_TTL, i32::from(arrived.hop_limit)));
    }
    if wanted.contains(ReceiveV4::TOS) {
        control.push(other(SOL_IP, IP_TOS, &[arrived.traffic_class]));
    }
    if wanted.contains(ReceiveV4::ORIGINAL_DESTINATION) {
        control.push(other(SOL_IP, IP_ORIGDSTADDR, &arrived.destination.encode(Family::V4)));
    }
}

fn add_ipv6(
    core: &SocketCore,
    arrived: &Arrived,
    destination: core::net::Ipv6Addr,
    wanted: ReceiveV6,
    control: &mut Vec<Control>,
) {
    if wanted.contains(ReceiveV6::PKTINFO) {
        let info =
            In6Pktinfo { address: destination.octets(), interface: interface_of(core, arrived) as i32 };
        control.push(other(SOL_IPV6, IPV6_PKTINFO, info.as_bytes()));
    }
    if wanted.contains(ReceiveV6::HOP_LIMIT) {
        control.push(number(SOL_IPV6, IPV6_HOPLIMIT, i32::from(arrived.hop_limit)));
    }
    if wanted.contains(ReceiveV6::TRAFFIC_CLASS) {
        control.push(number(SOL_IPV6, IPV6_TCLASS, i32::from(arrived.traffic_class)));
    }
    let flow_info = u32::from(arrived.traffic_class) << 20 | arrived.flow_label;
    if wanted.contains(ReceiveV6::FLOW_INFO) && flow_info != 0 {
        control.push(other(SOL_IPV6, IPV6_FLOWINFO, &flow_info.to_be_bytes()));
    }
    if wanted.contains(ReceiveV6::ORIGINAL_DESTINATION) {
        control.push(other(SOL_IPV6, IPV6_ORIGDSTADDR, &arrived.destination.encode(Family::V6)));
    }
}

/// Where a datagram came in. What came through a channel does not say; then it is the interface that has the
/// destination's address.
fn interface_of(core: &SocketCore, arrived: &Arrived) -> u32 {
    if arrived.interface != 0 {
        return arrived.interface;
    }
    let destination = arrived.destination.address;
    if destination.is_loopback() {
        return ip::LOOPBACK_INDEX;
    }
    let interfaces = core.net.ip.interfaces();
    interfaces
        .iter()
        .find(|interface| interface.addresses.iter().any(|own| own.address == destination))
        .map_or(0, |interface| interface.index)
}
