//! `test.toml`: how a folder of Java programs is run. `tests/java/README.md` has the format.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::options::{MemoryMib, parse_memory};

const DEFAULT_MEMORY: &str = "512M";
const DEFAULT_DISK: &str = "64M";
const DEFAULT_CPUS: [u32; 3] = [1, 2, 4];
const DEFAULT_TIME_LIMIT_S: u64 = 120;

/// The keys of a run. They may also stand at the top of the file, as defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    launch: Option<Vec<String>>,
    args: Option<Vec<String>>,
    java_options: Option<Vec<String>>,
    linux_options: Option<Vec<String>>,
    collectors: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    stdin: Option<String>,
    stdin_repeat: Option<usize>,
    signals: Option<Vec<SignalKeys>>,
    status: Option<u8>,
    compare: Option<Vec<Stream>>,
    contains: Option<BTreeMap<Stream, Vec<String>>>,
    guest_stdout: Option<String>,
    memory: Option<String>,
    disk: Option<String>,
    cpus: Option<Vec<u32>>,
    time_limit_s: Option<u64>,
    heap_policy: Option<HeapPolicy>,
    long: Option<bool>,
    artefacts: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalKeys {
    pub after: String,
    pub number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Who bounds the heap: HotSpot itself, or the JVM bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeapPolicy {
    On,
    Off,
}

/// A file that a test needs and that is fetched from a package registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    pub from: Registry,
    pub package: String,
    pub version: String,
    pub classifier: Option<String>,
    /// Of what the registry serves, in hexadecimal.
    pub sha256: String,
    /// npm: the file in the tarball.
    pub file: Option<String>,
    /// Its name in the test's folder.
    #[serde(rename = "as")]
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registry {
    Npm,
    Maven,
}

/// A run with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub name: String,
    pub launch: Vec<String>,
    pub args: Vec<String>,
    pub java_options: Vec<String>,
    /// Options on Linux only.
    pub linux_options: Vec<String>,
    /// `None` in it means the JVM's own choice.
    pub collectors: Vec<Option<String>>,
    pub env: BTreeMap<String, String>,
    pub stdin: Vec<u8>,
    pub signals: Vec<SignalKeys>,
    pub status: u8,
    pub compare: Vec<Stream>,
    /// Texts that must be in an output on both sides.
    pub contains: BTreeMap<Stream, Vec<String>>,
    pub guest_stdout: Option<String>,
    pub memory: MemoryMib,
    pub disk: MemoryMib,
    pub cpus: Vec<u32>,
    pub time_limit: Duration,
    pub heap_policy: HeapPolicy,
    pub long: bool,
    pub artefacts: Vec<Artefact>,
}

/// Reads a file.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Run>, String> {
    let mut file: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let _about: Option<String> = take(&mut file, "about")?;
    let artefacts: BTreeMap<String, Artefact> = take(&mut file, "artefact")?.unwrap_or_default();
    let runs: Vec<Table> = take(&mut file, "run")?.unwrap_or_default();
    let defaults: Keys = file.try_into().map_err(|error| error.to_string())?;
    runs.into_iter()
        .map(|mut run| {
            let name: String = take(&mut run, "name")?.ok_or("a run has no name")?;
            let keys = run.try_into().map_err(|error| format!("{name}: {error}"))?;
            resolve(name, keys, &defaults, &artefacts)
        })
        .collect()
}

/// Takes a key out of a table, so that what is left are the keys that may stand in two places.
fn take<T: DeserializeOwned>(table: &mut Table, key: &str) -> Result<Option<T>, String> {
    table.remove(key).map(Value::try_into).transpose().map_err(|error| format!("{key}: {error}"))
}

