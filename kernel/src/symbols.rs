//! How addresses of the kernel are shown in its log.
//!
//! As plain numbers of 16 digits: names and line numbers are put beside them by the host tool, which keeps
//! the log and has the kernel's ELF file (`cli/src/symbolize.rs`). So they cost the image nothing, and need
//! no code that would have to work in a kernel that has just failed. A log that was taken without the tool
//! can be run through `addr2line -fie crema-kernel`.

use core::fmt;

/// An address of kernel code, to be printed.
#[derive(Clone, Copy, Debug)]
pub struct CodeAddress(u64);

impl fmt::Display for CodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// How an address of the kernel is shown. Does not allocate: a panic may have come from the allocator.
pub const fn describe(address: u64) -> CodeAddress {
    CodeAddress(address)
}
