//! Damage.

use packet::internet_checksum;

/// Numbers that are random enough (xorshift64*), the same ones for the same seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((self.roll() >> 16) % limit as u64) as usize
    }

    /// Whether something happens that does so once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Values at which lengths and counters tip over.
const EDGES: [u16; 12] = [0, 1, 4, 5, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff];

/// Longest frame that is made.
const FRAME_LIMIT: usize = 9000;

/// Damages frames.
pub struct Mutator {
    pub dice: Dice,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }

    /// One of `seeds`, damaged in a few ways or none.
    pub fn frame(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut frame = seeds[self.dice.below(seeds.len())].clone();
        self.damage(&mut frame, seeds);
        frame
    }

    /// Damages a frame in a few ways or none; most often its checksums are right afterwards.
    pub fn damage(&mut self, frame: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        for _ in 0..self.dice.below(4) {
            self.damage_once(frame, seeds);
        }
        if !self.dice.once_in(8) {
            fix_checksums(frame);
        }
    }

    fn damage_once(&mut self, frame: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        if frame.is_empty() {
            return;
        }
        // Headers are where it hurts.
        let reach = if self.dice.once_in(4) { frame.len() } else { frame.len().min(94) };
        let at = self.dice.below(reach);
        match self.dice.below(10) {
            0 => frame[at] ^= 1 << self.dice.below(8),
            1 | 2 => frame[at] = self.dice.roll() as u8,
            3 | 4 => {
                let value = EDGES[self.dice.below(EDGES.len())].to_be_bytes();
                let end = (at + 2).min(frame.len());
                frame[at..end].copy_from_slice(&value[..end - at]);
            }
            // The IP header's length, so that it is nearly right.
            5 => {
                let place = if frame.get(14).is_some_and(|first| first >> 4 == 4) { 16 } else { 18 };
                if let Some([high, low]) = frame.get_mut(place..place + 2) {
                    let nearly = u16::from_be_bytes([*high, *low])
                        .wrapping_add(self.dice.below(17) as u16)
                        .wrapping_sub(8);
                    [*high, *low] = nearly.to_be_bytes();
                }
            }
            6 => frame.truncate(at),
            7 => {
                let more = self.dice.below(80);
                frame.resize((frame.len() + more).min(FRAME_LIMIT), self.dice.roll() as u8);
            }
            8 => {
                let part = self.dice.below(frame.len() - at).min(64) + 1;
                let copy = frame[at..(at + part).min(frame.len())].to_vec();
                let to = self.dice.below(frame.len());
                frame.splice(to..to, copy);
                frame.truncate(FRAME_LIMIT);
            }
            _ => {
                let other = &seeds[self.dice.below(seeds.len())];
                frame.truncate(at);
                frame.extend(other.iter().skip(at));
            }
        }
    }
}

/// Puts the checksums of IP, TCP, UDP and ICMP right, as far as they can be found.
pub fn fix_checksums(frame: &mut [u8]) {
    let Some(ip) = frame.get_mut(14..) else { return };
    match ip.first().map(|first| first >> 4) {
        Some(4) => fix_ipv4(ip),
        Some(6) => fix_ipv6(ip),
        _ => {}
    }
}

fn fix_ipv4(ip: &mut [u8]) {
    let header_bytes = usize::from(ip[0] & 0xf) * 4;
    if header_bytes < 20 || ip.len() < header_bytes {
        return;
    }
    ip[10..12].fill(0);
    let sum = checksum(0, &ip[..header_bytes]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]])).min(ip.len());
    if fragment || total < header_bytes {
        return;
    }
    let (header, transport) = ip[..total].split_at_mut(header_bytes);
    let pseudo = internet_checksum::add(u64::from(header[9]) + transport.len() as u64, &header[12..20]);
    fix_transport(header[9], pseudo, transport);
}

fn fix_ipv6(ip: &mut [u8]) {
    let Some((header, rest)) = ip.split_at_mut_checked(40) else { return };
    let len = usize::from(u16::from_be_bytes([header[4], header[5]])).min(rest.len());
    let mut rest = &mut rest[..len];
    let mut next = header[6];
    // Hop-by-hop options, routing, destination options: next header, and length in units of eight bytes beyond the first.
    while matches!(next, 0 | 43 | 60) && rest.len() >= 8 {
        next = rest[0];
        let len = (usize::from(rest[1]) + 1) * 8;
        match rest.split_at_mut_checked(len) {
            Some((_, after)) => rest = after,
            None => return,
        }
    }
    let pseudo = internet_checksum::add(u64::from(next) + rest.len() as u64, &header[8..40]);
    fix_transport(next, pseudo, rest);
}

fn fix_transport(protocol: u8, pseudo: u64, transport: &mut [u8]) {
    let (place, pseudo) = match protocol {
        6 => (16, pseudo),
        17 => (6, pseudo),
        58 => (2, pseudo),
        1 | 2 => (2, 0),
        _ => return,
    };
    if transport.len() < place + 2 {
        return;
    }
    transport[place..place + 2].fill(0);
    let sum = checksum(pseudo, transport);
    transport[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

fn checksum(sum: u64, bytes: &[u8]) -> u16 {
    !internet_checksum::fold(internet_checksum::add(sum, bytes))
}
