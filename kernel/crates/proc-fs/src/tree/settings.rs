//! `/proc/sys`: what the kernel can be asked. Settings that nothing here heeds cannot be written.

use alloc::vec::Vec;

use linux_abi::Errno;

use super::{directory, file, fixed, network, put};
use crate::node::{Context, Node};

type Outcome = Result<(), Errno>;

pub(super) const ENTRIES: &[(&str, Node)] = &[
    (
        "fs",
        directory(&[
            ("file-max", fixed!(b"9223372036854775807\n")),
            ("file-nr", file(file_nr)),
            (
                "inotify",
                directory(&[
                    ("max_queued_events", fixed!(b"16384\n")),
                    ("max_user_instances", fixed!(b"128\n")),
                    ("max_user_watches", fixed!(b"65536\n")),
                ]),
            ),
            ("nr_open", file(|c, out| maximum(c, out, 0))),
            ("pipe-max-size", fixed!(b"1048576\n")),
        ]),
    ),
    (
        "kernel",
        directory(&[
            ("cap_last_cap", fixed!(b"40\n")),
            ("core_pattern", fixed!(b"core\n")),
            ("domainname", fixed!(b"(none)\n")),
            ("hostname", file(|c, out| system_name(c, out, 2))),
            ("ngroups_max", fixed!(b"65536\n")),
            ("osrelease", file(|c, out| system_name(c, out, 0))),
            ("ostype", fixed!(b"Linux\n")),
            ("perf_event_paranoid", fixed!(b"2\n")),
            ("pid_max", file(|c, out| maximum(c, out, 2))),
            (
                "random",
                directory(&[
                    ("boot_id", file(boot_id)),
                    ("entropy_avail", fixed!(b"256\n")),
                    ("poolsize", fixed!(b"256\n")),
                    ("uuid", file(uuid)),
                ]),
            ),
            ("randomize_va_space", fixed!(b"2\n")),
            ("shmall", fixed!(b"18446744073692774399\n")),
            ("shmmax", fixed!(b"18446744073692774399\n")),
            ("shmmni", fixed!(b"4096\n")),
            ("threads-max", file(|c, out| maximum(c, out, 1))),
            ("version", file(|c, out| system_name(c, out, 1))),
        ]),
    ),
    (
        "net",
        directory(&[
            ("core", directory(network::CORE_SETTINGS)),
            ("ipv4", directory(network::IPV4_SETTINGS)),
            ("ipv6", directory(network::IPV6_SETTINGS)),
            ("unix", directory(&[("max_dgram_qlen", fixed!(b"10\n"))])),
        ]),
    ),
    (
        "vm",
        directory(&[
            ("max_map_count", file(|c, out| maximum(c, out, 3))),
            ("mmap_min_addr", file(lowest_address)),
            ("nr_hugepages", fixed!(b"0\n")),
            ("overcommit_memory", fixed!(b"0\n")),
            ("overcommit_ratio", fixed!(b"50\n")),
            ("swappiness", fixed!(b"60\n")),
        ]),
    ),
];

fn system_name(context: &Context<'_>, out: &mut Vec<u8>, which: usize) -> Outcome {
    put!(out, "{}\n", context.info.system_names()[which]);
    Ok(())
}

fn maximum(context: &Context<'_>, out: &mut Vec<u8>, which: usize) -> Outcome {
    put!(out, "{}\n", context.info.maxima()[which]);
    Ok(())
}

fn file_nr(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\t0\t9223372036854775807\n", context.info.descriptors().len());
    Ok(())
}

fn lowest_address(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put!(out, "{}\n", context.info.lowest_address());
    Ok(())
}

/// A random UUID (RFC 9562, version 4).
fn put_uuid(mut bytes: [u8; 16], out: &mut Vec<u8>) {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        put!(out, "{byte:02x}");
    }
    out.push(b'\n');
}

fn uuid(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    let mut bytes = [0; 16];
    context.info.random(&mut bytes);
    put_uuid(bytes, out);
    Ok(())
}

fn boot_id(context: &Context<'_>, out: &mut Vec<u8>) -> Outcome {
    put_uuid(context.info.boot_id(), out);
    Ok(())
}
