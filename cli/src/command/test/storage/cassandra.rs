//! Cassandra in guests, and its own driver on the host.

use std::net::Ipv4Addr;

use super::{
    super::{
        net::{switch::Switch, wire::free_port},
        services::guest::Guest,
    },
    CPUS_OF_A_JVM, Programs, Verdict,
    database::{self, Acknowledged, Load, SLOW_PATIENCE},
    power_cut::{CutVolume, Power},
};

const THREADS: &str = "8";
const SEED: u64 = 9042;
const CHANGES: std::ops::Range<u64> = 1..300;

const PLACE: &str = "/var/lib/cassandra";
const READY: &str = "cassandra: ready";

/// Half of a start under emulation would be work of the optimizing compiler, and the load is too short for its fruits.
const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// Settings of each node: it does not give up what takes long on a busy host.
const PATIENT: [&str; 3] =
    ["write_request_timeout=30s", "read_request_timeout=60s", "range_request_timeout=60s"];

/// A node, and where it takes CQL and JMX.
struct Node {
    guest: Guest,
    power: Power,
    cql: String,
    jmx: String,
}

fn start(programs: &Programs, volume: &mut CutVolume) -> Result<Node, String> {
    programs.fixture.forget_guests();
    let power = volume.power_on()?;
    let place = volume.option(PLACE);
    let options = [&place, "-c", CPUS_OF_A_JVM, "-p", "0:9042", "-p", "0:7199", "--java-opt", QUICK_START];
    // How nodetool's work is asked for.
    let settings = [&PATIENT[..], &["jmx=7199"]].concat();
    let guest = Guest::appliance(&programs.fixture, "cassandra", &options, &settings)?;
    guest.wait_within(SLOW_PATIENCE, READY)?;
    let [cql, jmx] = [0, 1].map(|number| format!("127.0.0.1:{}", guest.port(number)));
    Ok(Node { guest, power, cql, jmx })
}

fn said(programs: &Programs, words: &[&str], numbers: &[String]) -> Result<String, String> {
    database::said(programs, "cassandra", words, numbers)
}

fn write(programs: &Programs, cql: &str, count: &str, numbers: &[String]) -> Result<Acknowledged, String> {
    database::acknowledged(&said(programs, &["write", cql, THREADS, count], numbers)?)
}

/// Load, flush, snapshot and compaction; power cuts in the midst of a load; an orderly end, and a start after it.
pub fn one_node(programs: &Programs) -> Verdict {
    let mut volume = CutVolume::make(programs.fixture.folder(), "cassandra", database::SIZE, SEED)?;
    let node = start(programs, &mut volume)?;
    said(programs, &["create", &node.cql, "1"], &[])?;
    let mut numbers = vec![];
    for round in 1..=programs.by_length(2, 3) {
        numbers = write(programs, &node.cql, "400", &numbers)?;
        said(programs, &["flush", &node.jmx], &[])?;
        expect_tables(programs, &node, round)?;
    }
    said(programs, &["snapshot", &node.jmx, "first"], &[])?;
    said(programs, &["compact", &node.jmx], &[])?;
    expect_tables(programs, &node, 1)?;
    said(programs, &["check", &node.cql], &numbers)?;
    numbers = write_until_cut(programs, &mut volume, node, &numbers)?;

    for _ in 1..programs.by_length(1, 3) {
        let node = start(programs, &mut volume)?;
        said(programs, &["check", &node.cql], &numbers)?;
        numbers = write_until_cut(programs, &mut volume, node, &numbers)?;
    }

    let node = start(programs, &mut volume)?;
    said(programs, &["check", &node.cql], &numbers)?;
    // Some are in the commit log only.
    numbers = write(programs, &node.cql, "200", &numbers)?;
    database::stop(&mut volume, node.power, node.guest)?;

    let node = start(programs, &mut volume)?;
    said(programs, &["check", &node.cql], &numbers)?;
    database::stop(&mut volume, node.power, node.guest)?;
    Ok(database::summary(&volume, "rows", &numbers))
}

/// How many files of rows (SSTables) there should be.
fn expect_tables(programs: &Programs, node: &Node, expected: u32) -> Result<(), String> {
    let output = said(programs, &["tables", &node.jmx], &[])?;
    let expected = format!("tables {expected}");
    if output.lines().next() == Some(&expected) {
        Ok(())
    } else {
        Err(format!("{output}, and not {expected}"))
    }
}

/// Loads the node from where the client ended, until its power goes.
fn write_until_cut(
    programs: &Programs,
    volume: &mut CutVolume,
    node: Node,
    numbers: &[String],
) -> Result<Acknowledged, String> {
    let client = database::client(programs, "cassandra", &["write", &node.cql, THREADS, "0"], numbers)?;
    let load = Load { client, under_way: "writing 200", changes: CHANGES };
    load.until_cut(volume, node.power, node.guest)
}

const CQL_PORT: u16 = 9042;
const JMX_PORT: u16 = 7199;

/// Two nodes that both have all rows. One is lost, writes at ONE go on, it comes back, and gets by hints what it missed: so it has
/// all rows when the other is lost.
pub fn two_nodes(programs: &Programs) -> Verdict {
    programs.fixture.forget_guests();
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
    let folder = programs.fixture.folder();
    let mut first_volume = CutVolume::make(folder, "first", database::SIZE, SEED + 1)?;
    let mut second_volume = CutVolume::make(folder, "second", database::SIZE, SEED + 2)?;
    let boot = |number: u8, volume: &CutVolume| {
        let link = switch.options(number.into(), address(number))?;
        let mut options: Vec<&str> = link.iter().map(String::as_str).collect();
        let place = volume.option(PLACE);
        options.extend([&place, "-c", CPUS_OF_A_JVM, "--java-opt", QUICK_START]);
        let settings = [&PATIENT[..], &["jmx=7199", "seeds=10.1.0.1,10.1.0.2"]].concat();
        Guest::appliance(&programs.fixture, "cassandra", &options, &settings)
    };
    let [first_cql, second_cql, first_jmx] = ports.map(|port| format!("127.0.0.1:{port}"));
    let first_power = first_volume.power_on()?;
    let first = boot(1, &first_volume)?;
    let second_power = second_volume.power_on()?;
    let second = boot(2, &second_volume)?;
    for guest in [&first, &second] {
        guest.wait_within(SLOW_PATIENCE, READY)?;
    }
    said(programs, &["create", &first_cql, "2"], &[])?;
    let mut numbers = write(programs, &first_cql, "400", &[])?;
    second_volume.kill(second, second_power)?;
    second_volume.examine()?;

    numbers = write(programs, &first_cql, "400", &numbers)?;
    said(programs, &["check", &first_cql], &numbers)?;
    said(programs, &["hints", &first_jmx, "400", "kept"], &[])?;
    let second_power = second_volume.power_on()?;
    let second = boot(2, &second_volume)?;
    second.wait_within(SLOW_PATIENCE, READY)?;
    said(programs, &["hints", &first_jmx, "400", "delivered"], &[])?;

    first_volume.kill(first, first_power)?;
    first_volume.examine()?;
    said(programs, &["check", &second_cql], &numbers)?;
    database::stop(&mut second_volume, second_power, second)?;
    Ok(database::summary(&second_volume, "rows", &numbers))
}
