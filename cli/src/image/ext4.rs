//! ext4 file systems in files: making one of a recipe, reading one's files, and telling a sound one from a
//! damaged one. Needs no root: e2fsprogs does it all from user space.
//!
//! Responsible for the file system's parameters and for equal bytes from equal input. Not for where images
//! are kept (`cache`).

use std::{
    fs::{self, File, Permissions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ext4::superblock::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, Superblock};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::recipe::{Entry, Recipe, Source};
use crate::{
    failure::{Failure, Result},
    scratch::ScratchFolder,
};

pub const BLOCK_BYTES: u64 = 4096;

/// What a program can write into an image's root file system. The file is sparse, so it costs nothing until
/// it is used.
pub const FREE_BYTES: u64 = 2 << 30;

/// Journal, block groups and inode tables, roughly; the exact number depends on the size.
const OVERHEAD_BYTES: u64 = 96 << 20;

/// Spelled out, so that a host's /etc/mke2fs.conf makes no difference.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Fixed numbers, so that equal input makes equal images.
const UUID: &str = "63726d61-0000-4000-8000-000000000001";
const HASH_SEED: &str = "63726d61-0000-4000-8000-000000000002";

/// The time that counts as "now" while an image is made, in seconds since 1970: not 0, which e2fsprogs takes
/// for "not set".
const MADE_AT_SECONDS: i64 = 1;

/// First inode that is not the file system's own.
const FIRST_INODE: u64 = 11;

/// Makes an ext4 file system with the recipe's files in the file `image`. For a while, the files are also
/// copied into a folder below `parent`.
pub fn make(recipe: &Recipe, image: &Path, parent: &Path) -> Result<()> {
    let scratch = ScratchFolder::new_in(parent)?;
    let staging = scratch.path().join("root");
    fs::create_dir(&staging).map_err(Failure::io("make", &staging))?;
    stage(recipe, &staging)?;

    let bytes = recipe.content_bytes(BLOCK_BYTES)? + FREE_BYTES + OVERHEAD_BYTES;
    let file = File::create(image).map_err(Failure::io("make", image))?;
    file.set_len(bytes.next_multiple_of(128 << 20)).map_err(Failure::io("make", image))?;
    drop(file);

    let mut mke2fs = e2fsprogs("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0"]);
    mke2fs.args(["-J", "size=16", "-U", UUID, "-O", FEATURES]);
    mke2fs.args(["-E", &format!("hash_seed={HASH_SEED},root_owner=0:0,lazy_itable_init=1,nodiscard")]);
    mke2fs.arg("-d").arg(&staging).arg(image);
    output(mke2fs, "mke2fs")?;
    normalise_inodes(image, recipe)
}

/// Copies the recipe's files into a folder. Copies and not hard links: links would change the host's files'
/// inodes (link count, time of change), and need the same file system and, for most users, root.
fn stage(recipe: &Recipe, root: &Path) -> Result<()> {
    // The root is "/", the rest of a normalised path is relative.
    let staged = |guest: &Path| root.join(guest.strip_prefix("/").unwrap_or(guest));
    for (guest, entry) in recipe.entries() {
        let to = staged(guest);
        match entry {
            Entry::Directory { .. } => fs::create_dir(&to).map_err(Failure::io("make", &to))?,
            Entry::Symlink { target } => {
                std::os::unix::fs::symlink(target, &to).map_err(Failure::io("make", &to))?;
            }
            Entry::File { source: Source::Host(host), .. } => {
                fs::copy(host, &to).map_err(Failure::io("copy", host))?;
            }
            Entry::File { source: Source::Bytes(bytes), .. } => {
                fs::write(&to, bytes).map_err(Failure::io("write", &to))?;
            }
        }
    }
    // The loader's cache spares each program a search. Without one it searches the same folders, so a failure
    // of ldconfig is no failure of ours.
    let mut ldconfig = Command::new("/sbin/ldconfig");
    ldconfig.arg("-X").arg("-r").arg(root);
    let cache = root.join("etc/ld.so.cache");
    if output(ldconfig, "ldconfig").is_ok() && cache.exists() {
        set_modified(&cache, MADE_AT_SECONDS)?;
    }
    // Last, and inner ones first: making a file in a folder changes the folder's time, and needs its write
    // bit.
    let entries: Vec<_> = recipe.entries().collect();
    for (guest, entry) in entries.iter().rev() {
        let to = staged(guest);
        if let Entry::Directory { mode } | Entry::File { mode, .. } = entry {
            fs::set_permissions(&to, Permissions::from_mode(*mode)).map_err(Failure::io("write", &to))?;
        }
        let modified = match entry {
            Entry::File { source: Source::Host(host), .. } => {
                fs::metadata(host).map_err(Failure::io("read", host))?.mtime()
            }
            _ => MADE_AT_SECONDS,
        };
        set_modified(&to, modified)?;
    }
    set_modified(root, MADE_AT_SECONDS)
}

