//! The program's standard streams: virtio-serial ports that the host tool names, or COM1.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use console::{ApplicationMemory, Console, ConsoleKind, Input};
use ksync::platform;
use linux_abi::Errno;
use run_config::{RunConfig, port};
use spin::Once;
use vfs::File;
use virtio::serial::Port;

use super::uart;
use crate::user::{UserPtr, UserSlice};

/// How long the boot waits for the host to announce a port. It does so as soon as the device is up; the
/// rest is for a busy host.
pub(super) const ANNOUNCE_NS: u64 = 2_000_000_000;

/// The files behind descriptors 0, 1 and 2.
pub struct Streams {
    /// Standard input; on a terminal it can be written, too.
    pub stdin: Arc<Console>,
    /// Standard output.
    pub stdout: Arc<Console>,
    /// Standard error.
    pub stderr: Arc<Console>,
    kind: ConsoleKind,
    input: Arc<Input>,
    ports: [Option<Arc<Port>>; 2],
}

static STREAMS: Once<Streams> = Once::new();

/// Bytes of standard input in all, as the host said, or [`UNKNOWN_END`].
static INPUT_END: AtomicU64 = AtomicU64::new(UNKNOWN_END);
const UNKNOWN_END: u64 = u64::MAX;

struct Application;

impl ApplicationMemory for Application {
    fn read(&self, address: usize, bytes: &mut [u8]) -> Result<(), Errno> {
        bytes.copy_from_slice(&UserPtr::<u8>::new(address as u64).read_vec(bytes.len())?);
        Ok(())
    }

    fn write(&self, address: usize, bytes: &[u8]) -> Result<(), Errno> {
        let copied = UserSlice::new(address as u64, bytes.len())?.copy_from(bytes)?;
        if copied == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }
}

/// The port called `name`, waiting a little for the host.
pub(super) fn named_port(name: &str) -> Option<Arc<Port>> {
    let port = super::serial()?.port(name, platform::now_ns().saturating_add(ANNOUNCE_NS));
    if port.is_none() {
        log::warn!("the host has no port {name}");
    }
    port
}

/// Opens the streams. After `device::init`; once.
pub fn open(config: &RunConfig) -> &'static Streams {
    let streams = STREAMS.call_once(|| {
        let ports = [named_port(port::STDIO), named_port(port::STDERR)];
        let file = |port: &Option<Arc<Port>>| match port {
            Some(port) => port.clone() as Arc<dyn File>,
            None => uart::get(),
        };
        let kind = if config.tty { ConsoleKind::Terminal } else { ConsoleKind::Pipe };
        let input = Arc::new(Input::new(file(&ports[0])));
        let console = |output: &Option<Arc<Port>>, number| {
            Arc::new(Console::new(kind, input.clone(), file(output), &Application, number))
        };
        Streams {
            kind,
            stdin: console(&ports[0], 0),
            stdout: console(&ports[0], 1),
            stderr: console(&ports[1], 2),
            input: input.clone(),
            ports,
        }
    });
    apply_input_end();
    streams
}

/// The terminal, if the standard streams are one.
pub fn terminal() -> Option<Arc<dyn File>> {
    let streams = STREAMS.get()?;
    (streams.kind == ConsoleKind::Terminal).then(|| streams.stdin.clone() as Arc<dyn File>)
}

/// Standard input ends after `total` bytes in all. The host may say so before the streams are open.
pub(super) fn end_input(total: u64) {
    INPUT_END.store(total, Ordering::SeqCst);
    apply_input_end();
}

/// Called after each of the two that it needs, so that whichever comes last finds both.
fn apply_input_end() {
    let total = INPUT_END.load(Ordering::SeqCst);
    if let Some(streams) = STREAMS.get()
        && total != UNKNOWN_END
    {
        streams.input.end_at(total);
    }
}

/// Waits until the host has taken all output, or `deadline_ns` passes.
pub fn drain(deadline_ns: u64) {
    for port in STREAMS.get().into_iter().flat_map(|streams| streams.ports.iter().flatten()) {
        if !port.drain(deadline_ns) {
            log::warn!("the host did not take all output");
        }
    }
}
