//! What was counted, for `/proc/crema/net`.

use alloc::boxed::Box;
use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Interest, SlowReason, channel::Actions};

const SLOW_REASONS: usize = SlowReason::ALL.len();

/// Counters, a set for each CPU so that CPUs do not share cache lines. They say what happened, and order nothing.
pub struct Counters {
    cpus: Box<[PerCpu]>,
}

#[derive(Default)]
#[repr(align(128))]
struct PerCpu {
    channel_packets: AtomicU64,
    slow: [AtomicU64; SLOW_REASONS],
    slow_dropped: AtomicU64,
    full: AtomicU64,
    settled: AtomicU64,
    wakes: AtomicU64,
    deferred: AtomicU64,
    checks: AtomicU64,
}

impl Counters {
    /// Counters for a machine with this many CPUs.
    pub fn new(cpus: usize) -> Self {
        Self { cpus: (0..cpus.max(1)).map(|_| PerCpu::default()).collect() }
    }

    /// Counts a packet that takes the slow path.
    pub fn count_slow(&self, reason: SlowReason) {
        add(&self.own().slow[reason as usize]);
    }

    /// Counts a packet that was dropped because the slow path had no room.
    pub fn count_slow_dropped(&self) {
        add(&self.own().slow_dropped);
    }

    pub(crate) fn count_channel_packet(&self) {
        add(&self.own().channel_packets);
    }

    pub(crate) fn count_full(&self) {
        add(&self.own().full);
    }

    pub(crate) fn count_actions(&self, actions: Actions) {
        let own = self.own();
        add(&own.settled);
        if actions.wake != Interest::empty() {
            add(&own.wakes);
        }
        if actions.defer {
            add(&own.deferred);
        }
        if actions.check_later {
            add(&own.checks);
        }
    }

    /// The running CPU's. It may change at once; then two count in one place, which is as good.
    fn own(&self) -> &PerCpu {
        &self.cpus[cpu_index() % self.cpus.len()]
    }

    fn sum(&self, counter: impl Fn(&PerCpu) -> &AtomicU64) -> u64 {
        self.cpus.iter().map(|cpu| counter(cpu).load(Ordering::Relaxed)).sum()
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(not(loom))]
fn cpu_index() -> usize {
    ksync::platform::cpu_index()
}

#[cfg(loom)]
fn cpu_index() -> usize {
    0
}

/// One line for each counter: a name, a blank, the sum over all CPUs.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packets = self.sum(|cpu| &cpu.channel_packets);
        let wakes = self.sum(|cpu| &cpu.wakes);
        writeln!(f, "channel_packets {packets}")?;
        for (reason, name) in SlowReason::ALL {
            writeln!(f, "slow_packets_{name} {}", self.sum(|cpu| &cpu.slow[reason as usize]))?;
        }
        writeln!(f, "slow_dropped {}", self.sum(|cpu| &cpu.slow_dropped))?;
        writeln!(f, "channel_full {}", self.sum(|cpu| &cpu.full))?;
        writeln!(f, "channel_batches {}", self.sum(|cpu| &cpu.settled))?;
        writeln!(f, "wakes {wakes}")?;
        writeln!(f, "deferred {}", self.sum(|cpu| &cpu.deferred))?;
        writeln!(f, "checks {}", self.sum(|cpu| &cpu.checks))?;
        // Two decimals, without floating point.
        let hundredths = packets * 100 / wakes.max(1);
        writeln!(f, "packets_per_wake {}.{:02}", hundredths / 100, hundredths % 100)
    }
}
