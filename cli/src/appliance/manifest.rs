//! `crema.toml`: what an appliance is. docs/apps.md has the format.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use run_config::volume::check_place;
use serde::Deserialize;

use super::coordinates::Coordinates;
use crate::{
    failure::{Failure, Result},
    network::forward::PortForward,
    options::{MemoryMib, parse_memory},
};

/// Name of the file in an appliance's folder.
pub const MANIFEST: &str = "crema.toml";

/// The file, key for key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Keys {
    description: String,
    sources: Option<PathBuf>,
    maven: Vec<String>,
    jar: Option<PathBuf>,
    class_path: Vec<PathBuf>,
    main: Option<String>,
    args: Vec<String>,
    java_options: Vec<String>,
    ports: Vec<String>,
    memory: Option<String>,
    cpus: Option<u32>,
    hostname: Option<String>,
    volume: Option<String>,
    env: BTreeMap<String, String>,
    files: BTreeMap<String, PathBuf>,
}

/// A manifest that says nothing impossible. All paths are the host's, below the appliance's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub folder: PathBuf,
    /// The folder with Java sources.
    pub sources: Option<PathBuf>,
    /// What is asked of the Maven registry, without what that needs in turn.
    pub maven: Vec<Coordinates>,
    pub jar: Option<PathBuf>,
    pub class_path: Vec<PathBuf>,
    pub main: Option<String>,
    pub args: Vec<String>,
    pub java_options: Vec<String>,
    pub ports: Vec<PortForward>,
    pub memory: Option<MemoryMib>,
    pub cpus: Option<u32>,
    pub hostname: Option<String>,
    /// Where a volume is mounted that is given without a place.
    pub volume: Option<String>,
    /// Each `NAME=VALUE`.
    pub env: Vec<String>,
    /// Pairs of a path on the host and one in the guest.
    pub files: Vec<(PathBuf, String)>,
}

impl Manifest {
    /// Whether a folder is an appliance.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(Failure::io("read", &path))?;
        Self::parse(&text, folder).map_err(|problem| Failure::new(format!("{}{problem}", path.display())))
    }

    /// # Errors
    /// What follows the file's name in a sentence.
    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let keys: Keys = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!(", line {line}: {}", error.message().replace('\n', " "))
        })?;
        let Keys { sources, maven, jar, class_path, main, args, java_options, ports, memory, cpus, .. } =
            keys;
        let below = |path: PathBuf| below(folder, path);
        let all_below = |paths: Vec<PathBuf>| paths.into_iter().map(below).collect::<Result<Vec<_>, _>>();
        let parse_memory =
            |text: String| parse_memory(&text).map_err(|problem| format!(": memory = {text:?}: {problem}"));
        let parse_port =
            |text: String| text.parse().map_err(|problem| format!(": ports: {text:?}: {problem}"));
        let parse_maven =
            |text: String| text.parse().map_err(|problem| format!(": maven: {text:?}: {problem}"));
        if jar.is_none() && main.is_none() {
            return Err(": it needs a main class (main) or a jar that names one (jar)".into());
        }
        if jar.is_some() && (main.is_some() || sources.is_some() || !maven.is_empty()) {
            return Err(": a jar is run as it is: main, sources and maven make no sense beside it".into());
        }
        if let Some(cpus) = cpus
            && !(1..=64).contains(&cpus)
        {
            return Err(format!(": cpus = {cpus}: it must be 1 to 64"));
        }
        let hostname = match keys.hostname {
            Some(name) => Some(
                crate::network::parse_hostname(&name)
                    .map_err(|problem| format!(": hostname = {name:?}: {problem}"))?,
            ),
            None => None,
        };
        if let Some(place) = &keys.volume {
            check_place(place).map_err(|problem| format!(": volume = {place:?}: {problem}"))?;
        }
        let mut env = Vec::new();
        for (name, value) in keys.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!(": {name:?} cannot be an environment variable"));
            }
            env.push(format!("{name}={value}"));
        }
        let mut files = Vec::new();
        for (guest, host) in keys.files {
            if !guest.starts_with('/') {
                return Err(format!(": files: {guest:?} is not an absolute path of the guest"));
            }
            files.push((below(host)?, guest));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            sources: sources.map(below).transpose()?,
            maven: maven.into_iter().map(parse_maven).collect::<Result<_, _>>()?,
            jar: jar.map(below).transpose()?,
            class_path: all_below(class_path)?,
            main,
            args,
            java_options,
            ports: ports.into_iter().map(parse_port).collect::<Result<_, _>>()?,
            memory: memory.map(parse_memory).transpose()?,
            cpus,
            hostname,
            volume: keys.volume,
            env,
            files,
        })
    }
}

