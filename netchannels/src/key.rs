//! The names of flows.

use core::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// The transports whose packets are classified; the values are the protocol numbers of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// What a packet says of whose it is: transport, local address and port, remote address and port; or, for a socket
/// that takes packets from anybody, transport and local address and port only.
///
/// An IPv4 address and the IPv6 address that it is mapped to (RFC 4291, 2.5.5.2) are the same: connections of a
/// dual-stack socket are found by packets of IPv4. (On the wire, mapped addresses never get here.) The unspecified
/// addresses of the two families are different.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Local address, remote address, and ports and transport, in this order: words for the hash.
    words: [u64; 5],
}

impl FlowKey {
    /// The key of a connection (or of a connected UDP socket).
    pub fn connection(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self::new(
            transport,
            (address_words(local.ip()), local.port()),
            (address_words(remote.ip()), remote.port()),
        )
    }

    /// The key of a socket that is bound, and takes packets from anybody. With an unspecified address it takes what
    /// was sent to any address of that family; a dual-stack socket has two such keys.
    pub fn bound(transport: Transport, local: SocketAddr) -> Self {
        Self::new(transport, (address_words(local.ip()), local.port()), ([0; 2], 0))
    }

    #[inline]
    pub(crate) fn new(
        transport: Transport,
        (local, local_port): ([u64; 2], u16),
        (remote, remote_port): ([u64; 2], u16),
    ) -> Self {
        let ports = u64::from(local_port) << 32 | u64::from(remote_port) << 16 | transport as u64;
        Self { words: [local[0], local[1], remote[0], remote[1], ports] }
    }

    /// The key of the socket bound to this packet's local address and port.
    #[inline]
    pub fn to_bound(self) -> Self {
        let [high, low, _, _, _] = self.words;
        Self::new(self.transport(), ([high, low], self.local_port()), ([0; 2], 0))
    }

    /// The key of the socket bound to this packet's local port on all addresses of its family. The table does not
    /// know which addresses are the machine's own: look before a packet is handed out by this key.
    #[inline]
    pub fn to_bound_anywhere(self) -> Self {
        let any = if is_mapped_ipv4([self.words[0], self.words[1]]) { ipv4_words([0; 4]) } else { [0; 2] };
        Self::new(self.transport(), (any, self.local_port()), ([0; 2], 0))
    }

    /// The transport.
    #[inline]
    pub fn transport(self) -> Transport {
        if self.words[4] as u8 == Transport::Tcp as u8 { Transport::Tcp } else { Transport::Udp }
    }

    /// Local address and port.
    pub fn local(self) -> SocketAddr {
        SocketAddr::new(address([self.words[0], self.words[1]]), self.local_port())
    }

    /// Remote address and port; `None` for a socket that takes packets from anybody.
    pub fn remote(self) -> Option<SocketAddr> {
        let port = (self.words[4] >> 16) as u16;
        (port != 0).then(|| SocketAddr::new(address([self.words[2], self.words[3]]), port))
    }

    #[inline]
    fn local_port(self) -> u16 {
        (self.words[4] >> 32) as u16
    }

    #[inline]
    pub(crate) fn words(&self) -> &[u64; 5] {
        &self.words
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.transport(), self.local())?;
        self.remote().map_or(Ok(()), |remote| write!(f, " <- {remote}"))
    }
}

/// The words of an IPv4 address, mapped.
#[inline]
pub(crate) fn ipv4_words(octets: [u8; 4]) -> [u64; 2] {
    [0, 0xffff_0000_0000 | u64::from(u32::from_be_bytes(octets))]
}

/// The words of an IPv6 address.
#[inline]
pub(crate) fn ipv6_words(octets: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_be_bytes(octets);
    [(bits >> 64) as u64, bits as u64]
}

/// Whether the words are those of an IPv4 address.
#[inline]
pub(crate) fn is_mapped_ipv4([high, low]: [u64; 2]) -> bool {
    high == 0 && low >> 32 == 0xffff
}

fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => ipv4_words(address.octets()),
        IpAddr::V6(address) => ipv6_words(address.octets()),
    }
}

fn address([high, low]: [u64; 2]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))).to_canonical()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn says_what_it_was_made_of(local: SocketAddr, remote: SocketAddr) {
            prop_assume!(remote.port() != 0);
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let key = FlowKey::connection(Transport::Tcp, local, remote);
            prop_assert_eq!(key.transport(), Transport::Tcp);
            prop_assert_eq!(key.local(), plain(local));
            prop_assert_eq!(key.remote(), Some(plain(remote)));
            prop_assert_eq!(key.to_bound(), FlowKey::bound(Transport::Tcp, local));
            prop_assert_eq!(key.to_bound().remote(), None);
            let any: IpAddr = if plain(local).is_ipv4() { [0_u8; 4].into() } else { [0_u8; 16].into() };
            prop_assert_eq!(
                key.to_bound_anywhere(),
                FlowKey::bound(Transport::Tcp, SocketAddr::new(any, local.port())),
            );
        }
    }
}
