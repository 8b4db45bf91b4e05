//! What a segment costs, in nanoseconds: `cargo run --release -p tcp --example segment_cost`.
//!
//! Two connections hand packets to each other directly. The figures include making the packet, writing and parsing
//! headers, and the copies in and out; not IP, devices or wakes.

#![allow(clippy::vec_box, reason = "packets are boxed everywhere")]

use std::{hint::black_box, sync::Arc};

use packet::Packet;
use tcp::{
    AcceptQueue, Connection, Listener, Options, Path, ReadMode, Secrets, Segment, Tuple, Verdict, WriteFlags,
};
use vfs::SliceSrc;

/// Time that this process has been given, so that others on the machine do not count.
fn cpu_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Pair {
    ends: [Box<Connection>; 2],
    out: [Vec<Box<Packet>>; 2],
    now: u64,
    segments: u64,
}

impl Pair {
    fn new(path: Path) -> Self {
        let secrets = Arc::new(Secrets::new([1; 48]));
        let options = Options::default();
        let client = Tuple { local: ([10, 0, 0, 1], 4000).into(), remote: ([10, 0, 0, 2], 80).into() };
        let server = Tuple { local: client.remote, remote: client.local };
        let mut out = [Vec::new(), Vec::new()];
        let now = 1_000_000_000;
        let isn = secrets.isn(now, &client);
        let mut connection = Box::new(Connection::connect(now, client, path, isn, &options, &mut out[0]));
        let mut listener = Listener::new(secrets, 10);
        loop {
            for packet in std::mem::take(&mut out[0]) {
                let segment =
                    Segment::parse(client.local.ip(), client.remote.ip(), packet).expect("a segment");
                let verdict = listener.segment(
                    now,
                    &server,
                    path,
                    segment,
                    None,
                    AcceptQueue::HasRoom,
                    &options,
                    &mut out[1],
                );
                if let Verdict::Established(accepted) = verdict {
                    return Self { ends: [connection, accepted], out, now, segments: 0 };
                }
            }
            for packet in std::mem::take(&mut out[1]) {
                let segment =
                    Segment::parse(server.local.ip(), server.remote.ip(), packet).expect("a segment");
                connection.segment(now, segment, &mut out[0]);
            }
        }
    }

    /// Hands over all that `from` has sent.
    fn deliver(&mut self, from: usize) {
        let mut packets = std::mem::take(&mut self.out[from]);
        let to = 1 - from;
        for packet in packets.drain(..) {
            self.segments += 1;
            let tuple = *self.ends[from].tuple();
            let segment = Segment::parse(tuple.local.ip(), tuple.remote.ip(), packet).expect("a segment");
            self.ends[to].segment(self.now, segment, &mut self.out[to]);
        }
        self.out[from] = packets;
    }
}

/// Streams from one to the other in writes of `write` bytes.
fn stream(name: &str, path: Path, write: usize, total: usize) {
    let mut pair = Pair::new(path);
    let bytes = vec![7; write];
    let mut buffer = vec![0; 256 << 10];
    let start = cpu_time_ns();
    let mut received = 0;
    while received < total {
        pair.now += 50_000;
        let now = pair.now;
        while let Ok(written) =
            pair.ends[0].write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), &mut pair.out[0])
            && written == write
        {}
        pair.deliver(0);
        while let Ok(read) = pair.ends[1].read(now, &mut &mut buffer[..], ReadMode::Take, &mut pair.out[1]) {
            received += black_box(read);
        }
        pair.deliver(1);
    }
    let ns = (cpu_time_ns() - start) as f64;
    println!("{name:<34} {:8.0} ns per segment {:8.2} GB/s", ns / pair.segments as f64, received as f64 / ns);
}

/// Questions and answers.
fn request_response(size: usize, rounds: u64) {
    let mut pair = Pair::new(Path { mtu: 1500, segmentation_offload: true });
    let bytes = vec![7; size];
    let mut buffer = vec![0; 4096];
    let start = cpu_time_ns();
    for _ in 0..rounds {
        for from in [0, 1] {
            pair.now += 20_000;
            let now = pair.now;
            pair.ends[from]
                .write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), &mut pair.out[from])
                .expect("there is room");
            pair.deliver(from);
            let to = 1 - from;
            pair.ends[to]
                .read(now, &mut &mut buffer[..], ReadMode::Take, &mut pair.out[to])
                .expect("there is data");
            black_box(&buffer);
        }
    }
    let ns = (cpu_time_ns() - start) as f64;
    println!(
        "request and response of {size:>5} bytes {:8.0} ns per segment {:8.0} ns per round",
        ns / pair.segments as f64,
        ns / rounds as f64
    );
}

fn main() {
    frames::host::init();
    println!("{} bytes for a connection without data", size_of::<Connection>());
    stream("stream, segments of 1448", Path { mtu: 1500, segmentation_offload: false }, 16 << 10, 2 << 30);
    stream("stream, 1448 with offload", Path { mtu: 1500, segmentation_offload: true }, 16 << 10, 4 << 30);
    stream("stream, loopback", Path { mtu: 65_536, segmentation_offload: true }, 64 << 10, 4 << 30);
    request_response(64, 2_000_000);
    request_response(1024, 2_000_000);
}
