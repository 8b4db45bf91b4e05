//! The suite of the network: real services in guests, and real clients on the host.
//!
//! The tool is called as a user calls it ([`guest`]); clients are wrk, Java programs (`tests/net`), and what is written here. Between
//! guest and host is QEMU's user networking, or [`wire`]: a cable of our own that can lose, repeat, reorder and damage frames, and on which frames
//! can be forged. Expectations hold for any kernel: with the hidden option `--linux` the guests are Linux, which is how these tests are
//! tested. Nothing here asserts a time.

mod addresses;
mod echo;
mod ensemble;
mod guest;
mod hostile;
mod http;
mod names;
mod switch;
mod tls;
mod wire;
mod zookeeper;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Context, Outcome, Suite, Tally, Test, java};
use crate::{
    appliance::Manifest,
    failure::{Failure, Result},
    image::jre::JAVA_HOME,
    options::ApplicationOptions,
    scratch::ScratchFolder,
};

/// What one test says is wrong, if anything.
type Verdict = Result<(), String>;

type Check = fn(&Fixture) -> Verdict;

const CHECKS: [(&str, Check); 21] = [
    ("addresses/by-dhcp-and-routers", addresses::by_dhcp_and_routers),
    ("addresses/by-the-user", addresses::by_the_user),
    ("http/keep-alive", http::keep_alive),
    ("http/keep-alive-on-microvm", http::keep_alive_on_microvm),
    ("http/keep-alive-without-channels", http::keep_alive_without_channels),
    ("http/short-connections", http::short_connections),
    ("http/pipelines-and-broken-clients", http::pipelines_and_broken_clients),
    ("http/download-and-upload", http::download_and_upload),
    ("http/tomcat", http::tomcat),
    ("tls/server-in-the-guest", tls::server_in_the_guest),
    ("tls/client-in-the-guest", tls::client_in_the_guest),
    ("udp/echo", echo::echo),
    ("udp/multicast", echo::multicast),
    ("names/by-udp-and-tcp", names::by_udp_and_tcp),
    ("lossy/one-percent", hostile::one_percent),
    ("lossy/five-percent", hostile::five_percent),
    ("hostile/floods", hostile::floods),
    ("hostile/broken-frames", hostile::broken_frames),
    ("zookeeper/clients", zookeeper::clients),
    ("zookeeper/stall-of-the-link", zookeeper::stall_of_the_link),
    ("zookeeper/ensemble-loses-its-leader", ensemble::loses_its_leader),
];

/// Tests that are known to fail, and what is known of it.
const KNOWN_FAILURES: [(&str, &str); 1] = [(
    "zookeeper/ensemble-loses-its-leader",
    "the three guests elect no leader; why is not known yet (connections between them are reset)",
)];

pub struct NetSuite;

impl Suite for NetSuite {
    fn name(&self) -> &'static str {
        "net"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = tests_folder(context).is_dir();
        Ok(if there { CHECKS.iter().map(|(name, _)| name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        let fixture = Arc::new(Fixture::make(context)?);
        let test = |(name, check): (&'static str, Check)| {
            let fixture = fixture.clone();
            let run = move || {
                fixture.forget_guests();
                let known = KNOWN_FAILURES.iter().find(|(failing, _)| *failing == name);
                if let Some((_, reason)) = known
                    && fixture.length == Length::Short
                {
                    let note = format!("known failure, tried with --long only: {reason}");
                    return Outcome { tally: Tally { skipped: 1, ..Tally::default() }, notes: vec![note] };
                }
                match check(&fixture) {
                    Ok(()) => Outcome { tally: Tally { passed: 1, ..Tally::default() }, notes: vec![] },
                    Err(problem) => {
                        let mut outcome = Outcome::failure(problem);
                        outcome.notes.extend(fixture.what_guests_said());
                        outcome
                    }
                }
            };
            Test { name: name.to_string(), run: Box::new(run) }
        };
        Ok(CHECKS
            .into_iter()
            .filter(|(name, _)| names.iter().any(|wanted| wanted == name))
            .map(test)
            .collect())
    }

    fn runs_guests(&self) -> bool {
        true
    }

    /// Some tests have three guests at once, and all have clients that want the host's CPUs too.
    fn uses_whole_host(&self) -> bool {
        true
    }
}

fn tests_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/net")
}

/// Whether a test is run in its long form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Short,
    Long,
}

/// What all tests share.
struct Fixture {
    folder: ScratchFolder,
    root: PathBuf,
    tool: PathBuf,
    length: Length,
    /// Options of each guest.
    common: Vec<String>,
    /// Classes of `tests/net/programs`.
    programs: PathBuf,
    /// Class path of `tests/net/zookeeper`.
    zookeeper: String,
    /// What the guests of the test at hand have said on standard error, by name.
    said: Mutex<Vec<(String, guest::Lines)>>,
}

impl Fixture {
    fn make(context: &Context) -> Result<Self> {
        let folder = ScratchFolder::new_in(&std::env::temp_dir())?;
        let tests = tests_folder(context);
        let none = ApplicationOptions::default();
        let programs = Manifest::read(&tests.join("programs"))?.prepare(&none, &context.project)?;
        let programs = programs.options.class_path.first().cloned().unwrap_or_default().into();

        let server = Manifest::read(&context.project.root().join("apps/zookeeper"))?;
        let mut jars = server.prepare(&none, &context.project)?.options.class_path;
        let classes = folder.path().join("zookeeper");
        fs::create_dir(&classes).map_err(Failure::io("make", &classes))?;
        let source = tests.join("zookeeper/ZooKeeperClient.java");
        java::compile_with("net/zookeeper", &[source], &classes, &jars.join(":"))?;
        jars.insert(0, classes.display().to_string());

        let tool =
            std::env::current_exe().map_err(|error| Failure::new(format!("cannot find myself: {error}")))?;
        Ok(Self {
            folder,
            root: context.project.root().to_path_buf(),
            tool,
            length: if context.options.long { Length::Long } else { Length::Short },
            common: guest::common_options(&context.options),
            programs,
            zookeeper: jars.join(":"),
            said: Mutex::default(),
        })
    }

    /// The short or the long one of two values.
    fn by_length<T>(&self, short: T, long: T) -> T {
        match self.length {
            Length::Short => short,
            Length::Long => long,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A Java program on the host.
    fn java(&self, class_path: &str, words: &[&str]) -> Command {
        let mut command = Command::new(Path::new(JAVA_HOME).join("bin/java"));
        // ZooKeeper's client tells of each connection that it lost, which here is the test.
        command.args(["-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", class_path]);
        command.args(words).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn forget_guests(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// For a failure: the last that each guest and its tool said.
    fn what_guests_said(&self) -> Vec<String> {
        const SHOWN_LINES: usize = 20;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |(name, lines): &(String, guest::Lines)| format!("{name}:\n{}", lines.last(SHOWN_LINES));
        said.iter().map(shown).collect()
    }
}

/// The sentence that something is not as expected.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, and not {expected:?}")) }
}
