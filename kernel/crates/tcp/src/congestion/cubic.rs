//! CUBIC (RFC 9438), in integers: kernels have no floating point.

/// The multiplicative decrease, 0.7.
const BETA: (u64, u64) = (7, 10);

/// Most milliseconds of an epoch that count: the cube of more would not fit.
const MAX_EPOCH_MS: i64 = 1_000_000;

/// What it remembers of the last loss, in bytes and nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Cubic {
    /// The window before the last reduction (W_max).
    peak: u64,
    /// The window right before the reduction (cwnd_prior).
    prior: u64,
    epoch: Option<Epoch>,
    /// Thousandths of bytes that are owed to the window.
    credit: u64,
}

/// Time since congestion avoidance began.
#[derive(Debug)]
struct Epoch {
    start_ns: u64,
    /// When the curve has come back to the peak (K), since the start.
    to_peak_ms: i64,
    /// The peak of the curve.
    origin: u64,
    /// What Reno would have (W_est), in thousandths of bytes.
    reno_milli: u128,
}

impl Cubic {
    /// How much the window grows for `acknowledged` bytes.
    pub(super) fn growth(
        &mut self,
        now_ns: u64,
        window: u64,
        acknowledged: u64,
        rtt_ns: u64,
        mss: u64,
    ) -> u64 {
        let peak = self.peak;
        let epoch = self.epoch.get_or_insert_with(|| {
            let missing = peak.saturating_sub(window);
            // K = cbrt(missing / C) seconds, C = 0.4 segments per cubic second.
            let cube = u128::from(missing) * 5 * 1_000_000_000 / (2 * u128::from(mss));
            Epoch {
                start_ns: now_ns,
                to_peak_ms: cube_root(cube) as i64,
                origin: peak.max(window),
                reno_milli: u128::from(window) * 1000,
            }
        });
        // RFC 9438, 4.3: alpha = 3 (1 - beta) / (1 + beta) until the former window is reached.
        let alpha_milli = if epoch.reno_milli / 1000 < u128::from(self.prior) { 529 } else { 1000 };
        epoch.reno_milli += u128::from(alpha_milli * mss) * u128::from(acknowledged) / u128::from(window);
        let elapsed_ms = ((now_ns - epoch.start_ns + rtt_ns) / 1_000_000).min(MAX_EPOCH_MS as u64) as i64;
        let from_peak_ms = i128::from(elapsed_ms - epoch.to_peak_ms);
        // C t^3 segments, t in seconds.
        let offset = from_peak_ms.pow(3) * i128::from(mss) * 2 / 5 / 1_000_000_000;
        let curve = (i128::from(epoch.origin) + offset).max(0) as u64;
        let target = curve.clamp(window, window + window / 2);
        let reno = (epoch.reno_milli / 1000) as u64;
        if curve < reno {
            return reno.saturating_sub(window);
        }
        let owed = u128::from(target - window) * u128::from(acknowledged) * 1000 / u128::from(window);
        self.credit += owed as u64;
        let whole = self.credit / 1000;
        self.credit %= 1000;
        whole
    }

    /// There was a loss: returns the new threshold.
    pub(super) fn reduce(&mut self, window: u64) -> u64 {
        // RFC 9438, 4.7: a loss below the former peak is taken for others' wish for a share.
        self.peak = if window < self.peak { window * (BETA.0 + BETA.1) / (2 * BETA.1) } else { window };
        self.prior = window;
        self.epoch = None;
        window * BETA.0 / BETA.1
    }

    /// The time that has passed says nothing.
    pub(super) fn restart(&mut self) {
        self.epoch = None;
    }
}

/// The largest number whose cube is not above `value`.
fn cube_root(value: u128) -> u64 {
    let mut root: u128 = 0;
    for bit in (0..32).rev() {
        let candidate = root | 1 << bit;
        if candidate * candidate * candidate <= value {
            root = candidate;
        }
    }
    root as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1448;
    const RTT_MS: u64 = 300;

    #[test]
    fn cube_roots() {
        for (value, root) in [(0, 0), (7, 1), (8, 2), (26, 2), (27, 3), (1_000_000_000_000, 10_000)] {
            assert_eq!(cube_root(value), root);
        }
    }

    /// RFC 9438's figure: back at the peak after K, flat there, and growing faster after it. The path is long, so that
    /// Reno would be slower.
    #[test]
    fn the_curve_is_flat_at_the_peak() {
        let mut cubic = Cubic::default();
        let peak = 100 * MSS;
        let mut window = cubic.reduce(peak);
        assert_eq!(window, peak * 7 / 10);
        // K = cbrt(30 / 0.4) = 4.217 s.
        let mut at = |until_ms: u64, window: &mut u64, from_ms: u64| {
            for ms in (from_ms..until_ms).step_by(RTT_MS as usize) {
                *window += cubic.growth(ms * 1_000_000, *window, *window, RTT_MS * 1_000_000, MSS);
            }
        };
        at(4_200, &mut window, 0);
        assert!((peak * 97 / 100..=peak * 101 / 100).contains(&window), "{}", window / MSS);
        let at_peak = window;
        at(5_200, &mut window, 4_200);
        let slow = window - at_peak;
        at(6_200, &mut window, 5_200);
        assert!(window - at_peak - slow > 3 * slow, "{slow} {}", window - at_peak);
    }

    /// With little time between losses Reno's growth is faster, and CUBIC takes that (RFC 9438, 4.3).
    #[test]
    fn it_is_not_slower_than_reno_on_short_paths() {
        let mut cubic = Cubic::default();
        let mut window = cubic.reduce(20 * MSS);
        let start = window;
        for round in 0..20 {
            window += cubic.growth(round * 1_000_000, window, window, 1_000_000, MSS);
        }
        assert!(window - start >= 9 * MSS, "{}", (window - start) / MSS);
    }

    #[test]
    fn losses_below_the_peak_give_way() {
        let mut cubic = Cubic::default();
        cubic.reduce(100 * MSS);
        cubic.reduce(50 * MSS);
        assert_eq!(cubic.peak, 50 * MSS * 17 / 20);
    }
}
