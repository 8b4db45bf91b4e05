//! The first eight bytes of a class file: magic, minor version, major version (JVMS 4.1).

use std::io::{Read, Seek, SeekFrom};

use super::ClassVersion;

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xba, 0xbe];

/// Whether the file starts as a class file does. The position is put back to the start.
pub fn has_magic(file: &mut (impl Read + Seek)) -> bool {
    let mut magic = [0; 4];
    let matches = file.read_exact(&mut magic).is_ok() && magic == MAGIC;
    file.seek(SeekFrom::Start(0)).is_ok() && matches
}

/// The version of a class file, or how it is no class file (the second half of a sentence).
pub fn version(file: &mut impl Read) -> Result<ClassVersion, &'static str> {
    let mut head = [0; 8];
    file.read_exact(&mut head).map_err(|_| "is not a class file: it is too short or damaged")?;
    if head[..4] != MAGIC {
        return Err("is not a class file: it does not begin with CAFEBABE");
    }
    Ok(ClassVersion(u16::from_be_bytes([head[6], head[7]])))
}
