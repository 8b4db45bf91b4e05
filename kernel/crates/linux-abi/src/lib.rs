//! Numbers, flags and structures of the Linux x86-64 system-call ABI, as the uapi headers define
//! them. No behaviour: what a flag does is the business of the subsystem that takes it.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod errno;

pub use errno::Errno;