/// Sets the time of change of a file, or of a symbolic link itself.
fn set_modified(path: &Path, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Failure::io("set the time of", path)(error.into()))
}

/// Gives every file to root and sets the times that mke2fs took from the staging folder, which are those of
/// the copy and not of the original.
fn normalise_inodes(image: &Path, recipe: &Recipe) -> Result<()> {
    // The recipe's entries, the root, lost+found and the loader's cache. mke2fs numbers them in a row.
    let last = FIRST_INODE + recipe.entries().count() as u64 + 2;
    let mut script = String::new();
    for inode in std::iter::once(2).chain(FIRST_INODE..=last) {
        for field in ["uid 0", "gid 0", "atime @1", "ctime @1", "crtime @1"] {
            script.push_str(&format!("set_inode_field <{inode}> {field}\n"));
        }
    }
    let mut debugfs = e2fsprogs("debugfs");
    debugfs
        .args(["-w", "-f", "-"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let cannot = |error| Failure::new(format!("cannot run debugfs: {error}"));
    let mut child = debugfs.spawn().map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(cannot)?;
    }
    let status = child.wait().map_err(cannot)?;
    if status.success() { Ok(()) } else { Err(Failure::new("debugfs could not finish the image")) }
}

/// Reads a file out of an image; `None` if it is not there.
pub fn read_file(image: &Path, guest: &str) -> Result<Option<Vec<u8>>> {
    let mut debugfs = e2fsprogs("debugfs");
    debugfs.arg("-R").arg(format!("cat \"{guest}\"")).arg(image);
    let output = output(debugfs, "debugfs")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    // debugfs ends with 0 whatever happens; it always says its version on standard error.
    let complaints = complaint.lines().filter(|line| !line.starts_with("debugfs ")).count();
    Ok((complaints == 0 && !output.stdout.is_empty()).then_some(output.stdout))
}

/// The number of the first block of a file or folder in an image, for tests that damage it.
pub fn first_block(image: &Path, guest: &str) -> Result<u64> {
    let mut debugfs = e2fsprogs("debugfs");
    debugfs.arg("-R").arg(format!("blocks \"{guest}\"")).arg(image);
    let output = output(debugfs, "debugfs")?;
    let blocks = String::from_utf8_lossy(&output.stdout);
    blocks
        .split_whitespace()
        .next()
        .and_then(|block| block.parse().ok())
        .ok_or_else(|| Failure::new(format!("{guest} has no block in {}", image.display())))
}

/// What a file turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    /// An ext4 file system, but a broken one; and how it is broken.
    DamagedExt4(&'static str),
    Other,
}

/// As mke2fs has it by default.
const BYTES_PER_INODE: u64 = 16 << 10;

/// A block group with blocks of 4 KiB: as many blocks as one block of bitmap has bits.
const GROUP_BYTES: u64 = 8 * BLOCK_BYTES * BLOCK_BYTES;

/// A size as [`make_empty`] wants it: whole block groups, or a part of one.
pub fn whole_groups(bytes: u64) -> u64 {
    if bytes > GROUP_BYTES { bytes.next_multiple_of(GROUP_BYTES) } else { bytes }
}

/// Makes an empty file system that fills the file at `path`, with a label of 16 bytes at most. Unlike an image's, it is of this moment,
/// and has numbers of its own.
pub fn make_empty(path: &Path, label: &str) -> Result<()> {
    let label = label.get(..16).unwrap_or(label);
    let bytes = fs::metadata(path).map_err(Failure::io("read", path))?.len();
    // As many inodes as the group's other bitmap has bits, where there are several groups. rsext4 0.9.2 does not set the bits that a bitmap
    // has beyond that when it puts the first inode into a group; Linux does not mind, but e2fsck complains. Their tables take 6 % of the
    // size, and nothing of the host's disk.
    let inodes = if bytes > GROUP_BYTES { bytes / BLOCK_BYTES } else { bytes / BYTES_PER_INODE };
    let mut mke2fs = e2fsprogs("mke2fs");
    mke2fs.env_remove("E2FSPROGS_FAKE_TIME");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-N", &inodes.to_string()]);
    // The file is new, so all of it is zeros that need not be written again.
    let extended = "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    mke2fs.args(["-L", label, "-O", FEATURES, "-E", extended]);
    mke2fs.arg(path);
    output(mke2fs, "mke2fs").map(drop)
}

/// Makes a file system as large as its file is. It was checked just now, so that resize2fs need not ask for that.
pub fn grow(path: &Path) -> Result<()> {
    let mut resize2fs = e2fsprogs("resize2fs");
    resize2fs.env_remove("E2FSPROGS_FAKE_TIME").arg("-f").arg(path);
    output(resize2fs, "resize2fs").map(drop)
}

/// Replays the journal of a file system that was not left in order, and changes nothing else.
pub fn replay_journal(path: &Path) -> Result<()> {
    let mut e2fsck = e2fsprogs("e2fsck");
    e2fsck.env_remove("E2FSPROGS_FAKE_TIME").args(["-p", "-E", "journal_only"]).arg(path);
    output(e2fsck, "e2fsck").map(drop)
}

/// The superblock of an ext4 file system.
pub fn superblock_of(path: &Path) -> Result<Superblock> {
    let mut file = File::open(path).map_err(Failure::io("read", path))?;
    let mut bytes = [0; SUPERBLOCK_BYTES];
    file.seek(SeekFrom::Start(SUPERBLOCK_OFFSET))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(Failure::io("read", path))?;
    Superblock::parse(&bytes)
        .ok_or_else(|| Failure::new(format!("there is no ext4 file system in {}", path.display())))
}

/// Looks at the superblock: kernel documentation, "ext4 Data Structures and Algorithms", "The Super Block".
pub fn kind_of(path: &Path) -> Result<Kind> {
    let mut file = File::open(path).map_err(Failure::io("read", path))?;
    // By seeking, for a disk of the host has a size too.
    let length = file.seek(SeekFrom::End(0)).map_err(Failure::io("read", path))?;
    let mut block = [0; SUPERBLOCK_BYTES];
    if file.seek(SeekFrom::Start(SUPERBLOCK_OFFSET)).and_then(|_| file.read_exact(&mut block)).is_err() {
        return Ok(Kind::Other);
    }
    let Some(superblock) = Superblock::parse(&block) else { return Ok(Kind::Other) };
    let u32_at = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    const METADATA_CSUM: u32 = 0x400;
    if u32_at(0x64) & METADATA_CSUM != 0 && crc32c(&block[..0x3fc]) != u32_at(0x3fc) {
        return Ok(Kind::DamagedExt4("its superblock has a wrong checksum"));
    }
    if superblock.block_bytes().is_none() {
        return Ok(Kind::DamagedExt4("its superblock has an impossible block size"));
    }
    if superblock.total_bytes().is_none_or(|bytes| bytes > length) {
        return Ok(Kind::DamagedExt4("it is shorter than its file system"));
    }
    Ok(Kind::Ext4)
}

/// CRC-32C with ext4's conventions: initial value all ones, no final inversion.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 },
        )
    })
}

