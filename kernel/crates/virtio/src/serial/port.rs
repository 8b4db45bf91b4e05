//! One port: bytes both ways.
//!
//! Receiving, the device fills page-sized buffers; a buffer is offered again when it has been read
//! out, so a guest that does not read holds the host back. Transmitting, a writer fills free buffers
//! and waits when the host has not taken them yet. The application's memory is never touched with a
//! spin lock held: a buffer that is being filled or emptied belongs to whoever holds its number.

use alloc::{
    collections::VecDeque,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
};

use ksync::{Interruptible, Mutex, SpinLock, WaitError, platform};
use linux_abi::Errno;
use spin::Once;
use vfs::{Blocking, File, PollEvents, Pollee, ReadDst, SliceSrc, WriteSrc};

use super::{
    Shared,
    control::{Event, Message},
    queue, receive_queue,
};
use crate::{
    Broken, Direction, DmaBuffer, DmaPlatform, Doorbell, InitError, Segment, SplitQueue, dma::PAGE_SIZE,
};

const RECEIVE_BUFFERS: u16 = 8;
const TRANSMIT_BUFFERS: u16 = 16;

/// Time between looks at a device that cannot interrupt.
const POLL_INTERVAL_NS: u64 = 1_000_000;

/// How often a panicking kernel looks whether the host has taken a buffer, before it gives up.
const PANIC_POLLS: u32 = 200_000_000;

/// The host's end of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostEnd {
    /// Nobody has opened it yet.
    NeverOpened,
    /// Somebody reads and writes there.
    Open,
    /// It was closed, or the port or the device is gone.
    Closed,
}

struct Status {
    announced: bool,
    name: Option<String>,
    host: HostEnd,
    /// Columns and rows, if the host has told.
    size: Option<(u16, u16)>,
}

/// A buffer with bytes that nobody has read yet.
#[derive(Clone, Copy)]
struct Received {
    buffer: u16,
    start: usize,
    end: usize,
}

struct Receive {
    queue: SplitQueue<u16>,
    received: VecDeque<Received>,
    bytes: usize,
}

struct Transmit {
    queue: SplitQueue<u16>,
    free: Vec<u16>,
    /// Somebody waits for a free buffer, or for all of them.
    awaited: bool,
}

struct Buffers {
    receive: DmaBuffer,
    transmit: DmaBuffer,
}

/// A port of a serial device.
pub struct Port {
    id: u32,
    shared: Arc<Shared>,
    platform: &'static dyn DmaPlatform,
    receive_doorbell: Doorbell,
    transmit_doorbell: Doorbell,
    status: SpinLock<Status>,
    receive: SpinLock<Receive>,
    transmit: SpinLock<Transmit>,
    /// Made when the port is opened.
    buffers: Once<Buffers>,
    reader: Mutex<()>,
    writer: Mutex<()>,
    pollee: Pollee,
    bytes_read: AtomicU64,
}

impl Port {
    pub(super) fn new(
        shared: Arc<Shared>,
        platform: &'static dyn DmaPlatform,
        id: u32,
        vector: u16,
    ) -> Result<Self, InitError> {
        let index = receive_queue(id);
        let (receive, receive_doorbell) = queue(&shared, platform, index, RECEIVE_BUFFERS, vector)?;
        let (mut transmit, transmit_doorbell) =
            queue::<u16>(&shared, platform, index + 1, TRANSMIT_BUFFERS, vector)?;
        // Buffers that the host has taken are found by the next writer; only one that waits needs
        // an interrupt.
        transmit.disable_interrupts();
        let free = (0..transmit.size()).collect();
        let received = VecDeque::with_capacity(receive.size().into());
        Ok(Self {
            id,
            shared,
            platform,
            receive_doorbell,
            transmit_doorbell,
            status: SpinLock::new(Status {
                announced: false,
                name: None,
                host: HostEnd::NeverOpened,
                size: None,
            }),
            receive: SpinLock::new(Receive { queue: receive, received, bytes: 0 }),
            transmit: SpinLock::new(Transmit { queue: transmit, free, awaited: false }),
            buffers: Once::new(),
            reader: Mutex::new(()),
            writer: Mutex::new(()),
            pollee: Pollee::new(),
            bytes_read: AtomicU64::new(0),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.status.lock().name.as_deref() == Some(name)
    }

    /// The name that the host gave the port.
    pub fn name(&self) -> Option<String> {
        self.status.lock().name.clone()
    }

    /// Columns and rows of the host's terminal, if the host has told.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.status.lock().size
    }

    /// Bytes that have been read from the port so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Acquire)
    }

