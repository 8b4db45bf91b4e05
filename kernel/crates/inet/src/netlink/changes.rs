//! Who follows changes: netlink's groups, and the kernel (for the resolver's file).
//!
//! IP tells of a change while locks may be held, so it is only noted; the worker then tells everybody.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    sync::{Arc, Weak},
};

use ip::{AddressInfo, Change};
use ksync::SpinLock;
use linux_abi::netlink::{NlMsgHdr, group::*, message::*};
use spin::Once;

use super::{dump, message::Messages};
use crate::{Deferred, Net};

/// Changes that are noted at most; whoever follows them asks for everything when he has lost some.
const NOTED_MAX: usize = 256;

/// Who is told of each change.
pub type Follower = Box<dyn Fn(&Change) + Send + Sync>;

/// Changes that nobody was told of yet.
pub(crate) struct Changes {
    net: Weak<Net>,
    noted: SpinLock<VecDeque<Change>>,
    follower: Once<Follower>,
}

impl Changes {
    pub(crate) fn new(net: Weak<Net>) -> Arc<Self> {
        Arc::new(Self { net, noted: SpinLock::new(VecDeque::new()), follower: Once::new() })
    }

    /// Lets somebody be told of each change, in the worker's thread. Once.
    pub(crate) fn set_follower(&self, follower: Follower) {
        self.follower.call_once(|| follower);
    }

    /// Notes a change.
    pub(crate) fn note(self: &Arc<Self>, change: Change) {
        let Some(net) = self.net.upgrade() else { return };
        {
            let mut noted = self.noted.lock();
            if noted.len() >= NOTED_MAX {
                return;
            }
            noted.push_back(change);
        }
        net.worker.defer(self.clone());
    }
}

impl Deferred for Changes {
    fn run(&self) {
        let Some(net) = self.net.upgrade() else { return };
        loop {
            let Some(change) = self.noted.lock().pop_front() else { return };
            if let Some(follower) = self.follower.get() {
                follower(&change);
            }
            if matches!(change, Change::AddressAdded { .. } | Change::AddressRemoved { .. }) {
                net.udp_flows.refresh_all(&net);
            }
            tell(&net, &change);
        }
    }

    fn check(&self) -> bool {
        !self.noted.lock().is_empty()
    }
}

fn tell(net: &Net, change: &Change) {
    let header = |kind| NlMsgHdr { kind, ..NlMsgHdr::default() };
    let mut messages = Messages::default();
    let group = match change {
        Change::Link { interface } => {
            let Some(interface) = net.ip.interface(*interface) else { return };
            dump::link(&mut messages, header(RTM_NEWLINK), &interface);
            RTNLGRP_LINK
        }
        Change::AddressAdded { interface, address } => {
            tell_address(net, &mut messages, header(RTM_NEWADDR), *interface, address)
        }
        Change::AddressRemoved { interface, address } => {
            tell_address(net, &mut messages, header(RTM_DELADDR), *interface, address)
        }
        Change::RouteAdded(route) | Change::RouteRemoved(route) => {
            let kind = if matches!(change, Change::RouteAdded(_)) { RTM_NEWROUTE } else { RTM_DELROUTE };
            dump::route(&mut messages, header(kind), route);
            if route.destination.is_ipv4() { RTNLGRP_IPV4_ROUTE } else { RTNLGRP_IPV6_ROUTE }
        }
        Change::Dns | Change::Configured => return,
    };
    let bytes = messages.into_bytes();
    for socket in net.netlink.sockets() {
        let is_member = socket.inner.lock().groups >> (group - 1) & 1 != 0;
        if is_member {
            socket.queue(bytes.clone());
        }
    }
}

fn tell_address(
    net: &Net,
    messages: &mut Messages,
    header: NlMsgHdr,
    interface: u32,
    address: &AddressInfo,
) -> u32 {
    let name = net.ip.interface(interface).map(|found| found.name).unwrap_or_default();
    dump::address_of(messages, header, interface, &name, address);
    if address.address.is_ipv4() { RTNLGRP_IPV4_IFADDR } else { RTNLGRP_IPV6_IFADDR }
}
