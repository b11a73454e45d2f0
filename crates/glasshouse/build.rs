//! Copies the built web page to where it is embedded from, or a page that says how to build it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Glasshouse</title>\
<p>The web page is not part of this build. Build it with <code>cargo xtask run</code>, \
or with <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code> before <code>cargo build</code>.\n";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web");
    let page = root.join("dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
    // A missing path would make cargo run this script every time, so the parent is watched until the page exists.
    println!("cargo:rerun-if-changed={}", if page.exists() { page.display() } else { root.display() });
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    if page.join("index.html").exists() { copy(&page, &out) } else { fs::write(out.join("index.html"), PLACEHOLDER) }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
