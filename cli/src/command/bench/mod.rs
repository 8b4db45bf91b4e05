//! `crema bench`: figures, never tests.
//!
//! Responsible for measuring many times and for printing medians, with the command, the host and the versions
//! beside them. What is measured is in a module for each kind.

mod boot;
mod comparison;
mod disk;
mod measure;
mod net;
mod syscall;
mod table;

use std::{fs, process::Command};

use crate::{
    failure::Result,
    linux_guest::{self, LinuxGuest},
    machine::{choice::Choice, qemu::QEMU},
    options::{BenchKind, BenchOptions},
    project::Project,
};

/// Measures, and prints to standard output.
pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    match options.what {
        BenchKind::Boot => boot::bench(options, project),
        BenchKind::Syscall => syscall::bench(options, project),
        BenchKind::Net => net::bench(options, project),
        BenchKind::Disk => disk::bench(options, project),
    }
}

/// What a reader must know to judge figures: how they were made, when, on what, and with which versions.
fn provenance(what: &str, choice: &Choice, rounds: u32, linux: &Option<LinuxGuest>) -> String {
    let first_line = |command: &mut Command| {
        let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        output.ok().and_then(|text| text.lines().next().map(String::from)).unwrap_or_default()
    };
    let date = first_line(Command::new("date").args(["--utc", "+%F"]));
    let qemu = first_line(Command::new(QEMU).arg("--version"));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let mut text =
        format!("crema bench {what}: {choice}; {rounds} rounds in turn; {date}; {model}; {qemu}\n");
    if let Some(linux) = linux {
        text += &format!("Linux guest: {}, {}\n", linux.version(), linux_guest::COMMAND_LINE);
    }
    text
}
