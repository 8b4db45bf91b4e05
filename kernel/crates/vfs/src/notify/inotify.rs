//! An instance: its watches by their descriptors, and the queue that is read.

use alloc::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::Arc,
    vec::Vec,
};
use core::{
    any::Any,
    sync::atomic::{AtomicUsize, Ordering},
};

use ksync::SpinLock;
use linux_abi::{
    Errno,
    event::{InotifyEvent, InotifyMask},
};
use zerocopy::IntoBytes;

use super::{WATCHES, report};
use crate::{Blocking, File, InodeId, Path, PollEvents, Pollee, ReadDst};

/// Instances that there may be (`fs.inotify.max_user_instances`).
const MAX_INSTANCES: usize = 128;
/// Events that a queue holds (`fs.inotify.max_queued_events`).
const MAX_QUEUED_EVENTS: usize = 16_384;

static INSTANCES: AtomicUsize = AtomicUsize::new(0);

/// What to watch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    pub(super) mask: InotifyMask,
}

impl WatchRequest {
    /// The argument of `inotify_add_watch(2)`: some bit must be set, and known.
    pub fn new(mask: u32) -> Result<Self, Errno> {
        let mask = InotifyMask::from_raw(mask)?;
        if mask.is_empty() {
            return Err(Errno::EINVAL);
        }
        Ok(Self { mask })
    }

    /// `EINVAL` for options that exclude each other. Linux finds this after a bad descriptor.
    pub fn require_consistent(self) -> Result<(), Errno> {
        if self.mask.contains(InotifyMask::MASK_ADD | InotifyMask::MASK_CREATE) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// What it says on how to find the object.
    pub fn mask(self) -> InotifyMask {
        self.mask
    }
}

/// An event as it is read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) descriptor: i32,
    pub(super) mask: InotifyMask,
    pub(super) cookie: u32,
    pub(super) name: Option<Arc<[u8]>>,
}

const HEADER_BYTES: usize = size_of::<InotifyEvent>();

impl Queued {
    /// Room that the name takes: its NUL, and then more up to a multiple of the header's size.
    fn name_bytes(&self) -> usize {
        self.name.as_ref().map_or(0, |name| (name.len() + 1).next_multiple_of(HEADER_BYTES))
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES + self.name_bytes()
    }

    /// Whether `self` says nothing that `last`, just before it, did not (`event_compare`).
    fn repeats(&self, last: &Self) -> bool {
        !last.mask.contains(InotifyMask::IGNORED)
            && self.mask == last.mask
            && self.descriptor == last.descriptor
            && self.name == last.name
    }

    fn to_bytes(&self) -> Vec<u8> {
        let length = self.name_bytes();
        let header =
            InotifyEvent { wd: self.descriptor, mask: self.mask, cookie: self.cookie, length: length as u32 };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(self.name.as_deref().unwrap_or_default());
        bytes.resize(HEADER_BYTES + length, 0);
        bytes
    }
}

/// The part of an instance that its watches hold.
pub(super) struct Group {
    state: SpinLock<State>,
    pollee: Pollee,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    overflow_is_queued: bool,
    last_descriptor: i32,
    watches: BTreeMap<i32, InodeId>,
}

impl Group {
    /// Queues an event; [`wake`](Self::wake) follows when locks are released.
    pub(super) fn push(&self, event: Queued) {
        let mut state = self.state.lock();
        if state.queue.len() >= MAX_QUEUED_EVENTS {
            if !state.overflow_is_queued {
                state.overflow_is_queued = true;
                let mask = InotifyMask::Q_OVERFLOW;
                state.queue.push_back(Queued { descriptor: -1, mask, cookie: 0, name: None });
            }
            return;
        }
        if state.queue.back().is_some_and(|last| event.repeats(last)) {
            return;
        }
        state.queue.push_back(event);
    }

    pub(super) fn wake(&self) {
        self.pollee.notify(PollEvents::IN | PollEvents::RDNORM);
    }

