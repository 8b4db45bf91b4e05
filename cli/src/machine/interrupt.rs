//! Signals that the tool itself gets: Ctrl-C, Ctrl-\, SIGTERM, SIGHUP.
//!
//! One thread receives them. While machines run, it passes them on to each (a [`Subscription`]); otherwise it
//! ends the tool as the signal would have, after removing temporary folders.
//! `SUBSCRIBERS` is the only lock, and is held for no longer than it takes to send.

use std::{
    collections::BTreeMap,
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use crate::{
    failure::{Failure, Result},
    scratch,
};

type Subscriber = Box<dyn Fn(u8) + Send>;

struct Subscribers {
    next: u64,
    by_number: BTreeMap<u64, Subscriber>,
}

static SUBSCRIBERS: Mutex<Subscribers> = Mutex::new(Subscribers { next: 0, by_number: BTreeMap::new() });

/// The last signal received, or 0. Publishes nothing but itself.
static RECEIVED: AtomicU8 = AtomicU8::new(0);

/// The last signal that machines were told of. For work that goes from one machine to the next, and should
/// then go no further.
pub fn received() -> Option<u8> {
    Some(RECEIVED.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

fn subscribers() -> MutexGuard<'static, Subscribers> {
    SUBSCRIBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to receive signals. To be called once, before any machine is started.
pub fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
        .map_err(|error| Failure::new(format!("cannot receive signals: {error}")))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            // Those four are below 32.
            let number = signal as u8;
            let subscribers = subscribers();
            if subscribers.by_number.is_empty() {
                scratch::remove_all();
                process::exit(128 + signal);
            }
            RECEIVED.store(number, Ordering::Relaxed);
            subscribers.by_number.values().for_each(|subscriber| subscriber(number));
        }
    });
    Ok(())
}

/// As long as it lives, signals are given to its function, and do not end the tool.
pub struct Subscription {
    number: u64,
}

impl Subscription {
    pub fn new(subscriber: impl Fn(u8) + Send + 'static) -> Self {
        let mut subscribers = subscribers();
        let number = subscribers.next;
        subscribers.next += 1;
        subscribers.by_number.insert(number, Box::new(subscriber));
        Self { number }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        subscribers().by_number.remove(&self.number);
    }
}
