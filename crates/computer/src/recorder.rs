//! Recordings of the screen: by `ffmpeg`, a program within the walls like any other, into a folder below HOME.
//!
//! They belong to the session and end with it. All of them together have as many bytes as one file may have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use glasshouse_desktop::{Desktop, Ended, Error, Launch, Launched};
use parking_lot::Mutex;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    files::tree::{Replace, Tree},
    problem::Problem,
    processes::run::Leash,
};

/// Where recordings are, below HOME.
const FOLDER: &str = "recordings";
/// Most recordings at a time, and most that are remembered.
const MAX_ACTIVE: usize = 4;
const MAX_REMEMBERED: usize = 64;
/// One that dies sooner has not begun.
const BEGINS_WITHIN: Duration = Duration::from_millis(250);
/// How long it may take to end after each kind of asking.
const STOPS_WITHIN: [(i32, Duration); 3] = [
    (libc::SIGINT, Duration::from_secs(30)),
    (libc::SIGTERM, Duration::from_secs(2)),
    (libc::SIGKILL, Duration::from_secs(5)),
];
/// What comes before the first pictures of a recording has fewer bytes: 761 by ffmpeg 5.1.
pub(crate) const HEADER: u64 = 1_024;
/// How long one that is to end is given for its first pictures, and how often they are looked for.
const PICTURES_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// How long the recording may take to be made ready for seeking.
const FINISHES_WITHIN: Duration = Duration::from_secs(120);
/// Smallest recording, in bytes.
const SMALLEST: u64 = 1024 * 1024;
/// Most bytes of what the recorder complains of.
const MAX_COMPLAINT: usize = 2_048;
/// How long it may take to have said that, once it has ended.
const SAYS_WITHIN: Duration = Duration::from_secs(2);

/// How a recording is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Pictures a second.
    pub(crate) rate: u32,
    /// Most bytes.
    pub(crate) bytes: u64,
    /// Longest time, if there is one.
    pub(crate) time: Option<Duration>,
    pub(crate) with_pointer: bool,
}

/// Why one does not begin.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// One of this name runs.
    Runs,
    /// There was one of this name.
    Used,
    /// There is no ffmpeg.
    NoRecorder,
    Failed(Problem),
}

/// What becomes of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Runs,
    /// It has ended, and is being made ready.
    Finishes,
    /// It is there.
    Complete,
    /// There is nothing of it.
    Failed,
}

/// See the module.
pub(crate) struct Recording {
    pub(crate) id: String,
    pub(crate) started: SystemTime,
    pub(crate) ended: Mutex<Option<SystemTime>>,
    state: watch::Sender<State>,
    /// For the desktop.
    number: u32,
    limit: u64,
    is_deleted: AtomicBool,
    stop: tokio::sync::Mutex<()>,
}

impl Recording {
    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::Acquire)
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}.mp4", self.id)
    }

    fn path(&self) -> String {
        format!("{FOLDER}/{}.mp4", self.id)
    }

    /// Resolves when it is there, or failed.
    pub(crate) async fn settled(&self) {
        let mut state = self.state.subscribe();
        // An error says that it is gone altogether.
        let _ = state.wait_for(|state| matches!(state, State::Complete | State::Failed)).await;
    }
}

/// All recordings of a session.
pub(crate) struct Recorder {
    desktop: Arc<Desktop>,
    /// Most bytes of all together.
    budget: u64,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    recordings: BTreeMap<String, Arc<Recording>>,
    /// Names of those that are starting.
    starting: BTreeSet<String>,
    next: u64,
}

/// The name of one that is starting.
struct Name<'a> {
    all: &'a Mutex<All>,
    id: String,
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        self.all.lock().starting.remove(&self.id);
    }
}

impl Recorder {
    pub(crate) fn new(desktop: Arc<Desktop>, budget: u64) -> Self {
        Self { desktop, budget, all: Mutex::default() }
    }

    fn tree(&self) -> Tree {
        Tree::new(self.desktop.clone())
    }

    /// Whether one runs.
    pub(crate) fn is_active(&self) -> bool {
        self.all.lock().recordings.values().any(|one| one.state() == State::Runs)
    }

    /// A name that none has: `rec_1`.
    pub(crate) fn fresh_name(&self) -> String {
        let mut all = self.all.lock();
        all.next += 1;
        format!("rec_{}", all.next)
    }

