//! Programs from PyPI that tests use, each in an environment of its own below the target directory.

use std::path::{Path, PathBuf};

use crate::{
    shell::{self, target},
    stamp::Stamp,
};

/// Installs a program with exactly the packages that a list names, with their hashes, unless it is there already; returns its path.
///
/// # Errors
/// There is no Python with `venv`, or PyPI has something else by now.
pub(crate) fn ensure(name: &str, list: &Path) -> anyhow::Result<PathBuf> {
    let folder = target().join("tools").join(name);
    let program = folder.join("bin").join(name);
    let stamp = Stamp::new(&format!("python-{name}"), &[list.to_path_buf()])?;
    if stamp.is_current() && program.is_file() {
        return Ok(program);
    }
    shell::run(shell::command("python3", ["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = folder.join("bin/pip");
    let options = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"];
    shell::run(shell::command(&pip.to_string_lossy(), options).arg("--requirement").arg(list))?;
    stamp.write()?;
    Ok(program)
}
