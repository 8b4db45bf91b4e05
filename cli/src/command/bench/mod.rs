//! `crema bench`: figures, never tests.
//!
//! What is measured is in a module for each kind, as a function that is given the [`harness`]. That runs the sides in turn and keeps what
//! each run has shown ([`model`]), of which [`comparison`] makes rows with the arithmetic of [`statistics`], and [`report`] makes tables and
//! plots. [`compare`] shows two results beside each other. The machines are started by [`machine`], as those of `crema run` are.
//!
//! A figure is never hidden: where Crema is worse, that row comes first, and a run that failed is shown as failed.

mod boot;
mod compare;
mod comparison;
mod cost;
mod counter;
mod disk;
mod figures;
mod flushes;
mod harness;
mod host;
mod jar;
mod jvm;
mod load;
mod machine;
mod memory;
mod model;
mod net;
mod programs;
mod report;
mod scratch_volume;
mod service;
mod side;
mod statistics;
mod syscall;
mod table;
mod watch;

use clap::ValueEnum;

use self::{harness::Harness, machine::INTERRUPTED};
use crate::{
    failure::{Failure, Result},
    options::{BenchCommand, BenchKind, BenchOptions},
    project::Project,
};

/// The exit status when something could not be measured.
const STATUS_INCOMPLETE: u8 = 1;

/// Measures, prints the table to standard output, and writes it with its page and its data. Returns the exit status.
pub fn bench(options: &BenchOptions, project: &Project) -> Result<u8> {
    if let Some(BenchCommand::Compare { old, new }) = &options.command {
        return compare::compare(old, new).map(|()| 0);
    }
    if options.machine.linux || options.machine.monitor.is_some() {
        return Err(Failure::new(
            "--linux and --monitor make no sense for a bench: --against says what runs",
        ));
    }
    let mut harness = Harness::new(options, project)?;
    if let (Some(jar), Some(load)) = (&options.jar, &options.load) {
        jar::bench(&mut harness, jar, load)?;
        return finish(&harness);
    }
    let kinds =
        if options.what.is_empty() { BenchKind::value_variants().to_vec() } else { options.what.clone() };
    for kind in kinds {
        let measured = match kind {
            BenchKind::Boot => boot::bench(&mut harness),
            BenchKind::Syscall => syscall::bench(&mut harness),
            BenchKind::Net => net::bench(&mut harness),
            BenchKind::Disk => disk::bench(&mut harness),
            BenchKind::Cost => cost::bench(&mut harness),
            BenchKind::Jvm => jvm::bench(&mut harness),
            BenchKind::Service => service::bench(&mut harness),
            BenchKind::Memory => memory::bench(&mut harness),
        };
        match measured {
            Err(failure) if failure == Failure::new(INTERRUPTED) => return Err(failure),
            Err(failure) => harness.failed(&name_of(kind), &failure)?,
            Ok(()) => {}
        }
    }
    finish(&harness)
}

fn finish(harness: &Harness) -> Result<u8> {
    print!("{}", harness.write()?);
    eprintln!("crema: the results, with a page for a browser, are in {}", harness.folder().display());
    Ok(if harness.has_failures() { STATUS_INCOMPLETE } else { 0 })
}

/// As the user types it.
fn name_of(kind: BenchKind) -> String {
    kind.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
}
