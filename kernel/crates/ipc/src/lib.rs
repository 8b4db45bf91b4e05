//! Files that live in memory only, and the waiting for files.
//!
//! Responsible for pipes and fifos, `eventfd`, `timerfd`, `signalfd`, `epoll`, the engine below `poll` and
//! `select`, local (`AF_UNIX`) sockets, and timers that send signals. Each is one module, pure logic over
//! `ksync` (locks, wait queues, timers) and `vfs` (files and their readiness), tested on the host with real
//! threads. Not for descriptors and status flags (`vfs`), nor for the application's memory: a system call
//! copies its structures in and out and hands over kernel values.
//!
//! What it needs from the rest of the kernel it takes as small traits: [`signalfd::SignalSource`],
//! [`posix_timer::SignalSink`], [`posix_timer::Clocks`], [`unix::SocketNodes`].
//!
//! Locks. An object never calls into another file while it holds a spin lock, and notifies its [`Pollee`]
//! after it has let go of its own locks. The one object that holds a (sleeping) lock while it asks other
//! files for their readiness is an epoll instance; nothing that a `File::poll` takes is held while an epoll
//! instance is locked from below, and `epoll_ctl` refuses cycles of instances.
//!
//! [`Pollee`]: vfs::Pollee

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod clock;
pub mod epoll;
pub mod eventfd;
mod expiry;
mod io;
mod number;
pub mod pipe;
pub mod poll;
pub mod posix_timer;
pub mod signalfd;
pub mod socket;
pub mod timerfd;
pub mod unix;
