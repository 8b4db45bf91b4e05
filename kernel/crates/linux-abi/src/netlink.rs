//! Netlink: `netlink(7)`, `rtnetlink(7)` (uapi `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`,
//! `linux/if_addr.h`, `linux/neighbour.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Netlink families.
pub const NETLINK_ROUTE: i32 = 0;
/// See above.
pub const NETLINK_SOCK_DIAG: i32 = 4;
/// See above.
pub const NETLINK_KOBJECT_UEVENT: i32 = 15;
/// See above.
pub const NETLINK_GENERIC: i32 = 16;

/// `struct sockaddr_nl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockaddrNl {
    /// `AF_NETLINK`.
    pub family: u16,
    /// Zero.
    pub pad: u16,
    /// The port: 0 is the kernel's.
    pub port: u32,
    /// Multicast groups.
    pub groups: u32,
}

assert_layout!(SockaddrNl, size = 12, port @ 4, groups @ 8);

/// `struct nlmsghdr`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NlMsgHdr {
    /// Length with this header.
    pub len: u32,
    /// What it is ([`message`]).
    pub kind: u16,
    /// [`flag`]s.
    pub flags: u16,
    /// Chosen by who asks; the answer has it again.
    pub sequence: u32,
    /// Port of who asks.
    pub port: u32,
}

assert_layout!(NlMsgHdr, size = 16, kind @ 4, flags @ 6, sequence @ 8, port @ 12);

/// Kinds of messages.
pub mod message {
    #![expect(missing_docs, reason = "the names are netlink.h's and rtnetlink.h's")]
    pub const NLMSG_NOOP: u16 = 1;
    pub const NLMSG_ERROR: u16 = 2;
    pub const NLMSG_DONE: u16 = 3;
    pub const NLMSG_MIN_TYPE: u16 = 16;
    pub const RTM_NEWLINK: u16 = 16;
    pub const RTM_DELLINK: u16 = 17;
    pub const RTM_GETLINK: u16 = 18;
    pub const RTM_SETLINK: u16 = 19;
    pub const RTM_NEWADDR: u16 = 20;
    pub const RTM_DELADDR: u16 = 21;
    pub const RTM_GETADDR: u16 = 22;
    pub const RTM_NEWROUTE: u16 = 24;
    pub const RTM_DELROUTE: u16 = 25;
    pub const RTM_GETROUTE: u16 = 26;
    pub const RTM_NEWNEIGH: u16 = 28;
    pub const RTM_DELNEIGH: u16 = 29;
    pub const RTM_GETNEIGH: u16 = 30;
    pub const RTM_NEWRULE: u16 = 32;
    pub const RTM_GETRULE: u16 = 34;
}

/// Flags of messages.
pub mod flag {
    #![expect(missing_docs, reason = "the names are netlink.h's")]
    pub const NLM_F_REQUEST: u16 = 0x1;
    pub const NLM_F_MULTI: u16 = 0x2;
    pub const NLM_F_ACK: u16 = 0x4;
    pub const NLM_F_ECHO: u16 = 0x8;
    pub const NLM_F_DUMP_INTR: u16 = 0x10;
    pub const NLM_F_DUMP_FILTERED: u16 = 0x20;
    pub const NLM_F_ROOT: u16 = 0x100;
    pub const NLM_F_MATCH: u16 = 0x200;
    pub const NLM_F_DUMP: u16 = 0x300;
    pub const NLM_F_CAPPED: u16 = 0x100;
    pub const NLM_F_ACK_TLVS: u16 = 0x200;
}

/// Options of `SOL_NETLINK`.
pub mod option {
    #![expect(missing_docs, reason = "the names are netlink.h's")]
    pub const NETLINK_ADD_MEMBERSHIP: i32 = 1;
    pub const NETLINK_DROP_MEMBERSHIP: i32 = 2;
    pub const NETLINK_PKTINFO: i32 = 3;
    pub const NETLINK_BROADCAST_ERROR: i32 = 4;
    pub const NETLINK_NO_ENOBUFS: i32 = 5;
    pub const NETLINK_LISTEN_ALL_NSID: i32 = 8;
    pub const NETLINK_LIST_MEMBERSHIPS: i32 = 9;
    pub const NETLINK_CAP_ACK: i32 = 10;
    pub const NETLINK_EXT_ACK: i32 = 11;
    pub const NETLINK_GET_STRICT_CHK: i32 = 12;
}

