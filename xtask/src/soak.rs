//! `cargo xtask soak`: many sessions used and ended in all ways, with kills, to see what is left of them.

use std::ffi::OsString;

use crate::{
    node::Node,
    packages,
    shell::{self, root, target},
    web,
};

/// Installs, builds a release, and soaks.
///
/// # Errors
/// A step fails, or something was left, lost in silence, or grew.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN, packages::TEST])?;
    let node = Node::ensure()?;
    web::build(&node)?;
    node.install("tests")?;
    shell::run(&mut shell::cargo(["build", "--release", "--package", "glasshouse"]))?;
    let mut soak = node.command("node", &["tests/soak/run.mjs"], root());
    soak.args(arguments).env("GLASSHOUSE_BIN", target().join("release/glasshouse"));
    shell::run(&mut soak)
}
