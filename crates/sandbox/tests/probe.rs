//! What the doctor is told agrees with what works.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

use glasshouse_sandbox::probe::{State, probe};

#[test]
fn facts_are_of_this_host() {
    let facts = probe();
    for fact in &facts {
        println!("{}: {:?}: {} [{}]", fact.name, fact.state, fact.found, fact.remedy);
        assert_eq!(fact.remedy.is_empty(), fact.state == State::Good, "{fact:?}");
        assert!(!fact.found.is_empty());
    }
    let state = |name| facts.iter().find(|fact| fact.name == name).map(|fact| fact.state);
    // The other tests launch sessions, so these must be there.
    for name in ["namespaces", "restrictions", "seccomp", "/proc", "user ids"] {
        assert_eq!(state(name), Some(State::Good), "{name}");
    }
}
