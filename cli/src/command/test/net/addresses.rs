//! How a guest gets its addresses: from QEMU's user network, which has a DHCP server and an IPv6 router, or from the
//! user.

use super::{Fixture, Verdict, expect, guest::Guest};

/// The gateway of QEMU's user network, and an address of it that nobody has.
const ARGUMENTS: [&str; 2] = ["10.0.2.2", "10.0.2.77"];

pub fn by_dhcp_and_routers(fixture: &Fixture) -> Verdict {
    let guest = Guest::program(fixture, "Addresses", &[], &ARGUMENTS)?;
    let output = guest.tool.output()?;
    common(&output)?;
    expect("the first address", value(&output, "first"), "10.0.2.15")?;
    let prefixes = ["address: 10.0.2.15/24", "address: fec0:", "address: fe80:"];
    for prefix in prefixes {
        expect(prefix, output.lines().any(|line| line.starts_with(prefix)), true)?;
    }
    Ok(())
}

pub fn by_the_user(fixture: &Fixture) -> Verdict {
    let options = ["--ip", "10.0.2.40/24", "--gateway", "10.0.2.2", "--ip", "fec0::40/64"];
    let guest = Guest::program(fixture, "Addresses", &options, &ARGUMENTS)?;
    let output = guest.tool.output()?;
    common(&output)?;
    expect("the first address", value(&output, "first"), "10.0.2.40")?;
    let addresses: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("address: "))
        .filter(|address| !address.starts_with("fe80:"))
        .collect();
    let expected = ["10.0.2.40/24", "fec0:0:0:0:0:0:0:40/64"];
    for address in expected {
        expect(address, addresses.contains(&address), true)?;
    }
    expect("addresses but for the link's own", addresses.len(), expected.len())
}

/// What does not depend on where addresses come from.
fn common(output: &str) -> Verdict {
    expect("global addresses of IPv6", value(output, "global IPv6"), "1")?;
    expect("the gateway", value(output, "neighbour"), "true")?;
    // The JDK's words for EHOSTUNREACH.
    expect("a neighbour that is not there", value(output, "nobody").contains("No route to host"), true)?;
    expect("a group of IPv4", value(output, "group 239.1.2.3"), "hello")?;
    expect("a group of IPv6", value(output, "group ff05::1234"), "hello")?;
    let itself = output.lines().filter(|line| line.contains(" reaches itself: "));
    expect("addresses that are not reached", itself.filter(|line| line.ends_with("false")).count(), 0)
}

/// What stands behind a name and a colon.
fn value<'a>(output: &'a str, name: &str) -> &'a str {
    output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}
