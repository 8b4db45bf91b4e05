//! Round-trip times and the retransmission time-out (RFC 6298).

/// Least time-out: Linux's `TCP_RTO_MIN`, in place of RFC 6298's second.
pub(crate) const RTO_MIN_NS: u64 = 200_000_000;
/// Largest time-out (`TCP_RTO_MAX`).
pub(crate) const RTO_MAX_NS: u64 = 120_000_000_000;
/// Time-out before there is a measurement (RFC 6298, 2.1).
pub(crate) const RTO_INITIAL_NS: u64 = 1_000_000_000;
/// How long the least round-trip time counts (`tcp_min_rtt_wlen`).
const MIN_WINDOW_NS: u64 = 300_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    smoothed_ns: u64,
    variation_ns: u64,
    least_ns: Option<(u64, u64)>,
}

impl RoundTrip {
    pub(crate) fn sample(&mut self, now_ns: u64, rtt_ns: u64) {
        let rtt_ns = rtt_ns.max(1);
        match self.least_ns {
            Some((least, since)) if rtt_ns > least && now_ns - since < MIN_WINDOW_NS => {}
            _ => self.least_ns = Some((rtt_ns, now_ns)),
        }
        if self.smoothed_ns == 0 {
            self.smoothed_ns = rtt_ns;
            self.variation_ns = rtt_ns / 2;
        } else {
            let deviation = self.smoothed_ns.abs_diff(rtt_ns);
            self.variation_ns = self.variation_ns - self.variation_ns / 4 + deviation / 4;
            self.smoothed_ns = self.smoothed_ns - self.smoothed_ns / 8 + rtt_ns / 8;
        }
    }

    /// The smoothed time; `None` before the first measurement.
    pub(crate) fn smoothed(&self) -> Option<u64> {
        (self.smoothed_ns != 0).then_some(self.smoothed_ns)
    }

    pub(crate) fn variation(&self) -> u64 {
        self.variation_ns
    }

    /// The least of the last minutes.
    pub(crate) fn least(&self) -> Option<u64> {
        self.least_ns.map(|(least, _)| least)
    }

    /// The time-out after `backoff` doublings. The variation's share is never below the minimum, as on Linux.
    pub(crate) fn timeout(&self, backoff: u8) -> u64 {
        let base = match self.smoothed() {
            None => RTO_INITIAL_NS,
            Some(smoothed) => smoothed + (4 * self.variation_ns).max(RTO_MIN_NS),
        };
        // 2^10 times the minimum is beyond the maximum.
        (base.min(RTO_MAX_NS) << backoff.min(10)).min(RTO_MAX_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn follows_rfc_6298() {
        let mut rtt = RoundTrip::default();
        assert_eq!((rtt.timeout(0), rtt.timeout(3)), (RTO_INITIAL_NS, 8 * RTO_INITIAL_NS));
        rtt.sample(0, 100 * MS);
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(100 * MS), 50 * MS));
        assert_eq!(rtt.timeout(0), 300 * MS);
        rtt.sample(0, 180 * MS);
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(110 * MS), 57 * MS + MS / 2));
        assert_eq!((rtt.timeout(0), rtt.timeout(255)), (340 * MS, RTO_MAX_NS));
    }

    #[test]
    fn the_least_is_forgotten_after_some_minutes() {
        let mut rtt = RoundTrip::default();
        rtt.sample(0, 5);
        rtt.sample(10, 9);
        assert_eq!(rtt.least(), Some(5));
        rtt.sample(MIN_WINDOW_NS, 8);
        assert_eq!(rtt.least(), Some(8));
    }
}
