//! The walls around one session: namespaces, limits, freezing, and the one guarded way out.
//!
//! [`Sandbox::launch`] starts a program as process 1 of new namespaces; see [`stage`] for how. Knows nothing about
//! desktops, people or pictures.

mod cgroup;
mod config;
pub mod egress;
mod error;
mod freeze;
mod launch;
mod lease;
mod plan;
pub mod probe;
mod registry;
pub mod stage;
mod wire;

pub use cgroup::Usage;
pub use config::{
    Bind, Config, Executable, HOME, Home, INNER_ID, Limits, Network, Program, RUNTIME_DIR, Sizes, UseCgroups,
    default_state_dir,
};
pub use error::Error;
pub use freeze::{Freezer, PageOut};
pub use launch::{Exit, GivenFd, Process, Sandbox};
pub use lease::Lease;
pub use registry::{Record, sweep};
