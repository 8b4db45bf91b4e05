//! `crema bench net`: what a service in the guest can do, with net channels and without, beside the Linux guest.
//!
//! Two programs run in each guest: `net-guest` (C), which measures the loopback and then serves `net-load` on the host,
//! and a small HTTP server (Java). A third is the appliance ZooKeeper, with a client on the host. Their figures are lines `NAME UNIT VALUE`; those of all rounds become medians.
//! `guest` runs a machine while something is done to it, `count` counts what its processors do.

mod count;
mod guest;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use run_config::RunConfig;

use self::{
    count::{Counter, Counts},
    guest::{Guest, Machine, Manners},
};
use super::{
    measure::{linux_guest, spread, wants_crema},
    provenance,
    table::Table,
};
use crate::{
    appliance::Manifest,
    application,
    failure::{Failure, Result},
    image::{
        cache::CachedImage,
        jre::{JAVA_HOME, Jre},
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    linux_guest::LinuxGuest,
    machine::choice::{Choice, Payload},
    options::{ApplicationOptions, BenchOptions, NetChannelsChoice},
    project::Project,
    scratch::ScratchFolder,
};

const GUEST_PROGRAM: &str = "/app/net-guest";

/// Ports of `net-guest`: `benchmarks/net/net.h`.
const TCP_PORTS: [u16; 4] = [5001, 5002, 5003, 5004];
const HTTP_PORT: u16 = 8080;
const ZOOKEEPER_PORT: u16 = 2181;

/// Seconds for each measurement of `net-guest` and `net-load`.
const TCP_SECONDS: &str = "2";
/// Of which the first three fifths warm the JVM up.
const HTTP_SECONDS: &str = "10";
const HTTP_CONNECTIONS: &str = "32";
const ZOOKEEPER_SECONDS: &str = "15";
const ZOOKEEPER_SESSIONS: &str = "16";

/// What is compared, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Channels,
    NoChannels,
    Linux,
}

const SIDES: [Side; 3] = [Side::Channels, Side::NoChannels, Side::Linux];

/// What is needed to start any of the machines.
struct Setup<'a> {
    project: &'a Project,
    choice: Choice,
    kernel: Option<PathBuf>,
    linux: Option<LinuxGuest>,
    programs: PathBuf,
    tcp_image: CachedImage,
    http_image: CachedImage,
    zookeeper: ZooKeeper,
}

/// The appliance, and its client.
struct ZooKeeper {
    image: CachedImage,
    config: RunConfig,
    /// Class path of the client.
    client: String,
    /// Holds the client's class.
    _classes: ScratchFolder,
}

/// A line of a program's output, for one side.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    name: String,
    unit: String,
    value: f64,
}

pub fn bench(options: &BenchOptions, project: &Project) -> Result<()> {
    let jre = Jre::find()?;
    let kernel = match wants_crema(options.against) {
        true => Some(project.kernel(options.machine.kernel.as_deref())?),
        false => None,
    };
    let programs = build_programs(project)?;
    let setup = Setup {
        project,
        choice: Choice::make(&options.machine, Payload::Jvm, project)?,
        kernel,
        linux: linux_guest(options.against, project)?,
        tcp_image: CachedImage::of(&tcp_recipe(&programs)?, project)?,
        http_image: CachedImage::of(&http_recipe(project)?, project)?,
        zookeeper: ZooKeeper::prepare(project)?,
        programs,
    };
    eprintln!("crema: {}, OpenJDK {}", setup.choice, jre.version);
    let sides: Vec<Side> = SIDES.into_iter().filter(|side| setup.kernel_of(*side).is_some()).collect();
    let mut all: Vec<(Side, Figure)> = Vec::new();
    for round in 1..=options.rounds {
        for measure in [Setup::tcp, Setup::http, Setup::zookeeper] {
            for side in &sides {
                eprintln!("crema: round {round}, {side:?}");
                all.extend(measure(&setup, *side)?.into_iter().map(|figure| (*side, figure)));
            }
        }
    }
    for side in &sides {
        eprintln!("crema: counting, {side:?}");
        all.extend(setup.counts(*side)?.into_iter().map(|figure| (*side, figure)));
    }
    let origin = provenance("net", &setup.choice, options.rounds, &setup.linux);
    let load = format!("{HTTP_CONNECTIONS} HTTP connections, {ZOOKEEPER_SESSIONS} sessions of ZooKeeper");
    print!("{origin}{load}\n{}", render(&all));
    Ok(())
}

