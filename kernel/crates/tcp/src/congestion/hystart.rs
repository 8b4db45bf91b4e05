//! HyStart++ (RFC 9406): leaves slow start when round trips grow longer, before the queue at the narrowest link
//! overflows.
//!
//! Only in the first slow start of a connection, as the RFC has it: after a loss the threshold says where to stop. Not
//! for paths whose round trips are short: growth below [`LEAST_RISE_NS`] is taken for noise.

/// Samples that a round must have to be compared (N_RTT_SAMPLE).
const SAMPLES: u32 = 8;
/// By how much a round must be slower than the one before: an eighth, within these bounds (MIN_RTT_THRESH,
/// MAX_RTT_THRESH).
const LEAST_RISE_NS: u64 = 4_000_000;
const LARGEST_RISE_NS: u64 = 16_000_000;
/// Rounds of conservative slow start before the threshold is set (CSS_ROUNDS).
const CONSERVATIVE_ROUNDS: u8 = 5;
/// How much slower growth is there (CSS_GROWTH_DIVISOR).
const CONSERVATIVE_DIVISOR: u64 = 4;

/// What slow start does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// It grows by what is acknowledged, divided by this.
    Grow { divisor: u64 },
    /// It is over.
    Leave,
}

/// Rounds of slow start and how long their round trips were.
#[derive(Debug, Default)]
pub(super) struct HyStart {
    /// The round is over when this position is acknowledged.
    round_end: u64,
    last_ns: Option<u64>,
    current_ns: Option<u64>,
    samples: u32,
    conservative: Option<Conservative>,
}

/// Conservative slow start: the rise may have been noise.
#[derive(Debug)]
struct Conservative {
    /// The least round-trip time that brought it here.
    baseline_ns: u64,
    rounds: u8,
}

impl HyStart {
    /// A round-trip time was measured.
    pub(super) fn sample(&mut self, rtt_ns: u64) {
        self.current_ns = Some(self.current_ns.map_or(rtt_ns, |least| least.min(rtt_ns)));
        self.samples = self.samples.saturating_add(1);
    }

    /// The stream is acknowledged up to `acknowledged`, and sent up to `next`.
    pub(super) fn acknowledged(&mut self, acknowledged: u64, next: u64) -> Advice {
        if let (Some(last), Some(current), true) = (self.last_ns, self.current_ns, self.samples >= SAMPLES) {
            match &self.conservative {
                None if current >= last + (last / 8).clamp(LEAST_RISE_NS, LARGEST_RISE_NS) => {
                    self.conservative = Some(Conservative { baseline_ns: current, rounds: 0 });
                }
                Some(conservative) if current < conservative.baseline_ns => self.conservative = None,
                _ => {}
            }
        }
        if acknowledged >= self.round_end {
            self.round_end = next;
            self.last_ns = self.current_ns.take();
            self.samples = 0;
            if let Some(conservative) = &mut self.conservative {
                conservative.rounds += 1;
                if conservative.rounds > CONSERVATIVE_ROUNDS {
                    return Advice::Leave;
                }
            }
        }
        Advice::Grow { divisor: if self.conservative.is_some() { CONSERVATIVE_DIVISOR } else { 1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Rounds of ten samples each; what was advised at the end of each.
    fn rounds(hystart: &mut HyStart, at: &mut u64, rtt_ns: u64, count: u32) -> Advice {
        let mut advice = Advice::Grow { divisor: 1 };
        for _ in 0..count {
            for _ in 0..10 {
                hystart.sample(rtt_ns);
                *at += 100;
                advice = hystart.acknowledged(*at, *at + 1000);
                if advice == Advice::Leave {
                    return advice;
                }
            }
        }
        advice
    }

    #[test]
    fn slow_start_goes_on_while_round_trips_are_equal() {
        let (mut hystart, mut at) = (HyStart::default(), 0);
        assert_eq!(rounds(&mut hystart, &mut at, 50 * MS, 30), Advice::Grow { divisor: 1 });
        // Less than an eighth.
        assert_eq!(rounds(&mut hystart, &mut at, 55 * MS, 30), Advice::Grow { divisor: 1 });
    }

    #[test]
    fn a_growing_queue_ends_it_after_some_rounds() {
        let (mut hystart, mut at) = (HyStart::default(), 0);
        rounds(&mut hystart, &mut at, 50 * MS, 5);
        assert_eq!(rounds(&mut hystart, &mut at, 58 * MS, 2), Advice::Grow { divisor: 4 });
        assert_eq!(rounds(&mut hystart, &mut at, 60 * MS, 10), Advice::Leave);
    }

    #[test]
    fn noise_is_forgiven() {
        let (mut hystart, mut at) = (HyStart::default(), 0);
        rounds(&mut hystart, &mut at, 50 * MS, 5);
        assert_eq!(rounds(&mut hystart, &mut at, 58 * MS, 2), Advice::Grow { divisor: 4 });
        assert_eq!(rounds(&mut hystart, &mut at, 50 * MS, 2), Advice::Grow { divisor: 1 });
    }

    #[test]
    fn short_round_trips_may_grow_by_some_milliseconds() {
        let (mut hystart, mut at) = (HyStart::default(), 0);
        rounds(&mut hystart, &mut at, MS / 10, 5);
        assert_eq!(rounds(&mut hystart, &mut at, 4 * MS, 20), Advice::Grow { divisor: 1 });
    }

    #[test]
    fn few_samples_say_nothing() {
        let (mut hystart, mut at) = (HyStart::default(), 0);
        for rtt_ns in [50 * MS, 90 * MS, 130 * MS, 170 * MS] {
            hystart.sample(rtt_ns);
            at += 1000;
            assert_eq!(hystart.acknowledged(at, at + 1000), Advice::Grow { divisor: 1 });
        }
    }
}
