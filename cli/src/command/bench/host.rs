//! The host: what it is, and whether it was fit to measure on.
//!
//! Responsible for the facts that stand beside the figures, and for noticing what spoils a run: swapping, a quota of CPU time that was used
//! up, and how much other programs did meanwhile.

use std::{fs, num::NonZero, path::Path, process::Command, thread};

use super::model::{Length, Provenance};
use crate::{
    image::jre::Jre,
    machine::{
        choice::{Accelerator, Choice},
        qemu::QEMU,
    },
    project::Project,
};

/// The facts, but for what depends on what is measured.
pub fn provenance(project: &Project, choice: &Choice, runs: u32, length: Length) -> Provenance {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Provenance {
        command: command_line(std::env::args()),
        date: first_line(Command::new("date").args(["--utc", "+%FT%TZ"])),
        commit: commit(project.root()),
        cpu: model.map_or("an unknown processor", |(_, model)| model).into(),
        host_cpus: thread::available_parallelism().map_or(1, NonZero::get),
        host_memory_mib: memory_kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        host_kernel: release.trim().into(),
        qemu: first_line(Command::new(QEMU).arg("--version")),
        jdk: Jre::find().map_or(String::new(), |jre| format!("OpenJDK {}", jre.version)),
        accelerator: match choice.accelerator {
            Accelerator::Kvm => "KVM".into(),
            Accelerator::Tcg => "TCG (emulation: see benchmarks/README.md for what it changes)".into(),
        },
        runs,
        length,
        sides: vec![],
    }
}

/// As a user would type it.
fn command_line(words: impl Iterator<Item = String>) -> String {
    let quoted = |word: String| match word.contains([' ', '"', '$', '*', '\\']) || word.is_empty() {
        true => format!("'{word}'"),
        false => word,
    };
    let words: Vec<String> = words.skip(1).map(quoted).collect();
    format!("./crema {}", words.join(" "))
}

fn commit(root: &Path) -> String {
    let git = |words: &[&str]| first_line(Command::new("git").arg("-C").arg(root).args(words));
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { "+" };
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        commit if commit.is_empty() => commit,
        commit => commit + changed,
    }
}

pub fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    output.ok().and_then(|text| text.lines().next().map(String::from)).unwrap_or_default()
}

/// Counters of the host at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Of all CPUs, in clock ticks.
    busy: u64,
    all: u64,
    /// Of this process and of its children that have ended.
    own: u64,
    swapped_pages: u64,
    throttled: u64,
}

/// What happened between two times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interference {
    /// What share of the CPUs other programs took.
    pub others_share: f64,
    pub swapped_pages: u64,
    pub throttled: u64,
}

impl Load {
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (busy, all) = cpu_ticks(&read("/proc/stat")).unwrap_or_default();
        let cgroup = read("/proc/self/cgroup");
        let cgroup = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let quota = read(&format!("/sys/fs/cgroup{cgroup}/cpu.stat"));
        let vmstat = read("/proc/vmstat");
        Self {
            busy,
            all,
            own: process_ticks(&read("/proc/self/stat")).unwrap_or(0),
            swapped_pages: value(&vmstat, "pswpin") + value(&vmstat, "pswpout"),
            throttled: value(&quota, "nr_throttled"),
        }
    }

    pub fn since(&self, before: &Self) -> Interference {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        let others = busy.saturating_sub(self.own.saturating_sub(before.own));
        Interference {
            others_share: if all > 0 { others as f64 / all as f64 } else { 0.0 },
            swapped_pages: self.swapped_pages.saturating_sub(before.swapped_pages),
            throttled: self.throttled.saturating_sub(before.throttled),
        }
    }
}

impl Interference {
    /// What makes figures worthless, if anything.
    pub fn spoils(&self) -> Option<String> {
        match (self.swapped_pages, self.throttled) {
            (0, 0) => None,
            (0, times) => Some(format!(
                "the host took CPU time from its programs {times} times, for a quota was used up"
            )),
            (pages, _) => Some(format!("the host swapped {pages} pages meanwhile")),
        }
    }
}

/// `NAME VALUE` in a file of such lines.
fn value(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or(0)
}

/// Busy ticks and all ticks of all CPUs: proc(5), /proc/stat. Time that a hypervisor took counts as busy: it was taken by others.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user time already.
    let all: u64 = ticks.iter().take(8).sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

/// User and system time of a process and of its children that were waited for: proc(5), /proc/PID/stat, fields 14 to 17.
fn process_ticks(stat: &str) -> Option<u64> {
    // The second field is a name in brackets, which may have blanks and brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

/// CPU time that children of ours took which have ended, in seconds. `CLK_TCK` is 100 on x86: proc(5), sysconf(3).
pub fn ended_children_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    children_ticks(&stat).unwrap_or(0) as f64 / 100.0
}

fn children_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(13..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a) b) S 1 4242 4242 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 5 6 7";

    #[test]
    fn ticks_are_read() {
        let stat = "cpu  100 20 30 1000 50 1 2 7 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(cpu_ticks(stat), Some((160, 1210)));
        assert_eq!(process_ticks(STAT), Some(4330));
        assert_eq!(children_ticks(STAT), Some(4300));
        assert_eq!((cpu_ticks(""), process_ticks("1 (x")), (None, None));
    }

    #[test]
    fn what_others_did_is_what_we_did_not() {
        let before = Load { busy: 100, all: 1000, own: 50, swapped_pages: 7, throttled: 1 };
        let after = Load { busy: 300, all: 1400, own: 150, swapped_pages: 7, throttled: 1 };
        let between = after.since(&before);
        assert_eq!(between, Interference { others_share: 0.25, ..Interference::default() });
        assert_eq!(between.spoils(), None);
        let swapped = Load { swapped_pages: 9, ..after }.since(&before);
        assert!(swapped.spoils().is_some_and(|why| why.contains("swapped 2 pages")));
        assert!(Load { throttled: 2, ..after }.since(&before).spoils().is_some());
        assert_eq!(before.since(&before).others_share, 0.0);
    }

    #[test]
    fn counters_are_found_by_their_whole_name() {
        assert_eq!(value("pswpinx 3\npswpin 4\n", "pswpin"), 4);
        assert_eq!(value("", "pswpin"), 0);
    }

    #[test]
    fn commands_can_be_repeated() {
        let words = ["/x/crema", "bench", "--load", "wrk -c 4"].map(String::from).into_iter();
        assert_eq!(command_line(words), "./crema bench --load 'wrk -c 4'");
    }
}
