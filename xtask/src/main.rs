//! `cargo xtask run | test | bench | soak | check`: installs what the machine lacks, builds, and does it.

mod bench;
mod check;
mod clients;
mod fuzz;
mod node;
mod packages;
mod python;
mod run;
mod shell;
mod soak;
mod stamp;
mod test;
mod web;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build, start `glasshouse serve`, and open a session.
    Run {
        /// A page for the session, and options of `glasshouse serve`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Install what is missing, build, and run every test.
    Test,
    /// Measure the promises of SPECIFICATION.md.
    Bench {
        /// Options of bench/run.mjs, such as --quick or --only latency.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Create, use, kill and end many sessions, and see that nothing is left of them.
    Soak {
        /// Options of tests/soak/run.mjs: --sessions 2000, --seed N, --at-once 4.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check format, lints, types, documentation and licences.
    Check,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { arguments } => run::run(&arguments),
        Command::Test => test::run(),
        Command::Bench { arguments } => bench::run(&arguments),
        Command::Soak { arguments } => soak::run(&arguments),
        Command::Check => check::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