    /// A descriptor for a new watch: always one further, as Linux gives them out.
    pub(super) fn new_descriptor(&self, inode: InodeId) -> i32 {
        let mut state = self.state.lock();
        loop {
            state.last_descriptor = state.last_descriptor.checked_add(1).unwrap_or(1);
            let descriptor = state.last_descriptor;
            if let Entry::Vacant(place) = state.watches.entry(descriptor) {
                place.insert(inode);
                return descriptor;
            }
        }
    }

    pub(super) fn forget_descriptor(&self, descriptor: i32) {
        self.state.lock().watches.remove(&descriptor);
    }

    fn has_events(&self) -> bool {
        !self.state.lock().queue.is_empty()
    }

    /// Takes the next event if it takes no more than `room` bytes, `EINVAL` else.
    fn take(&self, room: usize) -> Result<Option<Queued>, Errno> {
        let mut state = self.state.lock();
        if state.queue.front().is_some_and(|event| event.bytes() > room) {
            return Err(Errno::EINVAL);
        }
        let event = state.queue.pop_front();
        if event.as_ref().is_some_and(|event| event.mask.contains(InotifyMask::Q_OVERFLOW)) {
            state.overflow_is_queued = false;
        }
        Ok(event)
    }
}

/// An inotify instance.
pub struct Inotify {
    group: Arc<Group>,
}

impl Inotify {
    /// One that watches nothing; `EMFILE` if there are too many.
    pub fn new() -> Result<Self, Errno> {
        let made = INSTANCES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MAX_INSTANCES).then_some(count + 1)
        });
        made.map_err(|_| Errno::EMFILE)?;
        Ok(Self { group: Arc::new(Group { state: SpinLock::default(), pollee: Pollee::new() }) })
    }

    /// Watches what is at `path`, or changes the watch on it (`inotify_add_watch(2)`): the watch's
    /// descriptor.
    pub fn add_watch(&self, path: &Path, request: WatchRequest) -> Result<i32, Errno> {
        let mut watches = WATCHES.lock();
        let added = watches.add(&self.group, path.inode(), request);
        watches.publish();
        added
    }

    /// Ends a watch (`inotify_rm_watch(2)`); `EINVAL` if there is none.
    pub fn remove_watch(&self, descriptor: i32) -> Result<(), Errno> {
        let mut removed = Err(Errno::EINVAL);
        report(|reporting| {
            let inode = self.group.state.lock().watches.get(&descriptor).copied();
            if let Some(inode) = inode {
                reporting.remove(inode, &self.group);
                removed = Ok(());
            }
        });
        removed
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let descriptors: Vec<_> = self.group.state.lock().watches.clone().into_iter().collect();
        for (_, inode) in descriptors {
            report(|reporting| {
                let _ = reporting.forget(inode, &self.group);
            });
        }
        INSTANCES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl File for Inotify {
    /// As many whole events as there are and fit (`inotify_read`).
    fn read_at(&self, _offset: u64, dst: &mut dyn ReadDst, blocking: Blocking) -> Result<usize, Errno> {
        let mut done = 0;
        loop {
            match self.group.take(dst.remaining()) {
                Ok(Some(event)) => {
                    let bytes = event.to_bytes();
                    if dst.put(&bytes)? < bytes.len() {
                        return Err(Errno::EFAULT);
                    }
                    done += bytes.len();
                }
                Ok(None) | Err(_) if done > 0 => return Ok(done),
                Ok(None) if blocking == Blocking::No => return Err(Errno::EAGAIN),
                Ok(None) => self.group.pollee.wait(None, || self.group.has_events().then_some(()))?,
                Err(error) => return Err(error),
            }
        }
    }

    fn poll(&self) -> PollEvents {
        if self.group.has_events() { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.group.pollee)
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.group.state.lock().queue.iter().map(Queued::bytes).sum())
    }

    fn shown_name(&self) -> Vec<u8> {
        b"anon_inode:inotify".to_vec()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
