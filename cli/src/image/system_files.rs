//! The files around a program: what glibc and the JVM expect to find in a small Debian system.
//!
//! Which ones they are was measured: the files that JVM programs open, and the errors they put up with.
//! Our own minimal content, nothing of the host's, but for the time zone and Debian's locale and character
//! sets. Not responsible for /proc, /sys and /dev, which the kernel makes: only for their mount points.

use std::{fs, path::Path};

use super::{library::HostLibraries, recipe::Recipe};
use crate::failure::Result;

const FOLDERS: [(&str, u32); 14] = [
    ("/app", 0o755),
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/opt", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/srv", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/usr/bin", 0o755),
    ("/var/tmp", 0o1777),
];

/// The links of Debian's merged /usr.
const LINKS: [(&str, &str); 6] = [
    ("/bin", "usr/bin"),
    ("/sbin", "usr/sbin"),
    ("/lib", "usr/lib"),
    ("/lib64", "usr/lib64"),
    ("/etc/mtab", "/proc/mounts"),
    ("/var/run", "/run"),
];

const TEXTS: [(&str, &str); 13] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tcrema\n"),
    ("/etc/hostname", "crema\n"),
    ("/etc/host.conf", "multi on\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
         protocols: files\nservices: files\n",
    ),
    // The name server that QEMU's user network offers.
    ("/etc/resolv.conf", "nameserver 10.0.2.3\n"),
    (
        "/etc/protocols",
        "ip\t0\tIP\nicmp\t1\tICMP\ntcp\t6\tTCP\nudp\t17\tUDP\nipv6\t41\tIPv6\nipv6-icmp\t58\tIPv6-ICMP\n",
    ),
    ("/etc/services", "domain\t53/tcp\ndomain\t53/udp\nhttp\t80/tcp\nhttps\t443/tcp\n"),
    ("/etc/networks", "default\t0.0.0.0\nloopback\t127.0.0.0\n"),
    ("/etc/shells", ""),
    (
        "/etc/os-release",
        "PRETTY_NAME=\"Crema\"\nNAME=\"Crema\"\nID=crema\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n",
    ),
    // Only what is in the image; ldconfig reads it when the image is made.
    ("/etc/ld.so.conf", "/usr/local/lib\n/usr/local/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n"),
];

/// Folders of the host's glibc that go in as they are.
const GLIBC_FOLDERS: [&str; 2] = ["/usr/lib/locale/C.utf8", "/usr/lib/x86_64-linux-gnu/gconv"];

/// Libraries that glibc or native libraries inside jars open by name: a jar's own libraries are not known
/// when the image is made, but what they are linked with is nearly always among these.
const OPENED_BY_NAME: [&str; 12] = [
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libgomp.so.1",
    "libm.so.6",
    "libnuma.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libz.so.1",
];

/// Adds the folders, links and texts that any program may expect.
pub fn add_base(recipe: &mut Recipe) -> Result<()> {
    for (path, target) in LINKS {
        recipe.symlink(path, target)?;
    }
    for (path, mode) in FOLDERS {
        recipe.directory(path, mode)?;
    }
    for (path, text) in TEXTS {
        recipe.bytes(path, text)?;
    }
    add_time_zone(recipe)
}

/// Adds the locale, the character sets, and the libraries that are opened by name.
pub fn add_glibc(recipe: &mut Recipe, libraries: &HostLibraries) -> Result<()> {
    for folder in GLIBC_FOLDERS.iter().filter(|folder| Path::new(folder).is_dir()) {
        recipe.tree(folder, folder, &|_| true)?;
    }
    for name in OPENED_BY_NAME {
        libraries.add_if_present(recipe, name)?;
    }
    Ok(())
}

/// The host's time zone: a program should show the same local time in the guest as outside it.
///
/// The JVM reads the name of the zone from the link, and takes the rules from its own tables.
fn add_time_zone(recipe: &mut Recipe) -> Result<()> {
    const FOLDER: &str = "/usr/share/zoneinfo";
    let link = Path::new("/etc/localtime");
    let zone = fs::read_link(link)
        .ok()
        .and_then(|target| link.parent()?.join(target).strip_prefix(FOLDER).map(Path::to_path_buf).ok())
        .filter(|zone| Path::new(FOLDER).join(zone).is_file());
    match zone {
        Some(zone) => {
            let file = Path::new(FOLDER).join(&zone);
            recipe.file(&file, &file)?;
            recipe.symlink(link, &file)?;
            recipe.bytes("/etc/timezone", format!("{}\n", zone.display()))
        }
        // A bare container has neither: glibc and the JVM then take UTC.
        None => recipe.bytes("/etc/timezone", "Etc/UTC\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_consistent() {
        let mut recipe = Recipe::default();
        add_base(&mut recipe).unwrap();
        add_glibc(&mut recipe, &HostLibraries::find().unwrap()).unwrap();
        for path in ["/etc/passwd", "/proc", "/tmp", "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
            assert!(recipe.contains(path), "{path}");
        }
    }
}
