//! TCP, as a pure state machine.
//!
//! Responsible for: what RFC 9293 asks of an endpoint, with window scaling, timestamps and PAWS (RFC 7323), selective
//! acknowledgements both ways (RFC 2018, 2883), loss detection by time (RACK-TLP, RFC 8985) or by duplicate
//! acknowledgements (RFC 6582) where the peer has no SACK, proportional rate reduction (RFC 6937), CUBIC and NewReno
//! (RFC 9438, 5681), challenge acknowledgements (RFC 5961), keyed initial sequence numbers (RFC 6528), a bounded SYN
//! cache with SYN cookies behind it (RFC 4987), and TIME_WAIT in compact records.
//!
//! Not for: IP, routes, sockets' names, waiting and waking. There is no lock, no clock and no source of randomness in
//! here: the caller has a lock around each object, passes the time as `now_ns`, keys as
//! [`Secrets`], and a vector to which segments to be sent are added. The vector's packets begin with the TCP header,
//! belong to the tuple of the object that was called, and have the pseudo-header's sum in the checksum field
//! ([`Checksum::Partial`](packet::Checksum::Partial)).
//!
//! # The life of an object
//!
//! * [`Connection::connect`], or [`Listener::segment`] that gives [`Verdict::Established`].
//! * [`Segment::parse`] what comes in, [`Connection::segment`] it. [`Connection::poll`] when
//!   [`Connection::deadline`] has come: ask for the deadline again after every call.
//! * After every call: [`Connection::readiness`] tells what to wake for; [`Connection::take_time_wait`] gives the
//!   record that takes the connection's place in the caller's table; a connection whose
//!   [`state`](Connection::state) is [`State::Closed`] gets no more segments.
//! * A segment that belongs to nobody is answered with [`reset_for`].

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::vec_box, reason = "a packet is half a KiB, and moves from hand to hand by its address")]

extern crate alloc;

mod congestion;
mod connection;
mod cookie;
mod listener;
mod options;
mod range_set;
mod receive_queue;
mod rtt;
mod scoreboard;
mod secrets;
mod segment;
mod send_buffer;
mod sequence;
mod time_wait;
mod work;

pub use congestion::Algorithm;
pub use connection::{
    Connection, Event, Events, IcmpError, Linger, ReadMode, Readiness, Shutdown, State, WriteFlags,
};
pub use listener::{AcceptQueue, Listener, Verdict};
pub use options::{BufferGrowth, BufferSize, Options, limits};
pub use secrets::{Isn, Secrets};
pub use segment::{Flags, Malformed, Path, Segment, Tuple, reset_for};
pub use sequence::SeqNumber;
pub use time_wait::{TimeWait, TimeWaitVerdict};
