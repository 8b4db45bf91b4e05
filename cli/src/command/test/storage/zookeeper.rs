//! ZooKeeper under load, and the power is cut: after its restart every acknowledged write is there.

use std::{
    fmt::Write,
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::services::guest::{Guest, PATIENCE, Running},
    CPUS_OF_A_JVM, Programs, Verdict,
    power_cut::CutVolume,
};
use crate::volume::request::VolumeSize;

const SIZE: VolumeSize = VolumeSize(512 << 20);
const THREADS: &str = "32";
/// Writes, flushes and discards of the volume between the begin of the load and the cut.
const CHANGES: std::ops::Range<u64> = 50..800;
const SEED: u64 = 2181;

pub fn power_cuts(programs: &Programs) -> Verdict {
    let fixture = &programs.fixture;
    let mut volume = CutVolume::make(fixture.folder(), "zookeeper", SIZE, SEED)?;
    let mut acknowledged = String::new();
    for round in 1..=programs.by_length(2, 20) {
        let failed = |problem: String| format!("cut {round}: {problem}");
        fixture.forget_guests();
        let power = volume.power_on()?;
        let mut guest = boot(programs, &volume).map_err(failed)?;
        let server = wait_until_well(&mut guest).map_err(failed)?;
        check(programs, &server, &acknowledged).map_err(failed)?;

        let mut client = Running::start(
            fixture.java("zookeeper", &["Acknowledged", "write", &server, &round.to_string(), THREADS]),
        )?;
        client.wait_for("writing").map_err(failed)?;
        power.cut_within(CHANGES);
        power.wait_for_cut(&mut guest).map_err(failed)?;
        volume.kill(guest, power)?;
        // The server can acknowledge nothing any more; what it did is all printed when the client has ended.
        client.stdin = None;
        client.wait()?;
        for line in client.stdout.all().lines() {
            match line.split(' ').next() {
                Some("acknowledged" | "deleting" | "deleted") => {
                    // Writing to a string does not fail.
                    let _ = writeln!(acknowledged, "{line}");
                }
                Some("error:") => return Err(failed(line.into())),
                _ => {}
            }
        }
        volume.examine().map_err(failed)?;
    }
    let power = volume.power_on()?;
    let mut guest = boot(programs, &volume)?;
    let server = wait_until_well(&mut guest)?;
    check(programs, &server, &acknowledged)?;
    guest.stop()?;
    volume.power_off(power)?;
    volume.examine_clean()?;
    Ok(format!("{}; {} acknowledgements", volume.summary(), acknowledged.lines().count()))
}

fn boot(programs: &Programs, volume: &CutVolume) -> Result<Guest, String> {
    let options = [&volume.option("/var/lib/zookeeper"), "-c", CPUS_OF_A_JVM, "-p", "0:2181"];
    Guest::appliance(&programs.fixture, "zookeeper", &options, &[])
}

/// Waits until the server answers, and returns its address.
fn wait_until_well(guest: &mut Guest) -> Result<String, String> {
    let deadline = Instant::now() + PATIENCE;
    let port = guest.port(0);
    loop {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"ruok")?;
            std::io::read_to_string(stream)
        };
        if ask().is_ok_and(|answer| answer == "imok") {
            return Ok(format!("127.0.0.1:{port}"));
        }
        if guest.tool.has_ended() || Instant::now() > deadline {
            let (stdout, stderr) = (guest.tool.stdout.last(10), guest.tool.stderr.last(30));
            return Err(format!("ZooKeeper does not answer\n{stdout}\n{stderr}"));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Has a client ask for all that was acknowledged.
fn check(programs: &Programs, server: &str, acknowledged: &str) -> Result<(), String> {
    let mut client = Running::start(programs.fixture.java("zookeeper", &["Acknowledged", "check", server]))?;
    if let Some(mut stdin) = client.stdin.take() {
        stdin.write_all(acknowledged.as_bytes()).map_err(|error| format!("the checking client: {error}"))?;
    }
    client.output().map(drop)
}
