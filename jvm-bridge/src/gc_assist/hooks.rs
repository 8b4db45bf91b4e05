//! What happens before and after each collection.
//!
//! The hooks are called by the VM's own thread, at a safepoint, in place of virtual functions of the heap, which they call
//! in turn. [`STATE`] is locked for as long as a hook works; nobody else takes it but [`announce`].
//!
//! Before: pages that were written since the last collection become dirty cards, before HotSpot verifies or scans anything.
//! After: the old generation as it is then is armed. What HotSpot itself writes to old objects in between
//! it notes in its cards itself.

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmu_gc::{PAGE_BYTES, card_runs};

use super::device::Device;
use super::geometry::{Collector, Geometry};
use super::symbols::Symbols;
use super::vtable::Slots;
use crate::vm_structs::Missing;

/// `GenCollectedHeap::gc_prologue(bool)` and `gc_epilogue(bool)`: `this` and the flag, which is passed on as it came.
type GenFunction = unsafe extern "C" fn(usize, u32);
/// `ParallelScavengeHeap::trace_heap(GCWhen::Type, const GCTracer*)`.
type TraceFunction = unsafe extern "C" fn(usize, u32, usize);

/// `GCWhen::BeforeGC` and `AfterGC` (`gcWhen.hpp`).
const BEFORE_GC: u32 = 0;
const AFTER_GC: u32 = 1;

static SERIAL_PROLOGUE: AtomicUsize = AtomicUsize::new(0);
static SERIAL_EPILOGUE: AtomicUsize = AtomicUsize::new(0);
static PARALLEL_TRACE: AtomicUsize = AtomicUsize::new(0);
static STATE: Mutex<Option<State>> = Mutex::new(None);

/// What the hooks work with.
pub struct Hooks {
    pub geometry: Geometry,
    /// None: every page counts as written.
    pub device: Option<Device>,
}

struct State {
    hooks: Hooks,
    /// What the device tracks; nothing before the first collection, or after an error.
    tracked: Option<Range<usize>>,
    bitmap: Vec<u64>,
    collections: u64,
    dirty_pages: u64,
    failures: u64,
}

