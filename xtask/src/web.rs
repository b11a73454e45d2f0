//! The web page: its packages and its build.

use crate::{
    node::Node,
    shell::{self, root},
    stamp::Stamp,
};

/// Builds the page into `web/dist` unless it is as its sources say already.
///
/// # Errors
/// npm fails.
pub(crate) fn build(node: &Node) -> anyhow::Result<()> {
    let web = root().join("web");
    node.install("web")?;
    let sources = ["client", "react", "app", "novnc", "package.json", "package-lock.json", "tsconfig.base.json"];
    let stamp = Stamp::new("web-build", &sources.map(|name| web.join(name)))?;
    if stamp.is_current() && web.join("dist/index.html").is_file() {
        return Ok(());
    }
    shell::run(&mut node.command("npm", &["run", "build"], &web))?;
    stamp.write()
}
