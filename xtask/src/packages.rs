//! Debian packages: which are missing, why they are needed, and their installation.

use std::{fs, path::Path, process::Command};

use anyhow::bail;

use crate::shell;

/// Something that has to be on the machine.
pub(crate) struct Need {
    /// Debian package.
    package: &'static str,
    /// Any of these shows that it is there: a program in the PATH, or an absolute path.
    signs: &'static [&'static str],
    /// What for.
    purpose: &'static str,
}

const fn need(package: &'static str, signs: &'static [&'static str], purpose: &'static str) -> Need {
    Need { package, signs, purpose }
}

/// For building and starting a session.
pub(crate) const RUN: &[Need] = &[
    need("tigervnc-standalone-server", &["Xvnc"], "the X server of a session"),
    need("x11-xkb-utils", &["setxkbmap"], "keyboard layouts of the X server"),
    need("openbox", &["openbox"], "the window manager of a session"),
    need("pulseaudio", &["pulseaudio"], "the sound of a session"),
    need("chromium", &["chromium", "google-chrome", "chromium-browser"], "the browser in a session"),
    need("fonts-dejavu-core", &["/usr/share/fonts/truetype/dejavu"], "letters"),
    need("fonts-noto-color-emoji", &["/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"], "emoji"),
    need("util-linux", &["setpriv"], "starting helpers that cannot outlive their parent"),
    need("libvpx-dev", &["/usr/include/vpx/vpx_encoder.h"], "VP8 and VP9, linked into the program"),
    need("libclang-dev", &["/usr/share/doc/libclang-dev"], "reading libvpx's headers at build time"),
    need("pkg-config", &["pkg-config"], "finding libvpx at build time"),
    need("cmake", &["cmake"], "building Opus and the cryptography from source"),
    need("g++", &["g++", "c++"], "building openh264 from source"),
    need("nasm", &["nasm"], "the fast parts of openh264"),
];

/// For the tests in addition.
pub(crate) const TEST: &[Need] = &[
    need("xterm", &["xterm"], "a program other than a browser, in tests"),
    need("xclip", &["xclip"], "another program's clipboard, in tests"),
    need("x11-xserver-utils", &["xsetroot"], "painting a screen, in tests"),
    need("pulseaudio-utils", &["pactl"], "playing sound, in tests"),
    need("iproute2", &["ip"], "cutting a network, in tests"),
    need("firefox-esr", &["firefox-esr", "firefox"], "a viewer of another make, in tests"),
    need("prometheus", &["prometheus"], "scraping our metrics and asking for what our dashboard shows, in tests"),
    need("chromium-driver", &["chromedriver"], "Selenium, in tests"),
    need("ffmpeg", &["ffmpeg"], "recordings of a session, in tests"),
    need("python3", &["python3"], "the fuzzer of the HTTP API, and clients in Python, in tests"),
    need("python3-venv", &["/usr/share/doc/python3-venv"], "installing these from PyPI into target/"),
];

/// Node's package, when there is none at all.
pub(crate) const NODE: &[Need] = &[
    need("nodejs", &["node"], "building the web page and driving browsers in tests"),
    need("npm", &["npm"], "the web page's packages"),
];

/// Installs what is missing after saying what and why.
///
/// # Errors
/// Something is missing and cannot be installed.
pub(crate) fn ensure(needs: &[&[Need]]) -> anyhow::Result<()> {
    let missing: Vec<_> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|need| !need.signs.iter().any(|sign| shell::find(sign).is_some()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing on this machine:");
    for need in &missing {
        eprintln!("  {:<28} {}", need.package, need.purpose);
    }
    if !Path::new("/etc/debian_version").exists() || shell::find("apt-get").is_none() {
        eprintln!("This is no Debian or Ubuntu: install their equivalents yourself. Going on without them.");
        return Ok(());
    }
    install(&missing.iter().map(|need| need.package.to_owned()).collect::<Vec<_>>())
}

/// Installs the packages listed in a file, one a line, that are not installed.
///
/// # Errors
/// The file cannot be read, or something cannot be installed.
pub(crate) fn ensure_listed(file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file)?;
    let listed = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if shell::find("dpkg-query").is_none() {
        eprintln!("This is no Debian or Ubuntu: see {} for what is needed.", file.display());
        return Ok(());
    }
    let missing: Vec<_> = listed.filter(|package| !is_installed(package)).map(str::to_owned).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing on this machine, needed as {} says: {}", file.display(), missing.join(" "));
    install(&missing)
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn install(packages: &[String]) -> anyhow::Result<()> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root && shell::find("sudo").is_none() {
        bail!(
            "not root, and there is no sudo: run `apt-get install --no-install-recommends {}` as root",
            packages.join(" ")
        );
    }
    let apt = |arguments: &[&str]| {
        let mut words = if is_root { vec![] } else { vec!["sudo"] };
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        words.extend(arguments);
        shell::run(&mut shell::command(words[0], &words[1..]))
    };
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-qy", "--no-install-recommends"];
    arguments.extend(packages.iter().map(String::as_str));
    apt(&arguments)
}
