//! The walls around one session: namespaces, limits, freezing, and the one guarded way out.
//!
//! [`Sandbox::launch`] starts a program as process 1 of new namespaces; see [`stage`] for how. Knows nothing about
//! desktops, people or pictures.
//!
//! Why a launcher of our own and not bubblewrap: that makes two nested user namespaces, the outer of which owns the
//! network, so that nothing can be handed out of it without privilege; its process 1 outlives the program while others
//! run; and it cannot give each session a user id of its own when it is started by root.
//!
//! What must hold:
//!
//! * A session's processes all end with its process 1, and that ends with our process: it is the child of a thread that
//!   never ends, with the parent death signal set.
//! * Everything of the host that is visible inside is a mount that was made read-only, or private to the session, before
//!   it was attached; nothing is mounted on a path that a session could have replaced by a link.
//! * A program is executed with no capability in any set, no_new_privs, two seccomp filters and, where the kernel has
//!   it, Landlock; the same for programs that are started later.
//! * The address that the egress proxy connects to is the one that it judged.

mod cgroup;
mod config;
mod disk;
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
pub use disk::disk_usage;
pub use error::Error;
pub use freeze::{Freezer, PageOut};
pub use launch::{Exit, GivenFd, Process, Sandbox, Stage};
pub use lease::Lease;
pub use registry::{Record, clear_after, sweep};
