//! An Ethernet switch between QEMUs, with a cable to each (`--net socket:dgram=...`).
//!
//! QEMU's own multicast sockets give each frame back to its sender, too. And a hub will not do: user networking takes any packet that it
//! sees for one to the world outside, so it would answer a guest's connection to another guest by a reset.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    guest::Running,
    wire::{FRAME_LIMIT_BYTES, free_port, gateway},
};

/// The gateway of guests at a switch.
const GATEWAY: &str = "10.1.0.254";

type HardwareAddress = [u8; 6];

pub struct Switch {
    /// Our end and the other end of each cable.
    cables: Vec<(UdpSocket, SocketAddr)>,
    stop: Arc<AtomicBool>,
    movers: Vec<JoinHandle<()>>,
}

/// Behind which cable an address was seen last.
#[derive(Default)]
struct Learnt(HashMap<HardwareAddress, usize>);

impl Learnt {
    /// Notes whose frame it is, and says behind which cable its receiver is; `None` for a group, and for a stranger.
    fn route(&mut self, frame: &[u8], from: usize) -> Option<usize> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let source = rest.first_chunk::<6>()?;
        self.0.insert(*source, from);
        self.0.get(to).copied()
    }
}

impl Switch {
    pub fn new(cables: usize) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a socket of the host: {error}");
        let cables = (0..cables)
            .map(|_| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
                socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(failed)?;
                Ok((socket, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?))))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let ends: Arc<[SocketAddr]> = cables.iter().map(|(_, end)| *end).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let learnt = Arc::new(Mutex::new(Learnt::default()));
        let mut movers = Vec::new();
        for (number, (socket, _)) in cables.iter().enumerate() {
            let socket = socket.try_clone().map_err(failed)?;
            let (ends, stop, learnt) = (ends.clone(), stop.clone(), learnt.clone());
            movers.push(thread::spawn(move || move_frames(&socket, number, &ends, &learnt, &stop)));
        }
        Ok(Self { cables, stop, movers })
    }

    /// A gateway at the end of a cable, through which each of `forwards` (a port of the host, an address and a port of a guest) is reached
    /// from the host. The guests have addresses of 10.1.0.0/24; that of the gateway is [`GATEWAY`].
    pub fn gateway(&self, number: usize, forwards: &[(u16, Ipv4Addr, u16)]) -> Result<Running, String> {
        let (ours, theirs) = self.ends(number)?;
        let forward = |(host, address, port): &(u16, Ipv4Addr, u16)| {
            format!(",hostfwd=tcp:127.0.0.1:{host}-{address}:{port}")
        };
        let forwards: String = forwards.iter().map(forward).collect();
        gateway(
            &format!(
                "user,id=user,net=10.1.0.0/24,host={GATEWAY},dns=10.1.0.253,dhcpstart=10.1.0.200{forwards}"
            ),
            &format!(
                "dgram,id=link,local.type=inet,local.host=127.0.0.1,local.port={},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={}",
                theirs.port(),
                ours.port()
            ),
        )
    }

    /// The options of a guest at the end of a cable.
    pub fn options(&self, number: usize, address: Ipv4Addr) -> Result<[String; 6], String> {
        let (ours, theirs) = self.ends(number)?;
        let link = format!("socket:dgram={ours},local={theirs}");
        Ok(["--net", &link, "--ip", &format!("{address}/24"), "--gateway", GATEWAY].map(String::from))
    }

    /// The ends of a cable: ours, and that of the machine.
    fn ends(&self, number: usize) -> Result<(SocketAddr, SocketAddr), String> {
        let (ours, theirs) = &self.cables[number];
        Ok((ours.local_addr().map_err(|error| error.to_string())?, *theirs))
    }
}

fn move_frames(
    socket: &UdpSocket,
    number: usize,
    ends: &[SocketAddr],
    learnt: &Mutex<Learnt>,
    stop: &AtomicBool,
) {
    let mut buffer = vec![0; FRAME_LIMIT_BYTES];
    while !stop.load(Ordering::Relaxed) {
        // An error: nothing came for a while, or the other end is not there yet.
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let frame = &buffer[..length];
        let receiver = learnt.lock().unwrap_or_else(PoisonError::into_inner).route(frame, number);
        let is_for = |end: usize| end != number && receiver.is_none_or(|receiver| receiver == end);
        for (_, to) in ends.iter().enumerate().filter(|(end, _)| is_for(*end)) {
            // Who is not there gets nothing, as on any cable.
            let _ = socket.send_to(frame, to);
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for mover in self.movers.drain(..) {
            // One that panicked has stopped too.
            let _ = mover.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8) -> [u8; 14] {
        let mut frame = [0; 14];
        (frame[5], frame[11]) = (to, from);
        frame
    }

    #[test]
    fn a_receiver_is_known_once_it_has_sent() {
        let mut learnt = Learnt::default();
        assert_eq!(learnt.route(&frame(2, 1), 10), None);
        assert_eq!(learnt.route(&frame(1, 2), 20), Some(10));
        assert_eq!(learnt.route(&frame(2, 1), 30), Some(20), "and a sender may move");
        assert_eq!(learnt.route(&frame(1, 2), 20), Some(30));
        assert_eq!(learnt.route(&[0; 7], 20), None, "too short for a frame");
    }
}
