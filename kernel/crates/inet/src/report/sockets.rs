//! The lists of sockets: `tcp`, `udp`, `raw`, and how many there are.

use alloc::{string::String, sync::Arc};
use core::{fmt::Write, net::IpAddr};

use linux_abi::inet::TcpState;

use super::is_of;
use crate::{Endpoint, Endpoints, Family, Flow, Net, RawMode, TcpSocket};

/// Pages of memory, in which `sockstat` counts.
const PAGE_BYTES: usize = 4096;
/// Bytes of a line of IPv4, without its end.
const TCP4_LINE: usize = 149;
const UDP4_LINE: usize = 127;

const TCP4_HEADER: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP4_HEADER: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const UDP6_HEADER: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

/// What all lists say of a socket.
struct Line {
    endpoints: Endpoints,
    state: u8,
    unsent_bytes: usize,
    unread_bytes: usize,
}

impl Line {
    fn write(&self, out: &mut String, family: Family) -> core::fmt::Result {
        write_endpoint(out, family, &self.endpoints.local)?;
        out.push(' ');
        write_endpoint(out, family, &self.endpoints.remote.unwrap_or(Endpoint::unspecified(family)))?;
        write!(
            out,
            " {:02X} {:08X}:{:08X} 00:00000000 00000000     0        0 0",
            self.state, self.unsent_bytes, self.unread_bytes
        )
    }
}

/// An address as the machine's memory has it, word by word, and the port.
fn write_endpoint(out: &mut String, family: Family, endpoint: &Endpoint) -> core::fmt::Result {
    match (family, endpoint.address) {
        (Family::V4, IpAddr::V4(address)) => write!(out, "{:08X}", u32::from_ne_bytes(address.octets()))?,
        (_, address) => {
            let octets = match address {
                IpAddr::V4(address) if address.is_unspecified() => [0; 16],
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            for word in octets.as_chunks::<4>().0 {
                write!(out, "{:08X}", u32::from_ne_bytes(*word))?;
            }
        }
    }
    write!(out, ":{:04X}", endpoint.port)
}

impl Net {
    fn tcp_sockets(&self, family: Family) -> impl Iterator<Item = Arc<TcpSocket>> {
        let owners = self.tcp_ports.owners().into_iter();
        owners.filter_map(|owner| owner.upgrade()).filter(move |socket| is_of(socket.core(), family))
    }

    /// Connections in ESTABLISHED or CLOSE_WAIT (`CurrEstab`, RFC 4022).
    pub fn established_connections(&self) -> usize {
        let is_one = |socket: &Arc<TcpSocket>| {
            let (state, _, _) = socket.figures();
            matches!(TcpState::from_raw(state), Some(TcpState::Established | TcpState::CloseWait))
        };
        [Family::V4, Family::V6].map(|family| self.tcp_sockets(family).filter(is_one).count()).iter().sum()
    }

    pub(super) fn write_tcp(&self, out: &mut String, family: Family) -> core::fmt::Result {
        let (header, line_bytes) = match family {
            Family::V4 => (TCP4_HEADER, TCP4_LINE),
            Family::V6 => (TCP6_HEADER, 0),
        };
        writeln!(out, "{header:<line_bytes$}")?;
        let sockets = self.tcp_sockets(family).map(|socket| {
            let (state, unsent_bytes, unread_bytes) = socket.figures();
            Line { endpoints: socket.core().endpoints(), state, unsent_bytes, unread_bytes }
        });
        let over = self.flows.snapshot().into_iter().filter_map(|(_, flow)| match flow {
            Flow::TimeWait(over) => {
                let tuple = over.tuple();
                let local = Endpoint::new(tuple.local.ip(), tuple.local.port());
                let remote = Some(Endpoint::new(tuple.remote.ip(), tuple.remote.port()));
                let is_shown = local.address.is_ipv4() == (family == Family::V4);
                let endpoints = Endpoints { local, remote };
                is_shown.then_some(Line {
                    endpoints,
                    state: over.state() as u8,
                    unsent_bytes: 0,
                    unread_bytes: 0,
                })
            }
            Flow::Channel(_) => None,
        });
        for (number, line) in sockets.chain(over).enumerate() {
            let mut text = alloc::format!("{number:>4}: ");
            line.write(&mut text, family)?;
            text += " 1 0000000000000000 100 0 0 10 0";
            writeln!(out, "{text:<line_bytes$}")?;
        }
        Ok(())
    }

    pub(super) fn write_udp(&self, out: &mut String, family: Family) -> core::fmt::Result {
        let owners = self.udp_ports.owners().into_iter().filter_map(|owner| owner.upgrade());
        let sockets = owners.filter(|socket| is_of(socket.core(), family));
        write_datagram_sockets(out, family, sockets.map(|s| (s.core().endpoints(), s.queue_figures())))
    }

    pub(super) fn write_raw(&self, out: &mut String, family: Family, mode: RawMode) -> core::fmt::Result {
        let all = self.raw.sockets().into_iter();
        let sockets = all.filter(|socket| socket.mode() == mode && is_of(socket.core(), family));
        write_datagram_sockets(out, family, sockets.map(|s| (s.core().endpoints(), s.queue_figures())))
    }

    pub(super) fn write_socket_counts(&self, out: &mut String, family: Family) -> core::fmt::Result {
        let tcp = self.tcp_sockets(family).count();
        let udp = self.udp_ports.owners().into_iter().filter_map(|owner| owner.upgrade());
        let udp = udp.filter(|socket| is_of(socket.core(), family)).count();
        let raw = self.raw.sockets().iter().filter(|socket| is_of(socket.core(), family)).count();
        if family == Family::V6 {
            writeln!(out, "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse {raw}")?;
            return writeln!(out, "FRAG6: inuse 0 memory 0");
        }
        let counted = &self.tcp_counters;
        writeln!(out, "sockets: used {}", counted.sockets() + udp + raw + self.netlink.sockets().len())?;
        writeln!(
            out,
            "TCP: inuse {tcp} orphan {} tw {} alloc {} mem {}",
            counted.orphans(),
            self.time_wait.len(),
            counted.sockets(),
            self.tcp_memory.used_bytes().div_ceil(PAGE_BYTES),
        )?;
        writeln!(out, "UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse {raw}\nFRAG: inuse 0 memory 0")
    }
}

fn write_datagram_sockets(
    out: &mut String,
    family: Family,
    sockets: impl Iterator<Item = (Endpoints, (usize, u32))>,
) -> core::fmt::Result {
    let (header, line_bytes) = match family {
        Family::V4 => (UDP4_HEADER, UDP4_LINE),
        Family::V6 => (UDP6_HEADER, 0),
    };
    writeln!(out, "{header:<line_bytes$}")?;
    for (number, (endpoints, (unread_bytes, dropped))) in sockets.enumerate() {
        let state = if endpoints.remote.is_some() { TcpState::Established } else { TcpState::Close };
        let line = Line { endpoints, state: state.raw(), unsent_bytes: 0, unread_bytes };
        let mut text = alloc::format!("{number:>5}: ");
        line.write(&mut text, family)?;
        write!(text, " 2 0000000000000000 {dropped}")?;
        writeln!(out, "{text:<line_bytes$}")?;
    }
    Ok(())
}
