//! The volumes of a run: disks with file systems that outlive it, and where each is mounted.
//!
//! The record is `volume=SERIAL:ACCESS:PLACE`; it may be given again. `SERIAL` is the identification that the disk answers with, at
//! most [`MAX_SERIAL_BYTES`] long, `ACCESS` is `rw` or `ro`, and `PLACE` an absolute path.

use alloc::string::{String, ToString};
use core::{fmt, str::FromStr};

/// Length of the identification of a virtio disk, in bytes (VIRTIO 1.2, 5.2.6, `VIRTIO_BLK_T_GET_ID`).
pub const MAX_SERIAL_BYTES: usize = 20;

/// The serial of the disk with the root file system, where there are others beside it.
pub const ROOT_SERIAL: &str = "crema-root";

/// Whether a volume may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VolumeAccess {
    #[default]
    ReadWrite,
    ReadOnly,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    serial: String,
    access: VolumeAccess,
    place: String,
}

/// Not a volume, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAVolume {
    /// The record does not have three parts, or its access is neither `rw` nor `ro`.
    Malformed,
    /// The serial is empty, too long for a disk, or has other characters than letters, digits and `-`.
    BadSerial,
    /// What is wrong with the place is in the text.
    BadPlace(&'static str),
}

impl fmt::Display for NotAVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it must be SERIAL:rw:PLACE or SERIAL:ro:PLACE",
            Self::BadSerial => "the serial must be 1 to 20 letters, digits and dashes",
            Self::BadPlace(why) => why,
        })
    }
}

impl Volume {
    pub fn new(serial: &str, access: VolumeAccess, place: &str) -> Result<Self, NotAVolume> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if serial.is_empty() || serial.len() > MAX_SERIAL_BYTES || !serial.bytes().all(plain) {
            return Err(NotAVolume::BadSerial);
        }
        check_place(place).map_err(NotAVolume::BadPlace)?;
        Ok(Self { serial: serial.to_string(), access, place: place.to_string() })
    }

    pub fn serial(&self) -> &str {
        &self.serial
    }

    pub fn access(&self) -> VolumeAccess {
        self.access
    }

    /// Where it is mounted: an absolute path without `.`, `..` and needless slashes.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Whether a volume can be mounted at `place`: an absolute path in its shortest form, and no place of the kernel's own file systems.
/// The error says what is wrong.
pub fn check_place(place: &str) -> Result<(), &'static str> {
    let Some(relative) = place.strip_prefix('/') else {
        return Err("the place must be an absolute path of the guest");
    };
    if relative.is_empty() {
        return Err("the place cannot be /: the root is the image's");
    }
    if relative.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err("the place must be written without //, /. and /..");
    }
    if place.chars().any(char::is_control) {
        return Err("the place must be on one line");
    }
    let top = relative.split('/').next().unwrap_or_default();
    if matches!(top, "dev" | "proc" | "sys") {
        return Err("the place cannot be below /dev, /proc or /sys, which are the kernel's");
    }
    Ok(())
}

impl FromStr for Volume {
    type Err = NotAVolume;

    fn from_str(text: &str) -> Result<Self, NotAVolume> {
        let mut parts = text.splitn(3, ':');
        let (Some(serial), Some(access), Some(place)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAVolume::Malformed);
        };
        let access = match access {
            "rw" => VolumeAccess::ReadWrite,
            "ro" => VolumeAccess::ReadOnly,
            _ => return Err(NotAVolume::Malformed),
        };
        Self::new(serial, access, place)
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            VolumeAccess::ReadWrite => "rw",
            VolumeAccess::ReadOnly => "ro",
        };
        write!(f, "{}:{access}:{}", self.serial, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back() {
        for text in ["crema-vol-0:rw:/data", "a:ro:/var/lib/a b", "x:rw:/a:b"] {
            assert_eq!(text.parse::<Volume>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn impossible_volumes_are_refused() {
        for text in ["", "a", "a:rw", "a:wr:/data", "a::/data"] {
            assert_eq!(text.parse::<Volume>(), Err(NotAVolume::Malformed), "{text}");
        }
        for text in [":rw:/data", "123456789012345678901:rw:/data", "a b:rw:/data", "a,b:rw:/data"] {
            assert_eq!(text.parse::<Volume>(), Err(NotAVolume::BadSerial), "{text}");
        }
        for place in [
            "", "data", "/", "//", "/data/", "/a//b", "/a/../b", "/./a", "/proc", "/dev/x", "/sys/fs",
            "/a\nb",
        ] {
            let parsed = Volume::new("a", VolumeAccess::ReadOnly, place);
            assert!(matches!(parsed, Err(NotAVolume::BadPlace(_))), "{place}");
        }
        assert!(Volume::new("a", VolumeAccess::ReadWrite, "/development").is_ok());
    }
}
