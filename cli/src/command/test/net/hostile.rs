//! Bad cables and bad neighbours: frames that are lost, broken, forged, or too many.

use std::time::{Duration, Instant};

use super::{
    Fixture, Verdict, expect,
    guest::{Guest, PATIENCE},
    http::{self, pattern},
    wire::{GUEST, Wire, xorshift},
};
use crate::network::faulty_link::Faults;

/// The gateway's addresses, libslirp's.
const GATEWAY_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

const SERVICE_PORT: u16 = 8080;

/// What a flood may leave in use: the JVM's own growth, and what the guest's stack may keep for a while (fragments, half-open
/// connections). A packet that is kept for each of the forged ones would be more.
const MEMORY_TOLERANCE_KIB: i64 = 64 << 10;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The HTTP appliance at the end of a cable, answering.
fn serve(fixture: &Fixture, faults: &Faults) -> Result<(Guest, Wire), String> {
    let wire = Wire::new(faults, SERVICE_PORT)?;
    let options = wire.options()?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let guest = Guest::appliance(fixture, "http", &options, &[])?;
    guest.wait_for("listening")?;
    http::wait_until_it_answers(wire.port, "/")?;
    Ok((guest, wire))
}

pub fn one_percent(fixture: &Fixture) -> Verdict {
    lossy(
        fixture,
        &Faults { drop: 0.01, duplicate: 0.01, reorder: 0.01, corrupt: 0.01, ..Faults::default() },
        fixture.by_length(8 << 20, 100 << 20),
    )
}

pub fn five_percent(fixture: &Fixture) -> Verdict {
    lossy(
        fixture,
        &Faults { drop: 0.05, duplicate: 0.02, reorder: 0.05, corrupt: 0.01, ..Faults::default() },
        fixture.by_length(1 << 20, 20 << 20),
    )
}

/// Data comes whole over a cable that loses, repeats, reorders and damages frames.
fn lossy(fixture: &Fixture, faults: &Faults, length: u64) -> Verdict {
    let (guest, wire) = serve(fixture, faults)?;
    http::both_ways(wire.port, length)?;
    for number in 0..20 {
        let answer =
            http::get(wire.port, "/bytes/5000").map_err(|error| format!("request {number}: {error}"))?;
        expect("the answer is right", answer.body == pattern(5000), true)?;
    }
    guest.stop()
}

/// Too much of everything. Meanwhile and afterwards the service answers, and memory does not grow.
pub fn floods(fixture: &Fixture) -> Verdict {
    let (guest, wire) = serve(fixture, &Faults::default())?;
    let before = http::statistics(wire.port)?;
    let mut forger = Forger::new(wire.guest_mac()?);
    let count = fixture.by_length(5_000, 100_000);
    let floods: [(&str, Flood); 8] = [
        ("SYN", |forger| forger.tcp(SERVICE_PORT, SYN, &[])),
        ("SYN to closed ports", |forger| {
            let port = forger.random() as u16;
            forger.tcp(port, SYN, &[])
        }),
        ("RST", |forger| forger.tcp(SERVICE_PORT, RST, &[])),
        ("ACK of no connection", |forger| forger.tcp(SERVICE_PORT, ACK, &[b'x'; 100])),
        ("FIN and SYN at once", |forger| forger.tcp(SERVICE_PORT, SYN | FIN | RST, &[])),
        ("fragments", Forger::fragment),
        ("datagrams to closed ports", |forger| {
            let port = forger.random() as u16;
            forger.udp(port, &[b'x'; 200])
        }),
        ("echo requests", |forger| forger.ipv4(PROTOCOL_ICMP, 0, &[8, 0, 0, 0, 0, 1, 0, 1])),
    ];
    for (name, flood) in floods {
        for number in 0..count {
            wire.forge(&flood(&mut forger))?;
            if number % (count / 4) == 0 {
                answers(&wire).map_err(|problem| format!("during the flood of {name}: {problem}"))?;
            }
        }
        answers(&wire).map_err(|problem| format!("after the flood of {name}: {problem}"))?;
    }
    is_well(&wire, before["available-kib"], before["threads"])?;
    guest.stop()
}

type Flood = fn(&mut Forger) -> Vec<u8>;