    /// Bytes that have arrived and can be read at once.
    pub fn bytes_available(&self) -> usize {
        self.receive.lock().bytes
    }

    /// Makes the buffers and offers the device those for receiving. `None` without memory.
    pub(super) fn open(&self) -> Option<()> {
        if self.buffers.get().is_some() {
            return Some(());
        }
        let (receive, transmit) =
            (self.receive.lock().queue.size().into(), self.transmit.lock().queue.size().into());
        let buffers = Buffers {
            receive: DmaBuffer::new(self.platform, receive)?,
            transmit: DmaBuffer::new(self.platform, transmit)?,
        };
        let mut first = false;
        self.buffers.call_once(|| {
            first = true;
            buffers
        });
        if first {
            let mut receive = self.receive.lock();
            for buffer in 0..receive.queue.size() {
                self.offer(&mut receive.queue, buffer);
            }
            self.receive_doorbell.ring();
        }
        Some(())
    }

    fn offer(&self, queue: &mut SplitQueue<u16>, buffer: u16) {
        let Some(buffers) = self.buffers.get() else { return };
        let segment = Segment {
            phys: buffers.receive.phys() + (usize::from(buffer) * PAGE_SIZE) as u64,
            len: PAGE_SIZE as u32,
            direction: Direction::FromDevice,
        };
        // SAFETY: the buffers live as long as the port, and this one is nobody's now. A queue that
        // refuses is broken, which the next completion reports.
        let _ = unsafe { queue.submit(&[segment], buffer) };
    }

    /// Takes a control message about this port; the result is to be sent back.
    pub(super) fn handle_event(&self, event: Event, value: u16, payload: &[u8]) -> Option<Message> {
        let mut status = self.status.lock();
        match event {
            Event::PortAdd if !status.announced => {
                status.announced = true;
                return Some(Message { port: self.id, event: Event::PortReady, value: 1 });
            }
            Event::PortName if status.name.is_none() => {
                // QEMU ends the name with a NUL byte, the specification does not.
                let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
                status.name = core::str::from_utf8(&payload[..end]).ok().map(str::to_string);
            }
            Event::PortOpen => {
                status.host = if value == 0 { HostEnd::Closed } else { HostEnd::Open };
                drop(status);
                self.pollee.notify(PollEvents::all());
            }
            Event::PortRemove => {
                drop(status);
                self.hang_up();
            }
            Event::Resize => {
                if let [c0, c1, r0, r1, ..] = *payload {
                    status.size = Some((u16::from_le_bytes([c0, c1]), u16::from_le_bytes([r0, r1])));
                }
            }
            // The rest is for the host to hear, or says what is known.
            _ => {}
        }
        None
    }

    /// Nothing more comes or goes.
    pub(super) fn hang_up(&self) {
        self.status.lock().host = HostEnd::Closed;
        self.pollee.notify(PollEvents::all());
    }

    /// Takes what the device has finished on both queues, and tells those who wait.
    pub(super) fn service(&self) -> Result<(), Broken> {
        let mut events = PollEvents::empty();
        {
            let mut receive = self.receive.lock();
            while let Some(completion) = receive.queue.complete()? {
                let (buffer, end) = (completion.cookie, completion.written as usize);
                if end == 0 {
                    self.offer(&mut receive.queue, buffer);
                    continue;
                }
                receive.received.push_back(Received { buffer, start: 0, end });
                receive.bytes += end;
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
        }
        {
            let mut transmit = self.transmit.lock();
            let reclaimed = transmit.reclaim()?;
            if reclaimed && transmit.awaited {
                transmit.awaited = false;
                transmit.queue.disable_interrupts();
                events |= PollEvents::OUT | PollEvents::WRNORM;
            }
        }
        if !events.is_empty() {
            self.pollee.notify(events);
        }
        Ok(())
    }

    fn host(&self) -> HostEnd {
        if self.shared.has_failed() { HostEnd::Closed } else { self.status.lock().host }
    }

    /// Waits for `condition`; where interrupts do not work yet, by looking again and again.
    fn wait<T>(
        &self,
        interruptible: Interruptible,
        deadline_ns: Option<u64>,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if !self.shared.polls() {
            return self.pollee.waiters.wait(interruptible, deadline_ns, condition);
        }
        loop {
            // A broken queue shows itself to the condition as the end of the port.
            let broken = self.service().is_err();
            if broken {
                self.status.lock().host = HostEnd::Closed;
            }
            if let Some(value) = condition() {
                return Ok(value);
            }
            let now_ns = platform::now_ns();
            if deadline_ns.is_some_and(|deadline_ns| now_ns >= deadline_ns) {
                return Err(WaitError::TimedOut);
            }
            if self.shared.may_sleep() {
                let look_at_ns = now_ns.saturating_add(POLL_INTERVAL_NS);
                match self.pollee.waiters.wait(interruptible, Some(look_at_ns), &mut condition) {
                    Err(WaitError::TimedOut) => {}
                    result => return result,
                }
            } else {
                core::hint::spin_loop();
            }
        }
    }

    /// Reads what has arrived. `EAGAIN` if that is nothing, 0 if nothing will come.
    fn read_now(&self, dst: &mut dyn ReadDst) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let _reader = self.reader.lock();
        let Some(buffers) = self.buffers.get() else { return Err(Errno::EAGAIN) };
        let mut total = 0;
        while dst.remaining() > 0 {
            let Some(front) = self.receive.lock().received.front().copied() else { break };
            let at = usize::from(front.buffer) * PAGE_SIZE + front.start;
            // SAFETY: the device has returned the buffer, and only the holder of `reader` gives it
            // back; nobody writes it meanwhile.
            let bytes = unsafe { buffers.receive.slice(at, front.end - front.start) };
            let taken = match dst.put(bytes) {
                Ok(taken) => taken,
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            };
            total += taken;
            self.consume(taken);
            if taken < bytes.len() {
                break;
            }
        }
        if total > 0 {
            return Ok(total);
        }
        if self.host() == HostEnd::Closed { Ok(0) } else { Err(Errno::EAGAIN) }
    }

