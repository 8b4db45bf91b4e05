//! Every interleaving of what faults, unmappings and the processor do to one leaf. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p page-table --release loom`.

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{Entry, EntryCell, EntryFlags, primitive::PhysAddr};

/// A leaf, and the pages that it may come to name, each with contents and with a count of who owns it.
struct Memory {
    leaf: EntryCell,
    contents: [UnsafeCell<u32>; 2],
    owners: [AtomicUsize; 2],
}

// SAFETY: loom checks that contents are not touched by two threads at a time.
unsafe impl Sync for Memory {}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            leaf: EntryCell::empty(),
            contents: [(); 2].map(|()| UnsafeCell::new(0)),
            owners: [(); 2].map(|()| AtomicUsize::new(0)),
        })
    }

    /// The leaf that names a page.
    fn leaf_of(page: usize) -> Entry {
        Entry::new(PhysAddr::new((page as u64 + 1) << 12), EntryFlags::PRESENT | EntryFlags::WRITABLE)
    }

    fn page_of(leaf: Entry) -> usize {
        (leaf.address().as_u64() >> 12) as usize - 1
    }

    /// A fault: a filled page is put in, unless somebody was quicker. Returns what the page that is there now holds.
    fn fault(&self, page: usize) -> Option<u32> {
        self.owners[page].fetch_add(1, Ordering::Relaxed);
        // SAFETY: the page is this thread's until it is put in.
        self.contents[page].with_mut(|contents| unsafe { *contents = 7 });
        let found = match self.leaf.replace(Entry::EMPTY, Self::leaf_of(page)) {
            Ok(()) => return None,
            Err(found) => found,
        };
        self.owners[page].fetch_sub(1, Ordering::Relaxed);
        // SAFETY: pages in the leaf are only read.
        (!found.is_empty()).then(|| self.contents[Self::page_of(found)].with(|contents| unsafe { *contents }))
    }
}

#[test]
fn loom_of_two_faults_one_puts_its_page_in_and_the_other_sees_that_one_filled() {
    loom::model(|| {
        let memory = Memory::new();
        let other = thread::spawn({
            let memory = memory.clone();
            move || memory.fault(1)
        });
        let seen = [memory.fault(0), other.join().unwrap()];
        assert_eq!(seen.iter().flatten().collect::<Vec<_>>(), [&7]);
        let owners = memory.owners.each_ref().map(|owners| owners.load(Ordering::Relaxed));
        let installed = Memory::page_of(memory.leaf.load());
        assert_eq!(owners.iter().sum::<usize>(), 1);
        assert_eq!(owners[installed], 1);
    });
}

#[test]
fn loom_a_page_that_a_fault_puts_in_is_taken_out_once() {
    loom::model(|| {
        let memory = Memory::new();
        let faulting = thread::spawn({
            let memory = memory.clone();
            move || memory.fault(0)
        });
        let unmapping = || {
            let memory = memory.clone();
            thread::spawn(move || {
                let taken = memory.leaf.take();
                if taken.is_empty() {
                    return 0;
                }
                // SAFETY: who takes a page out owns it.
                memory.contents[0].with_mut(|contents| unsafe {
                    assert_eq!(*contents, 7);
                    *contents = 0;
                });
                memory.owners[0].fetch_sub(1, Ordering::Relaxed)
            })
        };
        let unmappers = [unmapping(), unmapping()];
        faulting.join().unwrap();
        let taken: usize = unmappers.into_iter().map(|unmapper| unmapper.join().unwrap()).sum();
        let left = usize::from(!memory.leaf.load().is_empty());
        assert_eq!(taken + left, 1);
        assert_eq!(memory.owners[0].load(Ordering::Relaxed), left);
    });
}

#[test]
fn loom_no_bit_that_the_processor_sets_is_lost() {
    loom::model(|| {
        let memory = Memory::new();
        memory.leaf.replace(Entry::EMPTY, Memory::leaf_of(0)).unwrap();
        let processor = thread::spawn({
            let memory = memory.clone();
            // What a write through the leaf does, which is a locked operation (SDM vol. 3, 4.8).
            move || {
                let written = memory
                    .leaf
                    .update(|leaf| leaf.has(EntryFlags::WRITABLE).then(|| leaf.with(EntryFlags::DIRTY)));
                written.is_some()
            }
        });
        let protecting = thread::spawn({
            let memory = memory.clone();
            move || memory.leaf.clear(EntryFlags::WRITABLE)
        });
        memory.leaf.update(|leaf| Some(leaf.with(EntryFlags::ACCESSED)));
        let written = processor.join().unwrap();
        protecting.join().unwrap();
        let leaf = memory.leaf.take();
        assert!(leaf.has(EntryFlags::ACCESSED) && !leaf.has(EntryFlags::WRITABLE));
        assert_eq!(leaf.has(EntryFlags::DIRTY), written);
    });
}
