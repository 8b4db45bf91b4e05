//! Starting the program: its run configuration, its ELF image and interpreter, its stack, its first thread.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use console::control::GuestMessage;
use elf_image::{ImageKind, LoadPlan, Source, StackProtection};
use frames::PAGE_SIZE;
use linux_abi::{Errno, auxv, signal::SigSet};
use run_config::{Root, RunConfig};
use spin::Once;
use vfs::{Blocking, OpenFile};

use crate::{
    arch::{clock, cpu, fpu, trap::TrapFrame},
    device::{self, random},
    fs, log, mm, net, sched, signal, syscall,
    task::{self, NewThread},
    user::UserPtr,
    vdso,
};

/// Bytes of the arguments and the environment together, at most (Linux: a quarter of the stack's limit).
const ARGUMENT_LIMIT: usize = 2 << 20;

/// What the program was started with, for `/proc/self`.
#[derive(Debug)]
pub struct Program {
    /// Path of the executable.
    pub path: String,
    /// `/proc/self/cmdline`.
    pub command_line: Vec<u8>,
    /// `/proc/self/environ`.
    pub environment: Vec<u8>,
    /// `/proc/self/auxv`.
    pub auxiliary_vector: Vec<u8>,
    /// Where the stack began.
    pub stack_start: u64,
}

static PROGRAM: Once<Program> = Once::new();

/// What the program was started with; `None` before.
pub fn program() -> Option<&'static Program> {
    PROGRAM.get()
}

/// Brings up devices and file systems, and starts the program that the run configuration names. The error
/// says in a sentence what is wrong.
pub fn start_program() -> Result<(), String> {
    mm::init().map_err(|_| "no memory for the address space")?;
    let passed = passed_config()?;
    fs::mount_root(passed.as_ref().map_or(Root::default(), |config| config.root))?;
    let config = match passed {
        Some(config) => config,
        None => config_of_image()?,
    };
    if config.verbose {
        log::set_verbose();
    }
    if config.trace_syscalls {
        syscall::start_tracing();
    }
    fs::mount_volumes(&config.volumes)?;
    let hostname = if config.hostname.is_empty() { "crema" } else { &config.hostname };
    syscall::info::set_hostname(hostname);
    net::write_names();
    let cwd = if config.cwd.is_empty() { "/" } else { &config.cwd };
    fs::set_working_directory(cwd)
        .map_err(|error| format!("cannot change to the directory {cwd}: {error:?}"))?;
    fs::open_standard_files(&config).map_err(|error| format!("cannot open the console: {error:?}"))?;
    let path = config.args.first().ok_or("the run configuration names no program")?;
    let kernel = GuestMessage::Boot { name: "kernel", ns: clock::now_ns() };
    let started = load(path, &config).map_err(|error| match error {
        Errno::ENOENT => {
            format!("the program {path}, or the interpreter that it asks for, is not in the image")
        }
        Errno::EUCLEAN => format!("cannot start {path}: the file system is damaged"),
        Errno::ENOEXEC | Errno::ELIBBAD => format!("{path} is not a program for x86-64"),
        error => format!("cannot start {path}: {error:?}"),
    })?;
    let available = GuestMessage::Memory { name: "available", bytes: mm::memory_figures().free_bytes };
    let application = GuestMessage::Boot { name: "application", ns: clock::now_ns() };
    // All at once, for each message takes its time.
    device::control::send(format_args!("{kernel}\n{available}\n{application}"));
    sched::start(started);
    // After the program: it has better to do than to wait for these.
    fs::start_writing_back()?;
    net::start(config.net)
}

/// The configuration that the host passes, if it does.
fn passed_config() -> Result<Option<RunConfig>, String> {
    let passed = device::fw_cfg::run_configuration()
        .map_err(|error| format!("the host's run configuration cannot be read: {error:?}"))?;
    passed.map(|bytes| RunConfig::parse(&bytes).map_err(|error| error.to_string())).transpose()
}

fn config_of_image() -> Result<RunConfig, String> {
    let bytes = fs::read_file(run_config::IMAGE_FILE).map_err(|error| {
        format!("the image has no run configuration {}: {error:?}", run_config::IMAGE_FILE)
    })?;
    RunConfig::parse(&bytes).map_err(|error| error.to_string())
}

