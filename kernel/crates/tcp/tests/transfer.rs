//! Data between two endpoints over links of all kinds: it arrives whole, connections end, and memory stays bounded.

mod common;

use common::{LinkFaults, MS, SECOND, World};
use proptest::prelude::*;
use tcp::{BufferSize, Linger, Path, ReadMode, Readiness, State, WriteFlags};
use vfs::SliceSrc;

const ETHERNET: Path = Path { mtu: 1500, segmentation_offload: true };

fn pattern(seed: u64, position: usize) -> u8 {
    (position as u64).wrapping_mul(seed | 1).wrapping_add(position as u64 >> 8) as u8
}

/// An application that writes `total` bytes, reads all that comes, and closes when both are done.
struct Application {
    seed: u64,
    total: usize,
    written: usize,
    expected: usize,
    read: usize,
    is_shut: bool,
    is_closed: bool,
    chunk: usize,
}

impl Application {
    fn new(seed: u64, total: usize, expected: usize, chunk: usize) -> Self {
        Self { seed, total, written: 0, expected, read: 0, is_shut: false, is_closed: false, chunk }
    }

    fn act(&mut self, world: &mut World, end: usize) {
        if world.ends[end].connection.is_none() || self.is_closed {
            return;
        }
        let readiness = world.connection(end).readiness();
        if readiness.contains(Readiness::READABLE) {
            self.read_all(world, end);
        }
        while self.written < self.total && world.connection(end).readiness().contains(Readiness::WRITABLE) {
            let len = self.chunk.min(self.total - self.written);
            let bytes: Vec<u8> = (0..len).map(|i| pattern(self.seed, self.written + i)).collect();
            let result = world.with(end, |now, connection, out| {
                connection.write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), out)
            });
            match result {
                Ok(written) => self.written += written,
                Err(linux_abi::Errno::EAGAIN) => break,
                Err(error) => panic!("write failed: {error:?}"),
            }
        }
        let is_established = !matches!(world.connection(end).state(), State::SynSent | State::SynReceived);
        if self.written == self.total && !self.is_shut && is_established {
            self.is_shut = true;
            world
                .with(end, |now, connection, out| connection.shutdown(now, tcp::Shutdown::Write, out))
                .unwrap();
        }
    }

    fn read_all(&mut self, world: &mut World, end: usize) {
        let mut buffer = vec![0; 20_000];
        loop {
            let result = world.with(end, |now, connection, out| {
                let mut destination = &mut buffer[..];
                connection.read(now, &mut destination, ReadMode::Take, out)
            });
            match result {
                Ok(0) => {
                    assert_eq!(self.read, self.expected, "an early end");
                    if self.is_shut {
                        self.is_closed = true;
                        world
                            .with(end, |now, connection, out| connection.close(now, Linger::Background, out));
                    }
                    return;
                }
                Ok(len) => {
                    for (i, &byte) in buffer[..len].iter().enumerate() {
                        assert_eq!(byte, pattern(self.seed ^ 1, self.read + i), "at {}", self.read + i);
                    }
                    self.read += len;
                }
                Err(linux_abi::Errno::EAGAIN) => return,
                Err(error) => panic!("read failed: {error:?} {:?}", world.connection(end)),
            }
        }
    }
}

/// Transfers `sizes` bytes both ways and returns the virtual time it took.
fn transfer(mut world: World, seed: u64, sizes: [usize; 2], chunk: usize, limit_ns: u64) -> (World, u64) {
    world.start();
    let start = world.now;
    let mut applications = [
        Application::new(seed, sizes[0], sizes[1], chunk),
        Application::new(seed ^ 1, sizes[1], sizes[0], chunk),
    ];
    let mut most_memory = 0;
    let mut finished = 0;
    let done = world.run_until(limit_ns, |world| {
        for (end, application) in applications.iter_mut().enumerate() {
            application.act(world, end);
            if let Some(connection) = &world.ends[end].connection {
                most_memory = most_memory.max(connection.memory_bytes());
            }
        }
        let all = applications.iter().all(|application| application.is_closed);
        if all && finished == 0 {
            finished = world.now;
        }
        all && (0..2).all(|end| world.connection(end).state() == State::Closed)
    });
    assert!(
        done,
        "stuck after {} ms: read {:?}\n{:?}\n{:?}",
        (world.now - start) / MS,
        applications.map(|a| a.read),
        world.ends[0].connection,
        world.ends[1].connection
    );
    assert!(most_memory < 24 << 20, "{most_memory} bytes");
    (world, finished - start)
}

