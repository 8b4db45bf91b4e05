//! `crema bench service`: real services in the guest, at as much load as they take and at a load that both sides can bear.
//!
//! Each is an appliance of the project, with its own options for the JVM and its own machine, and a volume if it wants one. The load comes
//! from the host: `net-load` (C) for HTTP, and programs of `benchmarks/service` (Java) with the services' own clients.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use run_config::RunConfig;

use super::{
    harness::Harness,
    load,
    machine::{Guest, LIMIT, Machine, Manners},
    model::{Better, Length, Observation},
    programs,
    scratch_volume::{self, ScratchVolume},
    side::Side,
};
use crate::{
    appliance::Manifest,
    application,
    failure::{Failure, Result},
    image::{cache::CachedImage, jre::JAVA_HOME},
    machine::choice::{Choice, Payload},
    options::{ApplicationOptions, MemoryMib},
    project::Project,
    scratch::ScratchFolder,
};

/// A service, and how it is measured.
struct Service {
    /// Folder below `apps`.
    name: &'static str,
    port: u16,
    manners: Manners,
    client: Client,
    /// Folder of an appliance that has the client's libraries, if the service's own jars have not.
    libraries: Option<&'static str>,
    /// Operations a second that each side should bear, on two CPUs under emulation.
    rate: u32,
    when: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Http,
    /// A class of `benchmarks/service`.
    Java(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// It takes long to start under emulation, or its load does.
    NotQuick,
}

const SERVICES: [Service; 6] = [
    Service {
        name: "http",
        port: 8080,
        manners: Manners::Prints("listening"),
        client: Client::Http,
        libraries: None,
        rate: 200,
        when: When::Always,
    },
    Service {
        name: "tomcat",
        port: 8080,
        manners: Manners::Silent,
        client: Client::Http,
        libraries: None,
        rate: 100,
        when: When::NotQuick,
    },
    Service {
        name: "h2",
        port: 9092,
        manners: Manners::Prints("TCP server running"),
        client: Client::Java("H2Load"),
        libraries: None,
        rate: 100,
        when: When::NotQuick,
    },
    Service {
        name: "zookeeper",
        port: 2181,
        manners: Manners::Silent,
        client: Client::Java("ZooKeeperLoad"),
        libraries: None,
        rate: 40,
        when: When::NotQuick,
    },
    Service {
        name: "kafka",
        port: 9092,
        manners: Manners::Prints("Kafka Server started"),
        client: Client::Java("KafkaLoad"),
        libraries: None,
        rate: 20,
        when: When::NotQuick,
    },
    Service {
        name: "cassandra",
        port: 9042,
        manners: Manners::Prints("cassandra: ready"),
        client: Client::Java("CassandraLoad"),
        libraries: Some("tests/storage/cassandra"),
        rate: 10,
        when: When::NotQuick,
    },
];

/// Connections or sessions of a load.
const CLIENTS: &str = "16";
/// How long each load lasts, with its warming up.
const SECONDS: &str = "20";
const SECONDS_QUICK: &str = "5";
/// Heavy services are measured less often than light ones.
const RUNS_LIMIT: u32 = 5;

/// A service that is ready to be started.
struct Prepared<'a> {
    service: &'a Service,
    project: &'a Project,
    choice: Choice,
    image: CachedImage,
    config: RunConfig,
    /// Where it wants its volume.
    volume: Option<String>,
    /// `net-load`, or the class path of the client.
    client: PathBuf,
    class_path: String,
    seconds: &'static str,
    /// Holds the client's classes.
    _classes: ScratchFolder,
}

pub fn bench(harness: &mut Harness) -> Result<()> {
    let mut measured = Ok(());
    for service in &SERVICES {
        if service.when == When::NotQuick && harness.length == Length::Quick {
            continue;
        }
        let name = format!("service {}", service.name);
        match Prepared::new(service, harness) {
            Ok(prepared) => {
                let sides = harness.sides.clone();
                let runs = harness.runs.min(RUNS_LIMIT);
                let mut measure = |side: &Side| prepared.measure(side);
                let bench = harness.alternate_times(runs, &name, &prepared.choice, &sides, &mut measure)?;
                bench.notes.push(format!(
                    "{CLIENTS} connections; at a fixed rate, times count from when an operation was due, and all that were due were done."
                ));
            }
            // The others can be measured all the same.
            Err(failure) => measured = harness.failed(&name, &failure),
        }
    }
    measured
}