/// An open file as a source of an ELF image.
struct FileSource<'a>(&'a OpenFile);

impl Source for FileSource<'_> {
    fn read_exact_at(&self, offset: u64, mut buffer: &mut [u8]) -> Result<(), Errno> {
        let mut offset = offset;
        while !buffer.is_empty() {
            let read = self.0.read_at(offset, &mut buffer, Blocking::Yes)?;
            if read == 0 {
                return Err(Errno::ENOEXEC);
            }
            offset += read as u64;
        }
        Ok(())
    }
}

/// An image in memory.
struct Loaded {
    plan: LoadPlan,
    bias: u64,
    /// The end of its highest segment.
    end: u64,
}

/// Maps the image at `base`, if it can be moved; `None` lets the memory map choose.
fn map_image(path: &str, base: Option<u64>) -> Result<Loaded, Errno> {
    let file = fs::open_executable(path)?;
    let plan = LoadPlan::read(&FileSource(&file))?;
    let range = plan.address_range();
    let len = range.end - range.start;
    let bias = match plan.kind() {
        ImageKind::FixedAddress => 0,
        ImageKind::PositionIndependent => {
            // Reserve it in one piece first, so that the segments keep their distances.
            let alignment = plan.alignment();
            let base = match base {
                Some(base) => base.next_multiple_of(alignment),
                None => mm::reserve(len + alignment)?.next_multiple_of(alignment),
            };
            plan.bias_for(base)
        }
    };
    let object = file.file().memory_object()?;
    for segment in plan.segments() {
        let start = segment.start.wrapping_add(bias);
        if segment.file_bytes > 0 {
            mm::map_file(start, segment.file_pages(), segment.prot, object.clone(), segment.file_offset)?;
        }
        let zeroed = segment.zeroed();
        if !zeroed.is_empty() {
            // As on Linux, a segment that may not be written keeps the file's bytes.
            let zeros = alloc::vec![0u8; (zeroed.end - zeroed.start) as usize];
            let _ = UserPtr::<u8>::new(start + zeroed.start).write_slice(&zeros);
        }
        if segment.pages() > segment.file_pages() {
            mm::map_anonymous(
                start + segment.file_pages(),
                segment.pages() - segment.file_pages(),
                segment.prot,
            )?;
        }
    }
    Ok(Loaded { end: range.end.wrapping_add(bias), plan, bias })
}

/// Where position-independent programs go, as on Linux (`ELF_ET_DYN_BASE`: two thirds of the address space).
const PROGRAM_BASE: u64 = 0x5555_5555_4000;

