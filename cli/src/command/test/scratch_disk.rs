//! The disk on which a test's files are: a volume of its own in the guest, with an empty ext4, gone when the test ends.
//!
//! A program may ask for a disk that fails. A line of its source, `// disk fault: KIND FILE`, makes a file of that name in the
//! volume's root, [`FILE_BYTES`] of `v` long, and lets what KIND says of its first block fail with EIO:
//! `write`, `read`, or `write-once` for one time only. QEMU's blkdebug driver does that.

use std::path::PathBuf;

use run_config::{Volume, VolumeAccess};

use crate::{
    failure::{Failure, Result},
    image::{ext4, recipe::Recipe},
    machine::qemu::quoted,
    options::MachineKind,
    scratch::ScratchFolder,
};

/// Where the guest has it.
pub const PLACE: &str = "/volume";
const SERIAL: &str = "crema-vol-0";

/// Size of a file with a fault.
const FILE_BYTES: usize = 64 << 10;
const SECTOR_BYTES: u64 = 512;

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Read,
    Write,
    WriteOnce,
}

/// The faults that a program's source asks for.
pub fn faults_of(source: &str) -> Result<Vec<Fault>> {
    let wanted = source.lines().filter_map(|line| line.strip_prefix("// disk fault: "));
    wanted
        .map(|text| {
            let (kind, file) = text.split_once(' ').unwrap_or((text, ""));
            let kind = match kind {
                "read" => FaultKind::Read,
                "write" => FaultKind::Write,
                "write-once" => FaultKind::WriteOnce,
                _ => return Err(Failure::new(format!("no such disk fault: {text}"))),
            };
            let is_name = !file.is_empty() && file.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !is_name {
                return Err(Failure::new(format!("a disk fault needs a plain file name: {text}")));
            }
            Ok(Fault { kind, file: file.into() })
        })
        .collect()
}

/// How large the blocks are in which the disk thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    Of512,
    Of4096,
}

/// A volume in a file.
pub struct ScratchDisk {
    /// Removes the file.
    _folder: ScratchFolder,
    file: PathBuf,
    blocks: Blocks,
    /// Sector and kind.
    faults: Vec<(u64, FaultKind)>,
}

impl ScratchDisk {
    pub fn new(blocks: Blocks, faults: &[Fault]) -> Result<Self> {
        let folder = ScratchFolder::new_in(&std::env::temp_dir())?;
        let file = folder.path().join("volume.img");
        let mut recipe = Recipe::default();
        for fault in faults {
            recipe.bytes(format!("/{}", fault.file), vec![b'v'; FILE_BYTES])?;
        }
        ext4::make(&recipe, &file, folder.path())?;
        let sectors = faults
            .iter()
            .map(|fault| Ok((ext4::first_block(&file, &format!("/{}", fault.file))?, fault.kind)))
            .collect::<Result<Vec<_>>>()?;
        let per_block = ext4::BLOCK_BYTES / SECTOR_BYTES;
        let faults = sectors.into_iter().map(|(block, kind)| (block * per_block, kind)).collect();
        Ok(Self { _folder: folder, file, blocks, faults })
    }

    /// What the guest is told.
    pub fn volume(&self) -> Result<Volume> {
        Volume::new(SERIAL, VolumeAccess::ReadWrite, PLACE)
            .map_err(|error| Failure::new(format!("a test's volume: {error}")))
    }

    /// What QEMU is told.
    pub fn words(&self, machine: MachineKind) -> Vec<String> {
        let mut drive = format!("if=none,id={SERIAL},format=raw,cache=writeback,discard=unmap");
        let path = quoted(&self.file);
        if self.faults.is_empty() {
            drive += &format!(",file={path}");
        } else {
            drive += &format!(",file.driver=blkdebug,file.image.driver=file,file.image.filename={path}");
        }
        for (number, (sector, kind)) in self.faults.iter().enumerate() {
            let (direction, once) = match kind {
                FaultKind::Read => ("read", "off"),
                FaultKind::Write => ("write", "off"),
                FaultKind::WriteOnce => ("write", "on"),
            };
            let rule = format!("file.inject-error.{number}");
            // The event "none" is over when the driver is open, so that the rule counts from the beginning.
            drive += &format!(
                ",{rule}.event=none,{rule}.iotype={direction},{rule}.sector={sector},{rule}.once={once},{rule}.errno=5"
            );
        }
        let bus = match machine {
            MachineKind::Q35 => "pci",
            MachineKind::Microvm => "device",
        };
        let mut device =
            format!("virtio-blk-{bus},drive={SERIAL},serial={SERIAL},werror=report,rerror=report");
        if self.blocks == Blocks::Of4096 {
            device += ",logical_block_size=4096,physical_block_size=4096";
        }
        ["-drive".into(), drive, "-device".into(), device].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_source() {
        let source = "// disk fault: write-once victim\n// disk fault: read other\nint main;\n";
        let faults = faults_of(source).unwrap();
        assert_eq!(faults[0], Fault { kind: FaultKind::WriteOnce, file: "victim".into() });
        assert_eq!(faults[1], Fault { kind: FaultKind::Read, file: "other".into() });
        assert!(faults_of("// disk fault: burn it").is_err());
        assert!(faults_of("// disk fault: read ../x").is_err());
        assert_eq!(faults_of("int main;").unwrap(), []);
    }
}
