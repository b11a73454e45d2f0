//! `cargo xtask run`: a session on this machine.

use std::{ffi::OsString, os::unix::process::CommandExt};

use anyhow::Context;

use crate::{
    node::Node,
    packages,
    shell::{self, target},
    web,
};

/// Installs, builds and becomes `glasshouse session`; returns only when that fails.
///
/// # Errors
/// A step fails.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN])?;
    web::build(&Node::ensure()?)?;
    shell::run(&mut shell::cargo(["build", "--release", "--package", "glasshouse"]))?;
    let program = target().join("release/glasshouse");
    let mut command = std::process::Command::new(&program);
    // A command given after `--` has to stay behind a `--` of its own, which clap keeps.
    let error = command.arg("session").args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
