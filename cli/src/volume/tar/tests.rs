//! Archives of ours are read back, by us and by the host's tar, and its archives by us.

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn entry(path: &[u8], kind: Kind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        permissions: 0o644,
        uid: 0,
        gid: 0,
        modified: Timestamp { seconds: 1, nanoseconds: 0 },
        xattrs: vec![],
    }
}

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for (entry, contents) in entries {
        writer.start(entry).unwrap();
        writer.write_all(contents).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut contents = Vec::new();
        reader.read_to_end(&mut contents)?;
        entries.push((entry, contents));
    }
    Ok(entries)
}

prop_compose! {
    fn any_entry()(
        path in prop::collection::vec(1..=255u8, 1..300),
        target in prop::collection::vec(1..=255u8, 1..300),
        choice in 0..7,
        numbers in any::<(u16, u32, u32)>(),
        (seconds, nanoseconds) in (-(1i64 << 40)..1 << 40, prop_oneof![Just(0), 0..1_000_000_000u32]),
        xattrs in prop::collection::btree_map(
            prop::collection::vec(prop_oneof![1..b'=', b'>'..=255], 1..40), prop::collection::vec(any::<u8>(), 1..200), 0..4),
        contents in prop::collection::vec(any::<u8>(), 0..2000),
    ) -> (Entry, Vec<u8>) {
        let (mode, uid, gid) = numbers;
        let (major, minor) = (uid & 0xfff, gid & 0xf_ffff);
        let kind = match choice {
            0 => Kind::Regular { size: contents.len() as u64 },
            1 => Kind::Directory,
            2 => Kind::Symlink(target),
            3 => Kind::HardLink(target),
            4 => Kind::CharDevice { major, minor },
            5 => Kind::BlockDevice { major, minor },
            _ => Kind::Fifo,
        };
        let contents = if choice == 0 { contents } else { vec![] };
        let mut path = path;
        if choice == 0 {
            // A slash at its end would make it a directory.
            path.push(b'f');
        }
        let xattrs = xattrs.into_iter().collect();
        let modified = Timestamp { seconds, nanoseconds };
        (Entry { path, kind, permissions: mode & 0o7777, uid, gid, modified, xattrs }, contents)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(entries in prop::collection::vec(any_entry(), 0..5)) {
        prop_assert_eq!(read(&write(&entries)).unwrap(), entries);
    }

    #[test]
    fn damaged_archives_are_errors_at_most(entries in prop::collection::vec(any_entry(), 1..3), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = write(&entries);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = read(&bytes);
        let _ = read(&bytes[..at]);
    }
}

#[test]
fn large_files_and_sparse_ones_are_told() {
    let large = entry(b"large", Kind::Regular { size: 1 << 40 });
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).start(&large).unwrap();
    assert_eq!(Reader::new(&bytes[..]).next().unwrap(), Some(large));
    let mut header = Header::new();
    header.bytes[field::TYPE] = b'S';
    let problem = read(&header.finished()).unwrap_err().to_string();
    assert!(problem.contains("--sparse"), "{problem}");
    let problem = read(&[0x1f, 0x8b].repeat(256)).unwrap_err().to_string();
    assert!(problem.contains("zcat"), "{problem}");
    assert!(read(b"").is_err());
}

#[test]
fn times_before_1970_keep_their_fraction() {
    for (text, seconds, nanoseconds) in
        [("0", 0, 0), ("-1.250000000", -2, 750_000_000), ("1.000000001", 1, 1), ("-3", -3, 0)]
    {
        let time = Timestamp { seconds, nanoseconds };
        assert_eq!(show_time(time), text);
        assert_eq!(parse_time(text.as_bytes()), Some(time));
    }
    assert_eq!(parse_time(b"1.5"), Some(Timestamp { seconds: 1, nanoseconds: 500_000_000 }));
    assert_eq!(parse_time(b"1.0000000019"), Some(Timestamp { seconds: 1, nanoseconds: 1 }));
    assert_eq!(parse_time(b"1.x"), None);
}

#[test]
fn the_hosts_tar_understands_us_and_we_it() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(90), "n".repeat(90));
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join(&long)).unwrap();
    std::fs::write(tree.join(&long).join("file"), "contents").unwrap();
    std::os::unix::fs::symlink("to", tree.join("link")).unwrap();
    std::fs::hard_link(tree.join(&long).join("file"), tree.join("again")).unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        // v7 has no room for long names.
        let what = if format == "v7" { "link" } else { "." };
        let made = Command::new("tar")
            .args([
                "--format",
                format,
                "--sort=name",
                "--owner=7",
                "--group=8",
                "--mtime=@9",
                "-cf",
                "-",
                what,
            ])
            .current_dir(&tree)
            .output()
            .unwrap();
        assert!(made.status.success(), "{format}: {}", String::from_utf8_lossy(&made.stderr));
        let entries = read(&made.stdout).unwrap();
        let link = entries.iter().find(|(entry, _)| entry.path.ends_with(b"link")).unwrap();
        assert_eq!(link.0.kind, Kind::Symlink(b"to".to_vec()), "{format}");
        assert!(entries.iter().all(|(entry, _)| (entry.uid, entry.gid, entry.modified.seconds) == (7, 8, 9)));
        if format != "v7" {
            assert_eq!(entries.len(), 6, "{format}");
            assert!(entries.iter().any(|(_, contents)| contents == b"contents"), "{format}");
        }
        let mut listing = Command::new("tar");
        listing.args(["-tf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = listing.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&write(&entries)).unwrap();
        let listed = child.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), entries.len(), "{format}");
    }
}
