//! UDP: datagrams of all sizes, and groups.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use super::{
    Fixture, Verdict, expect,
    guest::{Guest, PATIENCE},
    http::pattern,
    wire::free_port,
};

/// Around the largest datagram of one packet (1472 bytes on Ethernet), and in fragments.
const SIZES: [usize; 10] = [1, 2, 100, 511, 1400, 1471, 1472, 1473, 4000, 8192];

pub fn echo(fixture: &Fixture) -> Verdict {
    let guest = Guest::program(fixture, "UdpEcho", &["-p", "0:7007/udp"], &["7007"])?;
    guest.wait_for("ready")?;
    let failed = |error: std::io::Error| format!("a socket of the host: {error}");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    socket.connect((Ipv4Addr::LOCALHOST, guest.port(0))).map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_millis(1000))).map_err(failed)?;
    for round in 0..fixture.by_length(20, 500) {
        for size in SIZES {
            let mut message = pattern(size);
            // So that a late answer to another message is not taken for this one's.
            message[0] = round as u8;
            exchange(&socket, &message)?;
        }
    }
    guest.stop()
}

/// Sends a datagram until its echo comes. UDP may lose it.
fn exchange(socket: &UdpSocket, message: &[u8]) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = vec![0; 65536];
    while Instant::now() < deadline {
        socket.send(message).map_err(|error| format!("sending {} bytes: {error}", message.len()))?;
        while let Ok(length) = socket.recv(&mut buffer) {
            if length == message.len() && buffer[0] == message[0] {
                return expect("the echo is right", buffer[..length] == *message, true);
            }
        }
    }
    Err(format!("a datagram of {} bytes has no echo", message.len()))
}

/// Two guests on a network of their own: one joins a group, the other sends to it.
pub fn multicast(fixture: &Fixture) -> Verdict {
    for (group, addresses) in
        [("239.1.2.3", ["10.1.0.1/24", "10.1.0.2/24"]), ("ff05::1:3", ["fd00::1/64", "fd00::2/64"])]
    {
        let link = format!("socket:mcast=230.0.0.1:{}", free_port()?);
        let [receiver, sender] = addresses;
        let receiving = Guest::program(
            fixture,
            "Group",
            &["--net", &link, "--ip", receiver],
            &["receive", group, "5007"],
        )?;
        receiving.wait_for("joined")?;
        let sending =
            Guest::program(fixture, "Group", &["--net", &link, "--ip", sender], &["send", group, "5007"])?;
        let answered = sending.tool.output()?;
        let received = receiving.tool.output()?;
        expect("what came", received.lines().last(), Some("received message"))?;
        let from = receiver.split('/').next().unwrap_or_default().replace("::", ":0:0:0:0:0:0:");
        expect("who answered", answered.trim(), format!("answer from {from}").as_str())?;
    }
    Ok(())
}
