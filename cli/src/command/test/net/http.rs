//! HTTP: wrk and clients of our own against the HTTP appliance and Tomcat.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    Fixture, Verdict, expect,
    guest::{Guest, PATIENCE, Running},
};

/// Connections that wrk keeps open.
const CONNECTIONS: &str = "100";

/// What may remain in use, such as a descriptor of a class that was loaded late.
const DESCRIPTOR_TOLERANCE: i64 = 2;
/// The JVM starts and ends compiler threads as it likes.
const THREAD_TOLERANCE: i64 = 6;
/// What the JVM's heap and code may grow by under load. A leak of a frame for each request would be far more.
const MEMORY_TOLERANCE_KIB: i64 = 48 << 10;

/// One answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Sends one request on a connection of its own.
pub fn request(port: u16, head: &str, body: &[u8]) -> io::Result<Answer> {
    request_within(PATIENCE, port, head, body)
}

/// The same, with another limit for each step.
fn request_within(limit: Duration, port: u16, head: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: guest\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    read_answer(&mut BufReader::new(stream))
}

pub fn get(port: u16, path: &str) -> io::Result<Answer> {
    request(port, &format!("GET {path}"), &[])
}

/// Reads an answer that tells its length.
fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let (status, length) = read_head(stream)?;
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, body })
}

/// The status and the body's length in bytes.
fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, u64)> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_string());
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| invalid(&line))?;
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    length.map(|length| (status, length)).ok_or_else(|| invalid("an answer without a length"))
}

/// Waits until a server answers. QEMU takes connections before it does, and closes them.
pub fn wait_until_it_answers(port: u16, path: &str) -> Verdict {
    // QEMU's user networking also gives up a connection for good that nobody in the guest answers in time.
    const EACH: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match request_within(EACH, port, &format!("GET {path}"), &[]) {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => return Err(format!("GET {path} is answered with {}", answer.status)),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("the server in the guest does not answer: {error}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// What the HTTP appliance tells of itself, after a collection of garbage.
pub fn statistics(port: u16) -> Result<BTreeMap<String, i64>, String> {
    let answer = request(port, "POST /gc", &[]).map_err(|error| format!("POST /gc: {error}"))?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_string(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(figure).collect())
}

/// Puts load on a server. Each request must be answered well.
fn load(fixture: &Fixture, port: u16, seconds: u32) -> Verdict {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "2", "--connections", CONNECTIONS, "--timeout", "120"]);
    wrk.args(["--duration", &format!("{seconds}s"), &format!("http://127.0.0.1:{port}/")]);
    wrk.current_dir(fixture.folder());
    wrk.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = Running::start(wrk)?.output()?;
    let requests = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse::<u64>().ok());
    if said.contains("Socket errors") || said.contains("Non-2xx") || requests.is_none_or(|count| count == 0) {
        return Err(format!("wrk had errors:\n{said}"));
    }
    Ok(())
}

/// Load, and nothing that stays behind: descriptors, threads, memory and connections are what they were.
fn serve_and_leave_nothing(fixture: &Fixture, options: &[&str]) -> Verdict {
    let mut all = vec!["-p", "0:8080"];
    all.extend(options);
    let guest = Guest::appliance(fixture, "http", &all, &[])?;
    let port = guest.port(0);
    wait_until_it_answers(port, "/")?;
    // Loads classes, compiles code, fills caches.
    load(fixture, port, fixture.by_length(3, 15))?;
    let before = statistics(port)?;
    load(fixture, port, fixture.by_length(5, 60))?;
    let after = settled(port, &before)?;
    expect("connections after the load", after["connections"], 1)?;
    for (name, tolerance) in [("descriptors", DESCRIPTOR_TOLERANCE), ("threads", THREAD_TOLERANCE)] {
        let (was, is) = (before[name], after[name]);
        if is > was + tolerance {
            return Err(format!("{name}: {was} before the load, {is} after it"));
        }
    }
    let (was, is) = (before["available-kib"], after["available-kib"]);
    if is < was - MEMORY_TOLERANCE_KIB {
        return Err(format!("available memory: {was} KiB before the load, {is} KiB after it"));
    }
    guest.stop()
}

