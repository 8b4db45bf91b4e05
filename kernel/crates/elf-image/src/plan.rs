//! The load plan. Errors are those of Linux 6.1's `fs/binfmt_elf.c`, in which the checks below can be found.

use alloc::{boxed::Box, vec, vec::Vec};
use core::ops::Range;

use goblin::{
    container::{Container, Ctx, Endian},
    elf::{
        Elf,
        header::{
            EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_DYN, ET_EXEC, SELFMAG, header64,
        },
        program_header::{
            PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader, program_header64,
        },
    },
};
use linux_abi::{Errno, file::PATH_MAX, memory::Prot};

use crate::Source;

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;

/// The first address that an application cannot have: the canonical lower half less one page, as Linux's
/// `TASK_SIZE_MAX` for 4-level paging.
pub const USER_END: u64 = (1 << 47) - PAGE_SIZE;

/// The layout of goblin's types: 64 bits, little endian.
pub(crate) const LAYOUT: Ctx = Ctx { container: Container::Big, le: Endian::Little };

/// Whether the file can be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// `ET_EXEC`: its addresses are final; the bias is 0.
    FixedAddress,
    /// `ET_DYN`: a position-independent executable or a shared object; the caller chooses the bias.
    PositionIndependent,
}

/// What the file asks of its stack (`PT_GNU_STACK`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackProtection {
    /// Nothing. Linux gives a 64-bit program a stack that cannot be executed.
    Unspecified,
    /// Executable.
    Executable,
    /// Not executable.
    NotExecutable,
}

/// A `PT_LOAD` segment in pages. Addresses are relative to the load bias.
///
/// ```text
///   start              start + file_bytes   start + file_pages()      start + pages()
///   | from the file                      |  zeroed()              |   anonymous     |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First address; a multiple of [`PAGE_SIZE`].
    pub start: u64,
    /// Offset in the file of the byte at `start`; a multiple of [`PAGE_SIZE`]. Without meaning if
    /// `file_bytes` is 0.
    pub file_offset: u64,
    /// How many bytes from `start` have contents of the file. The last page is mapped whole, so that bytes of
    /// the file behind the segment show there, unless they are [`zeroed`](Self::zeroed). It may reach past
    /// the file's end: touching such a page is `SIGBUS`, as with any mapping.
    pub file_bytes: u64,
    /// How many bytes from `start` the segment has in memory; never fewer than `file_bytes`.
    pub memory_bytes: u64,
    /// Protection.
    pub prot: Prot,
}

impl Segment {
    /// Bytes from `start` to map from the file: whole pages.
    pub const fn file_pages(&self) -> u64 {
        self.file_bytes.next_multiple_of(PAGE_SIZE)
    }

    /// Bytes from `start` to map in all: whole pages.
    pub const fn pages(&self) -> u64 {
        self.memory_bytes.next_multiple_of(PAGE_SIZE)
    }

    /// The bytes, counted from `start`, of the last page from the file that must be cleared; empty if the
    /// segment has no more memory than file. If the protection forbids writing, Linux tries and lets it be:
    /// the page then keeps the file's bytes.
    pub const fn zeroed(&self) -> Range<u64> {
        if self.memory_bytes > self.file_bytes { self.file_bytes..self.file_pages() } else { 0..0 }
    }

    /// The address past the last page.
    pub const fn end(&self) -> u64 {
        self.start + self.pages()
    }
}

/// What to map, and what to tell the program about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    kind: ImageKind,
    entry: u64,
    segments: Vec<Segment>,
    interpreter: Option<Box<[u8]>>,
    stack: StackProtection,
    program_headers: Option<u64>,
    program_header_count: u16,
    alignment: u64,
}

impl LoadPlan {
    /// Bytes of a program header: `AT_PHENT`.
    pub const PROGRAM_HEADER_SIZE: u64 = program_header64::SIZEOF_PHDR as u64;

