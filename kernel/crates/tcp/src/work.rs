//! Steps that are counted in tests: what one segment may cost is bounded in steps, as time depends on the machine.
//!
//! A step is a packet, a range or a record that is looked at or moved. Outside of tests nothing is counted.

/// One step.
#[inline(always)]
pub(crate) fn step() {
    steps(1);
}

/// So many steps.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn steps(_count: u64) {}

#[cfg(test)]
pub(crate) use counted::{counted, steps};

#[cfg(test)]
mod counted {
    extern crate std;

    use std::cell::Cell;

    std::thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    /// So many steps more, of this thread.
    pub(crate) fn steps(count: u64) {
        STEPS.with(|steps| steps.set(steps.get() + count));
    }

    /// Steps that `act` takes.
    pub(crate) fn counted(act: impl FnOnce()) -> u64 {
        let before = STEPS.with(Cell::get);
        act();
        STEPS.with(Cell::get) - before
    }
}
