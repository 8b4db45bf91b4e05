//! H2 in a guest, and JDBC on the host.

use super::{
    super::services::guest::Guest,
    CPUS_OF_A_JVM, Programs, Verdict,
    database::{self, Acknowledged, Load},
    power_cut::CutVolume,
};

const THREADS: &str = "4";
const SEED: u64 = 9092;
const CHANGES: std::ops::Range<u64> = 1..300;

/// A server with the volume, that takes clients.
fn start(programs: &Programs, volume: &CutVolume) -> Result<(Guest, String), String> {
    let options = [&volume.option("/var/lib/h2"), "-c", CPUS_OF_A_JVM, "-p", "0:9092"];
    let guest = Guest::appliance(&programs.fixture, "h2", &options, &[])?;
    guest.wait_within(database::SLOW_PATIENCE, "TCP server running")?;
    let url = format!("jdbc:h2:tcp://127.0.0.1:{}/load", guest.port(0));
    Ok((guest, url))
}

fn check(programs: &Programs, url: &str, numbers: &[String]) -> Result<(), String> {
    database::said(programs, "h2", &["check", url], numbers).map(drop)
}

/// The power goes in the midst of a load, again and again; what was acknowledged is there, and an orderly end leaves an orderly volume.
pub fn power_cuts(programs: &Programs) -> Verdict {
    let mut volume = CutVolume::make(programs.fixture.folder(), "h2", database::SIZE, SEED)?;
    let mut numbers: Acknowledged = vec![];
    for round in 1..=programs.by_length(2, 20) {
        let failed = |problem: String| format!("cut {round}: {problem}");
        programs.fixture.forget_guests();
        let power = volume.power_on()?;
        let (guest, url) = start(programs, &volume).map_err(failed)?;
        if round > 1 {
            check(programs, &url, &numbers).map_err(failed)?;
        }
        let client = database::client(programs, "h2", &["write", &url, THREADS], &[])?;
        let load = Load { client, under_way: "writing 40", changes: CHANGES };
        numbers = load.until_cut(&mut volume, power, guest).map_err(failed)?;
    }
    let power = volume.power_on()?;
    let (guest, url) = start(programs, &volume)?;
    check(programs, &url, &numbers).map_err(|problem| format!("after the last cut: {problem}"))?;
    database::stop(&mut volume, power, guest)?;
    Ok(database::summary(&volume, "transactions", &numbers))
}
