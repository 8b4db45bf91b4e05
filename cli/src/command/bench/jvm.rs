//! `crema bench jvm`: the JVM's own work (allocation, collection, compilation, locks), and computations.
//!
//! The programs in `benchmarks/jvm` measure themselves, and print checksums of what they computed.

use super::{figures, harness::Harness, machine::Machine, programs};
use crate::{failure::Result, image::cache::CachedImage, machine::choice::Payload};

/// For each measurement of a run.
const SECONDS: &str = "2";
const SECONDS_QUICK: &str = "0.5";

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let recipe = programs::java_recipe(&["jvm/Jvm.java", "jvm/Kernels.java"], project)?;
    let image = CachedImage::of(&recipe, project)?;
    let choice = harness.machine(Payload::Jvm)?;
    let config = programs::java_config(&[], &["Jvm", harness.length.pick(SECONDS, SECONDS_QUICK)]);
    let sides = harness.sides.clone();
    harness.alternate("jvm", &choice, &sides, |side| {
        let sample = Machine::new(project, &choice, side, image.path()).run(&config)?;
        let mut seen = figures::parse(&sample.stdout);
        seen.courses.push(sample.memory);
        Ok(seen)
    })?;
    Ok(())
}
