//! The application: what is packed, and how it is started in the guest.
//!
//! Responsible for turning options into a recipe and a [`Launch`], for the description that an image carries
//! of itself, and for merging it with the options of one run. Not for the system around it (`image`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use run_config::RunConfig;
use serde::{Deserialize, Serialize};

use crate::{
    appliance::Manifest,
    failure::{Failure, Result},
    image::{
        ext4,
        jre::{JAVA_HOME, Jre},
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    jar::{self, Jar},
    network::forward::PortForward,
    options::{ApplicationOptions, MachineOptions, MemoryMib, NetworkOptions},
    project::Project,
};

/// The program that hosts the JVM in the guest.
pub const JVM_BRIDGE: &str = "/usr/lib/crema/jvm-bridge";

/// Where an image describes itself to this tool. The kernel reads only [`run_config::IMAGE_FILE`].
const DESCRIPTION_FILE: &str = "/etc/crema/image.json";

/// Raised when a description changes in a way that an older tool would misread.
const DESCRIPTION_FORMAT: u32 = 1;

const APP_FOLDER: &str = "/app";

/// The environment of every program, before `--env`.
pub const ENVIRONMENT: [&str; 5] = [
    "HOME=/root",
    "LANG=C.UTF-8",
    "LOGNAME=root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "USER=root",
];

/// What an image says about itself, beside what the kernel needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    format: u32,
    /// Version of the JDK in the image, such as "17.0.21"; `None` if there is no JVM in it.
    pub jdk: Option<String>,
    launch: Launch,
    java_options: Vec<String>,
    env: Vec<String>,
    args: Vec<String>,
    /// Absent in images of jars.
    #[serde(default)]
    defaults: Defaults,
}

/// What an image of an appliance is run on, unless a run says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    memory_mib: Option<u64>,
    cpus: Option<u32>,
    /// As `-p` takes them.
    ports: Vec<String>,
    hostname: Option<String>,
    /// Where a volume is mounted that is given without a place.
    volume: Option<String>,
}

impl Defaults {
    pub fn of_appliance(appliance: &Manifest) -> Self {
        Self {
            memory_mib: appliance.memory.map(|memory| memory.0),
            cpus: appliance.cpus,
            ports: appliance.ports.iter().map(PortForward::words).collect(),
            hostname: appliance.hostname.clone(),
            volume: appliance.volume.clone(),
        }
    }
}

/// What is started. All paths are the guest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Launch {
    /// As `java -jar`.
    Jar { path: String },
    /// As `java -cp`.
    Class { class_path: Vec<String>, main: String },
    /// A Linux program, and no JVM.
    Program { path: String },
}

impl Description {
    /// The run configuration of this image with other options. Options of the run come after the image's own,
    /// so that they win; arguments of the run replace the image's.
    pub fn run_config(&self, options: &ApplicationOptions, args: &[String]) -> Result<RunConfig> {
        if !options.class_path.is_empty() || !options.files.is_empty() || options.program.is_some() {
            return Err(Failure::new(
                "an image cannot be given more files when it is run: give --classpath to crema build",
            ));
        }
        let launch = match (&options.main, &self.launch) {
            (None, launch) => launch.clone(),
            (Some(main), Launch::Jar { path }) => {
                Launch::Class { class_path: vec![path.clone()], main: main.clone() }
            }
            (Some(main), Launch::Class { class_path, .. }) => {
                Launch::Class { class_path: class_path.clone(), main: main.clone() }
            }
            (Some(_), Launch::Program { .. }) => {
                return Err(Failure::new("--main makes no sense: there is no JVM in this image"));
            }
        };
        if self.jdk.is_none() && !options.java_options.is_empty() {
            return Err(Failure::new("--java-opt makes no sense: there is no JVM in this image"));
        }
        let mut command = Vec::new();
        let java_options = self.java_options.iter().chain(&options.java_options).cloned();
        match launch {
            Launch::Program { path } => command.push(path),
            Launch::Jar { path } => {
                command.push(JVM_BRIDGE.into());
                command.extend(java_options);
                command.extend(["-jar".into(), path]);
            }
            Launch::Class { class_path, main } => {
                command.push(JVM_BRIDGE.into());
                command.extend(java_options);
                command.extend(["-cp".into(), class_path.join(":"), main]);
            }
        }
        command.extend(if args.is_empty() { self.args.clone() } else { args.to_vec() });

        let mut env: Vec<String> = ENVIRONMENT.map(String::from).to_vec();
        if self.jdk.is_some() {
            env.push(format!("JAVA_HOME={JAVA_HOME}"));
        }
        for variable in self.env.iter().chain(&options.env) {
            set_variable(&mut env, variable);
        }
        Ok(RunConfig { args: command, env, cwd: APP_FOLDER.into(), ..RunConfig::default() })
    }

