//! The keyed hash of flows.

use siphasher::sip::SipHasher13;

/// The secret key of a table's hash: 16 bytes from the machine's generator of random numbers, chosen at boot.
/// Without it nobody can choose addresses and ports that meet in one bucket.
#[derive(Clone, Copy)]
pub struct HashKey(SipHasher13);

impl HashKey {
    /// A key of random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&bytes))
    }

    /// SipHash-1-3, which is what hash tables need of it (the same as Rust's `HashMap` and Linux's `hsiphash`).
    #[inline]
    pub(crate) fn hash(&self, words: &[u64; 5]) -> u64 {
        let mut bytes = [0; 40];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        self.0.hash(&bytes)
    }
}
