//! The channel between kernel and host tool (`docs/control-channel.md`).
//!
//! `SENDER` keeps messages of several threads apart, and a file's bytes with the line before them.

use alloc::{format, sync::Arc};

use console::control::{GuestMessage, HostMessage, LineReader};
use ksync::{Mutex, platform};
use linux_abi::Errno;
use run_config::port;
use spin::Once;
use vfs::{Blocking, File};
use virtio::serial::Port;

use super::streams;
use crate::task;

/// What the host's messages do.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Sends the process a signal.
    pub signal: fn(u8),
    /// Switches the machine off, in order.
    pub power_off: fn(),
}

static CHANNEL: Once<Arc<Port>> = Once::new();
static HOOKS: Once<Hooks> = Once::new();
static SENDER: Mutex<()> = Mutex::new(());

/// Opens the channel, if the host has one. After `device::init`; once.
pub fn open() {
    if let Some(port) = streams::named_port(port::CONTROL) {
        CHANNEL.call_once(|| port);
    }
}

/// Starts the thread that listens to the host. When threads and interrupts work.
pub fn listen(hooks: Hooks) -> Result<(), Errno> {
    if CHANNEL.get().is_none() {
        return Ok(());
    }
    HOOKS.call_once(|| hooks);
    task::spawn_kernel_thread("control", listener, 0)
}

extern "C" fn listener(_: usize) -> ! {
    let (Some(port), Some(hooks)) = (CHANNEL.get(), HOOKS.get()) else { unreachable!("set by `listen`") };
    let mut reader = LineReader::new();
    let mut bytes = [0; 256];
    loop {
        match port.read_at(0, &mut bytes.as_mut_slice(), Blocking::Yes) {
            // The host has closed the channel: it will say no more.
            Ok(0) => task::end_kernel_thread(),
            Ok(len) => reader.feed(&bytes[..len], |message| match message {
                Ok(HostMessage::Signal(number)) => (hooks.signal)(number),
                Ok(HostMessage::StdinEnd(total)) => streams::end_input(total),
                Ok(HostMessage::PowerOff) => (hooks.power_off)(),
                Err(_) => log::warn!("the host sent a line on the control channel that is no message"),
            }),
            Err(error) => {
                log::warn!("the control channel: {error:?}");
                task::end_kernel_thread()
            }
        }
    }
}

/// Tells the host. Without a channel, the log gets it.
pub fn send(message: GuestMessage<'_>) {
    let _sender = SENDER.lock();
    send_line(message);
}

fn send_line(message: GuestMessage<'_>) {
    match CHANNEL.get() {
        // The host may be gone; there is nobody else to tell.
        Some(port) => drop(port.write_all(format!("{message}").as_bytes())),
        None => log::info!("control: {}", format!("{message}").trim_end()),
    }
}

/// Sends a file of `len` bytes, which `next` gives piece by piece; if it gives fewer, the rest is
/// zeros, as the host counts on `len`. Without a channel nothing is sent.
pub fn send_file(name: &str, len: u64, mut next: impl FnMut(&mut [u8]) -> usize) {
    let Some(port) = CHANNEL.get() else { return };
    let _sender = SENDER.lock();
    send_line(GuestMessage::File { name, len });
    let mut left = len;
    let mut buffer = alloc::vec![0; 4096];
    let mut ended = false;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = &mut buffer[..room];
        let got = if ended { 0 } else { next(bytes).min(room) };
        if got == 0 {
            ended = true;
            bytes.fill(0);
        }
        let sent = if ended { room } else { got };
        if port.write_all(&buffer[..sent]).is_err() {
            return;
        }
        left -= sent as u64;
    }
}

/// Waits until the host has taken all messages, or `deadline_ns` passes.
pub fn drain(deadline_ns: u64) {
    if let Some(port) = CHANNEL.get() {
        port.drain(deadline_ns);
    }
}

/// Waits until the host has taken all messages and all output, but not for more than `wait_ns`. For
/// power-off.
pub fn drain_all(wait_ns: u64) {
    let deadline_ns = platform::now_ns().saturating_add(wait_ns);
    streams::drain(deadline_ns);
    drain(deadline_ns);
}

/// Tells the host that the kernel is dying, without locks or interrupts.
///
/// # Safety
/// Nothing else runs, on any CPU, nor will.
pub unsafe fn send_dying(text: &str) {
    let Some(port) = CHANNEL.get() else { return };
    // A line before, as another message may have been under way.
    let message = format!("\n{}", GuestMessage::Panic(text));
    // SAFETY: the caller's promise.
    unsafe { port.write_all_dying(message.as_bytes()) };
}
