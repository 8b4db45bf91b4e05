//! Epoll instances: `epoll(7)`.
//!
//! Responsible for the files that an instance watches and for what `epoll_wait` reports of them. A file is
//! known by its descriptor number and its open file description, and leaves when the last descriptor of that
//! is closed. Reporting takes time in proportion to the files that have something to report.
//!
//! | lock | guards | taken with |
//! |---|---|---|
//! | [`nesting::NESTING`] | the shape of instances that watch instances | nothing |
//! | `Epoll::interest` (sleeping) | the watched files; held while they are asked | `NESTING`; the `interest` of an instance that watches this one |
//! | `Ready` (spin) | which files may be ready | any of the above, or an interrupt |
//!
//! Files are never dropped under a lock: a file's end can close others, also some that are watched here.

mod nesting;
mod ready;

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::any::Any;

use hashbrown::HashMap;
use ksync::{Interruptible, Mutex, SpinLock, platform};
use linux_abi::{
    Errno,
    event::{EpollEvent, EpollEvents},
};
use vfs::{CloseWatch, CloseWatcher, File, ObserverId, PollEvents, Pollee, Sharing, WatchList};

use nesting::NESTING;
use ready::{End, Hook, Ready, SlotIndex};

/// What may stand beside `EPOLLEXCLUSIVE` (`EPOLLEXCLUSIVE_OK_BITS` in `fs/eventpoll.c`).
const WITH_EXCLUSIVE: EpollEvents = EpollEvents::IN
    .union(EpollEvents::OUT)
    .union(EpollEvents::ERR)
    .union(EpollEvents::HUP)
    .union(EpollEvents::WAKEUP)
    .union(EpollEvents::ET)
    .union(EpollEvents::EXCLUSIVE);

/// The descriptor that `epoll_ctl(2)` names.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its number.
    pub fd: i32,
    /// Its object.
    pub file: &'a Arc<dyn File>,
    /// Of its open file description.
    pub close_watch: &'a CloseWatch,
}

/// An epoll instance.
pub struct Epoll {
    this: Weak<Epoll>,
    interest: Mutex<Interest>,
    ready: Arc<Ready>,
    /// The instances that watch this one, one entry for each time.
    parents: SpinLock<Vec<Weak<Epoll>>>,
}

/// A descriptor number, and the address of its open file's list of watchers.
type Key = (i32, usize);

#[derive(Default)]
struct Interest {
    by_key: HashMap<Key, SlotIndex>,
    entries: Vec<Option<Entry>>,
    free: Vec<SlotIndex>,
}

/// A watched file.
struct Entry {
    file: Arc<dyn File>,
    data: u64,
    hook: Arc<Hook>,
    registration: ObserverId,
    watch_list: Arc<WatchList>,
    watcher: Arc<dyn CloseWatcher>,
}

impl Entry {
    /// What is both ready and asked for.
    fn poll(&self) -> EpollEvents {
        let wanted = self.hook.interest();
        if wanted.is_empty() {
            return EpollEvents::empty();
        }
        EpollEvents::from_bits_retain(self.file.poll().intersection(wanted).bits())
    }

    fn epoll(&self) -> Option<&Epoll> {
        self.file.as_any().downcast_ref()
    }

    /// Ends all that ties the file to the instance.
    fn detach(&self, instance: &Weak<Epoll>) {
        if let Some(pollee) = self.file.pollee() {
            pollee.unregister(self.registration);
        }
        self.watch_list.remove(&self.watcher);
        if let Some(child) = self.epoll() {
            let mut parents = child.parents.lock();
            if let Some(place) = parents.iter().position(|parent| parent.ptr_eq(instance)) {
                parents.swap_remove(place);
            }
        }
    }
}

/// Takes a file out of an instance at its last close.
struct Forget {
    epoll: Weak<Epoll>,
    key: Key,
}

impl CloseWatcher for Forget {
    fn last_close(&self) {
        if let Some(epoll) = self.epoll.upgrade() {
            // It may be on its way out already, by `EPOLL_CTL_DEL` of another thread.
            let _ = epoll.remove_key(self.key);
        }
    }
}

