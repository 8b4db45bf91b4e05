//! Two endpoints in virtual time, and a link between them that loses, delays, repeats and damages packets.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::vec_box, reason = "packets are boxed everywhere")]

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, sync::Arc};

use packet::{Checksum, Packet, internet_checksum};
use tcp::{
    AcceptQueue, Connection, Listener, Options, Path, Secrets, Segment, TimeWait, TimeWaitVerdict, Tuple,
    Verdict,
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// A small generator of numbers that are random enough for faults (xorshift64*).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    pub fn hit(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What the link does.
#[derive(Clone, Debug)]
pub struct LinkFaults {
    pub loss: u64,
    pub duplication: u64,
    pub corruption: u64,
    /// Packets that are delayed by up to `jitter_ns` more, and so overtaken.
    pub reordering: u64,
    pub jitter_ns: u64,
    pub delay_ns: u64,
    /// Bytes in a second; 0 for no limit.
    pub rate: u64,
    /// Packets that may wait for the rate.
    pub queue: usize,
}

impl LinkFaults {
    pub fn none(delay_ns: u64) -> Self {
        Self {
            loss: 0,
            duplication: 0,
            corruption: 0,
            reordering: 0,
            jitter_ns: 0,
            delay_ns,
            rate: 0,
            queue: 1000,
        }
    }
}

/// A packet on the link, by the time of its arrival.
struct Flying {
    at: u64,
    number: u64,
    to: usize,
    packet: Box<Packet>,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Flying {}
impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One end.
#[derive(Default)]
pub struct End {
    pub connection: Option<Box<Connection>>,
    pub time_wait: Option<TimeWait>,
    pub listener: Option<Listener>,
    pub options: Options,
    pub out: Vec<Box<Packet>>,
    /// Packets sent, and their bytes.
    pub packets: u64,
    pub bytes: u64,
}

/// Sees when a packet goes out, and who sends it.
pub type Filter = Box<dyn FnMut(u64, usize, &Packet) -> bool>;

/// The two ends and the link.
pub struct World {
    pub now: u64,
    pub ends: [End; 2],
    pub path: Path,
    pub faults: [LinkFaults; 2],
    pub dice: Dice,
    pub secrets: Arc<Secrets>,
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
    busy_until: [u64; 2],
    /// Called for each packet that goes out, with who sends it; false drops it.
    pub filter: Option<Filter>,
}

pub fn addresses() -> [SocketAddr; 2] {
    [([10, 0, 0, 1], 40_000).into(), ([10, 0, 0, 2], 80).into()]
}

impl World {
    pub fn new(seed: u64, path: Path, faults: LinkFaults) -> Self {
        frames::host::init();
        Self {
            now: SECOND,
            ends: Default::default(),
            path,
            faults: [faults.clone(), faults],
            dice: Dice::new(seed),
            secrets: Arc::new(Secrets::new([seed as u8; 48])),
            flying: BinaryHeap::new(),
            number: 0,
            busy_until: [0; 2],
            filter: None,
        }
    }

    pub fn tuple(&self, end: usize) -> Tuple {
        let addresses = addresses();
        Tuple { local: addresses[end], remote: addresses[1 - end] }
    }

    /// End 1 listens, and end 0 begins a connection.
    pub fn start(&mut self) {
        self.ends[1].listener = Some(Listener::new(self.secrets.clone(), 16));
        self.connect(0);
    }

    pub fn connect(&mut self, end: usize) {
        let tuple = self.tuple(end);
        let isn = self.secrets.isn(self.now, &tuple);
        let (now, path) = (self.now, self.path);
        let End { connection, options, out, .. } = &mut self.ends[end];
        *connection = Some(Box::new(Connection::connect(now, tuple, path, isn, options, out)));
        self.send_all(end);
    }

    /// Calls `act` with a connection, and sends what comes out.
    pub fn with<T>(
        &mut self,
        end: usize,
        act: impl FnOnce(u64, &mut Connection, &mut Vec<Box<Packet>>) -> T,
    ) -> T {
        let now = self.now;
        let End { connection, out, .. } = &mut self.ends[end];
        let result = act(now, connection.as_mut().expect("a connection"), out);
        self.send_all(end);
        result
    }

    pub fn connection(&self, end: usize) -> &Connection {
        self.ends[end].connection.as_ref().expect("a connection")
    }

    fn send_all(&mut self, from: usize) {
        let packets = std::mem::take(&mut self.ends[from].out);
        for packet in packets {
            self.send(from, packet);
        }
    }

    fn send(&mut self, from: usize, packet: Box<Packet>) {
        self.ends[from].packets += 1;
        self.ends[from].bytes += packet.len() as u64;
        if let Some(filter) = &mut self.filter
            && !filter(self.now, from, &packet)
        {
            return;
        }
        for mut packet in cut(packet) {
            let faults = self.faults[from].clone();
            complete_checksum(&self.tuple(from), &mut packet);
            if self.dice.hit(faults.loss) {
                continue;
            }
            if self.dice.hit(faults.corruption) {
                corrupt(&mut packet, &mut self.dice);
            }
            let mut at = self.now;
            if let Some(time) = ((packet.len() as u64 + 40) * SECOND).checked_div(faults.rate) {
                let start = self.busy_until[from].max(self.now);
                if (start - self.now) / time.max(1) > faults.queue as u64 {
                    continue;
                }
                self.busy_until[from] = start + time;
                at = start + time;
            }
            at += faults.delay_ns;
            if self.dice.hit(faults.reordering) {
                at += self.dice.below(faults.jitter_ns);
            }
            if self.dice.hit(faults.duplication) {
                let extra = self.dice.below(faults.jitter_ns.max(1));
                self.fly(at + extra, 1 - from, packet.clone());
            }
            self.fly(at, 1 - from, packet);
        }
    }

    fn fly(&mut self, at: u64, to: usize, packet: Box<Packet>) {
        self.number += 1;
        self.flying.push(Reverse(Flying { at, number: self.number, to, packet }));
    }

    /// Brings a packet to an end as if it came from the other one.
    pub fn deliver(&mut self, to: usize, packet: Box<Packet>) {
        let tuple = self.tuple(to);
        let Ok(segment) = Segment::parse(tuple.remote.ip(), tuple.local.ip(), packet) else { return };
        if segment.destination_port != tuple.local.port() || segment.source_port != tuple.remote.port() {
            return;
        }
        let (now, path) = (self.now, self.path);
        let end = &mut self.ends[to];
        let is_open = end.connection.as_ref().is_some_and(|c| c.state() != tcp::State::Closed);
        if is_open {
            end.connection.as_mut().expect("it is open").segment(now, segment, &mut end.out);
        } else {
            let mut isn = None;
            if let Some(time_wait) = &mut end.time_wait {
                match time_wait.segment(now, &segment, &mut end.out) {
                    TimeWaitVerdict::Stays => return self.after(to),
                    TimeWaitVerdict::Over => {
                        end.time_wait = None;
                        return self.after(to);
                    }
                    TimeWaitVerdict::NewConnection(numbers) => {
                        end.time_wait = None;
                        isn = Some(numbers);
                    }
                }
            }
            match &mut end.listener {
                Some(listener) => {
                    let verdict = listener.segment(
                        now,
                        &tuple,
                        path,
                        segment,
                        isn,
                        AcceptQueue::HasRoom,
                        &end.options,
                        &mut end.out,
                    );
                    if let Verdict::Established(connection) = verdict {
                        end.connection = Some(connection);
                    }
                }
                None => end.out.extend(tcp::reset_for(&tuple, &segment)),
            }
        }
        self.after(to);
    }

    fn after(&mut self, end: usize) {
        let at = &mut self.ends[end];
        if let Some(record) = at.connection.as_mut().and_then(|c| c.take_time_wait()) {
            at.time_wait = Some(record);
        }
        self.send_all(end);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<u64> {
        let flying = self.flying.peek().map(|Reverse(flying)| flying.at);
        let timers = self.ends.iter().flat_map(|end| {
            [
                end.connection.as_ref().and_then(|c| c.deadline()),
                end.listener.as_ref().and_then(|l| l.deadline()),
                end.time_wait.as_ref().map(|t| t.deadline()),
            ]
        });
        timers.chain([flying]).flatten().min()
    }

    /// Lets the next thing happen. False if there is nothing any more.
    pub fn step(&mut self) -> bool {
        let Some(at) = self.next_event() else { return false };
        self.now = self.now.max(at);
        while self.flying.peek().is_some_and(|Reverse(flying)| flying.at <= self.now) {
            if let Some(Reverse(flying)) = self.flying.pop() {
                self.deliver(flying.to, flying.packet);
            }
        }
        for end in 0..2 {
            let now = self.now;
            let at = &mut self.ends[end];
            if let Some(connection) = &mut at.connection
                && connection.deadline().is_some_and(|deadline| deadline <= now)
            {
                connection.poll(now, &mut at.out);
                assert!(
                    connection.deadline().is_none_or(|deadline| deadline > now),
                    "a timer that does not move on: {connection:?}"
                );
            }
            let mut repeated = Vec::new();
            if let Some(listener) = &mut at.listener {
                listener.poll(now, &mut |_, packet| repeated.push(packet));
            }
            at.out.extend(repeated);
            if at.time_wait.as_ref().is_some_and(|record| record.deadline() <= now) {
                at.time_wait = None;
            }
            self.after(end);
        }
        true
    }

    /// Runs until `done`, or until nothing happens any more, or `limit_ns` has passed.
    pub fn run_until(&mut self, limit_ns: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit_ns;
        loop {
            if done(self) {
                return true;
            }
            match self.next_event() {
                Some(at) if at <= end => {
                    self.step();
                }
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
        }
    }

    pub fn run_for(&mut self, ns: u64) {
        self.run_until(ns, |_| false);
    }
}

/// What a device does with a packet to be segmented.
pub fn cut(packet: Box<Packet>) -> Vec<Box<Packet>> {
    let Some(segmentation) = packet.segmentation else { return vec![packet] };
    let header_bytes = usize::from(segmentation.header_bytes);
    let mut header = packet.head()[..header_bytes].to_vec();
    let payload_len = packet.len() - header_bytes;
    let size = usize::from(segmentation.segment_bytes);
    assert!(payload_len > size, "segmentation of what is one segment");
    let mut packets = Vec::new();
    let mut at = 0;
    while at < payload_len {
        let len = size.min(payload_len - at);
        let mut part = (*packet).clone();
        part.segmentation = None;
        part.trim_front(header_bytes + at);
        part.truncate(len);
        let mut fresh = Packet::new();
        for fragment in part.body() {
            fresh.push(fragment.clone()).expect("no more fragments than before");
        }
        assert_eq!(fresh.len(), len, "payload lies in fragments");
        fresh.prepend(header_bytes).copy_from_slice(&header);
        if at + len < payload_len {
            fresh.head_mut()[13] &= !9;
        }
        fresh.checksum = Checksum::Partial { start: 0, offset: 16 };
        packets.push(Box::new(fresh));
        at += len;
        let sequence = u32::from_be_bytes(header[4..8].try_into().unwrap()).wrapping_add(len as u32);
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
    }
    packets
}

/// Sums what a device would.
pub fn complete_checksum(tuple: &Tuple, packet: &mut Packet) {
    let mut bytes = vec![0; packet.len()];
    packet.read(0, &mut bytes);
    bytes[16..18].fill(0);
    let mut sum = internet_checksum::add(6 + bytes.len() as u64, &bytes);
    for address in [tuple.local.ip(), tuple.remote.ip()] {
        sum = match address {
            std::net::IpAddr::V4(address) => internet_checksum::add(sum, &address.octets()),
            std::net::IpAddr::V6(address) => internet_checksum::add(sum, &address.octets()),
        };
    }
    let sum = !internet_checksum::fold(sum);
    packet.head_mut()[16..18].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Unverified;
}

fn corrupt(packet: &mut Packet, dice: &mut Dice) {
    let len = packet.head().len() as u64;
    let at = dice.below(len) as usize;
    packet.head_mut()[at] ^= 1 << dice.below(8);
}