    /// Reads the headers of a file and makes the plan.
    ///
    /// # Errors
    /// * `ENOEXEC`: not an ELF file, not for x86-64, neither executable nor shared object, cut short, or with
    ///   damaged program headers or interpreter path. Linux answers `ELIBBAD` instead if the file is an
    ///   interpreter; that is for the caller to change.
    /// * `EINVAL`: nothing to load; a segment whose offset and address differ within a page, with more file than memory,
    ///   that leaves the application's half of the address space, overlaps another, or is not in ascending order;
    ///   an entry point outside that half.
    /// * `EPERM`: a fixed segment in page 0, which is never mapped.
    /// * `ENOMEM`: all segments together do not fit in the address space.
    pub fn read(file: &(impl Source + ?Sized)) -> Result<Self, Errno> {
        let mut bytes = [0; header64::SIZEOF_EHDR];
        file.read_exact_at(0, &mut bytes)?;
        // goblin reads the rest as the file's own class and byte order, which therefore come first.
        if &bytes[..SELFMAG] != ELFMAG || bytes[EI_CLASS] != ELFCLASS64 || bytes[EI_DATA] != ELFDATA2LSB {
            return Err(Errno::ENOEXEC);
        }
        let header = Elf::parse_header(&bytes).map_err(|_| Errno::ENOEXEC)?;
        let kind = match header.e_type {
            ET_EXEC => ImageKind::FixedAddress,
            ET_DYN => ImageKind::PositionIndependent,
            _ => return Err(Errno::ENOEXEC),
        };
        if header.e_machine != EM_X86_64 || u64::from(header.e_phentsize) != Self::PROGRAM_HEADER_SIZE {
            return Err(Errno::ENOEXEC);
        }
        // Linux takes no more headers than fit in a page (`load_elf_phdrs`).
        let table_size = u64::from(header.e_phnum) * Self::PROGRAM_HEADER_SIZE;
        if table_size == 0 || table_size > PAGE_SIZE {
            return Err(Errno::ENOEXEC);
        }
        let mut table = vec![0; table_size as usize];
        file.read_exact_at(header.e_phoff, &mut table)?;
        let headers = ProgramHeader::parse(&table, 0, usize::from(header.e_phnum), LAYOUT)
            .map_err(|_| Errno::ENOEXEC)?;

        let mut plan = Self {
            kind,
            entry: header.e_entry,
            segments: Vec::new(),
            interpreter: None,
            stack: StackProtection::Unspecified,
            program_headers: None,
            program_header_count: header.e_phnum,
            alignment: PAGE_SIZE,
        };
        for program_header in &headers {
            match program_header.p_type {
                PT_LOAD => plan.add_segment(program_header, header.e_phoff)?,
                // The first one counts.
                PT_INTERP if plan.interpreter.is_none() => {
                    plan.interpreter = Some(read_interpreter(file, program_header)?);
                }
                PT_GNU_STACK => {
                    plan.stack = if program_header.p_flags & PF_X != 0 {
                        StackProtection::Executable
                    } else {
                        StackProtection::NotExecutable
                    };
                }
                _ => {}
            }
        }
        plan.check()?;
        Ok(plan)
    }

    fn add_segment(&mut self, header: &ProgramHeader, table_offset: u64) -> Result<(), Errno> {
        if header.p_memsz == 0 && header.p_filesz == 0 {
            return Ok(());
        }
        let in_page = header.p_vaddr % PAGE_SIZE;
        let congruent = header.p_offset % PAGE_SIZE == in_page;
        // A segment that is all zeroes has no offset to be congruent with.
        if header.p_filesz > header.p_memsz || (!congruent && header.p_filesz != 0) {
            return Err(Errno::EINVAL);
        }
        // Offsets are signed in Linux (`loff_t`); past that, `mmap` answers EOVERFLOW or EINVAL.
        let file_end = header.p_offset.checked_add(header.p_filesz).ok_or(Errno::EINVAL)?;
        if header.p_filesz != 0 && file_end > i64::MAX as u64 - PAGE_SIZE {
            return Err(Errno::EINVAL);
        }
        if header.p_vaddr >= USER_END || header.p_memsz > USER_END - header.p_vaddr {
            return Err(Errno::EINVAL);
        }
        let mut prot = Prot::empty();
        prot.set(Prot::READ, header.p_flags & PF_R != 0);
        prot.set(Prot::WRITE, header.p_flags & PF_W != 0);
        prot.set(Prot::EXEC, header.p_flags & PF_X != 0);
        let segment = Segment {
            start: header.p_vaddr - in_page,
            file_offset: if header.p_filesz == 0 { 0 } else { header.p_offset - in_page },
            file_bytes: if header.p_filesz == 0 { 0 } else { header.p_filesz + in_page },
            memory_bytes: header.p_memsz + in_page,
            prot,
        };
        // Ascending and without overlap, as the ELF specification asks of PT_LOAD. Two segments may share a
        // page, as in images linked for larger pages: the later mapping replaces the earlier one's page, like
        // on Linux.
        if self.segments.last().is_some_and(|last| last.start + last.memory_bytes > header.p_vaddr) {
            return Err(Errno::EINVAL);
        }
        self.segments.push(segment);

        if header.p_align.is_power_of_two() {
            self.alignment = self.alignment.max(header.p_align);
        }
        // Where the headers are in memory: in the segment whose part of the file holds them.
        if let Some(distance) = table_offset.checked_sub(header.p_offset)
            && distance < header.p_filesz
            && self.program_headers.is_none()
        {
            self.program_headers = Some(header.p_vaddr + distance);
        }
        Ok(())
    }

