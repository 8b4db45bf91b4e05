//! Choosing a machine: the accelerator, the memory and the CPUs that the user left open.

use std::{fmt, fs, num::NonZero, thread};

use super::kvm_probe::{self, Verdict};
use crate::{
    failure::{Failure, Result},
    options::{AcceleratorChoice, MachineKind, MachineOptions, MemoryMib},
    project::Project,
};

/// Memory that a machine gets on a host that has plenty.
const DEFAULT_MEMORY: MemoryMib = MemoryMib(2048);
/// CPUs that a machine gets on a host that has plenty.
const DEFAULT_CPUS: usize = 4;
/// The JVM with its archive of shared classes, its threads and the smallest useful heap.
const LEAST_MEMORY_JVM: MemoryMib = MemoryMib(128);
/// The kernel and a small program.
const LEAST_MEMORY_PROGRAM: MemoryMib = MemoryMib(32);

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

/// A machine with nothing left open.
#[derive(Clone, Debug)]
pub struct Choice {
    pub kind: MachineKind,
    pub accelerator: Accelerator,
    /// Why KVM is not used although it was not ruled out.
    why_not_kvm: Option<String>,
    pub memory: MemoryMib,
    pub cpus: u32,
}

/// Whether a JVM is in the image: it sets the least memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Jvm,
    Program,
}

impl Choice {
    pub fn make(options: &MachineOptions, payload: Payload, project: &Project) -> Result<Self> {
        let (accelerator, why_not_kvm) = match options.accel {
            AcceleratorChoice::Tcg => (Accelerator::Tcg, None),
            AcceleratorChoice::Auto => match kvm_probe::verdict(project)? {
                Verdict::Usable => (Accelerator::Kvm, None),
                Verdict::Unusable(why) => (Accelerator::Tcg, Some(why)),
            },
            AcceleratorChoice::Kvm => match kvm_probe::verdict(project)? {
                Verdict::Usable => (Accelerator::Kvm, None),
                Verdict::Unusable(why) => {
                    return Err(Failure::new(format!("KVM is unusable here ({why}): use --accel tcg")));
                }
            },
        };
        let host = host_memory()?;
        let memory = choose_memory(options.memory, payload, host)?;
        let host_cpus = thread::available_parallelism().map_or(1, NonZero::get);
        let cpus = options.cpus.unwrap_or(host_cpus.min(DEFAULT_CPUS) as u32);
        Ok(Self { kind: options.machine, accelerator, why_not_kvm, memory, cpus })
    }
}

fn choose_memory(wanted: Option<MemoryMib>, payload: Payload, host: MemoryMib) -> Result<MemoryMib> {
    let least = match payload {
        Payload::Jvm => LEAST_MEMORY_JVM,
        Payload::Program => LEAST_MEMORY_PROGRAM,
    };
    let memory = wanted.unwrap_or(MemoryMib(host.0 / 2).min(DEFAULT_MEMORY).max(least));
    if memory < least {
        return Err(Failure::new(format!(
            "{} MiB of memory is too little for this image: it needs at least {} MiB (--memory)",
            memory.0, least.0
        )));
    }
    if memory > host {
        return Err(Failure::new(format!(
            "{} MiB of memory is more than this host has: {} MiB (--memory)",
            memory.0, host.0
        )));
    }
    Ok(memory)
}

/// All memory of the host, proc(5).
fn host_memory() -> Result<MemoryMib> {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| parse_meminfo(&text))
        .ok_or_else(|| Failure::new("cannot read the size of the memory from /proc/meminfo"))
}

fn parse_meminfo(text: &str) -> Option<MemoryMib> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(MemoryMib(kib / 1024))
}

/// For the one line that says what was chosen.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            MachineKind::Q35 => "q35",
            MachineKind::Microvm => "microvm",
        };
        match (self.accelerator, &self.why_not_kvm) {
            (Accelerator::Kvm, _) => f.write_str("KVM")?,
            (Accelerator::Tcg, None) => f.write_str("TCG")?,
            (Accelerator::Tcg, Some(why)) => write!(f, "TCG (not KVM: {why})")?,
        }
        let plural = if self.cpus == 1 { "" } else { "s" };
        write!(f, ", {kind}, {} CPU{plural}, {} MiB", self.cpus, self.memory.0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small machine under TCG.
    pub fn choice(kind: MachineKind, cpus: u32) -> Choice {
        Choice { kind, accelerator: Accelerator::Tcg, why_not_kvm: None, memory: MemoryMib(64), cpus }
    }

    #[test]
    fn memory_is_chosen_from_the_host() {
        let choose = |wanted: Option<u64>, host| {
            choose_memory(wanted.map(MemoryMib), Payload::Jvm, MemoryMib(host)).map(|memory| memory.0)
        };
        assert_eq!(choose(None, 64 << 10), Ok(2048));
        assert_eq!(choose(None, 2000), Ok(1000));
        assert_eq!(choose(None, 200), Ok(128));
        assert_eq!(choose(Some(512), 2000), Ok(512));
        assert!(choose(Some(64), 2000).unwrap_err().to_string().contains("too little"));
        assert!(choose(Some(4000), 2000).unwrap_err().to_string().contains("more than this host has"));
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(parse_meminfo("MemFree: 1 kB\nMemTotal:       2048000 kB\n"), Some(MemoryMib(2000)));
        assert_eq!(parse_meminfo("MemTotal: many\n"), None);
    }
}
