//! A jar's manifest, as far as a launcher needs it: the main section (JAR File Specification, "Manifest
//! Specification").

use std::path::PathBuf;

/// The attributes of the main section.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Names in lower case, for they are compared without regard to case.
    attributes: Vec<(String, String)>,
}

impl Manifest {
    /// Reads the main section. Lines end with CR LF, LF or CR; a line that begins with a space continues the
    /// one before; the section ends at the first empty line. What is no attribute is passed over, as the
    /// launcher passes it over.
    pub fn parse(bytes: &[u8]) -> Self {
        // A continuation may split a character's bytes, so lines are joined before they become text.
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = match after {
                [b'\r', b'\n', tail @ ..] => tail,
                [_, tail @ ..] => tail,
                [] => after,
            };
            match (line, lines.last_mut()) {
                ([], _) => break,
                ([b' ', more @ ..], Some(last)) => last.extend_from_slice(more),
                _ => lines.push(line.to_vec()),
            }
        }
        let attributes = lines
            .iter()
            .filter_map(|line| {
                let line = String::from_utf8_lossy(line);
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_string()))
            })
            .collect();
        Self { attributes }
    }

    /// The value of an attribute, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.attributes
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// The file that an entry of `Class-Path` means: the entry is a URL, relative to the jar's own.
pub fn class_path_file(url: &str) -> Option<PathBuf> {
    let path = match url.split_once(':') {
        None => url,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            // file:/x, file:///x and file://localhost/x all mean /x.
            rest.strip_prefix("//").map_or(rest, |rest| rest.find('/').map_or("", |at| &rest[at..]))
        }
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => return None,
        Some(_) => url,
    };
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    (!path.is_empty() && !path.contains('\0')).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_the_main_section_ends_at_an_empty_line() {
        let manifest = Manifest::parse(
            b"Manifest-Version: 1.0\r\nMAIN-class: a.very.lo\r\n ng.Name \r\nOdd\r\nEmpty:\r\n\r\nName: x\r\nSealed: true\r\n",
        );
        assert_eq!(manifest.get("Main-Class"), Some("a.very.long.Name"));
        assert_eq!(manifest.get("Sealed"), None);
        assert_eq!(manifest.get("Empty"), None);
        assert_eq!(Manifest::parse(b"Main-Class: M").get("main-class"), Some("M"));
        assert_eq!(Manifest::parse(b"Main-Class: M\rClass-Path: c").get("class-path"), Some("c"));
    }

    #[test]
    fn a_character_split_by_a_continuation_is_put_together() {
        let mut bytes = b"Main-Class: caf\xc3\n ".to_vec();
        bytes.extend_from_slice(b"\xa9\n");
        assert_eq!(Manifest::parse(&bytes).get("Main-Class"), Some("café"));
    }

    #[test]
    fn anything_is_read_without_a_panic() {
        for bytes in [&b""[..], b" ", b" x", b":", b"\r", b"\n\n", b"\xff\xfe: \xff", b"a:\0"] {
            let _ = Manifest::parse(bytes).get("a");
        }
    }

    #[test]
    fn class_path_entries_are_urls() {
        let file = |url| class_path_file(url).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(file("lib/a.jar").as_deref(), Some("lib/a.jar"));
        assert_eq!(file("a%20b%zz%2").as_deref(), Some("a b%zz%2"));
        assert_eq!(file("file:/x/y.jar").as_deref(), Some("/x/y.jar"));
        assert_eq!(file("file:///x/y.jar").as_deref(), Some("/x/y.jar"));
        assert_eq!(file("file://host/x").as_deref(), Some("/x"));
        assert_eq!(file("http://example.org/a.jar"), None);
        assert_eq!(file("%00"), None);
        assert_eq!(file("%ff"), None);
    }
}
