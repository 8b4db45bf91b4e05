//! Congestion control: how much may be in flight (RFC 5681, RFC 9438), in bytes.

mod cubic;
mod hystart;

use cubic::Cubic;
use hystart::{Advice, HyStart};

/// Congestion control algorithms, as `TCP_CONGESTION` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// NewReno (RFC 5681).
    Reno,
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
}

impl Algorithm {
    /// All of them, as in `/proc/sys/net/ipv4/tcp_available_congestion_control`.
    pub const ALL: [Self; 2] = [Self::Reno, Self::Cubic];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Segments of the initial window (RFC 6928).
pub(crate) const INITIAL_SEGMENTS: u64 = 10;

/// Largest window: beyond any that window scaling can express.
const MAX_WINDOW: u64 = 1 << 31;

#[derive(Debug)]
enum Growth {
    Reno { credit: u64 },
    Cubic(Cubic),
}

impl Growth {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Reno => Self::Reno { credit: 0 },
            Algorithm::Cubic => Self::Cubic(Cubic::default()),
        }
    }
}

/// The windows as they were before a loss that may turn out not to be one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    window: u64,
    threshold: u64,
}

/// The congestion window and what moves it.
#[derive(Debug)]
pub(crate) struct Congestion {
    window: u64,
    threshold: u64,
    mss: u64,
    growth: Growth,
    hystart: HyStart,
}

/// An acknowledgement that lets the window grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) now_ns: u64,
    /// Bytes that came through.
    pub(crate) bytes: u64,
    /// The stream is acknowledged up to here, and sent up to there.
    pub(crate) position: u64,
    pub(crate) next: u64,
    /// The smoothed round-trip time.
    pub(crate) rtt_ns: u64,
}

impl Congestion {
    pub(crate) fn new(algorithm: Algorithm, mss: u32) -> Self {
        let mss = u64::from(mss);
        Self {
            window: INITIAL_SEGMENTS * mss,
            threshold: u64::MAX,
            mss,
            growth: Growth::new(algorithm),
            hystart: HyStart::default(),
        }
    }

    /// The congestion window.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// The slow start threshold.
    pub(crate) fn threshold(&self) -> u64 {
        self.threshold
    }

    pub(crate) fn set_algorithm(&mut self, algorithm: Algorithm) {
        self.growth = Growth::new(algorithm);
    }

    /// Segments have another size: the window stays the same number of them before anything was measured, and the
    /// same number of bytes afterwards.
    pub(crate) fn set_mss(&mut self, mss: u32) {
        let mss = u64::from(mss);
        if self.threshold == u64::MAX && self.window == INITIAL_SEGMENTS * self.mss {
            self.window = INITIAL_SEGMENTS * mss;
        }
        self.mss = mss;
        self.window = self.window.max(mss);
    }

    /// A round-trip time was measured.
    pub(crate) fn round_trip(&mut self, rtt_ns: u64) {
        if self.is_first_slow_start() {
            self.hystart.sample(rtt_ns);
        }
    }

    /// Nothing was lost yet.
    fn is_first_slow_start(&self) -> bool {
        self.threshold == u64::MAX
    }

    /// Something came through, and the window was what kept more from being sent.
    pub(crate) fn acknowledged(&mut self, acknowledgement: Acknowledgement) {
        let Acknowledgement { now_ns, bytes, position, next, rtt_ns } = acknowledgement;
        let mut acknowledged = bytes;
        if self.window < self.threshold {
            let mut growth = acknowledged;
            if self.is_first_slow_start() {
                match self.hystart.acknowledged(position, next) {
                    Advice::Grow { divisor } => growth /= divisor,
                    Advice::Leave => {
                        self.threshold = self.window;
                        return;
                    }
                }
            }
            let step = growth.min(self.threshold - self.window);
            self.window = (self.window + step).min(MAX_WINDOW);
            if self.window < self.threshold {
                return;
            }
            acknowledged -= step;
            if acknowledged == 0 {
                return;
            }
        }
        let step = match &mut self.growth {
            Growth::Reno { credit } => {
                // A segment for each window of data (RFC 3465).
                *credit += acknowledged * self.mss;
                let step = *credit / self.window;
                *credit %= self.window;
                step
            }
            Growth::Cubic(cubic) => cubic.growth(now_ns, self.window, acknowledged, rtt_ns, self.mss),
        };
        self.window = (self.window + step).min(MAX_WINDOW);
    }

    /// There was a loss: sets the threshold, and returns the windows as they were. The window is for the caller to
    /// move, see [`set_window`](Self::set_window).
    pub(crate) fn reduce(&mut self) -> Before {
        let before = Before { window: self.window, threshold: self.threshold };
        let target = match &mut self.growth {
            Growth::Reno { .. } => self.window / 2,
            Growth::Cubic(cubic) => cubic.reduce(self.window),
        };
        self.threshold = target.max(2 * self.mss);
        before
    }

    pub(crate) fn set_window(&mut self, window: u64) {
        self.window = window.clamp(self.mss, MAX_WINDOW);
    }

    /// It was no loss after all.
    pub(crate) fn undo(&mut self, before: Before) {
        self.window = self.window.max(before.window);
        self.threshold = self.threshold.max(before.threshold);
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.restart();
        }
    }

    /// Nothing was sent for `idle_ns`: what the window stood for is forgotten, by half for each time-out
    /// (RFC 2861, 5681 4.1).
    pub(crate) fn idle(&mut self, idle_ns: u64, timeout_ns: u64) {
        let restart = (INITIAL_SEGMENTS * self.mss).min(self.window);
        self.threshold = self.threshold.max(if self.threshold == u64::MAX { 0 } else { self.window / 4 * 3 });
        let halvings = (idle_ns / timeout_ns.max(1)).min(63) as u32;
        self.window = (self.window >> halvings).max(restart);
        if let Growth::Cubic(cubic) = &mut self.growth {
            cubic.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn acknowledge(congestion: &mut Congestion, bytes: u64) {
        let acknowledgement = Acknowledgement { now_ns: 0, bytes, position: 0, next: 0, rtt_ns: 1 };
        congestion.acknowledged(acknowledgement);
    }

    #[test]
    fn names_lead_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("bbr"), None);
    }

    #[test]
    fn slow_start_doubles_and_reno_adds_one_segment_per_window() {
        let mut congestion = Congestion::new(Algorithm::Reno, MSS);
        assert_eq!(congestion.window(), 10_000);
        acknowledge(&mut congestion, 10_000);
        assert_eq!(congestion.window(), 20_000);
        let before = congestion.reduce();
        assert_eq!(congestion.threshold(), 10_000);
        congestion.set_window(10_000);
        for _ in 0..10 {
            acknowledge(&mut congestion, 1_000);
        }
        assert!((10_900..=11_000).contains(&congestion.window()), "{}", congestion.window());
        congestion.undo(before);
        assert_eq!((congestion.window(), congestion.threshold()), (20_000, u64::MAX));
    }

    #[test]
    fn idling_leads_back_to_the_initial_window() {
        let mut congestion = Congestion::new(Algorithm::Cubic, MSS);
        acknowledge(&mut congestion, 70_000);
        assert_eq!(congestion.window(), 80_000);
        congestion.idle(2_500, 1_000);
        assert_eq!(congestion.window(), 20_000);
        congestion.idle(u64::MAX, 1);
        assert_eq!(congestion.window(), 10_000);
    }
}