impl Setup<'_> {
    fn kernel_of(&self, side: Side) -> Option<&Path> {
        match side {
            Side::Linux => self.linux.as_ref().map(LinuxGuest::kernel),
            _ => self.kernel.as_deref(),
        }
    }

    fn machine<'a>(&'a self, side: Side, image: &'a CachedImage, extra: &'a [String]) -> Result<Machine<'a>> {
        let kernel = self.kernel_of(side).ok_or_else(|| Failure::new("a side without a kernel"))?;
        let linux = self.linux.as_ref().filter(|_| side == Side::Linux);
        let channels = match side {
            Side::NoChannels => NetChannelsChoice::Off,
            _ => NetChannelsChoice::On,
        };
        Ok(Machine {
            project: self.project,
            choice: &self.choice,
            kernel,
            linux,
            image: image.path(),
            channels,
            extra,
            manners: Manners::Ours,
        })
    }

    /// Loopback, round trips, streams, connections.
    fn tcp(&self, side: Side) -> Result<Vec<Figure>> {
        let config = RunConfig {
            args: [GUEST_PROGRAM, TCP_SECONDS].map(String::from).to_vec(),
            env: application::ENVIRONMENT.map(String::from).to_vec(),
            cwd: "/tmp".into(),
            ..RunConfig::default()
        };
        let machine = self.machine(side, &self.tcp_image, &[])?;
        let (mut figures, output) = machine.serve(config, &TCP_PORTS, |guest| {
            let [echo, sink, source, end] = [0, 1, 2, 3].map(|n| guest.ports[n].to_string());
            let text = self.load(&["tcp", "127.0.0.1", TCP_SECONDS, &echo, &sink, &source])?;
            connect(&end)?;
            Ok(figures_of(&text))
        })?;
        let mut all = figures_of(&output);
        all.append(&mut figures);
        Ok(all)
    }

    fn http(&self, side: Side) -> Result<Vec<Figure>> {
        self.machine(side, &self.http_image, &[])?
            .serve(http_config(), &[HTTP_PORT], |guest| {
                let text = self.load_http(guest)?;
                end_http(guest)?;
                let mut figures = figures_of(&text);
                figures.retain(|figure| figure.name != "http_total");
                Ok(figures)
            })
            .map(|(figures, _)| figures)
    }

    /// Operations of ZooKeeper.
    fn zookeeper(&self, side: Side) -> Result<Vec<Figure>> {
        let machine = Machine { manners: Manners::Daemon, ..self.machine(side, &self.zookeeper.image, &[])? };
        let served = machine.serve(self.zookeeper.config.clone(), &[ZOOKEEPER_PORT], |guest| {
            let servers = format!("127.0.0.1:{}", guest.ports[0]);
            // The client waits for the server by itself.
            let mut java = Command::new(format!("{JAVA_HOME}/bin/java"));
            java.args(["-cp", &self.zookeeper.client, "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"]);
            java.args(["ZooKeeperLoad", &servers, ZOOKEEPER_SESSIONS, ZOOKEEPER_SECONDS]);
            Ok(figures_of(&output_of(java, "ZooKeeperLoad")?))
        });
        served.map(|(figures, _)| figures)
    }

    /// What the processors do for each request. In a run of its own, which counting makes slow.
    fn counts(&self, side: Side) -> Result<Vec<Figure>> {
        let counter = Counter::new(&self.programs.join("net-count.so"))?;
        let extra = counter.qemu_arguments();
        let machine = self.machine(side, &self.http_image, &extra)?;
        let (figures, _) = machine.serve(http_config(), &[HTTP_PORT], |guest| {
            // The first run is for the JIT compilers.
            self.load_http(guest)?;
            let before = counter.read()?;
            let text = self.load_http(guest)?;
            let after = counter.read()?;
            end_http(guest)?;
            let requests = figures_of(&text)
                .iter()
                .find(|figure| figure.name == "http_total")
                .map(|figure| figure.value)
                .ok_or_else(|| Failure::new("net-load does not say how many requests it made"))?;
            Ok(per_request(&before, &after, requests))
        })?;
        Ok(figures)
    }

    fn load_http(&self, guest: &Guest) -> Result<String> {
        self.load(&["http", "127.0.0.1", &guest.ports[0].to_string(), HTTP_CONNECTIONS, HTTP_SECONDS])
    }

    /// Runs the host's end.
    fn load(&self, arguments: &[&str]) -> Result<String> {
        let mut load = Command::new(self.programs.join("net-load"));
        load.args(arguments);
        output_of(load, "net-load")
    }
}