    /// Counts `len` bytes of the first received buffer as read, and offers it again when it is empty.
    fn consume(&self, len: usize) {
        self.bytes_read.fetch_add(len as u64, Ordering::AcqRel);
        let mut receive = self.receive.lock();
        receive.bytes -= len;
        let Some(front) = receive.received.front_mut() else { return };
        front.start += len;
        if front.start == front.end {
            let buffer = front.buffer;
            receive.received.pop_front();
            self.offer(&mut receive.queue, buffer);
            let notify = receive.queue.must_notify();
            drop(receive);
            if notify {
                self.receive_doorbell.ring();
            }
        }
    }

    /// Takes a free transmit buffer. If there is none, an interrupt will tell when there is.
    fn take_buffer(&self) -> Option<u16> {
        let mut transmit = self.transmit.lock();
        let _ = transmit.reclaim();
        if transmit.free.is_empty() {
            transmit.awaited = true;
            if transmit.queue.enable_interrupts() {
                let _ = transmit.reclaim();
            }
        }
        transmit.free.pop()
    }

    fn return_buffer(&self, buffer: u16) {
        self.transmit.lock().free.push(buffer);
    }

    /// Sends the first `len` bytes of a buffer.
    fn transmit(&self, buffers: &Buffers, buffer: u16, len: usize) -> Result<(), Errno> {
        let segment = Segment {
            phys: buffers.transmit.phys() + (usize::from(buffer) * PAGE_SIZE) as u64,
            len: len as u32,
            direction: Direction::ToDevice,
        };
        let mut transmit = self.transmit.lock();
        // SAFETY: the buffers live as long as the port, and the caller gives this one away.
        if unsafe { transmit.queue.submit(&[segment], buffer) }.is_err() {
            transmit.free.push(buffer);
            return Err(Errno::EIO);
        }
        let notify = transmit.queue.must_notify();
        drop(transmit);
        if notify {
            self.transmit_doorbell.ring();
        }
        Ok(())
    }

