//! Whether pages or barriers: what tracking costs is set against what barriers would.
//!
//! Barriers cost a mutator a little at every store. Pages cost nothing there, but at a collection eight cards are
//! scanned for each page where one might have been enough. So what counts is how many pages a program dirties
//! between two collections, beside how long it ran: many stores into few pages win, sparse random writes lose.

/// What things cost, in nanoseconds or parts of mutator time; measured on Linux with HotSpot 17 on x86-64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Scanning the cards of a dirty page in a collection.
    pub dirty_page_ns: u64,
    /// Looking at 1000 leaves.
    pub thousand_leaves_ns: u64,
    /// How much of the mutator's time barriers are taken to cost, in parts of 1000.
    pub barriers_per_mille: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { dirty_page_ns: 1000, thousand_leaves_ns: 400, barriers_per_mille: 10 }
    }
}

/// One collection, and the mutators' time before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cycle {
    /// Pages found written.
    pub dirty_pages: u64,
    /// Pages tracked.
    pub tracked_pages: u64,
    /// Time since the last collection ended.
    pub mutator_ns: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// As before.
    Stay,
    /// Barriers would be cheaper: go back to them.
    Leave,
}

/// Cycles that count.
const WINDOW: usize = 4;
/// How many of them must be too dear.
const TOO_DEAR: u32 = 3;

/// Decides after each collection; only ever once to leave, because leaving deoptimises all compiled code.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    costs: Costs,
    /// The last cycles, the youngest in bit 0: set if it was too dear.
    history: u8,
    cycles: u64,
}

impl Policy {
    /// With other costs than the measured ones.
    pub fn with_costs(costs: Costs) -> Self {
        Self { costs, ..Self::default() }
    }

    /// Takes a cycle into account.
    pub fn decide(&mut self, cycle: Cycle) -> Decision {
        let pages_ns = cycle
            .dirty_pages
            .saturating_mul(self.costs.dirty_page_ns)
            .saturating_add(cycle.tracked_pages.saturating_mul(self.costs.thousand_leaves_ns) / 1000);
        let barriers_ns = cycle.mutator_ns / 1000 * self.costs.barriers_per_mille;
        self.history = (self.history << 1 | u8::from(pages_ns > barriers_ns)) & ((1 << WINDOW) - 1);
        self.cycles += 1;
        // While a program starts, collections are many and say little.
        if self.cycles >= WINDOW as u64 && self.history.count_ones() >= TOO_DEAR {
            Decision::Leave
        } else {
            Decision::Stay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const DENSE: Cycle = Cycle { dirty_pages: 100, tracked_pages: 262_144, mutator_ns: SECOND_NS };
    const SPARSE: Cycle = Cycle { dirty_pages: 100_000, tracked_pages: 262_144, mutator_ns: SECOND_NS };

    #[test]
    fn a_program_that_writes_few_pages_stays() {
        let mut policy = Policy::default();
        assert!((0..100).all(|_| policy.decide(DENSE) == Decision::Stay));
    }

    #[test]
    fn a_program_that_writes_everywhere_leaves_after_a_full_window() {
        let mut policy = Policy::default();
        let decisions: Vec<_> = (0..4).map(|_| policy.decide(SPARSE)).collect();
        assert_eq!(decisions, [Decision::Stay, Decision::Stay, Decision::Stay, Decision::Leave]);
    }

    #[test]
    fn one_dear_cycle_in_two_is_not_enough() {
        let mut policy = Policy::default();
        for n in 0..100 {
            assert_eq!(policy.decide(if n % 2 == 0 { DENSE } else { SPARSE }), Decision::Stay);
        }
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        let mut policy = Policy::default();
        policy.decide(Cycle { dirty_pages: u64::MAX, tracked_pages: u64::MAX, mutator_ns: u64::MAX });
    }
}
