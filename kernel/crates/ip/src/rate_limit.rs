//! How many ICMP errors go out: in all, and to one destination.
//!
//! Both are token buckets. Those of destinations are found by a keyed hash in a table of fixed size, so that no flood of
//! forged sources makes it grow, and nobody can know who shares a bucket with whom.

use core::net::IpAddr;

use crate::stack::KeyedHash;

/// Errors a second, to anybody, and how many at once (`icmp_msgs_per_sec`, `icmp_msgs_burst`).
const GLOBAL: Rate = Rate { interval_ns: 1_000_000, burst: 50 };
/// Errors a second to one destination (`icmp_ratelimit`), and how many at once (`XRLIM_BURST_FACTOR`).
const PER_DESTINATION: Rate = Rate { interval_ns: 1_000_000_000, burst: 6 };
const BUCKETS: usize = 256;

struct Rate {
    interval_ns: u64,
    burst: u64,
}

/// A token bucket, kept as the time at which it would be full again.
#[derive(Clone, Copy, Default)]
struct Bucket {
    full_at_ns: u64,
}

impl Bucket {
    fn take(&mut self, rate: &Rate, now_ns: u64) -> bool {
        let full_at_ns = self.full_at_ns.max(now_ns) + rate.interval_ns;
        let has_token = full_at_ns <= now_ns + rate.interval_ns * rate.burst;
        if has_token {
            self.full_at_ns = full_at_ns;
        }
        has_token
    }
}

pub(crate) struct RateLimit {
    global: Bucket,
    destinations: [Bucket; BUCKETS],
}

impl RateLimit {
    pub(crate) const fn new() -> Self {
        Self { global: Bucket { full_at_ns: 0 }, destinations: [Bucket { full_at_ns: 0 }; BUCKETS] }
    }

    /// Whether an error may go to `destination` now.
    pub(crate) fn admits(&mut self, destination: IpAddr, hash: &KeyedHash, now_ns: u64) -> bool {
        let bucket = &mut self.destinations[hash.of(&destination) as usize % BUCKETS];
        bucket.take(&PER_DESTINATION, now_ns) && self.global.take(&GLOBAL, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_by_one() {
        let hash = KeyedHash::new(&[1; 16]);
        let mut limit = RateLimit::new();
        let to = IpAddr::from([10, 0, 0, 1]);
        let now_ns = 5_000_000_000;
        let admitted = (0..100).filter(|_| limit.admits(to, &hash, now_ns)).count();
        assert_eq!(admitted, 6);
        let admitted = (0..100).filter(|_| limit.admits(to, &hash, now_ns + 1_000_000_000)).count();
        assert_eq!(admitted, 1);
        let admitted = (0..=255)
            .flat_map(|a| (0..=255).map(move |b| IpAddr::from([10, 1, a, b])))
            .filter(|&to| limit.admits(to, &hash, now_ns + 2_000_000_000))
            .count();
        assert_eq!(admitted, 50);
    }
}
