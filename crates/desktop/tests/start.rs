//! A desktop starts with everything ready, and ends without a trace.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod harness;

use glasshouse_desktop::{App, Desktop, Display, Error, OnExit, ProgramState, Size};
use harness::{command, config, eventually, process, processes_with, session_dir, start, start_with};

#[tokio::test]
async fn everything_is_ready_and_goes_away() {
    let mut config = config(command(&["xterm"]));
    config.window_manager = true;
    config.sound = true;
    let (desktop, recorder) = start_with(config).await;
    let dir = session_dir(&desktop);
    for name in ["x-server", "window-manager", "sound", "app"] {
        assert_eq!(recorder.states(name), [ProgramState::Starting, ProgramState::Running], "{name}");
        assert!(desktop.programs().iter().any(|(of, state, _)| *of == name && *state == ProgramState::Running));
    }
    assert_eq!(desktop.size(), harness::SIZE);
    std::os::unix::net::UnixStream::connect(desktop.rfb_socket().unwrap()).unwrap();
    assert!(std::fs::metadata(desktop.sound_fifo().unwrap()).is_ok());
    assert!(desktop.downloads().is_dir());
    let number = desktop.display().trim_start_matches(':').to_owned();
    let server = process(&desktop, "Xvnc").unwrap();
    desktop.stop().await;
    assert_eq!(processes_with(&dir.to_string_lossy()), Vec::<i32>::new());
    assert!(!dir.exists());
    // Another desktop may have the number by now.
    let lock = std::fs::read_to_string(format!("/tmp/.X{number}-lock")).unwrap_or_default();
    assert_ne!(lock.trim(), server.to_string(), "the display's lock is left");
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let recorder = harness::Recorder::default();
    let error = Desktop::start(config(command(&["no-such-program"])), recorder.sink()).await.unwrap_err();
    assert!(matches!(&error, Error::Missing { program, .. } if program == "no-such-program"), "{error}");
    assert!(error.to_string().contains("no-such-program not found"), "{error}");
}

#[tokio::test]
async fn sizes_out_of_range_are_refused() {
    let mut config = config(App::None);
    config.display = Display::Own(Size { width: 100, height: 100 });
    let error = Desktop::start(config, harness::Recorder::default().sink()).await.unwrap_err();
    assert_eq!(error.to_string(), "screen size 100x100 is not within 320x240 and 3840x2160");
}

#[tokio::test]
async fn a_dropped_desktop_ends_as_well() {
    let (desktop, _) = start().await;
    let dir = session_dir(&desktop);
    let server = process(&desktop, "Xvnc").unwrap();
    drop(desktop);
    eventually("the directory goes", || (!dir.exists()).then_some(())).await;
    eventually("the X server goes", || (!std::path::Path::new(&format!("/proc/{server}")).exists()).then_some(()))
        .await;
}

#[tokio::test]
async fn the_session_ends_with_its_app_when_told_so() {
    let mut config = config(command(&["sh", "-c", "exit 3"]));
    config.on_exit = OnExit::Stop;
    let (desktop, recorder) = start_with(config).await;
    let why = eventually("the session ends", || {
        recorder.all().into_iter().find_map(|event| match event {
            glasshouse_desktop::Event::Ended(why) => Some(why),
            _ => None,
        })
    })
    .await;
    assert_eq!(why, "sh ended with status 3");
    let dir = session_dir(&desktop);
    desktop.stop().await;
    assert!(!dir.exists());
}

#[tokio::test]
async fn programs_cannot_do_more_than_a_plain_user() {
    let (desktop, _) = start_with(config(command(&["sleep", "1000"]))).await;
    let pid = eventually("the app runs", || process(&desktop, "sleep")).await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert!(field("Uid:").iter().all(|uid| uid != "0"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("CapBnd:"), ["0000000000000000"]);
        assert!(field("Groups:").is_empty());
        let (other, _) = start_with(config(command(&["sleep", "1000"]))).await;
        let other_pid = eventually("the other app runs", || process(&other, "sleep")).await;
        let other_status = std::fs::read_to_string(format!("/proc/{other_pid}/status")).unwrap();
        assert!(!other_status.contains(&format!("Uid:\t{}", field("Uid:")[0])), "two desktops share a user");
        other.stop().await;
    }
    desktop.stop().await;
}

#[tokio::test]
async fn twenty_starts_leak_neither_descriptors_nor_threads() {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    // The first start makes what a runtime keeps.
    start().await.0.stop().await;
    let mut before = None;
    for _ in 0..20 {
        let (desktop, _) = start().await;
        desktop.stop().await;
        let now = eventually("threads end", || {
            let now = (count("fd"), count("task"));
            match before {
                Some((fds, tasks)) if now.0 > fds || now.1 > tasks + 4 => None,
                _ => Some(now),
            }
        })
        .await;
        before.get_or_insert(now);
    }
}
