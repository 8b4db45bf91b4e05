//! `/proc`, `/sys` and `/sys/fs/cgroup`.
//!
//! What there is stands in tables ([`tree`]): a directory's entries, and for each file the function that
//! writes its text. The functions ask [`SystemInfo`], which the kernel implements, and a test as well; so
//! formats are tested on the host. A file's text is made when it is read from the start, as Linux does;
//! reads further on see the same text.
//!
//! Nothing here locks but an open file its own text.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod info;
mod node;
mod tree;

pub use info::{
    Area, CpuDescription, CpuTimes, DescriptorState, IoCounts, Limit, MemoryUse, MountLine, NetworkFile,
    ProcessMemory, ProcessSettings, ProcessSignals, SystemInfo, ThreadInfo, Usage,
};
pub use node::PseudoFileSystem;
