//! H2 in a guest, and JDBC on the host.

use super::{
    Fixture, Verdict, acknowledged, check_volume,
    guest::{Guest, Running},
    new_volume, with_numbers,
};

const THREADS: &str = "4";

/// A server with the volume, that takes clients.
fn start(fixture: &Fixture, volume: &str) -> Result<(Guest, String), String> {
    let guest = Guest::appliance(fixture, "h2", &["-p", "0:9092", "--volume", volume], &[])?;
    guest.wait_for("TCP server running")?;
    let url = format!("jdbc:h2:tcp://127.0.0.1:{}/load", guest.port(0));
    Ok((guest, url))
}

fn check(fixture: &Fixture, url: &str, numbers: &[String]) -> Verdict {
    let client = fixture.java("h2", &with_numbers(&["H2Load", "check", url], numbers));
    Running::start(client)?.output().map(drop)
}

/// The power goes in the midst of a load, again and again; what was acknowledged is there, and an orderly end leaves an orderly volume.
pub fn power_cuts(fixture: &Fixture) -> Verdict {
    let volume = new_volume(fixture, "h2")?;
    let mut numbers = vec!["0".to_string(); THREADS.parse().unwrap_or_default()];
    for round in 0..fixture.by_length(2, 20) {
        let (guest, url) = start(fixture, &volume)?;
        if round > 0 {
            check(fixture, &url, &numbers)
                .map_err(|problem| format!("after power cut {round}: {problem}"))?;
        }
        let writer = Running::start(fixture.java("h2", &["H2Load", "write", &url, THREADS]))?;
        // From the client's 40th transaction on, at no moment in particular.
        writer.wait_for("writing 40")?;
        guest.cut_power();
        numbers = acknowledged(&writer.output()?)?;
    }
    let (guest, url) = start(fixture, &volume)?;
    check(fixture, &url, &numbers).map_err(|problem| format!("after the last power cut: {problem}"))?;
    guest.stop()?;
    check_volume(&volume)
}
