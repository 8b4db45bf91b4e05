//! Being told of the last close of an open file.
//!
//! An epoll instance forgets a file when the last descriptor of its open file description is closed
//! (`epoll(7)`, questions and answers, 6), whether or not others have the same object open. So an open file
//! carries a [`CloseWatch`], which costs one word until somebody watches.

use alloc::{sync::Arc, vec::Vec};

use ksync::SpinLock;

/// Somebody who is told.
pub trait CloseWatcher: Send + Sync {
    /// The last descriptor is closed. Called in a thread, with no lock held.
    fn last_close(&self);
}

/// The part of an open file that tells: its drop does.
#[derive(Default)]
pub struct CloseWatch {
    list: SpinLock<Option<Arc<WatchList>>>,
}

/// Those who watch one open file. Its address identifies the open file for as long as anybody holds it.
#[derive(Default)]
pub struct WatchList {
    watchers: SpinLock<Vec<Arc<dyn CloseWatcher>>>,
}

impl CloseWatch {
    /// Makes one that nobody watches.
    pub const fn new() -> Self {
        Self { list: SpinLock::new(None) }
    }

    /// The list, made now if nobody has watched before.
    pub fn list(&self) -> Arc<WatchList> {
        self.list.lock().get_or_insert_default().clone()
    }

    /// The list, if somebody has watched before.
    pub fn existing_list(&self) -> Option<Arc<WatchList>> {
        self.list.lock().clone()
    }
}

impl WatchList {
    /// Tells `watcher` when the file is closed.
    pub fn add(&self, watcher: Arc<dyn CloseWatcher>) {
        self.watchers.lock().push(watcher);
    }

    /// Takes a watcher off, if it is on.
    pub fn remove(&self, watcher: &Arc<dyn CloseWatcher>) {
        let mut watchers = self.watchers.lock();
        if let Some(place) = watchers.iter().position(|other| Arc::ptr_eq(other, watcher)) {
            let watcher = watchers.swap_remove(place);
            drop(watchers);
            drop(watcher);
        }
    }
}

impl Drop for CloseWatch {
    fn drop(&mut self) {
        if let Some(list) = self.list.get_mut().take() {
            let watchers = core::mem::take(&mut *list.watchers.lock());
            for watcher in watchers {
                watcher.last_close();
            }
        }
    }
}
