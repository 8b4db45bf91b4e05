//! Socket addresses: `struct sockaddr_in` and `struct sockaddr_in6` (`ip(7)`, `ipv6(7)`).
//!
//! Inside, an address is an [`Endpoint`], in which an IPv4 address is IPv4 however it came: an IPv6 socket shows and
//! takes it as `::ffff:a.b.c.d`.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux_abi::{
    Errno,
    inet::{SOCKADDR_IN6_MIN, SockaddrIn, SockaddrIn6},
    socket::{
        SocketType,
        family::{AF_INET, AF_INET6, AF_UNSPEC},
    },
};
use zerocopy::{FromBytes, IntoBytes};

/// The family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::V4 => AF_INET,
            Self::V6 => AF_INET6,
        }
    }

    /// Its address that is none.
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// The port; a raw socket's protocol.
    pub port: u16,
    /// Index of the interface that a link-local IPv6 address belongs to, or 0.
    pub scope: u32,
    /// Flow label and traffic class of `sin6_flowinfo`, in host order.
    pub flow_info: u32,
}

impl Endpoint {
    /// An endpoint without scope.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address: address.to_canonical(), port, scope: 0, flow_info: 0 }
    }

    /// The address of a new socket.
    pub const fn unspecified(family: Family) -> Self {
        Self { address: family.unspecified(), port: 0, scope: 0, flow_info: 0 }
    }

    /// Decodes the address for `bind`: `inet_bind_sk` and `inet6_bind_sk` in Linux.
    pub fn decode_to_bind(family: Family, bytes: &[u8]) -> Result<Self, Errno> {
        match family {
            Family::V4 => {
                let sockaddr = read_v4(bytes)?;
                let endpoint = Self::from_v4(sockaddr);
                match sockaddr.family {
                    AF_INET => Ok(endpoint),
                    // A habit of old programs.
                    AF_UNSPEC if endpoint.address.is_unspecified() => Ok(endpoint),
                    _ => Err(Errno::EAFNOSUPPORT),
                }
            }
            Family::V6 => match read_v6(bytes)? {
                sockaddr if sockaddr.family == AF_INET6 => Ok(Self::from_v6(sockaddr)),
                _ => Err(Errno::EAFNOSUPPORT),
            },
        }
    }

    /// Decodes the address for `connect`; `None` ends the connection (`AF_UNSPEC`).
    pub fn decode_to_connect(family: Family, kind: SocketType, bytes: &[u8]) -> Result<Option<Self>, Errno> {
        let of = family_of(bytes)?;
        match (family, of) {
            (_, AF_UNSPEC) => Ok(None),
            (Family::V4, AF_INET) => Ok(Some(Self::from_v4(read_v4(bytes)?))),
            (Family::V4, _) => read_v4(bytes).and(Err(Errno::EAFNOSUPPORT)),
            (Family::V6, AF_INET6) => Ok(Some(Self::from_v6(read_v6(bytes)?))),
            // `__ip6_datagram_connect` takes an IPv4 address as it is, `tcp_v6_connect` does not.
            (Family::V6, AF_INET) if kind != SocketType::Stream => Ok(Some(Self::from_v4(read_v4(bytes)?))),
            (Family::V6, _) => read_v6(bytes).and(Err(Errno::EAFNOSUPPORT)),
        }
    }

    /// Decodes the address of a datagram; `None` if the datagram goes to the peer (`udpv6_sendmsg`).
    pub fn decode_to_send(family: Family, bytes: &[u8]) -> Result<Option<Self>, Errno> {
        match family {
            Family::V4 => {
                let sockaddr = read_v4(bytes)?;
                match sockaddr.family {
                    AF_INET | AF_UNSPEC => Ok(Some(Self::from_v4(sockaddr))),
                    _ => Err(Errno::EAFNOSUPPORT),
                }
            }
            Family::V6 => match family_of(bytes)? {
                AF_INET6 => Ok(Some(Self::from_v6(read_v6(bytes)?))),
                AF_INET => Ok(Some(Self::from_v4(read_v4(bytes)?))),
                AF_UNSPEC => Ok(None),
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// Decodes an address of either family: those in `struct group_req`.
    pub fn decode_any(bytes: &[u8]) -> Result<Self, Errno> {
        match family_of(bytes)? {
            AF_INET => Ok(Self::from_v4(read_v4(bytes)?)),
            AF_INET6 => Ok(Self::from_v6(read_v6(bytes)?)),
            _ => Err(Errno::EADDRNOTAVAIL),
        }
    }

    fn from_v4(sockaddr: SockaddrIn) -> Self {
        Self::new(IpAddr::V4(sockaddr.address.into()), u16::from_be_bytes(sockaddr.port))
    }

    fn from_v6(sockaddr: SockaddrIn6) -> Self {
        Self {
            scope: sockaddr.scope,
            flow_info: u32::from_be_bytes(sockaddr.flow_info),
            ..Self::new(IpAddr::V6(sockaddr.address.into()), u16::from_be_bytes(sockaddr.port))
        }
    }

    /// The address as a socket of `family` shows it.
    pub fn encode(&self, family: Family) -> Vec<u8> {
        match (family, self.address) {
            (Family::V4, IpAddr::V4(address)) => SockaddrIn {
                family: AF_INET,
                port: self.port.to_be_bytes(),
                address: address.octets(),
                zero: [0; 8],
            }
            .as_bytes()
            .to_vec(),
            // An IPv4 socket has no other address; IPv6 shows the unspecified one of either kind as its own.
            (_, address) => {
                let address = match address {
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED,
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                let scope = if is_link_local(address) { self.scope } else { 0 };
                SockaddrIn6 {
                    family: AF_INET6,
                    port: self.port.to_be_bytes(),
                    flow_info: self.flow_info.to_be_bytes(),
                    address: address.octets(),
                    scope,
                }
                .as_bytes()
                .to_vec()
            }
        }
    }

    /// Whether the address means something on one interface only.
    pub fn needs_scope(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if is_link_local(address))
    }

    /// The interface that the address names, if it does.
    pub fn interface(&self) -> Option<u32> {
        (self.needs_scope() && self.scope != 0).then_some(self.scope)
    }
}

/// Link-local unicast and multicast, interface-local multicast too (`__ipv6_addr_needs_scope_id`).
fn is_link_local(address: Ipv6Addr) -> bool {
    let octets = address.octets();
    address.is_unicast_link_local() || (octets[0] == 0xff && matches!(octets[1] & 0xf, 1 | 2))
}

/// The family; `EINVAL` if there is not even that.
fn family_of(bytes: &[u8]) -> Result<u16, Errno> {
    bytes.first_chunk().map(|family| u16::from_ne_bytes(*family)).ok_or(Errno::EINVAL)
}

fn read_v4(bytes: &[u8]) -> Result<SockaddrIn, Errno> {
    SockaddrIn::read_from_prefix(bytes).map(|(sockaddr, _)| sockaddr).map_err(|_| Errno::EINVAL)
}

fn read_v6(bytes: &[u8]) -> Result<SockaddrIn6, Errno> {
    if bytes.len() < SOCKADDR_IN6_MIN {
        return Err(Errno::EINVAL);
    }
    let mut sockaddr = SockaddrIn6::default();
    let len = bytes.len().min(size_of::<SockaddrIn6>());
    sockaddr.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
    Ok(sockaddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(address: [u8; 4], port: u16) -> Vec<u8> {
        Endpoint::new(IpAddr::from(address), port).encode(Family::V4)
    }

    #[test]
    fn an_ipv4_address_is_mapped_on_an_ipv6_socket() {
        let endpoint = Endpoint::new(IpAddr::from([127, 0, 0, 1]), 80);
        let shown = endpoint.encode(Family::V6);
        assert_eq!(shown.len(), 28);
        assert_eq!(&shown[8..24], Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
        assert_eq!(Endpoint::decode_to_bind(Family::V6, &shown), Ok(endpoint));
    }

    #[test]
    fn a_scope_is_kept_where_it_means_something() {
        let mut endpoint = Endpoint::new("fe80::1".parse().unwrap(), 1);
        endpoint.scope = 2;
        assert_eq!(Endpoint::decode_to_bind(Family::V6, &endpoint.encode(Family::V6)), Ok(endpoint));
        assert_eq!(endpoint.interface(), Some(2));
        let mut global = Endpoint::new("2001:db8::1".parse().unwrap(), 1);
        global.scope = 2;
        assert_eq!(global.encode(Family::V6)[24..], [0; 4]);
        assert_eq!(global.interface(), None);
    }

    #[test]
    fn short_and_foreign_addresses_are_refused_as_by_linux() {
        let address = v4([127, 0, 0, 1], 7);
        assert_eq!(Endpoint::decode_to_bind(Family::V4, &address[..8]), Err(Errno::EINVAL));
        assert_eq!(Endpoint::decode_to_bind(Family::V6, &address), Err(Errno::EINVAL));
        let mut foreign = address.clone();
        foreign[0] = AF_INET6 as u8;
        assert_eq!(Endpoint::decode_to_bind(Family::V4, &foreign), Err(Errno::EAFNOSUPPORT));
        assert_eq!(
            Endpoint::decode_to_connect(Family::V4, SocketType::Stream, &foreign),
            Err(Errno::EAFNOSUPPORT)
        );
        assert_eq!(Endpoint::decode_to_connect(Family::V6, SocketType::Stream, &[0; 2]), Ok(None));
        assert_eq!(Endpoint::decode_to_connect(Family::V6, SocketType::Stream, &[0]), Err(Errno::EINVAL));
        // A datagram socket of IPv6 connects to a plain IPv4 address, too.
        let v6_datagram = Endpoint::decode_to_connect(Family::V6, SocketType::Datagram, &address);
        assert_eq!(v6_datagram.unwrap().unwrap().address, IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn the_scope_may_be_left_out() {
        let bytes = Endpoint::new("::1".parse().unwrap(), 9).encode(Family::V6);
        assert_eq!(Endpoint::decode_to_bind(Family::V6, &bytes[..24]).unwrap().port, 9);
        assert_eq!(Endpoint::decode_to_bind(Family::V6, &bytes[..23]), Err(Errno::EINVAL));
    }
}
