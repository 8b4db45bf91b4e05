//! What is known of a packet's transport checksum, and the sum itself (RFC 1071).

/// The state of a packet's transport checksum (TCP, UDP, ICMPv6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing is known: a receiver verifies it; a sender has filled it in.
    #[default]
    Unverified,
    /// The device, or a machine-local sender, vouches for it.
    Verified,
    /// The field holds the sum of the pseudo-header only. The device, or whoever forwards the packet to
    /// something that cannot, sums from `start` to the end and stores at `start + offset` (virtio 1.2, 5.1.6.2).
    Partial {
        /// First byte that is summed, from the packet's first byte.
        start: u16,
        /// Where the sum goes, from `start`.
        offset: u16,
    },
}

/// Adds the 16-bit big-endian words of `bytes` to a one's complement sum. All parts but the last must have an
/// even length. Start with 0 (or a pseudo-header's sum); the checksum is the complement of
/// [`fold`](internet_checksum::fold)'s result.
pub mod internet_checksum {
    /// Adds `bytes` to `sum`.
    pub fn add(sum: u64, bytes: &[u8]) -> u64 {
        // Eight bytes at a time in the machine's order: the sum commutes with a byte swap (RFC 1071, 2(B)).
        let (words, rest) = bytes.as_chunks::<8>();
        let mut total = words.iter().fold(0_u64, |total, word| {
            let (next, carry) = total.overflowing_add(u64::from_ne_bytes(*word));
            next + u64::from(carry)
        });
        // Not by copying to eight bytes: that is a call for four, in each IP header.
        let last = rest.iter().rev().fold(0_u64, |last, byte| last << 8 | u64::from(*byte));
        let (next, carry) = total.overflowing_add(u64::from_le(last));
        total = next + u64::from(carry);
        sum + u64::from(u16::from_be(fold(total)))
    }

    /// The sum in 16 bits.
    pub fn fold(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::internet_checksum::{add, fold};

    fn model(bytes: &[u8]) -> u16 {
        let sum = bytes
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
            .sum::<u64>();
        fold(sum)
    }

    proptest! {
        #[test]
        fn sums_as_words_do(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..300_usize) {
            let cut = cut.min(bytes.len()) & !1;
            let sum = fold(add(add(0, &bytes[..cut]), &bytes[cut..]));
            // 0 and 0xffff are the same number in one's complement.
            prop_assert_eq!(u32::from(sum) % 0xffff, u32::from(model(&bytes)) % 0xffff);
        }
    }

    #[test]
    fn zeros_sum_to_zero() {
        assert_eq!(fold(add(0, &[0; 20])), 0);
    }
}
