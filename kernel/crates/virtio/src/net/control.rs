//! Commands to the device (5.1.6.5). They are given while the device is set up, by its owner, who waits.

use ksync::platform;

use super::negotiate::{Negotiated, feature};
use crate::{
    Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, NO_VECTOR, Segment, SplitQueue, Transport,
};

const CLASS_RX: u8 = 0;
const RX_PROMISCUOUS: u8 = 0;
const RX_ALL_MULTICAST: u8 = 1;
const CLASS_MQ: u8 = 4;
const MQ_PAIRS_SET: u8 = 0;

const ACK_OK: u8 = 0;
/// What the answer is before the device writes it; no answer of the specification.
const ACK_UNSET: u8 = 0xff;

/// Where in the page the answer is; commands are shorter.
const ACK_AT: usize = 64;
/// How long a device may take.
const ANSWER_NS: u64 = 1_000_000_000;

/// The command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The device said no.
    ByDevice,
    /// The device does not answer; it is not asked again.
    NoAnswer,
}

/// The control queue.
pub struct Control {
    queue: SplitQueue<()>,
    doorbell: Doorbell,
    buffer: DmaBuffer,
}

impl Control {
    /// Sets the queue up, if that was agreed on.
    pub fn new(
        transport: &dyn Transport,
        platform: &'static dyn DmaPlatform,
        negotiated: &Negotiated,
    ) -> Result<Option<Self>, InitError> {
        if negotiated.features & feature::CTRL_VQ == 0 {
            return Ok(None);
        }
        let index = 2 * negotiated.max_pairs;
        let max = transport.max_queue_size(index);
        if max < 2 {
            return Err(InitError::Queue);
        }
        let mut queue =
            SplitQueue::new(platform, 2, max, negotiated.features).ok_or(InitError::OutOfMemory)?;
        queue.disable_interrupts();
        let buffer = DmaBuffer::new(platform, 1).ok_or(InitError::OutOfMemory)?;
        let doorbell = transport.enable_queue(index, &queue.layout(), NO_VECTOR)?;
        Ok(Some(Self { queue, doorbell, buffer }))
    }

    /// Sets how many pairs of queues are used.
    pub fn set_pairs(&mut self, pairs: u16) -> Result<(), Refused> {
        self.command(CLASS_MQ, MQ_PAIRS_SET, &pairs.to_le_bytes())
    }

    /// Asks for what is sent to this station, to groups, and to all, and for nothing else: what the device
    /// filters out costs no interrupt. Which groups is left to the protocols.
    pub fn filter(&mut self) -> Result<(), Refused> {
        self.command(CLASS_RX, RX_ALL_MULTICAST, &[1])?;
        self.command(CLASS_RX, RX_PROMISCUOUS, &[0])
    }

    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> Result<(), Refused> {
        self.buffer.copy_in(0, &[class, command]);
        self.buffer.copy_in(2, data);
        self.buffer.write_u8(ACK_AT, ACK_UNSET);
        let request = [
            Segment { phys: self.buffer.phys(), len: 2 + data.len() as u32, direction: Direction::ToDevice },
            Segment { phys: self.buffer.phys() + ACK_AT as u64, len: 1, direction: Direction::FromDevice },
        ];
        // SAFETY: the buffer lives as long as the queue, and one command is under way at a time: after one that
        // is not answered the queue has no descriptors left.
        unsafe { self.queue.submit(&request, ()) }.map_err(|_| Refused::NoAnswer)?;
        if self.queue.must_notify() {
            self.doorbell.ring();
        }
        let deadline_ns = platform::now_ns().saturating_add(ANSWER_NS);
        loop {
            match self.queue.complete() {
                Ok(Some(_)) => break,
                Ok(None) if platform::now_ns() < deadline_ns => core::hint::spin_loop(),
                _ => return Err(Refused::NoAnswer),
            }
        }
        if self.buffer.read_u8(ACK_AT) == ACK_OK { Ok(()) } else { Err(Refused::ByDevice) }
    }
}