/// A path of the manifest, which must stay in the folder and be there.
fn below(folder: &Path, path: PathBuf) -> Result<PathBuf, String> {
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(format!(": {} leads out of the appliance's folder", path.display()));
    }
    let full = folder.join(&path);
    if full.exists() { Ok(full) } else { Err(format!(": there is no file {}", full.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        for name in ["app.jar", "x.conf"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn all_keys_are_read() {
        let folder = folder();
        let text = r#"
            description = "an example"
            sources = "src"
            maven = ["a.b:c:1.0"]
            class-path = ["app.jar"]
            main = "p.M"
            args = ["one", "two"]
            java-options = ["-Xss1M"]
            ports = ["8080:80", "5353:53/udp"]
            memory = "1G"
            cpus = 2
            hostname = "zoo"
            volume = "/data"
            [env]
            A = "b=c"
            [files]
            "/etc/x.conf" = "x.conf"
        "#;
        let at = |name: &str| folder.path().join(name);
        let expected = Manifest {
            folder: folder.path().into(),
            sources: Some(at("src")),
            maven: vec!["a.b:c:1.0".parse().unwrap()],
            jar: None,
            class_path: vec![at("app.jar")],
            main: Some("p.M".into()),
            args: vec!["one".into(), "two".into()],
            java_options: vec!["-Xss1M".into()],
            ports: ["8080:80", "5353:53/udp"].map(|text| text.parse().unwrap()).to_vec(),
            memory: Some(MemoryMib(1024)),
            cpus: Some(2),
            hostname: Some("zoo".into()),
            volume: Some("/data".into()),
            env: vec!["A=b=c".into()],
            files: vec![(at("x.conf"), "/etc/x.conf".into())],
        };
        assert_eq!(Manifest::parse(text, folder.path()), Ok(expected));
    }

    #[test]
    fn mistakes_are_told() {
        let folder = folder();
        for (text, part) in [
            ("", "it needs a main class"),
            ("main = 'M'\nport = ['1:1']", ", line 2: unknown field `port`"),
            ("main = ", ", line 1: "),
            ("main = 1", ", line 1: invalid type"),
            ("main = 'M'\nports = ['80']", "HOST:GUEST"),
            ("main = 'M'\nmemory = '1K'", "memory = \"1K\""),
            ("main = 'M'\ncpus = 65", "1 to 64"),
            ("main = 'M'\nhostname = 'a b'", "letters, digits"),
            ("main = 'M'\nvolume = 'data'", "absolute path"),
            ("main = 'M'\nmaven = ['a:b']", "GROUP:ARTIFACT:VERSION"),
            ("main = 'M'\nsources = '../src'", "leads out"),
            ("main = 'M'\nsources = '/src'", "leads out"),
            ("main = 'M'\nclass-path = ['none.jar']", "there is no file"),
            ("main = 'M'\n[files]\n'x' = 'x.conf'", "not an absolute path"),
            ("main = 'M'\n[env]\n'A=' = 'x'", "cannot be an environment variable"),
            ("jar = 'app.jar'\nmain = 'M'", "a jar is run as it is"),
        ] {
            let sentence = Manifest::parse(text, folder.path()).unwrap_err();
            assert!(sentence.contains(part) && !sentence.contains('\n'), "{text}: {sentence}");
        }
    }
}
