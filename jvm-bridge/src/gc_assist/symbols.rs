//! Names in the symbol table of `libjvm.so`'s file, with addresses in this process.
//!
//! Debian's library carries a full `.symtab`. A file that is not the loaded library, is cut short, or has no such table is
//! refused; a name that is there twice with two values counts as missing.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::vm_structs::Missing;

/// All names that are ever asked for begin with one of these: the table has 57,000 symbols.
const PREFIXES: [&[u8]; 2] = [b"_ZTV", b"_ZN"];
/// `SHT_SYMTAB`, `SHT_NOTE` (`elf(5)`).
const SECTION_SYMBOLS: u32 = 2;
const SECTION_NOTE: u32 = 7;
/// `NT_GNU_BUILD_ID`.
const NOTE_BUILD_ID: u32 = 3;
/// `STT_OBJECT`, `STT_FUNC`.
const TYPE_OBJECT: u8 = 1;
const TYPE_FUNCTION: u8 = 2;
const SYMBOL_BYTES: usize = 24;
const SECTION_BYTES: usize = 64;
/// Most bytes that a section is believed to have.
const MAX_SECTION_BYTES: u64 = 64 << 20;

/// An object in the library's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    pub address: usize,
    pub bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Symbol {
    address: usize,
    bytes: usize,
    kind: u8,
}

/// The symbols of the loaded library; `None` for a name with more than one meaning.
pub struct Symbols(HashMap<Vec<u8>, Option<Symbol>>);

struct Section {
    kind: u32,
    address: u64,
    offset: u64,
    bytes: u64,
    link: usize,
}

impl Symbols {
    /// Reads the file's table; the library is loaded at `base`.
    pub fn read(path: &Path, base: usize) -> Result<Self, Missing> {
        let (file, sections) = open(path)?;
        let table = sections
            .iter()
            .find(|section| section.kind == SECTION_SYMBOLS)
            .ok_or_else(|| Missing("libjvm.so has no symbol table (.symtab)".to_owned()))?;
        let names = sections.get(table.link).ok_or_else(damaged)?;
        let names = contents(&file, names)?;
        let mut symbols = HashMap::new();
        for symbol in contents(&file, table)?.chunks_exact(SYMBOL_BYTES) {
            let name = names.get(u32_at(symbol, 0) as usize..).ok_or_else(damaged)?;
            if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let kind = symbol[4] & 0xf;
            if !matches!(kind, TYPE_OBJECT | TYPE_FUNCTION) {
                continue;
            }
            let end = name.iter().position(|&byte| byte == 0).ok_or_else(damaged)?;
            let found = Symbol {
                address: base.wrapping_add(u64_at(symbol, 8) as usize),
                bytes: u64_at(symbol, 16) as usize,
                kind,
            };
            symbols
                .entry(name[..end].to_vec())
                .and_modify(|known| {
                    if *known != Some(found) {
                        *known = None;
                    }
                })
                .or_insert(Some(found));
        }
        Ok(Self(symbols))
    }

    /// The object of this name.
    pub fn object(&self, name: &str) -> Result<Object, Missing> {
        let symbol = self.find(name, TYPE_OBJECT)?;
        Ok(Object { address: symbol.address, bytes: symbol.bytes })
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Result<usize, Missing> {
        self.find(name, TYPE_FUNCTION).map(|symbol| symbol.address)
    }

    fn find(&self, name: &str, kind: u8) -> Result<Symbol, Missing> {
        match self.0.get(name.as_bytes()) {
            Some(Some(symbol)) if symbol.kind == kind && symbol.bytes > 0 => Ok(*symbol),
            Some(_) => Err(Missing(format!("the symbol {name} is not what it was"))),
            None => Err(Missing(format!("libjvm.so has no symbol {name}"))),
        }
    }
}

/// The build-id of the file, in hexadecimal, which must be the one in memory at `base` as well.
pub fn build_id(path: &Path, base: usize) -> Result<String, Missing> {
    let (file, sections) = open(path)?;
    for section in sections.iter().filter(|section| section.kind == SECTION_NOTE && section.address != 0) {
        let note = contents(&file, section)?;
        let Some(id) = build_id_of(&note) else { continue };
        // SAFETY: notes are in the first segment of a library, which is mapped readable from its load address on; the
        // section is within it (it has an address), and the library is never unloaded.
        let loaded =
            unsafe { std::slice::from_raw_parts((base + section.address as usize) as *const u8, note.len()) };
        if loaded != note {
            return Err(Missing("the file of libjvm.so is not the library that is loaded".to_owned()));
        }
        return Ok(id.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Err(Missing("libjvm.so has no build-id".to_owned()))
}

/// The identifier, if the note is one (`Elf64_Nhdr`, name "GNU").
fn build_id_of(note: &[u8]) -> Option<&[u8]> {
    let header = note.get(..16)?;
    let is_build_id =
        u32_at(header, 0) == 4 && u32_at(header, 8) == NOTE_BUILD_ID && &header[12..] == b"GNU\0";
    is_build_id.then(|| note.get(16..16 + u32_at(header, 4) as usize)).flatten()
}

fn open(path: &Path) -> Result<(File, Vec<Section>), Missing> {
    let file = File::open(path).map_err(|error| Missing(format!("{}: {error}", path.display())))?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).map_err(|_| damaged())?;
    // 64 bits, little-endian, x86-64.
    if header[..6] != *b"\x7fELF\x02\x01" || header[18..20] != 62u16.to_le_bytes() {
        return Err(damaged());
    }
    let count = usize::from(u16::from_le_bytes([header[60], header[61]]));
    let mut table = vec![0; count * SECTION_BYTES];
    file.read_exact_at(&mut table, u64_at(&header, 40)).map_err(|_| damaged())?;
    let section = |entry: &[u8]| Section {
        kind: u32_at(entry, 4),
        address: u64_at(entry, 16),
        offset: u64_at(entry, 24),
        bytes: u64_at(entry, 32),
        link: u32_at(entry, 40) as usize,
    };
    Ok((file, table.chunks_exact(SECTION_BYTES).map(section).collect()))
}

fn contents(file: &File, section: &Section) -> Result<Vec<u8>, Missing> {
    if section.bytes > MAX_SECTION_BYTES {
        return Err(damaged());
    }
    let mut bytes = vec![0; section.bytes as usize];
    file.read_exact_at(&mut bytes, section.offset).map_err(|_| damaged())?;
    Ok(bytes)
}

fn damaged() -> Missing {
    Missing("the file of libjvm.so is damaged".to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
