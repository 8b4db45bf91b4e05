//! A volume for one run: empty at its beginning, and gone after it.

use std::{fs::File, path::PathBuf};

use run_config::{RunConfig, Volume, VolumeAccess};

use super::flushes::FlushCounter;
use crate::{
    failure::{Failure, Result},
    image::ext4,
    machine::qemu::{Disk, DiskSource},
    scratch::ScratchFolder,
};

const SERIAL: &str = "crema-vol-0";
const BYTES: u64 = 2 << 30;

pub struct ScratchVolume {
    folder: ScratchFolder,
    disk: [Disk; 1],
}

impl ScratchVolume {
    pub fn make() -> Result<Self> {
        let folder = ScratchFolder::new_in(&std::env::temp_dir())?;
        let file = folder.path().join("volume.img");
        let sparse = File::create(&file).and_then(|sparse| sparse.set_len(BYTES));
        sparse.map_err(Failure::io("make", &file))?;
        ext4::make_empty(&file, "bench")?;
        let disk =
            Disk { serial: SERIAL.into(), source: DiskSource::File(file), access: VolumeAccess::ReadWrite };
        Ok(Self { folder, disk: [disk] })
    }

    pub fn disks(&self) -> &[Disk] {
        &self.disk
    }

    /// Where QEMU is to listen for [`Self::count_flushes`].
    fn monitor(&self) -> PathBuf {
        self.folder.path().join("qmp")
    }

    pub fn arguments(&self) -> [String; 2] {
        FlushCounter::arguments(&self.monitor())
    }

    /// Begins to count what reaches the disk, of a machine that is started with [`Self::arguments`].
    pub fn count_flushes(&self) -> FlushCounter {
        FlushCounter::start(self.monitor(), SERIAL)
    }
}

/// The configuration with such a volume in a place.
pub fn mounted(config: &RunConfig, place: &str) -> Result<RunConfig> {
    let volume = Volume::new(SERIAL, VolumeAccess::ReadWrite, place)
        .map_err(|error| Failure::new(format!("the volume to measure on: {error}")))?;
    Ok(RunConfig { volumes: vec![volume], ..config.clone() })
}
