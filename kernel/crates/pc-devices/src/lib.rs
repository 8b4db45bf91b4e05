//! Small devices of a PC, without their port I/O: QEMU's firmware configuration ([`fw_cfg`]), the
//! battery-backed clock ([`cmos_clock`]), and what to write to switch a machine off ([`power`]).
//!
//! How ports and physical memory are accessed is the caller's business. Nothing that a device
//! answers makes this panic or wait without bound.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cmos_clock;
pub mod fw_cfg;
pub mod power;
