//! Names for the addresses in the kernel's log.
//!
//! The kernel prints addresses of its own code as numbers of 16 digits, and those of the application's as a
//! path in the image and an offset in that file. Here each gets what it stands for: function, source file and
//! line, and the functions that it was inlined into. The kernel could do a part of that itself, but only with
//! a table of symbols in its memory, and without lines; the tool has the ELF file with all of it, and the log
//! passes through it anyway.
//!
//! Nothing is opened before the first address turns up, so a log without any costs a search for two short
//! strings.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use addr2line::Loader;
use goblin::elf::{Elf, program_header::PT_LOAD};

use crate::{image::ext4, scratch::ScratchFolder};

/// What addresses of kernel code begin with: the image lies in the first 256 MiB of the top 2 GiB
/// (`kernel/linker.ld`).
const KERNEL_PREFIX: &str = "0xffffffff8";
/// Hexadecimal digits of such an address, after the `0x`.
const KERNEL_DIGITS: usize = 16;

/// Where names come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The kernel's ELF file.
    pub kernel: Option<PathBuf>,
    /// The image that holds the application's files.
    pub image: Option<PathBuf>,
}

/// Finds names, and remembers the files that it found them in.
pub struct Symbolizer {
    sources: Sources,
    kernel: Option<Option<Loader>>,
    libraries: HashMap<String, Option<Library>>,
    scratch: Option<ScratchFolder>,
}

/// A file of the application's.
struct Library {
    loader: Loader,
    /// For each loaded segment: offset in the file, length there, and address.
    segments: Vec<(u64, u64, u64)>,
}

impl Symbolizer {
    pub fn new(sources: Sources) -> Self {
        Self { sources, kernel: None, libraries: HashMap::new(), scratch: None }
    }

    /// The line with names behind the addresses that have any.
    pub fn annotate<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        if !line.contains(KERNEL_PREFIX) && !line.contains("+0x") {
            return Cow::Borrowed(line);
        }
        let mut annotated = String::with_capacity(line.len() + 80);
        let mut rest = line;
        while let Some(at) = rest.find("0x") {
            let digits = &rest[at + 2..];
            let digits = &digits[..digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len())];
            let (before, number) = (&rest[..at], &rest[at..at + 2 + digits.len()]);
            annotated.push_str(before);
            annotated.push_str(number);
            rest = &rest[at + number.len()..];
            let Ok(value) = u64::from_str_radix(digits, 16) else { continue };
            let name = if number.starts_with(KERNEL_PREFIX) && digits.len() == KERNEL_DIGITS {
                self.name_in_kernel(value)
            } else {
                before
                    .strip_suffix('+')
                    .and_then(path_at_end)
                    .and_then(|path| self.name_in_library(path, value))
            };
            if let Some(name) = name {
                annotated.push(' ');
                annotated.push_str(&name);
            }
        }
        annotated.push_str(rest);
        Cow::Owned(annotated)
    }

    fn name_in_kernel(&mut self, address: u64) -> Option<String> {
        let path = self.sources.kernel.as_deref()?;
        let loader = self.kernel.get_or_insert_with(|| Loader::new(path).ok()).as_ref()?;
        // Data may look like an address of code, and a symbol before it is no name for it.
        let text = loader.get_section_range(b".text")?;
        (text.begin..text.end).contains(&address).then(|| describe(loader, path, address)).flatten()
    }

    fn name_in_library(&mut self, path: &str, offset: u64) -> Option<String> {
        if !self.libraries.contains_key(path) {
            let library = self.load_library(path);
            self.libraries.insert(path.to_string(), library);
        }
        let library = self.libraries[path].as_ref()?;
        let (start, _, address) =
            library.segments.iter().find(|(start, len, _)| (*start..start + len).contains(&offset))?;
        describe(&library.loader, Path::new(path), address + (offset - start))
    }

    /// Takes a file out of the image: the host's own of that name may be another one. That a file has no
    /// names, or that it cannot be had, is no failure: the log stays as it is.
    fn load_library(&mut self, path: &str) -> Option<Library> {
        let bytes = ext4::read_file(self.sources.image.as_deref()?, path).ok()??;
        let elf = Elf::parse(&bytes).ok()?;
        let loaded = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
        let segments = loaded.map(|header| (header.p_offset, header.p_filesz, header.p_vaddr)).collect();
        if self.scratch.is_none() {
            self.scratch = ScratchFolder::new_in(&std::env::temp_dir()).ok();
        }
        // `Loader` maps a file, and keeps the mapping; the file itself can go.
        let copy = self.scratch.as_ref()?.path().join("library");
        fs::write(&copy, &bytes).ok()?;
        let loader = Loader::new(&copy).ok();
        let _ = fs::remove_file(&copy);
        Some(Library { loader: loader?, segments })
    }
}

