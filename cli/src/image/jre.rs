//! The JRE in an image: Debian's OpenJDK 17, file for file as the package has it.
//!
//! Responsible for which of the JDK's files go in. Not for the libraries they need (`library`), nor for how
//! the JVM is started (the JVM bridge).

use std::{fs, path::Path};

use super::recipe::Recipe;
use crate::{
    failure::{Failure, Result},
    jar::{JavaRelease, parse_release_file},
};

/// Where Debian's package puts the JDK, on the host and in the guest.
pub const JAVA_HOME: &str = "/usr/lib/jvm/java-17-openjdk-amd64";

const PACKAGE: &str = "openjdk-17-jre-headless";

/// What no program in the guest can have a use for: the JDK's link-time modules, headers, manuals, sources.
const LEFT_OUT: [&str; 6] = ["jmods", "include", "man", "docs", "lib/src.zip", "sample"];

/// Desktop parts that come with the package `openjdk-17-jre`, and drag the X11 libraries along.
const DESKTOP: [&str; 4] =
    ["lib/libawt_xawt.so", "lib/libjawt.so", "lib/libsplashscreen.so", "lib/libatk-wrapper.so"];

/// The JDK of the host.
pub struct Jre {
    /// Such as "17.0.21".
    pub version: String,
    pub release: JavaRelease,
}

impl Jre {
    pub fn find() -> Result<Self> {
        let missing = || Failure::new(format!("there is no JRE in {JAVA_HOME}: apt install {PACKAGE}"));
        if !Path::new(JAVA_HOME).join("lib/server/libjvm.so").is_file() {
            return Err(missing());
        }
        let text = fs::read_to_string(Path::new(JAVA_HOME).join("release")).map_err(|_| missing())?;
        let version = *parse_release_file(&text).get("JAVA_VERSION").ok_or_else(missing)?;
        let release = version.split('.').next().and_then(|text| text.parse().ok()).ok_or_else(missing)?;
        Ok(Self { version: version.to_string(), release: JavaRelease(release) })
    }

    /// Adds the JRE at its Debian place, and its configuration in /etc, where the package's links point.
    pub fn add_to(recipe: &mut Recipe) -> Result<()> {
        let keep = |path: &Path| !LEFT_OUT.iter().chain(&DESKTOP).any(|left_out| path == Path::new(left_out));
        recipe.tree(JAVA_HOME, JAVA_HOME, &keep)
    }
}
