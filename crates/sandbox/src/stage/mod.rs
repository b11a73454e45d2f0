//! The stage: a short-lived, single-threaded process of our own executable that builds the walls from within.
//!
//! A server with many threads must not do much between `clone` and `exec`: locks may be held by threads that do not
//! exist in the child. So it starts itself again as a stage, which has one thread and may allocate, read files and
//! speak JSON. The stage clones the session's process 1 into new namespaces as a child of the *server*
//! (`CLONE_PARENT`), writes its id maps and ends; the clone mounts, confines itself and executes the program.

mod clone;
mod confine;
mod etc;
mod files;
mod join;
mod mounts;
mod net;
mod seccomp;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

pub(crate) use seccomp::install as install_seccomp;

use crate::{
    plan::{Plan, Report},
    wire,
};

/// A failed step.
pub(crate) struct Failed {
    step: String,
    source: io::Error,
}

/// Names the step that a call is part of.
pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Failed> {
        self.map_err(|source| Failed { step: step.into(), source: source.into() })
    }
}

/// Runs the stage; `glasshouse sandbox-stage` is this. Its standard input is the socket it is told its work on.
pub fn main() -> ExitCode {
    let control = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(control) if rustix::net::sockopt::socket_type(&control).is_ok() => control,
        _ => {
            eprintln!("sandbox-stage: standard input is not a socket: it is started by glasshouse, not by hand");
            return ExitCode::FAILURE;
        }
    };
    let (plan, fds) = match wire::receive::<Plan>(&control) {
        Ok(Some(received)) => received,
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sandbox-stage: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match plan {
        Plan::Build(build) => clone::build(&control, *build, fds),
        Plan::Join(join) => join::join(&control, *join, fds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            report_failure(&control, failed);
            ExitCode::FAILURE
        }
    }
}

fn report_failure(control: &OwnedFd, failed: Failed) {
    let report = Report::Failed {
        step: failed.step,
        reason: failed.source.to_string(),
        errno: failed.source.raw_os_error().unwrap_or(0),
    };
    // Fails only when the server is gone, and then nobody wants to know.
    let _ = wire::send(control.as_fd(), &report, &[]);
}
