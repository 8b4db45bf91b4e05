//! Every interleaving of writers on two CPUs with arming, collecting, splitting and unmapping, over a page-table leaf and
//! TLBs of loom's atomics. Run with `RUSTFLAGS="--cfg loom" cargo test -p mmu-gc --release loom`.
//!
//! No thread here ever waits for another one in a loop: a shoot-down takes the victim's lock, which stands for
//! "between two instructions", as that is where an interrupt comes in.

use std::ops::Range;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

use crate::{Armed, Engine, Leaf, LeafTable, PAGE_BYTES, Run, WriteTracker};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const DIRTY: u64 = 4;

struct LoomLeaf(AtomicU64);

impl Leaf for LoomLeaf {
    fn is_dirty(&self) -> bool {
        self.0.load(Ordering::Acquire) & DIRTY != 0
    }

    fn arm(&self, engine: Engine) -> Armed {
        let bits = match engine {
            Engine::Dirty => DIRTY,
            Engine::Trap => DIRTY | WRITABLE,
        };
        if self.0.fetch_and(!bits, Ordering::AcqRel) & bits == 0 { Armed::Unchanged } else { Armed::Stale }
    }
}

/// Whether a CPU's TLB lets writes to the page through.
type TlbEntry = Mutex<bool>;

/// One page, the TLBs of the CPUs that write it, and whether any has written since it was last asked.
struct Machine {
    leaf: [LoomLeaf; 1],
    tlbs: [TlbEntry; 2],
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            leaf: [LoomLeaf(AtomicU64::new(PRESENT | WRITABLE | DIRTY))],
            tlbs: [Mutex::new(false), Mutex::new(true)],
        })
    }

    /// One instruction that writes: through the TLB, or by a walk that sets D, or by way of a fault that sets both bits.
    /// Returns whether there was a page to be written.
    fn write(&self, cpu: usize, written: &AtomicBool) -> bool {
        let mut tlb = self.tlbs[cpu].lock().unwrap();
        if !*tlb {
            let mut leaf = self.leaf[0].0.load(Ordering::Acquire);
            loop {
                if leaf & PRESENT == 0 {
                    return false;
                }
                let new = leaf | WRITABLE | DIRTY;
                match self.leaf[0].0.compare_exchange(leaf, new, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break,
                    Err(found) => leaf = found,
                }
            }
            *tlb = true;
        }
        written.store(true, Ordering::Release);
        true
    }
}

impl LeafTable for Machine {
    type Leaf = LoomLeaf;

    fn for_each_run(&self, range: Range<usize>, mut each: impl FnMut(Run<'_, LoomLeaf>)) {
        each(Run::Small { start: range.start, leaves: &self.leaf });
    }

    fn flush(&self, _range: Range<usize>) {
        for tlb in &self.tlbs {
            *tlb.lock().unwrap() = false;
        }
    }

    fn split(&self, _start: usize) -> bool {
        false
    }

    fn now_ns(&self) -> u64 {
        0
    }
}

fn is_collected(tracker: &WriteTracker, machine: &Machine) -> bool {
    let mut bitmap = [0];
    tracker.collect(machine, 0..PAGE_BYTES, &mut bitmap).unwrap();
    bitmap[0] != 0
}

/// A write that begins after arming has returned is told, whatever TLBs held before.
fn writes_after_arming(engine: Engine) {
    let mut model = loom::model::Builder::new();
    // Three threads of several steps each; errors of this kind need one or two switches at the wrong moment.
    model.preemption_bound = Some(3);
    model.check(move || {
        let machine = Machine::new();
        let written = Arc::new(AtomicBool::new(false));
        let is_armed = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|cpu| {
                let (machine, written, is_armed) = (machine.clone(), written.clone(), is_armed.clone());
                thread::spawn(move || {
                    // One write at any time, and one that counts if it comes after arming.
                    machine.write(cpu, &AtomicBool::new(false));
                    if is_armed.load(Ordering::Acquire) {
                        machine.write(cpu, &written);
                    }
                })
            })
            .collect();
        let mut tracker = WriteTracker::new();
        tracker.arm(&*machine, 0..PAGE_BYTES, engine).unwrap();
        is_armed.store(true, Ordering::Release);
        // What was written before this look must be told after it.
        let was_written = written.load(Ordering::Acquire);
        assert!(is_collected(&tracker, &machine) || !was_written);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(is_collected(&tracker, &machine) || !written.load(Ordering::Acquire));
    });
}

#[test]
fn loom_no_write_after_arming_is_lost_with_dirty_bits() {
    writes_after_arming(Engine::Dirty);
}

#[test]
fn loom_no_write_after_arming_is_lost_with_traps() {
    writes_after_arming(Engine::Trap);
}

/// A split takes the leaf out, flushes, and puts another in with the bits of the first; a write either comes before and is
/// inherited, or waits for the new leaf (here: finds none, and is not made).
#[test]
fn loom_a_split_inherits_what_was_written() {
    loom::model(|| {
        let machine = Machine::new();
        let written = Arc::new(AtomicBool::new(false));
        let mut tracker = WriteTracker::new();
        tracker.arm(&*machine, 0..PAGE_BYTES, Engine::Dirty).unwrap();
        let writer = thread::spawn({
            let (machine, written) = (machine.clone(), written.clone());
            move || machine.write(0, &written)
        });
        let leaf = &machine.leaf[0].0;
        leaf.fetch_and(!PRESENT, Ordering::AcqRel);
        machine.flush(0..PAGE_BYTES);
        let last = leaf.load(Ordering::Acquire);
        leaf.store(last | PRESENT, Ordering::Release);
        writer.join().unwrap();
        assert!(is_collected(&tracker, &machine) || !written.load(Ordering::Acquire));
    });
}

/// Unmapping ends with what was written; a page that comes in its place is dirty from the first.
#[test]
fn loom_a_page_in_place_of_an_unmapped_one_is_told() {
    loom::model(|| {
        let machine = Machine::new();
        let mut tracker = WriteTracker::new();
        tracker.arm(&*machine, 0..PAGE_BYTES, Engine::Dirty).unwrap();
        let writer = thread::spawn({
            let machine = machine.clone();
            move || machine.write(0, &AtomicBool::new(false))
        });
        machine.leaf[0].0.swap(0, Ordering::AcqRel);
        machine.flush(0..PAGE_BYTES);
        // The first touch of the new page, on this CPU.
        machine.leaf[0].0.store(PRESENT | WRITABLE | DIRTY, Ordering::Release);
        writer.join().unwrap();
        assert!(is_collected(&tracker, &machine));
    });
}