    /// All that are not deleted.
    pub(crate) fn list(&self) -> Vec<Arc<Recording>> {
        self.all.lock().recordings.values().filter(|one| !one.is_deleted()).cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Recording>> {
        self.all.lock().recordings.get(id).cloned()
    }

    /// Begins a recording, of which the name is of letters, digits, `-` and `_`.
    pub(crate) async fn start(
        self: &Arc<Self>,
        id: &str,
        wanted: Wanted,
        display: &str,
    ) -> Result<Arc<Recording>, Refusal> {
        let is_name = (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            let text = "the id of a recording is of at most 64 letters, digits and hyphens";
            return Err(Refusal::Failed(Problem::invalid(text)));
        }
        if !self.desktop.is_enclosed() {
            let text = "this session has no walls, so it records nothing: start it with --isolation=walls";
            return Err(Refusal::Failed(Problem::denied(text)));
        }
        let (name, limit) = self.reserve(id, wanted.bytes)?;
        let failed = |error: Error| match error {
            Error::NoSuchProgram(_) => Refusal::NoRecorder,
            error => Refusal::Failed(Problem::failed(format!("cannot start ffmpeg: {error}"))),
        };
        let tree = self.tree();
        let folder = tree.place(FOLDER).map_err(Refusal::Failed)?;
        tree.make_folder(folder).await.map_err(Refusal::Failed)?;
        let path = self.desktop.home_inside().join(format!("{FOLDER}/{id}.mp4")).to_string_lossy().into_owned();
        let broken = |error: io::Error| Refusal::Failed(Problem::failed(format!("cannot start ffmpeg: {error}")));
        let (complaint, theirs) = io::pipe().map_err(broken)?;
        let complaint = listen(complaint).map_err(broken)?;
        let size = self.desktop.size();
        let args = arguments(wanted, limit, display, (size.width, size.height), &path);
        let launched = self.desktop.launch(ffmpeg(args, theirs)).await.map_err(failed)?;
        let Launched { id: number, mut ended, .. } = launched;
        // A client that goes now leaves no ffmpeg that nobody knows.
        let mut leash = Leash { desktop: self.desktop.clone(), number, is_loose: false };
        match tokio::time::timeout(BEGINS_WITHIN, &mut ended).await {
            Err(_) => {}
            Ok(_) => return Err(Refusal::Failed(Problem::failed(format!("ffmpeg: {}", said(complaint).await)))),
        }
        let recording = Arc::new(Recording {
            id: id.to_owned(),
            started: SystemTime::now(),
            ended: Mutex::default(),
            state: watch::Sender::new(State::Runs),
            number,
            limit,
            is_deleted: AtomicBool::new(false),
            stop: tokio::sync::Mutex::default(),
        });
        self.all.lock().recordings.insert(id.to_owned(), recording.clone());
        leash.is_loose = true;
        drop(name);
        tokio::spawn(Arc::clone(self).finish(recording.clone(), ended, complaint));
        Ok(recording)
    }

    /// Takes a name and some of the bytes that are left.
    fn reserve(&self, id: &str, bytes: u64) -> Result<(Name<'_>, u64), Refusal> {
        let mut all = self.all.lock();
        match all.recordings.get(id) {
            Some(one) if one.state() == State::Runs => return Err(Refusal::Runs),
            Some(_) => return Err(Refusal::Used),
            None if all.starting.contains(id) => return Err(Refusal::Runs),
            None => {}
        }
        let busy = |text: &'static str| Err(Refusal::Failed(Problem::busy(text)));
        if all.recordings.len() >= MAX_REMEMBERED {
            return busy("a session remembers 64 recordings, deleted ones included: make another session");
        }
        let active = all.recordings.values().filter(|one| one.state() == State::Runs).count() + all.starting.len();
        if active >= MAX_ACTIVE {
            return busy("four recordings run at a time: stop one");
        }
        let taken: u64 = all.recordings.values().filter(|one| !one.is_deleted()).map(|one| one.limit).sum();
        let left = self.budget.saturating_sub(taken);
        if left < SMALLEST {
            return busy("there is no room for another recording: download and delete some, or ask for smaller ones");
        }
        all.starting.insert(id.to_owned());
        Ok((Name { all: &self.all, id: id.to_owned() }, bytes.clamp(SMALLEST, left)))
    }

    /// Waits for the end, and has the recording made ready for seeking.
    async fn finish(
        self: Arc<Self>,
        recording: Arc<Recording>,
        ended: oneshot::Receiver<Ended>,
        complaint: JoinHandle<String>,
    ) {
        let how = ended.await;
        *recording.ended.lock() = Some(SystemTime::now());
        recording.state.send_replace(State::Finishes);
        // An error: it went with the desktop.
        let state = if how.is_ok() && self.seekable(&recording).await { State::Complete } else { State::Failed };
        if state == State::Failed && how.is_ok() {
            let said = said(complaint).await;
            tracing::warn!(recording = recording.id, said, "a recording failed");
        }
        recording.state.send_replace(state);
    }

    /// Moves the index to the front; whether there is a recording at all. One that cannot be changed stays as it was.
    async fn seekable(&self, recording: &Recording) -> bool {
        let tree = self.tree();
        let (from, to) = (recording.path(), format!("{FOLDER}/.{}.mp4", recording.id));
        let (Ok(from_place), Ok(to_place)) = (tree.place(&from), tree.place(&to)) else { return false };
        let Ok(entry) = tree.stat(from_place.clone()).await else { return false };
        if entry.size == 0 {
            return false;
        }
        let inside = |path: &str| self.desktop.home_inside().join(path).to_string_lossy().into_owned();
        let args = ["-y", "-i", &inside(&from), "-c", "copy", "-movflags", "+faststart", "-f", "mp4", &inside(&to)];
        let Ok((complaint, theirs)) = io::pipe() else { return true };
        let Ok(_complaint) = listen(complaint) else { return true };
        let args = COMMON.iter().chain(&args).map(|arg| (*arg).to_owned()).collect();
        let Ok(launched) = self.desktop.launch(ffmpeg(args, theirs)).await else { return true };
        let how = tokio::time::timeout(FINISHES_WITHIN, launched.ended).await;
        if let Ok(Ok(Ended { code: Some(0), .. })) = how {
            // It stays as it was otherwise.
            let _ = tree.rename(to_place, from_place, Replace::Plain).await;
            return true;
        }
        self.desktop.signal(launched.id, libc::SIGKILL);
        let _ = tree.remove(to_place, false).await;
        true
    }

    /// Ends a recording, and waits until it is there. One that has only begun gets its first pictures before: ffmpeg may leave none
    /// when it is told to end right after it has written the header.
    pub(crate) async fn stop(&self, recording: &Recording, at_once: bool) {
        let _turn = recording.stop.lock().await;
        if !at_once {
            self.desktop.wake();
            let pictures = async {
                while recording.state() == State::Runs
                    && self.read(recording).await.map_or(0, |(_, size)| size) <= HEADER
                {
                    tokio::time::sleep(LOOKS_EVERY).await;
                }
            };
            let _ = tokio::time::timeout(PICTURES_WITHIN, pictures).await;
        }
        let kinds = if at_once { &STOPS_WITHIN[2..] } else { &STOPS_WITHIN[..] };
        for (signal, patience) in kinds {
            let mut state = recording.state.subscribe();
            if *state.borrow() != State::Runs {
                break;
            }
            self.desktop.signal(recording.number, *signal);
            let _ = tokio::time::timeout(*patience, state.wait_for(|state| *state != State::Runs)).await;
        }
        let _ = tokio::time::timeout(FINISHES_WITHIN, recording.settled()).await;
    }

    /// Bytes of a recording so far, and how many.
    pub(crate) async fn read(&self, recording: &Recording) -> Result<(File, u64), Problem> {
        let tree = self.tree();
        tree.read(tree.place(&recording.path())?).await
    }

    /// Removes what there is of one that has ended.
    pub(crate) async fn remove(&self, recording: &Recording) -> Result<(), Problem> {
        let tree = self.tree();
        let removed = tree.remove(tree.place(&recording.path())?, false).await;
        match removed {
            Err(problem) if problem.errno() != Some(rustix::io::Errno::NOENT) => Err(problem),
            _ => {
                recording.is_deleted.store(true, Ordering::Release);
                Ok(())
            }
        }
    }
}

/// What every call begins with.
const COMMON: [&str; 4] = ["-hide_banner", "-loglevel", "error", "-nostdin"];

fn ffmpeg(args: Vec<String>, errors: io::PipeWriter) -> Launch {
    Launch {
        program: "ffmpeg".into(),
        args: args.into_iter().map(Into::into).collect(),
        descriptors: vec![(errors.into(), 2)],
        ..Launch::default()
    }
}

fn arguments(wanted: Wanted, limit: u64, display: &str, (width, height): (u16, u16), path: &str) -> Vec<String> {
    let mut args: Vec<String> = COMMON.map(str::to_owned).into();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    let rate = wanted.rate.to_string();
    add(&["-y", "-f", "x11grab", "-framerate", &rate, "-video_size", &format!("{width}x{height}")]);
    add(&[
        "-draw_mouse",
        if wanted.with_pointer { "1" } else { "0" },
        "-use_wallclock_as_timestamps",
        "1",
        "-i",
        display,
    ]);
    // H.264 with this colour format has even sides only.
    add(&[
        "-an",
        "-vf",
        "setpts=PTS-STARTPTS,crop=trunc(iw/2)*2:trunc(ih/2)*2",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
    ]);
    add(&["-profile:v", "high", "-pix_fmt", "yuv420p", "-threads", "2", "-g", &(wanted.rate * 2).to_string()]);
    // Playable at every moment.
    add(&[
        "-movflags",
        "+frag_keyframe+empty_moov+default_base_moof",
        "-frag_duration",
        "500000",
        "-flush_packets",
        "1",
    ]);
    add(&["-fs", &limit.to_string()]);
    if let Some(time) = wanted.time {
        add(&["-t", &time.as_secs().to_string()]);
    }
    add(&["-f", "mp4", path]);
    args
}

/// Reads what the recorder complains of, until it ends: the last of it, as one line.
fn listen(complaint: io::PipeReader) -> io::Result<JoinHandle<String>> {
    let mut pipe = pipe::Receiver::from_owned_fd(complaint.into())?;
    Ok(tokio::spawn(async move {
        let (mut text, mut buffer) = (Vec::new(), vec![0; 4_096]);
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..read]);
            text.drain(..text.len().saturating_sub(MAX_COMPLAINT));
        }
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        if line.is_empty() { "it ended at once".into() } else { line }
    }))
}

async fn said(complaint: JoinHandle<String>) -> String {
    let said = tokio::time::timeout(SAYS_WITHIN, complaint).await;
    said.ok().and_then(Result::ok).unwrap_or_else(|| "it did not say why".into())
}
