//! The JDK that tests use.

use std::path::PathBuf;

/// By `JAVA_HOME`, else by `java` in `PATH`; `None` without the tools to compile with.
pub fn find() -> Option<PathBuf> {
    let from_path = || {
        let path = std::env::var_os("PATH")?;
        let java = std::env::split_paths(&path).map(|d| d.join("java")).find(|f| f.is_file())?;
        Some(java.canonicalize().ok()?.parent()?.parent()?.to_owned())
    };
    let home = std::env::var_os("JAVA_HOME").map(PathBuf::from).or_else(from_path)?;
    ["bin/java", "bin/javac", "bin/jar"].iter().all(|tool| home.join(tool).is_file()).then_some(home)
}
