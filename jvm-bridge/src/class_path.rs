//! Expands `dir/*` in a class path into the jar files of that directory.
//!
//! The syntax is that of the `java` man page ("-classpath"). Jar files stand in the order in which
//! the directory lists them, which is the launcher's order too: sorting would be nicer and would make
//! the same program load other classes than on Linux. Not for module paths, which the VM expands.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::report::PlatformString;

/// Returns the class path with each wildcard replaced; an element that matches nothing stays.
pub fn expand_wildcards(class_path: &[u8]) -> PlatformString {
    if !class_path.contains(&b'*') {
        return class_path.to_vec();
    }
    let mut any_expanded = false;
    let mut elements: Vec<PlatformString> = Vec::new();
    for element in class_path.split(|&b| b == b':') {
        let jars = if is_wildcard(element) { jars_in(&element[..element.len() - 1]) } else { Vec::new() };
        if jars.is_empty() {
            elements.push(element.to_vec());
        } else {
            any_expanded = true;
            elements.extend(jars);
        }
    }
    if any_expanded { elements.join(&b':') } else { class_path.to_vec() }
}

fn is_wildcard(element: &[u8]) -> bool {
    (element == b"*" || element.ends_with(b"/*")) && !Path::new(OsStr::from_bytes(element)).exists()
}

/// `directory` is empty or ends in a slash.
fn jars_in(directory: &[u8]) -> Vec<PlatformString> {
    let path = if directory.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(directory) };
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name().into_vec()))
        .filter(|name| (name.ends_with(b".jar") || name.ends_with(b".JAR")) && !name.contains(&b':'))
        .map(|name| [directory, &name].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jar_files_of_the_directory_itself_are_taken() {
        let dir = std::env::temp_dir().join(format!("crema-class-path-{}", std::process::id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        for name in ["a.jar", "b.JAR", "c.zip", "d:e.jar", "sub/f.jar"] {
            fs::write(dir.join(name), "").unwrap();
        }
        let prefix = dir.to_str().unwrap();
        let expanded = expand_wildcards(format!("x:{prefix}/*:y").as_bytes());
        let mut elements: Vec<_> = std::str::from_utf8(&expanded).unwrap().split(':').collect();
        assert_eq!((elements[0], elements[elements.len() - 1]), ("x", "y"));
        elements.sort_unstable();
        assert_eq!(elements, [&format!("{prefix}/a.jar"), &format!("{prefix}/b.JAR"), "x", "y"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_matches_nothing_stays_as_it_is() {
        assert_eq!(expand_wildcards(b"a:/no/such/dir/*:b*"), b"a:/no/such/dir/*:b*");
        assert_eq!(expand_wildcards(b"a::b"), b"a::b");
    }
}
