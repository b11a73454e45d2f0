//! Remembers what a step was last done for, so that it is skipped while nothing has changed.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::shell::{self, target};

/// A step and the state of its inputs.
pub(crate) struct Stamp {
    path: PathBuf,
    hash: String,
}

impl Stamp {
    /// Hashes names and contents of files and directories; `node_modules` and `dist` are left out.
    ///
    /// # Errors
    /// An input cannot be read.
    pub(crate) fn new(step: &str, inputs: &[PathBuf]) -> anyhow::Result<Self> {
        let mut hasher = DefaultHasher::new();
        // Another checkout may share the target directory, and has outputs of its own.
        shell::root().hash(&mut hasher);
        for input in inputs {
            add(&mut hasher, input).with_context(|| format!("cannot read {}", input.display()))?;
        }
        let path = target().join("xtask").join(step);
        Ok(Self { path, hash: format!("{:016x}", hasher.finish()) })
    }

    /// Whether the step was done for this very state.
    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|hash| hash == self.hash)
    }

    /// Says that the step is done.
    ///
    /// # Errors
    /// The stamp cannot be written.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&self.path, &self.hash).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn add(hasher: &mut DefaultHasher, path: &Path) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    if name == "node_modules" || name == "dist" {
        return Ok(());
    }
    name.hash(hasher);
    if path.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        entries.sort();
        entries.iter().try_for_each(|entry| add(hasher, entry))
    } else {
        fs::read(path)?.hash(hasher);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_content_or_name_is_seen() {
        let directory = std::env::temp_dir().join(format!("glasshouse-stamp-{}", std::process::id()));
        fs::create_dir_all(directory.join("node_modules")).unwrap();
        let hash = || Stamp::new("none", std::slice::from_ref(&directory)).unwrap().hash;
        let empty = hash();
        fs::write(directory.join("node_modules/a"), "1").unwrap();
        assert_eq!(hash(), empty);
        fs::write(directory.join("a"), "1").unwrap();
        let one = hash();
        assert_ne!(one, empty);
        fs::write(directory.join("a"), "2").unwrap();
        assert_ne!(hash(), one);
        fs::remove_dir_all(&directory).unwrap();
    }
}
