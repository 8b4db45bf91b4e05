//! Tells, as the launcher does, whether a file is a jar whose manifest can be read.
//!
//! Responsible for: the end record, the central directory (ZIP64 too), the manifest's compression
//! and the shape of its main section; formats by PKWARE's APPNOTE.TXT 4.3 and the JAR specification.
//! Not for the manifest's meaning: `LauncherHelper` reads `Main-Class` and the rest in Java. This
//! check exists because the launcher makes it before there is a VM, and its two messages are what a
//! user sees of a wrong path or a damaged jar.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END64_SIGNATURE: &[u8] = b"PK\x06\x06";
const END64_BYTES: usize = 56;
const END64_LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const END64_LOCATOR_BYTES: usize = 20;
const CENTRAL_SIGNATURE: &[u8] = b"PK\x01\x02";
const CENTRAL_BYTES: usize = 46;
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const ZIP64_EXTRA: u16 = 1;
const IN_ZIP64_EXTRA: u64 = 0xffff_ffff;
const MANIFEST: &[u8] = b"META-INF/MANIFEST.MF";

/// A manifest or a central directory larger than this is damage, not content.
const LARGEST_PART_BYTES: u64 = 1 << 30;

/// Why a jar file cannot be started.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file cannot be opened.
    Inaccessible,
    /// No zip file, no manifest in it, or neither can be read.
    Corrupt,
}

/// Checks the jar file at `path`.
///
/// # Errors
/// See [`Damage`].
pub fn check(path: &Path) -> Result<(), Damage> {
    let file = File::open(path).map_err(|_| Damage::Inaccessible)?;
    let manifest = read_manifest(&file).ok().flatten().ok_or(Damage::Corrupt)?;
    if is_well_formed(&manifest) { Ok(()) } else { Err(Damage::Corrupt) }
}

/// An entry of the central directory, with the values that may stand in its ZIP64 field.
struct Entry {
    method: u16,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    local_header: u64,
}

/// Where the central directory lies, in file offsets.
struct Directory {
    start: u64,
    bytes: u64,
    /// What stands before the archive (a start script, say): offsets in it count from its own start.
    prefix_bytes: u64,
}

/// `Ok(None)` is a file that is not what it should be.
fn read_manifest(file: &File) -> io::Result<Option<Vec<u8>>> {
    let Some(directory) = find_directory(file)? else { return Ok(None) };
    let records = read_at(file, directory.start, directory.bytes)?;
    let Some(entry) = find_entry(&records, MANIFEST) else { return Ok(None) };
    let Some(header_start) = directory.prefix_bytes.checked_add(entry.local_header) else { return Ok(None) };
    let header = read_at(file, header_start, LOCAL_BYTES as u64)?;
    if !header.starts_with(LOCAL_SIGNATURE) {
        return Ok(None);
    }
    let data_start =
        header_start + LOCAL_BYTES as u64 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
    let data = read_at(file, data_start, entry.compressed_bytes)?;
    Ok(match entry.method {
        0 => Some(data),
        8 if entry.uncompressed_bytes <= LARGEST_PART_BYTES => {
            let limit = usize::try_from(entry.uncompressed_bytes).unwrap_or(usize::MAX);
            miniz_oxide::inflate::decompress_to_vec_with_limit(&data, limit).ok()
        }
        _ => None,
    })
}

fn find_directory(file: &File) -> io::Result<Option<Directory>> {
    let file_bytes = file.metadata()?.len();
    let tail_bytes = file_bytes.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let tail_start = file_bytes - tail_bytes;
    let tail = read_at(file, tail_start, tail_bytes)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(END_SIGNATURE)
            && at + END_BYTES + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let Some(at) = (0..(tail.len() + 1).saturating_sub(END_BYTES)).rev().find(is_end) else {
        return Ok(None);
    };
    let end_start = tail_start + at as u64;
    let (bytes, start) = (u64::from(u32_at(&tail, at + 12)), u64::from(u32_at(&tail, at + 16)));
    if let Some(directory) = find_directory64(file, end_start)? {
        return Ok(Some(directory));
    }
    // The directory ends where the end record starts, whatever stands before the archive.
    Ok(end_start.checked_sub(bytes).and_then(|actual| {
        Some(Directory { start: actual, bytes, prefix_bytes: actual.checked_sub(start)? })
    }))
}

fn find_directory64(file: &File, end_start: u64) -> io::Result<Option<Directory>> {
    let Some(locator_start) = end_start.checked_sub(END64_LOCATOR_BYTES as u64) else { return Ok(None) };
    let locator = read_at(file, locator_start, END64_LOCATOR_BYTES as u64)?;
    if !locator.starts_with(END64_LOCATOR_SIGNATURE) {
        return Ok(None);
    }
    let end64_start = u64_at(&locator, 8);
    if end64_start.checked_add(END64_BYTES as u64).is_none_or(|end| end > locator_start) {
        return Ok(None);
    }
    let end64 = read_at(file, end64_start, END64_BYTES as u64)?;
    if !end64.starts_with(END64_SIGNATURE) {
        return Ok(None);
    }
    Ok(Some(Directory { start: u64_at(&end64, 48), bytes: u64_at(&end64, 40), prefix_bytes: 0 }))
}

