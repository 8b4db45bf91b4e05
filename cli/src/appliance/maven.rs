//! Jars from the Maven registry, by its ordinary client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::coordinates::Coordinates;
use crate::failure::{Failure, Result};

/// The plugin that copies what a project depends on; a version of it, so that it is the same one everywhere.
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// What is done about jars that the wanted ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependencies {
    /// They are fetched too.
    Resolve,
    /// They are not: all that is needed is in the list.
    LeaveOut,
}

/// Fetches jars into a folder below `scratch`, laid out as Maven's repositories are. Returns that folder.
pub fn fetch(wanted: &[Coordinates], dependencies: Dependencies, scratch: &Path) -> Result<PathBuf> {
    let pom = scratch.join("pom.xml");
    let out = scratch.join("jars");
    fs::create_dir(&out).map_err(Failure::io("make", &out))?;
    fs::write(&pom, project(wanted, dependencies)).map_err(Failure::io("write", &pom))?;
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(&pom)
        .arg(COPY_DEPENDENCIES)
        .arg(format!("-DoutputDirectory={}", out.display()))
        .args(["-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true", "-Dstyle.color=never"])
        .current_dir(scratch)
        .output()
        .map_err(|error| Failure::new(format!("cannot start mvn ({error}): apt install maven")))?;
    if output.status.success() {
        return Ok(out);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(Failure::new(format!("mvn cannot get the jars: {}", complaint(&said))))
}

/// The first error, which names what was missing. Maven says the same several times, and then how to get help.
fn complaint(said: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix("[ERROR] "));
    let line = line.unwrap_or("it does not say why");
    line.rsplit_once(" -> [Help").map_or(line, |(line, _)| line).to_string()
}

/// A project that depends on the jars and is nothing else.
fn project(wanted: &[Coordinates], dependencies: Dependencies) -> String {
    let exclusions = match dependencies {
        Dependencies::Resolve => "",
        Dependencies::LeaveOut => {
            "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        }
    };
    let dependency = |jar: &Coordinates| {
        let classifier =
            jar.classifier.as_ref().map_or(String::new(), |name| format!("<classifier>{name}</classifier>"));
        format!(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>{classifier}{exclusions}</dependency>\n",
            jar.group, jar.artifact, jar.version
        )
    };
    let dependencies: String = wanted.iter().map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>crema</groupId><artifactId>appliance</artifactId><version>1</version>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_depends_on_what_is_wanted() {
        let wanted: Vec<Coordinates> = ["a.b:c:1", "d:e:2:x"].map(|text| text.parse().unwrap()).to_vec();
        let resolved = project(&wanted, Dependencies::Resolve);
        assert!(
            resolved.contains(
                "<groupId>a.b</groupId><artifactId>c</artifactId><version>1</version></dependency>"
            )
        );
        assert!(resolved.contains("<version>2</version><classifier>x</classifier></dependency>"));
        assert_eq!(project(&wanted, Dependencies::LeaveOut).matches("<exclusion>").count(), 2);
    }

    #[test]
    fn of_mavens_words_the_first_error_counts() {
        let said = "[ERROR] Failed to execute goal x: Could not find artifact a:b:jar:1 -> [Help 1]\n[ERROR] \n[ERROR] To see";
        assert_eq!(complaint(said), "Failed to execute goal x: Could not find artifact a:b:jar:1");
        assert_eq!(complaint(""), "it does not say why");
    }
}
