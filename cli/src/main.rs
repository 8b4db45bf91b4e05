//! `crema`: builds images of jars, boots them, and tests and measures the kernel that they run on.
//!
//! What goes to standard output is the guest's alone; everything that the tool itself has to say goes to
//! standard error, in lines that begin with "crema:".

#![forbid(unsafe_code)]

mod appliance;
mod application;
mod chance;
mod command;
mod failure;
mod image;
mod jar;
mod linux_guest;
mod machine;
mod network;
mod options;
mod project;
mod scratch;
mod symbolize;
mod volume;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    failure::Result,
    options::{Command, Options},
    project::Project,
};

fn main() -> ExitCode {
    let options = Options::parse();
    let status = perform(&options.command).unwrap_or_else(|failure| command::run::failed(&failure));
    ExitCode::from(status)
}

fn perform(command: &Command) -> Result<u8> {
    machine::interrupt::install()?;
    let project = Project::find()?;
    match command {
        Command::Run(options) => command::run::run(options, &project),
        Command::Build(options) => command::build::build(options, &project).map(|()| 0),
        Command::Lock(options) => command::lock::lock(options, &project).map(|()| 0),
        Command::Test(options) => command::test::test(options, &project),
        Command::Volume { command } => command::volume::volume(command),
        Command::FaultyLink(options) => command::faulty_link::faulty_link(options).map(|()| 0),
        Command::FaultyDisk(options) => command::faulty_disk::faulty_disk(options).map(|()| 0),
        Command::Bench(options) => command::bench::bench(options, &project),
    }
}
