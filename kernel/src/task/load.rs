//! Load averages, as `getloadavg(3)` and the JDK's `OperatingSystemMXBean` read them.
//!
//! Linux samples every five seconds. Here nothing ticks: the averages are brought up to date when somebody
//! asks, and when a thread blocks or wakes they are not touched. The number of runnable threads at that
//! moment stands for the time since the last look, which for a reader that polls is the same thing.

use ksync::SpinLock;

use crate::{arch::clock, sched};

struct Averages {
    updated_ns: u64,
    /// Hundredths of a thread, times 2^20.
    values: [u64; 3],
}

static AVERAGES: SpinLock<Averages> = SpinLock::new(Averages { updated_ns: 0, values: [0; 3] });

const PERIOD_NS: u64 = 5_000_000_000;
/// exp(-5 s / 1, 5, 15 min) times 2^11, the constants of Linux (`include/linux/sched/loadavg.h`).
const DECAY: [u64; 3] = [1884, 2014, 2037];
const SHIFT: u32 = 20;

/// Averages over 1, 5 and 15 minutes, in hundredths of a thread.
pub fn load_averages() -> [u64; 3] {
    let now_ns = clock::now_ns();
    // The asking thread itself is runnable, as it is on Linux.
    let runnable = (sched::runnable_count() as u64 * 100) << SHIFT;
    let mut averages = AVERAGES.lock();
    let periods = (now_ns - averages.updated_ns) / PERIOD_NS;
    averages.updated_ns += periods * PERIOD_NS;
    // After a thousand periods nothing of the old value is left.
    for _ in 0..periods.min(1000) {
        for (value, decay) in averages.values.iter_mut().zip(DECAY) {
            *value = (*value * decay + runnable * (2048 - decay)) >> 11;
        }
    }
    averages.values.map(|value| value >> SHIFT)
}