/// The path that a text ends with. Paths with spaces are not told from the words before them.
fn path_at_end(text: &str) -> Option<&str> {
    let start = text.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    let path = &text[start..];
    // A quotation mark would end the path in the request to debugfs.
    (path.starts_with('/') && path.len() > 1 && !path.contains('"')).then_some(path)
}

/// What is at an address: `function+offset (file:line), inlined in function (file:line)`.
fn describe(loader: &Loader, file: &Path, address: u64) -> Option<String> {
    let mut text = String::new();
    let symbol = loader.find_symbol_info(address);
    let mut frames = loader.find_frames(address).ok()?;
    let mut frame = frames.next().ok().flatten();
    while let Some(current) = frame {
        frame = frames.next().ok().flatten();
        let is_outermost = frame.is_none();
        let separator = if text.is_empty() { "" } else { ", inlined in " };
        // The symbol table has the whole path of a function, line tables only its last part; but only for
        // what is not inlined.
        let name = match (&symbol, &current.function) {
            (Some(symbol), _) if is_outermost => Some(demangled(symbol.name())),
            (_, Some(function)) => function.demangle().ok().map(|name| name.into_owned()),
            _ => None,
        };
        let _ = write!(text, "{separator}{}", name.as_deref().unwrap_or("?"));
        if is_outermost && let Some(symbol) = &symbol {
            let _ = write!(text, "+{:#x}", address - symbol.address());
        }
        if let Some(location) = current.location
            && let (Some(source), Some(line)) = (location.file, location.line)
        {
            let _ = write!(text, " ({}:{line})", shortened(source, file));
        }
    }
    if text.is_empty() {
        let symbol = symbol?;
        let _ = write!(text, "{}+{:#x}", demangled(symbol.name()), address - symbol.address());
    }
    Some(text)
}

fn demangled(name: &str) -> String {
    addr2line::demangle_auto(Cow::Borrowed(name), None).into_owned()
}

/// A source file's path as a reader knows it: from the project's root, from the crate, or from Rust's own
/// sources.
fn shortened(source: &str, binary: &Path) -> String {
    for (marker, levels) in [("/registry/src/", 1), ("/rustc/", 1)] {
        if let Some(at) = source.find(marker) {
            let parts = source[at + marker.len()..].splitn(levels + 1, '/');
            return parts.last().unwrap_or(source).to_string();
        }
    }
    let source = Path::new(source);
    // The binary lies in the project's `target`: what the two paths share is the way to the project.
    let shared = source.components().zip(binary.components()).take_while(|(a, b)| a == b).count();
    let own: PathBuf = if shared > 1 { source.components().skip(shared).collect() } else { source.into() };
    own.display().to_string()
}

/// Passes a log on, line by line, with names.
pub struct Filter<W: Write> {
    symbolizer: Symbolizer,
    output: W,
    /// A line that has not ended yet.
    line: Vec<u8>,
}

/// A line that is longer is passed on in parts: then it is no log.
const LINE_BYTES_MAX: usize = 64 << 10;

impl<W: Write> Filter<W> {
    pub fn new(symbolizer: Symbolizer, output: W) -> Self {
        Self { symbolizer, output, line: Vec::new() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        match str::from_utf8(&line) {
            Ok(text) => self.output.write_all(self.symbolizer.annotate(text).as_bytes()),
            Err(_) => self.output.write_all(&line),
        }
    }
}

impl<W: Write> Write for Filter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                self.pass_on()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl<W: Write> Drop for Filter<W> {
    /// What the machine wrote last need not end with a line.
    fn drop(&mut self) {
        let _ = self.pass_on();
        let _ = self.output.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::image::recipe::Recipe;

    /// A "kernel" and a library in C, whose names are as Rust and C++ mangle them.
    const KERNEL: &str = r#"
        volatile int cell;
        static inline __attribute__((always_inline)) void inner(void) { cell++; }
        void _ZN6kernel5sched6switch17h0123456789abcdefE(void) { inner(); }
        void _start(void) { cell = 0; }
    "#;
    const LIBRARY: &str = "int _ZN3foo3barEi(int n) { return n * 3; }\n";

    fn compile(folder: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
        let (input, output) = (folder.join(format!("{name}.c")), folder.join(name));
        fs::write(&input, source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-nostdlib", "-fno-asynchronous-unwind-tables", "-o"])
            .arg(&output)
            .args(options)
            .arg(&input);
        assert!(cc.status().unwrap().success());
        output
    }

    fn symbol(file: &Path, name: &str) -> u64 {
        let bytes = fs::read(file).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        elf.syms.iter().find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name)).unwrap().st_value
    }

    const KERNEL_OPTIONS: [&str; 7] = [
        "-g",
        "-static",
        "-no-pie",
        "-fno-pie",
        "-mcmodel=kernel",
        "-Wl,-Ttext=0xffffffff80200000,-Tdata=0xffffffff80400000",
        "-Wl,--build-id=none",
    ];