fn resolve(
    name: String,
    run: Keys,
    defaults: &Keys,
    known_artefacts: &BTreeMap<String, Artefact>,
) -> Result<Run, String> {
    // The run's own value, or the one at the top, or the default.
    macro_rules! value {
        ($key:ident, $default:expr) => {
            run.$key.or_else(|| defaults.$key.clone()).unwrap_or_else(|| $default)
        };
    }
    let artefacts = value!(artefacts, vec![])
        .iter()
        .map(|wanted| {
            known_artefacts.get(wanted).cloned().ok_or(format!("{name}: there is no artefact {wanted}"))
        })
        .collect::<Result<_, _>>()?;
    let collectors = value!(collectors, vec![]);
    let launch = value!(launch, vec![]);
    if launch.is_empty() {
        return Err(format!("{name}: there is nothing to launch"));
    }
    let size = |text: String| parse_memory(&text).map_err(|error| format!("{name}: {text}: {error}"));
    Ok(Run {
        launch,
        args: value!(args, vec![]),
        java_options: value!(java_options, vec![]),
        linux_options: value!(linux_options, vec![]),
        collectors: if collectors.is_empty() {
            vec![None]
        } else {
            collectors.into_iter().map(Some).collect()
        },
        env: value!(env, BTreeMap::new()),
        stdin: value!(stdin, String::new()).repeat(value!(stdin_repeat, 1)).into_bytes(),
        signals: value!(signals, vec![]),
        status: value!(status, 0),
        compare: value!(compare, vec![Stream::Stdout, Stream::Stderr]),
        contains: value!(contains, BTreeMap::new()),
        guest_stdout: run.guest_stdout.or_else(|| defaults.guest_stdout.clone()),
        memory: size(value!(memory, DEFAULT_MEMORY.into()))?,
        disk: size(value!(disk, DEFAULT_DISK.into()))?,
        cpus: value!(cpus, DEFAULT_CPUS.to_vec()),
        time_limit: Duration::from_secs(value!(time_limit_s, DEFAULT_TIME_LIMIT_S)),
        heap_policy: value!(heap_policy, HeapPolicy::On),
        long: value!(long, false),
        artefacts,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_its_own_values_then_those_at_the_top_then_defaults() {
        let runs = parse(
            r#"
            about = "Both."
            launch = ["-cp", "classes", "M"]
            collectors = ["Serial", "Z"]
            [artefact.x]
            from = "npm"
            package = "p"
            version = "1"
            sha256 = "00"
            file = "package/x.jar"
            as = "x.jar"
            [[run]]
            name = "one"
            [[run]]
            name = "two"
            args = ["a"]
            collectors = []
            stdin = "ab"
            stdin_repeat = 3
            signals = [{ after = "ready", number = 15 }]
            status = 143
            compare = ["stdout"]
            contains.stderr = ["oops"]
            memory = "1G"
            cpus = [2]
            time_limit_s = 5
            heap_policy = "off"
            long = true
            artefacts = ["x"]
            "#,
        )
        .unwrap();
        assert_eq!(runs[0].collectors, [Some("Serial".to_string()), Some("Z".into())]);
        assert_eq!((runs[0].cpus.as_slice(), runs[0].memory), (&[1, 2, 4][..], MemoryMib(512)));
        let two = &runs[1];
        assert_eq!(two.launch, ["-cp", "classes", "M"]);
        assert_eq!(two.collectors, [None]);
        assert_eq!(two.stdin, b"ababab");
        assert_eq!(two.signals, [SignalKeys { after: "ready".into(), number: 15 }]);
        assert_eq!((two.status, two.long, two.heap_policy), (143, true, HeapPolicy::Off));
        assert_eq!(two.contains[&Stream::Stderr], ["oops"]);
        assert_eq!(two.artefacts[0].name, "x.jar");
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "launch = ['M']\n[[run]]\nname = 'x'\nlunch = ['y']",
            "[[run]]\nname = 'x'",
            "launch = ['M']\n[[run]]\nname = 'x'\nmemory = 'much'",
            "launch = ['M']\n[[run]]\nname = 'x'\nartefacts = ['none']",
            "launch = ['M']\n[[run]]\nargs = ['x']",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
