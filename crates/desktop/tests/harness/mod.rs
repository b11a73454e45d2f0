//! Real desktops for tests: small, with everything that happens on them recorded.

#![allow(dead_code, unused_imports, clippy::unwrap_used, reason = "each test file uses a part, and fails by panicking")]

pub(crate) mod window;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_desktop::{App, Config, Desktop, Display, Event, OnExit, ProgramState, Size};
use parking_lot::Mutex;

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const SIZE: Size = Size { width: 640, height: 480 };

/// Events of a desktop, in order.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub(crate) fn sink(&self) -> Arc<dyn Fn(Event) + Send + Sync> {
        let events = Arc::clone(&self.0);
        Arc::new(move |event| events.lock().push(event))
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().clone()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(crate) fn states(&self, name: &str) -> Vec<ProgramState> {
        self.all()
            .into_iter()
            .filter_map(|event| match event {
                Event::Program { name: of, state, .. } if of == name => Some(state),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn config(app: App) -> Config {
    Config {
        display: Display::Own(SIZE),
        app,
        on_exit: OnExit::Restart,
        window_manager: false,
        sound: false,
        glx: true,
        profile: None,
        environment: Default::default(),
        devtools: false,
        walls: None,
        keeper: vec![env!("CARGO_BIN_EXE_glasshouse-keeper").into()],
    }
}

pub(crate) fn command(line: &[&str]) -> App {
    App::Command(line.iter().map(Into::into).collect())
}

/// A bare display.
pub(crate) async fn start() -> (Desktop, Recorder) {
    start_with(config(App::None)).await
}

pub(crate) async fn start_with(config: Config) -> (Desktop, Recorder) {
    let recorder = Recorder::default();
    let desktop = Desktop::start(config, recorder.sink()).await.unwrap();
    (desktop, recorder)
}

/// Waits until something is there, looking again and again.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection of a test's own to the desktop's display.
pub(crate) fn connect(desktop: &Desktop) -> (x11rb::rust_connection::RustConnection, u32) {
    use x11rb::{
        connection::Connection,
        rust_connection::{DefaultStream, RustConnection},
    };
    let number = desktop.display().trim_start_matches(':');
    let file = std::fs::read(desktop.xauthority().unwrap()).unwrap();
    let cookie = file[file.len() - 16..].to_vec();
    let stream = std::os::unix::net::UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).unwrap();
    let (stream, _) = DefaultStream::from_unix_stream(stream).unwrap();
    let name = b"MIT-MAGIC-COOKIE-1".to_vec();
    let conn = RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie).unwrap();
    let root = conn.setup().roots[0].root;
    (conn, root)
}

/// The directory with everything of this desktop.
pub(crate) fn session_dir(desktop: &Desktop) -> std::path::PathBuf {
    desktop.downloads().parent().unwrap().parent().unwrap().to_path_buf()
}

/// Processes that have this text in their environment or command line.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let has = |path: &Path| {
        std::fs::read(path).is_ok_and(|content| content.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| has(&entry.path().join("environ")) || has(&entry.path().join("cmdline")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() as i32)
        .collect()
}

/// The one process of a desktop with this name.
pub(crate) fn process(desktop: &Desktop, name: &str) -> Option<i32> {
    processes_with(&session_dir(desktop).to_string_lossy())
        .into_iter()
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
