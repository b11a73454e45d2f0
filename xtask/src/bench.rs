//! `cargo xtask bench`: the promises of SPECIFICATION.md, measured.

use std::ffi::OsString;

use crate::{
    node::Node,
    packages,
    shell::{self, root},
    web,
};

/// Installs, builds a release with the benchmark's own programs, and measures.
///
/// # Errors
/// A step fails, or something could not be measured.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN])?;
    packages::ensure_listed(&root().join("bench/packages.txt"))?;
    let node = Node::ensure()?;
    web::build(&node)?;
    node.install("bench")?;
    let packages = ["glasshouse", "glasshouse-media", "glasshouse-webrtc", "glasshouse-sandbox", "glasshouse-cdp"];
    let mut build = shell::cargo(["build", "--release", "--bins", "--examples"]);
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    shell::run(&mut build)?;
    let mut measure = node.command("node", &["bench/run.mjs"], root());
    measure.args(arguments);
    shell::run(&mut measure)
}