/// A program of the package e2fsprogs, which lives in a folder that an ordinary user's PATH leaves out.
pub fn e2fsprogs(name: &str) -> Command {
    let path = ["/usr/sbin", "/sbin"].map(|folder| PathBuf::from(folder).join(name));
    let mut command = Command::new(path.into_iter().find(|path| path.is_file()).unwrap_or(name.into()));
    command
        .env("E2FSPROGS_FAKE_TIME", MADE_AT_SECONDS.to_string())
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("LC_ALL", "C");
    command
}

fn output(mut command: Command, name: &str) -> Result<std::process::Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot start {name} ({error}): apt install e2fsprogs")))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Failure::new(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, time::Duration};

    use super::*;

    fn small() -> Recipe {
        let mut recipe = Recipe::default();
        recipe.bytes("/etc/crema/run.conf", "arg=/x\0").unwrap();
        recipe.bytes("/a b \"c\"", "quoted").unwrap();
        recipe.directory("/closed", 0o711).unwrap();
        recipe.bytes("/closed/f", "x").unwrap();
        recipe.symlink("/l", "etc").unwrap();
        recipe.bytes("/empty", "").unwrap();
        recipe
    }

    #[test]
    fn an_image_is_sound_readable_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1.img"), dir.path().join("2.img"));
        make(&small(), &one, dir.path()).unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        make(&small(), &two, dir.path()).unwrap();
        assert_eq!(kind_of(&one), Ok(Kind::Ext4));
        assert_eq!(read_file(&one, "/etc/crema/run.conf"), Ok(Some(b"arg=/x\0".to_vec())));
        assert_eq!(read_file(&one, "/none"), Ok(None));
        let check = e2fsprogs("e2fsck").args(["-f", "-n"]).arg(&one).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let same = Command::new("cmp").arg(&one).arg(&two).status().unwrap();
        assert!(same.success());
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("x.img");
        make(&small(), &image, dir.path()).unwrap();
        let file = OpenOptions::new().write(true).open(&image).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - 4096).unwrap();
        assert_eq!(kind_of(&image), Ok(Kind::DamagedExt4("it is shorter than its file system")));
        file.set_len(length).unwrap();
        assert_eq!(kind_of(&image), Ok(Kind::Ext4));
        std::os::unix::fs::FileExt::write_at(&file, b"x", 1024 + 0x78).unwrap();
        assert!(matches!(kind_of(&image), Ok(Kind::DamagedExt4(_))));
        fs::write(&image, "short").unwrap();
        assert_eq!(kind_of(&image), Ok(Kind::Other));
        fs::write(&image, [0xff; 8192]).unwrap();
        assert_eq!(kind_of(&image), Ok(Kind::Other));
    }

    #[test]
    fn the_checksum_is_the_standard_one() {
        // RFC 3720, B.4: 32 bytes of zeroes have the CRC-32C 0x8a9136aa (with the final inversion).
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
