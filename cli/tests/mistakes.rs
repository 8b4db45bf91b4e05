//! Each mistake that a user can make gets one sentence on standard error, nothing on standard output, and
//! exit status 125; a wrong call gets clap's words and 2. The real program is run; nothing here boots.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn crema(words: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_crema")).args(words).env("CREMA_ROOT", root).output().unwrap()
}

/// Asserts that the mistake is told in one line, which holds `text`.
fn assert_mistake(words: &[&str], text: &str) {
    let output = crema(words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{words:?}: {stderr}");
    assert_eq!(output.stdout, b"", "{words:?}");
    assert_eq!(stderr.lines().count(), 1, "{words:?}: {stderr}");
    assert!(stderr.starts_with("crema: ") && stderr.contains(text), "{words:?}: {stderr}");
}

#[test]
fn files_that_are_no_jars() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    assert_mistake(&["run", &at("none.jar")], "there is no file");
    assert_mistake(&["run", &at("")], "is a folder, not a jar");
    fs::write(at("text.jar"), "text").unwrap();
    assert_mistake(&["run", &at("text.jar")], "is not a jar");
    assert_mistake(&["build", &at("text.jar"), "-o", &at("x.img")], "is not a jar");
    assert!(!Path::new(&at("x.img")).exists());
    fs::write(at("M.class"), [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61]).unwrap();
    assert_mistake(&["run", &at("M.class")], "is a class file");
    // An empty zip: the end of central directory record alone (APPNOTE.TXT, 4.3.16).
    fs::write(at("empty.jar"), [&b"PK\x05\x06"[..], &[0; 18]].concat()).unwrap();
    assert_mistake(&["run", &at("empty.jar")], "has no main class");
    assert_mistake(&["run", &at("empty.jar"), "--main", "p.M"], "there is no class p.M in");
    assert_mistake(&["run", "--classpath", &at("none"), "--main", "M"], "there is no file");
}

#[test]
fn damaged_images() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("x.img");
    let shown = image.display().to_string();
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let made = Command::new("/sbin/mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&image).status().unwrap();
    assert!(made.success());
    assert_mistake(&["run", &shown], "is a damaged image, or none of ours: it has no /etc/crema/image.json");
    fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    assert_mistake(&["run", &shown], "it is shorter than its file system");
}

#[test]
fn outputs_that_must_not_be_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious.txt").display().to_string();
    fs::write(&precious, "precious").unwrap();
    assert_mistake(&["build", "x.jar", "-o", &precious], "is not overwritten");
    assert_mistake(&["build", &precious, "-o", &precious], "would overwrite itself");
    assert_mistake(&["build", "x.jar", "-o", &folder.path().display().to_string()], "is a folder");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn networks_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    // What is wrong with the network is told before anything is looked at or built.
    let none = folder.path().join("none.jar").display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_mistake(&["run", &none, "-p", &format!("{port}:80")], "is taken already");
    assert_mistake(&["run", &none, "--net", "none", "-p", "0:80"], "-p needs --net user");
    assert_mistake(&["run", &none, "--net", "tap:nonesuch0"], "there is no network interface nonesuch0");
    assert_mistake(&["run", &none, "--ip", "192.168.0.9/24"], "is not in QEMU's user network");
}

#[test]
fn wrong_calls() {
    for words in [&[][..], &["run"], &["run", "x.jar", "--nonsense"], &["run", "x.jar", "y"], &["sing"]] {
        let output = crema(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(output.stdout, b"", "{words:?}");
    }
    assert_mistake(&["test", "nonsense"], "there is no suite nonsense");
}

#[test]
fn the_tests_can_be_listed() {
    let output = crema(&["test", "--list"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().lines().any(|line| line == "host workspace"));
}
