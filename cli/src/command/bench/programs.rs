//! Building what is measured and what measures: C programs by their makefiles, Java programs by javac.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use run_config::RunConfig;

use crate::{
    application,
    failure::{Failure, Result},
    image::{
        jre::JAVA_HOME,
        library::{HostLibraries, Missing},
        recipe::Recipe,
        system_files,
    },
    project::Project,
    scratch::ScratchFolder,
};

/// Builds the C programs in a folder below `benchmarks`. Returns the folder with what was made.
pub fn make(folder: &str, project: &Project) -> Result<PathBuf> {
    let out = project.root().join("target/benchmarks");
    let output = Command::new("make")
        .args(["--silent", "--directory"])
        .arg(project.root().join("benchmarks").join(folder))
        .arg(format!("OUT={}", out.display()))
        .output()
        .map_err(|error| Failure::new(format!("cannot start make ({error}): apt install make")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("benchmarks/{folder} does not build:\n{}", complaint.trim_end())));
    }
    Ok(out)
}

/// An image's recipe for a C program, without a JVM.
pub fn c_recipe(program: &Path, guest: &str) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    system_files::add_base(&mut recipe)?;
    recipe.file(guest, program)?;
    HostLibraries::find()?.close(&mut recipe, Missing::Refuse)?;
    Ok(recipe)
}

/// The configuration for a C program.
pub fn c_config(words: &[&str]) -> RunConfig {
    RunConfig {
        args: words.iter().map(|word| word.to_string()).collect(),
        env: application::ENVIRONMENT.map(String::from).to_vec(),
        cwd: "/tmp".into(),
        ..RunConfig::default()
    }
}

/// An image's recipe for Java programs of `benchmarks`: their classes are in `/app`.
pub fn java_recipe(sources: &[&str], project: &Project) -> Result<Recipe> {
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    let sources: Vec<PathBuf> =
        sources.iter().map(|source| project.root().join("benchmarks").join(source)).collect();
    compile(&sources, "", scratch.path())?;
    let mut recipe = application::jvm_recipe(project)?;
    let mut classes: Vec<PathBuf> = fs::read_dir(scratch.path())
        .map_err(Failure::io("read", scratch.path()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "class"))
        .collect();
    classes.sort();
    for class in classes {
        let name = class.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let bytes = fs::read(&class).map_err(Failure::io("read", &class))?;
        recipe.bytes(format!("/app/{name}"), bytes)?;
    }
    Ok(recipe)
}

/// The configuration for a Java program: options of the JVM, the class and its arguments.
pub fn java_config(options: &[&str], words: &[&str]) -> RunConfig {
    let mut args = vec![application::JVM_BRIDGE];
    args.extend(options);
    args.extend(["-cp", "/app"]);
    args.extend(words);
    let mut env = application::ENVIRONMENT.map(String::from).to_vec();
    env.push(format!("JAVA_HOME={JAVA_HOME}"));
    RunConfig {
        args: args.into_iter().map(String::from).collect(),
        env,
        cwd: "/app".into(),
        ..RunConfig::default()
    }
}

/// Compiles Java sources. No class file is kept in the project.
pub fn compile(sources: &[PathBuf], class_path: &str, into: &Path) -> Result<()> {
    let output = Command::new(format!("{JAVA_HOME}/bin/javac"))
        .args(["--release", "17", "-proc:none", "-cp", class_path, "-d"])
        .arg(into)
        .args(sources)
        .output()
        .map_err(|error| {
            Failure::new(format!("cannot start javac ({error}): apt install openjdk-17-jdk-headless"))
        })?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("javac cannot compile the benchmark: {complaint}")));
    }
    Ok(())
}

/// What a program on the host says, if it ends well.
pub fn output_of(mut command: Command, name: &str) -> Result<String> {
    let output = command.output().map_err(|error| Failure::new(format!("cannot start {name}: {error}")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{name} failed: {}", complaint.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
