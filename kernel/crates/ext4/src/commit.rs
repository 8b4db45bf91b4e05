//! Syncs, one for all who wait.

use ksync::{Mutex, WaitQueue};
use linux_abi::Errno;

/// Numbers syncs, so that a thread that needs one knows which is enough: one that begins after its
/// changes were made.
#[derive(Default)]
pub(crate) struct Commits {
    state: Mutex<State>,
    ended: WaitQueue,
}

#[derive(Default)]
struct State {
    /// The last sync that began.
    begun: u64,
    /// The last that ended, and how.
    ended: u64,
    result: Option<Errno>,
    /// The last that ended well.
    done: u64,
}

impl Commits {
    /// The next sync to begin: the one that will take along what is being changed now.
    pub(crate) fn next(&self) -> u64 {
        self.state.lock().begun + 1
    }

    /// The last sync that ended well.
    pub(crate) fn last_done(&self) -> u64 {
        self.state.lock().done
    }

    /// Has a sync that begins after this call ended. `sync` does it, in one of the waiting threads.
    pub(crate) fn run(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let (wanted, is_ours) = {
            let mut state = self.state.lock();
            let wanted = state.begun + 1;
            if state.begun == state.ended {
                state.begun = wanted;
                (wanted, true)
            } else {
                (wanted, false)
            }
        };
        if is_ours {
            return self.perform(sync);
        }
        // One is under way that may have begun too early. The first to come round does the next.
        let mut sync = Some(sync);
        let outcome = self.ended.wait_uninterruptible(|| {
            let mut state = self.state.lock();
            if state.ended >= wanted {
                return Some(Some(state.result));
            }
            if state.begun == state.ended {
                state.begun += 1;
                return Some(None);
            }
            None
        });
        match outcome {
            Some(None) => Ok(()),
            Some(Some(error)) => Err(error),
            None => match sync.take() {
                Some(sync) => self.perform(sync),
                None => Ok(()),
            },
        }
    }

    fn perform(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let result = sync();
        {
            let mut state = self.state.lock();
            state.ended = state.begun;
            state.result = result.err();
            if result.is_ok() {
                state.done = state.ended;
            }
        }
        self.ended.wake_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn waiting_threads_share_a_sync_that_began_after_their_changes() {
        let state = Arc::new((Commits::default(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || {
                    let (commits, changes, syncs) = &*state;
                    for _ in 0..20 {
                        changes.fetch_add(1, Ordering::SeqCst);
                        let needed = commits.next();
                        commits
                            .run(|| {
                                syncs.fetch_add(1, Ordering::SeqCst);
                                thread::sleep(Duration::from_micros(200));
                                Ok(())
                            })
                            .unwrap();
                        assert!(commits.last_done() >= needed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(state.2.load(Ordering::SeqCst) < 320, "no sync was shared");
    }

    #[test]
    fn errors_reach_who_asked() {
        let commits = Commits::default();
        assert_eq!(commits.run(|| Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(commits.run(|| Ok(())), Ok(()));
    }
}
