//! The control queues: small messages about ports (5.3.6.2).

use alloc::collections::VecDeque;

use super::{CONTROL_RECEIVE_QUEUE, CONTROL_TRANSMIT_QUEUE, Shared, queue};
use crate::{Broken, Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, Segment, SplitQueue};

/// Length of a message without its payload.
const MESSAGE_LEN: usize = 8;
/// Room for a message and a name.
const BUFFER_LEN: usize = 256;
const BUFFERS: u16 = 16;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Guest: it is ready (value 1) for messages.
    DeviceReady,
    /// Host: there is a port.
    PortAdd,
    /// Host: the port is gone.
    PortRemove,
    /// Guest: it is ready (1) for the port, or failed (0).
    PortReady,
    /// Host: the port is meant for a console.
    ConsolePort,
    /// Host: the console's size.
    Resize,
    /// Both: the port was opened (1) or closed (0) on the sender's side.
    PortOpen,
    /// Host: the port's name.
    PortName,
}

impl Event {
    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::DeviceReady,
            1 => Self::PortAdd,
            2 => Self::PortRemove,
            3 => Self::PortReady,
            4 => Self::ConsolePort,
            5 => Self::Resize,
            6 => Self::PortOpen,
            7 => Self::PortName,
            _ => return None,
        })
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub port: u32,
    pub event: Event,
    pub value: u16,
}

/// What follows a message from the host.
pub struct Payload {
    bytes: [u8; BUFFER_LEN - MESSAGE_LEN],
    len: usize,
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The control queues; each cookie is the number of a buffer.
pub struct Control {
    receive: SplitQueue<u16>,
    receive_doorbell: Doorbell,
    receive_buffers: DmaBuffer,
    transmit: SplitQueue<u16>,
    transmit_doorbell: Doorbell,
    transmit_buffers: DmaBuffer,
    free: VecDeque<u16>,
    /// Messages that found no buffer. Each is the answer to a change of one port or to a call, so
    /// their number is bounded.
    waiting: VecDeque<Message>,
}

impl Control {
    pub fn new(shared: &Shared, platform: &'static dyn DmaPlatform, vector: u16) -> Result<Self, InitError> {
        let pages = (usize::from(BUFFERS) * BUFFER_LEN).div_ceil(crate::dma::PAGE_SIZE);
        let buffers = || DmaBuffer::new(platform, pages).ok_or(InitError::OutOfMemory);
        let (receive_buffers, transmit_buffers) = (buffers()?, buffers()?);
        let (receive, receive_doorbell) = queue(shared, platform, CONTROL_RECEIVE_QUEUE, BUFFERS, vector)?;
        let (transmit, transmit_doorbell) = queue(shared, platform, CONTROL_TRANSMIT_QUEUE, BUFFERS, vector)?;
        let free = (0..transmit.size()).collect();
        Ok(Self {
            receive,
            receive_doorbell,
            receive_buffers,
            transmit,
            transmit_doorbell,
            transmit_buffers,
            free,
            waiting: VecDeque::new(),
        })
    }

    /// Offers all receive buffers; once, when the device runs.
    pub fn post_receive_buffers(&mut self) {
        for buffer in 0..self.receive.size() {
            self.post(buffer);
        }
        self.receive_doorbell.ring();
    }

    fn post(&mut self, buffer: u16) {
        let phys = self.receive_buffers.phys() + (usize::from(buffer) * BUFFER_LEN) as u64;
        let segment = Segment { phys, len: BUFFER_LEN as u32, direction: Direction::FromDevice };
        // SAFETY: the buffers live as long as the device, and this one is nobody's now. A queue that
        // refuses is broken, which the next completion reports.
        let _ = unsafe { self.receive.submit(&[segment], buffer) };
    }

    /// The next message that makes sense.
    pub fn receive(&mut self) -> Result<Option<(Message, Payload)>, Broken> {
        while let Some(completion) = self.receive.complete()? {
            let buffer = completion.cookie;
            let at = usize::from(buffer) * BUFFER_LEN;
            let len = completion.written as usize;
            let message = (len >= MESSAGE_LEN)
                .then(|| Event::from_number(self.receive_buffers.read_u16(at + 4)))
                .flatten()
                .map(|event| {
                    let mut payload = Payload { bytes: [0; _], len: len - MESSAGE_LEN };
                    let bytes = &mut payload.bytes[..len - MESSAGE_LEN];
                    self.receive_buffers.copy_out(at + MESSAGE_LEN, bytes);
                    let port = self.receive_buffers.read_u32(at);
                    let value = self.receive_buffers.read_u16(at + 6);
                    (Message { port, event, value }, payload)
                });
            self.post(buffer);
            if self.receive.must_notify() {
                self.receive_doorbell.ring();
            }
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }

    /// Sends a message, now or when there is room.
    pub fn send(&mut self, message: Message) {
        self.waiting.push_back(message);
        self.send_waiting();
    }

    /// Takes back what the device has read, and sends what waits for room.
    pub fn reclaim(&mut self) -> Result<(), Broken> {
        while let Some(completion) = self.transmit.complete()? {
            self.free.push_back(completion.cookie);
        }
        self.send_waiting();
        Ok(())
    }

    fn send_waiting(&mut self) {
        let mut sent = false;
        while let (Some(message), Some(buffer)) = (self.waiting.front(), self.free.front()) {
            let (message, buffer) = (*message, *buffer);
            let at = usize::from(buffer) * BUFFER_LEN;
            self.transmit_buffers.write_u32(at, message.port);
            self.transmit_buffers.write_u16(at + 4, message.event as u16);
            self.transmit_buffers.write_u16(at + 6, message.value);
            let segment = Segment {
                phys: self.transmit_buffers.phys() + at as u64,
                len: MESSAGE_LEN as u32,
                direction: Direction::ToDevice,
            };
            // SAFETY: as for receive buffers.
            if unsafe { self.transmit.submit(&[segment], buffer) }.is_err() {
                return;
            }
            self.waiting.pop_front();
            self.free.pop_front();
            sent = true;
        }
        if sent && self.transmit.must_notify() {
            self.transmit_doorbell.ring();
        }
    }
}
