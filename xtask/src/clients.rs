//! The client libraries, and the examples that use them.

use crate::{
    node::Node,
    shell::{self, root},
    stamp::Stamp,
};

/// Builds the TypeScript client, unless it is as its source says already, and installs what the examples use.
///
/// # Errors
/// npm fails, or the types are wrong.
pub(crate) fn build(node: &Node) -> anyhow::Result<()> {
    let client = root().join("clients/typescript");
    node.install("clients/typescript")?;
    let stamp = Stamp::new("clients-typescript", std::slice::from_ref(&client))?;
    if !stamp.is_current() || !client.join("dist/index.js").is_file() {
        shell::run(&mut node.command("npm", &["run", "build"], &client))?;
        stamp.write()?;
    }
    node.install("examples")
}
