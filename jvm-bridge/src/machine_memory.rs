//! How much memory the machine has for this process.

use std::fs;

/// Returns the machine's memory in bytes, or the cgroup's limit if that is lower; `None` if
/// `/proc/meminfo` does not say.
///
/// The limit is read from cgroup v2's root as the process sees it, which is the container's own in a
/// container. HotSpot looks at the same file for the limits it obeys.
pub fn total_bytes() -> Option<u64> {
    let memory = meminfo_total_bytes(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // "max" is no number, and no limit.
    let limit = limit.and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(memory, |limit: u64| memory.min(limit)))
}

/// `MemTotal` of proc(5), in bytes; the file counts in units of 1024, and calls them kB.
fn meminfo_total_bytes(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        assert_eq!(meminfo_total_bytes("MemTotal:         1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(meminfo_total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(meminfo_total_bytes("MemTotal: x kB\n"), None);
    }
}
