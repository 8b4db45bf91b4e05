//! Serial devices with many ports (5.3, with `VIRTIO_CONSOLE_F_MULTIPORT`).
//!
//! [`SerialDevice`] speaks the control protocol: the host announces ports and their names, the guest
//! says which it is ready for and which it has opened. A [`Port`] moves the bytes, and is a
//! [`vfs::File`].
//!
//! | lock | guards | taken by |
//! |---|---|---|
//! | `control` | the two control queues | interrupt, opening a port |
//! | a port's `status` | its name and the state of its two ends | interrupt, anybody who asks |
//! | a port's `receive` | its receive queue and what has arrived | interrupt, readers |
//! | a port's `transmit` | its transmit queue and free buffers | interrupt, writers |
//! | a port's `reader`, `writer` (mutexes) | the order of concurrent reads, and of writes | threads |
//!
//! Order: `reader` or `writer` first, and then one spin lock at a time.

mod control;
mod port;
#[cfg(test)]
mod tests;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};

use ksync::{SpinLock, WaitQueue, platform};

use self::control::{Control, Event, Message};
pub use self::port::Port;
use crate::{Broken, DmaPlatform, InitError, NO_VECTOR, SplitQueue, Transport, begin, finish, reset};

mod feature {
    pub const MULTIPORT: u64 = 1 << 1;
}

/// Offset of the greatest number of ports in the configuration (5.3.4).
const MAX_NR_PORTS: usize = 4;

/// Ports that are used: the protocol between guest and host tool has three. More would only cost
/// memory for their queues.
const MAX_PORTS: u32 = 8;

const CONTROL_RECEIVE_QUEUE: u16 = 2;
const CONTROL_TRANSMIT_QUEUE: u16 = 3;

/// The receive queue of a port; the transmit queue follows it (5.3.2).
const fn receive_queue(port: u32) -> u16 {
    if port == 0 { 0 } else { 2 + 2 * port as u16 }
}

/// What all parts of the device share.
struct Shared {
    transport: Box<dyn Transport>,
    features: u64,
    /// Nobody completes requests but those who wait for them.
    polling: AtomicBool,
    /// Those who poll may sleep between looks.
    timer: AtomicBool,
    /// The device broke the rules and was reset.
    failed: AtomicBool,
}

impl Shared {
    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn polls(&self) -> bool {
        self.polling.load(Ordering::Acquire)
    }

    fn may_sleep(&self) -> bool {
        self.timer.load(Ordering::Acquire)
    }
}

/// A serial device.
pub struct SerialDevice {
    shared: Arc<Shared>,
    control: SpinLock<Control>,
    ports: Box<[Arc<Port>]>,
    /// For those who wait for a port to appear.
    changed: WaitQueue,
}

