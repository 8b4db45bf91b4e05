//! What a jar is called in the Maven registry.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// `GROUP:ARTIFACT:VERSION`, and a classifier for jars that have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coordinates {
    pub group: String,
    pub artifact: String,
    pub version: String,
    pub classifier: Option<String>,
}

impl FromStr for Coordinates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mistake = || "it must be GROUP:ARTIFACT:VERSION or GROUP:ARTIFACT:VERSION:CLASSIFIER".to_string();
        let parts: Vec<&str> = text.split(':').collect();
        // They become words of XML and names of files.
        let plain = |part: &&str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
        };
        if !parts.iter().all(plain) {
            return Err(mistake());
        }
        let (required, classifier) = match parts[..] {
            [group, artifact, version] => ([group, artifact, version], None),
            [group, artifact, version, classifier] => ([group, artifact, version], Some(classifier)),
            _ => return Err(mistake()),
        };
        let [group, artifact, version] = required.map(String::from);
        Ok(Self { group, artifact, version, classifier: classifier.map(String::from) })
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group, self.artifact, self.version)?;
        self.classifier.as_ref().map_or(Ok(()), |classifier| write!(f, ":{classifier}"))
    }
}

impl Coordinates {
    /// The jar's name without its group.
    pub fn file_name(&self) -> String {
        let classifier =
            self.classifier.as_ref().map_or(String::new(), |classifier| format!("-{classifier}"));
        format!("{}-{}{classifier}.jar", self.artifact, self.version)
    }

    /// Where the jar lies in a folder that is laid out as Maven's repositories are.
    pub fn path(&self) -> PathBuf {
        Path::new(&self.group.replace('.', "/"))
            .join(&self.artifact)
            .join(&self.version)
            .join(self.file_name())
    }

    /// The coordinates of a jar that lies there, if it does not lie there for another reason.
    pub fn of_path(path: &Path) -> Option<Self> {
        let mut parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let (file, version, artifact) = (parts.pop()?, parts.pop()?, parts.pop()?);
        let rest = file.strip_suffix(".jar")?.strip_prefix(&format!("{artifact}-{version}"))?;
        let classifier = if rest.is_empty() { None } else { Some(rest.strip_prefix('-')?.to_string()) };
        Some(Self { group: parts.join("."), artifact: artifact.into(), version: version.into(), classifier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_the_same_thing() {
        for (text, path) in [
            ("org.slf4j:slf4j-api:2.0.13", "org/slf4j/slf4j-api/2.0.13/slf4j-api-2.0.13.jar"),
            ("a.b:c:1.0.Final:linux-x86_64", "a/b/c/1.0.Final/c-1.0.Final-linux-x86_64.jar"),
        ] {
            let coordinates: Coordinates = text.parse().unwrap();
            assert_eq!(coordinates.to_string(), text);
            assert_eq!(coordinates.path(), Path::new(path));
            assert_eq!(Coordinates::of_path(Path::new(path)), Some(coordinates));
        }
        for text in ["", "a:b", "a:b:", "a:b:c:d:e", "a:b:<c>", "a:../b:c", "a:b:c/d"] {
            assert!(text.parse::<Coordinates>().is_err(), "{text}");
        }
        for path in ["x.jar", "c/1.0/d-1.0.jar", "c/1.0/c-1.0.pom", "c/1.0/c-1.0x.jar"] {
            assert_eq!(Coordinates::of_path(Path::new(path)), None, "{path}");
        }
    }
}
