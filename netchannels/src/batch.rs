//! What one look at a receive queue brought.

use alloc::{boxed::Box, sync::Arc};

use arrayvec::ArrayVec;
use packet::Packet;

use crate::{Arrival, Channel, Counters, Rejected};

/// Most channels of a batch that are settled together. One more, and the one touched first is settled at once.
const CHANNELS: usize = 64;

/// Who runs the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processing {
    /// The thread that reads or writes the socket: net channels.
    #[default]
    InReader,
    /// The worker thread, for each batch, whoever waits (`--net-channels off`): as a softirq would, for comparison.
    InWorker,
}

/// Puts the packets of one receive call into channels, and at its end settles each channel once, so that a
/// thread is woken once however many packets came for it.
pub struct Batch<'a> {
    counters: &'a Counters,
    processing: Processing,
    touched: ArrayVec<Touched, CHANNELS>,
}

struct Touched {
    channel: Arc<Channel>,
    arrival: Arrival,
}

impl<'a> Batch<'a> {
    /// An empty one.
    pub fn new(counters: &'a Counters, processing: Processing) -> Self {
        Self { counters, processing, touched: ArrayVec::new_const() }
    }

    /// Puts a packet into a flow's channel. The packet was [stripped](crate::Flow::strip) before.
    pub fn push(
        &mut self,
        channel: &Arc<Channel>,
        packet: Box<Packet>,
        arrival: Arrival,
    ) -> Result<(), Rejected> {
        let pushed = channel.push(packet);
        match &pushed {
            Ok(()) => self.counters.count_channel_packet(),
            // Nobody came for what fills it: this, too, is to be settled.
            Err(Rejected::Full(_)) => self.counters.count_full(),
            Err(Rejected::Closed(_)) => return pushed,
        }
        // The last is the most probable: packets of a flow come in rows.
        match self.touched.iter_mut().rev().find(|touched| Arc::ptr_eq(&touched.channel, channel)) {
            Some(touched) => touched.arrival |= arrival,
            None => {
                if self.touched.is_full() {
                    let first = self.touched.remove(0);
                    self.settle(first);
                }
                self.touched.push(Touched { channel: channel.clone(), arrival });
            }
        }
        pushed
    }

    /// Settles all channels now. Dropping the batch does the same.
    pub fn finish(self) {}

    fn settle(&self, touched: Touched) {
        let actions = touched.channel.settle(touched.arrival, self.processing);
        self.counters.count_actions(actions);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for touched in core::mem::take(&mut self.touched) {
            self.settle(touched);
        }
    }
}
