//! Against Linux's TCP: a TUN device in a network namespace of its own is the link, Linux has one end of it, and a
//! connection of this crate is the other. What is lost or overtaken is chosen here, so that no traffic control is
//! needed. Needs the right to make namespaces and devices, so it is run on demand:
//! `cargo test -p tcp --test linux -- --ignored --test-threads=1`.

#![allow(clippy::vec_box, reason = "packets are boxed everywhere")]

mod common;

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Dice, MS, SECOND, complete_checksum};
use packet::{Checksum, Fragment, HEAD_BYTES, Packet};
use tcp::{
    AcceptQueue, Connection, Linger, Listener, Options, Path, ReadMode, Readiness, Secrets, Segment, State,
    TimeWait, Tuple, Verdict, WriteFlags,
};
use vfs::SliceSrc;

/// Both ends' addresses, ours first.
const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)), IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1)),
];
const MTU: usize = 1500;

/// What a run is about.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    /// Over IPv4 or IPv6.
    ends: [IpAddr; 2],
    /// Who begins.
    we_connect: bool,
    /// Lost packets in a thousand, each way.
    loss: u64,
    /// Packets in a thousand that are held back until some others have gone.
    reordering: u64,
    sysctl: &'static str,
    to_linux: usize,
    from_linux: usize,
    readers: Readers,
}

/// How the applications read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// As fast as they can.
    Fast,
    /// Linux's rests after each bit, with a small buffer: windows close.
    LinuxIsSlow,
    /// Ours does.
    WeAreSlow,
}

fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split_whitespace()).status().expect("it can be run");
    assert!(status.success(), "{program} {arguments}");
}

/// A TUN device in a namespace that only this thread, and what it starts, is in.
fn tun() -> File {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "no right to make a namespace");
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    // struct ifreq: the name, and flags IFF_TUN | IFF_NO_PI.
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"tcp0");
    request[16..18].copy_from_slice(&0x1001_u16.to_ne_bytes());
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    // SAFETY: the request is as large as struct ifreq.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    run("ip", "link set lo up");
    run("ip", "address add 10.9.0.1/24 dev tcp0");
    run("ip", "-6 address add fd09::1/64 dev tcp0 nodad");
    run("ip", "link set tcp0 up");
    file
}

fn pattern(salt: usize, position: usize) -> u8 {
    (position * 31 + (position >> 8) + salt) as u8
}

fn check(salt: usize, position: usize, bytes: &[u8]) {
    for (n, &byte) in bytes.iter().enumerate() {
        assert_eq!(byte, pattern(salt, position + n), "wrong byte at {}", position + n);
    }
}

