//! Compiles and links the shared object.
//!
//! With the compiler itself and not as a package of its own: it wants other flags than whatever embeds it
//! (position independent, while the kernel is not), and cargo has no way to say so for a dependency.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let variable = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let (root, out) = (variable("CARGO_MANIFEST_DIR"), variable("OUT_DIR"));
    let (source, script) = (root.join("object/object.rs"), root.join("object/vdso.lds"));
    for file in [&source, &script, &root.join("src/clock_page.rs")] {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    println!("cargo:rerun-if-env-changed=CC");

    let object = out.join("vdso.o");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition=2024", "--crate-name=vdso", "--crate-type=lib", "--target"])
        .arg(variable("TARGET"));
    rustc.args(["-Copt-level=3", "-Cpanic=abort", "-Crelocation-model=pic", "-Ccodegen-units=1"]);
    // For those who walk the application's stack, by frame pointers or by DWARF, from a signal that comes in
    // here.
    rustc.args(["-Cforce-frame-pointers=yes", "-Cforce-unwind-tables=yes"]);
    // The path of the build machine has no place in the kernel.
    rustc.arg(format!("--remap-path-prefix={}=vdso", root.display()));
    rustc.arg(format!("--emit=obj={}", object.display())).arg(&source);
    run(rustc);

    let image = out.join("vdso.so");
    let mut link = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    link.args(["-shared", "-nostdlib", "-Wl,-soname=linux-vdso.so.1", "-Wl,--hash-style=both"]);
    // Nothing is left to the dynamic linker: the pages are read-only, and Linux's needs no relocation either.
    link.args(["-Wl,-z,defs", "-Wl,-Bsymbolic", "-Wl,-z,text", "-Wl,-z,norelro", "-Wl,-z,noexecstack"]);
    link.args(["-Wl,--build-id=none", "-Wl,--eh-frame-hdr", "-Wl,-z,max-page-size=4096", "-Wl,--strip-all"]);
    link.arg(option_with_path("-Wl,-T,", &script)).arg("-o").arg(&image).arg(&object);
    run(link);
    println!("cargo:rustc-env=VDSO_IMAGE={}", image.display());
}

fn option_with_path(option: &str, path: &Path) -> std::ffi::OsString {
    let mut whole = std::ffi::OsString::from(option);
    whole.push(path);
    whole
}

fn run(mut command: Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{command:?}: {status}"),
        Err(error) => panic!("cannot start {:?}: {error}", command.get_program()),
    }
}
