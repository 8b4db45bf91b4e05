//! Network packets, and the boundary between network devices and the protocols.
//!
//! A [`Packet`] has its first bytes, in which the headers are, in an array of its own, and the rest in
//! counted parts of page frames ([`Fragment`]). So headers are parsed and written as plain slices, which no
//! device or application can change meanwhile; a small packet needs no frame at all; and payload moves between
//! device, socket and page cache without a copy.
//!
//! Responsible for: the bytes of a packet, what is known of their checksum and segmentation, and the traits
//! [`Link`] and [`LinkReceiver`], at which drivers and protocols meet. Not for: the formats of any protocol.
//! There are no locks here.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod buffer;
mod checksum;
mod link;

pub use buffer::{Fragment, HEAD_BYTES, MAX_FRAGMENTS, Packet, TooManyFragments};
pub use checksum::{Checksum, internet_checksum};
pub use link::{Link, LinkReceiver, LinkStatistics, MacAddress, Offloads, Segmentation, SegmentationKind};
