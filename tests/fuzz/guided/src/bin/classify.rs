//! The classifier: whatever it takes for a flow has whole headers. The first byte says how the frame lies in memory.

#![no_main]

use guided_fuzz::{begin, page_of};
use libfuzzer_sys::{Corpus, fuzz_target};
use netchannels::Framing;
use packet::{HEAD_BYTES, MacAddress};
use receive_fuzz::{check_classified, received, seeds};

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

fuzz_target!(
    init: begin(|| seeds::all().into_iter().map(|frame| [vec![0], frame].concat()).collect()),
    |data: &[u8]| -> Corpus {
        let Some((&shape, frame)) = data.split_first() else { return Corpus::Reject };
        // From all in one piece to a head of some bytes.
        let head = HEAD_BYTES - usize::from(shape >> 1).min(HEAD_BYTES);
        let (bytes, framing) = match frame.get(ETHERNET_BYTES..) {
            Some(packet) if shape & 1 == 1 => (packet, Framing::Ip),
            _ => (frame, Framing::Ethernet(MacAddress(seeds::OWN_MAC))),
        };
        let Some(mut packet) = received(bytes, head, page_of) else { return Corpus::Reject };
        check_classified(&mut packet, framing);
        Corpus::Keep
    }
);