/// Loads the program and makes its first thread, which is not running yet.
fn load(path: &str, config: &RunConfig) -> Result<Arc<task::Thread>, Errno> {
    let arguments: usize = config.args.iter().chain(&config.env).map(|text| text.len() + 1 + 8).sum();
    if arguments > ARGUMENT_LIMIT {
        return Err(Errno::E2BIG);
    }
    let base = PROGRAM_BASE + (random::u64() & 0xfff_f000);
    let program = map_image(path, Some(base))?;
    mm::set_heap_start(program.end);
    let interpreter = match program.plan.interpreter() {
        Some(name) => {
            let name = core::str::from_utf8(name).map_err(|_| Errno::ENOEXEC)?;
            Some(
                map_image(name, None)
                    .map_err(|error| if error == Errno::ENOEXEC { Errno::ELIBBAD } else { error })?,
            )
        }
        None => None,
    };
    let stack_top = mm::map_main_stack(program.plan.stack() == StackProtection::Executable)?;
    let vdso = vdso::map()?;
    let entry = match &interpreter {
        Some(interpreter) => interpreter.plan.entry(interpreter.bias),
        None => program.plan.entry(program.bias),
    };
    let vector = [
        (auxv::AT_SYSINFO_EHDR, vdso),
        (auxv::AT_MINSIGSTKSZ, signal::minimum_stack_size()),
        (auxv::AT_HWCAP, u64::from(cpu::cpuid(1, 0)[3])),
        (auxv::AT_PAGESZ, PAGE_SIZE as u64),
        (auxv::AT_CLKTCK, auxv::USER_HZ),
        (auxv::AT_PHDR, program.plan.program_headers(program.bias)),
        (auxv::AT_PHENT, LoadPlan::PROGRAM_HEADER_SIZE),
        (auxv::AT_PHNUM, program.plan.program_header_count()),
        (auxv::AT_BASE, interpreter.as_ref().map_or(0, |interpreter| interpreter.bias)),
        (auxv::AT_FLAGS, 0),
        (auxv::AT_ENTRY, program.plan.entry(program.bias)),
        (auxv::AT_UID, 0),
        (auxv::AT_EUID, 0),
        (auxv::AT_GID, 0),
        (auxv::AT_EGID, 0),
        (auxv::AT_SECURE, 0),
        (auxv::AT_HWCAP2, if cpu::features().fsgsbase { auxv::HWCAP2_FSGSBASE } else { 0 }),
    ];
    let sp = build_stack(stack_top, path, config, &vector)?;
    let frame = TrapFrame {
        rip: entry,
        rsp: sp,
        cs: 0x8,
        ss: 0x10,
        rflags: RFLAGS_INITIAL,
        // SAFETY: all registers zero is a frame; what matters is set above.
        ..unsafe { core::mem::zeroed() }
    };
    fpu::reset();
    let thread = task::create_thread(NewThread { frame, tls: 0, mask: SigSet::EMPTY, clear_child_tid: 0 })?;
    let name = path.rsplit('/').next().unwrap_or(path).as_bytes();
    let len = name.len().min(15);
    thread.name.lock()[..len].copy_from_slice(&name[..len]);
    Ok(thread)
}

/// Interrupts unmasked; bit 1 is always set.
const RFLAGS_INITIAL: u64 = 0x202;

/// Lays out arguments, environment and auxiliary vector below `top`, as the ABI wants them at the entry point
/// (System V ABI, AMD64 supplement, 3.4.1), and returns the stack pointer.
fn build_stack(top: u64, path: &str, config: &RunConfig, vector: &[(u64, u64)]) -> Result<u64, Errno> {
    // The strings go to the top, in the order in which Linux has them: arguments, environment, path.
    let mut strings = Vec::new();
    let mut offsets = Vec::new();
    for text in config.args.iter().chain(&config.env).map(String::as_str).chain([path]) {
        offsets.push(strings.len() as u64);
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
    }
    let strings_at = (top - 16 - strings.len() as u64) & !15;
    UserPtr::<u8>::new(strings_at).write_slice(&strings)?;
    let platform_at = strings_at - 16;
    UserPtr::<u8>::new(platform_at).write_slice(b"x86_64\0")?;
    let random_at = platform_at - 16;
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    UserPtr::<u8>::new(random_at).write_slice(&bytes)?;

    let argc = config.args.len();
    let address = |index: usize| strings_at + offsets[index];
    let mut words = alloc::vec![argc as u64];
    words.extend((0..argc).map(address));
    words.push(0);
    words.extend((argc..argc + config.env.len()).map(address));
    words.push(0);
    let auxiliary_start = words.len();
    for (kind, value) in vector.iter().copied().chain([
        (auxv::AT_RANDOM, random_at),
        (auxv::AT_PLATFORM, platform_at),
        (auxv::AT_EXECFN, address(argc + config.env.len())),
        (auxv::AT_NULL, 0),
    ]) {
        words.extend([kind, value]);
    }
    let sp = (random_at - 8 * words.len() as u64) & !15;
    UserPtr::<u64>::new(sp).write_slice(&words)?;

    let environment_start = offsets.get(argc).copied().unwrap_or(0) as usize;
    let path_start = offsets[argc + config.env.len()] as usize;
    PROGRAM.call_once(|| Program {
        path: path.into(),
        command_line: strings[..environment_start].to_vec(),
        environment: strings[environment_start..path_start].to_vec(),
        auxiliary_vector: words[auxiliary_start..].iter().flat_map(|word| word.to_le_bytes()).collect(),
        stack_start: sp,
    });
    Ok(sp)
}
