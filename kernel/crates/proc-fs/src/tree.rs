//! The tables.

mod cgroup;
mod machine;
mod memory;
mod network;
mod process;
mod settings;

use alloc::vec::Vec;

use crate::node::{Context, Directory, Each, Generate, Node};

/// A file whose text never changes.
macro_rules! fixed {
    ($text:expr) => {
        Node::File(|_, out| {
            out.extend_from_slice($text);
            Ok(())
        })
    };
}
use fixed;

const fn directory(entries: &'static [(&'static str, Node)]) -> Node {
    Node::Directory(Directory { entries, each: None })
}

const fn file(generate: Generate) -> Node {
    Node::File(generate)
}

/// The process's id, which its directory is called.
const PID: u32 = 1;

fn the_process(_: &Context<'_>) -> Vec<u32> {
    [PID].into()
}

fn threads(context: &Context<'_>) -> Vec<u32> {
    context.info.threads().iter().map(|thread| thread.tid).collect()
}

fn descriptors(context: &Context<'_>) -> Vec<u32> {
    context.info.descriptors()
}

fn cpus(context: &Context<'_>) -> Vec<u32> {
    (0..context.info.cpu_count()).collect()
}

/// `/proc`.
pub(crate) static PROC: Node = Node::Directory(Directory {
    entries: &[
        ("self", Node::Link(|_| Ok(b"1".to_vec()))),
        ("thread-self", Node::Link(|c| Ok(alloc::format!("{PID}/task/{}", c.info.current_thread()).into_bytes()))),
        ("cgroups", file(cgroup::controllers_v1)),
        ("cmdline", fixed!(b"\n")),
        ("cpuinfo", file(machine::cpuinfo)),
        ("crema", directory(&[("net", file(machine::network_channels))])),
        ("devices", fixed!(b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n254 virtblk\n")),
        ("filesystems", file(machine::filesystems)),
        ("loadavg", file(machine::loadavg)),
        ("meminfo", file(memory::meminfo)),
        ("mounts", Node::Link(|_| Ok(b"self/mounts".to_vec()))),
        ("net", Node::Link(|_| Ok(b"self/net".to_vec()))),
        ("stat", file(machine::stat)),
        ("swaps", fixed!(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
        ("sys", directory(settings::ENTRIES)),
        ("uptime", file(machine::uptime)),
        ("version", file(machine::version)),
    ],
    // Threads have directories of their own like the process's, but it takes knowing their ids to find them.
    each: Some(&Each { prefix: "", numbers: the_process, unlisted: Some(threads), node: directory(PROCESS) }),
});

/// What the process has and each of its threads has too, and what only one of the two has.
macro_rules! with_shared {
    ($($own:expr),* $(,)?) => {
        &[
            ("auxv", Node::Private(|c, out| process::start_data(c, out, 2))),
            ("cgroup", fixed!(b"0::/\n")),
            ("cmdline", file(|c, out| process::start_data(c, out, 0))),
            ("comm", Node::Setting(process::comm, process::set_comm)),
            ("cwd", Node::Jump(|c| Ok(c.info.working_directory()))),
            ("environ", Node::Private(|c, out| process::start_data(c, out, 1))),
            ("exe", Node::Jump(|c| c.info.executable())),
            ("fd", Node::Directory(Directory { entries: &[], each: Some(&FD) })),
            ("fdinfo", Node::Directory(Directory { entries: &[], each: Some(&FDINFO) })),
            ("limits", file(process::limits)),
            ("maps", file(memory::maps)),
            ("mountinfo", file(process::mountinfo)),
            ("mounts", file(process::mounts)),
            ("oom_adj", file(process::oom_adj)),
            ("oom_score", file(process::oom_score)),
            ("oom_score_adj", Node::Setting(process::oom_score_adj, process::set_oom_score_adj)),
            ("root", Node::Jump(|c| Ok(c.info.root()))),
            ("schedstat", file(process::schedstat)),
            ("smaps", file(memory::smaps)),
            ("smaps_rollup", file(memory::smaps_rollup)),
            ("statm", file(memory::statm)),
            ("status", file(process::status)),
            ("wchan", fixed!(b"0")),
            $($own),*
        ]
    };
}

const PROCESS: &[(&str, Node)] = with_shared![
    ("coredump_filter", Node::Setting(process::core_dump_filter, process::set_core_dump_filter)),
    ("io", Node::Private(process::io)),
    ("loginuid", fixed!(b"4294967295")),
    ("net", directory(network::REPORTS)),
    ("stat", file(process::stat)),
    ("task", Node::Directory(Directory { entries: &[], each: Some(&TASK) })),
];

static FD: Each = Each {
    prefix: "",
    numbers: descriptors,
    unlisted: None,
    node: Node::Jump(|c| c.info.descriptor(c.number)),
};
static FDINFO: Each =
    Each { prefix: "", numbers: descriptors, unlisted: None, node: Node::File(process::fdinfo) };
static TASK: Each = Each { prefix: "", numbers: threads, unlisted: None, node: directory(THREAD) };

/// Of one thread.
const THREAD: &[(&str, Node)] = with_shared![
    ("children", fixed!(b"")),
    ("io", Node::Private(process::thread_io)),
    ("stat", file(process::thread_stat)),
];

/// `/sys`.
pub(crate) static SYS: Node = directory(&[
    ("class", directory(&[("net", network::INTERFACES)])),
    (
        "devices",
        directory(&[(
            "system",
            directory(&[
                (
                    "cpu",
                    Node::Directory(Directory {
                        entries: &[
                            ("kernel_max", fixed!(b"63\n")),
                            ("offline", fixed!(b"\n")),
                            ("online", file(machine::cpu_list)),
                            ("possible", file(machine::cpu_list)),
                            ("present", file(machine::cpu_list)),
                        ],
                        each: Some(&CPU),
                    }),
                ),
                (
                    "node",
                    directory(&[
                        ("has_cpu", fixed!(b"0\n")),
                        ("has_memory", fixed!(b"0\n")),
                        ("online", fixed!(b"0\n")),
                        ("possible", fixed!(b"0\n")),
                        (
                            "node0",
                            directory(&[
                                ("cpulist", file(machine::cpu_list)),
                                ("cpumap", file(machine::cpu_map)),
                                ("distance", fixed!(b"10\n")),
                                ("meminfo", file(memory::node_meminfo)),
                            ]),
                        ),
                    ]),
                ),
            ]),
        )]),
    ),
    ("fs", directory(&[("cgroup", directory(&[]))])),
    (
        "kernel",
        directory(&[(
            "mm",
            directory(&[
                ("hugepages", directory(&[])),
                (
                    "transparent_hugepage",
                    directory(&[
                        ("defrag", fixed!(b"always defer defer+madvise [madvise] never\n")),
                        ("enabled", Node::Setting(memory::huge_page_policy, memory::set_huge_page_policy)),
                        ("hpage_pmd_size", fixed!(b"2097152\n")),
                        ("shmem_enabled", fixed!(b"always within_size advise [never] deny force\n")),
                        ("use_zero_page", fixed!(b"0\n")),
                    ]),
                ),
            ]),
        )]),
    ),
]);

static CPU: Each = Each {
    prefix: "cpu",
    numbers: cpus,
    unlisted: None,
    node: directory(&[
        ("online", fixed!(b"1\n")),
        (
            "topology",
            directory(&[
                ("core_cpus_list", file(machine::own_cpu)),
                ("core_id", file(machine::own_cpu)),
                ("core_siblings_list", file(machine::cpu_list)),
                ("package_cpus_list", file(machine::cpu_list)),
                ("physical_package_id", fixed!(b"0\n")),
                ("thread_siblings_list", file(machine::own_cpu)),
            ]),
        ),
    ]),
};

/// `/sys/fs/cgroup`.
pub(crate) static CGROUP: Node = directory(cgroup::ENTRIES);

/// Formats into a text; it is memory, so that cannot fail.
macro_rules! put {
    ($out:expr, $($argument:tt)*) => {
        $out.extend_from_slice(alloc::format!($($argument)*).as_bytes())
    };
}
use put;
