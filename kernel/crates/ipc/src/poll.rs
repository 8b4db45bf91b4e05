//! Waiting for one of several files: the engine below `poll(2)` and `select(2)`.
//!
//! Responsible for registering, asking, waiting and leaving; decoding the application's arrays, and
//! swapping the signal mask, are the system calls'. A waiter has no lock: it has a flag that a report
//! sets before it unparks the thread, and that the thread clears before it asks the files again.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use ksync::{
    WaitError,
    platform::{self, Parker},
};
use vfs::{File, Notified, Observer, ObserverId, PollEvents, Sharing};

/// One file to wait for.
pub struct PollEntry {
    /// The file; `None` for one that is not to be looked at.
    pub file: Option<Arc<dyn File>>,
    /// What is asked for; `poll(2)` adds [`PollEvents::ALWAYS`].
    pub events: PollEvents,
    /// What there is of that. What is there before the wait is kept, and
    /// counts as ready (`POLLNVAL` of a descriptor that is not open).
    pub revents: PollEvents,
}

impl PollEntry {
    fn ask(&mut self) -> bool {
        if let Some(file) = &self.file {
            self.revents = file.poll().intersection(self.events);
        }
        !self.revents.is_empty()
    }
}

/// What reports come to: one for each waiting thread.
struct Waiter {
    thread: Arc<dyn Parker>,
    reported: AtomicBool,
}

impl Observer for Waiter {
    fn notify(&self, _events: PollEvents) -> Notified {
        self.reported.store(true, SeqCst);
        self.thread.unpark();
        Notified::Woke
    }
}

/// Ends the registrations however the wait ends.
struct Registrations(Vec<(Arc<dyn File>, ObserverId)>);

impl Drop for Registrations {
    fn drop(&mut self) {
        for (file, id) in &self.0 {
            if let Some(pollee) = file.pollee() {
                pollee.unregister(*id);
            }
        }
    }
}

/// Waits until one of the entries is ready, and fills in all `revents`; returns how many are ready, 0 when
/// the monotonic clock has passed `deadline_ns`. Interrupted only if none is ready.
pub fn wait(entries: &mut [PollEntry], deadline_ns: Option<u64>) -> Result<usize, WaitError> {
    let ready = ask_all(entries);
    let may_wait = deadline_ns.is_none_or(|deadline_ns| platform::now_ns() < deadline_ns);
    if ready > 0 || !may_wait {
        return Ok(ready);
    }
    let waiter = Arc::new(Waiter { thread: platform::current(), reported: AtomicBool::new(false) });
    let mut registrations = Registrations(Vec::with_capacity(entries.len()));
    for entry in entries.iter() {
        if let Some(file) = &entry.file
            && let Some(pollee) = file.pollee()
        {
            let id = pollee.register(entry.events, Sharing::Shared, waiter.clone());
            registrations.0.push((file.clone(), id));
        }
    }
    loop {
        // Cleared first and asked after: a report from here on is seen below or ends the park.
        waiter.reported.store(false, SeqCst);
        let ready = ask_all(entries);
        if ready > 0 {
            return Ok(ready);
        }
        while !waiter.reported.load(SeqCst) {
            if waiter.thread.interrupted() {
                return Err(WaitError::Interrupted);
            }
            if deadline_ns.is_some_and(|deadline_ns| platform::now_ns() >= deadline_ns) {
                return Ok(0);
            }
            waiter.thread.park(deadline_ns);
        }
    }
}

fn ask_all(entries: &mut [PollEntry]) -> usize {
    entries.iter_mut().map(|entry| usize::from(entry.ask())).sum()
}

/// The three sets of `select(2)` as words, bit `n` for descriptor `n`; each is as long as the highest
/// descriptor needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectSets {
    /// Wanted readable, or found so.
    pub read: Vec<u64>,
    /// Wanted writable.
    pub write: Vec<u64>,
    /// With exceptional conditions.
    pub except: Vec<u64>,
}

/// What counts as readable (`POLLIN_SET` in `fs/select.c`).
const READ_EVENTS: PollEvents = PollEvents::IN
    .union(PollEvents::RDNORM)
    .union(PollEvents::RDBAND)
    .union(PollEvents::HUP)
    .union(PollEvents::ERR);
/// What counts as writable.
const WRITE_EVENTS: PollEvents =
    PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND).union(PollEvents::ERR);
/// What counts as exceptional.
const EXCEPT_EVENTS: PollEvents = PollEvents::PRI;

fn has_bit(words: &[u64], fd: usize) -> bool {
    words.get(fd / 64).is_some_and(|word| word >> (fd % 64) & 1 != 0)
}

impl SelectSets {
    /// Waits until a descriptor in one of the sets is ready for it, or `deadline_ns`, and leaves in the sets
    /// those that are; returns how many bits that are. `lookup` gives the file of a descriptor; its error is
    /// returned.
    pub fn wait<E: From<WaitError>>(
        &mut self,
        descriptors: usize,
        deadline_ns: Option<u64>,
        mut lookup: impl FnMut(usize) -> Result<Arc<dyn File>, E>,
    ) -> Result<usize, E> {
        let mut numbers = Vec::new();
        let mut entries = Vec::new();
        for fd in 0..descriptors {
            let mut events = PollEvents::empty();
            for (set, of_set) in
                [(&self.read, READ_EVENTS), (&self.write, WRITE_EVENTS), (&self.except, EXCEPT_EVENTS)]
            {
                if has_bit(set, fd) {
                    events |= of_set;
                }
            }
            if !events.is_empty() {
                numbers.push(fd);
                entries.push(PollEntry { file: Some(lookup(fd)?), events, revents: PollEvents::empty() });
            }
        }
        wait(&mut entries, deadline_ns)?;
        let mut bits = 0;
        for set in [&mut self.read, &mut self.write, &mut self.except] {
            set.fill(0);
        }
        for (fd, entry) in numbers.into_iter().zip(&entries) {
            for (found, of_set) in [
                (&mut self.read, READ_EVENTS),
                (&mut self.write, WRITE_EVENTS),
                (&mut self.except, EXCEPT_EVENTS),
            ] {
                // All of a set's events are asked for or none, so this tells whether the descriptor was in
                // it.
                if entry.events.contains(of_set) && entry.revents.intersects(of_set) {
                    found[fd / 64] |= 1 << (fd % 64);
                    bits += 1;
                }
            }
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests;
