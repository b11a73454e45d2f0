//! `glasshouse`: isolated Linux desktops and browsers, streamed live to people and handed to programs.
#![allow(rustdoc::bare_urls, reason = "descriptions of options are printed as they are")]

mod ask_webhook;
mod automation;
mod behind;
mod claim;
mod cli;
mod computer;
mod doctor;
mod exec;
mod fine;
mod front;
mod glance;
mod kernel_ports;
mod linger;
mod logging;
mod mcp;
mod mcp_bridge;
mod new;
mod opened;
mod outgoing;
mod port;
mod profiles;
mod programs;
mod readings;
mod remote;
mod rest;
mod serve;
mod session;
mod stop;
mod tls;
mod trail;
mod users;
mod vnc;
mod walls;
mod web;

use std::{env, ffi::OsStr, process::ExitCode};

use clap::Parser;

/// Size from which memory is asked of the kernel by itself, and given back at once, in bytes.
///
/// Without it, what an encoder had stays with whichever of malloc's arenas its thread happened to use: with more threads
/// than arenas, tens of megabytes for each arena.
#[cfg(target_env = "gnu")]
const OWN_MAPPING_FROM: i32 = 256 * 1024;

/// Heaps of malloc's own. Each thread gets one otherwise, and keeps what it once needed; the hot paths do not allocate.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes settings of malloc, before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_FROM);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
    // The parent of a desktop's programs, and what builds the walls from within: processes of their own that every session
    // starts and waits for, so before the command line is described, which takes a millisecond, and before there are threads.
    match env::args_os().nth(1).as_deref().and_then(OsStr::to_str) {
        Some("keeper") => return glasshouse_desktop::keeper::main(),
        Some("sandbox-stage") => return glasshouse_sandbox::stage::main(),
        _ => {}
    }
    let result = match cli::Cli::parse().command {
        cli::Command::Doctor(options) => doctor::run(&options),
        cli::Command::User(verb) => users::run(verb),
        cli::Command::Serve(options) => logging::start(&options.log).and_then(|()| serve::run(&options)),
        cli::Command::Remote(verb) => remote::run(verb),
        cli::Command::Mcp(options) => mcp_bridge::run(options),
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
