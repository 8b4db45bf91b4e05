//! `crema build`: an image of a jar or an appliance, in a file of its own.

use std::{fs, path::Path, process::Command};

use crate::{
    appliance::Manifest,
    application::{self, Defaults},
    failure::{Failure, Result},
    image::{cache::CachedImage, ext4},
    options::BuildOptions,
    project::Project,
};

pub fn build(options: &BuildOptions, project: &Project) -> Result<()> {
    let output = &options.output;
    if output.is_dir() {
        return Err(Failure::new(format!("{} is a folder: name the image", output.display())));
    }
    if let Some(target) = &options.target
        && output.exists()
        && fs::canonicalize(target).ok() == fs::canonicalize(output).ok()
    {
        return Err(Failure::new(format!("{} would overwrite itself", target.display())));
    }
    if output.exists()
        && ext4::kind_of(output)? == ext4::Kind::Other
        && output.metadata().is_ok_and(|data| data.len() > 0)
    {
        return Err(Failure::new(format!(
            "{} exists, and is no image: it is not overwritten",
            output.display()
        )));
    }
    let (recipe, _) = match Manifest::of_target(options.target.as_deref())? {
        Some(appliance) => {
            let prepared = appliance.prepare(&options.application, project)?;
            let args = if options.args.is_empty() { &appliance.args } else { &options.args };
            let defaults = Defaults::of_appliance(&appliance);
            application::pack(prepared.jar.as_deref(), &prepared.options, args, &defaults, project)?
        }
        None => application::pack(
            options.target.as_deref(),
            &options.application,
            &options.args,
            &Defaults::default(),
            project,
        )?,
    };
    let image = CachedImage::of(&recipe, project)?;
    copy_sparse(image.path(), output)
}

/// Copies an image without the gigabytes of zeroes in it.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let cannot = |why: String| Failure::new(format!("cannot write {}: {why}", to.display()));
    let output = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto", "--remove-destination", "--"])
        .args([from, to])
        .output()
        .map_err(|error| cannot(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let reason = complaint.trim().rsplit(": ").next().unwrap_or_default().to_string();
    // Half an image would only puzzle whoever finds it.
    let _ = fs::remove_file(to);
    Err(cannot(reason))
}