impl<'a> Prepared<'a> {
    fn new(service: &'a Service, harness: &Harness<'a>) -> Result<Self> {
        let project = harness.project;
        let appliance = Manifest::read(&project.root().join("apps").join(service.name))?;
        let prepared = appliance.prepare(&ApplicationOptions::default(), project)?;
        let (recipe, description) = application::pack(
            prepared.jar.as_deref(),
            &prepared.options,
            &appliance.args,
            &application::Defaults::default(),
            project,
        )?;
        let memory = appliance.memory.unwrap_or(MemoryMib(1024));
        let classes = ScratchFolder::new_in(&std::env::temp_dir())?;
        let jars = match service.libraries {
            None => prepared.options.class_path.join(":"),
            Some(folder) => {
                let libraries = Manifest::read(&project.root().join(folder))?;
                libraries.prepare(&ApplicationOptions::default(), project)?.options.class_path.join(":")
            }
        };
        let programs = programs::make("net", project)?;
        if let Client::Java(class) = service.client {
            let sources = ["Load", class]
                .map(|class| project.root().join("benchmarks/service").join(class).with_extension("java"));
            programs::compile(&sources, &jars, classes.path())?;
        }
        Ok(Self {
            service,
            project,
            choice: harness.machine_or(Payload::Jvm, memory, appliance.cpus)?,
            image: CachedImage::of(&recipe, project)?,
            config: description.run_config(&ApplicationOptions::default(), &[])?,
            volume: appliance.volume.clone(),
            client: programs.join("net-load"),
            class_path: format!("{}:{jars}", classes.path().display()),
            seconds: harness.length.pick(SECONDS, SECONDS_QUICK),
            _classes: classes,
        })
    }

    /// One start of the service, and both loads.
    fn measure(&self, side: &Side) -> Result<Observation> {
        let volume = self.volume.as_ref().map(|_| ScratchVolume::make()).transpose()?;
        let mut config = match &self.volume {
            Some(place) => scratch_volume::mounted(&self.config, place)?,
            None => self.config.clone(),
        };
        let mut host_port = 0;
        if self.service.name == "kafka" {
            // The broker tells its clients where it is, so this has to be known before.
            host_port = free_port()?;
            config.args.push(format!("advertised.listeners=PLAINTEXT://127.0.0.1:{host_port}"));
        }
        let arguments = volume.as_ref().map(ScratchVolume::arguments);
        let flushes = volume.as_ref().map(ScratchVolume::count_flushes);
        let machine = Machine {
            disks: volume.as_ref().map_or(&[], ScratchVolume::disks),
            extra: arguments.as_ref().map_or(&[], |words| &words[..]),
            limit: LIMIT * 2,
            ..Machine::new(self.project, &self.choice, side, self.image.path())
        };
        let ports = [(host_port, self.service.port)];
        let served = machine.serve(&config, &ports, self.service.manners, |guest| self.both_loads(guest));
        let flushes = flushes.map(|counter| counter.stop());
        let (mut seen, sample) = served?;
        if flushes == Some(0) {
            return Err(Failure::new("nothing was flushed to the disk: what was measured is not durable"));
        }
        seen.courses.push(sample.memory);
        Ok(seen)
    }

    fn both_loads(&self, guest: &Guest) -> Result<Observation> {
        if self.service.manners == Manners::Silent && self.service.client == Client::Http {
            wait_until_it_answers(guest)?;
        }
        let rate = self.service.rate.to_string();
        let mut seen = self.load(guest, "0", "saturated")?;
        let name = format!("at_{rate}_per_second");
        let mut paced = self.load(guest, &rate, &name)?;
        // That it was kept up is worth knowing, but no merit.
        for figure in paced.figures.iter_mut().filter(|figure| figure.name == name) {
            figure.better = Better::Neither;
        }
        seen.append(paced);
        Ok(seen)
    }

    /// Measures at a rate, or with 0 at as much as goes.
    fn load(&self, guest: &Guest, rate: &str, name: &str) -> Result<Observation> {
        let port = guest.ports[0].to_string();
        match self.service.client {
            Client::Http => {
                let mut command = Command::new(&self.client);
                let (kind, operations) =
                    if rate == "0" { ("http", "http_requests") } else { ("paced", "paced_requests") };
                command.args([kind, "127.0.0.1", &port, CLIENTS, self.seconds]);
                if rate != "0" {
                    command.arg(rate);
                }
                let mut seen = load::measure(guest, command, operations, name)?;
                seen.figures.retain(|figure| !figure.name.ends_with("http_total"));
                Ok(seen)
            }
            Client::Java(class) => {
                let mut command = Command::new(format!("{JAVA_HOME}/bin/java"));
                command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &self.class_path]);
                command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=off", class, "127.0.0.1", &port]);
                command.args([CLIENTS, self.seconds, rate]);
                load::measure(guest, command, "operations", name)
            }
        }
    }
}

/// Free when it was looked at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| Failure::new(format!("there is no free port: {error}")))
}

/// QEMU takes connections before the guest does, and closes them.
fn wait_until_it_answers(guest: &Guest) -> Result<()> {
    // QEMU's user networking also gives up a connection for good that nobody in the guest answers in time.
    const EACH: Duration = Duration::from_secs(10);
    let try_once = || -> std::io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect(("127.0.0.1", guest.ports[0]))?;
        stream.set_read_timeout(Some(EACH))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    let deadline = Instant::now() + LIMIT;
    loop {
        match try_once() {
            Ok(status) if status.ends_with(b"200") => return Ok(()),
            Ok(status) => {
                return Err(Failure::new(format!(
                    "GET / is answered with {}",
                    String::from_utf8_lossy(&status)
                )));
            }
            Err(error) if Instant::now() > deadline || !guest.is_running() => {
                return Err(Failure::new(format!("the server in the guest does not answer: {error}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}
