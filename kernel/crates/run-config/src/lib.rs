//! The run configuration: what the host tool tells the kernel about one run.
//!
//! The host tool writes it, the kernel reads it, from one of two places: the fw_cfg file
//! [`FW_CFG_FILE`] (a run's own settings), or the file [`IMAGE_FILE`] in the root file system (what
//! `crema build` put into the image). The format is a sequence of `key=value` records, each ended by
//! a NUL byte, so that arguments and environment values need no quoting.
//!
//! This crate is pure and knows only the format; it reads no device.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod net;
pub mod volume;

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

pub use net::{AddressSource, InterfaceAddress, NetChannels, NetConfig, NotAnInterfaceAddress};
pub use volume::{Volume, VolumeAccess};

/// Name of the fw_cfg item (QEMU `-fw_cfg name=...,file=...`) that carries the configuration.
pub const FW_CFG_FILE: &str = "opt/org.crema/run";

/// Path in the root file system of the configuration that an image carries.
pub const IMAGE_FILE: &str = "/etc/crema/run.conf";

/// Names of the virtio-serial ports between guest and host tool.
pub mod port {
    /// Guest to host: the program's standard output. Host to guest: its standard input.
    pub const STDIO: &str = "crema.stdio";
    /// Guest to host: the program's standard error.
    pub const STDERR: &str = "crema.stderr";
    /// Both ways: control messages, one a line (see `docs/control-channel.md`).
    pub const CONTROL: &str = "crema.control";
}

/// Settings of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// The program to start and its arguments; `args[0]` is the path of the executable.
    pub args: Vec<String>,
    /// Environment, each `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; `/` if empty.
    pub cwd: String,
    /// Host name; `crema` if empty. The records `hostname` and `net.hostname` mean the same.
    pub hostname: String,
    /// The network.
    pub net: NetConfig,
    /// The volumes, in the order in which they are mounted.
    pub volumes: Vec<Volume>,
    /// What is made of the root disk. It counts only in what the host passes: an image's own file is in the
    /// root file system, which is mounted by then.
    pub root: Root,
    /// Whether standard input and output are a terminal on the host.
    pub tty: bool,
    /// Whether every system call is written to the kernel log.
    pub trace_syscalls: bool,
    /// Whether the kernel logs what it does, not only warnings and errors.
    pub verbose: bool,
}

/// What is made of the root disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// It is not written; changes go to a layer in memory.
    #[default]
    Overlay,
    /// It is mounted for writing.
    Writable,
}

impl Root {
    const NAMES: [(&str, Self); 2] = [("overlay", Self::Overlay), ("writable", Self::Writable)];
}

/// Why a configuration could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The text is not UTF-8.
    NotUtf8,
    /// A record has no `=`.
    NoEqualsSign(String),
    /// A key that this version does not know.
    UnknownKey(String),
    /// A value that its key does not allow.
    BadValue { key: String, value: String },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the run configuration is not UTF-8"),
            Self::NoEqualsSign(r) => write!(f, "the run configuration has a record without '=': {r:?}"),
            Self::UnknownKey(k) => write!(f, "the run configuration has an unknown key {k:?}"),
            Self::BadValue { key, value } => {
                write!(f, "the run configuration has a bad value {value:?} for {key:?}")
            }
        }
    }
}

impl core::error::Error for ParseError {}

