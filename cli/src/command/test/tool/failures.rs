//! What the tool says when something is wrong: with the call, with the image, with the program, with the kernel.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use goblin::elf::Elf;

use super::{Ended, Fixture, Verdict, call, expect, write_jar};
use crate::image::ext4;

/// Status when the tool or the machine failed.
const TOOL_FAILED: Option<i32> = Some(125);
/// Size of a block in an image.
const BLOCK_BYTES: usize = ext4::BLOCK_BYTES as usize;

/// Nothing on standard output, one line on standard error that has all of `words`, status 125.
pub fn expect_sentence(ended: &Ended, words: &[&str]) -> Verdict {
    expect("status", ended.status, TOOL_FAILED, ended)?;
    expect("standard output", ended.stdout.as_str(), "", ended)?;
    // What was chosen is told before the machine is started.
    let lines: Vec<&str> =
        ended.stderr.lines().filter(|line| !line.contains(" CPUs, ") && !line.ends_with("...")).collect();
    expect("lines on standard error", lines.len(), 1, ended)?;
    let missing: Vec<&&str> = words.iter().filter(|word| !lines[0].contains(**word)).collect();
    expect("words that are missing", missing, vec![], ended)
}

/// The mistakes that a user makes, each with one sentence.
pub fn mistakes_get_a_sentence(fixture: &Fixture) -> Verdict {
    let program = fixture.path("program.jar");
    let write = |name: &str, entries: &[(&str, &[u8])]| {
        write_jar(Path::new(&fixture.path(name)), entries).map_err(|failure| failure.to_string())
    };
    fs::write(fixture.path("text.jar"), "no jar").map_err(|error| error.to_string())?;
    write("library.jar", &[("Library.class", &class_file(17))])?;
    let manifest: &[u8] = b"Main-Class: New\n";
    write("new.jar", &[("META-INF/MANIFEST.MF", manifest), ("New.class", &class_file(25))])?;
    let jar = |name: &str| fixture.path(name);
    let calls: [(&str, &[&str], &[&str]); 6] = [
        (&jar("none.jar"), &[], &["there is no file", "none.jar"]),
        (&jar("text.jar"), &[], &["text.jar", "is not a jar"]),
        (&jar("library.jar"), &[], &["library.jar has no main class", "--main CLASS"]),
        (&program, &["--main", "Nowhere"], &["there is no class Nowhere in", "program.jar"]),
        (&jar("new.jar"), &[], &["New was compiled for Java 25", "the JDK in the image is 17"]),
        (&program, &["--memory", "32M"], &["32 MiB of memory is too little for this image", "128 MiB"]),
    ];
    for (target, options, words) in calls {
        let mut command = fixture.command(&["run", target]);
        command.args(options);
        expect_sentence(&call(command)?, words)?;
    }
    // Of an image and with a kernel, so that nothing has to be built by programs that are not found either.
    let (image, kernel) = (fixture.path("mistakes.img"), fixture.kernel.display().to_string());
    let built = call(fixture.command(&["build", &program, "-o", &image]))?;
    expect("status of crema build", built.status, Some(0), &built)?;
    let mut command = fixture.run(&image, &["--kernel", &kernel], &[]);
    command.env("PATH", fixture.folder.path());
    expect_sentence(&call(command)?, &["there is no QEMU", "apt install qemu-system-x86"])
}

/// The front of a class file for this Java release: JVM specification, 4.1.
fn class_file(release: u16) -> Vec<u8> {
    [&[0xca, 0xfe, 0xba, 0xbe, 0, 0][..], &(44 + release).to_be_bytes()].concat()
}

/// `--accel auto` falls back by itself and says why; `--accel kvm` says why it cannot.
pub fn an_unusable_kvm_is_told(fixture: &Fixture) -> Verdict {
    let run = |accel: &str| {
        let words = ["run", &fixture.path("program.jar"), "--memory=512M", "--cpus=2", "--accel", accel];
        call(fixture.command(&words))
    };
    let auto = run("auto")?;
    expect("status", auto.status, Some(0), &auto)?;
    expect("standard output", auto.stdout.as_str(), "hello\n", &auto)?;
    let forced = run("kvm")?;
    let Some((_, reason)) = auto.stderr.split_once("TCG (not KVM: ") else {
        return expect("status with KVM", forced.status, Some(0), &forced);
    };
    let reason = reason.split_once("), ").ok_or("no reason")?.0;
    expect_sentence(&forced, &["KVM is unusable here", reason, "--accel tcg"])
}

