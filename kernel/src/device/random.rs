//! Random numbers for the application and the kernel.
//!
//! Entropy comes from the CPU (RDSEED, else RDRAND), from a virtio entropy source, and from the timing
//! of the kernel's own work; all that there is goes in, so each needs to be trusted only if the others
//! fail. The state takes new entropy every minute.
//!
//! `GENERATOR` guards the generator, and is held for one ChaCha block; bytes are made outside of it.

use csprng::{Credit, Generator, KEY_LEN, Stream};
use ksync::{SpinLock, platform};
use spin::Once;
use virtio::entropy::{EntropySource, REQUEST_LEN};

use crate::arch::{clock, cpu};

const RESEED_INTERVAL_NS: u64 = 60_000_000_000;
/// How long the boot waits for the virtio source, if it is the only one.
const SOURCE_WAIT_NS: u64 = 200_000_000;
/// Samples of timing for each byte that they count as: one bit for eight samples.
const JITTER_SAMPLES: usize = 64;

struct State {
    generator: Generator,
    reseed_at_ns: u64,
}

static GENERATOR: SpinLock<State> = SpinLock::new(State { generator: Generator::new(), reseed_at_ns: 0 });
static SOURCE: Once<EntropySource> = Once::new();

/// Gives the virtio source, before [`init`].
pub fn set_source(source: EntropySource) {
    SOURCE.call_once(|| source);
}

fn mix(bytes: &[u8], credit: Credit) {
    GENERATOR.lock().generator.mix(bytes, credit);
}

/// Whether the bytes are unpredictable.
pub fn is_seeded() -> bool {
    GENERATOR.lock().generator.is_seeded()
}

/// Seeds the generator.
pub fn init() {
    mix(&clock::realtime_ns().to_le_bytes(), Credit::None);
    mix_timing(KEY_LEN, Credit::None);
    mix_cpu();
    mix_source();
    // The device answers when the hypervisor's other threads come to it.
    let deadline_ns = platform::now_ns().saturating_add(SOURCE_WAIT_NS);
    while !is_seeded() && SOURCE.get().is_some() && platform::now_ns() < deadline_ns {
        core::hint::spin_loop();
        mix_source();
    }
    if !is_seeded() {
        log::warn!("no RDSEED, RDRAND or virtio-rng: random numbers come from timing alone");
        mix_timing(KEY_LEN * JITTER_SAMPLES, Credit::None);
        mix_timing(KEY_LEN, Credit::Full);
    }
    GENERATOR.lock().reseed_at_ns = platform::now_ns().saturating_add(RESEED_INTERVAL_NS);
}

/// Takes in what the CPU's generator gives.
fn mix_cpu() {
    for _ in 0..2 * KEY_LEN / 8 {
        let Some(word) = cpu_random() else { return };
        mix(&word.to_le_bytes(), Credit::Full);
    }
}

fn cpu_random() -> Option<u64> {
    // Both may fail for a moment (Intel SDM volume 1, 7.3.17): RDRAND is to be tried ten times, RDSEED
    // longer.
    const ATTEMPTS: usize = 64;
    let features = cpu::features();
    let rdseed = || {
        // SAFETY: the CPU has the instruction.
        features.rdseed.then(|| (0..ATTEMPTS).find_map(|_| unsafe { rdseed() })).flatten()
    };
    let rdrand = || {
        // SAFETY: the CPU has the instruction.
        features.rdrand.then(|| (0..ATTEMPTS).find_map(|_| unsafe { rdrand() })).flatten()
    };
    rdseed().or_else(rdrand)
}

/// # Safety
/// The CPU has RDSEED.
#[target_feature(enable = "rdseed")]
unsafe fn rdseed() -> Option<u64> {
    let mut word = 0;
    (core::arch::x86_64::_rdseed64_step(&mut word) == 1).then_some(word)
}

/// # Safety
/// The CPU has RDRAND.
#[target_feature(enable = "rdrand")]
unsafe fn rdrand() -> Option<u64> {
    let mut word = 0;
    (core::arch::x86_64::_rdrand64_step(&mut word) == 1).then_some(word)
}

/// Takes in what the virtio source has ready.
fn mix_source() {
    let Some(source) = SOURCE.get() else { return };
    let mut bytes = [0; REQUEST_LEN];
    let len = source.take(&mut bytes);
    mix(&bytes[..len], Credit::Full);
}

/// Takes in `count` samples of how long a little work takes, which depends on caches, other CPUs and
/// the hypervisor.
fn mix_timing(count: usize, credit: Credit) {
    let mut last = clock::tsc();
    let mut samples = [0; KEY_LEN];
    for index in 0..count {
        // The work is a round of the generator itself, so that its time depends on the state.
        mix(&(index as u64).to_le_bytes(), Credit::None);
        let now = clock::tsc();
        samples[index % KEY_LEN] = now.wrapping_sub(last) as u8;
        last = now;
        if index % KEY_LEN == KEY_LEN - 1 {
            mix(&samples, credit);
        }
    }
}

/// A stream of random bytes.
pub fn stream() -> Stream {
    let now_ns = platform::now_ns();
    let due = {
        let mut state = GENERATOR.lock();
        let due = now_ns >= state.reseed_at_ns;
        if due {
            state.reseed_at_ns = now_ns.saturating_add(RESEED_INTERVAL_NS);
        }
        due
    };
    if due {
        mix(&clock::tsc().to_le_bytes(), Credit::None);
        mix_cpu();
        mix_source();
    }
    GENERATOR.lock().generator.stream()
}

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    stream().fill(bytes);
}

/// Eight random bytes as a number.
pub fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
