//! Changes that others follow: netlink's groups, and the resolver's file.

use crate::{AddressInfo, RouteInfo};

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface came, or its flags changed (`RTM_NEWLINK`).
    Link {
        /// Its index.
        interface: u32,
    },
    /// An interface has an address, or its flags or lifetimes changed (`RTM_NEWADDR`).
    AddressAdded {
        /// The interface.
        interface: u32,
        /// The address.
        address: AddressInfo,
    },
    /// An interface has an address no more (`RTM_DELADDR`).
    AddressRemoved {
        /// The interface.
        interface: u32,
        /// The address.
        address: AddressInfo,
    },
    /// There is a new route (`RTM_NEWROUTE`).
    RouteAdded(RouteInfo),
    /// A route is gone (`RTM_DELROUTE`).
    RouteRemoved(RouteInfo),
    /// [`Stack::dns`](crate::Stack::dns) has a new answer.
    Dns,
    /// [`Stack::is_configuring`](crate::Stack::is_configuring) has a new answer.
    Configured,
}
