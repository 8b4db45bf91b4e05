//! Finds out whether the user's options decide the heap's size.
//!
//! Options reach HotSpot by more ways than the command line: `JAVA_TOOL_OPTIONS`, `_JAVA_OPTIONS`,
//! `-XX:VMOptionsFile=` and `-XX:Flags=` (JDK_JAVA_OPTIONS and argument files are already in the
//! command line when it comes here). Each is read as `arguments.cpp` reads it. A file that cannot be
//! read decides nothing: the VM will complain about it itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::command_line::parse_size;
use crate::heap_policy::Decided;
use crate::report::PlatformString;

/// The variables that HotSpot reads options from, before and after the command line.
pub const VARIABLES: [&str; 2] = ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"];

/// `-XX:` flags with a value that bound the heap from above. `MinRAM*` does too, on small machines.
const MAX_FLAGS: &[&[u8]] = &[
    b"MaxHeapSize",
    b"MaxRAM",
    b"MaxRAMPercentage",
    b"MaxRAMFraction",
    b"MinRAMPercentage",
    b"MinRAMFraction",
];
const INITIAL_FLAGS: &[&[u8]] =
    &[b"InitialHeapSize", b"MinHeapSize", b"InitialRAMPercentage", b"InitialRAMFraction"];

/// Looks through the command line's VM options and the values of [`VARIABLES`].
pub fn decided(vm_options: &[PlatformString], variables: &[PlatformString]) -> Decided {
    let mut decided = Decided::default();
    for option in vm_options {
        consider(option, &mut decided);
    }
    for option in variables.iter().flat_map(|text| split_options(text)) {
        consider(&option, &mut decided);
    }
    decided
}

fn consider(option: &[u8], decided: &mut Decided) {
    if let Some(file) = option.strip_prefix(b"-XX:VMOptionsFile=") {
        // Such a file may not name another.
        for inner in split_options(&read(file)) {
            consider_plain(&inner, decided);
        }
    } else if let Some(file) = option.strip_prefix(b"-XX:Flags=") {
        for flag in settings(&read(file)) {
            consider_flag(&flag, decided);
        }
    } else {
        consider_plain(option, decided);
    }
}

fn consider_plain(option: &[u8], decided: &mut Decided) {
    if option.starts_with(b"-Xmx") {
        decided.max = true;
    } else if let Some(size) = option.strip_prefix(b"-Xms") {
        decide_initial(size, decided);
    } else if let Some(flag) = option.strip_prefix(b"-XX:") {
        consider_flag(flag, decided);
    }
}

fn consider_flag(flag: &[u8], decided: &mut Decided) {
    // It sets both bounds from the machine's memory, by its own lights.
    if flag == b"+AggressiveHeap" {
        decided.max = true;
    }
    let Some(equals) = flag.iter().position(|&b| b == b'=') else { return };
    // `-XX:Name:=value` marks the value as ergonomic; HotSpot takes it all the same.
    let name = flag[..equals].strip_suffix(b":").unwrap_or(&flag[..equals]);
    if MAX_FLAGS.contains(&name) {
        decided.max = true;
    } else if INITIAL_FLAGS.contains(&name) {
        decide_initial(if name.ends_with(b"HeapSize") { &flag[equals + 1..] } else { b"" }, decided);
    }
}

fn decide_initial(size: &[u8], decided: &mut Decided) {
    decided.initial = true;
    if let Some(bytes) = parse_size(size).and_then(|bytes| u64::try_from(bytes).ok()) {
        decided.initial_bytes = Some(decided.initial_bytes.unwrap_or(0).max(bytes));
    }
}

fn read(file: &[u8]) -> Vec<u8> {
    fs::read(OsStr::from_bytes(file)).unwrap_or_default()
}

/// Splits at white space; quotes of either kind group and are removed.
fn split_options(text: &[u8]) -> Vec<PlatformString> {
    let mut options = Vec::new();
    let mut option: Option<PlatformString> = None;
    let mut quote = None;
    for &byte in text {
        match quote {
            Some(open) if byte == open => quote = None,
            Some(_) => option.get_or_insert_default().push(byte),
            None if byte.is_ascii_whitespace() => options.extend(option.take()),
            None if matches!(byte, b'"' | b'\'') => {
                quote = Some(byte);
                option.get_or_insert_default();
            }
            None => option.get_or_insert_default().push(byte),
        }
    }
    options.extend(option);
    options
}

/// The words of a flags file (`+Flag`, `Flag=value`); `#` starts a comment where a word could start.
fn settings(text: &[u8]) -> Vec<PlatformString> {
    text.split(|&b| b == b'\n')
        .flat_map(|line| {
            line.split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .take_while(|word| !word.starts_with(b"#"))
                .map(|word| word.iter().copied().filter(|b| !matches!(b, b'"' | b'\'')).collect())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided_by(options: &[&str], variable: &str) -> Decided {
        let options: Vec<_> = options.iter().map(|o| o.as_bytes().to_vec()).collect();
        decided(&options, &[variable.as_bytes().to_vec()])
    }

    #[test]
    fn any_way_to_name_a_maximum_counts() {
        for option in [
            "-Xmx1g",
            "-XX:MaxHeapSize=1g",
            "-XX:MaxRAM=4g",
            "-XX:MaxRAMPercentage=50",
            "-XX:+AggressiveHeap",
        ] {
            assert!(decided_by(&[option], "").max, "{option}");
            assert!(decided_by(&[], &format!("-Da=b '{option}'")).max, "{option}");
        }
        assert!(!decided_by(&["-Dx=-Xmx1g", "-XX:MaxMetaspaceSize=1g", "-XX:SoftMaxHeapSize=1g"], "").max);
    }

    #[test]
    fn an_initial_size_is_remembered() {
        let expected = Decided { max: false, initial: true, initial_bytes: Some(1 << 30) };
        assert_eq!(decided_by(&["-Xms1g"], ""), expected);
        assert_eq!(decided_by(&["-XX:MinHeapSize=1m"], "-XX:InitialHeapSize=1g"), expected);
        assert_eq!(decided_by(&["-XX:InitialRAMPercentage=3.5"], "").initial_bytes, None);
    }

    #[test]
    fn option_files_are_read() {
        let file = std::env::temp_dir().join(format!("crema-heap-options-{}", std::process::id()));
        let name = file.to_str().unwrap();
        fs::write(&file, "# MaxRAM=1\n+UseSerialGC  # MaxHeapSize=3m\nMaxHeapSize=30m\n").unwrap();
        assert!(decided_by(&[&format!("-XX:Flags={name}")], "").max);
        assert!(!decided_by(&[&format!("-XX:VMOptionsFile={name}")], "").max);
        fs::write(&file, "-ea\n-Xmx20m").unwrap();
        assert!(decided_by(&[], &format!("-XX:VMOptionsFile={name}")).max);
        fs::remove_file(file).unwrap();
    }
}