impl Epoll {
    /// Makes an instance that watches nothing.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            interest: Mutex::default(),
            ready: Arc::new(Ready::new()),
            parents: SpinLock::default(),
        })
    }

    /// Checks that hold for all operations, in Linux's order: `EPERM` for a file that is always ready,
    /// `EINVAL` for the instance itself.
    fn check(&self, target: &Target<'_>) -> Result<(), Errno> {
        target.file.pollee().ok_or(Errno::EPERM)?;
        let is_self = core::ptr::addr_eq(Arc::as_ptr(target.file), core::ptr::from_ref(self));
        if is_self { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Watches a descriptor (`EPOLL_CTL_ADD`). `EEXIST`, `EPERM`, `EINVAL`, `ELOOP` as in `epoll_ctl(2)`.
    pub fn add(&self, target: Target<'_>, event: EpollEvent) -> Result<(), Errno> {
        self.check(&target)?;
        let pollee = target.file.pollee().ok_or(Errno::EPERM)?;
        // Without the capability CAP_BLOCK_SUSPEND this bit is dropped silently.
        let events = { event.events }.difference(EpollEvents::WAKEUP);
        let child: Option<&Epoll> = target.file.as_any().downcast_ref();
        let sharing = if events.contains(EpollEvents::EXCLUSIVE) {
            if child.is_some() || !WITH_EXCLUSIVE.contains(events) {
                return Err(Errno::EINVAL);
            }
            Sharing::Exclusive
        } else {
            Sharing::Shared
        };
        let _nesting = child.map(|_| NESTING.lock());
        if let Some(child) = child {
            nesting::check(self, child)?;
        }
        let watch_list = target.close_watch.list();
        let key = (target.fd, Arc::as_ptr(&watch_list).addr());
        let mut interest = self.interest.lock();
        if interest.by_key.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        let slot = interest.free.pop().unwrap_or(interest.entries.len() as SlotIndex);
        self.ready.grow_to(slot);
        let hook = Hook::new(self.ready.clone(), slot, events | EpollEvents::ERR | EpollEvents::HUP);
        if let Some(child) = child {
            child.parents.lock().push(self.this.clone());
        }
        let watcher: Arc<dyn CloseWatcher> = Arc::new(Forget { epoll: self.this.clone(), key });
        watch_list.add(watcher.clone());
        let entry = Entry {
            file: target.file.clone(),
            data: event.data,
            registration: pollee.register(PollEvents::all(), sharing, hook.clone()),
            hook,
            watch_list,
            watcher,
        };
        // Registered first and asked after, so nothing between the two is missed.
        let is_ready = !entry.poll().is_empty();
        match interest.entries.get_mut(slot as usize) {
            Some(place) => *place = Some(entry),
            None => interest.entries.push(Some(entry)),
        }
        interest.by_key.insert(key, slot);
        drop(interest);
        if is_ready {
            self.ready.put(slot);
        }
        Ok(())
    }

    /// Changes what is asked of a descriptor (`EPOLL_CTL_MOD`). `ENOENT` if it is not watched, `EINVAL` if it
    /// was added as exclusive.
    pub fn modify(&self, target: Target<'_>, event: EpollEvent) -> Result<(), Errno> {
        self.check(&target)?;
        let events = { event.events }.difference(EpollEvents::WAKEUP);
        if events.contains(EpollEvents::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        let mut interest = self.interest.lock();
        let slot = interest.find(&target)?;
        let entry = interest.entries[slot as usize].as_mut().ok_or(Errno::ENOENT)?;
        if entry.hook.events().contains(EpollEvents::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        entry.data = event.data;
        entry.hook.set_events(events | EpollEvents::ERR | EpollEvents::HUP);
        let is_ready = !entry.poll().is_empty();
        drop(interest);
        if is_ready {
            self.ready.put(slot);
        }
        Ok(())
    }

    /// Watches a descriptor no more (`EPOLL_CTL_DEL`). `ENOENT` if it is not watched.
    pub fn remove(&self, target: Target<'_>) -> Result<(), Errno> {
        self.check(&target)?;
        let list = target.close_watch.existing_list().ok_or(Errno::ENOENT)?;
        self.remove_key((target.fd, Arc::as_ptr(&list).addr()))
    }

    fn remove_key(&self, key: Key) -> Result<(), Errno> {
        let mut interest = self.interest.lock();
        let slot = interest.by_key.remove(&key).ok_or(Errno::ENOENT)?;
        let entry = interest.entries[slot as usize].take();
        if let Some(entry) = &entry {
            entry.detach(&self.this);
        }
        self.ready.remove(slot);
        interest.free.push(slot);
        drop(interest);
        drop(entry);
        Ok(())
    }

    /// Gives `sink` up to `max` events, waiting for the first until `deadline_ns` on the monotonic clock;
    /// returns how many, 0 at the deadline (`epoll_wait(2)`). `EINTR` if a signal came first: the call is
    /// never restarted. An error of `sink` (`EFAULT`) loses no event.
    pub fn wait(
        &self,
        max: usize,
        deadline_ns: Option<u64>,
        sink: &mut dyn FnMut(EpollEvent) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let result = if deadline_ns.is_some_and(|deadline_ns| platform::now_ns() >= deadline_ns) {
            Ok(self.collect(max, sink).unwrap_or(Ok(0)))
        } else {
            self.ready.waiters.wait(Interruptible::Yes, deadline_ns, || self.collect(max, sink))
        };
        if !self.ready.is_empty() {
            // What is left is for the next one. Only here, where this thread waits no more and cannot itself
            // be the one that is woken.
            self.ready.waiters.wake_one();
        }
        match result {
            Ok(result) => result,
            Err(ksync::WaitError::TimedOut) => Ok(0),
            Err(ksync::WaitError::Interrupted) => Err(Errno::EINTR),
        }
    }

    /// Asks the files on the list, once each. Those that are ready and level-triggered go to the list's back
    /// again, so that a `max` smaller than their number reports them in turn.
    fn collect(
        &self,
        max: usize,
        sink: &mut dyn FnMut(EpollEvent) -> Result<(), Errno>,
    ) -> Option<Result<usize, Errno>> {
        while !self.ready.is_empty() {
            let mut reported = 0;
            let mut result = Ok(());
            let interest = self.interest.lock();
            for _ in 0..self.ready.len() {
                if reported == max {
                    break;
                }
                let Some(slot) = self.ready.pop() else { break };
                let Some(Some(entry)) = interest.entries.get(slot as usize) else { continue };
                let events = entry.poll();
                if events.is_empty() {
                    continue;
                }
                if let Err(error) = sink(EpollEvent { events, data: entry.data }) {
                    self.ready.requeue(slot, End::Front);
                    result = Err(error);
                    break;
                }
                reported += 1;
                let mode = entry.hook.events();
                if mode.contains(EpollEvents::ONESHOT) {
                    entry.hook.set_events(mode.intersection(EpollEvents::MODE));
                } else if !mode.contains(EpollEvents::ET) {
                    self.ready.requeue(slot, End::Back);
                }
            }
            drop(interest);
            if reported > 0 || result.is_err() {
                return Some(if reported > 0 { Ok(reported) } else { result.map(|()| 0) });
            }
        }
        None
    }

    /// How many files are watched.
    pub fn len(&self) -> usize {
        self.interest.lock().by_key.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn children(&self) -> Vec<Arc<Epoll>> {
        let interest = self.interest.lock();
        interest.entries.iter().flatten().filter_map(|entry| entry.epoll()?.this.upgrade()).collect()
    }

    fn parents(&self) -> Vec<Arc<Epoll>> {
        self.parents.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Interest {
    fn find(&self, target: &Target<'_>) -> Result<SlotIndex, Errno> {
        let list = target.close_watch.existing_list().ok_or(Errno::ENOENT)?;
        let key = (target.fd, Arc::as_ptr(&list).addr());
        self.by_key.get(&key).copied().ok_or(Errno::ENOENT)
    }
}

impl File for Epoll {
    /// Readable if one of the files on the list really is ready; those in front of it that are not are taken
    /// off.
    fn poll(&self) -> PollEvents {
        if self.ready.is_empty() {
            return PollEvents::empty();
        }
        let interest = self.interest.lock();
        while let Some(slot) = self.ready.pop() {
            let Some(Some(entry)) = interest.entries.get(slot as usize) else { continue };
            if !entry.poll().is_empty() {
                self.ready.requeue(slot, End::Front);
                return PollEvents::IN | PollEvents::RDNORM;
            }
        }
        PollEvents::empty()
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.ready.pollee)
    }

    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:[eventpoll]".to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let this = self.this.clone();
        let entries = core::mem::take(&mut self.interest.get_mut().entries);
        for entry in entries.iter().flatten() {
            entry.detach(&this);
        }
    }
}

#[cfg(test)]
mod tests;
