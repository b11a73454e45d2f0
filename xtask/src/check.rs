//! `cargo xtask check`: format, lints, types, documentation, licences.

use crate::{
    clients,
    node::Node,
    packages,
    shell::{self, cargo, root},
    web,
};

/// Checks everything that needs no run.
///
/// # Errors
/// A check fails.
pub(crate) fn run() -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN])?;
    run_all()
}

fn run_all() -> anyhow::Result<()> {
    shell::run(&mut cargo(["fmt", "--all", "--check"]))?;
    let node = Node::ensure()?;
    web::build(&node)?;
    shell::run(&mut node.command("npm", &["run", "typecheck"], &root().join("web")))?;
    clients::build(&node)?;
    shell::run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    shell::run(
        cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings"),
    )?;
    if shell::find("cargo-deny").is_some() {
        shell::run(&mut cargo(["deny", "check"]))?;
    } else {
        eprintln!("cargo-deny is not installed: licences and advisories are not checked (cargo install cargo-deny)");
    }
    Ok(())
}
