//! The suite of the network: real services in guests, and real clients on the host.
//!
//! The tool is called as a user calls it ([`services`]); clients are wrk, Java programs (`tests/net`), and what is written here. Between
//! guest and host is QEMU's user networking, or [`wire`]: a cable of our own that can lose, repeat, reorder and damage frames, and on which frames
//! can be forged. Expectations hold for any kernel: with the hidden option `--linux` the guests are Linux, which is how these tests are
//! tested. Nothing here asserts a time.

mod addresses;
mod echo;
mod ensemble;
mod hostile;
mod http;
mod names;
pub mod switch;
mod tls;
pub mod wire;
mod zookeeper;

use std::{fs, path::PathBuf};

use super::{
    Context, Suite, Test, java,
    services::{self, Check, Fixture, Verdict, expect, guest},
};
use crate::{
    appliance::Manifest,
    failure::{Failure, Result},
    options::ApplicationOptions,
};

const CHECKS: [(&str, Check); 21] = [
    ("addresses/by-dhcp-and-routers", addresses::by_dhcp_and_routers),
    ("addresses/by-the-user", addresses::by_the_user),
    ("http/keep-alive", http::keep_alive),
    ("http/keep-alive-on-microvm", http::keep_alive_on_microvm),
    ("http/keep-alive-without-channels", http::keep_alive_without_channels),
    ("http/short-connections", http::short_connections),
    ("http/pipelines-and-broken-clients", http::pipelines_and_broken_clients),
    ("http/download-and-upload", http::download_and_upload),
    ("http/tomcat", http::tomcat),
    ("tls/server-in-the-guest", tls::server_in_the_guest),
    ("tls/client-in-the-guest", tls::client_in_the_guest),
    ("udp/echo", echo::echo),
    ("udp/multicast", echo::multicast),
    ("names/by-udp-and-tcp", names::by_udp_and_tcp),
    ("lossy/one-percent", hostile::one_percent),
    ("lossy/five-percent", hostile::five_percent),
    ("hostile/floods", hostile::floods),
    ("hostile/broken-frames", hostile::broken_frames),
    ("zookeeper/clients", zookeeper::clients),
    ("zookeeper/stall-of-the-link", zookeeper::stall_of_the_link),
    ("zookeeper/ensemble-loses-its-leader", ensemble::loses_its_leader),
];

pub struct NetSuite;

impl Suite for NetSuite {
    fn name(&self) -> &'static str {
        "net"
    }

    fn names(&self, context: &Context) -> Result<Vec<String>> {
        let there = tests_folder(context).is_dir();
        Ok(if there { CHECKS.iter().map(|(name, _)| name.to_string()).collect() } else { vec![] })
    }

    fn prepare<'a>(&self, context: &'a Context, names: &[String]) -> Result<Vec<Test<'a>>> {
        Ok(services::tests(fixture(context)?, &CHECKS, names))
    }

    fn runs_guests(&self) -> bool {
        true
    }

    /// Some tests have three guests at once, and all have clients that want the host's CPUs too.
    fn uses_whole_host(&self) -> bool {
        true
    }
}

fn tests_folder(context: &Context) -> PathBuf {
    context.project.root().join("tests/net")
}

/// With the classes of `programs` and of `zookeeper`, which are clients, or both client and server.
fn fixture(context: &Context) -> Result<Fixture> {
    let mut fixture = Fixture::make(context)?;
    let tests = tests_folder(context);
    let none = ApplicationOptions::default();
    let programs = Manifest::read(&tests.join("programs"))?.prepare(&none, &context.project)?;
    fixture.add_class_path("programs", programs.options.class_path.join(":"));

    let server = Manifest::read(&context.project.root().join("apps/zookeeper"))?;
    let mut class_path = server.prepare(&none, &context.project)?.options.class_path;
    let classes = fixture.path("zookeeper");
    fs::create_dir(&classes).map_err(Failure::io("make", &classes))?;
    let source = tests.join("zookeeper/ZooKeeperClient.java");
    java::compile_with("net/zookeeper", &[source], &classes, &class_path.join(":"))?;
    class_path.insert(0, classes.display().to_string());
    fixture.add_class_path("zookeeper", class_path.join(":"));
    Ok(fixture)
}
