//! Van Jacobson channels: from a packet's headers to its flow, and to whoever reads it.
//!
//! A conventional stack processes a packet where it arrives: in an interrupt or a thread of the kernel's, under the
//! socket's lock, and then hands the data to the thread that wants it. Here the arrival does no more than find out
//! *whose* the packet is ([`classify`], [`FlowTable`]) and put it in that flow's [`Channel`]; the protocol runs in
//! the thread that reads or writes the socket, on its CPU, when it comes for it.
//!
//! Responsible for: reading the headers of TCP and UDP over IPv4 and IPv6, for the common case only (all else is
//! [`Classified::Slow`] and goes to `ip`'s full input); the keyed hash, with which nobody outside can build
//! collisions; the table of flows; the channels, and the promise that no wake-up is lost and none is given twice
//! for one batch; counters.
//!
//! Not for: any protocol; who the consumers are ([`Consumer`]); threads.
//!
//! # The way of a packet
//!
//! 1. The link's receiver makes a [`Batch`], and for each packet calls [`classify`], [`FlowTable::get`] and
//!    [`Batch::push`]. None of these allocates or waits, so that they may run in an interrupt.
//! 2. At the end of the batch, each channel that was touched is settled once, as [`Interest`] says: its consumer's
//!    threads are [woken](Consumer::wake), or the channel is [deferred](Consumer::defer) to the worker thread, or it
//!    just lies there until a thread comes, [but not for ever](Consumer::check_later).
//! 3. Whoever holds the socket's lock [drains](Receiver::drain) the channel, and runs the protocol.
//!
//! # Locks
//!
//! | operation | what it takes |
//! |---|---|
//! | [`FlowTable`], each | the spin lock of one bucket for the length of a chain (1 on average); with growth, two |
//! | [`Channel`], [`Batch`] | none: one list of packets, one word of state, both changed by single atomic operations |
//! | [`Receiver`] | whatever lock the socket keeps it in: it is the only one that takes packets out |

#![cfg_attr(not(any(test, loom)), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod batch;
mod channel;
mod classify;
mod counters;
mod hash;
mod key;
mod queue;
mod sync;
mod table;

pub use batch::{Batch, Processing};
pub use channel::{Arm, Channel, Consumer, Interest, Receiver, Rejected};
pub use classify::{Arrival, Classified, Flow, Framing, Headers, SlowReason, classify};
pub use counters::Counters;
pub use hash::HashKey;
pub use key::{FlowKey, Transport};
pub use queue::Packets;
pub use table::FlowTable;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