#[test]
fn a_clean_link_is_used_well() {
    // 10 ms each way, 100 Mbit/s: the window has to grow far beyond its first size.
    let faults = LinkFaults { rate: 12_500_000, ..LinkFaults::none(10 * MS) };
    let world = World::new(1, ETHERNET, faults);
    let (world, took) = transfer(world, 1, [10_000_000, 0], 64 << 10, 60 * SECOND);
    println!("10 MB in {} ms, {} packets", took / MS, world.ends[0].packets);
    assert!(took < 1500 * MS, "{} ms", took / MS);
    assert!(world.ends[1].packets < 5500, "{} acknowledgements", world.ends[1].packets);
}

#[test]
fn loopback_sized_segments() {
    let path = Path { mtu: 65_536, segmentation_offload: true };
    let (_, took) = transfer(
        World::new(1, path, LinkFaults::none(MS / 100)),
        3,
        [5_000_000, 5_000_000],
        100_000,
        10 * SECOND,
    );
    assert!(took < 500 * MS, "{} ms", took / MS);
}

#[test]
fn one_percent_of_loss_costs_no_timeouts_to_speak_of() {
    let faults = LinkFaults { loss: 10, rate: 12_500_000, ..LinkFaults::none(5 * MS) };
    let (world, took) = transfer(World::new(5, ETHERNET, faults), 1, [5_000_000, 0], 64 << 10, 120 * SECOND);
    let _ = world;
    println!("5 MB in {} ms", took / MS);
    assert!(took < 10 * SECOND, "{} ms", took / MS);
}

#[test]
fn reordering_alone_is_not_taken_for_loss_for_long() {
    let faults =
        LinkFaults { reordering: 200, jitter_ns: 2 * MS, rate: 12_500_000, ..LinkFaults::none(10 * MS) };
    let (world, took) = transfer(World::new(5, ETHERNET, faults), 1, [5_000_000, 0], 64 << 10, 120 * SECOND);
    println!("5 MB in {} ms", took / MS);
    assert!(world.ends[0].bytes < 5_600_000, "{} bytes sent", world.ends[0].bytes);
    assert!(took < 3 * SECOND, "{} ms", took / MS);
}

#[test]
fn a_closed_window_opens_again() {
    let mut world = World::new(3, ETHERNET, LinkFaults::none(MS));
    world.ends[1].options.receive_buffer = BufferSize::Fixed(8_192);
    world.start();
    world.run_for(SECOND);
    let bytes = vec![7; 60_000];
    let written = world.with(0, |now, connection, out| {
        connection.write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), out).unwrap()
    });
    assert_eq!(written, 60_000);
    // Nobody reads: probes go on, and the connection lives.
    world.run_for(600 * SECOND);
    assert!((2000..20_000).contains(&world.connection(1).readable_bytes()));
    assert_eq!(world.connection(0).state(), State::Established);
    let mut read = 0;
    let mut buffer = [0; 3000];
    let done = world.run_until(600 * SECOND, |world| {
        while let Ok(len) = world
            .with(1, |now, connection, out| connection.read(now, &mut &mut buffer[..], ReadMode::Take, out))
        {
            read += len;
        }
        read == 60_000
    });
    assert!(done, "{read}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn data_arrives_whole(
        seed in any::<u64>(),
        loss in prop_oneof![Just(0), 0..150_u64],
        duplication in prop_oneof![Just(0), 0..100_u64],
        corruption in prop_oneof![Just(0), 0..50_u64],
        reordering in prop_oneof![Just(0), 0..300_u64],
        delay_us in prop_oneof![0..100_u64, 100..100_000_u64],
        rate in prop_oneof![Just(0), 100_000..10_000_000_u64],
        mtu in prop_oneof![Just(1500), Just(65_536), Just(576), 600..9000_u32],
        segmentation_offload in any::<bool>(),
        sizes in [0..300_000_usize, 0..100_000_usize],
        chunk in prop_oneof![1..200_usize, 200..70_000_usize],
        buffers in proptest::option::of((4_608..100_000_u32, 2_304..100_000_u32)),
        nodelay in any::<bool>(),
    ) {
        let faults = LinkFaults {
            loss, duplication, corruption, reordering, rate,
            delay_ns: delay_us * 1000,
            jitter_ns: (delay_us * 3000).max(MS),
            queue: 200,
        };
        let mut world = World::new(seed, Path { mtu, segmentation_offload }, faults);
        for end in &mut world.ends {
            end.options.nodelay = nodelay;
            if let Some((send, receive)) = buffers {
                end.options.send_buffer = BufferSize::Fixed(send);
                end.options.receive_buffer = BufferSize::Fixed(receive);
            }
        }
        transfer(world, seed, sizes, chunk, 3600 * SECOND);
    }
}
