//! The kernel log: to the first serial port, which the host tool keeps.
//!
//! Warnings and errors always; the rest if the run configuration says `verbose`. A line has the time since
//! kernel entry. The lock around the port is a spin lock, so any context may log.

use core::fmt::{self, Write};

use ksync::SpinLock;
use log::{LevelFilter, Log, Metadata, Record};
use x86_64::instructions::port::Port;

use crate::arch::clock;

const COM1: u16 = 0x3f8;

/// A 16550 at COM1, polled.
struct Serial;

static SERIAL: SpinLock<Serial> = SpinLock::new(Serial);

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}

fn send(byte: u8) {
    let mut line_status = Port::<u8>::new(COM1 + 5);
    let mut data = Port::<u8>::new(COM1);
    // SAFETY: COM1's registers. A port that is not there reads 0xff: ready.
    unsafe {
        while line_status.read() & 1 << 5 == 0 {
            core::hint::spin_loop();
        }
        data.write(byte);
    }
}

struct KernelLog;

impl Log for KernelLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let us = clock::now_ns() / 1000;
        let level = match record.level() {
            log::Level::Error => "error: ",
            log::Level::Warn => "warning: ",
            _ => "",
        };
        let _ =
            writeln!(SERIAL.lock(), "[{:5}.{:06}] {level}{}", us / 1_000_000, us % 1_000_000, record.args());
    }

    fn flush(&self) {}
}

/// Makes this the destination of the `log` crate's macros.
pub fn init() {
    // Divisor 1 (115,200 baud), 8N1, FIFO on: for hardware; an emulator does not care.
    for (register, value) in [(1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xc7), (4, 0x03)] {
        // SAFETY: COM1's registers.
        unsafe { Port::<u8>::new(COM1 + register).write(value) };
    }
    log::set_logger(&KernelLog).expect("set once");
    log::set_max_level(LevelFilter::Warn);
}

/// Logs everything from now on.
pub fn set_verbose() {
    log::set_max_level(LevelFilter::Debug);
}

/// Writes to the log from a panic: whoever holds the port has been stopped.
pub fn write_in_panic(arguments: fmt::Arguments<'_>) {
    // SAFETY: the other CPUs are stopped, and this one will not go back to what it did.
    unsafe { SERIAL.force_unlock() };
    let _ = SERIAL.lock().write_fmt(arguments);
}

/// Writes a line as it is, with no prefix (the trace of system calls).
pub fn write_line(arguments: fmt::Arguments<'_>) {
    let _ = writeln!(SERIAL.lock(), "{arguments}");
}
