//! The table of watches: by inode, with a count of the events that are waited for.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::Ordering;

use hashbrown::{HashMap, hash_map::Entry};
use linux_abi::{Errno, event::InotifyMask};

use super::{
    INTEREST, WATCH_COUNT, Woken,
    inotify::{Group, Queued, WatchRequest},
};
use crate::{Inode, InodeId};

/// What `inotify_add_watch(2)` calls a user's option, kept with the watch.
const KEPT_OPTIONS: InotifyMask = InotifyMask::ONESHOT.union(InotifyMask::EXCL_UNLINK);
/// `IN_ALL_EVENTS`: what can be asked for.
pub(super) const ALL_EVENTS: InotifyMask = InotifyMask::from_bits_retain(0xfff);
/// Watches that all instances may have together (`fs.inotify.max_user_watches`).
pub const MAX_WATCHES: usize = 65_536;

/// An inode as one instance watches it.
struct Watch {
    group: Arc<Group>,
    descriptor: i32,
    /// Events and kept options.
    mask: InotifyMask,
}

/// An inode and all who watch it.
struct Watched {
    /// Held so that the number stays its own.
    inode: Arc<dyn Inode>,
    watches: Vec<Watch>,
}

/// What happened, before it is known to whom it matters.
pub(super) struct Event {
    /// The event and `IN_ISDIR`.
    pub(super) mask: InotifyMask,
    pub(super) cookie: u32,
    pub(super) name: Option<Arc<[u8]>>,
    /// It came through an open file whose name is gone.
    pub(super) is_unlinked: bool,
}

/// What is left to do when the lock is released.
#[derive(Default)]
pub(super) struct Outcome {
    woken: Woken,
    /// Perhaps the last reference of each: dropping an inode can take long.
    freed: Vec<Arc<dyn Inode>>,
}

impl Outcome {
    pub(super) fn settle(self) {
        self.woken.0.iter().for_each(|group| group.wake());
    }
}

pub(super) struct Watches {
    by_inode: Option<HashMap<InodeId, Watched>>,
    count: usize,
    /// How many watches ask for each of the events, by its bit.
    wanted: [u32; 12],
}

/// The table while something is reported.
pub(super) struct Reporting<'a> {
    pub(super) watches: &'a mut Watches,
    pub(super) outcome: &'a mut Outcome,
}

impl Watches {
    pub(super) const fn new() -> Self {
        Self { by_inode: None, count: 0, wanted: [0; 12] }
    }

    fn count_events(&mut self, mask: InotifyMask, by: i32) {
        for (bit, count) in self.wanted.iter_mut().enumerate() {
            if mask.bits() >> bit & 1 != 0 {
                *count = count.wrapping_add_signed(by);
            }
        }
    }

    /// Lets those who report know what is waited for. To be called before the lock is released.
    pub(super) fn publish(&self) {
        let interest = (0..self.wanted.len()).filter(|bit| self.wanted[*bit] != 0);
        INTEREST.store(interest.fold(0, |mask, bit| mask | 1 << bit), Ordering::Relaxed);
        WATCH_COUNT.store(self.count, Ordering::Relaxed);
    }

    /// `inotify_update_watch`: the watch's descriptor.
    pub(super) fn add(
        &mut self,
        group: &Arc<Group>,
        inode: &Arc<dyn Inode>,
        request: WatchRequest,
    ) -> Result<i32, Errno> {
        let asked = request.mask & (ALL_EVENTS | KEPT_OPTIONS);
        let id = inode.id();
        let by_inode = self.by_inode.get_or_insert_default();
        let existing = by_inode
            .get_mut(&id)
            .and_then(|watched| watched.watches.iter_mut().find(|watch| Arc::ptr_eq(&watch.group, group)));
        if let Some(watch) = existing {
            if request.mask.contains(InotifyMask::MASK_CREATE) {
                return Err(Errno::EEXIST);
            }
            let former = watch.mask;
            watch.mask = if request.mask.contains(InotifyMask::MASK_ADD) { former | asked } else { asked };
            let (descriptor, mask) = (watch.descriptor, watch.mask);
            self.count_events(former, -1);
            self.count_events(mask, 1);
            return Ok(descriptor);
        }
        if self.count >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let descriptor = group.new_descriptor(id);
        let watch = Watch { group: group.clone(), descriptor, mask: asked };
        match by_inode.entry(id) {
            Entry::Occupied(mut watched) => watched.get_mut().watches.push(watch),
            Entry::Vacant(place) => {
                let _ = place.insert(Watched { inode: inode.clone(), watches: alloc::vec![watch] });
            }
        }
        self.count += 1;
        self.count_events(asked, 1);
        Ok(descriptor)
    }
}

impl Reporting<'_> {
    /// Tells those who watch `id` of `event`.
    pub(super) fn deliver(&mut self, id: InodeId, event: &Event) {
        let events = event.mask & ALL_EVENTS;
        let Some(watched) = self.watches.by_inode.as_ref().and_then(|map| map.get(&id)) else { return };
        let mut spent = Vec::new();
        for watch in &watched.watches {
            let excluded = event.is_unlinked && watch.mask.contains(InotifyMask::EXCL_UNLINK);
            if excluded || !watch.mask.intersects(events) {
                continue;
            }
            // `inotify_handle_inode_event`: these two do not tell what kind of object it was.
            let is_about_self = events.intersects(InotifyMask::MOVE_SELF | InotifyMask::DELETE_SELF);
            let mask = if is_about_self { event.mask.difference(InotifyMask::ISDIR) } else { event.mask };
            let queued =
                Queued { descriptor: watch.descriptor, mask, cookie: event.cookie, name: event.name.clone() };
            watch.group.push(queued);
            self.outcome.woken.add(&watch.group);
            if watch.mask.contains(InotifyMask::ONESHOT) {
                spent.push(watch.group.clone());
            }
        }
        for group in spent {
            self.remove(id, &group);
        }
    }

    /// The inode is gone: its watches get the last events.
    pub(super) fn end(&mut self, id: InodeId) {
        self.deliver(
            id,
            &Event { mask: InotifyMask::DELETE_SELF, cookie: 0, name: None, is_unlinked: false },
        );
        let Some(watched) = self.watches.by_inode.as_ref().and_then(|map| map.get(&id)) else { return };
        let groups: Vec<_> = watched.watches.iter().map(|watch| watch.group.clone()).collect();
        for group in groups {
            self.remove(id, &group);
        }
    }

    /// Ends a watch, and tells so.
    pub(super) fn remove(&mut self, id: InodeId, group: &Arc<Group>) {
        if let Some(descriptor) = self.forget(id, group) {
            group.push(Queued { descriptor, mask: InotifyMask::IGNORED, cookie: 0, name: None });
            self.outcome.woken.add(group);
        }
    }

    /// Ends a watch without a word.
    pub(super) fn forget(&mut self, id: InodeId, group: &Arc<Group>) -> Option<i32> {
        let by_inode = self.watches.by_inode.as_mut()?;
        let watched = by_inode.get_mut(&id)?;
        let place = watched.watches.iter().position(|watch| Arc::ptr_eq(&watch.group, group))?;
        let watch = watched.watches.remove(place);
        if watched.watches.is_empty() {
            self.outcome.freed.extend(by_inode.remove(&id).map(|watched| watched.inode));
        }
        group.forget_descriptor(watch.descriptor);
        self.watches.count -= 1;
        self.watches.count_events(watch.mask, -1);
        Some(watch.descriptor)
    }
}
