//! What the stage is told to do, and what it answers.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Bind, Home, Network, Program, Sizes};

/// Work for a stage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Plan {
    /// Build the walls of a session and start its process 1.
    Build(Box<Build>),
    /// Start one more program within walls that stand. The first descriptor attached is the pidfd of process 1.
    Join(Box<Join>),
}

/// New walls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Build {
    /// Id of the session's user and group on the host.
    pub(crate) outer_id: u32,
    pub(crate) hostname: String,
    pub(crate) home: Home,
    pub(crate) binds: Vec<Bind>,
    pub(crate) sizes: Sizes,
    pub(crate) network: Network,
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) start: Start,
}

/// One more program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) start: Start,
    pub(crate) network: Network,
}

/// How a program is started once the walls stand.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) program: Program,
    /// Numbers that the attached descriptors get in the program, in their order; of the first three, those not
    /// mentioned are `/dev/null`.
    pub(crate) fds: Vec<i32>,
    pub(crate) cgroups: Entry,
    pub(crate) rlimits: Rlimits,
    /// Directories inside that can be written, for Landlock.
    pub(crate) writable: Vec<PathBuf>,
}

/// How a process gets into the cgroups of a session.
///
/// Not by `cgroup.procs`: a process that may have threads is moved only after the kernel has waited until every processor has been
/// through its scheduler, some 10 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Files of version 1 into which a process of one thread writes "0".
    pub(crate) tasks: Vec<PathBuf>,
    /// Directory of version 2, into which the program is cloned.
    pub(crate) unified: Option<PathBuf>,
}

/// Limits of each process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rlimits {
    pub(crate) processes: u64,
    pub(crate) open_files: u64,
    pub(crate) file_size: Option<u64>,
    /// Writable private memory; only where no cgroup limits the session.
    pub(crate) data: Option<u64>,
}

/// From the stage to us.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process that becomes the program exists; its pidfd is attached.
    Cloned {
        /// Its number on the host.
        pid: i32,
    },
    /// The walls stand and the program is about to be executed; the listeners are attached. End of file without
    /// [`Report::Failed`] after this means that it was.
    Built {
        /// Whether Landlock is in force.
        landlock: bool,
    },
    /// It did not work.
    Failed {
        /// What was being done.
        step: String,
        /// What the kernel said.
        reason: String,
        /// Its error number, or 0.
        errno: i32,
    },
}
