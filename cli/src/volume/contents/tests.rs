//! Archives go into a volume and come out of it the same; e2fsck and debugfs agree.

use std::process::Command;

use vfs::Timestamp;

use super::*;
use crate::{
    image::ext4::{e2fsprogs, make_empty},
    volume::tar,
};

fn volume(megabytes: u64) -> (tempfile::TempDir, File) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
    make_empty(&path, "test").unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    (folder, file)
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        permissions: 0o4751,
        uid: 70_000,
        gid: 5,
        modified: Timestamp { seconds: 1_234_567_890, nanoseconds: 0 },
        xattrs: vec![],
    }
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    for (entry, contents) in entries {
        writer.start(entry).unwrap();
        writer.write_all(contents).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn e2fsck(folder: &tempfile::TempDir) {
    let check = e2fsprogs("e2fsck").args(["-f", "-n"]).arg(folder.path().join("volume")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn an_archive_comes_back_as_it_went_in() {
    let (folder, file) = volume(32);
    let mut sparse = vec![0; 3 << 20];
    sparse[2 << 20] = 1;
    let contents = b"contents".to_vec();
    let with_xattrs = Entry {
        xattrs: vec![(b"user.binary".to_vec(), b"\n=\0\xff".to_vec()), (b"user.more".to_vec(), vec![])],
        ..entry("./b/file", Kind::Regular { size: contents.len() as u64 })
    };
    let long = format!("./b/{}", "n".repeat(255));
    // In the order in which they are exported.
    let entries = [
        (entry("./", Kind::Directory), vec![]),
        (entry("./a", Kind::Symlink(b"b/file".to_vec())), vec![]),
        (entry("./b/", Kind::Directory), vec![]),
        (entry("./b/device", Kind::CharDevice { major: 10, minor: 300 }), vec![]),
        (with_xattrs, contents.clone()),
        (entry("./b/hard", Kind::HardLink(b"./b/file".to_vec())), vec![]),
        (entry(&long, Kind::Symlink("t".repeat(300).into())), vec![]),
        (entry("./b/pipe", Kind::Fifo), vec![]),
        (entry("./b/sparse", Kind::Regular { size: sparse.len() as u64 }), sparse),
        (entry("./empty", Kind::Regular { size: 0 }), vec![]),
    ];
    assert_eq!(import(&file, &archive(&entries)[..]).unwrap(), LeftOut::default());
    e2fsck(&folder);

    let mut exported = Vec::new();
    assert_eq!(export(&file, &mut exported).unwrap(), LeftOut::default());
    let mut reader = tar::Reader::new(&exported[..]);
    for (entry, contents) in &entries {
        let mut got = reader.next().unwrap().unwrap();
        got.xattrs.sort();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        let mut expected = entry.clone();
        if matches!(entry.kind, Kind::Symlink(_)) {
            // symlink(7): the permissions of a link are always these.
            expected.permissions = 0o777;
        }
        if matches!(entry.kind, Kind::HardLink(_)) {
            // It has those of the file, which are the same here.
            got.xattrs.clear();
        }
        assert_eq!((got, read.len()), (expected, contents.len()));
        assert_eq!(&read, contents);
    }
    assert_eq!(reader.next().unwrap(), None);
    let stat = Command::new("/sbin/debugfs")
        .args(["-R", "stat /b/sparse"])
        .arg(folder.path().join("volume"))
        .output()
        .unwrap();
    let stat = String::from_utf8_lossy(&stat.stdout).into_owned();
    // One block of 4 KiB, in units of 512 bytes.
    assert!(stat.contains("Blockcount: 8\n") && stat.contains("Mode:  04751"), "{stat}");
}

#[test]
fn a_second_archive_replaces_and_merges() {
    let (folder, file) = volume(32);
    let regular =
        |path, text: &str| (entry(path, Kind::Regular { size: text.len() as u64 }), text.as_bytes().to_vec());
    import(&file, &archive(&[regular("d/one", "1"), regular("d/two", "2")])[..]).unwrap();
    import(&file, &archive(&[(entry("d", Kind::Directory), vec![]), regular("/d/two", "two")])[..]).unwrap();
    let mut exported = Vec::new();
    export(&file, &mut exported).unwrap();
    let mut reader = tar::Reader::new(&exported[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        found.push((String::from_utf8(entry.path).unwrap(), text));
    }
    let expected = [("./", ""), ("./d/", ""), ("./d/one", "1"), ("./d/two", "two")];
    assert_eq!(found, expected.map(|(path, text)| (path.to_string(), text.to_string())));
    for (bad, part) in [
        (regular("../x", ""), "leads out"),
        (regular("d/one/x", ""), "ENOTDIR"),
        (regular("d", ""), "has a directory there"),
        ((entry("x", Kind::HardLink(b"none".to_vec())), vec![]), "ENOENT"),
    ] {
        let sentence = import(&file, &archive(&[bad])[..]).unwrap_err().to_string();
        assert!(sentence.contains(part), "{sentence}");
    }
    e2fsck(&folder);
}

#[test]
fn a_volume_that_is_too_small_is_left_in_order() {
    let (folder, file) = volume(16);
    let contents: Vec<u8> = (0..64u32 << 20).map(|number| (number >> 12) as u8 | 1).collect();
    let large = entry("large", Kind::Regular { size: contents.len() as u64 });
    let sentence = import(&file, &archive(&[(large, contents)])[..]).unwrap_err().to_string();
    assert_eq!(sentence, "large: the volume is full");
    e2fsck(&folder);
}

#[test]
fn a_volume_of_several_block_groups_is_sound_when_each_has_files() {
    let (folder, file) = volume(512);
    // Directories are spread over the groups.
    let directories = (0..24).map(|number| (entry(&format!("d{number}"), Kind::Directory), vec![]));
    let files = (0..24).map(|number| {
        let contents = vec![number + 1; 10_000];
        (entry(&format!("d{number}/f"), Kind::Regular { size: contents.len() as u64 }), contents)
    });
    let entries: Vec<_> = directories.chain(files).collect();
    import(&file, &archive(&entries)[..]).unwrap();
    e2fsck(&folder);
}
