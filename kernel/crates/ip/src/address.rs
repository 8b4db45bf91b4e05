//! What kinds of addresses there are.

use bitflags::bitflags;

/// What an address is to this machine: what `bind(2)` and `connect(2)` decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// `0.0.0.0` or `::`.
    Unspecified,
    /// One of our own, ready for use.
    Local,
    /// One of our own that is not (yet) known to be unique on its link (RFC 4862).
    Tentative,
    /// A broadcast address of one of our links, or `255.255.255.255`.
    Broadcast,
    /// A multicast group.
    Multicast,
    /// Somebody else's.
    Remote,
}

/// How far an address reaches; the values are those of `rtnetlink` (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// Everywhere.
    Universe = 0,
    /// The site (IPv6's deprecated `fec0::/10`).
    Site = 200,
    /// The link.
    Link = 253,
    /// This machine.
    Host = 254,
}

bitflags! {
    /// State of an interface's address (`IFA_F_*` of uapi `linux/if_addr.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AddressFlags: u32 {
        /// Another address of the same subnet.
        const SECONDARY = 0x01;
        /// Duplicate address detection found another owner.
        const DAD_FAILED = 0x08;
        /// Not for new connections.
        const DEPRECATED = 0x20;
        /// Duplicate address detection runs.
        const TENTATIVE = 0x40;
        /// Has no lifetime.
        const PERMANENT = 0x80;
        /// No prefix route comes with it.
        const NO_PREFIX_ROUTE = 0x200;
        /// Its identifier is one that does not tell the hardware address (RFC 7217).
        const STABLE_PRIVACY = 0x800;
    }
}
