//! The kernel's own symbols, for backtraces: the image's symbol table, which the boot loader does not load, so the host tool
//! resolves addresses after the fact; here they are shown as they are.

use alloc::{format, string::String};

/// How an address of the kernel is shown.
pub fn describe(address: u64) -> String {
    format!("{address:#018x}")
}
