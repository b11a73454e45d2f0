//! All processes that clients have started, and their limits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use glasshouse_desktop::Desktop;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    log::Used,
    process::{Owner, Process, Start},
};
use crate::problem::Problem;

/// Most processes that are remembered; the oldest that have ended are forgotten first.
const MAX_REMEMBERED: usize = 256;

/// Limits that clients may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProcessLimits)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) max_concurrent_processes: usize,
    pub(crate) default_run_timeout_ms: u64,
    pub(crate) max_run_timeout_ms: u64,
    /// Of each of the two streams.
    pub(crate) max_output_bytes: usize,
    pub(crate) max_log_bytes_per_process: usize,
    pub(crate) max_input_bytes_per_request: usize,
}

const DEFAULT: Limits = Limits {
    max_concurrent_processes: 64,
    default_run_timeout_ms: 30_000,
    max_run_timeout_ms: 300_000,
    max_output_bytes: 1024 * 1024,
    max_log_bytes_per_process: 10 * 1024 * 1024,
    max_input_bytes_per_request: 64 * 1024,
};

/// What they cannot be set above.
const LARGEST: Limits = Limits {
    max_concurrent_processes: 128,
    default_run_timeout_ms: 86_400_000,
    max_run_timeout_ms: 86_400_000,
    max_output_bytes: 16 * 1024 * 1024,
    max_log_bytes_per_process: 32 * 1024 * 1024,
    max_input_bytes_per_request: 1024 * 1024,
};

impl Limits {
    fn checked(mut self) -> Result<Self, Problem> {
        let values = |limits: &Self| {
            [
                ("maxConcurrentProcesses", limits.max_concurrent_processes as u64),
                ("defaultRunTimeoutMs", limits.default_run_timeout_ms),
                ("maxRunTimeoutMs", limits.max_run_timeout_ms),
                ("maxOutputBytes", limits.max_output_bytes as u64),
                ("maxLogBytesPerProcess", limits.max_log_bytes_per_process as u64),
                ("maxInputBytesPerRequest", limits.max_input_bytes_per_request as u64),
            ]
        };
        for ((name, value), (_, largest)) in values(&self).into_iter().zip(values(&LARGEST)) {
            if !(1..=largest).contains(&value) {
                return Err(Problem::invalid(format!("{name} must be from 1 to {largest}")));
            }
        }
        self.default_run_timeout_ms = self.default_run_timeout_ms.min(self.max_run_timeout_ms);
        Ok(self)
    }
}

/// See the module.
pub(crate) struct Table {
    desktop: Arc<Desktop>,
    state: Mutex<State>,
    /// Output of all processes.
    used: Used,
    /// Processes that run once and are not listed.
    runs: Arc<AtomicUsize>,
}

struct State {
    limits: Limits,
    processes: BTreeMap<u64, Arc<Process>>,
    /// Starts under way.
    starting: usize,
    next: u64,
}

/// The place of a process that is starting.
struct Place<'a> {
    state: &'a Mutex<State>,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.state.lock().starting -= 1;
    }
}

/// The place of a process that runs once.
pub(crate) struct Run(Arc<AtomicUsize>);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Table {
    pub(crate) fn new(desktop: Arc<Desktop>) -> Self {
        let state = State { limits: DEFAULT, processes: BTreeMap::new(), starting: 0, next: 1 };
        Self { desktop, state: Mutex::new(state), used: Used::default(), runs: Arc::default() }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    pub(crate) fn set_limits(&self, limits: Limits) -> Result<Limits, Problem> {
        let limits = limits.checked()?;
        self.state.lock().limits = limits;
        Ok(limits)
    }

    fn is_full(&self, state: &State) -> bool {
        let running = state.processes.values().filter(|process| process.is_running()).count();
        running + state.starting + self.runs.load(Ordering::Acquire) >= state.limits.max_concurrent_processes
    }

    /// A place for a process that runs once.
    pub(crate) fn run(&self) -> Result<Run, Problem> {
        let state = self.state.lock();
        if self.is_full(&state) {
            return Err(full(&state.limits));
        }
        self.runs.fetch_add(1, Ordering::AcqRel);
        Ok(Run(self.runs.clone()))
    }

    /// Starts a process.
    pub(crate) async fn start(&self, start: Start, owner: Owner) -> Result<Arc<Process>, Problem> {
        let place = {
            let mut state = self.state.lock();
            if self.is_full(&state) {
                return Err(full(&state.limits));
            }
            state.starting += 1;
            let number = state.next;
            state.next += 1;
            Place { state: &self.state, number }
        };
        let limit = self.limits().max_log_bytes_per_process;
        let id = format!("proc_{}", place.number);
        let process = Process::start(id, start, owner, self.desktop.clone(), self.used.clone(), limit).await?;
        let mut state = self.state.lock();
        state.processes.insert(place.number, process.clone());
        while state.processes.len() > MAX_REMEMBERED {
            let Some(oldest) = state.processes.iter().find(|(_, one)| !one.is_running()).map(|(number, _)| *number)
            else {
                break;
            };
            state.processes.remove(&oldest);
        }
        drop(state);
        Ok(process)
    }

    pub(crate) fn list(&self, owner: Option<Owner>) -> Vec<Arc<Process>> {
        let state = self.state.lock();
        let mut all: Vec<_> = state
            .processes
            .values()
            .filter(|process| owner.is_none_or(|owner| process.owner == owner))
            .cloned()
            .collect();
        all.sort_by(|one, other| one.id().cmp(other.id()));
        all
    }

    pub(crate) fn get(&self, id: &str) -> Result<Arc<Process>, Problem> {
        number(id).and_then(|number| self.state.lock().processes.get(&number).cloned()).ok_or_else(|| missing(id))
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), Problem> {
        let number = number(id).ok_or_else(|| missing(id))?;
        let mut state = self.state.lock();
        let process = state.processes.get(&number).ok_or_else(|| missing(id))?;
        if process.is_running() {
            return Err(Problem::conflict("process is still running: stop or kill it first"));
        }
        state.processes.remove(&number);
        Ok(())
    }
}

fn number(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("proc_")?;
    digits.parse().ok().filter(|number: &u64| number.to_string() == digits)
}

fn missing(id: &str) -> Problem {
    let short: String = id.chars().take(32).collect();
    Problem::missing(format!("there is no process {short}"))
}

fn full(limits: &Limits) -> Problem {
    Problem::conflict(format!("max concurrent process limit reached ({})", limits.max_concurrent_processes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_one_way_only() {
        assert_eq!(number("proc_10"), Some(10));
        for wrong in ["proc_", "proc_01", "proc_+1", "10", "proc_-1", "proc_99999999999999999999"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_have_limits() {
        assert_eq!(DEFAULT.checked().unwrap(), DEFAULT);
        assert_eq!(LARGEST.checked().unwrap(), LARGEST);
        assert!(Limits { max_output_bytes: 0, ..DEFAULT }.checked().is_err());
        assert!(Limits { max_log_bytes_per_process: usize::MAX, ..DEFAULT }.checked().is_err());
        let short = Limits { max_run_timeout_ms: 10, ..DEFAULT }.checked().unwrap();
        assert_eq!(short.default_run_timeout_ms, 10);
    }
}
