//! The suite of storage, as far as it is about databases: real ones in guests with volumes, their own drivers on the host, and power cuts.
//!
//! Each client (`tests/storage`) writes rows whose content follows from their keys, says how many were acknowledged when the server is
//! gone, and later finds all of these again, as they were written, and nothing else. A power cut here is QEMU's sudden death: what the guest
//! had not yet given to its disk is lost. Disks that lose what was not flushed are another family of tests of this suite. Nothing here
//! asserts a time.

mod cassandra;
mod h2;
mod kafka;

use std::{path::PathBuf, process::Command, time::Duration};

use super::{
    Context, Suite, Test,
    services::{self, Check, Fixture, Verdict, expect, guest},
};
use crate::{appliance::Manifest, failure::Result, options::ApplicationOptions};

const CHECKS: [(&str, Check); 4] = [
    ("h2/power-cuts", h2::power_cuts),
    ("kafka/power-cuts", kafka::power_cuts),
    ("cassandra/one-node", cassandra::one_node),
    ("cassandra/two-nodes", cassandra::two_nodes),
];

/// Tests that are not for the short run, and why.
const LONG_ONLY: [(&str, &str); 3] = [
    ("kafka/power-cuts", SLOW_START),
    ("cassandra/one-node", SLOW_START),
    ("cassandra/two-nodes", SLOW_START),
];
const SLOW_START: &str = "it takes minutes to start under emulation";

/// For the start of what is slow to start, on a busy host.
const SLOW_PATIENCE: Duration = Duration::from_secs(900);

/// Clients of the tests: folders of `tests/storage`.
const CLIENTS: [&str; 3] = ["cassandra", "h2", "kafka"];

pub struct DatabaseSuite;

impl Suite for DatabaseSuite {
    fn name(&self) -> &'static str {
        "storage"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = tests_folder(context).is_dir();
        Ok(if there { CHECKS.iter().map(|(name, _)| name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let mut fixture = Fixture::make(context)?;
        let wanted = |client: &&str| names.iter().any(|name| name.starts_with(*client));
        for client in CLIENTS.into_iter().filter(wanted) {
            let manifest = Manifest::read(&tests_folder(context).join(client))?;
            let prepared = manifest.prepare(&ApplicationOptions::default(), &context.project)?;
            fixture.add_class_path(client, prepared.options.class_path.join(":"));
        }
        Ok(services::tests(fixture, &CHECKS, &LONG_ONLY, names))
    }

    fn runs_guests(&self) -> bool {
        true
    }

    /// Clients want the host's CPUs too, and some tests have two guests.
    fn uses_whole_host(&self) -> bool {
        true
    }
}

fn tests_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/storage")
}

/// A volume that nothing was ever written to, as the option `--volume` names it.
fn new_volume(fixture: &Fixture, name: &str) -> Result<String, String> {
    let path = fixture.path(&format!("{name}.img"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{name}.img: {error}")),
        _ => Ok(format!("{},size=2G", path.display())),
    }
}

/// What e2fsck says of a volume that was left in order.
fn check_volume(volume: &str) -> Verdict {
    let path = volume.split(',').next().unwrap_or_default();
    let output =
        Command::new("/sbin/e2fsck").args(["-fn", path]).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("e2fsck: {}\n{}", output.status, String::from_utf8_lossy(&output.stdout)))
}

/// What a client says of what it wrote: the acknowledged numbers of its threads.
fn acknowledged(output: &str) -> Result<Vec<String>, String> {
    let line = output.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let words = |line: &str| line.split(' ').map(String::from).collect();
    line.map(words).ok_or_else(|| format!("the client does not say what was acknowledged but\n{output}"))
}

/// Words of a command and then numbers.
fn with_numbers<'a>(words: &[&'a str], numbers: &'a [String]) -> Vec<&'a str> {
    words.iter().copied().chain(numbers.iter().map(String::as_str)).collect()
}
