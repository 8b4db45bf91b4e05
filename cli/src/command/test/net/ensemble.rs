//! Three guests that are one ZooKeeper.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Verdict, expect,
    guest::{Guest, PATIENCE, Running},
    switch::Switch,
    wire::free_port,
    zookeeper::{client, four_letters, wait_until_well},
};

/// Acknowledged writes before and after the leader is lost.
const WRITES: usize = 50;

/// The leader's machine is killed while a client writes. Another is elected, and what was acknowledged is there.
pub fn loses_its_leader(fixture: &Fixture) -> Verdict {
    let switch = Switch::new(4)?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let address = |number: usize| Ipv4Addr::new(10, 1, 0, number as u8);
    let forwards = [1, 2, 3].map(|number| (ports[number - 1], address(number), 2181));
    let _gateway = switch.gateway(0, &forwards)?;
    let members: Vec<String> = (1..=3).map(|n| format!("server.{n}=10.1.0.{n}:2888:3888")).collect();
    let mut guests: Vec<Option<Guest>> = Vec::new();
    for number in 1..=3 {
        let (link, id) = (switch.options(number, address(number))?, format!("myid={number}"));
        let mut args = vec![id.as_str()];
        args.extend(members.iter().map(String::as_str));
        let mut options: Vec<&str> = link.iter().map(String::as_str).collect();
        options.extend(["-m", "640M", "-c", "2"]);
        guests.push(Some(Guest::appliance(fixture, "zookeeper", &options, &args)?));
    }
    for port in ports {
        wait_until_well(port)?;
    }
    let leader = wait_for_leader(&ports)?;
    let at = |port: &u16| format!("127.0.0.1:{port}");
    let all: Vec<String> = ports.iter().map(at).collect();
    let mut writer = Running::start(client(fixture, &["write", &all.join(",")]))?;
    writer.wait_for(&format!("written {WRITES}"))?;

    // Killed, as when the power goes: QEMU ends with its tool.
    drop(guests[leader].take());
    let left: Vec<u16> =
        ports.iter().enumerate().filter(|(number, _)| *number != leader).map(|(_, port)| *port).collect();
    let written = writer.stdout.count("written");
    let next = wait_for_leader(&left)?;
    // Each of these lines is for ten more.
    writer.wait_for_another("written", written + WRITES / 10)?;
    let living: Vec<String> = left.iter().map(at).collect();
    writer.order(&living.join(","))?;
    let output = writer.output()?;
    let last = output.lines().last().unwrap_or_default();
    expect("the writer has verified", last.starts_with("verified "), true)?;
    expect("the new leader leads", mode(left[next])?.as_str(), "leader")?;
    for guest in guests.into_iter().flatten() {
        guest.stop()?;
    }
    Ok(())
}

/// Waits until one of the servers leads and all others follow. Returns its place in the list.
fn wait_for_leader(ports: &[u16]) -> Result<usize, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let modes: Vec<String> = ports.iter().map(|port| mode(*port).unwrap_or_default()).collect();
        let followers = modes.iter().filter(|mode| *mode == "follower").count();
        if let Some(leader) = modes.iter().position(|mode| mode == "leader")
            && followers == ports.len() - 1
        {
            return Ok(leader);
        }
        if Instant::now() > deadline {
            return Err(format!("no leader is elected: {modes:?}"));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn mode(port: u16) -> Result<String, String> {
    let answer = four_letters(port, "srvr")?;
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    Ok(mode.unwrap_or_default().to_string())
}
