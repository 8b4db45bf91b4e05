//! Sockets of the Internet: `ip(7)`, `ipv6(7)`, `tcp(7)`, `udp(7)`, `raw(7)`, `icmp(7)` (uapi `linux/in.h`,
//! `linux/in6.h`, `linux/tcp.h`, `linux/udp.h`, `linux/icmp.h`, `linux/icmpv6.h`, `linux/errqueue.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Protocols above IP.
pub mod protocol {
    #![expect(missing_docs, reason = "the names are in.h's")]
    pub const IPPROTO_IP: i32 = 0;
    pub const IPPROTO_ICMP: i32 = 1;
    pub const IPPROTO_IGMP: i32 = 2;
    pub const IPPROTO_TCP: i32 = 6;
    pub const IPPROTO_UDP: i32 = 17;
    pub const IPPROTO_IPV6: i32 = 41;
    pub const IPPROTO_ICMPV6: i32 = 58;
    pub const IPPROTO_UDPLITE: i32 = 136;
    pub const IPPROTO_RAW: i32 = 255;
    pub const IPPROTO_MAX: i32 = 263;
}

/// Levels of options and of control data, beside [`SOL_SOCKET`](crate::socket::SOL_SOCKET).
pub mod level {
    #![expect(missing_docs, reason = "the names are linux/socket.h's")]
    pub const SOL_IP: i32 = 0;
    pub const SOL_TCP: i32 = 6;
    pub const SOL_UDP: i32 = 17;
    pub const SOL_IPV6: i32 = 41;
    pub const SOL_ICMPV6: i32 = 58;
    pub const SOL_RAW: i32 = 255;
    pub const SOL_NETLINK: i32 = 270;
}

/// Options of `SOL_IP` (`ip(7)`).
pub mod ip_option {
    #![expect(missing_docs, reason = "the names are in.h's")]
    pub const IP_TOS: i32 = 1;
    pub const IP_TTL: i32 = 2;
    pub const IP_HDRINCL: i32 = 3;
    pub const IP_OPTIONS: i32 = 4;
    pub const IP_ROUTER_ALERT: i32 = 5;
    pub const IP_RECVOPTS: i32 = 6;
    pub const IP_RETOPTS: i32 = 7;
    pub const IP_PKTINFO: i32 = 8;
    pub const IP_PKTOPTIONS: i32 = 9;
    pub const IP_MTU_DISCOVER: i32 = 10;
    pub const IP_RECVERR: i32 = 11;
    pub const IP_RECVTTL: i32 = 12;
    pub const IP_RECVTOS: i32 = 13;
    pub const IP_MTU: i32 = 14;
    pub const IP_FREEBIND: i32 = 15;
    pub const IP_IPSEC_POLICY: i32 = 16;
    pub const IP_XFRM_POLICY: i32 = 17;
    pub const IP_PASSSEC: i32 = 18;
    pub const IP_TRANSPARENT: i32 = 19;
    pub const IP_ORIGDSTADDR: i32 = 20;
    pub const IP_RECVORIGDSTADDR: i32 = 20;
    pub const IP_MINTTL: i32 = 21;
    pub const IP_NODEFRAG: i32 = 22;
    pub const IP_CHECKSUM: i32 = 23;
    pub const IP_BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const IP_RECVFRAGSIZE: i32 = 25;
    pub const IP_RECVERR_RFC4884: i32 = 26;
    pub const IP_MULTICAST_IF: i32 = 32;
    pub const IP_MULTICAST_TTL: i32 = 33;
    pub const IP_MULTICAST_LOOP: i32 = 34;
    pub const IP_ADD_MEMBERSHIP: i32 = 35;
    pub const IP_DROP_MEMBERSHIP: i32 = 36;
    pub const IP_UNBLOCK_SOURCE: i32 = 37;
    pub const IP_BLOCK_SOURCE: i32 = 38;
    pub const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
    pub const IP_DROP_SOURCE_MEMBERSHIP: i32 = 40;
    pub const IP_MSFILTER: i32 = 41;
    pub const MCAST_JOIN_GROUP: i32 = 42;
    pub const MCAST_BLOCK_SOURCE: i32 = 43;
    pub const MCAST_UNBLOCK_SOURCE: i32 = 44;
    pub const MCAST_LEAVE_GROUP: i32 = 45;
    pub const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    pub const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
    pub const MCAST_MSFILTER: i32 = 48;
    pub const IP_MULTICAST_ALL: i32 = 49;
    pub const IP_UNICAST_IF: i32 = 50;
    pub const IP_LOCAL_PORT_RANGE: i32 = 51;
    pub const IP_PROTOCOL: i32 = 52;
}