    /// The checks on the image as a whole.
    fn check(&self) -> Result<(), Errno> {
        let range = self.address_range();
        if range.is_empty() || self.entry >= USER_END {
            return Err(Errno::EINVAL);
        }
        if self.kind == ImageKind::FixedAddress && range.start < PAGE_SIZE {
            return Err(Errno::EPERM);
        }
        // There must be a bias at which it fits, page 0 left out.
        let room = USER_END - PAGE_SIZE;
        if range.end - range.start > room || self.alignment > room {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Whether the caller may and must choose a bias.
    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// The segments by ascending address; there is at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The interpreter's path (`PT_INTERP`), without its NUL: of a dynamically linked program, `ld.so`.
    pub fn interpreter(&self) -> Option<&[u8]> {
        self.interpreter.as_deref()
    }

    /// What the file asks of its stack.
    pub fn stack(&self) -> StackProtection {
        self.stack
    }

    /// The pages from the first segment's start to the last one's end, before the bias: what must be free.
    pub fn address_range(&self) -> Range<u64> {
        match (self.segments.first(), self.segments.last()) {
            (Some(first), Some(last)) => first.start..last.end(),
            _ => 0..0,
        }
    }

    /// What the bias must be a multiple of: the largest alignment of a segment, at least a page. More than a
    /// page lets huge pages be used.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The bias that brings the image's lowest page to this address: `base` less the start of
    /// [`address_range`](Self::address_range), wrapping. It is aligned if `base` is and the image begins at
    /// 0, as nearly all do.
    pub fn bias_for(&self, base: u64) -> u64 {
        base.wrapping_sub(self.address_range().start)
    }

    /// The entry point under a bias: `AT_ENTRY`, or where to begin if this is the interpreter.
    pub fn entry(&self, bias: u64) -> u64 {
        self.entry.wrapping_add(bias)
    }

    /// Address of the program headers under a bias: `AT_PHDR`. 0 if no segment holds them, which is what
    /// Linux gives.
    pub fn program_headers(&self, bias: u64) -> u64 {
        self.program_headers.map_or(0, |address| address.wrapping_add(bias))
    }

    /// How many program headers there are: `AT_PHNUM`.
    pub fn program_header_count(&self) -> u64 {
        u64::from(self.program_header_count)
    }
}

fn read_interpreter(file: &(impl Source + ?Sized), header: &ProgramHeader) -> Result<Box<[u8]>, Errno> {
    if header.p_filesz < 2 || header.p_filesz > PATH_MAX as u64 {
        return Err(Errno::ENOEXEC);
    }
    let mut path = vec![0; header.p_filesz as usize];
    file.read_exact_at(header.p_offset, &mut path)?;
    // It must end in a NUL; it may end sooner.
    if path.last() != Some(&0) {
        return Err(Errno::ENOEXEC);
    }
    path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(0));
    if path.is_empty() { Err(Errno::ENOEXEC) } else { Ok(path.into_boxed_slice()) }
}
