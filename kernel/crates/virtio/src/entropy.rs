//! Entropy sources (5.4).
//!
//! One request is always under way, so that there is something to take whenever somebody asks, and
//! nobody waits. No interrupts are used. The queue's lock guards all; it is held for a few ring
//! operations.

use alloc::boxed::Box;

use ksync::SpinLock;

use crate::{
    Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, NO_VECTOR, Segment, SplitQueue, Transport, begin,
    finish, reset,
};

const QUEUE: u16 = 0;

/// Bytes asked for at a time: two keys' worth.
pub const REQUEST_LEN: usize = 64;

/// An entropy source.
pub struct EntropySource {
    transport: Box<dyn Transport>,
    doorbell: Doorbell,
    buffer: DmaBuffer,
    queue: SpinLock<SplitQueue<()>>,
}

impl EntropySource {
    /// Brings the device up and asks it for bytes.
    pub fn new(transport: Box<dyn Transport>, platform: &'static dyn DmaPlatform) -> Result<Self, InitError> {
        let features = begin(&*transport, 0)?;
        transport.set_configuration_vector(NO_VECTOR)?;
        let mut queue = SplitQueue::new(platform, 2, transport.max_queue_size(QUEUE), features)
            .ok_or(InitError::Queue)?;
        queue.disable_interrupts();
        let buffer = DmaBuffer::new(platform, 1).ok_or(InitError::OutOfMemory)?;
        let doorbell = transport.enable_queue(QUEUE, &queue.layout(), NO_VECTOR)?;
        finish(&*transport);
        let source = Self { transport, doorbell, buffer, queue: SpinLock::new(queue) };
        source.request(&mut source.queue.lock());
        Ok(source)
    }

    fn request(&self, queue: &mut SplitQueue<()>) {
        let segment =
            Segment { phys: self.buffer.phys(), len: REQUEST_LEN as u32, direction: Direction::FromDevice };
        // SAFETY: the buffer lives as long as the device, and is read only between requests. A queue
        // that is broken refuses; there is no entropy then.
        if unsafe { queue.submit(&[segment], ()) }.is_ok() && queue.must_notify() {
            self.doorbell.ring();
        }
    }

    /// Takes the bytes that have arrived, and asks for more. How many, 0 to [`REQUEST_LEN`], is the
    /// device's business.
    pub fn take(&self, bytes: &mut [u8; REQUEST_LEN]) -> usize {
        let mut queue = self.queue.lock();
        let Ok(Some(completion)) = queue.complete() else { return 0 };
        let len = completion.written as usize;
        self.buffer.copy_out(0, &mut bytes[..len]);
        self.buffer.copy_in(0, &[0; REQUEST_LEN]);
        self.request(&mut queue);
        len
    }
}

impl Drop for EntropySource {
    /// The device must not use the buffer when that is freed.
    fn drop(&mut self) {
        let _ = reset(&*self.transport);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DeviceKind,
        fake::{FakeTransport, PLATFORM},
    };

    #[test]
    fn gives_each_byte_once_and_survives_a_mad_device() {
        let transport = FakeTransport::new(DeviceKind::Entropy, 0, 1, Vec::new());
        let state = transport.state.clone();
        let source = EntropySource::new(Box::new(transport), &PLATFORM).unwrap();
        let mut bytes = [0; REQUEST_LEN];
        assert_eq!(source.take(&mut bytes), 0);
        let answer = |data: &[u8], written| {
            let mut state = state.lock().unwrap();
            let queue = &mut state.queues.get_mut(&0).unwrap().1;
            let chain = queue.next().unwrap();
            chain.write(data);
            queue.finish(chain.head.into(), written);
        };
        answer(&[7; 20], 20);
        assert_eq!(source.take(&mut bytes), 20);
        assert_eq!(bytes[..21], [[7; 20].as_slice(), &[0]].concat());
        assert_eq!(source.take(&mut bytes), 0);
        answer(&[8; REQUEST_LEN], u32::MAX);
        assert_eq!(source.take(&mut bytes), REQUEST_LEN);
        state.lock().unwrap().queue(0).finish(77, 64);
        assert_eq!(source.take(&mut bytes), 0);
        assert_eq!(source.take(&mut bytes), 0);
    }
}
