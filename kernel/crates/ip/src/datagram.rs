//! What goes up to the transports.

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use arrayvec::ArrayVec;
use linux_abi::Errno;
use packet::Packet;

use crate::Change;

/// Longest IP header that is kept with a datagram: IPv4's with all options.
pub const MAX_HEADER_BYTES: usize = 60;

/// A whole IP datagram for us.
#[derive(Debug)]
pub struct Datagram {
    /// Interface where it came in.
    pub interface: u32,
    /// Its sender.
    pub source: IpAddr,
    /// The destination: an address of ours, a broadcast address or a multicast group.
    pub destination: IpAddr,
    /// What it carries ([`protocol`](crate::protocol)); the last next header of IPv6.
    pub protocol: u8,
    /// Time to live, hop limit.
    pub hop_limit: u8,
    /// Type of service, traffic class.
    pub tos: u8,
    /// IPv6's flow label; else 0.
    pub flow_label: u32,
    /// The IP header (IPv4's with options and with the whole datagram's length; IPv6's without extensions), for raw
    /// sockets and ICMP errors.
    pub header: ArrayVec<u8, MAX_HEADER_BYTES>,
    /// The bytes from the transport's header on, padding cut off.
    pub packet: Box<Packet>,
}

/// An ICMP error about a packet of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Interface where it came in.
    pub interface: u32,
    /// Who reports it; our own address if we found out ourselves.
    pub reporter: IpAddr,
    /// What is wrong.
    pub kind: IcmpErrorKind,
    /// The message's type and code, for `IP_RECVERR`.
    pub icmp_type: u8,
    /// See `icmp_type`.
    pub icmp_code: u8,
    /// Source of the packet that it is about: an address of ours.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// What is quoted of it, from the transport's header on: at least the 8 bytes that have the ports (and TCP's sequence
    /// number), at most what a minimal IPv6 packet holds.
    pub quoted: Vec<u8>,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpErrorKind {
    /// The packet was too big for a link on the way. Whoever can tell that the quoted packet is his calls
    /// [`Stack::update_path_mtu`](crate::Stack::update_path_mtu).
    PacketTooBig {
        /// The link's MTU.
        mtu: u32,
    },
    /// It could not be delivered.
    Unreachable {
        /// The error for the socket.
        errno: Errno,
        /// Whether Linux reports it also to a socket of UDP or ICMP that did not ask with `IP_RECVERR`. (TCP gives
        /// up at any while it connects, and at none later.)
        fatal: bool,
    },
    /// Its time to live, or that of its fragments, was over (`EHOSTUNREACH`).
    TimeExceeded,
    /// Its header was not understood (`EPROTO`).
    ParameterProblem,
    /// A router asks to send less; to be ignored (RFC 6633).
    SourceQuench,
}

/// Who takes datagrams from IP: the sockets. Called from [`Stack::input`](crate::Stack::input) and
/// [`Stack::poll`](crate::Stack::poll), but for the last two methods, which may be called from anywhere in the stack.
/// No lock of the stack is held.
pub trait Transport: Send + Sync {
    /// Takes a datagram: one of TCP or UDP, or one that raw sockets may want (ICMP's too, after the stack itself
    /// has answered). Returns [`Unclaimed`](Claim::Unclaimed) if nobody wants its protocol at all: the sender is told so.
    /// For a closed port of UDP call [`Stack::port_unreachable`](crate::Stack::port_unreachable).
    fn deliver(&self, datagram: Datagram) -> Claim;

    /// Takes an ICMP error about a packet of ours.
    fn icmp_error(&self, error: IcmpError);

    /// There is something to do sooner than [`Stack::poll`](crate::Stack::poll) said last, or there are packets to
    /// deliver: it is to be called soon, by another thread. May be called with locks of the transport held: must not
    /// take any.
    fn poll_wanted(&self);

    /// Something changed. May be called with locks of the transport held: is to note it only.
    fn changed(&self, change: Change);
}

/// Whether a transport takes a datagram's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It does, also if it dropped the datagram.
    Claimed,
    /// Nobody speaks this protocol.
    Unclaimed,
}
