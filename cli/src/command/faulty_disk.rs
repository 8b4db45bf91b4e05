//! `crema faulty-disk`: a disk that loses power, for guests that are started by hand.

use std::sync::mpsc;

use crate::{
    failure::Result,
    machine::{faulty_disk::FaultyDisk, interrupt::Subscription},
    options::FaultyDiskOptions,
};

/// Serves the disk until a signal comes, which cuts the power if nothing has before, and says what has happened.
pub fn faulty_disk(options: &FaultyDiskOptions) -> Result<()> {
    let (interrupt, interrupted) = mpsc::channel();
    let _subscription = Subscription::new(move |_| {
        let _ = interrupt.send(());
    });
    let disk = FaultyDisk::serve(&options.file, &options.socket, options.seed, &options.failing)?;
    if let Some(changes) = options.cut_after {
        disk.cut_after(changes);
    }
    eprintln!("crema: a disk with seed {}; Ctrl-C cuts its power", options.seed);
    // The sender lives as long as the subscription.
    let _ = interrupted.recv();
    disk.cut();
    eprintln!("crema: {}", disk.end()?);
    Ok(())
}
