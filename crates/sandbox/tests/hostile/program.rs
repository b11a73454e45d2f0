//! The test program: a stage, a launcher for an ordinary user, and the hostile program that runs inside.
//!
//! `walls-test attack NAME ARGS` prints what it gained and exits with 1, or prints why it was refused and exits with 0.

#![allow(clippy::print_stdout, reason = "what it says is what the tests read")]

#[path = "attacks.rs"]
mod attacks;
#[path = "launch.rs"]
mod launch;
#[path = "limits.rs"]
mod limits;
#[path = "sys.rs"]
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("sandbox-stage") => glasshouse_sandbox::stage::main(),
        Some("launch") => launch::main(&args[1..]),
        Some("attack") => attack(&args[1..]),
        Some("euid") => {
            println!("{}", rustix::process::geteuid().as_raw());
            ExitCode::SUCCESS
        }
        Some("wait") => loop {
            // Until somebody kills us.
            std::thread::park();
        },
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        other => {
            eprintln!("unknown command {other:?}");
            ExitCode::from(64)
        }
    }
}

fn attack(args: &[String]) -> ExitCode {
    let Some((name, args)) = args.split_first() else { return ExitCode::from(64) };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(act) = attacks::find(name).or_else(|| limits::find(name)) else {
        eprintln!("there is no attack {name}");
        return ExitCode::from(64);
    };
    match act(&args) {
        Ok(gained) => {
            println!("GAINED {name}: {gained}");
            ExitCode::from(1)
        }
        Err(refused) => {
            println!("REFUSED {name}: {refused}");
            ExitCode::SUCCESS
        }
    }
}