fn find_entry(mut records: &[u8], name: &[u8]) -> Option<Entry> {
    while records.len() >= CENTRAL_BYTES && records.starts_with(CENTRAL_SIGNATURE) {
        let name_end = CENTRAL_BYTES + usize::from(u16_at(records, 28));
        let extra_end = name_end + usize::from(u16_at(records, 30));
        let end = extra_end + usize::from(u16_at(records, 32));
        if records.get(CENTRAL_BYTES..name_end)? == name {
            let mut extra = zip64_values(records.get(name_end..extra_end)?);
            let mut value = |at| match u64::from(u32_at(records, at)) {
                IN_ZIP64_EXTRA => extra.next(),
                value => Some(value),
            };
            // The ZIP64 field has the values in this order, and only those that the header lacks.
            let uncompressed_bytes = value(24)?;
            let compressed_bytes = value(20)?;
            let local_header = value(42)?;
            let method = u16_at(records, 10);
            return Some(Entry { method, compressed_bytes, uncompressed_bytes, local_header });
        }
        records = records.get(end..)?;
    }
    None
}

fn zip64_values(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut field: &[u8] = &[];
    while extra.len() >= 4 {
        let end = (4 + usize::from(u16_at(extra, 2))).min(extra.len());
        if u16_at(extra, 0) == ZIP64_EXTRA {
            field = &extra[4..end];
            break;
        }
        extra = &extra[end..];
    }
    field.chunks_exact(8).map(|value| u64_at(value, 0))
}

/// Whether the main section is made of `name: value` headers; the last line needs no line end, but a
/// continuation does.
fn is_well_formed(manifest: &[u8]) -> bool {
    // The launcher works on a C string.
    let text = manifest.split(|&b| b == 0).next().unwrap_or_default();
    let mut lines = Lines { rest: text };
    let Some(mut header) = lines.next_line().filter(|(line, _)| !line.is_empty()).map(|(l, _)| l.to_vec())
    else {
        return true;
    };
    loop {
        let next = lines.next_line();
        if let Some((continuation, ended)) = next
            && continuation.starts_with(b" ")
        {
            if !ended {
                return false;
            }
            header.extend_from_slice(&continuation[1..]);
            continue;
        }
        let colon = header.iter().position(|&b| b == b':');
        if colon.is_none_or(|colon| header.get(colon + 1) != Some(&b' ')) {
            return false;
        }
        match next {
            Some((line, _)) if !line.is_empty() => header = line.to_vec(),
            _ => return true,
        }
    }
}

/// Splits at CR, LF and CR LF, and tells whether the line had an end.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Option<(&'a [u8], bool)> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(end) = self.rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            return Some((std::mem::take(&mut self.rest), false));
        };
        let line = &self.rest[..end];
        let line_end_bytes = if self.rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.rest = &self.rest[end + line_end_bytes..];
        Some((line, true))
    }
}

fn read_at(file: &File, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes.min(LARGEST_PART_BYTES)).unwrap_or(usize::MAX);
    // Never trust a size out of a file with memory: the file is that large, or it is damaged.
    if offset.saturating_add(bytes as u64) > file.metadata()?.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A zip file with one stored or deflated entry.
    fn zip(name: &[u8], content: &[u8], deflated: bool) -> Vec<u8> {
        let data =
            if deflated { miniz_oxide::deflate::compress_to_vec(content, 6) } else { content.to_vec() };
        let mut common = Vec::new();
        common.extend_from_slice(&[20, 0, 0, 0, if deflated { 8 } else { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        common.extend_from_slice(&(data.len() as u32).to_le_bytes());
        common.extend_from_slice(&(content.len() as u32).to_le_bytes());
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        let mut file = [LOCAL_SIGNATURE, &common, name, &data].concat();
        let start = file.len() as u32;
        file.extend([CENTRAL_SIGNATURE, &[20, 0], &common, &[0; 14], name].concat());
        let bytes = file.len() as u32 - start;
        file.extend([END_SIGNATURE, &[0, 0, 0, 0, 1, 0, 1, 0]].concat());
        file.extend([bytes.to_le_bytes(), start.to_le_bytes()].concat());
        file.extend([0, 0]);
        file
    }

    fn check_bytes(bytes: &[u8]) -> Result<(), Damage> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("crema-manifest-{}-{number}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let result = check(&path);
        std::fs::remove_file(path).unwrap();
        result
    }

    const GOOD: &[u8] = b"Manifest-Version: 1.0\r\nMain-Class: a.\r\n B\r\n\r\nName: x\r\n";

    #[test]
    fn good_jars_pass() {
        assert_eq!(check_bytes(&zip(MANIFEST, GOOD, false)), Ok(()));
        assert_eq!(check_bytes(&zip(MANIFEST, GOOD, true)), Ok(()));
        assert_eq!(check_bytes(&[b"#!/bin/sh\n".to_vec(), zip(MANIFEST, GOOD, true)].concat()), Ok(()));
        assert_eq!(check_bytes(&zip(MANIFEST, b"Main-Class: x", false)), Ok(()));
        assert_eq!(check_bytes(&zip(MANIFEST, b"", false)), Ok(()));
    }

    #[test]
    fn damage_is_told_apart() {
        assert_eq!(check(Path::new("/no/such.jar")), Err(Damage::Inaccessible));
        for bad in [
            &b""[..],
            b"junk",
            &zip(b"a.txt", GOOD, false),
            &zip(MANIFEST, b"garbage\n", false),
            &zip(MANIFEST, b"A: b\n c", false),
            &zip(MANIFEST, b"A:b\n", false),
        ] {
            assert_eq!(check_bytes(bad), Err(Damage::Corrupt), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(cuts in 0usize..200, at in 0usize..200, value: u8, deflated: bool) {
            let mut file = zip(MANIFEST, GOOD, deflated);
            let length = file.len();
            file[at.min(length - 1)] = value;
            file.truncate(length - cuts.min(length));
            let _ = check_bytes(&file);
        }
    }
}
