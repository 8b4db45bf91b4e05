//! What happens to the frames that go one way through a faulty link.
//!
//! Pure: time comes as an argument, and chance from a seed, so that the same frames at the same times suffer the same.

use std::{cmp::Ordering, collections::BinaryHeap, fmt, time::Duration};

use crate::chance::Chance;

/// What a link does to frames. Each probability is that of one frame, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// It is lost.
    pub drop: f64,
    /// It arrives twice.
    pub duplicate: f64,
    /// It arrives later than those that were sent up to [`REORDERED_BY`] after it.
    pub reorder: f64,
    /// One of its bits is turned over, behind Ethernet's header, if it is an IP packet. Real links have a checksum for
    /// the frame; what is damaged nevertheless was so between links. ARP, which has no checksum, goes no further than
    /// one.
    pub corrupt: f64,
    /// How long each frame is under way.
    pub delay: Duration,
    /// From when on, since the link was made, and for how long everything is lost.
    pub outages: Vec<(Duration, Duration)>,
}

/// How much longer a frame that is reordered is under way, at most.
pub const REORDERED_BY: Duration = Duration::from_millis(10);

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    pub dropped: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, dropped, duplicated, reordered, corrupted } = self;
        write!(
            f,
            "{frames} frames, {dropped} dropped, {duplicated} duplicated, {reordered} reordered, \
             {corrupted} corrupted"
        )
    }
}

/// A frame under way.
#[derive(PartialEq, Eq)]
struct UnderWay {
    due: Duration,
    number: u64,
    frame: Vec<u8>,
}

