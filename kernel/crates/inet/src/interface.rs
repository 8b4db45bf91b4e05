//! `ioctl` requests about interfaces (`netdevice(7)`): `dev_ioctl` in `net/core/dev_ioctl.c` for sockets of all
//! families, `devinet_ioctl` in `net/ipv4/devinet.c` for those of IPv4.
//!
//! The machine's configuration is the host's affair: what would change it is `EPERM`.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use ip::{AddressInfo, InterfaceInfo};
use linux_abi::{
    Errno,
    inet::SockaddrIn,
    interface::{ARPHRD_ETHER, ARPHRD_LOOPBACK, IFNAMSIZ, Ifreq, request::*},
    socket::family::AF_INET,
};
use zerocopy::IntoBytes;

use crate::Net;

/// Packets that Linux lets wait for a device to take them, by default.
pub(crate) const TRANSMIT_QUEUE: u32 = 1000;

/// Answers a request that takes a `struct ifreq`, for a socket of `family`. `ENOTTY` if it is none.
pub fn interface_request(net: &Net, family: u16, request: u32, ifreq: &mut Ifreq) -> Result<(), Errno> {
    match request {
        SIOCGIFNAME => {
            let index = u32::from_ne_bytes(*leading(&ifreq.value)?);
            let interface = net.ip.interface(index).ok_or(Errno::ENODEV)?;
            ifreq.name = name_bytes(&interface.name);
            Ok(())
        }
        SIOCGIFADDR | SIOCGIFNETMASK | SIOCGIFBRDADDR | SIOCGIFDSTADDR => {
            if family != AF_INET {
                return Err(Errno::ENOTTY);
            }
            let interface = named(net, ifreq)?;
            let own = ipv4_address(&interface).ok_or(Errno::EADDRNOTAVAIL)?;
            let address = match request {
                SIOCGIFNETMASK => netmask(own.prefix_len),
                SIOCGIFBRDADDR => own.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED),
                // The interface's own is what it has where it is not to one peer.
                _ => v4(own),
            };
            put(ifreq, sockaddr(address).as_bytes());
            Ok(())
        }
        SIOCGIFFLAGS | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN
        | SIOCGIFMAP => {
            let interface = named(net, ifreq)?;
            match request {
                // A short: the upper half of the flags does not fit.
                SIOCGIFFLAGS => put(ifreq, &(interface.flags.bits() as u16).to_ne_bytes()),
                SIOCGIFMETRIC => put(ifreq, &0_i32.to_ne_bytes()),
                SIOCGIFMTU => put(ifreq, &interface.mtu.to_ne_bytes()),
                SIOCGIFINDEX => put(ifreq, &interface.index.to_ne_bytes()),
                SIOCGIFTXQLEN => put(ifreq, &TRANSMIT_QUEUE.to_ne_bytes()),
                SIOCGIFMAP => ifreq.value = [0; 24],
                _ => put(ifreq, &hardware_sockaddr(&interface)),
            }
            Ok(())
        }
        SIOCGIFMEM => named(net, ifreq).and(Err(Errno::ENOTTY)),
        SIOCGIFSLAVE => named(net, ifreq).and(Err(Errno::EINVAL)),
        SIOCETHTOOL => named(net, ifreq).and(Err(Errno::EOPNOTSUPP)),
        SIOCSIFADDR | SIOCSIFDSTADDR | SIOCSIFBRDADDR | SIOCSIFNETMASK if family == AF_INET => {
            Err(Errno::EPERM)
        }
        SIOCSIFFLAGS | SIOCSIFMETRIC | SIOCSIFMTU | SIOCSIFNAME | SIOCSIFHWADDR | SIOCSIFTXQLEN
        | SIOCSIFMAP | SIOCSIFMEM | SIOCADDMULTI | SIOCDELMULTI => Err(Errno::EPERM),
        _ => Err(Errno::ENOTTY),
    }
}

/// The entries of `SIOCGIFCONF`: each IPv4 address with its interface's name.
pub fn interface_list(net: &Net) -> Vec<Ifreq> {
    let interfaces = net.ip.interfaces();
    let all = interfaces.iter().flat_map(|interface| {
        interface.addresses.iter().filter(|own| own.address.is_ipv4()).map(|own| {
            let mut ifreq = Ifreq { name: name_bytes(&interface.name), ..Ifreq::default() };
            put(&mut ifreq, sockaddr(v4(own)).as_bytes());
            ifreq
        })
    });
    all.collect()
}

/// The interface that a request names; an alias (`eth0:1`) stands for it.
fn named(net: &Net, ifreq: &Ifreq) -> Result<InterfaceInfo, Errno> {
    let name = &ifreq.name[..IFNAMSIZ - 1];
    let name = name.split(|byte| matches!(*byte, 0 | b':')).next().unwrap_or_default();
    let index = net.ip.interface_index(&String::from_utf8_lossy(name)).ok_or(Errno::ENODEV)?;
    net.ip.interface(index).ok_or(Errno::ENODEV)
}

fn ipv4_address(interface: &InterfaceInfo) -> Option<&AddressInfo> {
    interface.addresses.iter().find(|own| own.address.is_ipv4())
}

fn v4(own: &AddressInfo) -> Ipv4Addr {
    match own.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn netmask(prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0))
}

fn sockaddr(address: Ipv4Addr) -> SockaddrIn {
    SockaddrIn { family: AF_INET, address: address.octets(), ..SockaddrIn::default() }
}

/// The hardware address, in a `struct sockaddr` whose family is the kind of hardware.
fn hardware_sockaddr(interface: &InterfaceInfo) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&hardware_kind(interface).to_ne_bytes());
    if let Some(address) = interface.hardware_address {
        bytes[2..8].copy_from_slice(&address.0);
    }
    bytes
}

/// `ARPHRD_*`.
pub(crate) fn hardware_kind(interface: &InterfaceInfo) -> u16 {
    if interface.hardware_address.is_some() { ARPHRD_ETHER } else { ARPHRD_LOOPBACK }
}

fn name_bytes(name: &str) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    let len = name.len().min(IFNAMSIZ - 1);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

fn put(ifreq: &mut Ifreq, value: &[u8]) {
    ifreq.value[..value.len()].copy_from_slice(value);
}

fn leading(value: &[u8; 24]) -> Result<&[u8; 4], Errno> {
    value.first_chunk().ok_or(Errno::EINVAL)
}
