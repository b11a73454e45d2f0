//! The keymap of an X server within walls, compiled while these are built.
//!
//! An X server answers nobody until xkbcomp has compiled its keymap, which takes as long as the rest of its start and gives the
//! same each time. So the walls show a script in place of xkbcomp: it hands out what was compiled meanwhile, and what is asked
//! for otherwise, such as another layout, to xkbcomp.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::JoinHandle,
};

use glasshouse_sandbox::Bind;

use crate::session::SessionDir;

/// Where X servers look for the compiler, whatever `$PATH` says.
const COMPILER: &str = "/usr/bin/xkbcomp";

/// Where the compiler itself is within walls.
const REAL: &str = "/run/glasshouse/xkbcomp";

/// What the compiler reads.
const DIRECTORY: &str = "/usr/share/X11/xkb";

/// What an X server asks for that was given no rules, model or layout (xserver 21.1); another one compiles for itself.
const KEYMAP: &str = include_str!("keymap.xkb");

/// The script, with places for what is not the same everywhere.
const SCRIPT: &str = include_str!("xkbcomp.sh");

/// Most bytes of a compiled keymap; this one has 12,000.
const MAX_COMPILED: u64 = 1024 * 1024;

/// A keymap that is being compiled. Whatever fails, the X server compiles for itself.
pub(crate) struct Keymap(io::Result<JoinHandle<io::Result<Vec<u8>>>>);

impl Keymap {
    /// Begins to compile.
    pub(crate) fn begin() -> Self {
        Self(std::thread::Builder::new().name("keymap".into()).spawn(compile))
    }

    /// Waits for the end of it, some milliseconds since it began, and hands the keymap to the desktop of this directory.
    pub(crate) fn hand_out(self, dir: &SessionDir) {
        // It only fails by a panic, which has been told of.
        let compiled =
            self.0.and_then(|compiling| compiling.join().unwrap_or_else(|_| Err(io::Error::other("a panic"))));
        if let Err(error) = compiled.and_then(|keymap| dir.publish(&name(&compiled_at(dir)), &keymap)) {
            tracing::debug!(%error, "the X server compiles its keymap for itself");
        }
    }
}

/// Puts the script where [`binds`] finds it.
pub(crate) fn stand_in(dir: &SessionDir) {
    if let Err(error) = write_script(dir) {
        tracing::debug!(%error, "the X server compiles its keymap for itself");
    }
}

fn write_script(dir: &SessionDir) -> io::Result<()> {
    // A link cannot be mounted over.
    if !fs::symlink_metadata(COMPILER)?.is_file() {
        return Err(io::Error::other(format!("{COMPILER} is no file")));
    }
    let compiled = dir.inside(&compiled_at(dir));
    let places = [
        ("@REAL@", REAL),
        ("@DIRECTORY@", DIRECTORY),
        ("@KEYMAP@", KEYMAP),
        ("@COMPILED@", &compiled.to_string_lossy()),
    ];
    let content = places.iter().fold(SCRIPT.to_owned(), |script, (place, what)| script.replace(place, what));
    let path = dir.publish(&name(&script(dir)), content.as_bytes())?;
    let mode = fs::metadata(&path)?.permissions().mode();
    // Whoever may read it may execute it.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))
}

/// What the walls show in place of the compiler, and the compiler itself, if [`stand_in`] came so far.
pub(crate) fn binds(dir: &SessionDir) -> Vec<Bind> {
    let script = script(dir);
    if !script.exists() {
        return Vec::new();
    }
    let bind = |source: PathBuf, target: &str| Bind {
        source,
        target: target.into(),
        writable: false,
        executable: true,
        optional: false,
    };
    vec![bind(COMPILER.into(), REAL), bind(script, COMPILER)]
}

fn script(dir: &SessionDir) -> PathBuf {
    dir.root().join("etc/xkbcomp")
}

fn compiled_at(dir: &SessionDir) -> PathBuf {
    dir.root().join("etc/keymap.xkm")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs the compiler, as the X server would, from standard input to standard output.
fn compile() -> io::Result<Vec<u8>> {
    let mut child = Command::new(COMPILER)
        .args(["-w", "1", &format!("-R{DIRECTORY}"), "-xkm", "-", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut keymap = Vec::new();
    let talked = match (child.stdin.take(), child.stdout.take()) {
        (Some(mut to), Some(from)) => to.write_all(KEYMAP.as_bytes()).and_then(|()| {
            drop(to);
            from.take(MAX_COMPILED).read_to_end(&mut keymap)
        }),
        _ => Err(io::Error::other("no pipes")),
    };
    let status = child.wait()?;
    talked?;
    if status.success() && !keymap.is_empty() {
        Ok(keymap)
    } else {
        Err(io::Error::other(format!("xkbcomp: {status}")))
    }
}