impl Ord for UnderWay {
    /// The greatest is the one that arrives first: those of the same time in the order in which they were sent.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One way through the link.
pub struct Direction {
    faults: Faults,
    chance: Chance,
    under_way: BinaryHeap<UnderWay>,
    next_number: u64,
    counts: Counts,
}

impl Direction {
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            chance: Chance::new(seed),
            under_way: BinaryHeap::new(),
            next_number: 0,
            counts: Counts::default(),
        }
    }

    /// A frame is sent at `now`, since the link was made.
    pub fn send(&mut self, mut frame: Vec<u8>, now: Duration) {
        self.counts.frames += 1;
        // Each frame takes the same number of chances, so that its fate does not depend on another's.
        let lost = self.chance.happens(self.faults.drop);
        let duplicated = self.chance.happens(self.faults.duplicate);
        let reordered = self.chance.happens(self.faults.reorder);
        let corrupted = self.chance.happens(self.faults.corrupt);
        let (longer, bit) = (self.chance.fraction(), self.chance.next());
        let is_out = |(start, len): &(Duration, Duration)| (*start..*start + *len).contains(&now);
        if lost || self.faults.outages.iter().any(is_out) {
            self.counts.dropped += 1;
            return;
        }
        if corrupted && let Some(packet) = ip_packet(&mut frame) {
            self.counts.corrupted += 1;
            let bit = (bit % (8 * packet.len() as u64)) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        let mut due = now + self.faults.delay;
        if duplicated {
            self.counts.duplicated += 1;
            self.put(due, frame.clone());
        }
        if reordered {
            self.counts.reordered += 1;
            due += REORDERED_BY.mul_f64(longer);
        }
        self.put(due, frame);
    }

    fn put(&mut self, due: Duration, frame: Vec<u8>) {
        self.under_way.push(UnderWay { due, number: self.next_number, frame });
        self.next_number += 1;
    }

    /// When the next frame arrives.
    pub fn next_due(&self) -> Option<Duration> {
        self.under_way.peek().map(|first| first.due)
    }

    /// The next frame that has arrived by `now`.
    pub fn arrived(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        self.under_way.pop().map(|first| first.frame)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// What follows Ethernet's header, if that is IP of either version.
fn ip_packet(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (header, packet) = frame.split_first_chunk_mut::<14>()?;
    let is_ip = matches!(header, [.., 0x08, 0x00] | [.., 0x86, 0xdd]);
    (is_ip && !packet.is_empty()).then_some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a number in it.
    fn numbered(number: u32) -> Vec<u8> {
        [[0; 12].as_slice(), &[8, 0], &number.to_le_bytes().repeat(10)].concat()
    }

    /// Sends `count` frames, one each millisecond, and returns what arrives.
    fn run(faults: Faults, seed: u64, count: u32) -> (Vec<Vec<u8>>, Counts) {
        let mut direction = Direction::new(faults, seed);
        let mut arrived = Vec::new();
        for number in 0..count {
            let now = Duration::from_millis(number.into());
            direction.send(numbered(number), now);
            arrived.extend(std::iter::from_fn(|| direction.arrived(now)));
        }
        arrived.extend(std::iter::from_fn(|| direction.arrived(Duration::MAX)));
        (arrived, direction.counts())
    }

    fn number(frame: &[u8]) -> u32 {
        u32::from_le_bytes(frame[14..18].try_into().unwrap())
    }

    #[test]
    fn a_link_without_faults_changes_nothing() {
        let faults = Faults { delay: Duration::from_millis(3), ..Faults::default() };
        let (arrived, counts) = run(faults, 1, 1000);
        assert!(arrived.iter().map(|frame| number(frame)).eq(0..1000));
        assert_eq!(counts, Counts { frames: 1000, ..Counts::default() });
    }

    #[test]
    fn each_fault_happens_as_often_as_asked() {
        let near = |count: u64| (150..250).contains(&count);
        let (arrived, counts) = run(Faults { drop: 0.02, ..Faults::default() }, 1, 10_000);
        assert!(near(counts.dropped), "{counts}");
        assert_eq!(arrived.len() as u64, 10_000 - counts.dropped);

        let (arrived, counts) = run(Faults { duplicate: 0.02, ..Faults::default() }, 2, 10_000);
        assert!(near(counts.duplicated), "{counts}");
        assert_eq!(arrived.len() as u64, 10_000 + counts.duplicated);

        let (arrived, counts) = run(Faults { reorder: 0.02, ..Faults::default() }, 3, 10_000);
        assert!(near(counts.reordered), "{counts}");
        assert_eq!(arrived.len(), 10_000);
        let late = arrived.windows(2).filter(|pair| number(&pair[1]) < number(&pair[0])).count() as u64;
        assert!(late > counts.reordered / 2 && late <= counts.reordered, "{late} late of {counts}");

        let (arrived, counts) = run(Faults { corrupt: 0.02, ..Faults::default() }, 4, 10_000);
        assert!(near(counts.corrupted), "{counts}");
        let wrong = |(number, frame): &(u32, &Vec<u8>)| **frame != numbered(*number);
        assert_eq!((0..).zip(&arrived).filter(wrong).count() as u64, counts.corrupted);
    }

    #[test]
    fn what_has_no_checksum_is_not_damaged() {
        let mut direction = Direction::new(Faults { corrupt: 1.0, ..Faults::default() }, 1);
        let arp = [[0; 12].as_slice(), &[8, 6], &[0; 28]].concat();
        for frame in [arp, vec![], vec![8; 14]] {
            direction.send(frame.clone(), Duration::ZERO);
            assert_eq!(direction.arrived(Duration::ZERO), Some(frame));
        }
    }

    #[test]
    fn a_seed_tells_what_happens() {
        let faults = Faults { drop: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.1, ..Faults::default() };
        let once = run(faults.clone(), 77, 500);
        assert_eq!(once, run(faults.clone(), 77, 500));
        assert_ne!(once, run(faults, 78, 500));
    }

    #[test]
    fn an_outage_loses_everything_for_a_time() {
        let outage = (Duration::from_millis(100), Duration::from_millis(50));
        let (arrived, counts) = run(Faults { outages: vec![outage], ..Faults::default() }, 5, 300);
        assert!(arrived.iter().map(|frame| number(frame)).eq((0..100).chain(150..300)));
        assert_eq!(counts.dropped, 50);
    }
}
