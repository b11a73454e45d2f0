//! `glasshouse`: isolated Linux desktops and browsers, streamed live to people and handed to programs.

mod cli;
mod doctor;
mod linger;
mod logging;
mod port;
mod session;
mod web;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        // Before anything else starts threads: the keeper is a process of its own that must stay small.
        cli::Command::Keeper => return glasshouse_desktop::keeper::main(),
        cli::Command::Doctor(options) => doctor::run(&options),
        cli::Command::Session(options) => logging::start(&options.log).and_then(|()| session::run(*options)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
