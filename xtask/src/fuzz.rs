//! Fuzzing with libFuzzer on the stable compiler: our crates are instrumented by a wrapper around rustc.

use std::{fs, process::Child};

use anyhow::{Context, bail};

use crate::shell::{self, cargo, command, root, target};

/// What reads bytes from outside.
const TARGETS: [&str; 7] = ["data_channel", "websocket", "sdp", "cdp", "rfb", "archive", "mcp"];
/// How long each is fuzzed, from the same seed every time, so that a run can be repeated.
const SECONDS: &str = "60";

/// Fuzzes all targets side by side for a minute.
///
/// # Errors
/// A target crashes, hangs or uses too much memory; its input is in `target/fuzz/NAME`.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut build = cargo(["build", "--package", "glasshouse-fuzz", "--bins"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/instrument.sh"));
    build.arg("--target-dir").arg(target());
    shell::run(&mut build)?;
    let mut running = Running(Vec::new());
    for name in TARGETS {
        let found = target().join("fuzz").join(name);
        fs::create_dir_all(&found)?;
        let log = fs::File::create(found.with_extension("log"))?;
        let program = target().join("debug").join(format!("fuzz_{name}"));
        let mut fuzzer = command(&program.to_string_lossy(), [format!("-max_total_time={SECONDS}")]);
        fuzzer
            .args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1", "-seed=1"])
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(&found)
            .arg(root().join("fuzz/corpus").join(name))
            .stdout(log.try_clone()?)
            .stderr(log);
        eprintln!("> {}", shell::show(&fuzzer));
        running.0.push((name, fuzzer.spawn().with_context(|| format!("cannot start {}", program.display()))?));
    }
    let mut failed = Vec::new();
    for (name, fuzzer) in &mut running.0 {
        let status = fuzzer.wait()?;
        let log = fs::read_to_string(target().join("fuzz").join(format!("{name}.log"))).unwrap_or_default();
        let runs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim);
        if status.success() && runs.is_some() {
            eprintln!("fuzz {name}: ok, {} inputs", runs.unwrap_or("?"));
        } else {
            let tail: Vec<_> = log.lines().rev().take(25).collect();
            eprintln!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("fuzzing failed: {}", failed.join(", ")) }
}

struct Running(Vec<(&'static str, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // It has ended already unless a later one could not be started.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
