//! The channel between kernel and host tool (`docs/control-channel.md`).
//!
//! `SENDER` keeps messages of several threads apart, and a file's bytes with the line before them.

use alloc::{format, string::String, sync::Arc};
use core::fmt::{self, Display, Write};

use arrayvec::ArrayString;
use console::control::{GuestMessage, HostMessage, LineReader};
use ksync::Mutex;
use linux_abi::Errno;
use run_config::port;
use spin::Once;
use vfs::{Blocking, File};
use virtio::serial::Port;

use super::streams;
use crate::task;

/// What the host's messages do, and what the channel asks the kernel for.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Sends the process a signal.
    pub signal: fn(u8),
    /// Switches the machine off, in order.
    pub power_off: fn(),
    /// The report that the program wrote when it crashed (`hs_err_pid1.log`): name and contents.
    pub crash_report: fn() -> Option<(String, alloc::vec::Vec<u8>)>,
}

static CHANNEL: Once<Arc<Port>> = Once::new();
static HOOKS: Once<Hooks> = Once::new();
static SENDER: Mutex<()> = Mutex::new(());

/// Opens the channel, if the host has one. Once.
pub(super) fn open() {
    if let Some(port) = streams::named_port(port::CONTROL) {
        CHANNEL.call_once(|| port);
    }
}

/// Starts the thread that listens to the host.
pub(super) fn listen(hooks: Hooks) -> Result<(), Errno> {
    HOOKS.call_once(|| hooks);
    if CHANNEL.get().is_none() {
        return Ok(());
    }
    task::spawn_kernel_thread("control", listener, 0)
}

extern "C" fn listener(_: usize) -> ! {
    if let (Some(port), Some(hooks)) = (CHANNEL.get(), HOOKS.get()) {
        listen_to(port, hooks);
    }
    task::park_forever()
}

/// Does what the host says until it closes the channel.
fn listen_to(port: &Port, hooks: &Hooks) {
    let mut reader = LineReader::new();
    let mut bytes = [0; 256];
    loop {
        match port.read_at(0, &mut bytes.as_mut_slice(), Blocking::Yes) {
            Ok(0) => return,
            Ok(len) => reader.feed(&bytes[..len], |message| match message {
                Ok(HostMessage::Signal(number)) => (hooks.signal)(number),
                Ok(HostMessage::StdinEnd(total)) => streams::end_input(total),
                Ok(HostMessage::PowerOff) => (hooks.power_off)(),
                Err(_) => log::warn!("the host sent a line on the control channel that is no message"),
            }),
            Err(error) => {
                log::warn!("the control channel: {error:?}");
                return;
            }
        }
    }
}

/// Tells the host: one line, a [`GuestMessage`]. Without a channel, the log gets it.
pub fn send(message: impl Display) {
    let _sender = SENDER.lock();
    send_line(message);
}

fn send_line(message: impl Display) {
    match CHANNEL.get() {
        // The host may be gone; there is nobody else to tell.
        Some(port) => drop(port.write_all(format!("{message}\n").as_bytes())),
        None => log::info!("control: {message}"),
    }
}

/// Sends a file. Without a channel nothing is sent.
pub fn send_file(name: &str, contents: &[u8]) {
    let Some(port) = CHANNEL.get() else { return };
    let _sender = SENDER.lock();
    send_line(GuestMessage::File { name, len: contents.len() as u64 });
    let _ = port.write_all(contents);
}

/// Sends the report that the program wrote when it crashed, if there is one.
pub fn send_crash_report() {
    if let Some((name, contents)) = HOOKS.get().and_then(|hooks| (hooks.crash_report)()) {
        send_file(&name, &contents);
    }
}

/// Waits until the host has taken all messages, or `deadline_ns` passes.
pub(super) fn drain(deadline_ns: u64) {
    if let Some(port) = CHANNEL.get() {
        port.drain(deadline_ns);
    }
}

/// Longest message of a dying kernel; the log has it whole.
const DYING_LEN: usize = 512;

/// A line that takes what fits, and keeps to one line.
struct Line(ArrayString<DYING_LEN>);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            // A byte is left for the newline. What does not fit is left out, without an error.
            if self.0.len() + c.len_utf8() >= DYING_LEN {
                break;
            }
            self.0.push(c);
        }
        Ok(())
    }
}

/// Tells the host that the kernel is dying, with nothing but polling: no heap, locks or interrupts.
/// For `panic`, which has stopped the other CPUs.
pub fn send_in_panic(message: fmt::Arguments<'_>) {
    let Some(port) = CHANNEL.get() else { return };
    let mut line = Line(ArrayString::new());
    let _ = line.write_fmt(message);
    line.0.push('\n');
    // SAFETY: the other CPUs are stopped, and this one will not go back to what it did. The newline
    // before ends a message that may have been under way.
    unsafe {
        port.write_all_dying(b"\n");
        port.write_all_dying(line.0.as_bytes());
    }
}
