//! The `flags` line of `/proc/cpuinfo`: CPUID bits by Linux's names (`arch/x86/include/asm/cpufeatures.h`).
//! HotSpot itself asks CPUID; other programs read this.

use alloc::{string::String, vec::Vec};

use crate::arch::cpu::cpuid;

/// Names of the bits of one register, the lowest first; an empty name is a bit that Linux does not show.
type Names = [&'static str; 32];

const LEAF_1_EDX: Names = [
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge", "mca",
    "cmov", "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht",
    "tm", "ia64", "pbe",
];
const LEAF_1_ECX: Names = [
    "pni",
    "pclmulqdq",
    "dtes64",
    "monitor",
    "ds_cpl",
    "vmx",
    "smx",
    "est",
    "tm2",
    "ssse3",
    "cid",
    "sdbg",
    "fma",
    "cx16",
    "xtpr",
    "pdcm",
    "",
    "pcid",
    "dca",
    "sse4_1",
    "sse4_2",
    "x2apic",
    "movbe",
    "popcnt",
    "tsc_deadline_timer",
    "aes",
    "xsave",
    "",
    "avx",
    "f16c",
    "rdrand",
    "hypervisor",
];
const LEAF_7_EBX: Names = [
    "fsgsbase",
    "tsc_adjust",
    "sgx",
    "bmi1",
    "hle",
    "avx2",
    "",
    "smep",
    "bmi2",
    "erms",
    "invpcid",
    "rtm",
    "cqm",
    "",
    "mpx",
    "rdt_a",
    "avx512f",
    "avx512dq",
    "rdseed",
    "adx",
    "smap",
    "avx512ifma",
    "",
    "clflushopt",
    "clwb",
    "intel_pt",
    "avx512pf",
    "avx512er",
    "avx512cd",
    "sha_ni",
    "avx512bw",
    "avx512vl",
];
const LEAF_7_ECX: Names = [
    "",
    "avx512vbmi",
    "umip",
    "pku",
    "ospke",
    "waitpkg",
    "avx512_vbmi2",
    "",
    "gfni",
    "vaes",
    "vpclmulqdq",
    "avx512_vnni",
    "avx512_bitalg",
    "tme",
    "avx512_vpopcntdq",
    "",
    "la57",
    "",
    "",
    "",
    "",
    "",
    "rdpid",
    "",
    "",
    "cldemote",
    "",
    "movdiri",
    "movdir64b",
    "",
    "",
    "",
];
/// Of AMD's bits only those that do not repeat leaf 1.
const EXTENDED_1_EDX: Names = [
    "", "", "", "", "", "", "", "", "", "", "", "syscall", "", "", "", "", "", "", "", "mp", "nx", "",
    "mmxext", "", "", "fxsr_opt", "pdpe1gb", "rdtscp", "", "lm", "3dnowext", "3dnow",
];
const EXTENDED_1_ECX: Names = [
    "lahf_lm",
    "cmp_legacy",
    "svm",
    "extapic",
    "cr8_legacy",
    "abm",
    "sse4a",
    "misalignsse",
    "3dnowprefetch",
    "osvw",
    "ibs",
    "xop",
    "skinit",
    "wdt",
    "",
    "lwp",
    "fma4",
    "tce",
    "",
    "nodeid_msr",
    "",
    "tbm",
    "topoext",
    "perfctr_core",
    "perfctr_nb",
    "",
    "bpext",
    "ptsc",
    "perfctr_llc",
    "mwaitx",
    "",
    "",
];

/// The names of all features, with spaces between.
pub(super) fn names() -> String {
    const EXTENDED: u32 = 0x8000_0000;
    let mut found: Vec<&str> = Vec::new();
    let mut take = |register: u32, names: &Names| {
        let set = names.iter().enumerate().filter(|(bit, name)| register >> bit & 1 != 0 && !name.is_empty());
        found.extend(set.map(|(_, name)| *name));
    };
    let [_, _, ecx, edx] = cpuid(1, 0);
    take(edx, &LEAF_1_EDX);
    if cpuid(EXTENDED, 0)[0] > EXTENDED {
        let [_, _, extended_ecx, extended_edx] = cpuid(EXTENDED + 1, 0);
        take(extended_edx, &EXTENDED_1_EDX);
        take(ecx, &LEAF_1_ECX);
        take(extended_ecx, &EXTENDED_1_ECX);
    } else {
        take(ecx, &LEAF_1_ECX);
    }
    if cpuid(0, 0)[0] >= 7 {
        let [_, ebx, ecx, _] = cpuid(7, 0);
        take(ebx, &LEAF_7_EBX);
        take(ecx, &LEAF_7_ECX);
    }
    found.join(" ")
}
