//! Where packets come in: from a link to a flow's channel, or to the slow path.
//!
//! This runs in the NIC's interrupt, or, on the loopback, in the thread that sends; it neither waits nor runs any
//! protocol. For each packet it reads the headers, finds the flow, and puts the packet into its channel; at the end of the
//! batch everybody who waits is woken once. See `netchannels`, which does all of this, and [`Worker`] for the
//! packets that are of no flow.

use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};

use netchannels::{Batch, Channel, Classified, Framing, Rejected, SlowReason, Transport, classify};
use packet::{LinkReceiver, Packet};

use crate::{Net, stream::TimeWaitFlow};

/// What the table of flows knows of one.
#[derive(Clone)]
pub enum Flow {
    /// Its packets go into a channel.
    Channel(Arc<Channel>),
    /// A connection that is over: the slow path answers.
    TimeWait(Arc<TimeWaitFlow>),
}

/// What takes the packets of one link.
pub struct Ingress {
    /// The network holds the links, which hold their receivers.
    net: Weak<Net>,
    interface: u32,
    framing: Framing,
}

impl Ingress {
    /// A receiver for the link of an interface, whose packets begin with an Ethernet header if it has a hardware address.
    pub fn new(net: &Arc<Net>, interface: u32, framing: Framing) -> Arc<Self> {
        Arc::new(Self { net: Arc::downgrade(net), interface, framing })
    }
}

impl LinkReceiver for Ingress {
    fn receive(&self, packets: &mut Vec<Box<Packet>>) {
        let Some(net) = self.net.upgrade() else { return packets.clear() };
        let mut batch = Batch::new(&net.counters, net.processing());
        let mut slow = false;
        for packet in packets.drain(..) {
            if let Err((reason, packet)) = self.to_channel(&net, &mut batch, packet) {
                net.counters.count_slow(reason);
                match net.worker.push_slow(self.interface, packet) {
                    Ok(()) => slow = true,
                    Err(_) => net.counters.count_slow_dropped(),
                }
            }
        }
        batch.finish();
        if slow {
            net.worker.wake();
        }
    }
}

impl Ingress {
    /// Puts a packet into its flow's channel, or says why it has none.
    fn to_channel(
        &self,
        net: &Net,
        batch: &mut Batch<'_>,
        mut packet: Box<Packet>,
    ) -> Result<(), (SlowReason, Box<Packet>)> {
        let flow = match classify(&packet, self.framing) {
            Classified::Flow(flow) => flow,
            Classified::Slow(reason) => return Err((reason, packet)),
        };
        let found = net.flows.get(&flow.key).or_else(|| match flow.key.transport() {
            // Which other sockets a datagram could be for, the slow path knows.
            Transport::Udp => net.flows.get(&flow.key.to_bound()),
            Transport::Tcp => None,
        });
        let channel = match found {
            Some(Flow::Channel(channel)) => channel,
            Some(Flow::TimeWait(_)) => return Err((SlowReason::Compact, packet)),
            None => return Err((SlowReason::Stranger, packet)),
        };
        let link_header = LinkHeader::of(&packet, self.framing);
        flow.strip(&mut packet);
        match batch.push(&channel, packet, flow.arrival) {
            Ok(()) | Err(Rejected::Full(_)) => Ok(()),
            // The flow ended this very moment.
            Err(Rejected::Closed(mut packet)) => {
                link_header.put_back(&mut packet);
                Err((SlowReason::Stranger, packet))
            }
        }
    }
}

/// The Ethernet header that was taken off a packet.
enum LinkHeader {
    None,
    Ethernet([u8; 14]),
}

impl LinkHeader {
    fn of(packet: &Packet, framing: Framing) -> Self {
        match framing {
            Framing::Ip => Self::None,
            Framing::Ethernet(_) => {
                packet.head().first_chunk().map_or(Self::None, |head| Self::Ethernet(*head))
            }
        }
    }

    fn put_back(&self, packet: &mut Packet) {
        if let Self::Ethernet(header) = self {
            packet.prepend(header.len()).copy_from_slice(header);
        }
    }
}