impl RunConfig {
    /// Reads the records in `bytes`. A key given twice adds (`arg`, `env`, `net.address`, `net.gateway`, `net.dns`, `volume`) or
    /// replaces (all others).
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let text = core::str::from_utf8(bytes).map_err(|_| ParseError::NotUtf8)?;
        let mut config = Self::default();
        for record in text.split_terminator('\0') {
            let (key, value) =
                record.split_once('=').ok_or_else(|| ParseError::NoEqualsSign(record.to_string()))?;
            let bad_value = || ParseError::BadValue { key: key.to_string(), value: value.to_string() };
            let flag = || match value {
                "0" => Ok(false),
                "1" => Ok(true),
                _ => Err(bad_value()),
            };
            match key {
                "arg" => config.args.push(value.to_string()),
                "env" => config.env.push(value.to_string()),
                "cwd" => config.cwd = value.to_string(),
                "hostname" | "net.hostname" => config.hostname = value.to_string(),
                "volume" => config.volumes.push(value.parse().map_err(|_| bad_value())?),
                "root" => {
                    let named = Root::NAMES.iter().find(|(name, _)| *name == value);
                    config.root = named.ok_or_else(bad_value)?.1;
                }
                "tty" => config.tty = flag()?,
                "trace-syscalls" => config.trace_syscalls = flag()?,
                "verbose" => config.verbose = flag()?,
                _ => match net::Key::named(key) {
                    Some(net_key) => config.net.set(net_key, value).ok_or_else(bad_value)?,
                    None => return Err(ParseError::UnknownKey(key.to_string())),
                },
            }
        }
        Ok(config)
    }

    /// Writes the records that [`RunConfig::parse`] reads back as an equal value, or `None` if a
    /// value holds a NUL byte, which the format cannot carry.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut record = |key: &str, value: &str| {
            if value.contains('\0') {
                return None;
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
            out.push(0);
            Some(())
        };
        for arg in &self.args {
            record("arg", arg)?;
        }
        for env in &self.env {
            record("env", env)?;
        }
        for (key, value) in [("cwd", &self.cwd), ("net.hostname", &self.hostname)] {
            if !value.is_empty() {
                record(key, value)?;
            }
        }
        let mut carried = Some(());
        self.net.records(|key, value| carried = carried.and_then(|()| record(key, &value.to_string())));
        carried?;
        for volume in &self.volumes {
            record("volume", &volume.to_string())?;
        }
        for (name, root) in Root::NAMES {
            if root == self.root && root != Root::default() {
                record("root", name)?;
            }
        }
        let flags = [("tty", self.tty), ("trace-syscalls", self.trace_syscalls), ("verbose", self.verbose)];
        for (key, value) in flags {
            if value {
                record(key, "1")?;
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let config = RunConfig {
            args: ["/bin/a", "", "x=y\nz"].map(String::from).to_vec(),
            env: ["A=b".to_string()].to_vec(),
            cwd: "/app".into(),
            hostname: "h".into(),
            net: NetConfig {
                source: AddressSource::Static,
                addresses: ["10.0.0.5/24", "fd00::5/64"].map(|text| text.parse().unwrap()).to_vec(),
                gateways: ["10.0.0.1", "fe80::1"].map(|text| text.parse().unwrap()).to_vec(),
                dns: ["10.0.0.2".parse().unwrap()].to_vec(),
                channels: NetChannels::Off,
            },
            volumes: ["crema-vol-0:rw:/data", "crema-vol-1:ro:/data/more"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            root: Root::Writable,
            tty: true,
            trace_syscalls: false,
            verbose: true,
        };
        assert_eq!(RunConfig::parse(&config.encode().unwrap()), Ok(config));
    }

    #[test]
    fn refuses_what_it_cannot_carry_or_read() {
        assert_eq!(RunConfig { args: ["a\0b".to_string()].to_vec(), ..Default::default() }.encode(), None);
        assert_eq!(RunConfig::parse(b"arg"), Err(ParseError::NoEqualsSign("arg".into())));
        assert_eq!(RunConfig::parse(b"\xff=1\0"), Err(ParseError::NotUtf8));
        assert_eq!(RunConfig::parse(b"nonsense=1\0"), Err(ParseError::UnknownKey("nonsense".into())));
        assert_eq!(
            RunConfig::parse(b"tty=yes\0"),
            Err(ParseError::BadValue { key: "tty".into(), value: "yes".into() })
        );
        for record in [
            "root=readonly",
            "net.config=auto",
            "net.address=10.0.0.5",
            "net.gateway=x",
            "net.dns=10.0.0.256",
            "net.channels=1",
            "volume=crema-vol-0:/data",
        ] {
            let (key, value) = record.split_once('=').unwrap();
            let refused = ParseError::BadValue { key: key.into(), value: value.into() };
            assert_eq!(RunConfig::parse(record.as_bytes()), Err(refused));
        }
        assert_eq!(RunConfig::parse(b"net.mtu=1\0"), Err(ParseError::UnknownKey("net.mtu".into())));
    }

    #[test]
    fn the_network_is_automatic_unless_told_otherwise() {
        let config = RunConfig::parse(b"net.hostname=a\0net.config=dhcp\0net.channels=on\0").unwrap();
        assert_eq!(config.hostname, "a");
        assert_eq!(config.net, NetConfig::default());
        assert_eq!(RunConfig::parse(b"hostname=a\0"), Ok(config));
    }
}
