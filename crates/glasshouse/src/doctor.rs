//! `glasshouse doctor`: what is missing on this machine and how to get it.

use std::{env, io::Write, path::PathBuf, process::ExitCode};

use glasshouse_sandbox::probe::{Fact, State, probe};
use serde::Serialize;

use crate::cli::DoctorOptions;

/// Outcome of one check.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: String,
    /// Whether it is as needed.
    ok: bool,
    /// Whether a session cannot start without it.
    required: bool,
    /// What was seen.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// Program, Debian package, whether a default session needs it, what for.
const PROGRAMS: [(&[&str], &str, bool, &str); 7] = [
    (&["Xvnc"], "tigervnc-standalone-server", true, "X server"),
    (&["openbox"], "openbox", true, "window manager"),
    (&["pulseaudio"], "pulseaudio", true, "sound"),
    (&["chromium", "/usr/lib/chromium/chromium", "google-chrome"], "chromium", true, "default app"),
    (&["setxkbmap"], "x11-xkb-utils", false, "keyboard layouts"),
    (&["firefox", "firefox-esr"], "firefox-esr", false, "--app firefox"),
    (&["xterm"], "xterm", false, "a terminal to try"),
];

/// Prints what was found; fails when something required is missing.
pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let findings = examine();
    let healthy = findings.iter().all(|finding| finding.ok || !finding.required);
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        for finding in &findings {
            let mark = match (finding.ok, finding.required) {
                (true, _) => "ok      ",
                (false, true) => "MISSING ",
                (false, false) => "optional",
            };
            writeln!(out, "{mark}  {}: {}", finding.check, finding.found)?;
            if !finding.ok && !finding.remedy.is_empty() {
                writeln!(out, "          {}", finding.remedy)?;
            }
        }
        let verdict = if healthy { "Everything that a session needs is here." } else { "A session cannot start yet." };
        writeln!(out, "\n{verdict}")?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine() -> Vec<Finding> {
    let mut findings: Vec<_> = PROGRAMS
        .iter()
        .map(|(names, package, required, purpose)| {
            let path = names.iter().find_map(|name| find(name));
            Finding {
                check: format!("{} ({purpose})", names[0]),
                ok: path.is_some(),
                required: *required,
                found: path.map_or_else(|| "not found".into(), |path| path.display().to_string()),
                remedy: format!("apt-get install {package}"),
            }
        })
        .collect();
    findings.extend(probe().into_iter().map(isolation));
    findings.push(shared_memory());
    findings
}

fn find(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What the walls need of this machine, and Chromium's own sandbox within them.
fn isolation(fact: Fact) -> Finding {
    Finding {
        check: format!("{} (isolation)", fact.name),
        ok: fact.state == State::Good,
        required: fact.state == State::Missing,
        found: fact.found,
        remedy: fact.remedy.into(),
    }
}

fn shared_memory() -> Finding {
    const NEEDED: u64 = 512 << 20;
    let size = rustix::fs::statvfs("/dev/shm").map(|stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    let (ok, found) = match size {
        Ok(bytes) => (bytes >= NEEDED, format!("{} MiB", bytes >> 20)),
        Err(error) => (false, error.to_string()),
    };
    Finding {
        check: "/dev/shm (for --isolation=none: browser tabs share memory there)".into(),
        ok,
        required: false,
        found,
        remedy: "give it 512 MiB or more, in a container with --shm-size=1g".into(),
    }
}
