//! Which free port a socket gets: not to be guessed (RFC 6056).

use core::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use siphasher::sip::SipHasher13;

use super::Binding;
use crate::net::PortRange;

/// Counters of RFC 6056's algorithm 4.
const COUNTERS: usize = 1024;

/// Chooses ports.
pub struct Chooser {
    key: [u8; 16],
    counters: [AtomicU32; COUNTERS],
    binds: AtomicU32,
}

impl Chooser {
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key, counters: [const { AtomicU32::new(0) }; COUNTERS], binds: AtomicU32::new(0) }
    }

    fn hash(&self, what: impl Hash) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        what.hash(&mut hasher);
        hasher.finish()
    }

    /// Ports for a socket that is bound to none in particular: all of the range, from a random one on. Odd and even
    /// ones first and last as by Linux, whose connections take the other half first, so that both seldom meet.
    pub fn to_bind(&self, range: PortRange) -> impl Iterator<Item = u16> {
        // A keyed hash of a counter is as good as random to who does not know the key.
        let start = self.hash((0_u8, self.binds.fetch_add(1, Relaxed)));
        in_halves(range, start as u32, 1)
    }

    /// Ports for a connection: the double-hash of RFC 6056 (3.3.4). The hash of the addresses gives each peer a sequence
    /// of its own, which a counter walks; that counter is shared by the few peers with the same second hash, so that
    /// others learn nothing of it.
    pub fn to_connect(&self, range: PortRange, binding: &Binding) -> impl Iterator<Item = u16> {
        let remote = binding.remote;
        let local = match binding.address {
            super::BoundAddress::V4(address) => core::net::IpAddr::V4(address),
            super::BoundAddress::V6(address) => core::net::IpAddr::V6(address),
            _ => core::net::IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        };
        let offset = self.hash((1_u8, local, remote)) as u32;
        let counter = &self.counters[self.hash((2_u8, local, remote)) as usize % COUNTERS];
        // A random step of 1 to 8 even ports (as Linux does): successive ports do not count connections.
        let step = self.hash((3_u8, self.binds.fetch_add(1, Relaxed))) as u32 % 8 + 1;
        let walked = counter.fetch_add(2 * step, Relaxed);
        in_halves(range, offset.wrapping_add(walked), 0)
    }
}

/// All ports of the range from `start` (taken modulo its size) on: first those with the parity `first_parity` relative to
/// the range's first, then the others.
fn in_halves(range: PortRange, start: u32, first_parity: u32) -> impl Iterator<Item = u16> {
    let size = u32::from(range.last) - u32::from(range.first) + 1;
    let start = start % size;
    [first_parity, first_parity ^ 1].into_iter().flat_map(move |parity| {
        let in_half = (size + 1 - parity) / 2;
        // Below 2^16, as `size` is.
        (0..in_half).map(move |n| {
            let place = (start / 2 + n) % in_half;
            range.first + (place * 2 + parity) as u16
        })
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_port_of_the_range_comes_once() {
        for (first, last) in [(32_768, 60_999), (1000, 1000), (7, 9), (65_534, 65_535)] {
            for start in [0, 1, 17, u32::MAX] {
                for parity in [0, 1] {
                    let mut ports: Vec<u16> = in_halves(PortRange { first, last }, start, parity).collect();
                    ports.sort_unstable();
                    assert!(ports.iter().copied().eq(first..=last));
                }
            }
        }
    }
}
