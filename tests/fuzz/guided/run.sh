#!/bin/sh
# Coverage-guided fuzzing: run.sh classify|segments [options of libFuzzer, such as -max_total_time=600 or -runs=100000]
#
# On stable Rust: the instrumentation is LLVM's own pass, which rustc takes by stable flags, and libFuzzer comes as a
# crate (and needs a C++ compiler). What cargo-fuzz adds, the address sanitizer, needs nightly; these crates forbid
# unsafe code, but for frames. The corpus stays in target/fuzz/corpus, and begins with the packets of
# tests/fuzz/src/seeds.rs; what breaks something is written to target/fuzz.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
root=$(cd -- "$here/../../.." && pwd -P)
fuzzer=${1:?classify or segments}
shift
target=x86_64-unknown-linux-gnu
flags="-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
# With a target named, build scripts and procedural macros are built without these flags.
(cd -- "$here" && RUSTFLAGS="$flags" cargo build --release --locked --target $target --target-dir "$root/target/fuzz")
programs=$root/target/fuzz/$target/release
corpus=$root/target/fuzz/corpus/$fuzzer
mkdir -p -- "$corpus"
cd -- "$root/target/fuzz"
CREMA_FUZZ_CORPUS=$corpus exec "$programs/$fuzzer" "$@" "$corpus"
