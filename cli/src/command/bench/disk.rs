//! `crema bench disk`: what files on a volume cost.
//!
//! The program in `benchmarks/disk` measures itself, in a directory on an ext4 volume that each run gets anew. Meanwhile QEMU is asked how
//! many flushes have reached the disk.

use super::{
    figures,
    harness::Harness,
    machine::Machine,
    model::{Better, Figure, Observation},
    programs,
    scratch_volume::{self, ScratchVolume},
};
use crate::{
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::choice::Payload,
};

/// The program in the guest, and where it works.
const GUEST_PROGRAM: &str = "/app/disk";
const PLACE: &str = "/volume";

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let program = programs::make("disk", project)?.join("disk");
    let mut recipe = programs::c_recipe(&program, GUEST_PROGRAM)?;
    recipe.directory(PLACE, 0o755)?;
    let image = CachedImage::of(&recipe, project)?;
    let choice = harness.machine(Payload::Program)?;
    let config = scratch_volume::mounted(&programs::c_config(&[GUEST_PROGRAM, PLACE]), PLACE)?;
    let sides = harness.sides.clone();
    let bench = harness.alternate("disk", &choice, &sides, |side| {
        let volume = ScratchVolume::make()?;
        let extra = volume.arguments();
        let flushes = volume.count_flushes();
        let machine = Machine {
            disks: volume.disks(),
            extra: &extra,
            ..Machine::new(project, &choice, side, image.path())
        };
        let run = machine.run(&config);
        let count = flushes.stop();
        with_flushes(figures::parse(&run?.stdout), count)
    })?;
    bench.notes.push(
        "Each fsync that is made while nothing else writes needs a flush of its own: a run with fewer flushes than those fails. \
         Those of several writers may share flushes."
            .into(),
    );
    Ok(())
}

/// Adds the flushes, and checks that none was left out.
fn with_flushes(mut seen: Observation, flushes: u64) -> Result<Observation> {
    let amount = |name: &str| seen.work.iter().find(|work| work.name == name).map(|work| work.amount);
    let (Some(all), Some(lone)) = (amount("syncs"), amount("lone_syncs")) else {
        return Err(Failure::new("the program does not say how often it synced"));
    };
    if flushes < lone {
        return Err(Failure::new(format!(
            "{flushes} flushes have reached the disk, but {lone} fsyncs need one each: what was measured is not durable"
        )));
    }
    seen.figure(Figure::new("flushes_of_the_disk", "1", flushes as f64).with(Better::Neither));
    seen.figure(
        Figure::new("flushes_per_sync", "1", flushes as f64 / all.max(1) as f64).with(Better::Neither),
    );
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_was_left_out_fails_the_run() {
        let seen = || figures::parse("append_4k_fsync us 812.0 1 2 3 4\nsyncs work 20\nlone_syncs work 10\n");
        let good = with_flushes(seen(), 15).unwrap();
        assert_eq!(good.value("flushes_per_sync"), Some(0.75));
        assert!(with_flushes(seen(), 9).unwrap_err().to_string().contains("not durable"));
        assert!(with_flushes(figures::parse(""), 9).is_err());
    }
}
