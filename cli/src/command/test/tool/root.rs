//! What becomes of what a program writes to its root: nothing, or all of it.

use rustix::process::Signal;

use super::{Fixture, Verdict, call, expect, failures::expect_sentence, wait_until_ready};
use crate::image::ext4;

/// Two machines on one image at a time, neither of which changes it; `--writable-root` does, and has it alone.
pub fn the_root_is_shared_and_not_changed(fixture: &Fixture) -> Verdict {
    let (jar, image) = (fixture.path("program.jar"), fixture.path("shared.img"));
    let built = call(fixture.command(&["build", &jar, "-o", &image]))?;
    expect("status of crema build", built.status, Some(0), &built)?;
    let remember = |options: &[&str], what: &str, notes: &str| {
        let ended = call(fixture.run(&image, options, &["remember", what]))?;
        expect("standard output", ended.stdout.as_str(), notes, &ended)?;
        expect("status", ended.status, Some(0), &ended)
    };
    let writable = ["--writable-root"];

    let other = wait_until_ready(fixture.run(&image, &[], &["wait"]))?;
    remember(&[], "one", "[one]\n")?;
    let refused = call(fixture.run(&image, &writable, &["hello"]))?;
    expect_sentence(&refused, &["shared.img", "in use by another run"])?;
    other.signal(Signal::TERM)?;
    other.end()?;

    remember(&writable, "two", "[two]\n")?;
    let check = ext4::e2fsprogs("e2fsck").args(["-f", "-n", &image]).output();
    let check = check.map_err(|error| error.to_string())?;
    if !check.status.success() {
        return Err(format!("e2fsck: {}", String::from_utf8_lossy(&check.stdout)));
    }
    let reader = wait_until_ready(fixture.run(&image, &writable, &["wait"]))?;
    let refused = call(fixture.run(&image, &[], &["hello"]))?;
    expect_sentence(&refused, &["shared.img", "in use by a run with --writable-root"])?;
    drop(reader);
    // That machine was killed while it could have written.
    remember(&writable, "three", "[two, three]\n")?;
    remember(&[], "four", "[two, three, four]\n")?;

    let refused = call(fixture.run(&jar, &writable, &["hello"]))?;
    expect_sentence(&refused, &["--writable-root needs an image of your own", "crema build"])
}