    /// Completes the options of a run by what the image says.
    pub fn complete(&self, machine: &mut MachineOptions, network: &mut NetworkOptions) -> Result<()> {
        let Defaults { memory_mib, cpus, ports, hostname, volume: _ } = &self.defaults;
        machine.memory = machine.memory.or(memory_mib.map(MemoryMib));
        machine.cpus = machine.cpus.or(*cpus);
        let ports = ports.iter().map(|text| text.parse()).collect::<Result<Vec<PortForward>, String>>();
        let ports =
            ports.map_err(|problem| Failure::new(format!("the image has a port of which {problem}")))?;
        network.complete(&ports, hostname.as_ref());
        Ok(())
    }

    /// Where the image wants a volume that is given without a place.
    pub fn volume_place(&self) -> Option<&str> {
        self.defaults.volume.as_deref()
    }

    /// Reads the description of an image, or says how the image is damaged.
    pub fn of_image(image: &Path) -> Result<Self> {
        let damaged = |how: &str| {
            Failure::new(format!("{} is a damaged image, or none of ours: {how}", image.display()))
        };
        if let ext4::Kind::DamagedExt4(how) = ext4::kind_of(image)? {
            return Err(damaged(how));
        }
        let bytes = ext4::read_file(image, DESCRIPTION_FILE)?
            .ok_or_else(|| damaged(&format!("it has no {DESCRIPTION_FILE}")))?;
        let config = ext4::read_file(image, run_config::IMAGE_FILE)?
            .ok_or_else(|| damaged(&format!("it has no {}", run_config::IMAGE_FILE)))?;
        RunConfig::parse(&config).map_err(|error| damaged(&error.to_string()))?;
        let description: Self = serde_json::from_slice(&bytes)
            .map_err(|error| damaged(&format!("{DESCRIPTION_FILE} cannot be read: {error}")))?;
        if description.format != DESCRIPTION_FORMAT {
            return Err(Failure::new(format!(
                "{} was made by another version of crema: make it again with crema build",
                image.display()
            )));
        }
        Ok(description)
    }

    /// Adds what an image says about itself.
    fn add_to(&self, recipe: &mut Recipe) -> Result<()> {
        let config = self.run_config(&ApplicationOptions::default(), &[])?;
        recipe.bytes(run_config::IMAGE_FILE, encode(&config)?)?;
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::new(format!("cannot describe the image: {error}")))?;
        recipe.bytes(DESCRIPTION_FILE, json)
    }
}

/// The configuration's bytes for the kernel.
pub fn encode(config: &RunConfig) -> Result<Vec<u8>> {
    config.encode().ok_or_else(|| Failure::new("an argument or an environment variable holds a NUL byte"))
}

/// Sets a `NAME=VALUE`, in place of an earlier one with the same name.
fn set_variable(env: &mut Vec<String>, variable: &str) {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_string();
    env.retain(|other| name(other) != name(variable));
    env.push(variable.to_string());
}

