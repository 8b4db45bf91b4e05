//! The boundary between a network device and the protocols above it.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use bitflags::bitflags;

use crate::Packet;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

bitflags! {
    /// What a link does for its sender.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Offloads: u8 {
        /// It completes a [`Checksum::Partial`](crate::Checksum::Partial).
        const CHECKSUM = 1;
        /// It cuts TCP over IPv4 into segments.
        const TCP4_SEGMENTATION = 2;
        /// It cuts TCP over IPv6 into segments.
        const TCP6_SEGMENTATION = 4;
        /// It cuts UDP datagrams into datagrams (`UDP_SEGMENT`).
        const UDP_SEGMENTATION = 8;
    }
}

/// What a packet, larger than the link's MTU, is to be cut into, or was put together from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// How.
    pub kind: SegmentationKind,
    /// Payload bytes of each segment but the last.
    pub segment_bytes: u16,
    /// Bytes of all headers, the link's included.
    pub header_bytes: u16,
}

/// Kinds of segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, each segment a datagram.
    Udp,
}

/// What a link has counted since it was made, as `/proc/net/dev` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Packets received wrongly.
    pub receive_errors: u64,
    /// Packets dropped for want of memory or room.
    pub receive_dropped: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// Packets dropped because the queue was full.
    pub send_dropped: u64,
}

/// A network device. Packets begin with the Ethernet header; on the loopback, which has no hardware address, with
/// the IP header.
pub trait Link: Send + Sync {
    /// The interface's name, such as `eth0`.
    fn name(&self) -> &str;

    /// Its hardware address; `None` on a link without any.
    fn hardware_address(&self) -> Option<MacAddress>;

    /// The largest IP packet, in bytes, headers included, that goes out in one piece without
    /// [`Segmentation`].
    fn mtu(&self) -> u32;

    /// What it does for its sender.
    fn offloads(&self) -> Offloads;

    /// Whether the cable is in (`IFF_RUNNING`).
    fn carrier(&self) -> bool;

    /// Sends all of `batch`, in order, and leaves it empty; tells the device once. What finds no room is dropped
    /// and counted, as on any link. Callable with no spin lock held, also from interrupts; never waits.
    fn transmit(&self, batch: &mut Vec<Box<Packet>>);

    /// Lets packets come in, each batch to `receiver`. Called once.
    fn start(&self, receiver: Arc<dyn LinkReceiver>);

    /// What it has counted.
    fn statistics(&self) -> LinkStatistics;
}

/// Who takes packets from a link.
pub trait LinkReceiver: Send + Sync {
    /// Takes all of `batch`, in the order in which they came, and leaves it empty. Called with no lock held, also
    /// from interrupts, one call at a time for each of the link's queues; must not wait. One batch is what one
    /// look at the queue found, so that waking is done once for it.
    fn receive(&self, batch: &mut Vec<Box<Packet>>);

    /// The cable went in or out: [`Link::carrier`] tells. Called as [`receive`](Self::receive) is.
    fn carrier_changed(&self) {}
}