/// What a program on the host says, if it ends well.
fn output_of(mut command: Command, name: &str) -> Result<String> {
    let output = command.output().map_err(|error| Failure::new(format!("cannot start {name}: {error}")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{name} failed: {}", complaint.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl ZooKeeper {
    fn prepare(project: &Project) -> Result<Self> {
        let appliance = Manifest::read(&project.root().join("apps/zookeeper"))?;
        let prepared = appliance.prepare(&ApplicationOptions::default(), project)?;
        let (recipe, description) = application::pack(
            prepared.jar.as_deref(),
            &prepared.options,
            &[],
            &application::Defaults::default(),
            project,
        )?;
        let jars = prepared.options.class_path.join(":");
        let classes = ScratchFolder::new_in(&std::env::temp_dir())?;
        let source = project.root().join("benchmarks/net/ZooKeeperLoad.java");
        compile(&source, &jars, classes.path())?;
        Ok(Self {
            image: CachedImage::of(&recipe, project)?,
            config: description.run_config(&ApplicationOptions::default(), &[])?,
            client: format!("{}:{jars}", classes.path().display()),
            _classes: classes,
        })
    }
}

fn http_config() -> RunConfig {
    let mut env = application::ENVIRONMENT.map(String::from).to_vec();
    env.push(format!("JAVA_HOME={JAVA_HOME}"));
    RunConfig {
        args: [application::JVM_BRIDGE, "-cp", "/app", "Server", &HTTP_PORT.to_string()]
            .map(String::from)
            .to_vec(),
        env,
        cwd: "/app".into(),
        ..RunConfig::default()
    }
}

fn connect(port: &str) -> Result<TcpStream> {
    TcpStream::connect(format!("127.0.0.1:{port}"))
        .map_err(|error| Failure::new(format!("cannot reach the guest: {error}")))
}

/// Asks the server to end, and waits for its answer.
fn end_http(guest: &Guest) -> Result<()> {
    let failed = |error| Failure::new(format!("cannot end the server: {error}"));
    let mut stream = connect(&guest.ports[0].to_string())?;
    stream.write_all(b"GET /end HTTP/1.1\r\n\r\n").map_err(failed)?;
    stream.read_exact(&mut [0]).map_err(failed)
}

fn build_programs(project: &Project) -> Result<PathBuf> {
    let out = project.root().join("target/benchmarks");
    let output = Command::new("make")
        .args(["--silent", "--directory"])
        .arg(project.root().join("benchmarks/net"))
        .arg(format!("OUT={}", out.display()))
        .output()
        .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("benchmarks/net does not build:\n{}", complaint.trim_end())));
    }
    Ok(out)
}

fn tcp_recipe(programs: &Path) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    system_files::add_base(&mut recipe)?;
    recipe.file(GUEST_PROGRAM, programs.join("net-guest"))?;
    HostLibraries::find()?.close(&mut recipe, Missing::Refuse)?;
    Ok(recipe)
}

