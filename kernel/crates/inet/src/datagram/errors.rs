//! The queue of errors (`IP_RECVERR` in `ip(7)`): what ICMP says of datagrams that were sent.

use alloc::vec::Vec;
use core::net::IpAddr;

use ip::{IcmpError, IcmpErrorKind};
use ipc::socket::{Control, Received};
use linux_abi::{
    Errno,
    inet::{
        SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL, SockExtendedErr, SockaddrIn, SockaddrIn6,
        ip_option::IP_RECVERR,
        ipv6_option::IPV6_RECVERR,
        level::{SOL_IP, SOL_IPV6},
    },
    socket::{
        MessageFlags,
        family::{AF_INET, AF_INET6},
    },
};
use vfs::ReadDst;
use zerocopy::IntoBytes;

use crate::{Endpoint, Family};

/// An error that waits.
pub(crate) struct QueuedError {
    error: SockExtendedErr,
    /// Where the datagram was sent.
    destination: Endpoint,
    /// Who says so; none if it is ourselves.
    offender: Option<IpAddr>,
    /// Data of the datagram, as far as quoted.
    data: Vec<u8>,
}

/// What an error means to a socket.
pub(crate) struct Meaning {
    pub(crate) errno: Errno,
    /// Whether a connected socket learns of it without having asked.
    pub(crate) is_hard: bool,
    /// For `ee_info`.
    pub(crate) mtu: u32,
}

/// What an ICMP error means (`__udp4_lib_err`, `__udp6_lib_err`); `None`: nothing.
pub(crate) fn meaning(error: &IcmpError) -> Option<Meaning> {
    let of = |errno, is_hard| Some(Meaning { errno, is_hard, mtu: 0 });
    match error.kind {
        IcmpErrorKind::PacketTooBig { mtu } => Some(Meaning { errno: Errno::EMSGSIZE, is_hard: true, mtu }),
        IcmpErrorKind::Unreachable { errno, fatal } => of(errno, fatal),
        IcmpErrorKind::TimeExceeded => of(Errno::EHOSTUNREACH, false),
        IcmpErrorKind::ParameterProblem => of(Errno::EPROTO, true),
        IcmpErrorKind::SourceQuench => None,
    }
}

impl QueuedError {
    /// The error that an ICMP message is, about a datagram to `destination`; `data` is what it quotes behind the
    /// transport's header.
    pub(crate) fn icmp(error: &IcmpError, meaning: &Meaning, destination: Endpoint, data: &[u8]) -> Self {
        let origin = if error.destination.is_ipv4() { SO_EE_ORIGIN_ICMP } else { SO_EE_ORIGIN_ICMP6 };
        Self {
            error: SockExtendedErr {
                errno: meaning.errno as u32,
                origin,
                kind: error.icmp_type,
                code: error.icmp_code,
                info: meaning.mtu,
                ..SockExtendedErr::default()
            },
            destination,
            offender: Some(error.reporter),
            data: data.to_vec(),
        }
    }

    /// A datagram was too large for the way to its destination.
    pub(crate) fn too_large(destination: Endpoint, mtu: u32) -> Self {
        Self {
            error: SockExtendedErr {
                errno: Errno::EMSGSIZE as u32,
                origin: SO_EE_ORIGIN_LOCAL,
                info: mtu,
                ..SockExtendedErr::default()
            },
            destination,
            offender: None,
            data: Vec::new(),
        }
    }

    pub(crate) fn errno(&self) -> Errno {
        Errno::from_number(self.error.errno as u16).unwrap_or(Errno::EIO)
    }

    /// What `recvmsg` with `MSG_ERRQUEUE` gets (`ip_recv_error`, `ipv6_recv_error`).
    pub(crate) fn receive(self, family: Family, dst: &mut dyn ReadDst) -> Result<Received, Errno> {
        let room = dst.remaining().min(self.data.len());
        let copied = if room == 0 { 0 } else { dst.put(&self.data)? };
        let mut value = self.error.as_bytes().to_vec();
        value.extend(offender_bytes(family, self.offender));
        let (level, kind) = match family {
            Family::V4 => (SOL_IP, IP_RECVERR),
            Family::V6 => (SOL_IPV6, IPV6_RECVERR),
        };
        let mut flags = MessageFlags::ERRQUEUE;
        if copied < self.data.len() {
            flags |= MessageFlags::TRUNC;
        }
        Ok(Received {
            len: copied,
            flags,
            address: Some(self.destination.encode(family)),
            control: alloc::vec![Control::Other { level, kind, data: value }],
        })
    }
}

/// The offender as a socket address without port; the unspecified family if it is ourselves.
fn offender_bytes(family: Family, offender: Option<IpAddr>) -> Vec<u8> {
    match (family, offender) {
        (Family::V4, Some(IpAddr::V4(address))) => {
            let offender = SockaddrIn { family: AF_INET, address: address.octets(), ..Default::default() };
            offender.as_bytes().to_vec()
        }
        (Family::V4, _) => SockaddrIn::default().as_bytes().to_vec(),
        (Family::V6, Some(address)) => {
            let octets = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let offender = SockaddrIn6 { family: AF_INET6, address: octets, ..Default::default() };
            offender.as_bytes().to_vec()
        }
        (Family::V6, None) => SockaddrIn6::default().as_bytes().to_vec(),
    }
}
