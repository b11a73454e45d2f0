//! Node: the machine's, or a newer one from the npm registry when that is too old for the web page's tools.

use std::{env, ffi::OsString, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{
    packages,
    shell::{self, target},
    stamp::Stamp,
};

/// Oldest version that Vite takes.
const OLDEST: (u32, u32) = (20, 19);
/// What is installed when the machine's is older.
const NEWER_NODE: &str = "22";
const NEWER_NPM: &str = "10";

/// A Node that is new enough.
pub(crate) struct Node {
    path: OsString,
}

impl Node {
    /// Finds Node and installs it where it is missing or too old.
    ///
    /// # Errors
    /// It cannot be installed.
    pub(crate) fn ensure() -> anyhow::Result<Self> {
        packages::ensure(&[packages::NODE])?;
        let path = env::var_os("PATH").unwrap_or_default();
        let found = version("node").context("cannot run node: install Node.js 20.19 or newer and npm")?;
        if found >= OLDEST {
            return Ok(Self { path });
        }
        let architecture = match env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => {
                bail!("Node {}.{} is too old and npm has no newer one for {other}: install 20.19", found.0, found.1)
            }
        };
        let package = format!("node-linux-{architecture}");
        let tools = target().join("tools");
        let modules = tools.join("node_modules");
        let binaries = modules.join(&package).join("bin");
        let newer = binaries.join("node");
        if !newer.exists() {
            eprintln!(
                "Node {}.{} is too old for the web page's tools, which need {}.{}: installing Node {NEWER_NODE} from npm into {}",
                found.0,
                found.1,
                OLDEST.0,
                OLDEST.1,
                tools.display()
            );
            std::fs::create_dir_all(&tools)?;
            let mut npm = shell::command("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]);
            npm.arg(&tools).arg(format!("{package}@{NEWER_NODE}")).arg(format!("npm@{NEWER_NPM}"));
            shell::run(&mut npm)?;
        }
        let mut directories = vec![binaries, modules.join(".bin")];
        directories.extend(env::split_paths(&path));
        Ok(Self { path: env::join_paths(directories)? })
    }

    /// A command with this Node first in its PATH, in a directory of the repository.
    pub(crate) fn command(&self, program: &str, arguments: &[&str], directory: &Path) -> Command {
        // The PATH of a command is not used to find the command itself, so `env` does it.
        let mut command = shell::command("env", [program]);
        command.args(arguments).current_dir(directory).env("PATH", &self.path);
        command
    }

    /// Installs the packages of a `package-lock.json` unless they are as it says already.
    ///
    /// # Errors
    /// npm fails.
    pub(crate) fn install(&self, name: &str) -> anyhow::Result<()> {
        let directory = shell::root().join(name);
        let lock = directory.join("package-lock.json");
        let stamp = Stamp::new(&format!("npm-{name}"), &[lock])?;
        if stamp.is_current() && directory.join("node_modules").is_dir() {
            return Ok(());
        }
        shell::run(&mut self.command("npm", &["ci", "--no-audit", "--no-fund"], &directory))?;
        stamp.write()
    }
}

fn version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
