//! An archive that the kernel unpacks as its first root: cpio in the "newc" format,
//! Documentation/driver-api/early-userspace/buffer-format.rst.

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Types of files in modes, inode(7).
const REGULAR_FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

impl Archive {
    /// Adds a folder, by a path without a leading slash. It must come before what is in it.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER | 0o755, &[]);
    }

    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR_FILE | permissions, content);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        let (uid, gid, links, time, device, checksum) = (0, 0, 1, 0, 0, 0);
        let fields = [
            self.entries,
            mode,
            uid,
            gid,
            links,
            time,
            size,
            device,
            device,
            device,
            device,
            name_size,
            checksum,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Headers and contents begin at multiples of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_documented_form() {
        let mut archive = Archive::default();
        archive.folder("d");
        archive.file("d/f", 0o444, b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("07070100000001000041ed000000000000000000000001"));
        let second = &text[112..];
        assert!(second.starts_with("070701000000020000812400000000"));
        assert_eq!(&second[110..122], "d/f\0\0\0hello\0");
        assert_eq!(text.len() % 4, 0);
        assert!(text.contains(TRAILER));
    }
}