/// Values of `IP_MTU_DISCOVER` and `IPV6_MTU_DISCOVER`.
pub mod pmtu_discovery {
    #![expect(missing_docs, reason = "the names are in.h's")]
    pub const IP_PMTUDISC_DONT: i32 = 0;
    pub const IP_PMTUDISC_WANT: i32 = 1;
    pub const IP_PMTUDISC_DO: i32 = 2;
    pub const IP_PMTUDISC_PROBE: i32 = 3;
    pub const IP_PMTUDISC_INTERFACE: i32 = 4;
    pub const IP_PMTUDISC_OMIT: i32 = 5;
}

/// Options of `SOL_IPV6` (`ipv6(7)`).
pub mod ipv6_option {
    #![expect(missing_docs, reason = "the names are in6.h's")]
    pub const IPV6_ADDRFORM: i32 = 1;
    pub const IPV6_CHECKSUM: i32 = 7;
    pub const IPV6_NEXTHOP: i32 = 9;
    pub const IPV6_AUTHHDR: i32 = 10;
    pub const IPV6_FLOWINFO: i32 = 11;
    pub const IPV6_UNICAST_HOPS: i32 = 16;
    pub const IPV6_MULTICAST_IF: i32 = 17;
    pub const IPV6_MULTICAST_HOPS: i32 = 18;
    pub const IPV6_MULTICAST_LOOP: i32 = 19;
    pub const IPV6_ADD_MEMBERSHIP: i32 = 20;
    pub const IPV6_DROP_MEMBERSHIP: i32 = 21;
    pub const IPV6_ROUTER_ALERT: i32 = 22;
    pub const IPV6_MTU_DISCOVER: i32 = 23;
    pub const IPV6_MTU: i32 = 24;
    pub const IPV6_RECVERR: i32 = 25;
    pub const IPV6_V6ONLY: i32 = 26;
    pub const IPV6_JOIN_ANYCAST: i32 = 27;
    pub const IPV6_LEAVE_ANYCAST: i32 = 28;
    pub const IPV6_MULTICAST_ALL: i32 = 29;
    pub const IPV6_ROUTER_ALERT_ISOLATE: i32 = 30;
    pub const IPV6_RECVERR_RFC4884: i32 = 31;
    pub const IPV6_FLOWLABEL_MGR: i32 = 32;
    pub const IPV6_FLOWINFO_SEND: i32 = 33;
    pub const IPV6_IPSEC_POLICY: i32 = 34;
    pub const IPV6_XFRM_POLICY: i32 = 35;
    pub const IPV6_HDRINCL: i32 = 36;
    pub const IPV6_RECVPKTINFO: i32 = 49;
    pub const IPV6_PKTINFO: i32 = 50;
    pub const IPV6_RECVHOPLIMIT: i32 = 51;
    pub const IPV6_HOPLIMIT: i32 = 52;
    pub const IPV6_RECVHOPOPTS: i32 = 53;
    pub const IPV6_HOPOPTS: i32 = 54;
    pub const IPV6_RTHDRDSTOPTS: i32 = 55;
    pub const IPV6_RECVRTHDR: i32 = 56;
    pub const IPV6_RTHDR: i32 = 57;
    pub const IPV6_RECVDSTOPTS: i32 = 58;
    pub const IPV6_DSTOPTS: i32 = 59;
    pub const IPV6_RECVPATHMTU: i32 = 60;
    pub const IPV6_PATHMTU: i32 = 61;
    pub const IPV6_DONTFRAG: i32 = 62;
    pub const IPV6_USE_MIN_MTU: i32 = 63;
    pub const IPV6_RECVTCLASS: i32 = 66;
    pub const IPV6_TCLASS: i32 = 67;
    pub const IPV6_AUTOFLOWLABEL: i32 = 70;
    pub const IPV6_ADDR_PREFERENCES: i32 = 72;
    pub const IPV6_MINHOPCOUNT: i32 = 73;
    pub const IPV6_ORIGDSTADDR: i32 = 74;
    pub const IPV6_RECVORIGDSTADDR: i32 = 74;
    pub const IPV6_TRANSPARENT: i32 = 75;
    pub const IPV6_UNICAST_IF: i32 = 76;
    pub const IPV6_RECVFRAGSIZE: i32 = 77;
    pub const IPV6_FREEBIND: i32 = 78;
}

