//! Collector assistance: HotSpot's Serial and Parallel collectors learn from the page tables which old objects were written,
//! and compiled code does without card marks.
//!
//! Responsible for: finding out whether the loaded `libjvm.so` is one that is known, down to its build-id; changing its
//! vtables in memory, before any code is generated; and, at each collection, dirtying the cards of the pages that
//! were written since the one before. Not for how writes are found out (`/dev/crema`; crate `mmu-gc`). Nothing on disk is
//! changed, and no code: a vtable is data.
//!
//! # What is changed
//!
//! | vtable | slot | points then to | effect |
//! |---|---|---|---|
//! | `CardTableBarrierSetC1`, `...C2` | `post_barrier` | the base class's, which emits nothing | compiled stores mark no cards |
//! | `CardTableBarrierSetC2` | `array_copy_requires_gc_barriers` | `BarrierSetC2`'s, "no" | nor do short array copies |
//! | `SerialHeap` | `gc_prologue`, `gc_epilogue` | [`hooks`] | before and after each collection of Serial |
//! | `ParallelScavengeHeap` | `trace_heap` | [`hooks`] | the same for Parallel |
//!
//! Interpreter, stubs and the VM's own code keep their card marks, which only mark cards that would be dirty anyway.
//! G1 and others have vtables of their own, and are not touched.
//!
//! # Why no store is lost
//!
//! Cards are dirtied for *at least* what was written: for all old memory before the first collection, and whenever
//! anything about tracking fails. What the assistance cannot know it takes as written. What it must know to do even that (where the
//! old generation and the card table are) is checked before anything is changed; if a single name, type, slot or
//! value is not as expected, nothing is changed.

mod device;
mod geometry;
mod hooks;
mod symbols;
#[cfg(test)]
mod tests;
mod vtable;

use std::path::Path;

use crate::jni::LibJvm;
use crate::report::print_error;
use crate::vm_structs::Missing;
use device::Device;
use geometry::Geometry;
use hooks::Hooks;
use symbols::Symbols;
use vtable::Slots;

/// Says which assistance is wanted: `off` (as if unset), `dirty` or `trap`; and two values for tests, see [`Mode`].
pub const VARIABLE: &str = "CREMA_GC_ASSIST";

/// Builds of `libjvm.so` on which the assistance was tested under HotSpot's own heap verification.
const KNOWN_BUILDS: [(&str, &str); 1] =
    [("bf8543f9a4f589566ee3cc433d3e0321b011858d", "Debian's OpenJDK 17.0.21+9")];

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The VM is left alone.
    Off,
    /// Dirty bits.
    Dirty,
    /// Write protection.
    Trap,
    /// For tests of everything but the tracking, on Linux as well: every page counts as written.
    EveryPage,
    /// For tests of the tests: compiled code marks no cards, and nobody tells the collector. It breaks the heap.
    Unfed,
}

impl Mode {
    /// Reads [`VARIABLE`]'s value.
    pub fn parse(value: Option<&[u8]>) -> Option<Self> {
        Some(match value {
            None | Some(b"off" | b"") => Self::Off,
            Some(b"dirty") => Self::Dirty,
            Some(b"trap") => Self::Trap,
            Some(b"every-page") => Self::EveryPage,
            Some(b"unfed") => Self::Unfed,
            Some(_) => return None,
        })
    }
}

/// Prepares the library for the VM that is about to be made in it. Whatever is not as expected is said in one line, and the
/// library stays as it was.
pub fn prepare(mode: Mode, libjvm: &LibJvm, path: &Path) {
    if mode == Mode::Off {
        return;
    }
    if let Err(Missing(why)) = try_prepare(mode, libjvm, path) {
        print_error(format!("Warning: no collector assistance: {why}").as_bytes());
    }
}

fn try_prepare(mode: Mode, libjvm: &LibJvm, path: &Path) -> Result<(), Missing> {
    let device = match mode {
        Mode::Dirty | Mode::Trap => Some(Device::open(mode).map_err(Missing)?),
        _ => None,
    };
    let base = libjvm.load_address().ok_or_else(|| Missing("libjvm.so is nowhere".to_owned()))?;
    let build_id = symbols::build_id(path, base)?;
    if !KNOWN_BUILDS.iter().any(|(known, _)| *known == build_id) {
        return Err(Missing(format!("the libjvm.so with build-id {build_id} is not known")));
    }
    let symbols = Symbols::read(path, base)?;
    let geometry = Geometry::find(&libjvm.vm_structs()?, &symbols)?;
    let mut slots = Slots::default();
    remove_barriers(&symbols, &mut slots)?;
    if mode != Mode::Unfed {
        Hooks { geometry, device }.install(&symbols, &mut slots)?;
    }
    slots.write()
}

/// Has the compilers emit nothing after a store of a reference.
fn remove_barriers(symbols: &Symbols, slots: &mut Slots) -> Result<(), Missing> {
    const CHANGES: [(&str, &str, &str); 3] = [
        (
            "_ZTV21CardTableBarrierSetC1",
            "_ZN21CardTableBarrierSetC112post_barrierER9LIRAccessP11LIR_OprDescS3_",
            "_ZN18ModRefBarrierSetC112post_barrierER9LIRAccessP11LIR_OprDescS3_",
        ),
        (
            "_ZTV21CardTableBarrierSetC2",
            "_ZNK21CardTableBarrierSetC212post_barrierEP8GraphKitP4NodeS3_S3_S3_jS3_9BasicTypeb",
            "_ZNK18ModRefBarrierSetC212post_barrierEP8GraphKitP4NodeS3_S3_S3_jS3_9BasicTypeb",
        ),
        (
            "_ZTV21CardTableBarrierSetC2",
            "_ZNK21CardTableBarrierSetC231array_copy_requires_gc_barriersEb9BasicTypebbN12BarrierSetC214ArrayCopyPhaseE",
            "_ZNK12BarrierSetC231array_copy_requires_gc_barriersEb9BasicTypebbNS_14ArrayCopyPhaseE",
        ),
    ];
    for (vtable, from, to) in CHANGES {
        slots.redirect(symbols.object(vtable)?, symbols.function(from)?, symbols.function(to)?)?;
    }
    Ok(())
}

/// After the VM has been made: says, in the kernel's log, whether its collector is assisted.
pub fn announce() {
    hooks::announce();
}
