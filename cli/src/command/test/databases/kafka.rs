//! Kafka in a guest, and its own clients on the host.

use super::{
    super::net::wire::free_port,
    Fixture, SLOW_PATIENCE, Verdict, acknowledged, check_volume,
    guest::{Guest, Running},
    new_volume, with_numbers,
};

const PARTITIONS: &str = "4";

/// A broker with the volume, that takes clients; and where it is.
fn start(fixture: &Fixture, volume: &str) -> Result<(Guest, String), String> {
    // The broker tells its clients where it is, so this has to be known before.
    let broker = format!("127.0.0.1:{}", free_port()?);
    let forward = format!("{broker}:9092");
    let advertised = format!("advertised.listeners=PLAINTEXT://{broker}");
    let guest = Guest::appliance(fixture, "kafka", &["-p", &forward, "--volume", volume], &[&advertised])?;
    guest.wait_within(SLOW_PATIENCE, "Kafka Server started")?;
    Ok((guest, broker))
}

fn check(fixture: &Fixture, broker: &str, numbers: &[String]) -> Verdict {
    let client = fixture.java("kafka", &with_numbers(&["KafkaLoad", "check", broker], numbers));
    Running::start(client)?.output_within(SLOW_PATIENCE).map(drop)
}

/// The power goes in the midst of a load, again and again. What was acknowledged is there, in its order.
pub fn power_cuts(fixture: &Fixture) -> Verdict {
    let volume = new_volume(fixture, "kafka")?;
    let mut numbers = vec!["0".to_string(); PARTITIONS.parse().unwrap_or_default()];
    for round in 0..4 {
        let (guest, broker) = start(fixture, &volume)?;
        if round > 0 {
            check(fixture, &broker, &numbers)
                .map_err(|problem| format!("after power cut {round}: {problem}"))?;
        }
        let writer = Running::start(fixture.java("kafka", &["KafkaLoad", "write", &broker, PARTITIONS]))?;
        writer.wait_within(SLOW_PATIENCE, "writing 400")?;
        guest.cut_power();
        numbers = acknowledged(&writer.output_within(SLOW_PATIENCE)?)?;
    }
    let (guest, broker) = start(fixture, &volume)?;
    check(fixture, &broker, &numbers).map_err(|problem| format!("after the last power cut: {problem}"))?;
    guest.stop()?;
    check_volume(&volume)
}
