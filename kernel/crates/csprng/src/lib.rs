//! The generator behind `getrandom(2)` and `/dev/urandom`.
//!
//! ChaCha20 with fast key erasure: whatever is given out, the key it came from is gone before, so
//! that a later look into memory does not reveal it. Entropy enters as NIST SP 800-90A's CTR_DRBG
//! takes it (10.2.1.2), with ChaCha20 as the cipher: the next key is the keystream of the present one
//! XOR the entropy. So no input, not even one that an adversary chose, makes the state worse.
//!
//! Not responsible for finding entropy, for judging how much a source gives, nor for locking.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

/// Bytes of a key, and of entropy that makes the generator secure.
pub const KEY_LEN: usize = 32;

/// The generator's state: a key, from which all else comes.
pub struct Generator {
    key: [u8; KEY_LEN],
    /// Bytes of entropy taken in, as far as they count.
    credit: usize,
}

/// Whether a source's bytes count as unpredictable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// Eight bits to a byte.
    Full,
    /// None: they are stirred in, and do no harm.
    None,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    /// A generator that knows nothing yet, and whose bytes are predictable.
    pub const fn new() -> Self {
        Self { key: [0; KEY_LEN], credit: 0 }
    }

    /// Whether enough entropy came in that the bytes are unpredictable.
    pub fn is_seeded(&self) -> bool {
        self.credit >= KEY_LEN
    }

    /// Takes in entropy.
    pub fn mix(&mut self, entropy: &[u8], credit: Credit) {
        for chunk in entropy.chunks(KEY_LEN) {
            let mut next = [0; KEY_LEN];
            ChaCha20Rng::from_seed(self.key).fill_bytes(&mut next);
            next.iter_mut().zip(chunk).for_each(|(key, entropy)| *key ^= entropy);
            self.key = next;
        }
        if credit == Credit::Full {
            self.credit = self.credit.saturating_add(entropy.len());
        }
    }

    /// A stream of random bytes of its own. It can be used without the generator's lock, and neither
    /// reveals the other.
    pub fn stream(&mut self) -> Stream {
        let mut block = [0; 2 * KEY_LEN];
        ChaCha20Rng::from_seed(self.key).fill_bytes(&mut block);
        let (next, stream) = block.split_at(KEY_LEN);
        self.key.copy_from_slice(next);
        let mut key = [0; KEY_LEN];
        key.copy_from_slice(stream);
        Stream { chacha: ChaCha20Rng::from_seed(key) }
    }
}

/// Random bytes for one caller.
pub struct Stream {
    chacha: ChaCha20Rng,
}

impl Stream {
    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.chacha.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(generator: &mut Generator) -> [u8; 32] {
        let mut bytes = [0; 32];
        generator.stream().fill(&mut bytes);
        bytes
    }

    #[test]
    fn is_seeded_only_by_entropy_that_counts() {
        let mut generator = Generator::new();
        generator.mix(&[1; 1000], Credit::None);
        assert!(!generator.is_seeded());
        generator.mix(&[1; 31], Credit::Full);
        assert!(!generator.is_seeded());
        generator.mix(&[1; 1], Credit::Full);
        assert!(generator.is_seeded());
    }

    #[test]
    fn every_bit_of_input_changes_all_later_output() {
        let output = |input: &[u8]| {
            let mut generator = Generator::new();
            generator.mix(input, Credit::Full);
            take(&mut generator)
        };
        let base = [0; 70];
        let mut seen = vec![output(&base)];
        for bit in 0..base.len() * 8 {
            let mut input = base;
            input[bit / 8] ^= 1 << (bit % 8);
            seen.push(output(&input));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 561);
    }

    #[test]
    fn an_input_that_undoes_another_does_not_undo_the_state() {
        let mut once = Generator::new();
        once.mix(&[7; 32], Credit::Full);
        let mut twice = Generator::new();
        twice.mix(&[7; 32], Credit::Full);
        twice.mix(&once.key, Credit::Full);
        assert_ne!(twice.key, [0; 32]);
        assert_ne!(take(&mut once), take(&mut twice));
    }

    #[test]
    fn streams_differ_and_the_key_moves_on() {
        let mut generator = Generator::new();
        generator.mix(&[1; 32], Credit::Full);
        let before = generator.key;
        let (first, second) = (take(&mut generator), take(&mut generator));
        assert_ne!(first, second);
        assert_ne!(before, generator.key);
        assert!(![first, second].contains(&generator.key));
    }
}
