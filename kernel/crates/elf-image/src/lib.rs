//! Turns an ELF file into a checked plan of what to map where.
//!
//! Responsible for: reading the headers of an x86-64 executable or shared object (`ET_EXEC`, `ET_DYN`)
//! and answering, as Linux's `binfmt_elf` does, which ranges of the file go to which addresses with
//! which protection, who the interpreter is, and what the auxiliary vector must say. The file is
//! hostile until proved otherwise: whatever it holds, the answer is a plan that is safe to carry out, or
//! an [`Errno`](linux_abi::Errno).
//!
//! Not for: mapping (the address space's business), relocating (the dynamic linker's), thread-local
//! storage (`PT_TLS` is glibc's).
//!
//! ```
//! # fn demo(file: &[u8]) -> Result<(), linux_abi::Errno> {
//! use elf_image::LoadPlan;
//!
//! let plan = LoadPlan::read(file)?;
//! let bias = 0x5555_5555_4000; // chosen by the caller: a multiple of plan.alignment(), 0 for ET_EXEC
//! for segment in plan.segments() {
//!     let start = bias + segment.start;
//!     // 1. map segment.file_pages() bytes of the file at segment.file_offset
//!     // 2. map the rest up to segment.pages() anonymously
//!     // 3. if segment.zeroed() is not empty, clear those bytes of the last file page
//!     let _ = (start, segment.file_pages(), segment.pages(), segment.zeroed());
//! }
//! let entry = plan.entry(bias);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod plan;
mod source;
mod symbols;

pub use plan::{ImageKind, LoadPlan, PAGE_SIZE, Segment, StackProtection, USER_END};
pub use source::Source;
pub use symbols::{Symbol, Symbols};

#[cfg(test)]
mod tests;