/// The recipe of an image for this application, and its description.
pub fn pack(
    target: Option<&Path>,
    options: &ApplicationOptions,
    args: &[String],
    defaults: &Defaults,
    project: &Project,
) -> Result<(Recipe, Description)> {
    let (mut recipe, launch, jdk) = match &options.program {
        Some(program) => {
            let mut recipe = Recipe::default();
            system_files::add_base(&mut recipe)?;
            let guest = format!("{APP_FOLDER}/{}", file_name(program)?);
            recipe.file(&guest, program)?;
            (recipe, Launch::Program { path: guest }, None)
        }
        None => {
            let jre = Jre::find()?;
            // The application first: its mistakes are told before anything is built.
            let mut application = Recipe::default();
            let launch = pack_java(&mut application, target, options, &jre)?;
            let mut recipe = jvm_recipe(project)?;
            recipe.merge(&application)?;
            (recipe, launch, Some(jre.version))
        }
    };
    for (host, guest) in &options.files {
        if host.is_dir() { recipe.tree(guest, host, &|_| true)? } else { recipe.file(guest, host)? }
    }
    if jdk.is_none() {
        HostLibraries::find()?.close(&mut recipe, Missing::Refuse)?;
    }
    let description = Description {
        format: DESCRIPTION_FORMAT,
        jdk,
        launch,
        java_options: options.java_options.clone(),
        env: options.env.clone(),
        args: args.to_vec(),
        defaults: defaults.clone(),
    };
    description.add_to(&mut recipe)?;
    Ok((recipe, description))
}

/// A system with the JRE, the JVM bridge, and the libraries that they and a jar's own libraries need; and no
/// application yet.
pub fn jvm_recipe(project: &Project) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    let libraries = HostLibraries::find()?;
    system_files::add_base(&mut recipe)?;
    system_files::add_glibc(&mut recipe, &libraries)?;
    Jre::add_to(&mut recipe)?;
    recipe.file(JVM_BRIDGE, project.jvm_bridge()?)?;
    libraries.close(&mut recipe, Missing::LeaveOut)?;
    Ok(recipe)
}

/// Packs the jar and the class path, and checks that the main class is among them.
fn pack_java(
    recipe: &mut Recipe,
    target: Option<&Path>,
    options: &ApplicationOptions,
    jre: &Jre,
) -> Result<Launch> {
    let mut packer = Packer { recipe, packed: BTreeSet::new() };
    let mut host_class_path = Vec::new();
    let mut guest_class_path = Vec::new();
    let mut named_main = options.main.clone();
    if let Some(target) = target {
        let jar = Jar::open(target)?;
        if named_main.is_none() {
            named_main = Some(jar.main_class()?);
        }
        let guest = format!("{APP_FOLDER}/{}", file_name(target)?);
        packer.jar(target, Path::new(&guest))?;
        host_class_path.push(target.to_path_buf());
        guest_class_path.push(guest);
    }
    for (number, host) in split_class_path(&options.class_path)?.into_iter().enumerate() {
        // A folder each, so that equal names do not meet.
        let guest = format!("{APP_FOLDER}/classpath/{number}/{}", file_name(&host)?);
        if host.is_dir() {
            packer.recipe.tree(&guest, &host, &|_| true)?;
        } else {
            packer.jar(&host, Path::new(&guest))?;
        }
        host_class_path.push(host);
        guest_class_path.push(guest);
    }
    let main =
        named_main.ok_or_else(|| Failure::new("there is no jar, so the main class needs --main CLASS"))?;
    let mut searched = host_class_path.clone();
    searched.extend(packer.packed.into_iter().filter(|path| !host_class_path.contains(path)));
    jar::check_main_class(&main, &searched, jre.release)?;

    match <[String; 1]>::try_from(guest_class_path) {
        // As `java -jar`, which also obeys Launcher-Agent, Add-Opens and the like.
        Ok([path]) if target.is_some() && options.main.is_none() => Ok(Launch::Jar { path }),
        Ok([path]) => Ok(Launch::Class { class_path: vec![path], main }),
        Err(class_path) => {
            if let Some(path) = class_path.iter().find(|path| path.contains(':')) {
                return Err(Failure::new(format!("{path:?} cannot be on a class path: its name has a ':'")));
            }
            Ok(Launch::Class { class_path, main })
        }
    }
}

