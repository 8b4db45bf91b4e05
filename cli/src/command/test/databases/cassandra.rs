//! Cassandra in guests, and its own driver on the host.
//!
//! Under emulation a node takes a minute or more to start, and several on a busy host: all of this is for `--long` only.

use std::net::Ipv4Addr;

use super::{
    super::net::{switch::Switch, wire::free_port},
    Fixture, SLOW_PATIENCE, Verdict, acknowledged, check_volume, expect,
    guest::{Guest, Running},
    new_volume, with_numbers,
};

const THREADS: &str = "8";

const READY: &str = "cassandra: ready";

/// Half of a start under emulation would be work of the optimizing compiler, and the load is too short for its fruits.
const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// Settings of each node: it does not give up what takes long on a busy host.
const PATIENT: [&str; 3] =
    ["write_request_timeout=30s", "read_request_timeout=60s", "range_request_timeout=60s"];

fn start(fixture: &Fixture, volume: &str) -> Result<Guest, String> {
    let options = ["-p", "0:9042", "-p", "0:7199", "--volume", volume, "--java-opt", QUICK_START];
    // How nodetool's work is asked for.
    let settings = [&PATIENT[..], &["jmx=7199"]].concat();
    let guest = Guest::appliance(fixture, "cassandra", &options, &settings)?;
    guest.wait_within(SLOW_PATIENCE, READY)?;
    Ok(guest)
}

fn client(fixture: &Fixture, words: &[&str], numbers: &[String]) -> Result<Running, String> {
    let mut all = vec!["CassandraLoad"];
    all.extend(with_numbers(words, numbers));
    Running::start(fixture.java("cassandra", &all))
}

/// What a client says that ends by itself.
fn said(fixture: &Fixture, words: &[&str], numbers: &[String]) -> Result<String, String> {
    client(fixture, words, numbers)?
        .output_within(SLOW_PATIENCE)
        .map_err(|problem| format!("{}: {problem}", words.join(" ")))
}

/// Load, flush, snapshot and compaction; power cuts in the midst of a load; an orderly end, and a start after it.
pub fn one_node(fixture: &Fixture) -> Verdict {
    let volume = new_volume(fixture, "cassandra")?;
    let guest = start(fixture, &volume)?;
    let (node, jmx) = addresses(&guest);
    said(fixture, &["create", &node, "1"], &[])?;
    let mut numbers = Vec::new();
    for round in 1..=3 {
        numbers = acknowledged(&said(fixture, &["write", &node, THREADS, "600"], &numbers)?)?;
        said(fixture, &["flush", &jmx], &[])?;
        files_of_rows(fixture, &jmx, round)?;
    }
    said(fixture, &["snapshot", &jmx, "first"], &[])?;
    said(fixture, &["compact", &jmx], &[])?;
    files_of_rows(fixture, &jmx, 1)?;
    said(fixture, &["check", &node], &numbers)?;
    let numbers = write_until_power_cut(fixture, guest, &node, &numbers)?;

    let guest = start(fixture, &volume)?;
    let (node, _) = addresses(&guest);
    said(fixture, &["check", &node], &numbers)?;
    let mut numbers = write_until_power_cut(fixture, guest, &node, &numbers)?;

    let guest = start(fixture, &volume)?;
    let (node, _) = addresses(&guest);
    said(fixture, &["check", &node], &numbers)?;
    // Some are in the commit log only.
    numbers = acknowledged(&said(fixture, &["write", &node, THREADS, "200"], &numbers)?)?;
    guest.stop()?;
    check_volume(&volume)?;

    let guest = start(fixture, &volume)?;
    said(fixture, &["check", &addresses(&guest).0], &numbers)?;
    guest.stop()?;
    check_volume(&volume)
}

/// Where a node takes CQL and JMX.
fn addresses(guest: &Guest) -> (String, String) {
    (format!("127.0.0.1:{}", guest.port(0)), format!("127.0.0.1:{}", guest.port(1)))
}

fn files_of_rows(fixture: &Fixture, jmx: &str, expected: u32) -> Verdict {
    let output = said(fixture, &["tables", jmx], &[])?;
    expect("files of rows", output.lines().next(), Some(format!("tables {expected}").as_str()))
}

/// Loads the node from where the client ended, and cuts its power at no moment in particular. Returns what was acknowledged.
fn write_until_power_cut(
    fixture: &Fixture,
    guest: Guest,
    node: &str,
    numbers: &[String],
) -> Result<Vec<String>, String> {
    let writer = client(fixture, &["write", node, THREADS, "0"], numbers)?;
    writer.wait_within(SLOW_PATIENCE, "writing 400")?;
    guest.cut_power();
    acknowledged(&writer.output_within(SLOW_PATIENCE)?)
}

const CQL_PORT: u16 = 9042;
const JMX_PORT: u16 = 7199;

/// Two nodes that both have all rows. One is lost, writes at ONE go on, it comes back, and gets by hints what it missed: so it has
/// all rows when the other is lost.
pub fn two_nodes(fixture: &Fixture) -> Verdict {
    let switch = Switch::new(3)?;
    let ports = [free_port()?, free_port()?, free_port()?];
    let address = |number: u8| Ipv4Addr::new(10, 1, 0, number);
    let _gateway = switch.gateway(
        0,
        &[
            (ports[0], address(1), CQL_PORT),
            (ports[1], address(2), CQL_PORT),
            (ports[2], address(1), JMX_PORT),
        ],
    )?;
    let volumes = [new_volume(fixture, "first")?, new_volume(fixture, "second")?];
    let boot = |number: u8| {
        let place = usize::from(number);
        let link = switch.options(place, address(number))?;
        let mut options: Vec<&str> = link.iter().map(String::as_str).collect();
        options.extend(["--volume", &volumes[place - 1], "--java-opt", QUICK_START]);
        let settings = [&PATIENT[..], &["jmx=7199", "seeds=10.1.0.1,10.1.0.2"]].concat();
        Guest::appliance(fixture, "cassandra", &options, &settings)
    };
    let [first_node, second_node, first_jmx] = ports.map(|port| format!("127.0.0.1:{port}"));
    let (first, second) = (boot(1)?, boot(2)?);
    for guest in [&first, &second] {
        guest.wait_within(SLOW_PATIENCE, READY)?;
    }
    said(fixture, &["create", &first_node, "2"], &[])?;
    let mut numbers = acknowledged(&said(fixture, &["write", &first_node, THREADS, "400"], &[])?)?;
    second.cut_power();
    numbers = acknowledged(&said(fixture, &["write", &first_node, THREADS, "400"], &numbers)?)?;
    said(fixture, &["check", &first_node], &numbers)?;
    said(fixture, &["hints", &first_jmx, "400", "kept"], &[])?;
    let second = boot(2)?;
    second.wait_within(SLOW_PATIENCE, READY)?;
    said(fixture, &["hints", &first_jmx, "400", "delivered"], &[])?;
    first.cut_power();
    said(fixture, &["check", &second_node], &numbers)?;
    second.stop()?;
    check_volume(&volumes[1])
}