/// Frames that are wrong in every way that a generator finds. The first ones are made, the rest are damaged at random.
pub fn broken_frames(fixture: &Fixture) -> Verdict {
    let (guest, wire) = serve(fixture, &Faults::default())?;
    let before = http::statistics(wire.port)?;
    let mut forger = Forger::new(wire.guest_mac()?);
    for frames in forger.curiosities().chunks(10) {
        for frame in frames {
            wire.forge(frame)?;
        }
        answers(&wire).map_err(|problem| format!("after one of {frames:02x?}: {problem}"))?;
    }
    for number in 0..fixture.by_length(20_000, 500_000) {
        let frame = forger.damaged();
        wire.forge(&frame)?;
        if number % 5_000 == 0 {
            answers(&wire).map_err(|problem| format!("after {number} broken frames: {problem}"))?;
        }
    }
    is_well(&wire, before["available-kib"], before["threads"])?;
    guest.stop()
}

fn answers(wire: &Wire) -> Verdict {
    let answer = http::get(wire.port, "/bytes/3000").map_err(|error| format!("the service: {error}"))?;
    expect("the answer is right", answer.body == pattern(3000), true)
}

/// What was held for the forged connections goes after some time, and the rest is no more than before.
fn is_well(wire: &Wire, available_kib: i64, threads: i64) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let after = http::statistics(wire.port)?;
        let memory_is_back = after["available-kib"] >= available_kib - MEMORY_TOLERANCE_KIB;
        if memory_is_back && after["connections"] == 1 {
            return expect("threads", after["threads"] <= threads + 6, true);
        }
        if Instant::now() > deadline {
            return Err(format!("{available_kib} KiB were available before; after: {after:?}"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Makes frames to the guest.
struct Forger {
    guest_mac: [u8; 6],
    random: u64,
}

impl Forger {
    fn new(guest_mac: [u8; 6]) -> Self {
        Self { guest_mac, random: 0x2545_f491_4f6c_dd1d }
    }

    fn random(&mut self) -> u64 {
        self.random = xorshift(self.random);
        self.random >> 16
    }

    fn ethernet(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        [&self.guest_mac[..], &GATEWAY_MAC, &kind.to_be_bytes(), payload].concat()
    }

    /// Somebody in the guest's network or outside of it, but never the gateway.
    fn source(&mut self) -> [u8; 4] {
        let random = self.random();
        let [a, b, c, _, ..] = random.to_le_bytes();
        if random & (1 << 40) == 0 { [10, 0, 2, 100 + a % 100] } else { [198, 18 + (a & 1), b, c] }
    }

    /// A packet of RFC 791. `fragment` is the field with flags and offset.
    fn ipv4(&mut self, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let source = self.source();
        self.ipv4_from(source, protocol, fragment, payload)
    }

    fn ipv4_from(&mut self, source: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let id = self.random() as u16;
        let mut header = vec![0x45, 0];
        header.extend(((20 + payload.len()) as u16).to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([64, protocol, 0, 0]);
        header.extend(source);
        header.extend(GUEST.octets());
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        self.ethernet(0x0800, &[&header, payload].concat())
    }

    fn tcp(&mut self, port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.tcp_with(port, flags, &[], payload)
    }

    /// A segment of RFC 9293; the options' length is a multiple of four.
    fn tcp_with(&mut self, port: u16, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let source = self.source();
        let (random, window) = (self.random(), 64240_u16);
        let mut segment = ((random >> 32) as u16 | 1024).to_be_bytes().to_vec();
        segment.extend(port.to_be_bytes());
        segment.extend((random as u32).to_be_bytes());
        segment.extend(((random >> 8) as u32).to_be_bytes());
        segment.extend([(5 + options.len() as u8 / 4) << 4, flags]);
        segment.extend(window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(options);
        segment.extend(payload);
        let sum = transport_checksum(source, PROTOCOL_TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.ipv4_from(source, PROTOCOL_TCP, 0, &segment)
    }

    fn udp(&mut self, port: u16, payload: &[u8]) -> Vec<u8> {
        let source = self.source();
        let mut datagram = (self.random() as u16 | 1024).to_be_bytes().to_vec();
        datagram.extend(port.to_be_bytes());
        datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        let sum = transport_checksum(source, PROTOCOL_UDP, &datagram);
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.ipv4_from(source, PROTOCOL_UDP, 0, &datagram)
    }

    /// One that is never joined by its others: each has an identification of its own.
    fn fragment(&mut self) -> Vec<u8> {
        const MORE: u16 = 0x2000;
        let offset = self.random() as u16 & 0x1fff;
        self.ipv4(PROTOCOL_UDP, MORE | offset, &[b'f'; 512])
    }

    /// What is wrong in known ways.
    fn curiosities(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        // Cut short at each byte. But for the empty one: QEMU takes that for the end of the cable.
        let whole = self.tcp_with(SERVICE_PORT, SYN, &[2, 4, 5, 0xb4], b"data");
        frames.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
        // Padded, and longer than it says.
        frames.push([&whole[..], &[0xff; 1000]].concat());
        // Wrong checksums: of the packet, of the segment.
        for at in [24, 50] {
            let mut frame = whole.clone();
            frame[at] ^= 0x55;
            frames.push(frame);
        }
        // Lengths that are not so: the header's, the packet's, the segment's, the datagram's.
        for (at, value) in [(14, 0x41), (14, 0x4f), (14, 0x65), (16, 0xff), (17, 0), (46, 0x00), (46, 0xf0)] {
            let mut frame = whole.clone();
            frame[at] = value;
            repair(&mut frame);
            frames.push(frame);
        }
        for length in [0_u16, 7, 9, 65535] {
            let mut frame = self.udp(9, b"datagram");
            frame[38..40].copy_from_slice(&length.to_be_bytes());
            frames.push(frame);
        }
        // Options: without end, of no length, longer than there is room; and two of each.
        for options in [
            [2, 0, 0, 0, 0, 0, 0, 0],
            [2, 1, 2, 1, 2, 1, 2, 1],
            [2, 255, 1, 1, 1, 1, 1, 1],
            [3, 3, 255, 3, 3, 255, 3, 3],
            [5, 34, 0, 0, 0, 0, 0, 0],
            [8, 10, 0, 0, 0, 0, 0, 0],
            [2, 4, 0, 0, 2, 4, 0, 1],
            [30, 2, 30, 2, 30, 2, 30, 8],
        ] {
            frames.push(self.tcp_with(SERVICE_PORT, SYN, &options, &[]));
            frames.push(self.tcp_with(SERVICE_PORT, ACK, &options, b"x"));
        }
        // Fragments that overlap, that end before they begin, and the ping of death (offset beyond 65535).
        for (fragment, length) in
            [(0x2000, 64), (0x2004, 64), (0x0002, 64), (0x2001, 8), (0x1fff, 1400), (0x3fff, 1400)]
        {
            let mut frame = self.ipv4_from([10, 0, 2, 99], PROTOCOL_ICMP, fragment, &vec![8; length]);
            frame[18..20].copy_from_slice(&[0x77, 0x77]);
            repair(&mut frame);
            frames.push(frame);
        }
        // From itself, from everybody, from a group, from the loopback: none of them can have sent it.
        for source in [GUEST.octets(), [255; 4], [224, 0, 0, 1], [127, 0, 0, 1], [0; 4]] {
            let segment = &whole[34..];
            frames.push(self.ipv4_from(source, PROTOCOL_TCP, 0, segment));
            frames.push(self.ipv4_from(source, PROTOCOL_ICMP, 0, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]));
        }
        // ARP: too short, of a wrong kind, and the guest's own address claimed by another.
        frames.push(self.ethernet(0x0806, &[0; 7]));
        frames.push(self.ethernet(0x0806, &[0xff; 28]));
        let claim = [
            &[0, 1, 8, 0, 6, 4, 0, 2][..],
            &[2, 2, 2, 2, 2, 2],
            &GUEST.octets(),
            &self.guest_mac,
            &GUEST.octets(),
        ];
        frames.push(self.ethernet(0x0806, &claim.concat()));
        // ICMP errors about connections that do not exist, and with nothing in them.
        for kind in [3, 4, 5, 11, 12] {
            frames.push(self.ipv4(PROTOCOL_ICMP, 0, &[kind, 4, 0xff - kind, 0xfb, 0, 0, 0, 0]));
            let quoted = [&[kind, 1, 0, 0, 0, 0, 0, 0][..], &whole[14..42]].concat();
            frames.push(self.ipv4(PROTOCOL_ICMP, 0, &quoted));
        }
        // IPv6: no header, extension headers in circles and without end, a fragment of nothing, a huge length.
        for next in [0_u8, 43, 44, 58, 60, 59, 6, 17, 255] {
            for length in [0_u16, 1, 8, 40, 65535] {
                let header = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[next, 255]].concat();
                let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
                let to_all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                let payload = [[next, 0, 0, 0, 0, 0, 0, 0], [next, 255, 0, 0, 0, 0, 0, 0]].concat();
                frames.push(self.ethernet(0x86dd, &[&header, &source[..], &to_all, &payload].concat()));
            }
        }
        // Kinds that nobody knows, and VLAN tags around tags.
        frames.push(self.ethernet(0x9999, &[1; 100]));
        frames.push(self.ethernet(0x8100, &[0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1]));
        frames
    }

    /// A frame that was right, with some bytes changed, cut or added, and its checksums repaired half of the time: what has wrong
    /// checksums does not get far.
    fn damaged(&mut self) -> Vec<u8> {
        let mut frame = match self.random() % 6 {
            0 => self.tcp_with(SERVICE_PORT, SYN, &[2, 4, 5, 0xb4, 1, 3, 3, 7], &[]),
            1 => self.tcp_with(
                SERVICE_PORT,
                ACK,
                &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1],
                b"GET / HTTP/1.1\r\n\r\n",
            ),
            2 => self.udp(SERVICE_PORT, &[b'u'; 64]),
            3 => self.fragment(),
            4 => self.ipv4(PROTOCOL_ICMP, 0, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
            _ => {
                let who = [0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2, 10, 0, 2, 99, 0, 0, 0, 0, 0, 0];
                self.ethernet(0x0806, &[&who[..], &GUEST.octets()].concat())
            }
        };
        for _ in 0..=self.random() % 4 {
            let random = self.random();
            // Behind the hardware addresses: what is for others does not get far either.
            let at = 12 + random as usize % (frame.len() - 12);
            frame[at] = (random >> 32) as u8;
        }
        match self.random() % 8 {
            0 => frame.truncate(14 + self.random() as usize % (frame.len() - 14)),
            1 => frame.extend([0xa5; 64]),
            _ => {}
        }
        if self.random().is_multiple_of(2) {
            repair(&mut frame);
        }
        frame
    }
}

/// Makes the checksums right, as far as the packet makes sense.
fn repair(frame: &mut [u8]) {
    if frame.len() < 34 || frame[12..14] != [8, 0] {
        return;
    }
    let header_end = 14 + usize::from(frame[14] & 15) * 4;
    if header_end < 34 || frame.len() < header_end {
        return;
    }
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..header_end]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let end = frame.len().min(14 + total);
    let at = match frame[23] {
        PROTOCOL_TCP => 16,
        PROTOCOL_UDP => 6,
        PROTOCOL_ICMP => 2,
        _ => return,
    };
    if end < header_end + at + 2 {
        return;
    }
    let source = [frame[26], frame[27], frame[28], frame[29]];
    let protocol = frame[23];
    frame[header_end + at..][..2].fill(0);
    let sum = match protocol {
        PROTOCOL_ICMP => checksum(&[&frame[header_end..end]]),
        _ => transport_checksum(source, protocol, &frame[header_end..end]),
    };
    frame[header_end + at..][..2].copy_from_slice(&sum.to_be_bytes());
}

/// With the pseudo header, RFC 9293, 3.1.
fn transport_checksum(source: [u8; 4], protocol: u8, payload: &[u8]) -> u16 {
    let length = (payload.len() as u16).to_be_bytes();
    checksum(&[&source, &GUEST.octets(), &[0, protocol], &length, payload])
}

/// RFC 1071. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right() {
        // The example of RFC 1071, 3.
        assert_eq!(checksum(&[&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        let mut forger = Forger::new([2; 6]);
        let mut frame = forger.tcp_with(80, SYN, &[2, 4, 5, 0xb4], b"x");
        let right = frame.clone();
        // A sum over what holds the right checksum is zero.
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        frame[24] ^= 1;
        frame[51] ^= 1;
        repair(&mut frame);
        assert_eq!(frame, right);
    }

    #[test]
    fn damaged_frames_keep_their_addresses() {
        let mut forger = Forger::new([2; 6]);
        for _ in 0..10_000 {
            let frame = forger.damaged();
            assert!(frame.len() >= 14 && frame[..6] == [2; 6]);
        }
        assert!(forger.curiosities().len() > 150);
    }
}