/// Options of `SOL_TCP` (`tcp(7)`).
pub mod tcp_option {
    #![expect(missing_docs, reason = "the names are tcp.h's")]
    pub const TCP_NODELAY: i32 = 1;
    pub const TCP_MAXSEG: i32 = 2;
    pub const TCP_CORK: i32 = 3;
    pub const TCP_KEEPIDLE: i32 = 4;
    pub const TCP_KEEPINTVL: i32 = 5;
    pub const TCP_KEEPCNT: i32 = 6;
    pub const TCP_SYNCNT: i32 = 7;
    pub const TCP_LINGER2: i32 = 8;
    pub const TCP_DEFER_ACCEPT: i32 = 9;
    pub const TCP_WINDOW_CLAMP: i32 = 10;
    pub const TCP_INFO: i32 = 11;
    pub const TCP_QUICKACK: i32 = 12;
    pub const TCP_CONGESTION: i32 = 13;
    pub const TCP_MD5SIG: i32 = 14;
    pub const TCP_THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub const TCP_THIN_DUPACK: i32 = 17;
    pub const TCP_USER_TIMEOUT: i32 = 18;
    pub const TCP_REPAIR: i32 = 19;
    pub const TCP_REPAIR_QUEUE: i32 = 20;
    pub const TCP_QUEUE_SEQ: i32 = 21;
    pub const TCP_FASTOPEN: i32 = 23;
    pub const TCP_TIMESTAMP: i32 = 24;
    pub const TCP_NOTSENT_LOWAT: i32 = 25;
    pub const TCP_CC_INFO: i32 = 26;
    pub const TCP_SAVE_SYN: i32 = 27;
    pub const TCP_SAVED_SYN: i32 = 28;
    pub const TCP_REPAIR_WINDOW: i32 = 29;
    pub const TCP_FASTOPEN_CONNECT: i32 = 30;
    pub const TCP_ULP: i32 = 31;
    pub const TCP_MD5SIG_EXT: i32 = 32;
    pub const TCP_FASTOPEN_KEY: i32 = 33;
    pub const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
    pub const TCP_ZEROCOPY_RECEIVE: i32 = 35;
    pub const TCP_INQ: i32 = 36;
    pub const TCP_TX_DELAY: i32 = 37;
}

/// Options of `SOL_UDP` (`udp(7)`).
pub mod udp_option {
    #![expect(missing_docs, reason = "the names are udp.h's")]
    pub const UDP_CORK: i32 = 1;
    pub const UDP_ENCAP: i32 = 100;
    pub const UDP_NO_CHECK6_TX: i32 = 101;
    pub const UDP_NO_CHECK6_RX: i32 = 102;
    pub const UDP_SEGMENT: i32 = 103;
    pub const UDP_GRO: i32 = 104;
}

/// The option of `SOL_RAW`: which ICMP messages are not received (`icmp(7)`).
pub const ICMP_FILTER: i32 = 1;
/// The option of `SOL_ICMPV6`.
pub const ICMPV6_FILTER: i32 = 1;

/// A group's filter: all sources but some.
pub const MCAST_EXCLUDE: u32 = 0;
/// A group's filter: some sources only.
pub const MCAST_INCLUDE: u32 = 1;

/// The shortest `struct sockaddr_in6` that is taken (`SIN6_LEN_RFC2133`): without the scope.
pub const SOCKADDR_IN6_MIN: usize = 24;

/// `struct sockaddr_in`. Port and address are in network order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockaddrIn {
    /// `AF_INET`.
    pub family: u16,
    /// Port.
    pub port: [u8; 2],
    /// Address.
    pub address: [u8; 4],
    /// Padding.
    pub zero: [u8; 8],
}

assert_layout!(SockaddrIn, size = 16, port @ 2, address @ 4);

