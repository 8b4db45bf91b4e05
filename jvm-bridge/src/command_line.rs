//! Reads the launcher's options: what goes to the VM, what the launcher does itself, what is run.
//!
//! The rules are those of the `java` command of JDK 17, odd ones included (an option that wants a
//! value takes the next argument only if that has no leading dash; `-jar` anywhere before the main
//! class counts), because a command line must mean the same here and there. Pure but for one
//! question to the file system: whether the thing to run is a source file.
//! Arguments come here with argument files expanded and VM-choosing options removed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::class_path::expand_wildcards;
use crate::report::{PlatformString, Refusal, Report, Stream};

/// The main class of the source launcher (JEP 330).
const SOURCE_LAUNCHER: &[u8] = b"jdk.compiler/com.sun.tools.javac.launcher.Main";

/// The launcher never makes a smaller main thread: the VM must get far enough to refuse `-Xss` itself.
const SMALLEST_STACK_BYTES: i64 = 64 << 10;

/// How the thing to run is named; the numbers are `sun.launcher.LauncherHelper`'s `LM_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Unknown = 0,
    Class = 1,
    Jar = 2,
    Module = 3,
    Source = 4,
}

/// Something to show before, or instead of, running the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Show {
    pub settings: Option<PlatformString>,
    pub resolved_modules: bool,
    pub modules: bool,
    pub module: Option<PlatformString>,
    /// `-version`: print it and end.
    pub version: bool,
    /// `-showversion`: print it, an empty line, and go on. Both together print the line and end.
    pub version_and_run: bool,
    pub usage: Option<Usage>,
}

/// Which help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Standard,
    ExtraOptions,
}

/// A command line that needs a VM.
#[derive(Debug)]
pub struct CommandLine {
    /// In order, as `JNI_CreateJavaVM` gets them.
    pub vm_options: Vec<PlatformString>,
    pub mode: Mode,
    /// Class, jar, module or source launcher.
    pub target: Option<PlatformString>,
    pub arguments: Vec<PlatformString>,
    pub show: Show,
    /// Where version and help texts go.
    pub show_on: Stream,
    pub dry_run: bool,
    pub validate_modules: bool,
    /// Exit status if the VM starts but there is nothing to run; 0 else.
    pub status: i32,
    /// Of `-Xss`, 0 if not given.
    pub stack_bytes: i64,
    /// Of `-Xmx` and `-Xms` in the command line, 0 if not given; only shown (`-XshowSettings`).
    pub max_heap_bytes: i64,
    pub initial_heap_bytes: i64,
}

/// What to do with a command line.
#[derive(Debug)]
pub enum Decision {
    Start(Box<CommandLine>),
    /// Print the runtime's version and exit with 0, with no VM: `-fullversion` and `--full-version`.
    FullVersion(Stream),
}

/// Whether the option takes the next argument as its value.
pub fn takes_argument(option: &[u8]) -> bool {
    is_module_option(option) || is_launcher_option(option)
}

fn is_class_path_option(option: &[u8]) -> bool {
    matches!(option, b"-classpath" | b"-cp" | b"--class-path")
}

fn is_launcher_option(option: &[u8]) -> bool {
    is_class_path_option(option)
        || matches!(option, b"--module" | b"-m" | b"--describe-module" | b"-d" | b"--source")
}

/// Options that the VM wants as `--option=value`.
fn is_module_option(option: &[u8]) -> bool {
    matches!(
        option,
        b"--module-path"
            | b"-p"
            | b"--upgrade-module-path"
            | b"--add-modules"
            | b"--enable-native-access"
            | b"--limit-modules"
            | b"--add-exports"
            | b"--add-opens"
            | b"--add-reads"
            | b"--patch-module"
    )
}

