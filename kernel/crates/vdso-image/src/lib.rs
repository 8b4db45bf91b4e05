//! The vDSO as the kernel embeds it, and the page through which the two talk.
//!
//! Responsible for: the shared object with `clock_gettime` and its like ([`IMAGE`], made by `build.rs` from
//! `object/`), and the layout and protocol of the [`ClockPage`] before it. Not for: pages, mappings, and the
//! clock itself, which are the kernel's.
//!
//! In memory, one after the other: the clock page, read-only, at a multiple of 4 KiB; the image, readable and
//! executable.

#![no_std]
#![forbid(unsafe_code)]

mod clock_page;

pub use clock_page::{COARSE_RESOLUTION_NS, ClockPage, Clocks, CpuNumber, SHIFT, multiplier_of};

/// The shared object: an ELF file that is mapped as it is, in one piece.
pub static IMAGE: &[u8] = include_bytes!(env!("VDSO_IMAGE"));
