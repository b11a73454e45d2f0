//! What a session uses, and which limits it has reached.

use std::{fs, path::Path, time::Duration};

use super::Cgroup;

/// What a session uses. A value is `None` where no cgroup counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in bytes, cached files included.
    pub memory: Option<u64>,
    /// Processor time since the start.
    pub cpu: Option<Duration>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processes killed because the memory limit was reached, since the start.
    pub memory_kills: Option<u64>,
    /// Processes and threads refused because their limit was reached, since the start.
    pub pids_refused: Option<u64>,
}

impl Usage {
    /// What a person should be told about limits that were reached, if any was.
    #[must_use]
    pub fn reached(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(count @ 1..) = self.memory_kills {
            parts.push(format!("the session reached its memory limit: {count} of its processes were ended"));
        }
        if let Some(count @ 1..) = self.pids_refused {
            parts.push(format!("the session reached its limit of processes: {count} were refused"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl Cgroup {
    /// Reads what is used now.
    pub(crate) fn usage(&self) -> Usage {
        let v2 = self.v2();
        let number = |dir: Option<&Path>, file: &str| dir.and_then(|dir| read(dir, file)?.trim().parse::<u64>().ok());
        let keyed = |dir: Option<&Path>, file: &str, key: &str| dir.and_then(|dir| field(&read(dir, file)?, key));
        let (memory, pids, cpu) = (self.v1("memory"), self.v1("pids"), self.v1("cpuacct"));
        Usage {
            memory: number(v2, "memory.current").or_else(|| number(memory, "memory.usage_in_bytes")),
            cpu: number(cpu, "cpuacct.usage")
                .map(Duration::from_nanos)
                .or_else(|| keyed(v2, "cpu.stat", "usage_usec").map(Duration::from_micros)),
            pids: number(v2, "pids.current").or_else(|| number(pids, "pids.current")),
            memory_kills: keyed(v2, "memory.events", "oom_kill")
                .or_else(|| keyed(memory, "memory.oom_control", "oom_kill")),
            pids_refused: keyed(v2, "pids.events", "max").or_else(|| keyed(pids, "pids.events", "max")),
        }
    }
}

fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
