//! A cable of our own between a guest and a gateway, at the level of Ethernet frames.
//!
//! The guest has one end (`--net socket:dgram=...`), the other has a QEMU without a machine, of which only the user networking is used:
//! so clients on the host reach the guest through real TCP over a cable that loses, repeats, reorders and damages frames as [`Faults`] say, and on
//! which a test can put frames of its own. A thread for each direction moves the frames; nothing is shared but the guest's hardware
//! address and the word to stop.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::guest::Running;
use crate::{
    machine::qemu::QEMU,
    network::faulty_link::{Direction, Faults},
};

/// The guest at the end of the cable.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
/// Whom the gateway is, and its name server.
const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3)];

/// The largest frame of QEMU.
pub const FRAME_LIMIT_BYTES: usize = 68 << 10;

pub struct Wire {
    guest_side: UdpSocket,
    guest_address: SocketAddr,
    guest_mac: Arc<Mutex<Option<[u8; 6]>>>,
    stop: Arc<AtomicBool>,
    movers: Vec<JoinHandle<()>>,
    /// The port of the host that leads to the guest's.
    pub port: u16,
    _gateway: Running,
}

/// A port that nobody has now. Somebody might take it before it is used; nobody tries to.
pub fn free_port() -> Result<u16, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(|error| format!("there is no free port: {error}"))
}

/// Marsaglia, "Xorshift RNGs", 2003: enough to choose frames by, and the same in each run.
pub fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

impl Wire {
    /// A cable to a guest whose TCP port is to be reached.
    pub fn new(faults: &Faults, guest_port: u16) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a socket of the host: {error}");
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed);
        let (guest_side, gateway_side) = (bind()?, bind()?);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (guest_address, gateway_address) = (local(free_port()?), local(free_port()?));
        let port = free_port()?;
        let gateway = gateway(
            &format!("user,id=user,hostfwd=tcp:127.0.0.1:{port}-{GUEST}:{guest_port}"),
            &format!(
                "dgram,id=link,local.type=inet,local.host=127.0.0.1,local.port={},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={}",
                gateway_address.port(),
                gateway_side.local_addr().map_err(failed)?.port()
            ),
        )?;
        let guest_mac = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let mut movers = Vec::new();
        let clone = |socket: &UdpSocket| socket.try_clone().map_err(failed);
        let directions = [
            (clone(&guest_side)?, clone(&gateway_side)?, gateway_address, Some(guest_mac.clone())),
            (gateway_side, clone(&guest_side)?, guest_address, None),
        ];
        for (seed, (from, to, address, mac)) in directions.into_iter().enumerate() {
            from.set_read_timeout(Some(LOOK_INTERVAL)).map_err(failed)?;
            let direction = Direction::new(faults.clone(), seed as u64 + 1);
            let mover = Mover { from, to, address, mac, direction };
            let stop = stop.clone();
            movers.push(thread::spawn(move || mover.run(&stop)));
        }
        Ok(Self { guest_side, guest_address, guest_mac, stop, movers, port, _gateway: gateway })
    }

    /// The options of the guest at the end.
    pub fn options(&self) -> Result<[String; 6], String> {
        let ours = self.guest_side.local_addr().map_err(|error| error.to_string())?;
        let link = format!("socket:dgram={ours},local={}", self.guest_address);
        Ok(["--net", &link, "--ip", &format!("{GUEST}/24"), "--gateway", "10.0.2.2"].map(String::from))
    }

    /// Puts a frame on the cable, to the guest.
    pub fn forge(&self, frame: &[u8]) -> Result<(), String> {
        self.guest_side
            .send_to(frame, self.guest_address)
            .map(|_| ())
            .map_err(|error| format!("cannot put a frame of {} bytes on the cable: {error}", frame.len()))
    }

    /// The guest's hardware address, once it has sent a frame.
    pub fn guest_mac(&self) -> Result<[u8; 6], String> {
        let mac = *self.guest_mac.lock().unwrap_or_else(PoisonError::into_inner);
        mac.ok_or_else(|| "the guest has sent nothing".into())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for mover in self.movers.drain(..) {
            // One that panicked has stopped too.
            let _ = mover.join();
        }
    }
}

/// A QEMU that is a gateway between the host and a link, and no machine.
pub fn gateway(user: &str, link: &str) -> Result<Running, String> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU, "-machine", "none", "-display", "none"]);
    command.args(["-nodefaults", "-no-user-config", "-netdev", user, "-netdev", link]);
    command.args(["-netdev", "hubport,id=port1,hubid=0,netdev=user"]);
    command.args(["-netdev", "hubport,id=port2,hubid=0,netdev=link"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running::start(command)
}

/// How often a thread looks whether the cable is still needed.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// One direction.
struct Mover {
    from: UdpSocket,
    to: UdpSocket,
    address: SocketAddr,
    /// Where to note the guest's address, if frames come from it.
    mac: Option<Arc<Mutex<Option<[u8; 6]>>>>,
    direction: Direction,
}

impl Mover {
    fn run(mut self, stop: &AtomicBool) {
        let start = Instant::now();
        let mut buffer = vec![0; FRAME_LIMIT_BYTES];
        while !stop.load(Ordering::Relaxed) {
            // An error: nothing came for a while, or the other end is not there yet.
            if let Ok(length) = self.from.recv(&mut buffer)
                && self.is_taken(&buffer[..length])
            {
                self.direction.send(buffer[..length].to_vec(), start.elapsed());
            }
            while let Some(frame) = self.direction.arrived(start.elapsed()) {
                // A frame that cannot be sent is lost, as on any cable.
                let _ = self.to.send_to(&frame, self.address);
            }
        }
    }

    /// Whether a frame is for this cable at all; notes whose it is.
    fn is_taken(&self, frame: &[u8]) -> bool {
        let Some(mac) = &self.mac else { return true };
        if !is_for_gateway(frame) {
            return false;
        }
        if let Some(source) = frame.get(6..12).and_then(|bytes| bytes.try_into().ok()) {
            *mac.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        }
        true
    }
}

/// Whether the gateway should see a frame: answers to forged addresses would make it take part in the forgery.
fn is_for_gateway(frame: &[u8]) -> bool {
    const IPV4: [u8; 2] = [0x08, 0x00];
    match (frame.get(12..14), frame.get(30..34)) {
        (Some(kind), Some(to)) if kind == IPV4 => GATEWAYS.iter().any(|gateway| gateway.octets() == to),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_spared_answers_to_forgeries() {
        let mut frame = [0; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[30..34].copy_from_slice(&[10, 0, 2, 2]);
        assert!(is_for_gateway(&frame));
        frame[30..34].copy_from_slice(&[10, 0, 2, 200]);
        assert!(!is_for_gateway(&frame));
        frame[12..14].copy_from_slice(&[8, 6]);
        assert!(is_for_gateway(&frame));
    }
}
