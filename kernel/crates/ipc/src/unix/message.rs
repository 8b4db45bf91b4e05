//! What waits in the queue of a local socket, and who is charged for it.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use linux_abi::{Errno, socket::Ucred};
use vfs::{OpenFile, PollEvents, Pollee};

use super::name::Name;

/// Default of `SO_SNDBUF` and `SO_RCVBUF` (`net.core.wmem_default`).
pub const DEFAULT_BUFFER: usize = 212_992;

/// The longest piece of a stream that is queued as one: the head of a Linux socket buffer and eight pages.
pub const STREAM_CHUNK: usize = HEAD_BYTES + 8 * PAGE_SIZE;

const PAGE_SIZE: usize = 4096;
/// Bytes that fit into the head beside `struct skb_shared_info`.
const HEAD_BYTES: usize = 3776;
const SHARED_INFO_BYTES: usize = 320;
const SK_BUFF_BYTES: usize = 256;

/// What Linux would charge for a message of `len` bytes (`skb->truesize`): programs see how many small ones
/// fit into a buffer.
pub fn charged_bytes(len: usize) -> usize {
    let head = (len.min(HEAD_BYTES) + SHARED_INFO_BYTES).next_power_of_two();
    let pages = len.saturating_sub(HEAD_BYTES).next_multiple_of(PAGE_SIZE);
    SK_BUFF_BYTES + head.max(512) + pages
}

/// How much a socket has sent that nobody has received yet, and who waits for that to become less.
#[derive(Default)]
pub struct SendBuffer {
    used: AtomicUsize,
    limit: AtomicUsize,
    pub pollee: Pollee,
}

impl SendBuffer {
    pub const fn new() -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(DEFAULT_BUFFER), pollee: Pollee::new() }
    }

    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    pub fn limit(&self) -> usize {
        self.limit.load(SeqCst)
    }

    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, SeqCst);
        self.pollee.notify(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND);
    }

    /// A quarter of the buffer is the border, so that a sender is woken for more than one message.
    pub fn is_writable(&self) -> bool {
        self.used() * 4 <= self.limit()
    }

    /// Charges for a message if the buffer is not full; the last one may go beyond its end, as on Linux.
    pub fn charge(self: &Arc<Self>, len: usize) -> Option<Charge> {
        let bytes = charged_bytes(len);
        let limit = self.limit();
        self.used.fetch_update(SeqCst, SeqCst, |used| (used < limit).then_some(used + bytes)).ok()?;
        Some(Charge { buffer: self.clone(), bytes })
    }
}

/// The charge for one message; dropped with it.
pub struct Charge {
    buffer: Arc<SendBuffer>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.buffer.used.fetch_sub(self.bytes, SeqCst);
        if self.buffer.is_writable() {
            self.buffer.pollee.notify(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND);
        }
    }
}

/// A message, or a piece of a stream.
pub struct Message {
    /// The bytes; shared, so that they can be copied to the application with no lock held.
    pub data: Arc<Vec<u8>>,
    /// How many have been received already.
    pub received: usize,
    pub rights: Vec<Arc<OpenFile>>,
    pub credentials: Ucred,
    pub sender: Option<Name>,
    /// Gives the room back when the message is dropped.
    pub _charge: Charge,
}

impl Message {
    pub fn unreceived(&self) -> usize {
        self.data.len() - self.received
    }
}

/// Takes exactly `len` bytes from the application.
pub fn take_bytes(src: &mut dyn vfs::WriteSrc, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0; len];
    let mut filled = 0;
    while filled < len {
        match src.take(&mut bytes[filled..]) {
            Ok(0) | Err(_) => return Err(Errno::EFAULT),
            Ok(taken) => filled += taken,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_fit_as_on_linux() {
        let fit = |len| {
            let buffer = Arc::new(SendBuffer::new());
            let charges: Vec<_> = core::iter::from_fn(|| buffer.charge(len)).collect();
            assert!(!buffer.is_writable());
            let count = charges.len();
            drop(charges);
            assert_eq!(buffer.used(), 0);
            count
        };
        // Measured on Linux 6.18: 278 messages of one byte, 219,264 bytes of one long write.
        assert_eq!(fit(1), 278);
        assert_eq!(fit(STREAM_CHUNK) * STREAM_CHUNK, 219_264);
    }
}