/// The figures once all other connections have ended: the server learns of their end a little after the client.
fn settled(port: u16, before: &BTreeMap<String, i64>) -> Result<BTreeMap<String, i64>, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = statistics(port)?;
        // What is tolerated afterwards is not waited for: a class that was loaded late keeps its descriptor.
        let descriptors = before["descriptors"] + DESCRIPTOR_TOLERANCE;
        let quiet = now["connections"] == 1 && now["descriptors"] <= descriptors;
        if quiet || Instant::now() > deadline {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

pub fn keep_alive(fixture: &Fixture) -> Verdict {
    serve_and_leave_nothing(fixture, &[])
}

pub fn keep_alive_on_microvm(fixture: &Fixture) -> Verdict {
    serve_and_leave_nothing(fixture, &["--machine", "microvm"])
}

pub fn keep_alive_without_channels(fixture: &Fixture) -> Verdict {
    serve_and_leave_nothing(fixture, &["--net-channels", "off"])
}

/// A request while others connect, too. QEMU's user networking listens with a queue of one connection. When that is full the host's
/// Linux answers with SYN cookies, and resets whom it does not believe then (its counter `SyncookiesFailed`), before QEMU has heard of
/// the connection. So one that is reset is tried again; whether the guest resets any is for the guest's counter to say.
fn get_in_a_crowd(port: u16) -> io::Result<Answer> {
    const TRIES: usize = 5;
    let mut answer = get(port, "/");
    for _ in 1..TRIES {
        match &answer {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => answer = get(port, "/"),
            _ => break,
        }
    }
    answer
}

/// A connection for each request, one after the other and several at a time.
pub fn short_connections(fixture: &Fixture) -> Verdict {
    const AT_A_TIME: usize = 8;
    let guest = Guest::appliance(fixture, "http", &["-p", "0:8080"], &[])?;
    let port = guest.port(0);
    wait_until_it_answers(port, "/")?;
    let before = statistics(port)?;
    let each = fixture.by_length(60, 1500);
    let clients: Vec<_> = (0..AT_A_TIME)
        .map(|_| {
            thread::spawn(move || {
                for number in 0..each {
                    let answer =
                        get_in_a_crowd(port).map_err(|error| format!("request {number}: {error}"))?;
                    expect("an answer", answer.body.as_slice(), b"Hello from Crema\n")?;
                }
                Verdict::Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap_or_else(|_| Err("a client panicked".into()))?;
    }
    let after = settled(port, &before)?;
    expect("connections", after["connections"], 1)?;
    expect("resets by the guest", after["resets"], before["resets"])?;
    let accepted = after["accepted"] - before["accepted"];
    if accepted < (AT_A_TIME * each) as i64 {
        return Err(format!("only {accepted} connections were accepted"));
    }
    guest.stop()
}

/// Requests that come in a row or in pieces, clients that go away in the middle, and clients that do not read.
pub fn pipelines_and_broken_clients(fixture: &Fixture) -> Verdict {
    let guest = Guest::appliance(fixture, "http", &["-p", "0:8080"], &[])?;
    let port = guest.port(0);
    wait_until_it_answers(port, "/")?;
    let before = statistics(port)?;
    let problem = |what: &'static str| move |error: io::Error| format!("{what}: {error}");

    // A hundred requests in one go, and the end of input after them.
    let mut stream = connect(port)?;
    let requests: String = (0..100).map(|n| format!("GET /bytes/{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    stream.write_all(requests.as_bytes()).map_err(problem("a pipeline"))?;
    stream.shutdown(Shutdown::Write).map_err(problem("a half-closed pipeline"))?;
    let mut reader = BufReader::new(stream);
    for n in 0..100 {
        let answer = read_answer(&mut reader).map_err(problem("a pipeline's answers"))?;
        expect("an answer in a pipeline", answer.body, pattern(n))?;
    }
    expect("what comes after them", reader.read(&mut [0]).map_err(problem("the end"))?, 0)?;

    // A request byte by byte.
    let mut stream = connect(port)?;
    stream.set_nodelay(true).map_err(problem("TCP_NODELAY"))?;
    for byte in b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" {
        stream.write_all(&[*byte]).map_err(problem("a request in pieces"))?;
    }
    let answer = read_answer(&mut BufReader::new(stream)).map_err(problem("a request in pieces"))?;
    expect("the echo", answer.body.as_slice(), b"abcde")?;

    // Clients that go away: in the middle of a request, of an answer, and before they have said anything.
    for number in 0..fixture.by_length(30, 300) {
        let mut stream = connect(port)?;
        match number % 3 {
            0 => stream.write_all(b"GET / HT").map_err(problem("half a request"))?,
            1 => {
                stream
                    .write_all(b"GET /bytes/100000000 HTTP/1.1\r\n\r\n")
                    .map_err(problem("a long answer"))?;
                stream.read_exact(&mut [0; 1000]).map_err(problem("a long answer"))?;
            }
            _ => {}
        }
    }

    // One that reads slowly gets all of it.
    let mut stream = connect(port)?;
    stream.write_all(b"GET /bytes/3000000 HTTP/1.1\r\n\r\n").map_err(problem("a slow reader"))?;
    thread::sleep(Duration::from_secs(2));
    let answer =
        read_answer(&mut BufReader::with_capacity(1000, stream)).map_err(problem("a slow reader"))?;
    expect("the slow reader's bytes are right", answer.body == pattern(3_000_000), true)?;

    // What is no HTTP.
    for nonsense in
        ["\r\n\r\nnonsense\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
    {
        let mut stream = connect(port)?;
        stream.write_all(nonsense.as_bytes()).map_err(problem("nonsense"))?;
        let answer = read_answer(&mut BufReader::new(stream)).map_err(problem("nonsense"))?;
        expect("nonsense is refused", (400..600).contains(&answer.status), true)?;
    }
    let after = settled(port, &before)?;
    expect("connections", after["connections"], 1)?;
    guest.stop()
}

fn connect(port: u16) -> Result<TcpStream, String> {
    let failed = |error: io::Error| format!("cannot connect: {error}");
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    Ok(stream)
}

/// The bytes that the appliance sends.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// A long stream each way, with every byte checked.
pub fn download_and_upload(fixture: &Fixture) -> Verdict {
    let guest = Guest::appliance(fixture, "http", &["-p", "0:8080"], &[])?;
    let port = guest.port(0);
    wait_until_it_answers(port, "/")?;
    let length = fixture.by_length(64 << 20, 1 << 30);
    both_ways(port, length)?;
    guest.stop()
}

/// Loads so many bytes from the HTTP appliance, and sends it as many.
pub fn both_ways(port: u16, length: u64) -> Verdict {
    let problem = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut stream = connect(port)?;
    write!(stream, "GET /bytes/{length} HTTP/1.1\r\nHost: x\r\n\r\n").map_err(problem("the request"))?;
    let mut reader = BufReader::new(stream);
    let (status, told) = read_head(&mut reader).map_err(problem("the download's head"))?;
    expect("status and length", (status, told), (200, length))?;
    let mut block = vec![0; 64 << 10];
    let mut at = 0;
    while at < length {
        let wanted = block.len().min((length - at) as usize);
        let count = reader.read(&mut block[..wanted]).map_err(problem("the download"))?;
        if count == 0 {
            return Err(format!("the download ended after {at} of {length} bytes"));
        }
        if let Some(wrong) = (0..count).find(|&i| block[i] != ((at + i as u64) % 251) as u8) {
            return Err(format!("byte {} of the download is wrong", at + wrong as u64));
        }
        at += count as u64;
    }

    // On the same connection.
    let mut stream = reader.into_inner();
    write!(stream, "POST /digest HTTP/1.1\r\nContent-Length: {length}\r\n\r\n")
        .map_err(problem("the request"))?;
    let mut digest = Sha256::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = length;
    while left > 0 {
        let count = block.len().min(left as usize);
        for word in block[..count].chunks_mut(8) {
            random = super::wire::xorshift(random);
            word.copy_from_slice(&random.to_le_bytes()[..word.len()]);
        }
        digest.update(&block[..count]);
        stream.write_all(&block[..count]).map_err(problem("the upload"))?;
        left -= count as u64;
    }
    let answer = read_answer(&mut BufReader::new(stream)).map_err(problem("the upload's answer"))?;
    let sum: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    expect("length and digest", String::from_utf8_lossy(&answer.body).trim(), &format!("{length} {sum}"))
}

pub fn tomcat(fixture: &Fixture) -> Verdict {
    let guest = Guest::appliance(fixture, "tomcat", &["-p", "0:8080"], &[])?;
    let port = guest.port(0);
    wait_until_it_answers(port, "/")?;
    load(fixture, port, fixture.by_length(5, 60))?;
    let body = pattern(300_000);
    let echoed = request(port, "POST /echo", &body).map_err(|error| format!("POST /echo: {error}"))?;
    expect("the echo is right", echoed.body == body, true)?;
    let bytes = get(port, "/bytes/1000000").map_err(|error| format!("GET /bytes: {error}"))?;
    expect("the length", bytes.body.len(), 1_000_000)?;
    guest.stop()
}
