//! Nice values and what they weigh.

/// A nice value: -20 (most favoured) to 19.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Nice(i8);

impl Nice {
    /// The value of a new process.
    pub const DEFAULT: Self = Self(0);

    /// The nearest valid value, as `setpriority(2)` takes it.
    pub const fn clamped(value: i32) -> Self {
        Self(if value < -20 {
            -20
        } else if value > 19 {
            19
        } else {
            value as i8
        })
    }

    /// The value.
    pub const fn value(self) -> i32 {
        self.0 as i32
    }

    /// What a thread of this nice value weighs.
    pub const fn weight(self) -> Weight {
        Weight(WEIGHTS[(self.0 + 20) as usize])
    }
}

/// A thread's share of a CPU, relative to the others': 1024 at nice 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Weight(u32);

/// Each step of nice is a factor of 1.25: of two threads that are one apart, one gets 10% of the CPU more and
/// the other 10% less (`sched(7)`, "The nice value").
const WEIGHTS: [u32; 40] = {
    let mut weights = [0; 40];
    let mut index = 0;
    while index < 40 {
        let steps = 20u32.abs_diff(index as u32);
        let (up, down) = (5u64.pow(steps), 4u64.pow(steps));
        let (numerator, denominator) = if index < 20 { (up, down) } else { (down, up) };
        weights[index] = ((1024 * numerator + denominator / 2) / denominator) as u32;
        index += 1;
    }
    weights
};

impl Weight {
    /// The weight at nice 0.
    pub const NORMAL: Self = Self(1024);

    /// The weight as a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The virtual time that a real time takes: more for a lighter thread.
    pub(crate) const fn virtual_ns(self, real_ns: u64) -> u64 {
        scale(real_ns, Self::NORMAL.0 as u64, self.0 as u64)
    }
}

/// `value * numerator / denominator`, saturating.
pub(crate) const fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    // A u64 product is enough for all but absurd times, and its division is many times cheaper.
    match value.checked_mul(numerator) {
        Some(product) => product / denominator,
        None => {
            let quotient = value as u128 * numerator as u128 / denominator as u128;
            if quotient > u64::MAX as u128 { u64::MAX } else { quotient as u64 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_nice_is_a_quarter() {
        assert_eq!(Nice::DEFAULT.weight(), Weight::NORMAL);
        assert_eq!(Nice::clamped(100).weight().get(), 15);
        assert_eq!(Nice::clamped(-100), Nice::clamped(-20));
        for value in -20..19 {
            let (heavy, light) =
                (Nice::clamped(value).weight().get(), Nice::clamped(value + 1).weight().get());
            let ratio = f64::from(heavy) / f64::from(light);
            assert!((1.2..1.3).contains(&ratio), "nice {value}: {ratio}");
        }
    }

    #[test]
    fn virtual_time_runs_faster_for_the_light() {
        assert_eq!(Weight::NORMAL.virtual_ns(1000), 1000);
        assert_eq!(Nice::clamped(-20).weight().virtual_ns(88_818), 1024);
        assert_eq!(Weight::NORMAL.virtual_ns(u64::MAX), u64::MAX);
        assert_eq!(Nice::clamped(19).weight().virtual_ns(u64::MAX), u64::MAX);
    }
}
