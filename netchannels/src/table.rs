//! The table of flows.
//!
//! A hash table by linear hashing (W. Litwin, "Linear hashing: a new tool for file and table addressing", 1980): it
//! grows by one bucket at a time, whose entries all come out of one other. Buckets never move: they lie in segments of
//! doubling size that are made once and kept. So growth stops nobody, nothing is ever copied as a whole, and no one can
//! hold on to a table that is no longer the table; there is nothing to be reclaimed late, and no `unsafe`.
//!
//! A bucket is a short chain under a spin lock of its own. With the keyed hash its length is 1 on average whatever
//! keys others choose. An array of buckets is locked in so many places that CPUs hardly meet; a lookup holds the
//! lock for the length of the chain and the copy of a value, which is a counted reference. An entry's memory is
//! allocated and freed outside of it, so that a lookup (from an interrupt, also) waits for little more than another
//! lookup.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    FlowKey, HashKey,
    sync::{AtomicBool, AtomicUsize, BucketLock, Once, Ordering},
};

/// Buckets in the first segment, and in an empty table. A power of two.
#[cfg(not(loom))]
const FIRST_BUCKETS: usize = 64;
#[cfg(loom)]
const FIRST_BUCKETS: usize = 1;

/// The first, and one for each doubling: 2^30 flows.
const SEGMENTS: usize = 25;

/// What is known of each flow: of type `T`, of which there are cheap copies, such as counted references.
pub struct FlowTable<T> {
    segments: [Once<Box<[Bucket<T>]>>; SEGMENTS],
    /// How many buckets are in use. Grows with both buckets of a split locked, so it does not change for whoever
    /// has locked the bucket that it says.
    buckets: AtomicUsize,
    entries: AtomicUsize,
    /// Somebody splits a bucket, or wants none to be split.
    splitting: AtomicBool,
    key: HashKey,
}

type Bucket<T> = BucketLock<Chain<T>>;
type Chain<T> = Option<Box<Node<T>>>;

struct Node<T> {
    hash: u64,
    key: FlowKey,
    value: T,
    next: Chain<T>,
}

impl<T: Clone> FlowTable<T> {
    /// An empty table with a secret hash key.
    pub fn new(key: HashKey) -> Self {
        let table = Self {
            segments: [const { Once::new() }; SEGMENTS],
            buckets: AtomicUsize::new(FIRST_BUCKETS),
            entries: AtomicUsize::new(0),
            splitting: AtomicBool::new(false),
            key,
        };
        table.segments[0].call_once(|| (0..FIRST_BUCKETS).map(|_| BucketLock::new(None)).collect());
        table
    }

    /// Finds a flow. Callable from interrupts.
    #[inline]
    pub fn get(&self, key: &FlowKey) -> Option<T> {
        let hash = self.key.hash(key.words());
        self.with_chain(hash, |mut chain| {
            while let Some(node) = chain {
                if node.hash == hash && node.key == *key {
                    return Some(node.value.clone());
                }
                chain = &mut node.next;
            }
            None
        })
    }

    /// Adds a flow. If it is there already, that stays, and `value` comes back.
    pub fn insert(&self, key: FlowKey, value: T) -> Result<(), T> {
        let hash = self.key.hash(key.words());
        let node = Box::new(Node { hash, key, value, next: None });
        let refused = self.with_chain(hash, |chain| {
            let place = find(chain, hash, &key);
            if place.is_some() {
                return Some(node);
            }
            *place = Some(node);
            None
        });
        match refused {
            Some(node) => Err(node.value),
            None => {
                self.entries.fetch_add(1, Ordering::Relaxed);
                self.grow();
                Ok(())
            }
        }
    }

    /// Puts another value in place of the one that is there, which comes back; lookups find the one or the other.
    /// If there is none, `value` comes back as an error.
    pub fn replace(&self, key: &FlowKey, value: T) -> Result<T, T> {
        let hash = self.key.hash(key.words());
        self.with_chain(hash, |chain| match find(chain, hash, key) {
            Some(node) => Ok(core::mem::replace(&mut node.value, value)),
            None => Err(value),
        })
    }

    /// Takes a flow out. Whoever has looked it up before may still hold the value; nobody finds it any more.
    pub fn remove(&self, key: &FlowKey) -> Option<T> {
        self.remove_if(key, |_| true)
    }

    /// Takes a flow out if it is still the one that `is_it` knows: not one that came after it.
    pub fn remove_if(&self, key: &FlowKey, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        let hash = self.key.hash(key.words());
        let node = self.with_chain(hash, |chain| {
            let place = find(chain, hash, key);
            if !place.as_ref().is_some_and(|node| is_it(&node.value)) {
                return None;
            }
            let mut node = place.take()?;
            *place = node.next.take();
            Some(node)
        })?;
        self.entries.fetch_sub(1, Ordering::Relaxed);
        Some(node.value)
    }

