//! Databases as others wrote them, on volumes that lose power: what their tests share.
//!
//! Each client (a folder of `tests/storage`) writes rows whose content follows from their keys, says how many were acknowledged when the
//! server is gone, and later finds all of these again, as they were written, and nothing else. What a client acknowledges is a number for
//! each of its threads.

use std::{ops::Range, time::Duration};

use super::{
    super::services::guest::{Guest, Running},
    Programs,
    power_cut::{CutVolume, Power},
};
use crate::volume::request::VolumeSize;

/// For what is slow under emulation on a busy host: the start of a large server, and what its client waits for.
pub const SLOW_PATIENCE: Duration = Duration::from_secs(900);

/// Room for a server that sets aside what it will need.
pub const SIZE: VolumeSize = VolumeSize(2 << 30);

/// What was acknowledged to each thread of a client, as the client says it and takes it.
pub type Acknowledged = Vec<String>;

/// A client that runs, with what was acknowledged to it as its last words.
pub fn client(
    programs: &Programs,
    name: &'static str,
    words: &[&str],
    acknowledged: &[String],
) -> Result<Running, String> {
    let class = match name {
        "cassandra" => "CassandraLoad",
        "h2" => "H2Load",
        "kafka" => "KafkaLoad",
        _ => return Err(format!("there is no client of {name}")),
    };
    let mut all = vec![class];
    all.extend(words);
    all.extend(acknowledged.iter().map(String::as_str));
    Running::start(programs.fixture.java(name, &all))
}

/// What a client says that ends by itself.
pub fn said(
    programs: &Programs,
    name: &'static str,
    words: &[&str],
    acknowledged: &[String],
) -> Result<String, String> {
    client(programs, name, words, acknowledged)?
        .output_within(SLOW_PATIENCE)
        .map_err(|problem| format!("{}: {problem}", words.join(" ")))
}

/// What a client says of what it wrote.
pub fn acknowledged(output: &str) -> Result<Acknowledged, String> {
    let line = output.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let words = |line: &str| line.split(' ').map(String::from).collect();
    line.map(words).ok_or_else(|| format!("the client does not say what was acknowledged but\n{output}"))
}

/// A load, and when the power goes under it.
pub struct Load {
    pub client: Running,
    /// What the client says when the load is well under way.
    pub under_way: &'static str,
    /// How many writes, flushes and discards of the volume there are between that and the cut.
    pub changes: Range<u64>,
}

impl Load {
    /// Waits until the load has had its power cut, which kills the server. Returns what was acknowledged until then.
    pub fn until_cut(
        self,
        volume: &mut CutVolume,
        power: Power,
        mut guest: Guest,
    ) -> Result<Acknowledged, String> {
        self.client.wait_within(SLOW_PATIENCE, self.under_way)?;
        power.cut_within(self.changes);
        power.wait_for_cut(&mut guest)?;
        volume.kill(guest, power)?;
        // The server can acknowledge nothing any more.
        let acknowledged = acknowledged(&self.client.output_within(SLOW_PATIENCE)?)?;
        volume.examine()?;
        Ok(acknowledged)
    }
}

/// Ends a server in order, which must leave an orderly volume.
pub fn stop(volume: &mut CutVolume, power: Power, guest: Guest) -> Result<(), String> {
    guest.stop_within(SLOW_PATIENCE)?;
    volume.power_off(power)?;
    volume.examine_clean()
}

/// The sentence at the end of a test that went well.
pub fn summary(volume: &CutVolume, what: &str, acknowledged: &[String]) -> String {
    let sum: u64 = acknowledged.iter().filter_map(|number| number.parse::<u64>().ok()).sum();
    format!("{}; {sum} {what} acknowledged", volume.summary())
}
