//! The state as netlink, ioctls and `/proc/net` show it.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use bitflags::bitflags;
use packet::{LinkStatistics, MacAddress};

use crate::{AddressFlags, RouteKind, Scope};

bitflags! {
    /// Flags of an interface (`IFF_*`, `netdevice(7)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceFlags: u32 {
        /// It is in use.
        const UP = 0x1;
        /// It has a broadcast address.
        const BROADCAST = 0x2;
        /// It is the loopback.
        const LOOPBACK = 0x8;
        /// Its cable is in.
        const RUNNING = 0x40;
        /// It takes multicast packets.
        const MULTICAST = 0x1000;
        /// The driver says that the cable is in.
        const LOWER_UP = 0x1_0000;
    }
}

/// An interface.
#[derive(Clone, Debug)]
pub struct InterfaceInfo {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; `None` for the loopback.
    pub hardware_address: Option<MacAddress>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its state.
    pub flags: InterfaceFlags,
    /// Its addresses, in the order in which Linux lists them.
    pub addresses: Vec<AddressInfo>,
    /// The groups that it listens to.
    pub groups: Vec<GroupInfo>,
    /// What the link counts.
    pub statistics: LinkStatistics,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The address.
    pub address: IpAddr,
    /// Bits of its subnet's prefix.
    pub prefix_len: u8,
    /// The subnet's broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it reaches.
    pub scope: Scope,
    /// Its state.
    pub flags: AddressFlags,
    /// Seconds for which it is good for new connections; `None`: for ever.
    pub preferred_left_s: Option<u32>,
    /// Seconds for which it is valid; `None`: for ever.
    pub valid_left_s: Option<u32>,
}

/// A group that an interface listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group.
    pub group: IpAddr,
    /// How many members there are on this machine.
    pub members: u32,
}

/// Who made a route; the values are those of `rtnetlink` (`RTPROT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RouteOrigin {
    /// It came with an address.
    Kernel = 2,
    /// The user.
    Boot = 3,
    /// The user's static configuration.
    Static = 4,
    /// A router's advertisement.
    RouterAdvertisement = 9,
    /// A DHCP server.
    Dhcp = 16,
}

/// The table in which Linux shows a route (`RT_TABLE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RouteTable {
    /// The main table.
    Main = 254,
    /// Local and broadcast addresses.
    Local = 255,
}

/// A route of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The destination's prefix.
    pub destination: IpAddr,
    /// Its length in bits.
    pub prefix_len: u8,
    /// The next hop; `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the interface.
    pub interface: u32,
    /// What it leads to.
    pub kind: RouteKind,
    /// How far the destinations are.
    pub scope: Scope,
    /// The address that packets get whose sender has not chosen one.
    pub preferred_source: Option<IpAddr>,
    /// Of two routes for the same prefix the one with the lower metric counts.
    pub metric: u32,
    /// Who made it.
    pub origin: RouteOrigin,
    /// Where it is shown.
    pub table: RouteTable,
    /// Seconds until it goes; `None`: stays.
    pub expires_s: Option<u32>,
}

/// State of a neighbour; the values are those of `rtnetlink` (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NeighbourState {
    /// Being asked for the first time.
    Incomplete = 0x01,
    /// Known to be there.
    Reachable = 0x02,
    /// Was there a while ago.
    Stale = 0x04,
    /// Was there a while ago, is in use again, and the transport may confirm it.
    Delay = 0x08,
    /// Asked whether it is still there.
    Probe = 0x10,
    /// Does not answer.
    Failed = 0x20,
}

/// A neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Index of the interface.
    pub interface: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address, if known.
    pub hardware_address: Option<MacAddress>,
    /// What is known of it.
    pub state: NeighbourState,
    /// Whether it is a router (IPv6).
    pub is_router: bool,
}
