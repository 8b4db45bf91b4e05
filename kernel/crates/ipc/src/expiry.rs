//! The arithmetic of periodic expiries, which `timerfd` and the signal timers share.
//!
//! A periodic timer is kept as its first expiry that nobody has taken notice of, and its period. How often
//! it has expired is a division when somebody asks; nothing happens at each tick.

use linux_abi::time::MAX_NS;

/// When a timer expires next, and how often after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The first expiry that has not been counted, on the timer's clock.
    pub next_ns: u64,
    /// The period; 0 for a timer that expires once.
    pub interval_ns: u64,
}

impl Expiry {
    /// How often it has expired by `now_ns` since it was last counted.
    pub fn count(&self, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.next_ns) {
            None => 0,
            Some(passed_ns) => 1 + passed_ns.checked_div(self.interval_ns).unwrap_or(0),
        }
    }

    /// Counts the expiries up to `now_ns` and moves on past them; `None` in place of what is left if that was
    /// the only one.
    pub fn take(self, now_ns: u64) -> (u64, Option<Self>) {
        let count = self.count(now_ns);
        if count == 0 {
            return (0, Some(self));
        }
        if self.interval_ns == 0 {
            return (count, None);
        }
        let passed_ns = self.interval_ns.saturating_mul(count);
        let next_ns = self.next_ns.saturating_add(passed_ns);
        let next_ns = if next_ns > MAX_NS { MAX_NS } else { next_ns };
        (count, Some(Self { next_ns, interval_ns: self.interval_ns }))
    }

    /// Nanoseconds from `now_ns` to the next expiry to come, as `timer_gettime(2)` reports it: 0 only for a
    /// timer that will expire no more, never for one whose expiry is being handled.
    pub fn remaining_ns(&self, now_ns: u64) -> u64 {
        match self.take(now_ns).1 {
            None => 0,
            Some(next) => next.next_ns - now_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Counting by division is counting one by one.
        #[test]
        fn division_counts_as_a_loop_does(
            start in 0..1000_u64,
            interval_ns in 0..50_u64,
            steps in proptest::collection::vec(0..200_u64, 1..30),
        ) {
            let mut expiry = Some(Expiry { next_ns: start, interval_ns });
            let mut naive_next = Some(start);
            let mut now_ns = 0;
            for step in steps {
                now_ns += step;
                let mut naive_count = 0;
                while let Some(next) = naive_next.filter(|next| *next <= now_ns) {
                    naive_count += 1;
                    naive_next = (interval_ns > 0).then_some(next + interval_ns);
                }
                let (count, left) = expiry.map_or((0, None), |expiry| expiry.take(now_ns));
                if let Some(expiry) = expiry {
                    prop_assert_eq!(expiry.remaining_ns(now_ns), naive_next.map_or(0, |next| next - now_ns));
                }
                expiry = left;
                prop_assert_eq!(count, naive_count);
                prop_assert_eq!(expiry.map(|expiry| expiry.next_ns), naive_next);
            }
        }

        #[test]
        fn the_end_of_time_is_not_passed(next_ns in 0..=MAX_NS, interval_ns in 1..=MAX_NS, now_ns in 0..=MAX_NS) {
            let (count, left) = Expiry { next_ns, interval_ns }.take(now_ns);
            prop_assert_eq!(count > 0, now_ns >= next_ns);
            prop_assert!(left.unwrap().next_ns <= MAX_NS);
            prop_assert!(left.unwrap().next_ns > now_ns || left.unwrap().next_ns == MAX_NS);
        }
    }
}
