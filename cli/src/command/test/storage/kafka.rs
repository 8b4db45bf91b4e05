//! Kafka in a guest, and its own clients on the host.

use super::{
    super::{net::wire::free_port, services::guest::Guest},
    CPUS_OF_A_JVM, Programs, Verdict,
    database::{self, Acknowledged, Load},
    power_cut::CutVolume,
};

const PARTITIONS: &str = "4";
const SEED: u64 = 9094;
const CHANGES: std::ops::Range<u64> = 1..400;

/// Half of a start under emulation would be work of the optimizing compiler, and the load is too short for its fruits.
const QUICK_START: &str = "-XX:TieredStopAtLevel=1";

/// A broker with the volume, that takes clients; and where it is.
fn start(programs: &Programs, volume: &CutVolume) -> Result<(Guest, String), String> {
    // The broker tells its clients where it is, so this has to be known before.
    let broker = format!("127.0.0.1:{}", free_port()?);
    let forward = format!("{broker}:9092");
    let advertised = format!("advertised.listeners=PLAINTEXT://{broker}");
    let place = volume.option("/var/lib/kafka");
    let options = [&place, "-c", CPUS_OF_A_JVM, "-p", &forward, "--java-opt", QUICK_START];
    let guest = Guest::appliance(&programs.fixture, "kafka", &options, &[&advertised])?;
    guest.wait_within(database::SLOW_PATIENCE, "Kafka Server started")?;
    Ok((guest, broker))
}

fn check(programs: &Programs, broker: &str, numbers: &[String]) -> Result<(), String> {
    database::said(programs, "kafka", &["check", broker], numbers).map(drop)
}

/// The power goes in the midst of a load, again and again. What was acknowledged is there, in its order.
pub fn power_cuts(programs: &Programs) -> Verdict {
    let mut volume = CutVolume::make(programs.fixture.folder(), "kafka", database::SIZE, SEED)?;
    let mut numbers: Acknowledged = vec![];
    for round in 1..=programs.by_length(1, 4) {
        let failed = |problem: String| format!("cut {round}: {problem}");
        programs.fixture.forget_guests();
        let power = volume.power_on()?;
        let (guest, broker) = start(programs, &volume).map_err(failed)?;
        if round > 1 {
            check(programs, &broker, &numbers).map_err(failed)?;
        }
        let client = database::client(programs, "kafka", &["write", &broker, PARTITIONS], &[])?;
        let load = Load { client, under_way: "writing 100", changes: CHANGES };
        numbers = load.until_cut(&mut volume, power, guest).map_err(failed)?;
    }
    let power = volume.power_on()?;
    let (guest, broker) = start(programs, &volume)?;
    check(programs, &broker, &numbers).map_err(|problem| format!("after the last cut: {problem}"))?;
    database::stop(&mut volume, power, guest)?;
    Ok(database::summary(&volume, "records", &numbers))
}
