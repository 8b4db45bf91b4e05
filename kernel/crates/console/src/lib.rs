//! The program's standard streams, and the messages between guest and host tool.
//!
//! Responsible for [`Console`], the file behind descriptors 0, 1 and 2; for the end of standard input,
//! which the host announces as a count of bytes ([`Input`]); and for reading and writing the lines of
//! the control channel ([`control`]; the protocol is in `docs/control-channel.md`). Not responsible for
//! the transport: streams are [`vfs::File`]s, be they virtio-serial ports or a UART.
//!
//! Line discipline is the host terminal's: it edits, echoes and turns Ctrl-C into a signal before
//! the guest sees anything. So the terminal here only answers what can be known of it.
//!
//! Locks: [`Input`] has a mutex, which keeps readers and their count of bytes in step; it is not held
//! while waiting for input. The window size has a spin lock.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod control;
mod file;
mod input;

pub use file::{ApplicationMemory, Console, ConsoleKind};
pub use input::Input;
