//! Fuzzing of what comes from a network, on the host: `cargo test -p receive-fuzz`.
//!
//! Deterministic: a seed gives the same packets each time. Packets are made from good ones of every kind ([`seeds`]), which
//! are then damaged ([`Mutator`]): bits, bytes, lengths, overlaps, mixtures of two. Mostly checksums are put right again
//! afterwards, or nothing would come past them. Each test makes a bounded number of rounds; the variable
//! `CREMA_FUZZ_ROUNDS` gives another number, and `CREMA_FUZZ_SEED` another seed. `./crema test --long` makes many.

mod mutator;
pub mod seeds;

pub use mutator::{Dice, Mutator};
use netchannels::{Classified, Framing, Headers, classify};
use packet::Packet;

/// How many rounds to make.
pub fn rounds(usual: u64) -> u64 {
    variable("CREMA_FUZZ_ROUNDS").unwrap_or(usual)
}

/// Where the numbers begin.
pub fn seed() -> u64 {
    variable("CREMA_FUZZ_SEED").unwrap_or(1)
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// A packet as a driver makes it: so many bytes in the head at most, the rest in page frames. `None` if there are more
/// bytes than a packet has room for.
pub fn received(
    bytes: &[u8],
    head: usize,
    page_of: impl Fn(&[u8]) -> packet::Fragment,
) -> Option<Box<Packet>> {
    let (head, body) = bytes.split_at(bytes.len().min(head).min(packet::HEAD_BYTES));
    let mut packet = Box::new(Packet::from_head(head));
    for part in body.chunks(4096) {
        packet.push(page_of(part)).ok()?;
    }
    Some(packet)
}

/// Classifies a packet, and checks that what is taken for a flow has whole headers. Whether it was one.
pub fn check_classified(packet: &mut Packet, framing: Framing) -> bool {
    let Classified::Flow(flow) = classify(packet, framing) else { return false };
    flow.strip(packet);
    let headers = Headers::of(packet).expect("an IP header");
    assert_eq!(headers.destination, flow.key.local().ip());
    let transport = packet.head().get(headers.ip_header_bytes..).expect("a transport header");
    let port = u16::from_be_bytes([transport[2], transport[3]]);
    assert_eq!(port, flow.key.local().port());
    assert!(flow.key.remote().is_some_and(|remote| remote.ip() == headers.source));
    true
}