/// Damage of many kinds: the tool finds some, the kernel others, and the program may get to see some.
pub fn damaged_images_are_told(fixture: &Fixture) -> Verdict {
    let (jar, good) = (fixture.path("program.jar"), fixture.path("good.img"));
    let built = call(fixture.command(&["build", &jar, "-o", &good]))?;
    expect("status of crema build", built.status, Some(0), &built)?;
    let bad = fixture.path("bad.img");
    // `--sparse`, for the free space of an image is most of it.
    let copy = || {
        let copied = Command::new("cp").args(["--sparse=always", &good, &bad]).status();
        match copied {
            Ok(status) if status.success() => Ok(()),
            _ => Err("cannot copy the image".to_string()),
        }
    };
    let overwrite = |offset: u64, bytes: &[u8]| {
        let written = File::options().write(true).open(&bad).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        });
        written.map_err(|error| error.to_string())
    };
    let run = || call(fixture.run(&bad, &[], &[]));
    // Not a pattern that a file system could mean anything by.
    let garbage: Vec<u8> = (0..BLOCK_BYTES).map(|at| ((at * 7919) >> 3) as u8 | 1).collect();

    let cut = |length: u64| {
        let cut = File::options().write(true).open(&bad).and_then(|file| file.set_len(length));
        cut.map_err(|error| error.to_string())
    };
    copy()?;
    cut(64 << 20)?;
    expect_sentence(&run()?, &["is a damaged image", "shorter than its file system"])?;
    cut(1000)?;
    expect_sentence(&run()?, &["is not a jar or an image, or it is damaged or cut off"])?;
    fs::write(&bad, garbage.repeat(1000)).map_err(|error| error.to_string())?;
    expect_sentence(&run()?, &["is not a jar or an image, or it is damaged or cut off"])?;
    copy()?;
    overwrite(1024, &garbage[..1024])?;
    expect_sentence(&run()?, &["is not a jar or an image, or it is damaged or cut off"])?;
    // Still with the magic number of ext4.
    copy()?;
    overwrite(1024, &[0xff; 8])?;
    expect_sentence(&run()?, &["is a damaged image", "its superblock has a wrong checksum"])?;
    // The group descriptors.
    copy()?;
    overwrite(BLOCK_BYTES as u64, &garbage)?;
    expect_sentence(&run()?, &["is a damaged image"])?;

    // The root directory; then one that the kernel needs before there is a program; then one that the
    // program will look into.
    let block_of = |path: &str| ext4::first_block(Path::new(&good), path).map_err(|error| error.to_string());
    copy()?;
    overwrite(block_of("/")? * BLOCK_BYTES as u64, &garbage)?;
    expect_sentence(&run()?, &["is a damaged image"])?;
    copy()?;
    overwrite(block_of("/usr/lib/crema")? * BLOCK_BYTES as u64, &garbage)?;
    let ended = run()?;
    expect("status", ended.status, TOOL_FAILED, &ended)?;
    expect("what it says", ended.stderr.contains("the image is damaged"), true, &ended)?;
    expect("the reason", ended.stderr.contains("jvm-bridge: the file system is damaged"), true, &ended)?;
    expect("a panic", ended.stderr.contains("panic"), false, &ended)?;
    copy()?;
    overwrite(block_of("/app")? * BLOCK_BYTES as u64, &garbage)?;
    let ended = run()?;
    expect("what it says", ended.stderr.contains("the image is damaged"), true, &ended)?;
    expect("a panic", ended.stderr.contains("panic"), false, &ended)
}

/// A JVM that crashes leaves its report, and the tool says where, in which thread, and on which stack.
pub fn a_crash_of_the_jvm_is_told(fixture: &Fixture) -> Verdict {
    let ended = call(fixture.run_jar(&[], &["crash"]))?;
    expect("status", ended.status, Some(128 + 6), &ended)?;
    let report = ended
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("crema: the program left "))
        .ok_or_else(|| format!("no report is named in {}", ended.stderr))?;
    let text = fs::read_to_string(report).map_err(|error| format!("{report}: {error}"))?;
    expect("the address in the report", text.contains("si_addr: 0x0000000000123000"), true, &ended)?;
    for words in ["JavaThread \"main\"", "Unsafe_PutLong", "Program.main", "ended by signal 6"] {
        expect(words, ended.stderr.contains(words), true, &ended)?;
    }
    Ok(())
}

/// A panic of the kernel is told with the names of functions, and with what was running.
pub fn a_panic_of_the_kernel_is_told(fixture: &Fixture) -> Verdict {
    const FUNCTION: &str = "sys_close_range";
    let kernel = fs::read(&fixture.kernel).map_err(|error| error.to_string())?;
    let elf = Elf::parse(&kernel).map_err(|error| error.to_string())?;
    let address = elf
        .syms
        .iter()
        .find(|symbol| elf.strtab.get_at(symbol.st_name).is_some_and(|name| name.contains(FUNCTION)))
        .ok_or("the kernel has no such function")?
        .st_value;
    let program = fixture.path("panic");
    let source = fixture.root.join("tests/tool/panic.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-O2", "-Wall", "-Werror", "-static", "-o", &program]).arg(source);
    match gcc.status() {
        Ok(status) if status.success() => {}
        other => return Err(format!("gcc: {other:?}")),
    }
    let mut command = fixture.command(&["run", "--program", &program]);
    command.args(&fixture.common).arg("--").arg(format!("{address:x}"));
    let ended = call(command)?;
    expect("status", ended.status, TOOL_FAILED, &ended)?;
    expect("standard output", ended.stdout.as_str(), "about to break the kernel\n", &ended)?;
    for words in [
        "the kernel panicked: invalid opcode",
        "syscall::fd::sys_close_range",
        "kernel/src/syscall/fd.rs:",
        "syscall_handler",
        "in close_range",
    ] {
        expect(words, ended.stderr.contains(words), true, &ended)?;
    }
    Ok(())
}
