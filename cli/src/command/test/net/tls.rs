//! TLS between host and guest, with the JDK's server and client on either side.

use std::process::{Command, Stdio};

use super::{
    Fixture, Verdict,
    guest::{Guest, Running},
};
use crate::image::jre::JAVA_HOME;

const PASSWORD: &str = "password";
/// Where the key store lies in the guest.
const GUEST_STORE: &str = "/app/keys.p12";

/// Makes a key, and a certificate for the host as it is seen from itself and from a guest.
fn make_keys(fixture: &Fixture) -> Result<String, String> {
    let store = fixture.path("keys.p12");
    let shown = store.display().to_string();
    if store.exists() {
        return Ok(shown);
    }
    let mut keytool = Command::new(format!("{JAVA_HOME}/bin/keytool"));
    keytool.args(["-genkeypair", "-alias", "server", "-keyalg", "EC", "-groupname", "secp256r1"]);
    // The certificate is its own authority, and both sides take the store for what they trust. A guest's clock may be a little behind.
    keytool.args(["-dname", "CN=crema", "-ext", "SAN=ip:127.0.0.1,ip:10.0.2.2", "-startdate", "-1d"]);
    keytool.args(["-validity", "30", "-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore", &shown]);
    keytool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(keytool)?.output()?;
    Ok(shown)
}

fn verify(output: &str, length: &str) -> Verdict {
    for line in [
        format!("status 200, loaded {length}"),
        format!("status 200, sent {length}"),
        "TLS 1.3: true".to_string(),
    ] {
        if !output.lines().any(|other| other == line) {
            return Err(format!("the client did not say {line:?} but\n{output}"));
        }
    }
    Ok(())
}

pub fn server_in_the_guest(fixture: &Fixture) -> Verdict {
    let store = make_keys(fixture)?;
    let file = format!("{store}={GUEST_STORE}");
    let guest = Guest::program(
        fixture,
        "TlsServer",
        &["-p", "0:8443", "--file", &file],
        &["8443", GUEST_STORE, PASSWORD],
    )?;
    guest.wait_for("ready on 8443")?;
    let length = fixture.by_length("4000000", "100000000");
    let url = format!("https://127.0.0.1:{}", guest.port(0));
    let client = fixture.java("programs", &["TlsClient", &url, &store, PASSWORD, length]);
    verify(&Running::start(client)?.output()?, length)?;
    guest.stop()
}

pub fn client_in_the_guest(fixture: &Fixture) -> Verdict {
    let store = make_keys(fixture)?;
    let server = Running::start(fixture.java("programs", &["TlsServer", "0", &store, PASSWORD]))?;
    let ready = server.wait_for("ready on ")?;
    let port = ready.rsplit(' ').next().unwrap_or_default();
    let length = fixture.by_length("4000000", "100000000");
    // QEMU's user networking has the host there.
    let url = format!("https://10.0.2.2:{port}");
    let file = format!("{store}={GUEST_STORE}");
    let guest =
        Guest::program(fixture, "TlsClient", &["--file", &file], &[&url, GUEST_STORE, PASSWORD, length])?;
    verify(&guest.tool.output()?, length)
}
