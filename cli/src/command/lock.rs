//! `crema lock`: resolves the jars that an appliance has from a registry, and notes their checksums.

use crate::{
    appliance::{self, Manifest},
    failure::{Failure, Result},
    options::LockOptions,
    project::Project,
};

pub fn lock(options: &LockOptions, project: &Project) -> Result<()> {
    let folder = &options.appliance;
    if !Manifest::is_in(folder) {
        return Err(Failure::new(format!("{} is not an appliance: it has no crema.toml", folder.display())));
    }
    let count = appliance::lock::make(&Manifest::read(folder)?, project)?;
    eprintln!("crema: {} has {count} jars", folder.display());
    Ok(())
}
