//! `cargo xtask test`: every test there is.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    clients, fuzz,
    node::Node,
    packages, python,
    shell::{self, cargo, root, target},
    web,
};

/// For one file of end-to-end tests, in milliseconds: a file that never ends fails, and the others still run.
const FILE_LIMIT: &str = "--test-timeout=480000";

/// For all tests of the crates, as `timeout` of coreutils reads it.
const CRATES_LIMIT: &str = "40m";

/// Most lines about failures that are shown again at the end.
const SHOWN_AGAIN: usize = 300;

/// Tests counted from the reports of the test programs, and what those said of failures.
#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    /// Shown again at the end, where whoever has only the end of a long log finds it.
    failures: Vec<String>,
}

/// A test program's report.
struct Report {
    /// The tests passed and failed that a line tells of.
    counts: fn(&str) -> Option<(u64, u64)>,
    /// What the lines about failures begin with, and what ends them.
    failures: (&'static str, Option<&'static str>),
}

const VITEST: Report = Report { counts: vitest, failures: ("FAIL ", Some("Test Files ")) };
const NODE: Report = Report { counts: node_test, failures: ("✖ failing tests:", None) };
const CARGO: Report = Report { counts: cargo_test, failures: ("failures:", Some("test result:")) };

/// Installs, builds, and runs all tests; those that can still run do so after a failure.
///
/// # Errors
/// Something cannot be built, or a test fails.
pub(crate) fn run() -> anyhow::Result<()> {
    packages::ensure(&[packages::RUN, packages::TEST])?;
    let node = Node::ensure()?;
    web::build(&node)?;
    node.install("tests")?;
    let tests = root().join("tests");
    let schemathesis = python::ensure("schemathesis", &tests.join("schemathesis.txt"), "schemathesis")?;
    let python = python::ensure("clients", &tests.join("clients.txt"), "python")?;
    let browser_use = python::ensure("browser-use", &tests.join("browser-use.txt"), "python")?;
    clients::build(&node)?;
    shell::run(&mut cargo(["build", "--package", "glasshouse"]))?;

    let mut count = Count::default();
    let mut failures = Vec::new();
    let mut note = |what: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            eprintln!("error: {what}: {error:#}");
            failures.push(what.to_owned());
        }
    };
    let web = root().join("web");
    note("types of the web page", shell::run(&mut node.command("npm", &["run", "typecheck"], &web)));
    note("web page", counted(&mut node.command("npm", &["test"], &web), &VITEST, &mut count));
    note("fuzzing", fuzz::run());
    let mut end_to_end =
        node.command("node", &["--test", "--test-reporter=spec", "--test-concurrency=1", FILE_LIMIT], root());
    end_to_end.args(end_to_end_files()?).env("GLASSHOUSE_BIN", target().join("debug/glasshouse"));
    end_to_end.env("GLASSHOUSE_SCHEMATHESIS", schemathesis);
    end_to_end.env("GLASSHOUSE_PYTHON_CLIENTS", python).env("GLASSHOUSE_PYTHON_BROWSER_USE", browser_use);
    note("end to end", counted(&mut end_to_end, &NODE, &mut count));
    shell::run(&mut cargo(["test", "--workspace", "--no-run"]))?;
    let tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    note("crates", counted(&mut shell::within(CRATES_LIMIT, &tests), &CARGO, &mut count));

    let mut ours = std::io::stdout();
    for line in &count.failures {
        writeln!(ours, "{line}")?;
    }
    writeln!(ours, "{} passed, {} failed", count.passed, count.failed)?;
    if failures.is_empty() { Ok(()) } else { bail!("failed: {}", failures.join(", ")) }
}

fn end_to_end_files() -> anyhow::Result<Vec<String>> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/e2e"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".test.mjs"))
        .map(|name| format!("tests/e2e/{name}"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("there are no tests in tests/e2e");
    }
    Ok(files)
}

/// Runs a test program, passes its output on, and adds up what it reports.
fn counted(command: &mut Command, report: &Report, count: &mut Count) -> anyhow::Result<()> {
    let text = shell::show(command);
    eprintln!("> {text}");
    let mut child = command.env("NO_COLOR", "1").stdout(Stdio::piped()).spawn().with_context(|| text.clone())?;
    let output = child.stdout.take().context("no output")?;
    let mut before = count.passed + count.failed;
    read(BufReader::new(output), &mut std::io::stdout(), report, count)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    before = count.passed + count.failed - before;
    if before == 0 {
        bail!("`{text}` ran no tests");
    }
    Ok(())
}

/// Passes a test program's output on, line by line, and takes from it what it reports.
fn read(input: impl BufRead, output: &mut impl Write, report: &Report, count: &mut Count) -> std::io::Result<()> {
    let mut is_failure = false;
    for line in input.split(b'\n') {
        let line = line?;
        output.write_all(&line)?;
        output.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        let text = line.trim();
        if let Some((passed, failed)) = (report.counts)(text) {
            count.passed += passed;
            count.failed += failed;
        }
        let (begin, end) = report.failures;
        is_failure = (is_failure || text.starts_with(begin)) && !end.is_some_and(|end| text.starts_with(end));
        if is_failure && count.failures.len() < SHOWN_AGAIN {
            count.failures.push(line.into_owned());
        }
    }
    Ok(())
}

/// The number before or after a word.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn cargo_test(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let mut parts = rest.split_once(". ")?.1.split("; ");
    Some((number(parts.next()?.strip_suffix("passed")?)?, number(parts.next()?.strip_suffix("failed")?)?))
}

/// `Tests  2 failed | 31 passed (33)`
fn vitest(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("Tests ")?.split('(').next()?;
    let of = |word| rest.split('|').find_map(|part| number(part.trim().strip_suffix(word)?)).unwrap_or(0);
    Some((of("passed"), of("failed")))
}

/// `ℹ pass 12` and `ℹ fail 0`
fn node_test(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("ℹ ")?;
    if let Some(passed) = rest.strip_prefix("pass ") {
        return Some((number(passed)?, 0));
    }
    Some((0, number(rest.strip_prefix("fail ")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_kept_for_the_end() {
        let mut count = Count::default();
        let text = "ok\nfailures:\n  why\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\nok\n";
        let mut shown = Vec::new();
        read(text.as_bytes(), &mut shown, &CARGO, &mut count).unwrap();
        assert_eq!(shown, text.as_bytes());
        assert_eq!((count.passed, count.failed), (1, 1));
        assert_eq!(count.failures, ["failures:", "  why"]);
    }

    #[test]
    fn reports_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(cargo_test(line), Some((12, 3)));
        assert_eq!(vitest("Tests  2 failed | 31 passed (33)"), Some((31, 2)));
        assert_eq!(vitest("Tests  31 passed (31)"), Some((31, 0)));
        assert_eq!(node_test("ℹ pass 7"), Some((7, 0)));
        assert_eq!(node_test("ℹ fail 1"), Some((0, 1)));
        assert_eq!(node_test("ℹ tests 8"), None);
    }
}
