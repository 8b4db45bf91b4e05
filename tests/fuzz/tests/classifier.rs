//! The classifier.

use frames::PageRef;
use netchannels::Framing;
use packet::{Fragment, HEAD_BYTES, MacAddress};
use receive_fuzz::{Mutator, check_classified, received, rounds, seed, seeds};

fn page_of(bytes: &[u8]) -> Fragment {
    let page = PageRef::new_zeroed().expect("host memory");
    page.write(0, bytes);
    Fragment::new(page, 0, bytes.len())
}

#[test]
fn whatever_it_takes_for_a_flow_has_whole_headers() {
    frames::host::init();
    let seeds = seeds::all();
    let mut mutator = Mutator::new(seed());
    let mut flows = 0_u64;
    let rounds = rounds(200_000);
    for _ in 0..rounds {
        let frame = mutator.frame(&seeds);
        let head = if mutator.dice.once_in(4) { mutator.dice.below(HEAD_BYTES) } else { HEAD_BYTES };
        let (bytes, framing) = match mutator.dice.once_in(4) && frame.len() >= 14 {
            true => (&frame[14..], Framing::Ip),
            false => (&frame[..], Framing::Ethernet(MacAddress(seeds::OWN_MAC))),
        };
        let Some(mut packet) = received(bytes, head, page_of) else { continue };
        flows += u64::from(check_classified(&mut packet, framing));
    }
    assert!(flows > rounds / 20, "only {flows} of {rounds} packets were good enough");
}
