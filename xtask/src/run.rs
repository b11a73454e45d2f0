//! `cargo xtask run`: many sessions behind one door, on this machine, with one that is open already.

use std::{ffi::OsString, os::unix::process::CommandExt};

use anyhow::Context;

use crate::{
    node::Node,
    packages,
    shell::{self, target},
    web,
};

/// Installs, builds and becomes `glasshouse serve --open`; returns only when that fails.
///
/// # Errors
/// A step fails.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN])?;
    web::build(&Node::ensure()?)?;
    shell::run(&mut shell::cargo(["build", "--release", "--package", "glasshouse"]))?;
    let program = target().join("release/glasshouse");
    let error = std::process::Command::new(&program).args(serve(arguments)).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// The command line: a page may be given first, as to a browser.
fn serve(arguments: &[OsString]) -> Vec<OsString> {
    let is_page = |text: &OsString| text.to_str().is_some_and(|text| text.starts_with("http") || text == "about:blank");
    let mut line = vec![OsString::from("serve"), "--open".into()];
    let mut rest = arguments;
    if let Some((page, others)) = arguments.split_first().filter(|(first, _)| is_page(first)) {
        line.push(page.clone());
        rest = others;
    }
    line.extend(rest.iter().cloned());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_come_first() {
        let line = |arguments: &[&str]| serve(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&[]), ["serve", "--open"]);
        assert_eq!(line(&["https://a.example/", "--json"]), ["serve", "--open", "https://a.example/", "--json"]);
        assert_eq!(line(&["--listen", "127.0.0.1:0"]), ["serve", "--open", "--listen", "127.0.0.1:0"]);
    }
}