/// Multicast groups of `NETLINK_ROUTE`, by their numbers (`enum rtnetlink_groups`).
pub mod group {
    #![expect(missing_docs, reason = "the names are rtnetlink.h's")]
    pub const RTNLGRP_LINK: u32 = 1;
    pub const RTNLGRP_NEIGH: u32 = 3;
    pub const RTNLGRP_IPV4_IFADDR: u32 = 5;
    pub const RTNLGRP_IPV4_ROUTE: u32 = 7;
    pub const RTNLGRP_IPV6_IFADDR: u32 = 9;
    pub const RTNLGRP_IPV6_ROUTE: u32 = 11;
    /// The last one that there is (`RTNLGRP_STATS`, Linux 6.1).
    pub const RTNLGRP_MAX: u32 = 36;
}

/// `struct nlmsgerr`, before the message that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NlMsgErr {
    /// The error's number, negative, or 0.
    pub error: i32,
    /// The message's header.
    pub header: NlMsgHdr,
}

assert_layout!(NlMsgErr, size = 20, header @ 4);

/// `struct ifinfomsg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IfInfoMsg {
    /// Address family.
    pub family: u8,
    /// Padding.
    pub pad: u8,
    /// Hardware type.
    pub kind: u16,
    /// Index.
    pub index: i32,
    /// [`InterfaceFlags`](crate::interface::InterfaceFlags).
    pub flags: u32,
    /// Which flags change.
    pub change: u32,
}

assert_layout!(IfInfoMsg, size = 16, kind @ 2, index @ 4, flags @ 8);

/// Attributes of links.
pub mod link_attribute {
    #![expect(missing_docs, reason = "the names are if_link.h's")]
    pub const IFLA_ADDRESS: u16 = 1;
    pub const IFLA_BROADCAST: u16 = 2;
    pub const IFLA_IFNAME: u16 = 3;
    pub const IFLA_MTU: u16 = 4;
    pub const IFLA_QDISC: u16 = 6;
    pub const IFLA_STATS: u16 = 7;
    pub const IFLA_TXQLEN: u16 = 13;
    pub const IFLA_MAP: u16 = 14;
    pub const IFLA_OPERSTATE: u16 = 16;
    pub const IFLA_LINKMODE: u16 = 17;
    pub const IFLA_STATS64: u16 = 23;
    pub const IFLA_GROUP: u16 = 27;
    pub const IFLA_EXT_MASK: u16 = 29;
    pub const IFLA_PROMISCUITY: u16 = 30;
    pub const IFLA_NUM_TX_QUEUES: u16 = 31;
    pub const IFLA_NUM_RX_QUEUES: u16 = 32;
    pub const IFLA_CARRIER: u16 = 33;
    pub const IFLA_GSO_MAX_SEGS: u16 = 40;
    pub const IFLA_GSO_MAX_SIZE: u16 = 41;
    pub const IFLA_MIN_MTU: u16 = 50;
    pub const IFLA_MAX_MTU: u16 = 51;
    pub const IFLA_ALT_IFNAME: u16 = 53;
}

/// `struct ifaddrmsg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IfAddrMsg {
    /// Address family.
    pub family: u8,
    /// Length of the network's part, in bits.
    pub prefix_len: u8,
    /// [`address_flag`]s.
    pub flags: u8,
    /// [`scope`].
    pub scope: u8,
    /// Index of the interface.
    pub index: u32,
}

assert_layout!(IfAddrMsg, size = 8, index @ 4);

/// Attributes of addresses.
pub mod address_attribute {
    #![expect(missing_docs, reason = "the names are if_addr.h's")]
    pub const IFA_ADDRESS: u16 = 1;
    pub const IFA_LOCAL: u16 = 2;
    pub const IFA_LABEL: u16 = 3;
    pub const IFA_BROADCAST: u16 = 4;
    pub const IFA_CACHEINFO: u16 = 6;
    pub const IFA_FLAGS: u16 = 8;
    pub const IFA_PROTO: u16 = 11;
}

/// Flags of addresses.
pub mod address_flag {
    #![expect(missing_docs, reason = "the names are if_addr.h's")]
    pub const IFA_F_TENTATIVE: u32 = 0x40;
    pub const IFA_F_PERMANENT: u32 = 0x80;
    pub const IFA_F_MANAGETEMPADDR: u32 = 0x100;
    pub const IFA_F_NOPREFIXROUTE: u32 = 0x200;
}

/// `struct ifa_cacheinfo`: times in seconds and hundredths of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IfaCacheInfo {
    /// How long it is preferred; all ones: for ever.
    pub preferred: u32,
    /// How long it is valid.
    pub valid: u32,
    /// When it was made.
    pub created: u32,
    /// When it was changed.
    pub updated: u32,
}

assert_layout!(IfaCacheInfo, size = 16);

/// Scopes of addresses and routes.
pub mod scope {
    #![expect(missing_docs, reason = "the names are rtnetlink.h's")]
    pub const RT_SCOPE_UNIVERSE: u8 = 0;
    pub const RT_SCOPE_SITE: u8 = 200;
    pub const RT_SCOPE_LINK: u8 = 253;
    pub const RT_SCOPE_HOST: u8 = 254;
}