/// `struct sockaddr_in6`. Port, flow and address are in network order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockaddrIn6 {
    /// `AF_INET6`.
    pub family: u16,
    /// Port.
    pub port: [u8; 2],
    /// Traffic class and flow label.
    pub flow_info: [u8; 4],
    /// Address.
    pub address: [u8; 16],
    /// Index of the interface that a link-local address belongs to.
    pub scope: u32,
}

assert_layout!(SockaddrIn6, size = 28, flow_info @ 4, address @ 8, scope @ 24);

/// `struct ip_mreqn`; `struct ip_mreq` is its first eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IpMreqn {
    /// The group.
    pub group: [u8; 4],
    /// Address of the interface.
    pub address: [u8; 4],
    /// Index of the interface.
    pub interface: i32,
}

assert_layout!(IpMreqn, size = 12, address @ 4, interface @ 8);

/// `struct ip_mreq_source`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IpMreqSource {
    /// The group.
    pub group: [u8; 4],
    /// Address of the interface.
    pub interface: [u8; 4],
    /// The sender.
    pub source: [u8; 4],
}

assert_layout!(IpMreqSource, size = 12, interface @ 4, source @ 8);

/// `struct ipv6_mreq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ipv6Mreq {
    /// The group.
    pub group: [u8; 16],
    /// Index of the interface.
    pub interface: i32,
}

assert_layout!(Ipv6Mreq, size = 20, interface @ 16);

/// `struct group_req`: a group of either family, as a `struct sockaddr_storage`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupReq {
    /// Index of the interface.
    pub interface: u32,
    /// Padding.
    pub pad: u32,
    /// The group.
    pub group: [u8; 128],
}

assert_layout!(GroupReq, size = 136, group @ 8);

/// `struct group_source_req`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupSourceReq {
    /// Index of the interface.
    pub interface: u32,
    /// Padding.
    pub pad: u32,
    /// The group.
    pub group: [u8; 128],
    /// The sender.
    pub source: [u8; 128],
}

assert_layout!(GroupSourceReq, size = 264, group @ 8, source @ 136);

/// `struct in_pktinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InPktinfo {
    /// Index of the interface.
    pub interface: i32,
    /// The local address that received it, or is to send it.
    pub specified_destination: [u8; 4],
    /// The destination in the header.
    pub address: [u8; 4],
}

assert_layout!(InPktinfo, size = 12, specified_destination @ 4, address @ 8);

/// `struct in6_pktinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct In6Pktinfo {
    /// The address.
    pub address: [u8; 16],
    /// Index of the interface.
    pub interface: i32,
}

assert_layout!(In6Pktinfo, size = 20, interface @ 16);

/// `struct ip6_mtuinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ip6MtuInfo {
    /// Of which path.
    pub address: SockaddrIn6,
    /// Its MTU.
    pub mtu: u32,
}

assert_layout!(Ip6MtuInfo, size = 32, mtu @ 28);

/// `struct sock_extended_err`: what the queue of errors tells; the offender's address follows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockExtendedErr {
    /// The error's number.
    pub errno: u32,
    /// [`SO_EE_ORIGIN_ICMP`] and others.
    pub origin: u8,
    /// The ICMP message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Padding.
    pub pad: u8,
    /// MTU of the path, of `EMSGSIZE`.
    pub info: u32,
    /// Nothing here.
    pub data: u32,
}

assert_layout!(SockExtendedErr, size = 16, origin @ 4, info @ 8);

/// An error of this machine.
pub const SO_EE_ORIGIN_LOCAL: u8 = 1;
/// An ICMP message.
pub const SO_EE_ORIGIN_ICMP: u8 = 2;
/// An ICMPv6 message.
pub const SO_EE_ORIGIN_ICMP6: u8 = 3;

/// `struct tcp_info`. `wscale` has what is sent in its lower half, what is received in its upper; `flags` has
/// `delivery_rate_app_limited` and `fastopen_client_fail`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are tcp.h's")]
pub struct TcpInfo {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub options: u8,
    pub wscale: u8,
    pub flags: u8,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub fackets: u32,
    pub last_data_sent: u32,
    pub last_ack_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
}

assert_layout!(TcpInfo, size = 232, rto @ 8, pmtu @ 60, pacing_rate @ 104, delivery_rate @ 160, snd_wnd @ 228);