    /// Number of flows.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All flows, each once; of those that come or go meanwhile, some.
    pub fn snapshot(&self) -> Vec<(FlowKey, T)> {
        // Without splits nothing moves between buckets. Whoever wants to split leaves it to the next insertion.
        while !self.begin_split() {
            core::hint::spin_loop();
        }
        let mut all = Vec::new();
        for index in 0..self.buckets.load(Ordering::Relaxed) {
            loop {
                // Room is made without the lock.
                let chain = self.bucket(index).lock();
                let len = nodes(&chain).count();
                if all.capacity() - all.len() >= len {
                    all.extend(nodes(&chain).map(|node| (node.key, node.value.clone())));
                    break;
                }
                drop(chain);
                all.reserve(len.max(self.len()));
            }
        }
        self.splitting.store(false, Ordering::Release);
        all
    }

    /// Runs `f` with the chain of a hash, locked.
    fn with_chain<R>(&self, hash: u64, f: impl FnOnce(&mut Chain<T>) -> R) -> R {
        // Acquire: the segment of the last bucket is there.
        let mut buckets = self.buckets.load(Ordering::Acquire);
        loop {
            let index = index_of(hash, buckets);
            let mut chain = self.bucket(index).lock();
            // The bucket may have been split before it was locked; from here on it cannot be.
            let now = self.buckets.load(Ordering::Acquire);
            if now == buckets || index_of(hash, now) == index {
                return f(&mut chain);
            }
            buckets = now;
        }
    }

    fn bucket(&self, index: usize) -> &Bucket<T> {
        let (segment, place) = segment_of(index);
        &self.segments[segment].get().expect("a bucket is counted after its segment is made")[place]
    }

    fn begin_split(&self) -> bool {
        self.splitting.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Splits buckets until there are as many as flows. One thread does it for all; the others' chains are a bit
    /// longer meanwhile.
    fn grow(&self) {
        while self.entries.load(Ordering::Relaxed) > self.buckets.load(Ordering::Relaxed)
            && self.begin_split()
        {
            let split = self.split();
            self.splitting.store(false, Ordering::Release);
            if !split {
                return;
            }
        }
    }

    /// Adds a bucket; returns whether there was memory. Only with `splitting` set.
    fn split(&self) -> bool {
        let new = self.buckets.load(Ordering::Relaxed);
        let (segment, place) = segment_of(new);
        if segment == SEGMENTS {
            return false;
        }
        if place == 0 {
            let mut buckets = Vec::new();
            if buckets.try_reserve_exact(new).is_err() {
                return false;
            }
            buckets.extend((0..new).map(|_| BucketLock::new(None)));
            self.segments[segment].call_once(|| buckets.into_boxed_slice());
        }
        // What it takes its entries from: its index without the highest bit. Always the lower one, so the order of
        // locking is the same for all.
        let old = new - (1 << new.ilog2());
        let mut source = self.bucket(old).lock();
        let mut target = self.bucket(new).lock();
        let mut rest = source.take();
        while let Some(mut node) = rest {
            rest = node.next.take();
            let chain = if index_of(node.hash, new + 1) == new { &mut *target } else { &mut *source };
            node.next = chain.take();
            *chain = Some(node);
        }
        // Release: the segment. With both locks held: see `buckets`.
        self.buckets.store(new + 1, Ordering::Release);
        true
    }
}

/// The place of a key in a chain: where it is, or the end.
fn find<'a, T>(mut chain: &'a mut Chain<T>, hash: u64, key: &FlowKey) -> &'a mut Chain<T> {
    while chain.as_ref().is_some_and(|node| node.hash != hash || node.key != *key) {
        chain = &mut chain.as_mut().expect("just seen").next;
    }
    chain
}

fn nodes<T>(chain: &Chain<T>) -> impl Iterator<Item = &Node<T>> {
    core::iter::successors(chain.as_deref(), |node| node.next.as_deref())
}

/// The bucket of a hash if there are so many: by as many low bits of the hash as the highest bucket's index has, or by
/// one fewer if there is no such bucket yet.
#[inline]
fn index_of(hash: u64, buckets: usize) -> usize {
    let mask = (1_usize << (usize::BITS - (buckets - 1).leading_zeros())) - 1;
    let index = hash as usize & mask;
    if index < buckets { index } else { index & (mask >> 1) }
}

/// Segment and place of a bucket: after the first segment, each has as many as all before it.
#[inline]
fn segment_of(index: usize) -> (usize, usize) {
    if index < FIRST_BUCKETS {
        return (0, index);
    }
    let highest = index.ilog2();
    ((highest - FIRST_BUCKETS.ilog2() + 1) as usize, index - (1 << highest))
}
