//! Damaged images: errors, never a crash.
//!
//! Each image is worked on in a process of its own, so that a panic inside the crate is one failure and
//! not the end of the test. `CREMA_HOSTILE_IMAGES` sets how many (default: 25).

mod support;

use std::{ops::ControlFlow, process::Command, sync::Arc, time::Duration};

use block::MemoryDisk;
use linux_abi::file::{FileType, OpenFlags};
use support::{Random, Scratch, Tree, make_image, tool};
use vfs::{NewInode, Path};

/// Visits everything below `directory`, however damaged, a bounded number of steps deep and wide.
fn visit(tree: &Tree, directory: &Path, budget: &mut usize, depth: usize) {
    let request =
        vfs::OpenRequest { access: vfs::AccessMode::ReadOnly, flags: OpenFlags::DIRECTORY, permissions: 0 };
    let Ok(file) = tree.names.open(directory, b".", &request) else { return };
    let mut names = Vec::new();
    let _ = file.read_directory(&mut |entry| {
        names.push(entry.name.to_vec());
        if names.len() < 200 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for name in names {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let Ok(path) = tree.names.resolve(directory, &name, vfs::FinalLink::Stay) else { continue };
        let _ = path.inode().metadata();
        let _ = path.inode().xattr_names();
        match path.inode().kind() {
            FileType::Directory if name != b"." && name != b".." && depth < 8 => {
                visit(tree, &path, budget, depth + 1);
            }
            FileType::Symlink => drop(path.inode().read_link()),
            FileType::Regular => {
                let mut buffer = vec![0; 50_000];
                let _ = path.inode().read_at(0, &mut &mut buffer[..]);
                let _ = path.inode().read_at(1 << 20, &mut &mut buffer[..]);
            }
            _ => {}
        }
    }
}

/// Mounts, reads and changes an image.
fn work_on(image: Vec<u8>) {
    let Ok(tree) = Tree::mount(Arc::new(MemoryDisk::new(image))) else { return };
    visit(&tree, tree.root(), &mut 1000, 0);
    let _ = tree.write_at("dir/new", 0, &[1; 20_000]);
    let _ = tree.write_at("dir/file-3", 100, &[2; 50_000]);
    let _ = tree.make("dir/subdirectory", NewInode::Directory);
    let _ = tree.rename("dir/file-4", "dir/file-5");
    let _ = tree.unlink("dir/file-6");
    if let Ok(path) = tree.find("dir/large") {
        let _ = path.inode().truncate(10_000);
    }
    let _ = tree.file_system.shut_down();
}

/// Changes an image: whole metadata blocks that matter, or single bytes anywhere in the metadata.
fn damage(image: &mut [u8], random: &mut Random) {
    let metadata = image.len().min(3 << 20) as u64;
    match random.below(4) {
        0 => (0..1 + random.below(8)).for_each(|_| {
            let at = 1024 + random.below(1024) as usize;
            image[at] = random.below(256) as u8;
        }),
        1 => (0..1 + random.below(200)).for_each(|_| {
            let at = random.below(metadata) as usize;
            image[at] ^= 1 << random.below(8);
        }),
        2 => {
            let block = random.below(metadata / 1024) as usize * 1024;
            let value = [0, 0xff][random.below(2) as usize];
            image[block..block + 1024].fill(value);
        }
        _ => {
            let (from, to) = (random.below(metadata / 1024) as usize, random.below(metadata / 1024) as usize);
            image.copy_within(from * 1024..from * 1024 + 1024, to * 1024);
        }
    }
}

/// The images' checksums would catch nearly every change: without them it is up to the code.
const OPTIONS: &[&str] = &["-b", "1024", "-O", "^metadata_csum,^64bit", "-J", "size=1"];
const CHILD: &str = "CREMA_HOSTILE_CHILD";

fn base_image(mke2fs: &std::path::Path) -> Vec<u8> {
    let scratch = Scratch::new();
    let source = scratch.path("tree");
    std::fs::create_dir_all(source.join("dir")).unwrap();
    for n in 0..40 {
        std::fs::write(source.join(format!("dir/file-{n}")), vec![n as u8; n * 700]).unwrap();
    }
    std::fs::write(source.join("dir/large"), vec![9; 600_000]).unwrap();
    std::os::unix::fs::symlink("dir/large", source.join("link")).unwrap();
    make_image(mke2fs, Some(&source), "6M", OPTIONS)
}

/// Not a test of its own: what the child process of the one below runs.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(CHILD) {
        work_on(std::fs::read(path).unwrap());
    }
}

#[test]
fn damaged_images_give_errors() {
    let Some(mke2fs) = tool("mke2fs") else { return };
    let count: u64 = std::env::var("CREMA_HOSTILE_IMAGES").map_or(25, |count| count.parse().unwrap());
    let first: u64 = std::env::var("CREMA_HOSTILE_FIRST").map_or(0, |first| first.parse().unwrap());
    let base = base_image(&mke2fs);
    let scratch = Scratch::new();
    let path = scratch.path("image");
    let mut failures = Vec::new();
    for seed in first..first + count {
        let mut image = base.clone();
        damage(&mut image, &mut Random::new(seed));
        std::fs::write(&path, &image).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(scratch.path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut waited = 0;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if waited > 2000 => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
            waited += 1;
        };
        if !status.is_some_and(|status| status.success()) {
            let log = std::fs::read_to_string(scratch.path("log")).unwrap_or_default();
            let panic = log.lines().skip_while(|line| !line.contains("panicked")).take(2).collect::<Vec<_>>();
            failures.push(format!("image {seed}: {status:?} {}", panic.join(" ")));
        }
    }
    assert!(failures.is_empty(), "{} of {count} images:\n{}", failures.len(), failures.join("\n"));
}
