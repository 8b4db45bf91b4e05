//! Where IP's datagrams go: to the transport that they are for.

use alloc::sync::{Arc, Weak};

use ip::{Change, Claim, Datagram, IcmpError, Transport, protocol};

use crate::{Net, raw, stream, udp};

/// The transports as IP sees them.
pub struct Transports {
    /// The network holds IP, which holds this.
    net: Weak<Net>,
}

impl Transports {
    /// The transports of a network: for [`ip::Stack::set_transport`].
    pub fn new(net: &Arc<Net>) -> Arc<Self> {
        Arc::new(Self { net: Arc::downgrade(net) })
    }
}

impl Transport for Transports {
    fn deliver(&self, datagram: Datagram) -> Claim {
        let Some(net) = self.net.upgrade() else { return Claim::Claimed };
        match datagram.protocol {
            protocol::TCP => {
                stream::deliver(&net, datagram);
                Claim::Claimed
            }
            protocol::UDP => udp::deliver(&net, datagram),
            _ => raw::deliver(&net, datagram),
        }
    }

    fn icmp_error(&self, error: IcmpError) {
        let Some(net) = self.net.upgrade() else { return };
        match error.protocol {
            protocol::TCP => stream::icmp_error(&net, error),
            protocol::UDP => udp::icmp_error(&net, &error),
            _ => raw::icmp_error(&net, &error),
        }
    }

    fn poll_wanted(&self) {
        if let Some(net) = self.net.upgrade() {
            net.worker.poll_ip();
        }
    }

    fn changed(&self, change: Change) {
        if let Some(net) = self.net.upgrade() {
            net.note_change(change);
        }
    }
}
