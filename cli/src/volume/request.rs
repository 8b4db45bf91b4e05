//! What the user writes for a volume: `NAME`, `NAME:/data`, `PATH.img:/data:ro`, `NAME:/data,size=10G`.
//!
//! Responsible for the words alone; whether there is such a volume is the parent module's matter.

use std::{fmt, path::PathBuf, str::FromStr};

use run_config::{VolumeAccess, volume::check_place};

/// Longest name: the label of a file system has 16 bytes, but a name may be longer than its label.
const NAME_LIMIT_BYTES: usize = 64;

/// Size of a file system in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeSize(pub u64);

impl VolumeSize {
    /// What a volume can grow to, unless the user says otherwise. It takes only what is written to it.
    pub const DEFAULT: Self = Self(10 << 30);
    /// With a journal and a few files.
    pub const LEAST: Self = Self(16 << 20);
    /// The most that ext4 has with blocks of 4 KiB, without 64-bit block numbers.
    pub const MOST: Self = Self(16 << 40);
}

impl FromStr for VolumeSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
        let mib_per_unit: u64 = match &lower[digits.len()..] {
            "" | "m" | "mb" | "mib" => 1,
            "g" | "gb" | "gib" => 1 << 10,
            "t" | "tb" | "tib" => 1 << 20,
            _ => return Err("the size must be a number of MiB, or end with M, G or T".into()),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain
            .then(|| digits.parse::<u64>().ok()?.checked_mul(mib_per_unit)?.checked_mul(1 << 20))
            .flatten()
            .map(Self)
            .filter(|size| (Self::LEAST..=Self::MOST).contains(size))
            .ok_or_else(|| "the size must be 16M to 16T".into())
    }
}

/// Name of a volume that the tool keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins_well && text.len() <= NAME_LIMIT_BYTES && text.chars().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err("the name of a volume is 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit".into())
    }
}

/// Which volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One that the tool keeps.
    Named(Name),
    /// A file of the user's.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    /// What has a slash, or ends with `.img`, is a path.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') || text.ends_with(".img") {
            return Ok(Self::File(text.into()));
        }
        text.parse().map(Self::Named)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A volume of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub source: Source,
    /// Where it is mounted; where the appliance wants it, if that is open.
    pub place: Option<String>,
    pub access: VolumeAccess,
    /// How large it is made if it does not exist yet.
    pub size: Option<VolumeSize>,
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, size) = match text.rsplit_once(",size=") {
            Some((before, size)) => (before, Some(size.parse()?)),
            None => (text, None),
        };
        let (text, access) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(before), _) => (before, VolumeAccess::ReadOnly),
            (_, Some(before)) => (before, VolumeAccess::ReadWrite),
            (None, None) => (text, VolumeAccess::ReadWrite),
        };
        // The last, for a path on the host may have one too.
        let (source, place) = match text.rfind(":/") {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        };
        if let Some(place) = place {
            check_place(place)?;
        }
        if source.is_empty() {
            return Err("it must begin with the name of a volume, or the path of a file".into());
        }
        if access == VolumeAccess::ReadOnly && size.is_some() {
            return Err("a volume that is made for this run cannot be read-only".into());
        }
        Ok(Self { source: source.parse()?, place: place.map(String::from), access, size })
    }
}

/// A volume that a server has: the socket where it listens, and where the volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub socket: PathBuf,
    pub place: String,
}

/// Reads `SOCKET:PLACE`.
pub fn parse_server(text: &str) -> Result<Server, String> {
    let (socket, place) = text.rsplit_once(':').ok_or("it must be SOCKET:PLACE")?;
    if socket.is_empty() {
        return Err("it must be SOCKET:PLACE".into());
    }
    check_place(place)?;
    Ok(Server { socket: socket.into(), place: place.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, String> {
        text.parse()
    }

    #[test]
    fn each_form_is_read() {
        let named = |name: &str| Source::Named(name.parse().unwrap());
        let plain =
            Request { source: named("zkdata"), place: None, access: VolumeAccess::ReadWrite, size: None };
        assert_eq!(parse("zkdata"), Ok(plain.clone()));
        let placed = Request { place: Some("/var/lib/x y".into()), ..plain.clone() };
        assert_eq!(parse("zkdata:/var/lib/x y"), Ok(placed.clone()));
        let read_only = Request { access: VolumeAccess::ReadOnly, ..placed.clone() };
        assert_eq!(parse("zkdata:/var/lib/x y:ro"), Ok(read_only));
        assert_eq!(parse("zkdata:/var/lib/x y:rw"), Ok(placed.clone()));
        let sized = Request { size: Some(VolumeSize(10 << 30)), ..placed };
        assert_eq!(parse("zkdata:/var/lib/x y,size=10G"), Ok(sized));
        assert_eq!(parse("zkdata:ro").unwrap().access, VolumeAccess::ReadOnly);
        assert_eq!(parse("zkdata,size=1t").unwrap().size, Some(VolumeSize(1 << 40)));
        for path in ["./d", "/a:/b,c.img", "d.img"] {
            let request = parse(&format!("{path}:/data")).unwrap();
            assert_eq!((request.source, request.place), (Source::File(path.into()), Some("/data".into())));
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("", "must begin with"),
            (":/data", "must begin with"),
            ("a b:/data", "name of a volume"),
            ("-x:/data", "name of a volume"),
            ("x:data", "name of a volume"),
            ("x:/", "cannot be /"),
            ("x:/data/", "without //"),
            ("x:/proc", "/dev, /proc or /sys"),
            ("x:/data,size=1K", "must be a number"),
            ("x:/data,size=", "16M to 16T"),
            ("x:/data,size=1M", "16M to 16T"),
            ("x:/data,size=17T", "16M to 16T"),
            ("x:/data:ro,size=1G", "cannot be read-only"),
        ] {
            let sentence = parse(text).unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }
}