impl SerialDevice {
    /// Brings the device up, polling at first: see [`use_interrupts`](Self::use_interrupts).
    /// `vector` is the MSI-X vector of all queues.
    pub fn new(
        transport: Box<dyn Transport>,
        platform: &'static dyn DmaPlatform,
        vector: u16,
    ) -> Result<Self, InitError> {
        let features = begin(&*transport, feature::MULTIPORT)?;
        if features & feature::MULTIPORT == 0 {
            return Err(InitError::Configuration);
        }
        transport.set_configuration_vector(NO_VECTOR)?;
        let port_count = transport.configuration_u32(MAX_NR_PORTS).min(MAX_PORTS);

        let shared = Arc::new(Shared {
            transport,
            features,
            polling: AtomicBool::new(true),
            timer: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        let transport = &*shared.transport;
        let control = Control::new(&shared, platform, vector)?;
        let mut ports = Vec::new();
        for id in 0..port_count {
            ports.push(Arc::new(Port::new(shared.clone(), platform, id, vector)?));
        }
        finish(transport);

        let device = Self {
            shared,
            control: SpinLock::new(control),
            ports: ports.into_boxed_slice(),
            changed: WaitQueue::new(),
        };
        let mut control = device.control.lock();
        control.post_receive_buffers();
        control.send(Message { port: 0, event: Event::DeviceReady, value: 1 });
        drop(control);
        Ok(device)
    }

    /// From now on the device's interrupt calls [`handle_interrupt`](Self::handle_interrupt), and
    /// those who wait may sleep.
    pub fn use_interrupts(&self) {
        self.shared.polling.store(false, Ordering::Release);
        // What completed before may have had nobody to hear its interrupt.
        self.handle_interrupt();
    }

    /// The device cannot interrupt: those who wait look again and again, and sleep in between.
    pub fn use_timer(&self) {
        self.shared.timer.store(true, Ordering::Release);
    }

    /// Acknowledges a wired interrupt. Message-signalled ones need none.
    pub fn acknowledge_interrupt(&self) {
        self.shared.transport.interrupt_cause();
    }

    /// Takes what the device has finished.
    pub fn handle_interrupt(&self) {
        if self.handle_control().is_err() {
            self.give_up();
        }
        if self.ports.iter().any(|port| port.service().is_err()) {
            self.give_up();
        }
    }

    fn handle_control(&self) -> Result<(), Broken> {
        let mut changed = false;
        loop {
            let mut control = self.control.lock();
            control.reclaim()?;
            let Some((message, payload)) = control.receive()? else { break };
            drop(control);
            changed = true;
            let Some(port) = self.ports.get(message.port as usize) else { continue };
            if let Some(answer) = port.handle_event(message.event, message.value, payload.bytes()) {
                self.control.lock().send(answer);
            }
        }
        if changed {
            self.changed.wake_all();
        }
        Ok(())
    }

    /// Ends the use of a device that broke the rules.
    fn give_up(&self) {
        if self.shared.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        let _ = reset(&*self.shared.transport);
        for port in &self.ports {
            port.hang_up();
        }
        self.changed.wake_all();
    }

    /// The port called `name`, opened; waits for the host to announce it until `deadline_ns` on the
    /// monotonic clock.
    pub fn port(&self, name: &str, deadline_ns: u64) -> Option<Arc<Port>> {
        let find = || self.ports.iter().find(|port| port.has_name(name)).cloned();
        let port = if self.shared.polls() {
            loop {
                self.handle_interrupt();
                let found = find();
                if found.is_some() || platform::now_ns() >= deadline_ns || self.shared.has_failed() {
                    break found;
                }
                core::hint::spin_loop();
            }
        } else {
            let wait = |condition: &mut dyn FnMut() -> Option<Option<Arc<Port>>>| {
                self.changed.wait(ksync::Interruptible::No, Some(deadline_ns), condition)
            };
            wait(&mut || find().map(Some).or(self.shared.has_failed().then_some(None))).ok().flatten()
        }?;
        port.open()?;
        self.control.lock().send(Message { port: port.id(), event: Event::PortOpen, value: 1 });
        Some(port)
    }

    /// Names of the ports that the host has announced.
    pub fn port_names(&self) -> Vec<String> {
        self.ports.iter().filter_map(|port| port.name()).collect()
    }
}

impl Drop for SerialDevice {
    /// The device must not use the queues' memory when that is freed.
    fn drop(&mut self) {
        let _ = reset(&*self.shared.transport);
    }
}

/// A queue of `size` entries and its doorbell.
fn queue<T>(
    shared: &Shared,
    platform: &'static dyn DmaPlatform,
    index: u16,
    size: u16,
    vector: u16,
) -> Result<(SplitQueue<T>, crate::Doorbell), InitError> {
    let max = shared.transport.max_queue_size(index);
    if max == 0 {
        return Err(InitError::Queue);
    }
    let queue = SplitQueue::new(platform, size, max, shared.features).ok_or(InitError::OutOfMemory)?;
    let doorbell = shared.transport.enable_queue(index, &queue.layout(), vector)?;
    Ok((queue, doorbell))
}