    /// Writes all of `bytes`, which signals do not end: for messages of the kernel's own.
    pub fn write_all(&self, bytes: &[u8]) -> Result<(), Errno> {
        let mut src = SliceSrc::new(bytes);
        let written = self.write(&mut src, Blocking::Yes, Interruptible::No)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::EPIPE) }
    }

    fn write(
        &self,
        src: &mut dyn WriteSrc,
        blocking: Blocking,
        interruptible: Interruptible,
    ) -> Result<usize, Errno> {
        let _writer = match blocking {
            Blocking::Yes => self.writer.lock(),
            Blocking::No => self.writer.try_lock().ok_or(Errno::EAGAIN)?,
        };
        let buffers = self.buffers.get().ok_or(Errno::ENXIO)?;
        let mut total = 0;
        let result = loop {
            if src.remaining() == 0 {
                break Ok(());
            }
            if self.host() == HostEnd::Closed {
                break Err(Errno::EPIPE);
            }
            let taken = self.take_buffer();
            let buffer = match (taken, blocking) {
                (Some(buffer), _) => buffer,
                (None, Blocking::No) => break Err(Errno::EAGAIN),
                (None, Blocking::Yes) => {
                    let waited = self.wait(interruptible, None, || match self.take_buffer() {
                        Some(buffer) => Some(Ok(buffer)),
                        None => (self.host() == HostEnd::Closed).then_some(Err(Errno::EPIPE)),
                    });
                    match waited {
                        Ok(Ok(buffer)) => buffer,
                        Ok(Err(error)) => break Err(error),
                        Err(error) => break Err(error.into()),
                    }
                }
            };
            // SAFETY: a buffer that was free is the taker's alone.
            let bytes = unsafe { buffers.transmit.slice_mut(usize::from(buffer) * PAGE_SIZE, PAGE_SIZE) };
            match src.take(bytes) {
                Ok(0) => {
                    self.return_buffer(buffer);
                    break Ok(());
                }
                Ok(len) => match self.transmit(buffers, buffer, len) {
                    Ok(()) => total += len,
                    Err(error) => {
                        src.untake(len);
                        break Err(error);
                    }
                },
                Err(error) => {
                    self.return_buffer(buffer);
                    break Err(error);
                }
            }
        };
        if total > 0 { Ok(total) } else { result.map(|()| 0) }
    }

    /// Waits until the host has taken all that was written, or `deadline_ns` passes. Says whether it
    /// has.
    pub fn drain(&self, deadline_ns: u64) -> bool {
        self.wait(Interruptible::No, Some(deadline_ns), || {
            let mut transmit = self.transmit.lock();
            let _ = transmit.reclaim();
            if transmit.queue.requests() > 0 {
                transmit.awaited = true;
                if transmit.queue.enable_interrupts() {
                    let _ = transmit.reclaim();
                }
            }
            let empty = transmit.queue.requests() == 0;
            drop(transmit);
            (empty || self.host() == HostEnd::Closed).then_some(empty)
        })
        .unwrap_or(false)
    }

    /// Writes all of `bytes` without locks or interrupts, and waits until the host has them, but not
    /// for ever.
    ///
    /// # Safety
    /// The kernel is dying: nothing else runs, on any CPU, nor will.
    pub unsafe fn write_all_dying(&self, bytes: &[u8]) {
        let Some(buffers) = self.buffers.get() else { return };
        // SAFETY: nobody is left who could use what the locks guard.
        unsafe {
            self.status.force_unlock();
            self.transmit.force_unlock();
        }
        if self.host() == HostEnd::Closed {
            return;
        }
        let mut polls = 0;
        let mut poll = || {
            polls += 1;
            core::hint::spin_loop();
            polls < PANIC_POLLS
        };
        for chunk in bytes.chunks(PAGE_SIZE) {
            let buffer = loop {
                match self.take_buffer() {
                    Some(buffer) => break buffer,
                    None if poll() => {}
                    None => return,
                }
            };
            buffers.transmit.copy_in(usize::from(buffer) * PAGE_SIZE, chunk);
            if self.transmit(buffers, buffer, chunk.len()).is_err() {
                return;
            }
        }
        loop {
            let mut transmit = self.transmit.lock();
            if transmit.reclaim().is_err() || transmit.queue.requests() == 0 {
                return;
            }
            drop(transmit);
            if !poll() {
                return;
            }
        }
    }
}

impl Transmit {
    /// Takes back what the device has read; says whether that was anything.
    fn reclaim(&mut self) -> Result<bool, Broken> {
        let mut reclaimed = false;
        while let Some(completion) = self.queue.complete()? {
            self.free.push(completion.cookie);
            reclaimed = true;
        }
        Ok(reclaimed)
    }
}

impl File for Port {
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        loop {
            match self.read_now(dst) {
                Err(Errno::EAGAIN) if blocking == Blocking::Yes => {}
                result => return result,
            }
            self.wait(Interruptible::Yes, None, || {
                (self.bytes_available() > 0 || self.host() == HostEnd::Closed).then_some(())
            })?;
        }
    }

    fn write_at(&self, _offset: u64, src: &mut dyn WriteSrc, blocking: Blocking) -> Result<usize, Errno> {
        self.write(src, blocking, Interruptible::Yes)
    }

    fn poll(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        let closed = self.host() == HostEnd::Closed;
        if self.bytes_available() > 0 || closed {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if closed {
            return events | PollEvents::HUP;
        }
        if let Some(buffer) = self.take_buffer() {
            self.return_buffer(buffer);
            events |= PollEvents::OUT | PollEvents::WRNORM;
        }
        events
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pollee)
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.bytes_available())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
