//! Kernel modules, in an order in which each finds what it needs: what depmod and modprobe do on an installed
//! system.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use goblin::elf::Elf;

use crate::failure::{Failure, Result};

/// A module to be loaded.
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The modules of these names and all that they depend on, dependencies first, each once.
pub fn in_order(root: &Path, names: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(root, &mut files)?;
    let mut loaded = Vec::new();
    for name in names {
        add(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<Module>) -> Result<()> {
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    // What is not a file is built into the kernel, or fails in the guest with a message of its own.
    let Some(path) = files.get(name) else { return Ok(()) };
    let bytes = fs::read(path).map_err(Failure::io("read", path))?;
    let depends = dependencies(&bytes)
        .ok_or_else(|| Failure::new(format!("{} is no kernel module", path.display())))?;
    // The kernel's build refuses circles, so this ends.
    for dependency in depends {
        add(&dependency, files, loaded)?;
    }
    loaded.push(Module { name: name.to_string(), bytes });
    Ok(())
}

/// Files by module name; in file names `-` stands for `_`.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Failure::io("read", folder))?;
    for entry in entries.filter_map(|entry| entry.ok()) {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

/// The record `depends=` of the section `.modinfo`, which modinfo(8) prints.
fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let elf = Elf::parse(module).ok()?;
    let section = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"))?;
    depends(module.get(section.file_range()?)?)
}

fn depends(modinfo: &[u8]) -> Option<Vec<String>> {
    let record = modinfo.split(|byte| *byte == 0).find_map(|record| record.strip_prefix(b"depends="))?;
    let text = std::str::from_utf8(record).ok()?;
    Some(text.split(',').filter(|name| !name.is_empty()).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read() {
        assert_eq!(depends(b"license=GPL\0depends=a,b_c\0name=x\0"), Some(vec!["a".into(), "b_c".into()]));
        assert_eq!(depends(b"depends=\0"), Some(vec![]));
        assert_eq!(depends(b"license=GPL\0"), None);
        assert_eq!(dependencies(b"not an ELF"), None);
    }
}