/// Packs jars and the jars that their manifests name.
struct Packer<'a> {
    recipe: &'a mut Recipe,
    /// Host paths, so that a circle of manifests ends.
    packed: BTreeSet<PathBuf>,
}

impl Packer<'_> {
    fn jar(&mut self, host: &Path, guest: &Path) -> Result<()> {
        let jar = Jar::open(host)?;
        self.recipe.file(guest, host)?;
        if !self.packed.insert(host.to_path_buf()) {
            return Ok(());
        }
        for entry in jar.class_path() {
            // Relative to the jar's folder on both sides. What is not there is passed over: the JVM ignores
            // entries that do not exist, and real manifests are full of them.
            let from = host.parent().unwrap_or(Path::new("")).join(&entry);
            let to = guest.parent().unwrap_or(Path::new("/")).join(&entry);
            if self.packed.contains(&from) {
                continue;
            }
            if from.is_dir() {
                self.packed.insert(from.clone());
                self.recipe.tree(&to, &from, &|_| true)?;
            } else if from.is_file() {
                match Jar::open(&from) {
                    Ok(_) => self.jar(&from, &to)?,
                    Err(_) => self.recipe.file(&to, &from)?,
                }
            }
        }
        Ok(())
    }
}

/// The entries of `--classpath`, with `FOLDER/*` replaced by the folder's jars, as `java` does it.
fn split_class_path(values: &[String]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in values.iter().flat_map(|value| value.split(':')).filter(|entry| !entry.is_empty()) {
        let Some(folder) = entry.strip_suffix("/*").or((entry == "*").then_some(".")) else {
            let path = PathBuf::from(entry);
            if !path.exists() {
                return Err(Failure::new(format!("there is no file {entry}, which --classpath names")));
            }
            paths.push(path);
            continue;
        };
        let folder = Path::new(folder);
        let mut jars: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(Failure::io("read", folder))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jar")))
            .collect();
        jars.sort();
        paths.extend(jars);
    }
    Ok(paths)
}

