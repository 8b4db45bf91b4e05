//! Routes: the table, and what a socket keeps of it.

use alloc::sync::Arc;
use core::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use packet::Offloads;

/// The way to a destination, as a socket keeps it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Index of the interface.
    pub interface: u32,
    /// The source address that was asked for, or the best one for the destination.
    pub source: IpAddr,
    /// Who gets the packets on the link: the destination or a gateway.
    pub next_hop: IpAddr,
    /// What kind of destination it is.
    pub kind: RouteKind,
    /// Largest IP packet, headers included, on the way to the destination, as far as known.
    pub mtu: u32,
    /// What the link does for its senders.
    pub offloads: Offloads,
    /// The state of the tables of which this is true.
    generation: u32,
    current_generation: Arc<AtomicU32>,
}

impl Route {
    /// Whether the tables are still those that gave this route. If not, ask anew.
    pub fn is_current(&self) -> bool {
        self.generation == self.current_generation.load(Ordering::Acquire)
    }
}

/// What kind of destination a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// This machine.
    Local,
    /// Another machine.
    Unicast,
    /// All machines of the link. (`EACCES` without `SO_BROADCAST` is the socket's affair.)
    Broadcast,
    /// A group.
    Multicast,
}