abi_enum! {
    /// `tcpi_state`, and the states that `/proc/net/tcp` and `/proc/net/udp` show.
    pub enum TcpState: u8 {
        /// Connected.
        Established = 1, "TCP_ESTABLISHED";
        /// Connecting.
        SynSent = 2, "TCP_SYN_SENT";
        /// Being connected to.
        SynRecv = 3, "TCP_SYN_RECV";
        /// Closed here first, the end not acknowledged.
        FinWait1 = 4, "TCP_FIN_WAIT1";
        /// Closed here first.
        FinWait2 = 5, "TCP_FIN_WAIT2";
        /// Over, but for segments that went astray.
        TimeWait = 6, "TCP_TIME_WAIT";
        /// Closed, or not connected.
        Close = 7, "TCP_CLOSE";
        /// Closed there first.
        CloseWait = 8, "TCP_CLOSE_WAIT";
        /// Closed there first, then here.
        LastAck = 9, "TCP_LAST_ACK";
        /// Takes connections.
        Listen = 10, "TCP_LISTEN";
        /// Closed on both sides at once.
        Closing = 11, "TCP_CLOSING";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_libcs() {
        macro_rules! same {
            ($($ours:ident = $theirs:ident),* $(,)?) => {
                $(assert_eq!(size_of::<$ours>(), size_of::<libc::$theirs>());)*
            };
        }
        same!(
            SockaddrIn = sockaddr_in,
            SockaddrIn6 = sockaddr_in6,
            IpMreqn = ip_mreqn,
            IpMreqSource = ip_mreq_source
        );
        same!(Ipv6Mreq = ipv6_mreq, InPktinfo = in_pktinfo, In6Pktinfo = in6_pktinfo);
        same!(SockExtendedErr = sock_extended_err);
    }

    #[test]
    fn options_are_libcs() {
        use super::{ip_option::*, ipv6_option::*, level::*, protocol::*, tcp_option::*, udp_option::*};
        macro_rules! same {
            ($($name:ident),* $(,)?) => { $(assert_eq!($name as i64, libc::$name as i64, stringify!($name));)* };
        }
        same!(IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_ICMPV6, IPPROTO_RAW);
        same!(SOL_IP, SOL_TCP, SOL_UDP, SOL_IPV6, SOL_RAW, SOL_NETLINK);
        same!(
            IP_TOS,
            IP_TTL,
            IP_HDRINCL,
            IP_PKTINFO,
            IP_MTU_DISCOVER,
            IP_RECVERR,
            IP_RECVTTL,
            IP_RECVTOS,
            IP_MTU
        );
        same!(IP_FREEBIND, IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_ADD_MEMBERSHIP);
        same!(IP_DROP_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP, IP_MULTICAST_ALL, IP_BIND_ADDRESS_NO_PORT);
        same!(MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP, MCAST_JOIN_SOURCE_GROUP, MCAST_MSFILTER);
        same!(
            IPV6_UNICAST_HOPS,
            IPV6_MULTICAST_IF,
            IPV6_MULTICAST_HOPS,
            IPV6_MULTICAST_LOOP,
            IPV6_ADD_MEMBERSHIP
        );
        same!(
            IPV6_MTU,
            IPV6_MTU_DISCOVER,
            IPV6_RECVERR,
            IPV6_V6ONLY,
            IPV6_RECVPKTINFO,
            IPV6_PKTINFO,
            IPV6_TCLASS
        );
        same!(IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT, IPV6_RECVTCLASS, IPV6_DONTFRAG, IPV6_MULTICAST_ALL);
        same!(
            TCP_NODELAY,
            TCP_MAXSEG,
            TCP_CORK,
            TCP_KEEPIDLE,
            TCP_KEEPINTVL,
            TCP_KEEPCNT,
            TCP_SYNCNT,
            TCP_LINGER2
        );
        same!(TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP, TCP_INFO, TCP_QUICKACK, TCP_CONGESTION, TCP_USER_TIMEOUT);
        same!(TCP_FASTOPEN, TCP_NOTSENT_LOWAT, TCP_FASTOPEN_CONNECT, TCP_INQ, UDP_CORK, UDP_SEGMENT, UDP_GRO);
    }
}