impl Hooks {
    /// Adds the hooks to the changes of vtables.
    pub fn install(self, symbols: &Symbols, slots: &mut Slots) -> Result<(), Missing> {
        let prologue = symbols.function("_ZN16GenCollectedHeap11gc_prologueEb")?;
        let epilogue = symbols.function("_ZN16GenCollectedHeap11gc_epilogueEb")?;
        let trace = symbols.function("_ZN20ParallelScavengeHeap10trace_heapEN6GCWhen4TypeEPK8GCTracer")?;
        let serial = symbols.object("_ZTV10SerialHeap")?;
        slots.redirect(serial, prologue, serial_prologue as GenFunction as usize)?;
        slots.redirect(serial, epilogue, serial_epilogue as GenFunction as usize)?;
        let parallel = symbols.object("_ZTV20ParallelScavengeHeap")?;
        slots.redirect(parallel, trace, parallel_trace as TraceFunction as usize)?;
        SERIAL_PROLOGUE.store(prologue, Ordering::Relaxed);
        SERIAL_EPILOGUE.store(epilogue, Ordering::Relaxed);
        PARALLEL_TRACE.store(trace, Ordering::Relaxed);
        let state = State {
            hooks: self,
            tracked: None,
            bitmap: Vec::new(),
            collections: 0,
            dirty_pages: 0,
            failures: 0,
        };
        *lock() = Some(state);
        Ok(())
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<State>> {
    // A panic aborts, so nobody can have left it poisoned.
    STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

unsafe extern "C" fn serial_prologue(heap: usize, is_full: u32) {
    before(Collector::Serial);
    // SAFETY: the slot's own function, of this type, with the arguments that the VM gave.
    unsafe { original::<GenFunction>(&SERIAL_PROLOGUE)(heap, is_full) }
}

unsafe extern "C" fn serial_epilogue(heap: usize, is_full: u32) {
    // SAFETY: as above.
    unsafe { original::<GenFunction>(&SERIAL_EPILOGUE)(heap, is_full) };
    after(Collector::Serial);
}

unsafe extern "C" fn parallel_trace(heap: usize, when: u32, tracer: usize) {
    if when == BEFORE_GC {
        before(Collector::Parallel);
    }
    // SAFETY: as above.
    unsafe { original::<TraceFunction>(&PARALLEL_TRACE)(heap, when, tracer) };
    if when == AFTER_GC {
        after(Collector::Parallel);
    }
}

/// # Safety
/// `F` is the type of the function whose address is in `slot`.
unsafe fn original<F: Copy>(slot: &AtomicUsize) -> F {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    let address = slot.load(Ordering::Relaxed);
    // SAFETY: the caller's promise; the address was stored before the hook could be called.
    unsafe { std::mem::transmute_copy(&address) }
}

fn before(collector: Collector) {
    if let Some(state) = &mut *lock() {
        state.feed(collector);
    }
}

fn after(collector: Collector) {
    if let Some(state) = &mut *lock() {
        state.rearm(collector);
    }
}

impl State {
    fn feed(&mut self, collector: Collector) {
        // SAFETY: this is called from a hook of the collector only, which is at a safepoint.
        let live = unsafe { self.hooks.geometry.old_live(collector) };
        // Nothing tracked is a range without pages at the bottom, so that everything above it counts as written.
        let mut tracked = live.start..live.start;
        self.bitmap.fill(0);
        if let (Some(device), Some(armed)) = (&self.hooks.device, self.tracked.take()) {
            match device.collect(armed.clone(), &mut self.bitmap) {
                Ok(found) => {
                    self.dirty_pages += found.dirty_pages;
                    tracked = armed;
                }
                Err(_) => self.failures += 1,
            }
        }
        card_runs(&self.bitmap, tracked, live, |range| {
            // SAFETY: as above; `card_runs` gives parts of `live`, none of them empty.
            unsafe { self.hooks.geometry.dirty_cards(range) };
        });
    }

    fn rearm(&mut self, collector: Collector) {
        // SAFETY: as above.
        let live = unsafe { self.hooks.geometry.old_live(collector) };
        let range = live.start..live.end.next_multiple_of(PAGE_BYTES);
        self.tracked = None;
        if let Some(device) = &self.hooks.device
            && !range.is_empty()
            && range.start.is_multiple_of(PAGE_BYTES)
        {
            self.bitmap.resize((range.len() / PAGE_BYTES).div_ceil(64), 0);
            match device.arm(range.clone()) {
                Ok(()) => self.tracked = Some(range),
                Err(_) => self.failures += 1,
            }
        }
        self.collections += 1;
        if self.collections.is_power_of_two() {
            self.log_counters();
        }
    }

    /// After 1, 2, 4, 8... collections.
    fn log_counters(&self) {
        let Some(counters) = self.hooks.device.as_ref().and_then(|device| device.counters().ok()) else {
            return;
        };
        let tracked_pages = self.tracked.as_ref().map_or(0, ExactSizeIterator::len) / PAGE_BYTES;
        log(&format!(
            "gc-assist: {} collections, {} pages found written, {} tracked now; scans {} us, arming {} us, of which \
             {} shoot-downs {} us; {} traps, {} splits, {} failures",
            self.collections,
            self.dirty_pages,
            tracked_pages,
            counters.collect_ns / 1000,
            counters.arm_ns / 1000,
            counters.shoot_downs,
            counters.shoot_down_ns / 1000,
            counters.traps,
            counters.splits,
            self.failures,
        ));
    }
}

/// See [`super::announce`].
pub fn announce() {
    let state = lock();
    let Some(state) = &*state else { return };
    let how = if state.hooks.device.is_some() { "the page tables" } else { "all old memory" };
    match state.hooks.geometry.collector() {
        Some(collector) => log(&format!("gc-assist: {collector:?} learns from {how} what was written")),
        None => {
            log("gc-assist: only the Serial and Parallel collectors can be assisted; this one is left alone")
        }
    }
}

/// Writes a line to the kernel's log, which in Crema is not the program's output. On Linux nothing is said.
fn log(line: &str) {
    if std::path::Path::new(crema_device::PATH).exists()
        && let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg")
    {
        let _ = log.write_all(line.as_bytes());
    }
}
