//! `crema faulty-link`: a link for tests between guests that are started by hand.

use std::time::Duration;

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    failure::{Failure, Result},
    network::faulty_link::{Faults, FaultyLink},
    options::FaultyLinkOptions,
};

/// Connects the two ends until a signal comes, and then says what has happened.
pub fn faulty_link(options: &FaultyLinkOptions) -> Result<()> {
    let [left, right] = options.ends.as_slice() else {
        return Err(Failure::new("a link has two ends: --end is to be given twice"));
    };
    let faults = Faults {
        drop: options.drop,
        duplicate: options.duplicate,
        reorder: options.reorder,
        corrupt: options.corrupt,
        delay: Duration::from_millis(options.delay),
        outages: options.outages.clone(),
    };
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    let link = FaultyLink::start([left, right], &faults, options.seed)?;
    eprintln!("crema: a link with seed {}; Ctrl-C ends it", options.seed);
    signals.forever().next();
    for (from, counts) in ["first", "second"].iter().zip(link.end()?) {
        eprintln!("crema: from the {from} end: {counts}");
    }
    Ok(())
}
