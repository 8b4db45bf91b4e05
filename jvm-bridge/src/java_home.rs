//! Finds the Java runtime and which `libjvm.so` of it to load.
//!
//! Responsible for: `JAVA_HOME`, `lib/jvm.cfg`, `-server`-like options, `-XXaltjvm=` and
//! `JDK_ALTERNATE_VM`. The `java` command finds its home from its own path; this program lives
//! elsewhere, so `JAVA_HOME` must say it. The launcher's re-execution with another `LD_LIBRARY_PATH`
//! is not needed here: `libjvm.so` is opened by its full path, and glibc resolves the `libjvm.so`
//! that `libjava.so` needs to the one already loaded (same soname).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::command_line::takes_argument;
use crate::report::{PlatformString, Refusal, Report};

/// What `jvm.cfg` says of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    Known,
    AliasOf(PlatformString),
    Warn,
    Ignore,
    Error,
}

/// One line of `jvm.cfg`; the name has its leading dash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVm {
    pub name: PlatformString,
    pub availability: Availability,
}

/// The runtime's directory and the VMs it knows.
pub struct JavaHome {
    pub directory: PathBuf,
    pub known_vms: Vec<KnownVm>,
}

impl JavaHome {
    /// Reads the runtime at `java_home`, the value of `JAVA_HOME`.
    ///
    /// # Errors
    /// With the launcher's texts and statuses, but for an unset `JAVA_HOME`, which it cannot meet.
    pub fn find(java_home: Option<&OsStr>, report: &mut Report) -> Result<Self, Refusal> {
        let Some(directory) = java_home.filter(|home| !home.is_empty()).map(PathBuf::from) else {
            return Err(Refusal::new(2, "Error: JAVA_HOME is not set; it must name the Java runtime."));
        };
        if !directory.join("lib/libjava.so").exists() {
            return Err(Refusal::new(
                2,
                "Error: could not find libjava.so\nError: Could not find Java SE Runtime Environment.",
            ));
        }
        let file = directory.join("lib/jvm.cfg");
        // Debian keeps jvm.cfg under /etc, and a copy beside its link for when /etc has lost it.
        let text =
            fs::read(&file).or_else(|_| fs::read(directory.join("lib/jvm.cfg-default"))).map_err(|_| {
                Refusal::new(1, [b"Error: could not open `", file.as_os_str().as_bytes(), b"'"].concat())
            })?;
        let known_vms = parse(&text, &file, report);
        if known_vms.is_empty() {
            return Err(Refusal::new(1, "Error: no known VMs. (check for corrupt jvm.cfg file)"));
        }
        Ok(Self { directory, known_vms })
    }

    /// Takes the options that choose a VM out of `arguments` and returns the library's path.
    ///
    /// # Errors
    /// No such VM, or `jvm.cfg` contradicts itself.
    pub fn choose_vm(
        &self,
        arguments: &mut Vec<PlatformString>,
        alternate_vm: Option<&[u8]>,
        report: &mut Report,
    ) -> Result<PathBuf, Refusal> {
        let chosen = take_vm_options(&self.known_vms, arguments);
        let name = match (chosen, alternate_vm) {
            (Some(ChosenVm::Known(index)), _) => self.resolve(index, report)?,
            (Some(ChosenVm::Alternate(name)), _) => name,
            (None, Some(name)) => name.to_vec(),
            (None, None) => self.known_vms[0].name[1..].to_vec(),
        };
        let name_path = Path::new(OsStr::from_bytes(&name));
        let library = if name.contains(&b'/') {
            name_path.join("libjvm.so")
        } else {
            self.directory.join("lib").join(name_path).join("libjvm.so")
        };
        if library.exists() {
            return Ok(library);
        }
        let mut message =
            [b"Error: missing `", &name[..], b"' JVM at `", library.as_os_str().as_bytes()].concat();
        message.extend_from_slice(
            b"'.\nPlease install or use the JRE or JDK that contains these missing components.",
        );
        Err(Refusal::new(4, message))
    }

    /// Follows aliases, and returns the VM's name without its dash.
    fn resolve(&self, index: usize, report: &mut Report) -> Result<PlatformString, Refusal> {
        let mut vm = &self.known_vms[index];
        let mut steps = 0;
        while let Availability::AliasOf(alias) = &vm.availability {
            steps += 1;
            if steps > self.known_vms.len() {
                return Err(Refusal::new(1, "Error: Corrupt jvm.cfg file; cycle in alias list."));
            }
            vm = self.known_vms.iter().find(|v| v.name == *alias).ok_or_else(|| {
                Refusal::new(1, [b"Error: Unable to resolve VM alias ", &alias[..]].concat())
            })?;
        }
        let default = &self.known_vms[0].name[1..];
        let name = &vm.name[1..];
        match vm.availability {
            Availability::Known | Availability::AliasOf(_) => Ok(name.to_vec()),
            Availability::Ignore => Ok(default.to_vec()),
            Availability::Warn => {
                report.note(
                    [b"Warning: ", name, b" VM not supported; ", default, b" VM will be used"].concat(),
                );
                Ok(default.to_vec())
            }
            Availability::Error => Err(Refusal::new(1, [b"Error: ", name, b" VM not supported"].concat())),
        }
    }