/// The last component of a host path; of a path such as `.` the name of the folder that it means.
fn file_name(path: &Path) -> Result<String> {
    let absolute;
    let path = match path.components().next_back() {
        Some(Component::Normal(_)) => path,
        _ => {
            absolute = fs::canonicalize(path).map_err(Failure::io("read", path))?;
            &absolute
        }
    };
    path.file_name()
        .and_then(|name| name.to_str())
        .map(str::to_string)
        .ok_or_else(|| Failure::new(format!("the name of {} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jar::tests::{class_bytes, make_jar};

    fn description(launch: Launch) -> Description {
        Description {
            format: DESCRIPTION_FORMAT,
            jdk: Some("17.0.1".into()),
            launch,
            java_options: vec!["-Xa".into()],
            env: vec!["A=1".into(), "B=2".into()],
            args: vec!["built".into()],
            defaults: Defaults::default(),
        }
    }

    #[test]
    fn options_of_the_run_come_after_those_of_the_image() {
        let image = description(Launch::Jar { path: "/app/a.jar".into() });
        let plain = image.run_config(&ApplicationOptions::default(), &[]).unwrap();
        assert_eq!(plain.args, [JVM_BRIDGE, "-Xa", "-jar", "/app/a.jar", "built"]);
        let options = ApplicationOptions {
            main: Some("p.M".into()),
            java_options: vec!["-Xb".into()],
            env: vec!["A=3".into(), "HOME=/x".into()],
            ..Default::default()
        };
        let merged = image.run_config(&options, &["one".into(), "".into()]).unwrap();
        assert_eq!(merged.args, [JVM_BRIDGE, "-Xa", "-Xb", "-cp", "/app/a.jar", "p.M", "one", ""]);
        assert_eq!(merged.cwd, "/app");
        let count = |name: &str| merged.env.iter().filter(|v| v.starts_with(name)).count();
        assert_eq!((count("A="), count("HOME="), count("B=")), (1, 1, 1));
        assert!(merged.env.contains(&"A=3".to_string()) && merged.env.contains(&"HOME=/x".to_string()));
    }

    #[test]
    fn an_image_takes_no_more_files_and_a_program_no_java() {
        let image = description(Launch::Jar { path: "/app/a.jar".into() });
        let more = ApplicationOptions { class_path: vec!["x".into()], ..Default::default() };
        assert!(image.run_config(&more, &[]).is_err());
        let program = Description { jdk: None, ..description(Launch::Program { path: "/app/p".into() }) };
        let main = ApplicationOptions { main: Some("M".into()), ..Default::default() };
        assert!(program.run_config(&main, &[]).is_err());
        let java = ApplicationOptions { java_options: vec!["-X".into()], ..Default::default() };
        assert!(program.run_config(&java, &[]).is_err());
    }

    #[test]
    fn jars_that_manifests_name_are_packed_even_in_circles() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("lib")).unwrap();
        let manifest = |text: &str| format!("Main-Class: M\nClass-Path: {text}\n").into_bytes();
        make_jar(&at("a.jar"), &[("META-INF/MANIFEST.MF", &manifest("lib/b.jar none.jar lib/note.txt"))]);
        make_jar(
            &at("lib/b.jar"),
            &[("META-INF/MANIFEST.MF", &manifest("../a.jar")), ("M.class", &class_bytes(17))],
        );
        fs::write(at("lib/note.txt"), "no jar").unwrap();
        let mut recipe = Recipe::default();
        let jre = Jre { version: "17.0.1".into(), release: jar::JavaRelease(17) };
        let launch =
            pack_java(&mut recipe, Some(&at("a.jar")), &ApplicationOptions::default(), &jre).unwrap();
        assert_eq!(launch, Launch::Jar { path: "/app/a.jar".into() });
        for path in ["/app/a.jar", "/app/lib/b.jar", "/app/lib/note.txt"] {
            assert!(recipe.contains(path), "{path}");
        }
    }

    #[test]
    fn a_class_path_of_folders_and_jars_keeps_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("classes/p")).unwrap();
        fs::write(at("classes/p/M.class"), class_bytes(17)).unwrap();
        fs::create_dir(at("libs")).unwrap();
        make_jar(&at("libs/b.jar"), &[]);
        make_jar(&at("libs/a.jar"), &[]);
        let shown = |name: &str| at(name).display().to_string();
        let options = ApplicationOptions {
            main: Some("p.M".into()),
            class_path: vec![format!("{}:{}", shown("libs/*"), shown("classes"))],
            ..Default::default()
        };
        let mut recipe = Recipe::default();
        let jre = Jre { version: "17.0.1".into(), release: jar::JavaRelease(17) };
        let Launch::Class { class_path, main } = pack_java(&mut recipe, None, &options, &jre).unwrap() else {
            panic!()
        };
        assert_eq!(main, "p.M");
        assert_eq!(
            class_path,
            ["/app/classpath/0/a.jar", "/app/classpath/1/b.jar", "/app/classpath/2/classes"]
        );
        let missing = ApplicationOptions { class_path: vec![shown("none")], ..options };
        let failure = pack_java(&mut recipe, None, &missing, &jre).unwrap_err().to_string();
        assert!(failure.contains("there is no file"), "{failure}");
    }

    #[test]
    fn damaged_images_get_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("x.img");
        let mut recipe = Recipe::default();
        recipe.bytes("/etc/x", "x").unwrap();
        ext4::make(&recipe, &image, dir.path()).unwrap();
        let sentence = Description::of_image(&image).unwrap_err().to_string();
        assert!(sentence.contains("it has no /etc/crema/image.json"), "{sentence}");
        let mut recipe = Recipe::default();
        description(Launch::Program { path: "/app/p".into() }).add_to(&mut recipe).unwrap();
        ext4::make(&recipe, &image, dir.path()).unwrap();
        assert_eq!(Description::of_image(&image), Ok(description(Launch::Program { path: "/app/p".into() })));
        recipe.bytes(DESCRIPTION_FILE, "{").unwrap();
        ext4::make(&recipe, &image, dir.path()).unwrap();
        assert!(Description::of_image(&image).unwrap_err().to_string().contains("cannot be read"));
    }
}
