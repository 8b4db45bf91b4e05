//! Options of `SOL_UDP`, and what changes with other options of a UDP socket.

use alloc::vec::Vec;

use linux_abi::{
    Errno,
    inet::{
        ip_option::IP_RECVERR,
        ipv6_option::IPV6_RECVERR,
        level::{SOL_IP, SOL_IPV6, SOL_UDP},
        udp_option::{UDP_CORK, UDP_GRO, UDP_NO_CHECK6_RX, UDP_NO_CHECK6_TX, UDP_SEGMENT},
    },
    socket::SOL_SOCKET,
};

use super::{UdpSocket, header::Header};
use crate::Family;
use crate::socket_core::{number, read_number};

/// Options of `SOL_UDP`.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpOptions {
    /// `UDP_CORK`
    pub corked: bool,
    /// `UDP_SEGMENT`: bytes of each datagram that one call's data are cut into; 0: they are not.
    pub segment_bytes: u16,
    /// `UDP_GRO`: datagrams may come put together. (They never do, as nothing here puts any together.)
    pub takes_merged: bool,
    /// `UDP_NO_CHECK6_TX`, `UDP_NO_CHECK6_RX`
    pub no_check6: [bool; 2],
}

impl UdpOptions {
    /// Whether a datagram with this header is taken: one of IPv6 without a checksum only if `UDP_NO_CHECK6_RX` says so
    /// (`__udp6_lib_rcv`).
    pub(super) fn takes(&self, header: &Header, family: Family) -> bool {
        header.has_checksum || family == Family::V4 || self.no_check6[1]
    }
}

impl UdpSocket {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level != SOL_UDP {
            return self.core.option(level, name);
        }
        let options = self.inner.lock().options;
        let value = match name {
            UDP_CORK => i32::from(options.corked),
            UDP_SEGMENT => i32::from(options.segment_bytes),
            UDP_GRO => i32::from(options.takes_merged),
            UDP_NO_CHECK6_TX => i32::from(options.no_check6[0]),
            UDP_NO_CHECK6_RX => i32::from(options.no_check6[1]),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(number(value))
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == SOL_UDP {
            return self.change_udp_option(name, read_number(value)?);
        }
        self.core.set_option(level, name, value)?;
        let mut inner = self.inner.lock();
        match (level, name) {
            (SOL_SOCKET, _) => self.refresh_claim(&inner),
            // Without it the queue is of no use (`IP_RECVERR` in `do_ip_setsockopt`).
            (SOL_IP, IP_RECVERR) | (SOL_IPV6, IPV6_RECVERR) if !self.core.wants_errors() => {
                inner.inbox.clear_errors();
            }
            _ => {}
        }
        Ok(())
    }

    fn change_udp_option(&self, name: i32, asked: i32) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let options = &mut inner.options;
        match name {
            UDP_CORK => {
                options.corked = asked != 0;
                if asked == 0 {
                    return self.push_corked(&mut inner);
                }
            }
            UDP_SEGMENT => options.segment_bytes = u16::try_from(asked).map_err(|_| Errno::EINVAL)?,
            UDP_GRO => options.takes_merged = asked != 0,
            UDP_NO_CHECK6_TX => options.no_check6[0] = asked != 0,
            UDP_NO_CHECK6_RX => options.no_check6[1] = asked != 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}
