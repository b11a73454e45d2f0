//! Taking more than a share: bombs and filling, each ended within its session.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;

use common::{Mode, Place, is_root, modes, text};

fn refused(place: &Place, mode: Mode, options: &[&str], attack: &[&str]) -> String {
    let mut command = vec!["/opt/walls", "attack"];
    command.extend(attack);
    let tried = place.inside(mode, options, &command);
    assert_eq!(tried.status.code(), Some(0), "{mode:?} {attack:?}: {}", text(&tried));
    text(&tried)
}

fn works(place: &Place, mode: Mode, options: &[&str], attack: &[&str]) {
    let mut command = vec!["/opt/walls", "attack"];
    command.extend(attack);
    let tried = place.inside(mode, options, &command);
    assert_eq!(tried.status.code(), Some(1), "within the limit, {mode:?} {attack:?}: {}", text(&tried));
}

#[test]
fn processes_and_threads() {
    let place = Place::new();
    for mode in modes() {
        for options in [&["--pids", "50"][..], &["--pids", "50", "--no-cgroups"]] {
            works(&place, *mode, options, &["fork-bomb", "20"]);
            let said = refused(&place, *mode, options, &["fork-bomb", "200"]);
            assert!(said.contains("Resource temporarily unavailable"), "{said}");
            refused(&place, *mode, options, &["thread-bomb", "200"]);
        }
    }
}

#[test]
fn memory_by_cgroup_says_why() {
    // Rights to make cgroups are what it takes.
    if !is_root() {
        return;
    }
    let place = Place::new();
    works(&place, Mode::Root, &["--memory", "128"], &["memory-bomb", "50"]);
    let tried =
        place.inside(Mode::Root, &["--memory", "128"], &["/bin/sh", "-c", "/opt/walls attack memory-bomb 400; true"]);
    assert!(text(&tried).contains("reached its memory limit"), "{}", text(&tried));
    assert_eq!(tried.status.code(), Some(0), "the others go on: {}", text(&tried));
    let tried = place.inside(Mode::Root, &["--memory", "64"], &["/opt/walls", "attack", "memory-bomb", "200"]);
    assert!(text(&tried).contains("SIGNAL 9"), "{}", text(&tried));
}

#[test]
fn memory_without_cgroups() {
    let place = Place::new();
    for mode in modes() {
        let options = ["--memory", "256", "--no-cgroups"];
        works(&place, *mode, &options, &["memory-bomb", "50"]);
        refused(&place, *mode, &options, &["memory-bomb", "400"]);
    }
}

#[test]
fn file_systems_in_memory() {
    let place = Place::new();
    for mode in modes() {
        let options = ["--shm", "8", "--tmp", "8"];
        for dir in ["/dev/shm", "/tmp"] {
            works(&place, *mode, &options, &["fill", dir, "4"]);
            let said = refused(&place, *mode, &options, &["fill", dir, "16"]);
            assert!(said.contains("No space left"), "{said}");
            let said = refused(&place, *mode, &options, &["fill-inodes", dir, "5000"]);
            assert!(said.contains("No space left"), "{said}");
        }
        // The root and /dev cannot be written at all, /run is small.
        refused(&place, *mode, &options, &["fill", "/run/user/1000", "100"]);
    }
}

#[test]
fn size_of_a_file() {
    let place = Place::new();
    for mode in modes() {
        let options = ["--file-size", "4"];
        works(&place, *mode, &options, &["big-file", "/home/user", "2"]);
        let said = refused(&place, *mode, &options, &["big-file", "/home/user", "8"]);
        assert!(said.contains("File too large"), "{said}");
    }
}
