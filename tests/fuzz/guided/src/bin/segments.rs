//! A connection, and a peer who sends whatever the fuzzer likes: nothing panics, time goes on, and memory is bounded.
//!
//! The input is a list of steps. Numbers in segments are relative to what the connection expects, so that most of them
//! are looked at.

#![no_main]

use std::sync::Arc;

use guided_fuzz::{begin, page_of};
use libfuzzer_sys::fuzz_target;
use packet::{Checksum, Packet};
use tcp::{Connection, Flags, Linger, Options, Path, ReadMode, Secrets, Segment, State, Tuple, WriteFlags};
use vfs::SliceSrc;

/// The automatic buffers' bounds, both ways, and books.
const MOST_MEMORY: usize = 12 << 20;

/// Reads an input from its front; what is not there is 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Around 0, and sometimes far.
    fn offset(&mut self) -> u32 {
        let word = self.word();
        if word & 1 == 0 { ((word as i16) >> 1) as u32 } else { u32::from(word) << 8 }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

struct Peer {
    tuple: Tuple,
    connection: Box<Connection>,
    now_ns: u64,
    out: Vec<Box<Packet>>,
    /// What the connection has sent up to, and expects.
    sent: u32,
    expected: u32,
}

impl Peer {
    fn new() -> Self {
        let tuple = Tuple { local: ([10, 0, 0, 1], 4000).into(), remote: ([10, 0, 0, 2], 80).into() };
        let secrets = Arc::new(Secrets::new([1; 48]));
        let now_ns = 1_000_000_000;
        let path = Path { mtu: 1500, segmentation_offload: true };
        let mut out = Vec::new();
        let isn = secrets.isn(now_ns, &tuple);
        let connection = Connection::connect(now_ns, tuple, path, isn, &Options::default(), &mut out);
        let mut peer = Self { tuple, connection: Box::new(connection), now_ns, out, sent: 0, expected: 1 };
        peer.look();
        peer
    }

    /// Takes note of what was sent.
    fn look(&mut self) {
        for packet in self.out.drain(..) {
            let head = packet.head();
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let header_bytes = usize::from(head[12] >> 4) * 4;
            let flags = Flags::from_bits_retain(head[13]);
            let takes = u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
            let len = (packet.len() - header_bytes) as u32;
            self.sent = word(4).wrapping_add(len).wrapping_add(takes);
            if flags.contains(Flags::ACK) {
                self.expected = word(8);
            }
        }
        assert!(self.connection.memory_bytes() <= MOST_MEMORY);
        let _ = (self.connection.readiness(), self.connection.info(self.now_ns));
    }

    fn segment(&mut self, input: &mut Input) {
        let flags = input.byte();
        let sequence = self.expected.wrapping_add(input.offset());
        let acknowledgement = self.sent.wrapping_add(input.offset());
        let window = input.word();
        let urgent = if flags & 0x20 != 0 { input.word() } else { 0 };
        let mut options = match input.byte() {
            len @ 0..=40 => input.bytes(len.into()),
            // Selective acknowledgements, relative too.
            blocks => {
                let count = 1 + blocks % 4;
                let mut bytes = vec![1, 1, 5, 2 + 8 * count];
                for _ in 0..count * 2 {
                    bytes.extend(self.sent.wrapping_add(input.offset()).to_be_bytes());
                }
                bytes
            }
        };
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let payload = vec![7; usize::from(input.word() % 3000)];
        let mut bytes = Vec::new();
        bytes.extend(self.tuple.remote.port().to_be_bytes());
        bytes.extend(self.tuple.local.port().to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledgement.to_be_bytes());
        bytes.extend([((20 + options.len()) as u8 / 4) << 4, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(urgent.to_be_bytes());
        bytes.extend(options);
        let mut packet = Box::new(Packet::from_head(&bytes));
        if payload.len() <= packet.head_room_behind() {
            packet.append_head(payload.len()).copy_from_slice(&payload);
        } else {
            packet.push(page_of(&payload)).expect("one fragment");
        }
        packet.checksum = Checksum::Verified;
        if let Ok(segment) = Segment::parse(self.tuple.remote.ip(), self.tuple.local.ip(), packet) {
            self.connection.segment(self.now_ns, segment, &mut self.out);
        }
    }

    fn step(&mut self, input: &mut Input) {
        match input.byte() % 8 {
            0 => {
                let bytes = vec![5; input.word().into()];
                let flags = WriteFlags::from_bits_truncate(input.byte());
                let _ = self.connection.write(self.now_ns, &mut SliceSrc::new(&bytes), flags, &mut self.out);
            }
            1 => {
                let mut buffer = vec![0; input.word().into()];
                let mut destination = &mut buffer[..];
                let _ = self.connection.read(self.now_ns, &mut destination, ReadMode::Take, &mut self.out);
            }
            2 => {
                self.now_ns += u64::from(input.word()) << (input.byte() % 24);
                if self.connection.deadline().is_some_and(|deadline| deadline <= self.now_ns) {
                    self.connection.poll(self.now_ns, &mut self.out);
                    let next = self.connection.deadline();
                    assert!(next.is_none_or(|next| next > self.now_ns), "a timer that does not move on");
                }
            }
            3 => {
                let _ = self.connection.shutdown(self.now_ns, tcp::Shutdown::Write, &mut self.out);
            }
            4 if input.byte() == 0 => {
                self.connection.close(self.now_ns, Linger::Background, &mut self.out);
            }
            _ => self.segment(input),
        }
        self.look();
    }
}

/// A handshake, and what may follow it.
fn seeds() -> Vec<Vec<u8>> {
    let syn_ack = [7, 0x12, 0, 0, 0, 0, 0xff, 0xff, 8, 2, 4, 5, 0xb4, 4, 2, 1, 1, 0, 0];
    let data = [7, 0x10, 2, 0, 0, 0, 0xff, 0xff, 0, 100, 0];
    let ahead = [7, 0x10, 200, 0, 0, 0, 0xff, 0xff, 0, 100, 0];
    let sack = [7, 0x10, 0, 0, 0xf0, 0xff, 0xff, 0xff, 41, 0xf8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let write = [0, 0, 16, 0];
    let read = [1, 0, 16];
    let wait = [2, 0xff, 0xff, 16];
    let fin = [7, 0x11, 2, 0, 0, 0, 0xff, 0xff, 0, 0, 0];
    vec![
        [&syn_ack[..], &data, &read, &write, &wait, &fin].concat(),
        [&syn_ack[..], &ahead, &ahead, &data, &read, &wait, &[3]].concat(),
        [&syn_ack[..], &write, &sack, &wait, &sack, &write, &wait, &[4, 0]].concat(),
    ]
}

fuzz_target!(init: begin(seeds), |data: &[u8]| {
    let mut input = Input(data);
    let mut peer = Peer::new();
    while !input.0.is_empty() && peer.connection.state() != State::Closed {
        peer.step(&mut input);
    }
});
