//! Numbers, flags and structures of the Linux x86-64 system-call ABI, as the uapi headers define
//! them. No behaviour: what a flag does is the business of the subsystem that takes it.
//!
//! How the types are meant to be used:
//!
//! * A **structure** has the kernel's own layout (not glibc's), proved by compile-time assertions,
//!   holds no hidden padding, and is plain bytes: it implements `zerocopy`'s [`FromBytes`] and
//!   [`IntoBytes`], so it can be copied to and from application memory without `unsafe`.
//! * A **set of flags** is a `bitflags` type. `from_raw` refuses unknown bits with `EINVAL`, which is
//!   what Linux does nearly everywhere; where Linux ignores them, the type's documentation says so
//!   and `from_bits_truncate` is the way. Inside a structure that the application wrote, a flags field
//!   keeps whatever bits it was given.
//! * An **enumeration** (a command, an advice, a clock) is an `enum` with `from_raw`.
//! * Everything else is a constant under its header's name.
//!
//! [`FromBytes`]: zerocopy::FromBytes
//! [`IntoBytes`]: zerocopy::IntoBytes

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

#[macro_use]
mod macros;

pub mod auxv;
mod errno;
pub mod event;
pub mod file;
pub mod futex;
pub mod inet;
pub mod interface;
pub mod memory;
pub mod netlink;
pub mod process;
pub mod signal;
pub mod socket;
pub mod time;
pub mod tty;

pub use errno::Errno;
