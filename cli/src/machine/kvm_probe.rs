//! Whether KVM is of use on this host, found out with a guest of a few instructions.
//!
//! That `/dev/kvm` opens says little: inside a virtual machine without VMX or SVM, KVM may emulate each guest
//! instruction at some 10,000 cycles, and then TCG is faster by orders of magnitude. The probe is a firmware
//! that says when it starts, counts down, says when it is through, and ends the machine.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    choice::Accelerator,
    qemu::{self, QEMU},
};
use crate::{
    failure::{Failure, Result},
    project::Project,
    scratch::ScratchFolder,
};

const KVM: &str = "/dev/kvm";

/// Rounds of the loop, two instructions each. A processor needs about 0.1 ms for them, an emulating KVM most
/// of a second.
const ROUNDS: u32 = 100_000;
/// How long the loop may take. Far above 0.1 ms, for the host may be busy.
const LOOP_PATIENCE: Duration = Duration::from_millis(150);
/// How long QEMU may take to start.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// What the firmware writes to the debug port before and after the loop.
const STARTED: u8 = b'S';
const DONE: u8 = b'E';

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Usable,
    /// And why; a phrase for the end of a sentence.
    Unusable(String),
}

/// The verdict as it is kept: it holds until the host starts anew.
#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    verdict: Verdict,
}

/// The verdict for this host, from an earlier probe since it started if there is one.
pub fn verdict(project: &Project) -> Result<Verdict> {
    qemu::check_installed()?;
    if let Err(error) = OpenOptions::new().read(true).write(true).open(KVM) {
        return Ok(Verdict::Unusable(match error.kind() {
            ErrorKind::NotFound => format!("there is no {KVM}"),
            ErrorKind::PermissionDenied => format!("no permission for {KVM}: join the group kvm"),
            _ => format!("{KVM} cannot be opened"),
        }));
    }
    let file = project.cache("host")?.join("kvm.json");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Some(kept) = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok())
        && kept.boot_id == boot_id
        && !boot_id.is_empty()
    {
        return Ok(kept.verdict);
    }
    let kept = Kept { boot_id, verdict: probe(qemu::accelerator_and_cpu(Accelerator::Kvm))? };
    if let Ok(bytes) = serde_json::to_vec(&kept) {
        // Without it the next run probes again.
        let _ = fs::write(&file, bytes);
    }
    Ok(kept.verdict)
}

/// Runs the probe with an accelerator and a CPU of QEMU's.
fn probe((accelerator, cpu): (&str, &str)) -> Result<Verdict> {
    let scratch = ScratchFolder::new_in(&std::env::temp_dir())?;
    let firmware = scratch.path().join("probe.bin");
    fs::write(&firmware, firmware_image()).map_err(Failure::io("write", &firmware))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU, "-machine", "microvm", "-cpu", cpu, "-m", "16M"]);
    command.args(["-accel", accelerator, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.arg("-bios").arg(&firmware);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|error| Failure::new(format!("cannot start setpriv: {error}")))?;
    let (sender, bytes) = mpsc::channel();
    let reader = child.stdout.take().map(|mut stdout| {
        thread::spawn(move || {
            let mut byte = [0];
            while let Ok(1) = stdout.read(&mut byte) {
                let _ = sender.send(byte[0]);
            }
        })
    });
    let verdict = match bytes.recv_timeout(START_PATIENCE) {
        Ok(STARTED) => match bytes.recv_timeout(LOOP_PATIENCE) {
            Ok(DONE) => Verdict::Usable,
            Err(RecvTimeoutError::Timeout) => {
                Verdict::Unusable("it emulates each instruction on this host, which is slower".into())
            }
            _ => Verdict::Unusable("it fails on this host".into()),
        },
        Err(RecvTimeoutError::Timeout) => Verdict::Unusable("it does not get a guest to start".into()),
        _ => Verdict::Unusable("QEMU fails with it on this host".into()),
    };
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    Ok(verdict)
}

/// A firmware of 64 KiB, in the real mode in which a processor starts at the reset vector, 16 bytes below its
/// end (Intel SDM volume 3, 10.1.4).
fn firmware_image() -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    const RESET_VECTOR: usize = SIZE - 16;
    let mut code = vec![
        0xb0, STARTED, 0xe6, 0xe9, // mov al, 'S'; out 0xe9, al
        0x66, 0xb9, // mov ecx, ROUNDS
    ];
    code.extend_from_slice(&ROUNDS.to_le_bytes());
    code.extend_from_slice(&[
        0x66, 0x49, // dec ecx
        0x75, 0xfc, // jnz, back to the dec
        0xb0, DONE, 0xe6, 0xe9, // mov al, 'E'; out 0xe9, al
        0xe6, 0xf4, // out 0xf4, al: the machine ends
        0xf4, 0xeb, 0xfd, // hlt; jmp back to it
    ]);
    let mut image = vec![0; SIZE];
    image[..code.len()].copy_from_slice(&code);
    // jmp near to offset 0: relative to the instruction after this one, modulo 64 KiB.
    let displacement = (SIZE - RESET_VECTOR - 3) as u16;
    image[RESET_VECTOR] = 0xe9;
    image[RESET_VECTOR + 1..RESET_VECTOR + 3].copy_from_slice(&displacement.to_le_bytes());
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_runs_through_under_tcg() {
        assert_eq!(probe(qemu::accelerator_and_cpu(Accelerator::Tcg)).unwrap(), Verdict::Usable);
    }

    #[test]
    fn an_accelerator_that_does_not_start_is_unusable() {
        assert!(matches!(probe(("nonsense", "max")).unwrap(), Verdict::Unusable(_)));
    }
}
