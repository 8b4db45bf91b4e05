//! `crema bench syscall`: what system calls, switches, faults, signals and timers cost.
//!
//! The program in `benchmarks/syscall` measures itself; this module builds it and runs it.

use super::{figures, harness::Harness, machine::Machine, programs};
use crate::{failure::Result, image::cache::CachedImage, machine::choice::Payload};

/// The program in the guest.
const GUEST_PROGRAM: &str = "/app/syscall";

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let program = programs::make("syscall", project)?.join("syscall");
    let image = CachedImage::of(&programs::c_recipe(&program, GUEST_PROGRAM)?, project)?;
    let choice = harness.machine(Payload::Program)?;
    let config = programs::c_config(&[GUEST_PROGRAM]);
    let sides = harness.sides.clone();
    harness.alternate("syscall", &choice, &sides, |side| {
        let sample = Machine::new(project, &choice, side, image.path()).run(&config)?;
        Ok(figures::parse(&sample.stdout))
    })?;
    Ok(())
}
