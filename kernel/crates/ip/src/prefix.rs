//! Prefixes of addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Scope;

/// An address' first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) len: u8,
}

impl Prefix {
    /// The first `len` bits of `address`; all there are, if it has fewer.
    pub(crate) fn new(address: IpAddr, len: u8) -> Self {
        let len = len.min(width(address));
        let address = match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask4(len)).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & mask6(len)).into(),
        };
        Self { address, len }
    }

    /// Whether `address` begins with these bits.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.len) == *self
    }

    /// Its bits, followed by zeros, as a number; 0 for IPv4.
    pub(crate) fn bits_v6(&self) -> u128 {
        match self.address {
            IpAddr::V4(_) => 0,
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

/// Bits of an address.
pub(crate) fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

/// The address that all of a subnet hear; subnets of one or two addresses have none (RFC 3021).
pub(crate) fn broadcast_of(address: Ipv4Addr, len: u8) -> Option<Ipv4Addr> {
    (len < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | !mask4(len)))
}

/// How many leading bits two addresses share.
pub(crate) fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

/// Whether this is `fe80::/10`.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// How far an address of an interface reaches.
pub(crate) fn scope_of(address: IpAddr) -> Scope {
    match address {
        _ if address.is_loopback() => Scope::Host,
        // Linux gives IPv4's link-local addresses no scope of their own.
        IpAddr::V4(_) => Scope::Universe,
        IpAddr::V6(address) if address.is_unicast_link_local() => Scope::Link,
        IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfec0 => Scope::Site,
        IpAddr::V6(_) => Scope::Universe,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_contains_what_begins_with_its_bits(a in any::<u128>(), b in any::<u128>(), len in 0..=128_u8) {
            let prefix = Prefix::new(Ipv6Addr::from_bits(a).into(), len);
            let other = Ipv6Addr::from_bits(b);
            let expected = (0..len).all(|bit| (a ^ b) >> (127 - bit) & 1 == 0);
            prop_assert_eq!(prefix.contains(other.into()), expected);
            prop_assert_eq!(common_bits(Ipv6Addr::from_bits(a), other) >= u32::from(len), expected);
            prop_assert!(prefix.contains(Ipv6Addr::from_bits(a).into()));
        }
    }

    #[test]
    fn broadcast_addresses() {
        let broadcast = |a: [u8; 4], len| broadcast_of(a.into(), len).map(|b| b.octets());
        assert_eq!(broadcast([10, 0, 2, 15], 24), Some([10, 0, 2, 255]));
        assert_eq!(broadcast([10, 0, 2, 15], 0), Some([255; 4]));
        assert_eq!(broadcast([10, 0, 2, 15], 31), None);
        assert_eq!(broadcast([127, 0, 0, 1], 8), Some([127, 255, 255, 255]));
    }
}
