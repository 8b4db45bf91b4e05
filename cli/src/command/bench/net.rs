//! `crema bench net`: what a service in the guest can do, with net channels and without, beside the Linux guest.
//!
//! Two programs run in each guest: `net-guest` (C), which measures the loopback and then serves `net-load` on the host, and a small HTTP
//! server (Java).

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use run_config::RunConfig;

use super::{
    figures,
    harness::Harness,
    machine::{Guest, Machine, Manners},
    model::{Length, Observation},
    programs,
    side::Side,
};
use crate::{
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::choice::{Choice, Payload},
    options::NetChannelsChoice,
    project::Project,
};

const GUEST_PROGRAM: &str = "/app/net-guest";

/// Any ports of the host, and those of `net-guest`: `benchmarks/net/net.h`.
const TCP_PORTS: [(u16, u16); 4] = [(0, 5001), (0, 5002), (0, 5003), (0, 5004)];
pub const HTTP_PORT: u16 = 8080;

/// Connections that are kept open, and for how many seconds; the first three fifths warm the JVM up.
const HTTP: [(u32, u32); 4] = [(1, 5), (10, 5), (100, 10), (1000, 10)];
const HTTP_QUICK: [(u32, u32); 2] = [(1, 2), (100, 4)];
pub const READY: Manners = Manners::Ours("ready");

/// What is needed to start any of the machines.
struct Setup<'a> {
    project: &'a Project,
    choice: Choice,
    length: Length,
    programs: PathBuf,
    tcp_image: CachedImage,
    http_image: CachedImage,
}

pub fn bench(harness: &mut Harness) -> Result<()> {
    let project = harness.project;
    let programs = programs::make("net", project)?;
    let setup = Setup {
        project,
        choice: harness.machine(Payload::Jvm)?,
        length: harness.length,
        tcp_image: CachedImage::of(
            &programs::c_recipe(&programs.join("net-guest"), GUEST_PROGRAM)?,
            project,
        )?,
        http_image: CachedImage::of(&programs::java_recipe(&["net/Server.java"], project)?, project)?,
        programs,
    };
    let mut sides = harness.sides.clone();
    let crema = sides.iter().find(|side| side.linux().is_none()).cloned();
    if let (Some(crema), Length::Full) = (crema, setup.length) {
        sides.push(crema.variant("Crema without channels", |side| side.channels = NetChannelsChoice::Off));
    }
    harness.alternate("net", &setup.choice, &sides, |side| {
        let mut seen = setup.tcp(side)?;
        seen.append(setup.http(side)?);
        Ok(seen)
    })?;
    Ok(())
}

impl Setup<'_> {
    fn machine<'a>(&'a self, side: &'a Side, image: &'a CachedImage) -> Machine<'a> {
        Machine::new(self.project, &self.choice, side, image.path())
    }

    /// Loopback, round trips, streams, connections.
    fn tcp(&self, side: &Side) -> Result<Observation> {
        let seconds = self.length.pick("2", "1");
        let config = programs::c_config(&[GUEST_PROGRAM, seconds]);
        let machine = self.machine(side, &self.tcp_image);
        let (seen, sample) = machine.serve(&config, &TCP_PORTS, READY, |guest| {
            let [echo, sink, source, end] = [0, 1, 2, 3].map(|n| guest.ports[n].to_string());
            let seen = load(&self.programs, &["tcp", "127.0.0.1", seconds, &echo, &sink, &source])?;
            connect(&end)?;
            Ok(seen)
        })?;
        let mut all = figures::parse(&sample.stdout);
        all.append(seen);
        Ok(all)
    }

    fn http(&self, side: &Side) -> Result<Observation> {
        let machine = self.machine(side, &self.http_image);
        let (seen, _) = machine.serve(&http_config(), &[(0, HTTP_PORT)], READY, |guest| {
            let mut all = Observation::default();
            for (connections, seconds) in self.length.pick(&HTTP[..], &HTTP_QUICK[..]) {
                let mut seen = self.load_http(guest, *connections, *seconds)?;
                seen.figures.retain(|figure| figure.name != TOTAL);
                for figure in &mut seen.figures {
                    let connections = format!("http_requests_on_{connections}_connections");
                    figure.name = figure.name.replace("http_requests", &connections);
                }
                all.append(seen);
            }
            end_http(guest)?;
            Ok(all)
        })?;
        Ok(seen)
    }

    fn load_http(&self, guest: &Guest, connections: u32, seconds: u32) -> Result<Observation> {
        let words = [guest.ports[0].to_string(), connections.to_string(), seconds.to_string()];
        load(&self.programs, &["http", "127.0.0.1", &words[0], &words[1], &words[2]])
    }
}

/// What `net-load` calls the number of all requests, those of its warming up too.
pub const TOTAL: &str = "http_total";

/// Runs the host's end.
pub fn load(programs: &Path, arguments: &[&str]) -> Result<Observation> {
    let mut load = Command::new(programs.join("net-load"));
    load.args(arguments);
    Ok(figures::parse(&programs::output_of(load, "net-load")?))
}

pub fn http_config() -> RunConfig {
    programs::java_config(&[], &["Server", &HTTP_PORT.to_string()])
}

fn connect(port: &str) -> Result<TcpStream> {
    TcpStream::connect(format!("127.0.0.1:{port}"))
        .map_err(|error| Failure::new(format!("cannot reach the guest: {error}")))
}

/// Asks the server to end, and waits for its answer.
pub fn end_http(guest: &Guest) -> Result<()> {
    let failed = |error| Failure::new(format!("cannot end the server: {error}"));
    let mut stream = connect(&guest.ports[0].to_string())?;
    stream.write_all(b"GET /end HTTP/1.1\r\n\r\n").map_err(failed)?;
    stream.read_exact(&mut [0]).map_err(failed)
}
