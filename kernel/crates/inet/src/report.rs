//! The lists of sockets in `/proc/net` (`proc(5)`; the `seq_show` functions in Linux's `net/`). What there is beside
//! sockets, the crate `ip` tells.
//!
//! Each text is made when its file is read, from snapshots: nobody waits for a reader.

mod sockets;

use alloc::string::String;
use core::fmt::Write;

use crate::{Family, Net, RawMode, socket_core::SocketCore};

/// A file that tells of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `/proc/net/netlink`
    Netlink,
    /// `/proc/net/icmp`, `icmp6`: ping sockets
    Ping(Family),
    /// `/proc/net/raw`, `raw6`
    Raw(Family),
    /// `/proc/net/sockstat`, `sockstat6`: how many there are
    Counts(Family),
    /// `/proc/net/tcp`, `tcp6`
    Tcp(Family),
    /// `/proc/net/udp`, `udp6`
    Udp(Family),
}

impl Report {
    /// The report with the name of its file.
    pub fn named(name: &str) -> Option<Self> {
        use Family::{V4, V6};
        Some(match name {
            "icmp" => Self::Ping(V4),
            "icmp6" => Self::Ping(V6),
            "netlink" => Self::Netlink,
            "raw" => Self::Raw(V4),
            "raw6" => Self::Raw(V6),
            "sockstat" => Self::Counts(V4),
            "sockstat6" => Self::Counts(V6),
            "tcp" => Self::Tcp(V4),
            "tcp6" => Self::Tcp(V6),
            "udp" => Self::Udp(V4),
            "udp6" => Self::Udp(V6),
            _ => return None,
        })
    }
}

impl Net {
    /// The text of a file.
    pub fn report(&self, which: Report) -> String {
        let mut out = String::new();
        let written = match which {
            Report::Netlink => self.write_netlink(&mut out),
            Report::Ping(family) => self.write_raw(&mut out, family, RawMode::Ping),
            Report::Raw(family) => self.write_raw(&mut out, family, RawMode::Raw),
            Report::Counts(family) => self.write_socket_counts(&mut out, family),
            Report::Tcp(family) => self.write_tcp(&mut out, family),
            Report::Udp(family) => self.write_udp(&mut out, family),
        };
        debug_assert!(written.is_ok(), "writing to a string never fails");
        out
    }

    fn write_netlink(&self, out: &mut String) -> core::fmt::Result {
        writeln!(
            out,
            "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode"
        )?;
        for socket in self.netlink.sockets() {
            let (port, groups, bytes) = socket.figures();
            writeln!(
                out,
                "{:016x} {:<3} {port:<10} {groups:08x} {bytes:<8} {:<8} {:<5} {:<8} {:<8} {:<8}",
                0, 0, 0, 0, 2, 0, 0,
            )?;
        }
        Ok(())
    }
}

/// Whether a file of this family shows a socket.
fn is_of(core: &SocketCore, family: Family) -> bool {
    core.family == family
}

#[cfg(test)]
mod tests;
