//! Chooses the heap's bounds from the machine's memory when nobody else has.
//!
//! In a guest that exists for one JVM, HotSpot's own default (a quarter of memory at most) wastes
//! most of the machine. So the maximum heap is
//!
//! ```text
//! max_heap = memory - 48 MiB - memory/8, but at least memory/3, rounded down to 2 MiB
//! ```
//!
//! The constant is what any JVM needs beside its heap: the pages of libjvm and libc in use, the CDS
//! archive, the interpreter, first metaspace and code cache, and the kernel's own. The eighth grows
//! with what grows with the machine: the collector's tables (G1's two mark bitmaps, cards and
//! remembered sets take 5 to 8% of the heap), compiled code, classes, thread stacks, page tables,
//! page cache. Direct buffers are *not* in it: a program that lives in them sets its own -Xmx.
//! 512 MiB of memory give a heap of 400 MiB; 4 GiB give 3536 MiB.
//!
//! ```text
//! initial_heap = memory/64, within 8 MiB and 64 MiB
//! ```
//!
//! is HotSpot's default (`InitialRAMPercentage`) with bounds, so that little memory is touched before
//! it is needed; it never exceeds the maximum.
//!
//! Only these two are chosen. The collector, compressed oops, CDS, tiers and all else stay HotSpot's
//! choice, so that a program behaves here as it does elsewhere. Pure: no file, no environment.
//! Who has already decided is found by [`crate::heap_options`].

const MIB: u64 = 1 << 20;
const ALIGNMENT: u64 = 2 * MIB;

/// What a JVM and the kernel need beside the heap, however small the machine.
const FIXED_RESERVE: u64 = 48 * MIB;
/// The part of memory, as a divisor, that grows with the machine.
const GROWING_RESERVE: u64 = 8;
/// On a tiny machine the heap still gets this part, as a divisor; HotSpot gives it a half.
const SMALLEST_SHARE: u64 = 3;

const INITIAL_SHARE: u64 = 64;
const SMALLEST_INITIAL: u64 = 8 * MIB;
const LARGEST_INITIAL: u64 = 64 * MIB;

/// What the user's options decide already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub max: bool,
    pub initial: bool,
    /// The initial heap in bytes if an option names it so; the maximum must not fall below it.
    pub initial_bytes: Option<u64>,
}

/// The bounds to add; `None` leaves that one to the user's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub max_bytes: Option<u64>,
    pub initial_bytes: Option<u64>,
}

impl Bounds {
    /// The options for the VM, in KiB as HotSpot reads them.
    pub fn vm_options(&self) -> impl Iterator<Item = String> {
        let option = |name, bytes: Option<u64>| bytes.map(|bytes| format!("{name}{}k", bytes >> 10));
        option("-Xms", self.initial_bytes).into_iter().chain(option("-Xmx", self.max_bytes))
    }
}

/// Chooses the bounds for a machine with `memory_bytes` of memory.
///
/// With the maximum decided by the user, nothing is added: an initial heap of ours could exceed it.
pub fn choose(memory_bytes: u64, decided: Decided) -> Bounds {
    if decided.max {
        return Bounds { max_bytes: None, initial_bytes: None };
    }
    let reserve = FIXED_RESERVE + memory_bytes / GROWING_RESERVE;
    let share = memory_bytes.saturating_sub(reserve).max(memory_bytes / SMALLEST_SHARE);
    let max = (share / ALIGNMENT * ALIGNMENT).max(SMALLEST_INITIAL).max(decided.initial_bytes.unwrap_or(0));
    let initial = (memory_bytes / INITIAL_SHARE).clamp(SMALLEST_INITIAL, LARGEST_INITIAL) / MIB * MIB;
    Bounds { max_bytes: Some(max), initial_bytes: (!decided.initial).then_some(initial) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(memory_mib: u64) -> (u64, u64) {
        let bounds = choose(memory_mib * MIB, Decided::default());
        (bounds.initial_bytes.unwrap() / MIB, bounds.max_bytes.unwrap() / MIB)
    }

    #[test]
    fn the_documented_figures_hold() {
        assert_eq!(bounds(64), (8, 20));
        assert_eq!(bounds(128), (8, 64));
        assert_eq!(bounds(256), (8, 176));
        assert_eq!(bounds(512), (8, 400));
        assert_eq!(bounds(4096), (64, 3536));
        assert_eq!(bounds(65536), (64, 57296));
    }

    #[test]
    fn what_the_user_decided_stays_undecided_here() {
        let max = Decided { max: true, ..Decided::default() };
        assert_eq!(choose(512 * MIB, max), Bounds { max_bytes: None, initial_bytes: None });
        let initial = Decided { initial: true, initial_bytes: Some(450 * MIB), ..Decided::default() };
        assert_eq!(choose(512 * MIB, initial), Bounds { max_bytes: Some(450 * MIB), initial_bytes: None });
    }

    #[test]
    fn options_are_in_kibibytes() {
        let options: Vec<_> = choose(512 * MIB, Decided::default()).vm_options().collect();
        assert_eq!(options, ["-Xms8192k", "-Xmx409600k"]);
    }

    proptest! {
        #[test]
        fn more_memory_never_means_less_heap(memory in 24 * MIB..1 << 46, more in 0u64..1 << 40) {
            let one = choose(memory, Decided::default());
            let two = choose(memory + more, Decided::default());
            prop_assert!(one.max_bytes <= two.max_bytes);
            prop_assert!(one.initial_bytes <= one.max_bytes);
            prop_assert!(one.max_bytes.unwrap() < memory);
        }
    }
}