    /// The version that `-fullversion` prints; the launcher has it compiled in, the runtime's
    /// `release` file says the same.
    ///
    /// # Errors
    /// The file is missing or does not say it.
    pub fn full_version(&self) -> Result<String, Refusal> {
        let file = self.directory.join("release");
        fs::read_to_string(&file)
            .ok()
            .and_then(|text| {
                let value = text.lines().find_map(|line| line.strip_prefix("JAVA_RUNTIME_VERSION="))?;
                Some(value.trim_matches('"').to_owned())
            })
            .ok_or_else(|| {
                Refusal::new(1, format!("Error: {} does not say the runtime's version.", file.display()))
            })
    }
}

enum ChosenVm {
    Known(usize),
    Alternate(PlatformString),
}

/// The last such option counts; all are removed, up to the first argument that is no option.
fn take_vm_options(known_vms: &[KnownVm], arguments: &mut Vec<PlatformString>) -> Option<ChosenVm> {
    let mut chosen = None;
    let mut kept = Vec::with_capacity(arguments.len());
    let mut rest = std::mem::take(arguments).into_iter();
    while let Some(argument) = rest.next() {
        if takes_argument(&argument) {
            kept.push(argument);
            kept.extend(rest.next());
            continue;
        }
        if !argument.starts_with(b"-") {
            kept.push(argument);
            break;
        }
        let plain = argument.strip_prefix(b"-J").unwrap_or(&argument);
        if let Some(index) = known_vms.iter().position(|vm| vm.name == plain) {
            chosen = Some(ChosenVm::Known(index));
        } else if let Some(name) = plain.strip_prefix(b"-XXaltjvm=") {
            chosen = Some(ChosenVm::Alternate(name.to_vec()));
        } else {
            kept.push(argument);
        }
    }
    kept.extend(rest);
    *arguments = kept;
    chosen
}

fn parse(text: &[u8], file: &Path, report: &mut Report) -> Vec<KnownVm> {
    let mut vms = Vec::new();
    for (index, line) in text.split(|&b| b == b'\n').enumerate() {
        if line.starts_with(b"#") || (line.is_empty() && index + 1 == text.split(|&b| b == b'\n').count()) {
            continue;
        }
        let place = || {
            [format!(" on line {} of `", index + 1).as_bytes(), file.as_os_str().as_bytes(), b"'"].concat()
        };
        if !line.starts_with(b"-") {
            report.note([&b"Warning: No leading -"[..], &place()].concat());
        }
        let mut fields = line.split(|b| matches!(b, b' ' | b'\t')).filter(|field| !field.is_empty());
        let name = fields.next().unwrap_or_default();
        let mut missing = || report.note([&b"Warning: Missing VM type"[..], &place()].concat());
        let Some(kind) = fields.next() else {
            missing();
            continue;
        };
        // The launcher compares prefixes only.
        let availability = if kind.starts_with(b"KNOWN") {
            Availability::Known
        } else if kind.starts_with(b"ALIASED_TO") {
            let Some(alias) = fields.next() else {
                missing();
                continue;
            };
            Availability::AliasOf(alias.to_vec())
        } else if kind.starts_with(b"WARN") {
            Availability::Warn
        } else if kind.starts_with(b"IGNORE") {
            Availability::Ignore
        } else if kind.starts_with(b"ERROR") {
            Availability::Error
        } else if kind.starts_with(b"IF_SERVER_CLASS") {
            continue;
        } else {
            report.note([&b"Warning: Unknown VM type"[..], &place()].concat());
            Availability::Known
        };
        if name.len() > 1 {
            vms.push(KnownVm { name: name.to_vec(), availability });
        }
    }
    vms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(cfg: &str) -> JavaHome {
        let known_vms = parse(cfg.as_bytes(), Path::new("jvm.cfg"), &mut Report::default());
        JavaHome { directory: PathBuf::from("/none"), known_vms }
    }

    fn arguments(words: &[&str]) -> Vec<PlatformString> {
        words.iter().map(|w| w.as_bytes().to_vec()).collect()
    }

    fn refusal(home: &JavaHome, words: &[&str]) -> String {
        let refusal = home.choose_vm(&mut arguments(words), None, &mut Report::default()).unwrap_err();
        String::from_utf8(refusal.message).unwrap()
    }

    #[test]
    fn vm_options_are_taken_out_up_to_the_main_class() {
        let home = home("-server KNOWN\n-client IGNORE\n-zero KNOWN\n");
        let mut words = arguments(&["-cp", "-zero", "-zero", "-ea", "-client", "Main", "-server"]);
        assert!(matches!(take_vm_options(&home.known_vms, &mut words), Some(ChosenVm::Known(1))));
        assert_eq!(words, arguments(&["-cp", "-zero", "-ea", "Main", "-server"]));
    }

    #[test]
    fn a_vm_that_is_not_there_is_named_with_its_path() {
        let home = home("-server KNOWN\n-client IGNORE\n-hot ALIASED_TO -zero\n-zero KNOWN\n-old ERROR\n");
        assert!(
            refusal(&home, &["-hot"]).starts_with("Error: missing `zero' JVM at `/none/lib/zero/libjvm.so'.")
        );
        assert!(refusal(&home, &["-client"]).starts_with("Error: missing `server' JVM"));
        assert_eq!(refusal(&home, &["-old"]), "Error: old VM not supported");
    }

    #[test]
    fn an_alias_cycle_is_found() {
        let home = home("-a ALIASED_TO -b\n-b ALIASED_TO -a\n");
        assert_eq!(refusal(&home, &["-a"]), "Error: Corrupt jvm.cfg file; cycle in alias list.");
    }
}
