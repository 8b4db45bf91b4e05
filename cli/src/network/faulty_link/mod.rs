//! A link between two guests that loses, repeats, reorders and damages what goes through it (`crema faulty-link`,
//! `cli/src/network/faulty_link`).
//!
//! Each end is a pair of datagram sockets as QEMU's `-netdev dgram` has them, and `crema run --net
//! socket:dgram=REMOTE,local=LOCAL`: the link is bound to one address and sends to the guest's. Each datagram is an
//! Ethernet frame. What happens to it is [`faults`]' matter, which the cables of `crema test net` use too
//! (`command/test/net/wire.rs`). No rights are needed.
//!
//! Each direction has a thread of its own, which alone has that direction's state; they end when the link is dropped.

mod faults;

use std::{
    io::{self, ErrorKind},
    net::{SocketAddrV4, UdpSocket},
    os::unix::{fs::FileTypeExt, net::UnixDatagram},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use self::faults::{Counts, Direction, Faults};
use super::link::Endpoint;
use crate::failure::{Failure, Result};

/// Where one end of the link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the link receives: the guest's `remote`.
    pub here: Endpoint,
    /// Where the guest receives: its `local`.
    pub guest: Endpoint,
}

enum Socket {
    Inet(UdpSocket, SocketAddrV4),
    /// To send, there is a socket of its own, which does not wait for a guest that does not keep up.
    Unix {
        receiver: UnixDatagram,
        sender: UnixDatagram,
        guest: PathBuf,
    },
}

/// More than any frame has, with or without segmentation offload.
const MAX_FRAME_BYTES: usize = 128 << 10;
/// How often a thread looks whether the link has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The clock of `SO_RCVTIMEO` does not go finer.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

impl Socket {
    fn bind(end: &End) -> io::Result<Self> {
        match (&end.here, &end.guest) {
            (Endpoint::Inet(here), Endpoint::Inet(guest)) => Ok(Self::Inet(UdpSocket::bind(here)?, *guest)),
            (Endpoint::Unix(here), Endpoint::Unix(guest)) => {
                // What an earlier link left behind is in the way.
                if std::fs::symlink_metadata(here).is_ok_and(|found| found.file_type().is_socket()) {
                    std::fs::remove_file(here)?;
                }
                let sender = UnixDatagram::unbound()?;
                sender.set_nonblocking(true)?;
                Ok(Self::Unix { receiver: UnixDatagram::bind(here)?, sender, guest: guest.clone() })
            }
            _ => Err(io::Error::new(
                ErrorKind::InvalidInput,
                "both must be of one kind: ADDRESS:PORT or unix:PATH",
            )),
        }
    }

    /// A datagram, if one comes in time.
    fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<usize>> {
        let received = match self {
            Self::Inet(socket, _) => {
                socket.set_read_timeout(Some(timeout))?;
                socket.recv(buffer)
            }
            Self::Unix { receiver, .. } => {
                receiver.set_read_timeout(Some(timeout))?;
                receiver.recv(buffer)
            }
        };
        match received {
            Ok(len) => Ok(Some(len)),
            // ECONNREFUSED: of a datagram sent to a guest that is not there.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(None),
                ErrorKind::Interrupted | ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Sends a datagram; who is not there, or does not keep up, loses it, as on any link.
    fn send(&self, frame: &[u8]) {
        let _ = match self {
            Self::Inet(socket, guest) => socket.send_to(frame, guest),
            Self::Unix { sender, guest, .. } => sender.send_to(frame, guest),
        };
    }
}

/// A link that works until it is dropped.
pub struct FaultyLink {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<Counts>>>,
}

impl FaultyLink {
    /// Connects two ends. Both directions have the same faults, each with its own chances.
    pub fn start(ends: [&End; 2], faults: &Faults, seed: u64) -> Result<Self> {
        let bind = |end: &End| {
            Socket::bind(end)
                .map(Arc::new)
                .map_err(|error| Failure::new(format!("the link cannot be at {:?}: {error}", end.here)))
        };
        let sockets = [bind(ends[0])?, bind(ends[1])?];
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let threads = [(0, 1), (1, 0)].map(|(from, to)| {
            let direction = Direction::new(faults.clone(), seed.wrapping_mul(2).wrapping_add(from as u64));
            let (from, to, stop) = (sockets[from].clone(), sockets[to].clone(), stop.clone());
            thread::spawn(move || carry(direction, &from, &to, start, &stop))
        });
        Ok(Self { stop, threads: threads.into() })
    }

    /// Ends the link and says what has happened in each direction.
    pub fn end(mut self) -> Result<Vec<Counts>> {
        self.stop.store(true, Ordering::Relaxed);
        let counts = |thread: JoinHandle<io::Result<Counts>>| match thread.join() {
            Ok(result) => result.map_err(|error| Failure::new(format!("the link: {error}"))),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.threads.drain(..).map(counts).collect()
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Carries frames from one end to the other.
fn carry(
    mut direction: Direction,
    from: &Socket,
    to: &Socket,
    start: Instant,
    stop: &AtomicBool,
) -> io::Result<Counts> {
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    while !stop.load(Ordering::Relaxed) {
        while let Some(frame) = direction.arrived(start.elapsed()) {
            to.send(&frame);
        }
        let due = direction.next_due().map(|due| due.saturating_sub(start.elapsed()));
        let timeout = due.unwrap_or(LOOK_INTERVAL).clamp(MIN_TIMEOUT, LOOK_INTERVAL);
        if let Some(len) = from.receive(&mut buffer, timeout)? {
            direction.send(buffer[..len].to_vec(), start.elapsed());
        }
    }
    Ok(direction.counts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_from_end_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let end = |name: &str| End {
            here: Endpoint::Unix(at(&format!("{name}-link"))),
            guest: Endpoint::Unix(at(&format!("{name}-guest"))),
        };
        let (left, right) = (end("left"), end("right"));
        let guest = |name: &str| {
            let socket = UnixDatagram::bind(at(&format!("{name}-guest"))).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let (left_guest, right_guest) = (guest("left"), guest("right"));
        let link = FaultyLink::start([&left, &right], &Faults::default(), 1).unwrap();
        let mut buffer = [0; 100];
        for number in 0..100 {
            left_guest.send_to(&[number; 60], at("left-link")).unwrap();
            assert_eq!(right_guest.recv(&mut buffer).unwrap(), 60);
            assert_eq!(buffer[..60], [number; 60]);
        }
        right_guest.send_to(&[1, 2, 3], at("right-link")).unwrap();
        assert_eq!(left_guest.recv(&mut buffer).unwrap(), 3);
        let counts: Vec<u64> = link.end().unwrap().iter().map(|counts| counts.frames).collect();
        assert_eq!(counts, [100, 1]);
    }

    #[test]
    fn an_end_of_two_kinds_is_refused() {
        let here: Endpoint = "127.0.0.1:0".parse().unwrap();
        let end = End { here, guest: "unix:/x".parse().unwrap() };
        let sentence = FaultyLink::start([&end, &end], &Faults::default(), 1).err().unwrap().to_string();
        assert!(sentence.contains("of one kind"), "{sentence}");
    }
}