/// Returns the jar file that must be looked at before anything else is, if there is one.
///
/// The launcher reads its manifest first, for the splash screen, and ends there if it cannot. It also
/// remarks on the options with which a launcher before 9 chose another runtime.
pub fn jar_to_check<'a>(arguments: &'a [PlatformString], report: &mut Report) -> Option<&'a [u8]> {
    let mut is_jar = false;
    let mut rest = arguments;
    while let Some((option, after)) = rest.split_first().filter(|(o, _)| o.starts_with(b"-")) {
        rest = after;
        if option.starts_with(b"-version:") {
            report.note(
                "Error: Specifying an alternate JDK/JRE version is no longer supported.\n  The use of the \
                 flag '-version:' is no longer valid.\n  Please download and execute the appropriate version.",
            );
        } else if matches!(&option[..], b"-jre-restrict-search" | b"-jre-no-restrict-search") {
            report.note(
                "Error: Specifying an alternate JDK/JRE is no longer supported.\n  The related flags \
                 -jre-restrict-search | -jre-no-restrict-search are also no longer valid.",
            );
        }
        is_jar |= option == b"-jar";
        if takes_argument(option) && rest.first().is_some_and(|next| !next.starts_with(b"-")) {
            rest = &rest[1..];
        }
    }
    rest.first().filter(|_| is_jar).map(|jar| &jar[..])
}

/// Reads the arguments; `class_path` is the value of `CLASSPATH`.
///
/// # Errors
/// The launcher's messages, where it ends without a VM.
pub fn parse(
    arguments: &[PlatformString],
    class_path: Option<&[u8]>,
    report: &mut Report,
) -> Result<Decision, Refusal> {
    let mut parser = Parser {
        rest: arguments,
        have_class_path: false,
        line: CommandLine {
            vm_options: Vec::new(),
            mode: Mode::Unknown,
            target: None,
            arguments: Vec::new(),
            show: Show::default(),
            show_on: Stream::Error,
            dry_run: false,
            validate_modules: false,
            status: 0,
            stack_bytes: 0,
            max_heap_bytes: 0,
            initial_heap_bytes: 0,
        },
    };
    if let Some(class_path) = class_path {
        parser.set_class_path(class_path);
    }
    let end = parser.options(report)?;
    let mut line = match end {
        OptionsEnd::FullVersion(stream) => return Ok(Decision::FullVersion(stream)),
        // Help and version leave what follows unread: there is no program to name to the VM.
        OptionsEnd::NothingToRun => parser.line,
        OptionsEnd::Program => parser.program(),
    };
    if let Some(target) = &line.target {
        if line.mode == Mode::Jar {
            let value = expand_wildcards(target);
            line.vm_options.push([b"-Djava.class.path=", &value[..]].concat());
        }
        // HotSpot publishes it for jps and hs_err files; Java code does see it, too.
        let mut command = [b"-Dsun.java.command=", &target[..]].concat();
        for argument in &line.arguments {
            command.push(b' ');
            command.extend_from_slice(argument);
        }
        line.vm_options.push(command);
    }
    // Tells HotSpot that the standard launcher made it: it then trusts its own path for java.home.
    line.vm_options.push(b"-Dsun.java.launcher=SUN_STANDARD".to_vec());
    Ok(Decision::Start(Box::new(line)))
}

enum OptionsEnd {
    Program,
    NothingToRun,
    FullVersion(Stream),
}

struct Parser<'a> {
    /// What has not been read.
    rest: &'a [PlatformString],
    have_class_path: bool,
    line: CommandLine,
}

