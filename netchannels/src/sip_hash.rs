//! SipHash (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012) over whole 64-bit words.

/// The secret key of a table's hash: 16 bytes from the machine's generator of random numbers, chosen at boot.
/// Without it nobody can choose addresses and ports that meet in one bucket.
#[derive(Clone, Copy)]
pub struct HashKey([u64; 2]);

impl HashKey {
    /// A key of random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i])));
        Self([low, high])
    }

    /// SipHash-1-3, which is what hash tables need of it (the same as Rust's `HashMap` and Linux's `hsiphash`).
    #[inline]
    pub(crate) fn hash(&self, words: &[u64; 5]) -> u64 {
        sip_hash::<1, 3>(self.0, words)
    }
}

/// SipHash-C-D of the words in little-endian order.
#[inline]
fn sip_hash<const C: usize, const D: usize>([k0, k1]: [u64; 2], words: &[u64]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last block holds the length in its highest byte, and the bytes of an incomplete word, of which there are none.
    let last = (words.len() as u64 * 8) << 56;
    for word in words.iter().copied().chain([last]) {
        state[3] ^= word;
        (0..C).for_each(|_| round(&mut state));
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    (0..D).for_each(|_| round(&mut state));
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline]
fn round(state: &mut [u64; 4]) {
    let [mut v0, mut v1, mut v2, mut v3] = *state;
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v1);
    v0 = v0.wrapping_add(v3);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.rotate_left(32);
    *state = [v0, v1, v2, v3];
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_standard_librarys_with_its_key_of_zeros(words: [u64; 5]) {
            let mut reference = DefaultHasher::new();
            words.iter().for_each(|word| reference.write(&word.to_le_bytes()));
            prop_assert_eq!(HashKey::new([0; 16]).hash(&words), reference.finish());
        }

        #[test]
        #[expect(deprecated, reason = "the one reference with a key that is at hand")]
        fn equals_the_standard_librarys_2_4_with_any_key(key: [u64; 2], words: [u64; 5]) {
            let mut reference = std::hash::SipHasher::new_with_keys(key[0], key[1]);
            words.iter().for_each(|word| reference.write(&word.to_le_bytes()));
            prop_assert_eq!(sip_hash::<2, 4>(key, &words), reference.finish());
        }
    }
}
