//! Packages from PyPI that tests use, each list in an environment of its own below the target directory.

use std::path::{Path, PathBuf};

use crate::{
    shell::{self, target},
    stamp::Stamp,
};

/// Installs exactly the packages that a list names, with their hashes, unless they are there already; returns the path of a
/// program of the environment, such as `python`.
///
/// # Errors
/// There is no Python with `venv`, or PyPI has something else by now.
pub(crate) fn ensure(name: &str, list: &Path, program: &str) -> anyhow::Result<PathBuf> {
    let folder = target().join("tools").join(name);
    let program = folder.join("bin").join(program);
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