impl Parser<'_> {
    fn options(&mut self, report: &mut Report) -> Result<OptionsEnd, Refusal> {
        while let Some((option, after)) = self.rest.split_first().filter(|(o, _)| o.starts_with(b"-")) {
            self.rest = after;
            let (option, value) = (&option[..], self.value_of(option));
            let filled = value.as_deref().filter(|v| !v.is_empty());
            match name_of(option) {
                b"-jar" if option == b"-jar" => {
                    if self.rest.is_empty() {
                        // Unlike the other mistakes, this one shows the help text.
                        report.note("Error: -jar requires jar file specification");
                        self.line.show.usage = Some(Usage::Standard);
                        self.line.status = 1;
                        return Ok(OptionsEnd::NothingToRun);
                    }
                    self.set_mode(Mode::Jar, option)?;
                }
                b"--module" | b"-m" => {
                    let module = filled.ok_or_else(|| requires(option, "module name"))?;
                    let name = module.split(|&b| b == b'/').next().unwrap_or_default();
                    self.add([b"-Djdk.module.main=", name].concat());
                    self.set_mode(Mode::Module, option)?;
                    self.line.target = Some(module.to_vec());
                    return Ok(OptionsEnd::Program);
                }
                b"--source" => {
                    let version = filled.ok_or_else(|| requires(option, "source version"))?;
                    self.line.mode = Mode::Source;
                    self.add([b"-Djdk.internal.javac.source=", version].concat());
                }
                b"--class-path" | b"-classpath" | b"-cp" => {
                    let path =
                        value.as_deref().ok_or_else(|| requires(option, "class path specification"))?;
                    self.set_class_path(path);
                    if self.line.mode != Mode::Source {
                        self.line.mode = Mode::Class;
                    }
                }
                b"--describe-module" | b"-d" => {
                    let module = value.ok_or_else(|| requires(option, "module name"))?;
                    self.line.show.module = Some(module);
                }
                name => {
                    if let Some(end) = self.other_option(name, option, filled, report)? {
                        return Ok(end);
                    }
                }
            }
        }
        Ok(OptionsEnd::Program)
    }

    /// The value an option takes from the next argument or has after `=`.
    fn value_of(&mut self, option: &[u8]) -> Option<PlatformString> {
        if takes_argument(option) {
            let (next, after) = self.rest.split_first()?;
            if next.starts_with(b"-") {
                return None;
            }
            self.rest = after;
            return Some(next.clone());
        }
        let equals = option.iter().position(|&b| b == b'=')?;
        option.starts_with(b"--").then(|| option[equals + 1..].to_vec())
    }

    fn other_option(
        &mut self,
        name: &[u8],
        option: &[u8],
        value: Option<&[u8]>,
        report: &mut Report,
    ) -> Result<Option<OptionsEnd>, Refusal> {
        if is_module_option(name) {
            let Some(value) = value else {
                // The launcher forgot this one: the VM gets to refuse it.
                if option == b"--add-opens=" {
                    self.add(option.to_vec());
                    return Ok(None);
                }
                return Err(match option {
                    b"--module-path" | b"-p" | b"--upgrade-module-path" => {
                        requires(option, "module path specification")
                    }
                    _ => requires(option, "modules to be specified"),
                });
            };
            let long_name = if name == b"-p" { &b"--module-path"[..] } else { name };
            self.add([long_name, b"=", value].concat());
            return Ok(None);
        }
        let show = &mut self.line.show;
        match option {
            b"--list-modules" => show.modules = true,
            b"--show-resolved-modules" => show.resolved_modules = true,
            b"--validate-modules" => {
                self.line.validate_modules = true;
                self.add(b"-Djdk.module.validation=true".to_vec());
            }
            b"-help" | b"-h" | b"-?" | b"--help" | b"-X" | b"--help-extra" => {
                let extra = matches!(option, b"-X" | b"--help-extra");
                show.usage = Some(if extra { Usage::ExtraOptions } else { Usage::Standard });
                self.show_on(option);
                return Ok(Some(OptionsEnd::NothingToRun));
            }
            b"-version" | b"--version" => {
                show.version = true;
                self.show_on(option);
                return Ok(Some(OptionsEnd::NothingToRun));
            }
            b"-showversion" | b"--show-version" => {
                show.version_and_run = true;
                self.show_on(option);
            }
            b"--dry-run" => self.line.dry_run = true,
            b"-fullversion" => return Ok(Some(OptionsEnd::FullVersion(Stream::Error))),
            b"--full-version" => return Ok(Some(OptionsEnd::FullVersion(Stream::Output))),
            b"-Xfuture" => {
                report.note("Warning: -Xfuture option is deprecated and may be removed in a future release.");
                self.add(b"-Xverify:all".to_vec());
            }
            b"-checksource" | b"-cs" | b"-noasyncgc" => {
                report.note([b"Warning: ", option, b" option is no longer supported."].concat());
            }
            _ if option == b"-XshowSettings" || option.starts_with(b"-XshowSettings:") => {
                show.settings = Some(option.to_vec());
            }
            // There is no display: the splash screen is a thing of java.desktop's native half.
            _ if option.starts_with(b"-splash:") => {}
            _ => {
                self.have_class_path |= option.starts_with(b"-Djava.class.path=");
                self.add(translate(option));
            }
        }
        Ok(None)
    }

    /// The forms with two dashes write to standard output.
    fn show_on(&mut self, option: &[u8]) {
        if option.starts_with(b"--") {
            self.line.show_on = Stream::Output;
        }
    }

    fn set_mode(&mut self, mode: Mode, option: &[u8]) -> Result<(), Refusal> {
        if self.line.mode == Mode::Source {
            return Err(Refusal::new(
                1,
                [b"Error: Option ", option, b" is not allowed with --source"].concat(),
            ));
        }
        self.line.mode = mode;
        Ok(())
    }

    fn set_class_path(&mut self, path: &[u8]) {
        self.add([b"-Djava.class.path=", &expand_wildcards(path)[..]].concat());
        self.have_class_path = true;
    }

    fn add(&mut self, option: PlatformString) {
        if let Some(size) = option.strip_prefix(b"-Xss").and_then(parse_size) {
            self.line.stack_bytes = if size > 0 { size.max(SMALLEST_STACK_BYTES) } else { size };
        } else if let Some(size) = option.strip_prefix(b"-Xmx").and_then(parse_size) {
            self.line.max_heap_bytes = size;
        } else if let Some(size) = option.strip_prefix(b"-Xms").and_then(parse_size) {
            self.line.initial_heap_bytes = size;
        }
        self.line.vm_options.push(option);
    }

    /// Reads the program to run and its arguments.
    fn program(mut self) -> CommandLine {
        let at_program = self.rest;
        if self.line.target.is_none()
            && let Some((target, after)) = self.rest.split_first()
        {
            self.line.target = Some(target.clone());
            self.rest = after;
        }
        match (&self.line.target, self.line.mode) {
            (None, _) => {
                let show = &self.line.show;
                let exits_by_itself = show.modules || show.module.is_some() || self.line.validate_modules;
                self.line.status = i32::from(!exits_by_itself);
            }
            (Some(target), Mode::Unknown | Mode::Class) => {
                let is_source = is_source_file(target);
                if self.line.mode == Mode::Unknown && !self.have_class_path {
                    self.set_class_path(b".");
                }
                self.line.mode = if is_source { Mode::Source } else { Mode::Class };
            }
            _ => {}
        }
        if self.line.mode == Mode::Source {
            self.add(b"--add-modules=ALL-DEFAULT".to_vec());
            self.line.target = Some(SOURCE_LAUNCHER.to_vec());
            // The source launcher's first argument is the source file.
            self.line.arguments = at_program.to_vec();
        } else {
            self.line.arguments = self.rest.to_vec();
        }
        self.line
    }
}

