//! The files that the C library's resolver reads: `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname` (`resolv.conf(5)`,
//! `hosts(5)`).
//!
//! An image has all three, for a machine named `crema` behind QEMU's user network. What a run knows better is written
//! over that when it is known: the name at the start, name servers when a user, DHCP or a router has told them.

use alloc::{format, string::String};

use inet::Net;
use ip::Change;

use crate::{fs, syscall::info};

const RESOLVER_FILE: &str = "/etc/resolv.conf";
const HOSTS_FILE: &str = "/etc/hosts";
const HOSTNAME_FILE: &str = "/etc/hostname";

/// Most name servers that the C library asks (`MAXNS`).
const SERVERS_MAX: usize = 3;

/// Writes the machine's name where it differs from the image's.
pub fn write_names() {
    let name = info::hostname();
    let line = format!("{name}\n");
    match fs::read_file(HOSTNAME_FILE) {
        Ok(known) if known == line.as_bytes() => return,
        _ => {}
    }
    replace(HOSTNAME_FILE, &line);
    let hosts = fs::read_file(HOSTS_FILE).unwrap_or_default();
    replace(HOSTS_FILE, &with_name(&String::from_utf8_lossy(&hosts), &name));
}

/// The hosts file with this name for the machine itself, at 127.0.1.1 as Debian has it.
fn with_name(hosts: &str, name: &str) -> String {
    let others = hosts.lines().filter(|line| !line.starts_with("127.0.1.1"));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    // A name with dots gives the short one, too.
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name { name.into() } else { format!("{name} {short}") };
    text += &format!("127.0.1.1\t{names}\n");
    text
}

/// Follows what the network finds out.
pub fn follow(net: &Net, change: &Change) {
    if *change != Change::Dns {
        return;
    }
    let dns = net.ip.dns();
    if dns.servers.is_empty() {
        return;
    }
    let servers = dns.servers.iter().take(SERVERS_MAX).map(|server| format!("nameserver {server}\n"));
    let mut text: String = servers.collect();
    if !dns.search.is_empty() {
        text += &format!("search {}\n", dns.search.join(" "));
    }
    match fs::read_file(RESOLVER_FILE) {
        Ok(known) if known == text.as_bytes() => {}
        _ => replace(RESOLVER_FILE, &text),
    }
}

fn replace(path: &str, text: &str) {
    if let Err(error) = fs::replace_file(path, text.as_bytes()) {
        log::warn!("{path} cannot be written: {error:?}");
    }
}