fn http_recipe(project: &Project) -> Result<Recipe> {
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    compile(&project.root().join("benchmarks/net/Server.java"), "", scratch.path())?;
    let mut recipe = application::jvm_recipe(project)?;
    let mut classes: Vec<PathBuf> = std::fs::read_dir(scratch.path())
        .map_err(Failure::io("read", scratch.path()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    classes.sort();
    for class in classes {
        let name = class.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let bytes = std::fs::read(&class).map_err(Failure::io("read", &class))?;
        recipe.bytes(format!("/app/{name}"), bytes)?;
    }
    Ok(recipe)
}

fn compile(source: &Path, class_path: &str, into: &Path) -> Result<()> {
    let output = Command::new(format!("{JAVA_HOME}/bin/javac"))
        .args(["--release", "17", "-proc:none", "-cp", class_path, "-d"])
        .args([into, source])
        .output()
        .map_err(|error| {
            Failure::new(format!("cannot start javac ({error}): apt install openjdk-17-jdk-headless"))
        })?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("javac cannot compile {}: {complaint}", source.display())));
    }
    Ok(())
}

/// The lines of an output that are figures.
fn figures_of(text: &str) -> Vec<Figure> {
    let figure = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, unit, value] = words[..] else { return None };
        Some(Figure { name: name.into(), unit: unit.into(), value: value.parse().ok()? })
    };
    text.lines().filter_map(figure).collect()
}

fn per_request(before: &Counts, after: &Counts, requests: f64) -> Vec<Figure> {
    let figure = |name: &str, before: u64, after: u64| Figure {
        name: format!("{name}_per_http_request"),
        unit: "1".into(),
        value: (after - before) as f64 / requests,
    };
    vec![
        figure("instructions", before.instructions, after.instructions),
        figure("device_accesses", before.device_accesses, after.device_accesses),
        figure("MSR_writes", before.msr_writes, after.msr_writes),
        figure("halts", before.halts, after.halts),
    ]
}

/// Medians and quartiles, and the two ratios that are aimed at: larger is better for rates only.
fn render(all: &[(Side, Figure)]) -> String {
    let mut table = Table::new(&[
        "median (quartiles)",
        "unit",
        "channels",
        "no channels",
        "Linux guest",
        "channels / none",
        "channels / Linux",
    ]);
    let mut names: Vec<(&str, &str)> = Vec::new();
    for (_, figure) in all {
        if !names.contains(&(&figure.name, &figure.unit)) {
            names.push((&figure.name, &figure.unit));
        }
    }
    for (name, unit) in names {
        let spread_of = |side: Side| {
            let of_side = |(other, figure): &&(Side, Figure)| *other == side && figure.name == name;
            spread(all.iter().filter(of_side).map(|(_, figure)| figure.value))
        };
        let spreads = SIDES.map(spread_of);
        let cell = |number: usize| match spreads[number] {
            Some(spread) => format!("{:.1} ({:.1} - {:.1})", spread.median, spread.lower, spread.upper),
            None => String::new(),
        };
        let ratio = |other: usize| match (spreads[0], spreads[other]) {
            (Some(own), Some(other)) if other.median > 0.0 => format!("{:.2}", own.median / other.median),
            _ => String::new(),
        };
        let name = name.replace('_', " ");
        table.row([name, unit.into(), cell(0), cell(1), cell(2), ratio(1), ratio(2)]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_compared() {
        let text = "ready\nround_trips 1/s 100.5\nbad us x\n";
        let read = figures_of(text);
        assert_eq!(read, [Figure { name: "round_trips".into(), unit: "1/s".into(), value: 100.5 }]);
        let linux = Figure { value: 50.25, ..read[0].clone() };
        let table = render(&[(Side::Channels, read[0].clone()), (Side::Linux, linux)]);
        let row = table.lines().nth(2).unwrap();
        assert!(row.contains("round trips") && row.ends_with("2.00 |"), "{table}");
    }

    #[test]
    fn counts_become_counts_per_request() {
        let before = Counts { instructions: 100, ..Counts::default() };
        let after = Counts { instructions: 1100, halts: 5, ..Counts::default() };
        let figures = per_request(&before, &after, 10.0);
        assert_eq!(figures.iter().map(|figure| figure.value).collect::<Vec<_>>(), [100.0, 0.0, 0.0, 0.5]);
    }
}
