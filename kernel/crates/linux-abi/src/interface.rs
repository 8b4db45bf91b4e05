//! Network interfaces: `netdevice(7)` (uapi `linux/if.h`, `linux/sockios.h`, `linux/if_arp.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most bytes of an interface's name, with the NUL behind it.
pub const IFNAMSIZ: usize = 16;

abi_flags! {
    /// Flags of an interface.
    pub struct InterfaceFlags: u32 {
        /// In use.
        const UP = 0x1;
        /// Has a broadcast address.
        const BROADCAST = 0x2;
        /// To this machine itself.
        const LOOPBACK = 0x8;
        /// To one peer.
        const POINTOPOINT = 0x10;
        /// Can carry packets.
        const RUNNING = 0x40;
        /// Resolves no addresses.
        const NOARP = 0x80;
        /// Receives everything.
        const PROMISC = 0x100;
        /// Receives all multicast.
        const ALLMULTI = 0x200;
        /// Knows multicast.
        const MULTICAST = 0x1000;
        /// The lower layer is up.
        const LOWER_UP = 0x1_0000;
    }
}

/// Hardware types (`ARPHRD_*`).
pub const ARPHRD_ETHER: u16 = 1;
/// See above.
pub const ARPHRD_LOOPBACK: u16 = 772;

/// Requests of `ioctl` (uapi `linux/sockios.h`).
pub mod request {
    #![expect(missing_docs, reason = "the names are sockios.h's")]
    pub const FIONREAD: u32 = 0x541b;
    pub const SIOCOUTQ: u32 = 0x5411;
    pub const SIOCATMARK: u32 = 0x8905;
    pub const SIOCGSTAMP: u32 = 0x8906;
    pub const SIOCGSTAMPNS: u32 = 0x8907;
    pub const SIOCADDRT: u32 = 0x890b;
    pub const SIOCDELRT: u32 = 0x890c;
    pub const SIOCGIFNAME: u32 = 0x8910;
    pub const SIOCSIFLINK: u32 = 0x8911;
    pub const SIOCGIFCONF: u32 = 0x8912;
    pub const SIOCGIFFLAGS: u32 = 0x8913;
    pub const SIOCSIFFLAGS: u32 = 0x8914;
    pub const SIOCGIFADDR: u32 = 0x8915;
    pub const SIOCSIFADDR: u32 = 0x8916;
    pub const SIOCGIFDSTADDR: u32 = 0x8917;
    pub const SIOCSIFDSTADDR: u32 = 0x8918;
    pub const SIOCGIFBRDADDR: u32 = 0x8919;
    pub const SIOCSIFBRDADDR: u32 = 0x891a;
    pub const SIOCGIFNETMASK: u32 = 0x891b;
    pub const SIOCSIFNETMASK: u32 = 0x891c;
    pub const SIOCGIFMETRIC: u32 = 0x891d;
    pub const SIOCSIFMETRIC: u32 = 0x891e;
    pub const SIOCGIFMEM: u32 = 0x891f;
    pub const SIOCSIFMEM: u32 = 0x8920;
    pub const SIOCGIFMTU: u32 = 0x8921;
    pub const SIOCSIFMTU: u32 = 0x8922;
    pub const SIOCSIFNAME: u32 = 0x8923;
    pub const SIOCSIFHWADDR: u32 = 0x8924;
    pub const SIOCGIFHWADDR: u32 = 0x8927;
    pub const SIOCGIFSLAVE: u32 = 0x8929;
    pub const SIOCADDMULTI: u32 = 0x8931;
    pub const SIOCDELMULTI: u32 = 0x8932;
    pub const SIOCGIFINDEX: u32 = 0x8933;
    pub const SIOCGIFPFLAGS: u32 = 0x8935;
    pub const SIOCDIFADDR: u32 = 0x8936;
    pub const SIOCGIFCOUNT: u32 = 0x8938;
    pub const SIOCGIFTXQLEN: u32 = 0x8942;
    pub const SIOCSIFTXQLEN: u32 = 0x8943;
    pub const SIOCETHTOOL: u32 = 0x8946;
    pub const SIOCDARP: u32 = 0x8953;
    pub const SIOCGARP: u32 = 0x8954;
    pub const SIOCSARP: u32 = 0x8955;
    pub const SIOCGIFMAP: u32 = 0x8970;
    pub const SIOCSIFMAP: u32 = 0x8971;
}

/// `struct ifreq`: a name and, by the request, a `struct sockaddr`, a number or others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ifreq {
    /// NUL-ended.
    pub name: [u8; IFNAMSIZ],
    /// The rest.
    pub value: [u8; 24],
}

assert_layout!(Ifreq, size = 40, value @ 16);

/// `struct ifconf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ifconf {
    /// Bytes of the buffer; set to those used.
    pub len: i32,
    /// Padding.
    pub pad: u32,
    /// Address of an array of [`Ifreq`].
    pub buffer: u64,
}

assert_layout!(Ifconf, size = 16, buffer @ 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_numbers_are_libcs() {
        assert_eq!(size_of::<Ifreq>(), size_of::<libc::ifreq>());
        assert_eq!(size_of::<Ifconf>(), size_of::<libc::ifconf>());
        assert_eq!(request::SIOCGIFHWADDR as u64, libc::SIOCGIFHWADDR);
        assert_eq!(request::SIOCGIFINDEX as u64, libc::SIOCGIFINDEX);
        assert_eq!(request::SIOCGIFMTU as u64, libc::SIOCGIFMTU);
        assert_eq!(request::FIONREAD as u64, libc::FIONREAD);
        assert_eq!(InterfaceFlags::MULTICAST.bits(), libc::IFF_MULTICAST as u32);
        assert_eq!(InterfaceFlags::LOWER_UP.bits(), libc::IFF_LOWER_UP as u32);
        assert_eq!(ARPHRD_LOOPBACK, libc::ARPHRD_LOOPBACK);
    }
}
