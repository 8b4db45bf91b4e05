//! What strangers must not guess: initial sequence numbers, timestamp offsets, SYN cookies.

use core::{hash::Hasher, net::IpAddr};

use siphasher::sip::SipHasher24;

use crate::{SeqNumber, Tuple};

/// Where the numbers of a connection begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isn {
    /// Sequence number of the SYN.
    pub sequence: SeqNumber,
    /// What is added to the milliseconds of the clock in timestamps.
    pub timestamp_offset: u32,
}

/// The machine's keys. Made once, shared by all objects.
pub struct Secrets {
    isn: [u8; 16],
    timestamp: [u8; 16],
    cookie: [u8; 16],
}

impl Secrets {
    /// Keys from 48 bytes that nobody can predict.
    pub fn new(random: [u8; 48]) -> Self {
        let key = |n: usize| core::array::from_fn(|i| random[n * 16 + i]);
        Self { isn: key(0), timestamp: key(1), cookie: key(2) }
    }

    /// Initial numbers for a connection: a clock of 64 ns that each tuple begins elsewhere (RFC 6528, 3).
    pub fn isn(&self, now_ns: u64, tuple: &Tuple) -> Isn {
        let mut hasher = SipHasher24::new_with_key(&self.isn);
        write_tuple(&mut hasher, tuple);
        let sequence = (hasher.finish() as u32).wrapping_add((now_ns >> 6) as u32);
        Isn { sequence: SeqNumber(sequence), timestamp_offset: self.timestamp_offset(tuple) }
    }

    /// The offset is of the pair of addresses, not of the ports, so that timestamps go on from one connection to the
    /// next, as TIME_WAIT's reuse asks for (RFC 7323, 5.4 and appendix B).
    pub(crate) fn timestamp_offset(&self, tuple: &Tuple) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.timestamp);
        write_address(&mut hasher, tuple.local.ip());
        write_address(&mut hasher, tuple.remote.ip());
        hasher.finish() as u32
    }

    /// A code over a SYN's tuple and number and what the cookie carries.
    pub(crate) fn cookie_code(&self, tuple: &Tuple, irs: SeqNumber, period: u32, data: u8) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.cookie);
        write_tuple(&mut hasher, tuple);
        hasher.write_u32(irs.0);
        hasher.write_u32(period);
        hasher.write_u8(data);
        hasher.finish() as u32
    }
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}

fn write_tuple(hasher: &mut SipHasher24, tuple: &Tuple) {
    write_address(hasher, tuple.local.ip());
    write_address(hasher, tuple.remote.ip());
    hasher.write_u32(u32::from(tuple.local.port()) << 16 | u32::from(tuple.remote.port()));
}

fn write_address(hasher: &mut SipHasher24, address: IpAddr) {
    match address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_with_the_clock_and_differ_between_tuples() {
        let secrets = Secrets::new([7; 48]);
        let tuple = |port| Tuple { local: ([10, 0, 0, 1], port).into(), remote: ([10, 0, 0, 2], 80).into() };
        let at = |now_ns, port| secrets.isn(now_ns, &tuple(port));
        assert_eq!(at(6_400, 1).sequence.distance(at(0, 1).sequence), 100);
        assert_ne!(at(0, 1).sequence, at(0, 2).sequence);
        assert_eq!(at(0, 1).timestamp_offset, at(5, 2).timestamp_offset);
        assert_ne!(at(0, 1), Secrets::new([8; 48]).isn(0, &tuple(1)));
    }
}
