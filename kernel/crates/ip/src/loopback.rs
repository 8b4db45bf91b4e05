//! The link of the machine to itself.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use core::sync::atomic::{AtomicU64, Ordering};

use packet::{Checksum, Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Packet};
use spin::Once;

/// MTU of the loopback, as on Linux.
const MTU_BYTES: u32 = 65_536;

/// The loopback interface's link.
///
/// What is sent is received at once, in the sender's thread and unchanged: a checksum that was left to the device is
/// true by construction, and what was to be cut into segments stays whole.
#[derive(Default)]
pub struct Loopback {
    receiver: Once<Arc<dyn LinkReceiver>>,
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Loopback {
    /// A loopback that nobody listens to yet.
    pub const fn new() -> Self {
        Self {
            receiver: Once::new(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Link for Loopback {
    fn name(&self) -> &str {
        "lo"
    }

    fn hardware_address(&self) -> Option<MacAddress> {
        None
    }

    fn mtu(&self) -> u32 {
        MTU_BYTES
    }

    fn offloads(&self) -> Offloads {
        Offloads::all()
    }

    fn carrier(&self) -> bool {
        true
    }

    fn transmit(&self, batch: &mut Vec<Box<Packet>>) {
        let Some(receiver) = self.receiver.get() else {
            self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
            batch.clear();
            return;
        };
        let mut bytes = 0;
        for packet in batch.iter_mut() {
            bytes += packet.len() as u64;
            if let Checksum::Partial { .. } = packet.checksum {
                packet.checksum = Checksum::Verified;
            }
        }
        self.packets.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        receiver.receive(batch);
    }

    fn start(&self, receiver: Arc<dyn LinkReceiver>) {
        self.receiver.call_once(|| receiver);
    }

    fn statistics(&self) -> LinkStatistics {
        let packets = self.packets.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        LinkStatistics {
            received_bytes: bytes,
            received_packets: packets,
            sent_bytes: bytes,
            sent_packets: packets,
            send_dropped: self.dropped.load(Ordering::Relaxed),
            ..LinkStatistics::default()
        }
    }
}