    #[test]
    fn kernel_addresses_get_names_and_lines() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = compile(folder.path(), "kernel", KERNEL, &KERNEL_OPTIONS);
        let switch = symbol(&kernel, "_ZN6kernel5sched6switch17h0123456789abcdefE");
        let start = symbol(&kernel, "_start");
        let mut symbolizer = Symbolizer::new(Sources { kernel: Some(kernel), image: None });
        assert_eq!(
            symbolizer.annotate(&format!("  by {start:#018x}\r\n")),
            format!("  by {start:#018x} _start+0x0 (kernel.c:5)\r\n")
        );
        assert_eq!(
            symbolizer.annotate(&format!("rip {switch:#018x} rflags 0x2")),
            format!(
                "rip {switch:#018x} inner (kernel.c:3), inlined in kernel::sched::switch+0x0 (kernel.c:4) rflags 0x2"
            )
        );
        // Data, no code at all, and numbers that only look like addresses.
        for line in [
            "at 0xffffffff80400000",
            "at 0xffffffff8fffffff",
            "at 0xffffffff8",
            "0xffffffff802000000",
            "0x",
            "",
        ] {
            assert_eq!(symbolizer.annotate(line), line);
        }
    }

    #[test]
    fn addresses_in_files_of_the_image_get_names() {
        let folder = tempfile::tempdir().unwrap();
        let library = compile(folder.path(), "libfoo.so", LIBRARY, &["-shared", "-fPIC"]);
        // GNU ld gives code the same address and offset; move it, so that the difference counts.
        let moved =
            compile(folder.path(), "moved.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-Ttext-segment=0x100000"]);
        let mut recipe = Recipe::default();
        recipe.file("/usr/lib/libfoo.so", &library).unwrap();
        recipe.file("/usr/lib/moved.so", &moved).unwrap();
        let image = folder.path().join("image");
        ext4::make(&recipe, &image, folder.path()).unwrap();
        let mut symbolizer = Symbolizer::new(Sources { kernel: None, image: Some(image) });
        let offset = symbol(&library, "_ZN3foo3barEi") + 1;
        assert_eq!(symbol(&moved, "_ZN3foo3barEi") + 1, offset + 0x100000);
        for name in ["libfoo.so", "moved.so"] {
            assert_eq!(
                symbolizer.annotate(&format!("[    1.000000] error: by /usr/lib/{name}+{offset:#x}\n")),
                format!("[    1.000000] error: by /usr/lib/{name}+{offset:#x} foo::bar(int)+0x1\n")
            );
        }
        for line in
            ["by /usr/lib/none.so+0x10", "by [vdso]+0x10", "by /usr/lib/libfoo.so+0xffffffffffff", "a+0x1"]
        {
            assert_eq!(symbolizer.annotate(line), line);
        }
    }

    #[test]
    fn without_the_files_the_log_stays_as_it_is() {
        let missing = Some(PathBuf::from("/nonexistent"));
        for sources in [Sources::default(), Sources { kernel: missing.clone(), image: missing }] {
            let mut symbolizer = Symbolizer::new(sources);
            for line in ["by 0xffffffff80201234", "by /usr/lib/libjvm.so+0x1234"] {
                assert_eq!(symbolizer.annotate(line), line);
            }
        }
    }

    #[test]
    fn a_filter_passes_on_whole_lines_and_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = compile(folder.path(), "kernel", KERNEL, &KERNEL_OPTIONS);
        let start = symbol(&kernel, "_start");
        let mut output = Vec::new();
        let mut filter =
            Filter::new(Symbolizer::new(Sources { kernel: Some(kernel), image: None }), &mut output);
        let (first, second) = (format!("at {start:#018x}"), format!("\n? at {start:#018x}"));
        let mut bytes = format!("{first}{second}").into_bytes();
        let not_utf8 = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes[not_utf8] = 0xff;
        for piece in bytes.chunks(7) {
            filter.write_all(piece).unwrap();
        }
        drop(filter);
        let end = bytes.split_off(first.len());
        assert_eq!(output, [first.as_bytes(), b" _start+0x0 (kernel.c:5)", &end].concat());
    }

    #[test]
    fn sources_are_shown_as_a_reader_knows_them() {
        let kernel = Path::new("/home/me/crema/target/kernel/x/release/crema-kernel");
        for (source, shown) in [
            ("/home/me/crema/kernel/src/sched.rs", "kernel/src/sched.rs"),
            ("/rustc/0123abc/library/core/src/option.rs", "library/core/src/option.rs"),
            ("/home/me/.cargo/registry/src/index-1/talc-5.1.1/src/lib.rs", "talc-5.1.1/src/lib.rs"),
            ("/usr/src/a.c", "/usr/src/a.c"),
            ("kernel/src/sched.rs", "kernel/src/sched.rs"),
        ] {
            assert_eq!(shortened(source, kernel), shown);
        }
    }
}
