//! Shared libraries: which ones the ELF files of a recipe need, and where the host has them.
//!
//! Responsible for the closure over `DT_NEEDED`, searched as ld.so(8) does: the run path of the file that
//! needs it, then the host's library cache. Not for libraries opened by name at run time (`dlopen`): whoever
//! knows of them names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use goblin::elf::Elf;

use super::recipe::{Entry, Recipe, Source};
use crate::failure::{Failure, Result};

/// The host's libraries by soname.
pub struct HostLibraries {
    by_name: BTreeMap<String, PathBuf>,
}

/// What is done about a library that the host does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is an error: the program cannot start without it.
    Refuse,
    /// It is left out. The JRE holds libraries for desktops (libawt needs libX11 and so on) that a headless
    /// host has no use for.
    LeaveOut,
}

impl HostLibraries {
    /// Asks ldconfig for its cache.
    pub fn find() -> Result<Self> {
        // By its path: an ordinary user has no /usr/sbin in PATH.
        let output = Command::new("/sbin/ldconfig")
            .arg("-p")
            .output()
            .map_err(|error| Failure::new(format!("cannot start /sbin/ldconfig: {error}")))?;
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Reads lines such as `libz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1`. Of several, the
    /// first counts; those for special processors (`hwcap:`) do not, for the guest may have another
    /// processor.
    fn parse(text: &str) -> Self {
        let mut by_name = BTreeMap::new();
        for line in text.lines() {
            let Some((left, path)) = line.split_once(" => ") else { continue };
            let Some((name, kind)) = left.trim().split_once(' ') else { continue };
            if kind.contains("x86-64") && !kind.contains("hwcap") {
                by_name.entry(name.to_string()).or_insert_with(|| PathBuf::from(path));
            }
        }
        Self { by_name }
    }

    /// Adds a library by its soname, if the host has it.
    pub fn add_if_present(&self, recipe: &mut Recipe, name: &str) -> Result<()> {
        self.by_name.get(name).map_or(Ok(()), |path| recipe.same_path(path))
    }

    /// Adds each library that the recipe's ELF files need, and what those need in turn, and the loader.
    pub fn close(&self, recipe: &mut Recipe, missing: Missing) -> Result<()> {
        let mut seen = BTreeSet::new();
        loop {
            let todo: Vec<(PathBuf, PathBuf)> = recipe
                .entries()
                .filter_map(|(guest, entry)| match entry {
                    Entry::File { source: Source::Host(host), .. } if looks_like_elf(guest, host) => {
                        Some((guest.to_path_buf(), host.clone()))
                    }
                    _ => None,
                })
                .filter(|(guest, _)| seen.insert(guest.clone()))
                .collect();
            if todo.is_empty() {
                return Ok(());
            }
            for (guest, host) in todo {
                self.add_needed(recipe, &guest, &host, missing)?;
            }
        }
    }

    fn add_needed(&self, recipe: &mut Recipe, guest: &Path, host: &Path, missing: Missing) -> Result<()> {
        let Some(needs) = Needs::of(host)? else { return Ok(()) };
        if let Some(interpreter) = &needs.interpreter {
            recipe.same_path(interpreter)?;
        }
        for name in &needs.libraries {
            let on_run_path = needs.run_path.iter().find_map(|folder| {
                // $ORIGIN is where the file is in the guest; only what the recipe holds can be found there.
                let in_guest =
                    match folder.strip_prefix("$ORIGIN").or_else(|| folder.strip_prefix("${ORIGIN}")) {
                        Some(rest) => guest.parent()?.join(rest.trim_start_matches('/')).join(name),
                        None => Path::new(folder).join(name),
                    };
                let is_on_host = !folder.starts_with('$') && in_guest.is_absolute() && in_guest.is_file();
                (recipe.contains(&in_guest) || is_on_host).then_some((in_guest, is_on_host))
            });
            match on_run_path {
                Some((_, false)) => continue,
                Some((path, true)) => recipe.same_path(path)?,
                None => match self.by_name.get(name) {
                    Some(path) => recipe.same_path(path)?,
                    None if missing == Missing::LeaveOut => {}
                    None => {
                        return Err(Failure::new(format!(
                            "{} needs the library {name}, which this host does not have",
                            host.display()
                        )));
                    }
                },
            }
        }
        Ok(())
    }
}

/// What an ELF file asks of the loader.
struct Needs {
    interpreter: Option<PathBuf>,
    libraries: Vec<String>,
    run_path: Vec<String>,
}

impl Needs {
    /// `None` if the file is no ELF file for x86-64 after all.
    fn of(host: &Path) -> Result<Option<Self>> {
        let bytes = fs::read(host).map_err(Failure::io("read", host))?;
        let Ok(elf) = Elf::parse(&bytes) else { return Ok(None) };
        if elf.header.e_machine != goblin::elf::header::EM_X86_64 {
            return Ok(None);
        }
        let run_path = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
        Ok(Some(Self {
            interpreter: elf.interpreter.map(PathBuf::from),
            libraries: elf.libraries.iter().map(|name| name.to_string()).collect(),
            run_path: run_path.iter().flat_map(|paths| paths.split(':')).map(str::to_string).collect(),
        }))
    }
}

/// Whether it is worth opening: reading all of a 130 MB `modules` file to find that it is no ELF is not.
fn looks_like_elf(guest: &Path, host: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    let skip = guest.extension().is_some_and(|extension| extension == "jar" || extension == "jsa");
    !skip
        && fs::File::open(host).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_library_cache() {
        let libraries = HostLibraries::parse(
            "2 libs found in cache\n\tlibz.so.1 (libc6,x86-64) => /lib/libz.so.1\n\tlibz.so.1 (libc6) => /lib32/libz.so.1\n\
             \tlibh.so.1 (libc6,x86-64, hwcap: \"x86-64-v3\") => /v3/libh.so.1\n\tlibh.so.1 (libc6,x86-64) => /lib/libh.so.1\njunk\n",
        );
        assert_eq!(libraries.by_name["libz.so.1"], Path::new("/lib/libz.so.1"));
        assert_eq!(libraries.by_name["libh.so.1"], Path::new("/lib/libh.so.1"));
    }

    #[test]
    fn a_dynamic_program_gets_its_loader_and_its_c_library() {
        let mut recipe = Recipe::default();
        recipe.file("/app/test", std::env::current_exe().unwrap()).unwrap();
        HostLibraries::find().unwrap().close(&mut recipe, Missing::Refuse).unwrap();
        assert!(
            recipe.contains("/lib64/ld-linux-x86-64.so.2")
                || recipe.contains("/usr/lib64/ld-linux-x86-64.so.2")
        );
        assert!(recipe.entries().any(|(path, _)| path.ends_with("libc.so.6")));
    }

    #[test]
    fn a_missing_library_is_refused_or_left_out() {
        let none = HostLibraries { by_name: BTreeMap::new() };
        let mut recipe = Recipe::default();
        recipe.file("/app/test", std::env::current_exe().unwrap()).unwrap();
        let failure = none.close(&mut recipe.clone(), Missing::Refuse).unwrap_err().to_string();
        assert!(failure.contains("needs the library"), "{failure}");
        none.close(&mut recipe, Missing::LeaveOut).unwrap();
    }

    #[test]
    fn damaged_elf_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("x.so");
        let good = fs::read("/bin/true").unwrap();
        for length in [4, 16, 63, 64, 200, 1000, good.len() / 2] {
            for fill in [0x00, 0xff] {
                let mut bytes = good[..length].to_vec();
                bytes.resize(length + 100, fill);
                fs::write(&host, bytes).unwrap();
                let mut recipe = Recipe::default();
                recipe.file("/x.so", &host).unwrap();
                let _ = HostLibraries::find().unwrap().close(&mut recipe, Missing::LeaveOut);
            }
        }
    }
}