/// Linux's application: sends and receives at once, and then waits for the end.
fn linux_application(stream: TcpStream, scenario: Scenario) {
    let (send, receive) = (scenario.from_linux, scenario.to_linux);
    let writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..send).map(|n| pattern(2, n)).collect();
        (&writer).write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut buffer = vec![0; 65_536];
    let mut received = 0;
    loop {
        let len = (&stream).read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        check(1, received, &buffer[..len]);
        received += len;
        if scenario.readers == Readers::LinuxIsSlow {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(received, receive);
    sender.join().unwrap();
}

/// The header of a packet of TCP from us to Linux.
fn ip_header(ends: [IpAddr; 2], payload_bytes: u16) -> Vec<u8> {
    match ends {
        [IpAddr::V4(ours), IpAddr::V4(linux)] => {
            let mut header = vec![0x45, 0];
            header.extend((20 + payload_bytes).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            header.extend(ours.octets());
            header.extend(linux.octets());
            let sum = !packet::internet_checksum::fold(packet::internet_checksum::add(0, &header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        [IpAddr::V6(ours), IpAddr::V6(linux)] => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(payload_bytes.to_be_bytes());
            header.extend([6, 64]);
            header.extend(ours.octets());
            header.extend(linux.octets());
            header
        }
        _ => panic!("two versions of IP"),
    }
}

/// Our end.
struct Ours {
    tun: File,
    start: Instant,
    dice: Dice,
    scenario: Scenario,
    tuple: Tuple,
    connection: Option<Box<Connection>>,
    listener: Option<Listener>,
    time_wait: Option<TimeWait>,
    out: Vec<Box<Packet>>,
    held: [Vec<Vec<u8>>; 2],
    written: usize,
    read: usize,
    is_shut: bool,
    has_ended: bool,
    next_read: Instant,
}

impl Ours {
    fn now(&self) -> u64 {
        SECOND + self.start.elapsed().as_nanos() as u64
    }

    fn send_all(&mut self) {
        for mut packet in std::mem::take(&mut self.out) {
            complete_checksum(&self.tuple, &mut packet);
            let mut segment = vec![0; packet.len()];
            packet.read(0, &mut segment);
            let mut bytes = ip_header(self.scenario.ends, segment.len() as u16);
            bytes.extend(segment);
            assert!(bytes.len() <= MTU);
            for bytes in self.disturb(0, bytes) {
                (&self.tun).write_all(&bytes).unwrap();
            }
        }
    }

    /// Loses packets, or holds them back.
    fn disturb(&mut self, way: usize, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        if self.dice.hit(self.scenario.loss) {
            return Vec::new();
        }
        if self.dice.hit(self.scenario.reordering) && self.held[way].len() < 4 {
            self.held[way].push(bytes);
            return Vec::new();
        }
        let mut all = vec![bytes];
        if self.dice.hit(300) {
            all.append(&mut self.held[way]);
        }
        all
    }

    fn receive(&mut self, bytes: &[u8]) {
        let [ours, linux] = self.scenario.ends;
        let (header_len, protocol, destination) = match (bytes[0] >> 4, ours) {
            (4, IpAddr::V4(ours)) => {
                (usize::from(bytes[0] & 15) * 4, bytes[9], bytes[16..20] == ours.octets())
            }
            (6, IpAddr::V6(ours)) => (40, bytes[6], bytes[24..40] == ours.octets()),
            _ => return,
        };
        if protocol != 6 || !destination {
            return;
        }
        let bytes = &bytes[header_len..];
        let head = bytes.len().min(HEAD_BYTES);
        let mut packet = Packet::from_head(&bytes[..head]);
        for part in bytes[head..].chunks(4096) {
            let page = frames::PageRef::new_zeroed().unwrap();
            page.write(0, part);
            packet.push(Fragment::new(page, 0, part.len())).unwrap();
        }
        packet.checksum = Checksum::Unverified;
        let segment = Segment::parse(linux, ours, Box::new(packet)).expect("Linux's segments are right");
        let now = self.now();
        let tuple = Tuple {
            local: (ours, segment.destination_port).into(),
            remote: (linux, segment.source_port).into(),
        };
        if let Some(connection) =
            self.connection.as_mut().filter(|c| *c.tuple() == tuple && c.state() != State::Closed)
        {
            connection.segment(now, segment, &mut self.out);
        } else if let Some(record) = &mut self.time_wait {
            record.segment(now, &segment, &mut self.out);
        } else if let Some(listener) = &mut self.listener {
            self.tuple = tuple;
            let path = Path { mtu: MTU as u32, segmentation_offload: false };
            let verdict = listener.segment(
                now,
                &tuple,
                path,
                segment,
                None,
                AcceptQueue::HasRoom,
                &Options::default(),
                &mut self.out,
            );
            if let Verdict::Established(connection) = verdict {
                self.connection = Some(connection);
                self.listener = None;
            }
        }
    }

    fn act(&mut self) {
        let now = self.now();
        let mut out = std::mem::take(&mut self.out);
        if let Some(connection) = &mut self.connection {
            if connection.deadline().is_some_and(|at| at <= now) {
                connection.poll(now, &mut out);
            }
            while connection.readiness().contains(Readiness::READABLE)
                && !self.has_ended
                && Instant::now() >= self.next_read
            {
                if self.scenario.readers == Readers::WeAreSlow {
                    self.next_read = Instant::now() + Duration::from_millis(20);
                }
                let mut buffer = vec![0; 30_000];
                let read = connection.read(now, &mut &mut buffer[..], ReadMode::Take, &mut out).unwrap();
                self.has_ended = read == 0;
                check(2, self.read, &buffer[..read]);
                self.read += read;
            }
            while self.written < self.scenario.to_linux
                && connection.readiness().contains(Readiness::WRITABLE)
            {
                let len = (self.scenario.to_linux - self.written).min(10_000);
                let bytes: Vec<u8> = (0..len).map(|n| pattern(1, self.written + n)).collect();
                self.written +=
                    connection.write(now, &mut SliceSrc::new(&bytes), WriteFlags::empty(), &mut out).unwrap();
            }
            if self.written == self.scenario.to_linux && !self.is_shut && connection.state() != State::SynSent
            {
                self.is_shut = true;
                connection.shutdown(now, tcp::Shutdown::Write, &mut out).unwrap();
            }
            if self.has_ended && self.is_shut && !connection.is_orphan() {
                connection.close(now, Linger::Background, &mut out);
            }
            if let Some(record) = connection.take_time_wait() {
                self.time_wait = Some(record);
            }
        }
        if let Some(listener) = &mut self.listener {
            listener.poll(now, &mut |_, packet| out.push(packet));
        }
        self.out = out;
    }

    fn run(&mut self, linux: &std::thread::JoinHandle<()>) {
        let mut buffer = vec![0; 65_536];
        let limit = Instant::now() + Duration::from_secs(120);
        loop {
            self.act();
            self.send_all();
            let is_over =
                self.connection.as_ref().is_some_and(|c| c.state() == State::Closed && c.is_orphan());
            if is_over && linux.is_finished() {
                return;
            }
            assert!(
                Instant::now() < limit,
                "{} of {} read, {} written\n{:?}",
                self.read,
                self.scenario.from_linux,
                self.written,
                self.connection
            );
            let now = self.now();
            let deadlines = [
                self.connection.as_ref().and_then(|c| c.deadline()),
                self.listener.as_ref().and_then(|l| l.deadline()),
            ];
            let next = deadlines.into_iter().flatten().min().unwrap_or(u64::MAX).min(now + 20 * MS);
            let mut poll = libc::pollfd { fd: self.tun.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let wait_ms = next.saturating_sub(now).div_ceil(MS) as i32;
            // SAFETY: one pollfd, which outlives the call.
            unsafe { libc::poll(&mut poll, 1, wait_ms) };
            if poll.revents & libc::POLLIN != 0 {
                let len = (&self.tun).read(&mut buffer).unwrap();
                for bytes in self.disturb(1, buffer[..len].to_vec()) {
                    self.receive(&bytes);
                }
            }
        }
    }
}

fn run_scenario(scenario: Scenario) {
    frames::host::init();
    std::thread::spawn(move || {
        let tun = tun();
        if !scenario.sysctl.is_empty() {
            for setting in scenario.sysctl.split(' ') {
                let (name, value) = setting.split_once('=').unwrap();
                std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value.replace(',', " ")).unwrap();
            }
        }
        let secrets = Arc::new(Secrets::new([9; 48]));
        let port = 7000;
        let [ours, linux_address] = scenario.ends;
        let tuple = if scenario.we_connect {
            Tuple { local: (ours, 40_001).into(), remote: (linux_address, port).into() }
        } else {
            Tuple { local: (ours, port).into(), remote: (linux_address, 0).into() }
        };
        let mut ours = Ours {
            tun,
            start: Instant::now(),
            dice: Dice::new(scenario.loss + 7),
            scenario,
            tuple,
            connection: None,
            listener: None,
            time_wait: None,
            out: Vec::new(),
            held: [Vec::new(), Vec::new()],
            written: 0,
            read: 0,
            is_shut: false,
            has_ended: false,
            next_read: Instant::now(),
        };
        let start = Instant::now();
        let linux = if scenario.we_connect {
            let listener = TcpListener::bind(SocketAddr::from((linux_address, port))).unwrap();
            let path = Path { mtu: MTU as u32, segmentation_offload: false };
            let now = ours.now();
            ours.connection = Some(Box::new(Connection::connect(
                now,
                tuple,
                path,
                secrets.isn(now, &tuple),
                &Options::default(),
                &mut ours.out,
            )));
            std::thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                linux_application(stream, scenario);
            })
        } else {
            ours.listener = Some(Listener::new(secrets, 10));
            std::thread::spawn(move || {
                let stream = TcpStream::connect(SocketAddr::from((scenario.ends[0], port))).unwrap();
                linux_application(stream, scenario);
            })
        };
        ours.run(&linux);
        linux.join().unwrap();
        assert_eq!((ours.read, ours.written), (scenario.from_linux, scenario.to_linux));
        let info = ours.connection.as_ref().unwrap().info(ours.now());
        println!(
            "{scenario:?}: {} ms, {} retransmissions, {} segments out, {} in, rtt {} us",
            start.elapsed().as_millis(),
            info.total_retrans,
            info.segs_out,
            info.segs_in,
            info.rtt
        );
    })
    .join()
    .unwrap();
}

const PLAIN: Scenario = Scenario {
    ends: V4,
    we_connect: true,
    loss: 0,
    reordering: 0,
    sysctl: "",
    to_linux: 8_000_000,
    from_linux: 8_000_000,
    readers: Readers::Fast,
};

fn both_ways(scenario: Scenario) {
    for ends in [V4, V6] {
        for we_connect in [true, false] {
            run_scenario(Scenario { ends, we_connect, ..scenario });
        }
    }
}

#[test]
#[ignore = "makes a network namespace and a TUN device"]
fn a_clean_link() {
    both_ways(PLAIN);
    both_ways(Scenario { to_linux: 0, ..PLAIN });
    both_ways(Scenario { from_linux: 0, ..PLAIN });
}

#[test]
#[ignore = "makes a network namespace and a TUN device"]
fn loss() {
    both_ways(Scenario { loss: 10, ..PLAIN });
    both_ways(Scenario { loss: 50, to_linux: 2_000_000, from_linux: 2_000_000, ..PLAIN });
    both_ways(Scenario { loss: 200, to_linux: 60_000, from_linux: 60_000, ..PLAIN });
}

#[test]
#[ignore = "makes a network namespace and a TUN device"]
fn reordering() {
    both_ways(Scenario { reordering: 50, ..PLAIN });
    both_ways(Scenario { reordering: 100, loss: 10, to_linux: 2_000_000, from_linux: 2_000_000, ..PLAIN });
}

#[test]
#[ignore = "makes a network namespace and a TUN device"]
fn without_options() {
    let few = Scenario { loss: 10, to_linux: 2_000_000, from_linux: 2_000_000, ..PLAIN };
    both_ways(Scenario { sysctl: "tcp_timestamps=0", ..few });
    both_ways(Scenario { sysctl: "tcp_sack=0", ..few });
    both_ways(Scenario { sysctl: "tcp_window_scaling=0 tcp_sack=0 tcp_timestamps=0", ..few });
}

#[test]
#[ignore = "makes a network namespace and a TUN device"]
fn closed_windows() {
    let few = Scenario { to_linux: 1_500_000, from_linux: 1_500_000, ..PLAIN };
    // Linux's buffer is small, so that 64 KiB in 20 ms are too slow for us.
    both_ways(Scenario { readers: Readers::LinuxIsSlow, sysctl: "tcp_rmem=4096,8192,16384", ..few });
    both_ways(Scenario { readers: Readers::WeAreSlow, ..few });
    both_ways(Scenario {
        readers: Readers::WeAreSlow,
        loss: 20,
        to_linux: 300_000,
        from_linux: 300_000,
        ..few
    });
}
