//! `crema bench`: figures, never tests.
//!
//! Responsible for measuring many times and for printing medians, with the command, the host and the versions
//! beside them. What is measured is in a module for each kind.

mod boot;
mod measure;
mod syscall;
mod table;

use crate::{
    failure::Result,
    options::{BenchKind, BenchOptions},
    project::Project,
};

/// Measures, and prints to standard output.
pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    match options.what {
        BenchKind::Boot => boot::bench(options, project),
        BenchKind::Syscall => syscall::bench(options, project),
    }
}
