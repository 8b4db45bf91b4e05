//! Names: a server of ours on the host, asked by the resolver in a guest.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Fixture, Verdict, expect, guest::Guest};

/// More addresses than an answer of 512 bytes holds.
const MANY: u8 = 100;

/// RFC 1035, 3.2.2; RFC 3596, 2.1.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Questions that came by each transport.
#[derive(Default)]
struct Asked {
    udp: AtomicU32,
    tcp: AtomicU32,
}

pub fn by_udp_and_tcp(fixture: &Fixture) -> Verdict {
    // A guest's resolver knows one port only, and user networking has the host's loopback at 10.0.2.2.
    let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))
        .and_then(|udp| Ok((udp, TcpListener::bind((Ipv4Addr::LOCALHOST, 53))?)));
    let (udp, tcp) = bound.map_err(|error| {
        format!(
            "this test has to listen on port 53 of 127.0.0.1, as root and where nobody else does: {error}"
        )
    })?;
    let asked = Arc::new(Asked::default());
    let counters = asked.clone();
    thread::spawn(move || serve_udp(&udp, &counters));
    let counters = asked.clone();
    thread::spawn(move || serve_tcp(&tcp, &counters));
    let guest = Guest::program(
        fixture,
        "Names",
        &["--dns", "10.0.2.2", "--hostname", "asker"],
        &["one.test", "many.test", "none.test", "localhost", "asker"],
    )?;
    let output = guest.tool.output()?;
    let line = |name: &str| {
        let found = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_default().to_string()
    };
    expect("one.test", line("one.test").as_str(), "192.0.2.7 2001:db8:0:0:0:0:0:7")?;
    expect("many.test", line("many.test"), format!("{MANY} addresses"))?;
    expect("none.test", line("none.test").as_str(), "unknown")?;
    expect("localhost", line("localhost").split(' ').any(|address| address == "127.0.0.1"), true)?;
    // A program that looks for its own host's name must find it, without a name server.
    expect("its own name", line("asker") != "unknown", true)?;
    let (udp, tcp) = (asked.udp.load(Ordering::Relaxed), asked.tcp.load(Ordering::Relaxed));
    if udp == 0 || tcp == 0 {
        return Err(format!("{udp} questions came by UDP and {tcp} by TCP"));
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, asked: &Asked) {
    let mut buffer = [0; 512];
    // Until the tests end.
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        asked.udp.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = answer(&buffer[..length], 512) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, asked: &Asked) {
    for stream in listener.incoming().filter_map(Result::ok) {
        // Answers come one after the other; a client that says nothing must not hold up others for long.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        serve_stream(stream, asked);
    }
}

/// RFC 1035, 4.2.2: a length before each message.
fn serve_stream(mut stream: TcpStream, asked: &Asked) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        asked.tcp.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = answer(&question, usize::from(u16::MAX)) else { return };
        let message = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

/// The answer to one question (RFC 1035, 4.1), truncated if it is longer than allowed. `None` if it is no question.
fn answer(question: &[u8], limit_bytes: usize) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 12;
    let (name, name_bytes) = name(question.get(HEADER_BYTES..)?)?;
    let end = HEADER_BYTES + name_bytes + 4;
    let kind = question.get(end - 4..end - 2)?;
    let kind = u16::from_be_bytes([kind[0], kind[1]]);
    let known = ["one.test", "many.test"].contains(&name.as_str());
    let records: Vec<Vec<u8>> = match (name.as_str(), kind) {
        ("one.test", TYPE_A) => vec![vec![192, 0, 2, 7]],
        ("one.test", TYPE_AAAA) => vec![[&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7]].concat()],
        ("many.test", TYPE_A) => (1..=MANY).map(|last| vec![192, 0, 2, last]).collect(),
        _ => vec![],
    };
    // Response, authoritative, recursion available; NXDOMAIN for what is not known.
    let code = if known { 0 } else { 3 };
    let mut message = question[..end].to_vec();
    message[2] = 0x84 | (question[2] & 1);
    message[3] = 0x80 | code;
    message[4..HEADER_BYTES].copy_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    for record in &records {
        // The name is the question's; class IN, a minute to live.
        message.extend([0xc0, HEADER_BYTES as u8]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((record.len() as u16).to_be_bytes());
        message.extend(record);
    }
    if message.len() > limit_bytes {
        message.truncate(end);
        message[2] |= 2;
        message[6..8].copy_from_slice(&[0, 0]);
    }
    Some(message)
}

/// A name and its length in bytes.
fn name(mut bytes: &[u8]) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut used = 1;
    loop {
        let (length, rest) = bytes.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            return Some((labels.join("."), used));
        }
        labels.push(String::from_utf8_lossy(rest.get(..length)?).to_ascii_lowercase());
        bytes = &rest[length..];
        used += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn questions_are_answered() {
        let one = answer(&question("One.test", TYPE_A), 512).unwrap();
        assert_eq!(one[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
        assert!(one.ends_with(&[0, 4, 192, 0, 2, 7]));
        let many = question("many.test", TYPE_A);
        let truncated = answer(&many, 512).unwrap();
        assert_eq!((truncated[2], truncated[7], truncated.len()), (0x87, 0, many.len()));
        assert_eq!(answer(&many, 65535).unwrap()[7], MANY);
        assert_eq!(answer(&question("none.test", TYPE_A), 512).unwrap()[3], 0x83);
        assert_eq!(answer(&question("one.test", 99), 512).unwrap()[3], 0x80);
        assert_eq!(answer(b"nonsense", 512), None);
        assert_eq!(answer(&question("one.test", TYPE_A)[..20], 512), None);
    }
}
