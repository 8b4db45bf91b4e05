//! `crema faulty-link`: a link for tests between guests that are started by hand.

use std::{sync::mpsc, time::Duration};

use crate::{
    failure::{Failure, Result},
    machine::interrupt::Subscription,
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
    let (interrupt, interrupted) = mpsc::channel();
    let _subscription = Subscription::new(move |_| {
        let _ = interrupt.send(());
    });
    let link = FaultyLink::start([left, right], &faults, options.seed)?;
    eprintln!("crema: a link with seed {}; Ctrl-C ends it", options.seed);
    // The sender lives as long as the subscription.
    let _ = interrupted.recv();
    for (from, counts) in ["first", "second"].iter().zip(link.end()?) {
        eprintln!("crema: from the {from} end: {counts}");
    }
    Ok(())
}
