//! Names of functions by address, for backtraces.

use alloc::vec::Vec;
use core::str;

use goblin::elf::{
    Elf,
    header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB},
    section_header::{SHF_EXECINSTR, SHT_DYNSYM, SHT_SYMTAB, SectionHeader},
    sym::{STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym, Symtab},
};

use crate::plan::LAYOUT;

/// The symbol table of an ELF file that is in memory as a whole: `.symtab`, or `.dynsym` if that is stripped.
///
/// A lookup is a pass over the table, for it is done when something has already gone wrong. Only
/// [`Symbols::parse`] allocates.
pub struct Symbols<'a> {
    table: Symtab<'a>,
    strings: &'a [u8],
    sections: Vec<SectionHeader>,
}

/// A function in a backtrace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol<'a> {
    /// Its name as linked (mangled).
    pub name: &'a str,
    /// How far behind its first byte the address is.
    pub offset: u64,
}

impl<'a> Symbols<'a> {
    /// Finds the symbol table in a file's bytes. `None` if there is none, or the file is damaged.
    pub fn parse(file: &'a [u8]) -> Option<Self> {
        if file.get(EI_CLASS) != Some(&ELFCLASS64) || file.get(EI_DATA) != Some(&ELFDATA2LSB) {
            return None;
        }
        let header = Elf::parse_header(file).ok()?;
        let offset = usize::try_from(header.e_shoff).ok().filter(|offset| *offset < file.len())?;
        let sections = SectionHeader::parse(file, offset, usize::from(header.e_shnum), LAYOUT).ok()?;
        let table = [SHT_SYMTAB, SHT_DYNSYM]
            .into_iter()
            .find_map(|kind| sections.iter().find(|section| section.sh_type == kind))?;
        let strings = bytes_of(file, sections.get(table.sh_link as usize)?)?;
        let count = bytes_of(file, table)?.len() / Sym::size(LAYOUT.container);
        let table = Symtab::parse(file, usize::try_from(table.sh_offset).ok()?, count, LAYOUT).ok()?;
        Some(Self { table, strings, sections })
    }

    /// The function that holds an address (before the load bias): in the section of code with that address,
    /// the one that begins last before it, if the address is within its size. Assembly code often has symbols
    /// without size or type; those reach up to the next one.
    pub fn lookup(&self, address: u64) -> Option<Symbol<'a>> {
        let section = self.sections.iter().position(|section| {
            section.sh_flags & u64::from(SHF_EXECINSTR) != 0
                && address.checked_sub(section.sh_addr).is_some_and(|distance| distance < section.sh_size)
        })?;
        let nearest = (0..self.table.len())
            .filter_map(|index| self.table.get(index))
            .filter(|symbol| {
                matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC | STT_NOTYPE)
                    && symbol.st_shndx == section
                    && symbol.st_name != 0
                    && symbol.st_value <= address
            })
            // Of several names for one address, the one with a size and a type.
            .max_by_key(|symbol| (symbol.st_value, symbol.st_size, symbol.st_type() != STT_NOTYPE))?;
        let offset = address - nearest.st_value;
        if nearest.st_size != 0 && offset >= nearest.st_size {
            return None;
        }
        Some(Symbol { name: self.name(&nearest)?, offset })
    }

    fn name(&self, symbol: &Sym) -> Option<&'a str> {
        let rest = self.strings.get(symbol.st_name..)?;
        str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()
    }
}

fn bytes_of<'a>(file: &'a [u8], section: &SectionHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(section.sh_offset).ok()?;
    let end = start.checked_add(usize::try_from(section.sh_size).ok()?)?;
    file.get(start..end)
}