/// `struct rtmsg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RtMsg {
    /// Address family.
    pub family: u8,
    /// Length of the destination's network part, in bits.
    pub destination_len: u8,
    /// Of the source's.
    pub source_len: u8,
    /// Type of service.
    pub tos: u8,
    /// Table.
    pub table: u8,
    /// Who made it.
    pub protocol: u8,
    /// [`scope`].
    pub scope: u8,
    /// Kind of route.
    pub kind: u8,
    /// Flags.
    pub flags: u32,
}

assert_layout!(RtMsg, size = 12, flags @ 8);

/// Attributes and values of routes.
pub mod route {
    #![expect(missing_docs, reason = "the names are rtnetlink.h's")]
    pub const RTA_DST: u16 = 1;
    pub const RTA_SRC: u16 = 2;
    pub const RTA_IIF: u16 = 3;
    pub const RTA_OIF: u16 = 4;
    pub const RTA_GATEWAY: u16 = 5;
    pub const RTA_PRIORITY: u16 = 6;
    pub const RTA_PREFSRC: u16 = 7;
    pub const RTA_METRICS: u16 = 8;
    pub const RTA_CACHEINFO: u16 = 12;
    pub const RTA_TABLE: u16 = 15;
    pub const RTA_MARK: u16 = 16;
    pub const RTA_PREF: u16 = 20;
    pub const RTA_UID: u16 = 25;
    pub const RT_TABLE_MAIN: u8 = 254;
    pub const RT_TABLE_LOCAL: u8 = 255;
    pub const RTPROT_KERNEL: u8 = 2;
    pub const RTPROT_BOOT: u8 = 3;
    pub const RTPROT_STATIC: u8 = 4;
    pub const RTPROT_RA: u8 = 9;
    pub const RTPROT_DHCP: u8 = 16;
    pub const RTN_UNICAST: u8 = 1;
    pub const RTN_LOCAL: u8 = 2;
    pub const RTN_BROADCAST: u8 = 3;
    pub const RTN_MULTICAST: u8 = 5;
    pub const RTN_UNREACHABLE: u8 = 7;
    pub const RTM_F_CLONED: u32 = 0x200;
}

/// `struct ndmsg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NdMsg {
    /// Address family.
    pub family: u8,
    /// Padding.
    pub pad: u8,
    /// Padding.
    pub pad2: u16,
    /// Index of the interface.
    pub index: i32,
    /// State.
    pub state: u16,
    /// Flags.
    pub flags: u8,
    /// Kind.
    pub kind: u8,
}

assert_layout!(NdMsg, size = 12, index @ 4, state @ 8);

/// Attributes and states of neighbours.
pub mod neighbour {
    #![expect(missing_docs, reason = "the names are neighbour.h's")]
    pub const NDA_DST: u16 = 1;
    pub const NDA_LLADDR: u16 = 2;
    pub const NDA_CACHEINFO: u16 = 3;
    pub const NDA_PROBES: u16 = 4;
    pub const NUD_INCOMPLETE: u16 = 0x01;
    pub const NUD_REACHABLE: u16 = 0x02;
    pub const NUD_STALE: u16 = 0x04;
    pub const NUD_DELAY: u16 = 0x08;
    pub const NUD_PROBE: u16 = 0x10;
    pub const NUD_FAILED: u16 = 0x20;
    pub const NUD_NOARP: u16 = 0x40;
    pub const NUD_PERMANENT: u16 = 0x80;
    pub const NTF_ROUTER: u8 = 0x80;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_numbers_are_libcs() {
        assert_eq!(size_of::<SockaddrNl>(), size_of::<libc::sockaddr_nl>());
        assert_eq!(size_of::<NlMsgHdr>(), size_of::<libc::nlmsghdr>());
        assert_eq!(size_of::<NlMsgErr>(), size_of::<libc::nlmsgerr>());
        assert_eq!(message::RTM_GETADDR, libc::RTM_GETADDR);
        assert_eq!(message::RTM_GETROUTE, libc::RTM_GETROUTE);
        assert_eq!(message::RTM_GETNEIGH, libc::RTM_GETNEIGH);
        assert_eq!(flag::NLM_F_DUMP, libc::NLM_F_DUMP as u16);
        assert_eq!(link_attribute::IFLA_OPERSTATE, libc::IFLA_OPERSTATE);
        assert_eq!(address_attribute::IFA_FLAGS, libc::IFA_FLAGS);
        assert_eq!(neighbour::NUD_STALE, libc::NUD_STALE);
        assert_eq!(route::RTA_PREFSRC, libc::RTA_PREFSRC);
        assert_eq!(option::NETLINK_GET_STRICT_CHK, libc::NETLINK_GET_STRICT_CHK);
    }
}