/// The part before `=` of an option with two dashes; else all of it.
fn name_of(option: &[u8]) -> &[u8] {
    match option.iter().position(|&b| b == b'=') {
        Some(equals) if option.starts_with(b"--") => &option[..equals],
        _ => option,
    }
}

fn requires(option: &[u8], what: &str) -> Refusal {
    Refusal::new(1, [b"Error: ", option, b" requires ", what.as_bytes()].concat())
}

/// Old spellings of VM options.
fn translate(option: &[u8]) -> PlatformString {
    match option {
        b"-Xdiag" => b"-Dsun.java.launcher.diag=true".to_vec(),
        b"--show-module-resolution" => b"-Djdk.module.showModuleResolution=true".to_vec(),
        b"-verbosegc" => b"-verbose:gc".to_vec(),
        b"-t" => b"-Xt".to_vec(),
        b"-tm" => b"-Xtm".to_vec(),
        b"-debug" => b"-Xdebug".to_vec(),
        b"-noclassgc" => b"-Xnoclassgc".to_vec(),
        b"-verify" => b"-Xverify:all".to_vec(),
        b"-verifyremote" => b"-Xverify:remote".to_vec(),
        b"-noverify" => b"-Xverify:none".to_vec(),
        _ if [&b"-ss"[..], b"-oss", b"-ms", b"-mx"].iter().any(|old| option.starts_with(old)) => {
            [b"-X", &option[1..]].concat()
        }
        _ => option.to_vec(),
    }
}

fn is_source_file(target: &[u8]) -> bool {
    target.ends_with(b".java") && std::path::Path::new(OsStr::from_bytes(target)).exists()
}

/// Reads a size as HotSpot's `atomull` does; `None` leaves the mistake for the VM to report.
pub fn parse_size(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let number = text[..digits]
        .iter()
        .fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    let shift = match text[digits..] {
        [] => 0,
        [b'k' | b'K'] => 10,
        [b'm' | b'M'] => 20,
        [b'g' | b'G'] => 30,
        [b't' | b'T'] => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
#[path = "command_line_tests.rs"]
mod tests;
