//! ZooKeeper in a guest, and its own client on the host.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Verdict, expect,
    guest::{Guest, PATIENCE, Running},
    http,
};

/// How long the link does not carry anything.
const STALL: Duration = Duration::from_secs(5);

/// Threads of the client.
const THREADS: &str = "32";

pub fn client(fixture: &Fixture, words: &[&str]) -> Command {
    let mut all = vec!["ZooKeeperClient"];
    all.extend(words);
    fixture.java("zookeeper", &all)
}

/// The answer to one of ZooKeeper's four-letter words.
pub fn four_letters(port: u16, word: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().map_err(|error| format!("{word}: {error}"))
}

/// Waits until a server says that it is well.
pub fn wait_until_well(port: u16) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match four_letters(port, "ruok") {
            Ok(answer) if answer == "imok" => return Ok(()),
            Ok(answer) if Instant::now() > deadline => return Err(format!("ruok is answered {answer:?}")),
            Err(error) if Instant::now() > deadline => return Err(error),
            _ => thread::sleep(Duration::from_millis(300)),
        }
    }
}

pub fn clients(fixture: &Fixture) -> Verdict {
    let guest = Guest::appliance(fixture, "zookeeper", &["-p", "0:2181", "-p", "0:8080"], &[])?;
    let (port, admin) = (guest.port(0), guest.port(1));
    wait_until_well(port)?;
    let servers = format!("127.0.0.1:{port}");

    let nodes = fixture.by_length("640", "10000");
    let output = Running::start(client(fixture, &["load", &servers, THREADS, nodes]))?.output()?;
    let events = nodes.parse::<u32>().unwrap_or_default() * 2;
    expect("the load", output.trim(), format!("nodes {nodes}, events {events}, left 0").as_str())?;

    // A client that dies takes its ephemeral node along.
    let dying = Running::start(client(fixture, &["ephemeral", &servers, "/dying"]))?;
    dying.wait_for("created")?;
    drop(dying);
    let output = Running::start(client(fixture, &["gone", &servers, "/dying"]))?.output()?;
    expect("the ephemeral node", output.trim(), "gone")?;

    for (word, part) in [
        ("srvr", "Mode: standalone"),
        ("stat", "Clients:"),
        ("mntr", "zk_version"),
        ("conf", "clientPort=2181"),
        ("cons", "queued="),
        ("envi", "java.version"),
    ] {
        let answer = four_letters(port, word)?;
        if !answer.contains(part) {
            return Err(format!("{word} is answered without {part:?}:\n{answer}"));
        }
    }
    http::wait_until_it_answers(admin, "/commands")?;
    for (command, part) in [("ruok", "\"error\" : null"), ("stats", "standalone"), ("monitor", "znode_count")]
    {
        let answer = http::get(admin, &format!("/commands/{command}")).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != 200 || !text.contains(part) {
            return Err(format!("the admin server's {command} is answered {} {text}", answer.status));
        }
    }
    guest.stop()
}

/// A session outlives a time in which the link carries nothing.
pub fn stall_of_the_link(fixture: &Fixture) -> Verdict {
    let monitor = fixture.path("monitor");
    let shown = monitor.display().to_string();
    let guest = Guest::appliance(fixture, "zookeeper", &["-p", "0:2181", "--monitor", &shown], &[])?;
    wait_until_well(guest.port(0))?;
    let servers = format!("127.0.0.1:{}", guest.port(0));
    let mut held = Running::start(client(fixture, &["hold", &servers]))?;
    held.wait_for("ready")?;
    for round in 0..fixture.by_length(2, 5) {
        set_link(&monitor, "off")?;
        // The request is on its way while the link is down.
        held.order("write")?;
        thread::sleep(STALL);
        set_link(&monitor, "on")?;
        expect("after the stall", held.wait_for_another("session", round)?.as_str(), "same session")?;
    }
    // And without a request under way.
    set_link(&monitor, "off")?;
    thread::sleep(STALL);
    set_link(&monitor, "on")?;
    let before = held.stdout.count("session");
    held.order("write")?;
    expect("after a quiet stall", held.wait_for_another("session", before)?.as_str(), "same session")?;
    held.output()?;
    guest.stop()
}

/// Takes the guest's link down or up, through QEMU's monitor.
fn set_link(monitor: &Path, state: &str) -> Verdict {
    let failed = |error: std::io::Error| format!("QEMU's monitor: {error}");
    let mut stream = UnixStream::connect(monitor).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
    await_prompt(&mut stream)?;
    writeln!(stream, "set_link net0 {state}").map_err(failed)?;
    await_prompt(&mut stream)
}

fn await_prompt(stream: &mut UnixStream) -> Verdict {
    const PROMPT: &[u8] = b"(qemu) ";
    let mut said = Vec::new();
    let mut buffer = [0; 512];
    while !said.ends_with(PROMPT) {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => said.extend_from_slice(&buffer[..length]),
            Ok(0) => return Err("QEMU's monitor has closed".into()),
            Err(error) => return Err(format!("QEMU's monitor: {error}")),
        }
    }
    Ok(())
}
