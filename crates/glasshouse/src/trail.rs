//! The trail: what programs did, who had control, and where pages went; as a stream of events and as a file of lines of JSON.
//!
//! Whoever records never waits: what does not fit into the queue is counted, and the gap is recorded. One thread gives numbers,
//! writes the file, and keeps the last entries, which readers take at their own pace.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures_util::stream;
use glasshouse_room::Somebody;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

/// Entries that wait to be written.
const QUEUE: usize = 1_024;
/// Entries, and bytes of them, that are kept for readers.
const KEPT: usize = 1_024;
const KEPT_BYTES: usize = 512 * 1024;
/// Largest file in bytes; then another is begun, and one before it is kept.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Equal entries within this time are one, with a count.
const TOGETHER: Duration = Duration::from_millis(250);
/// Longest text in an entry, in bytes.
const MAX_TEXT: usize = 4 * 1024;
/// Between two signs of life to a reader.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A program, as the trail names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Who {
    /// Its member's id in the room.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) way: &'static str,
    /// Public name of its token; never the token.
    pub(crate) token: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    /// A program came.
    Joined,
    /// A program went; whether it was removed.
    Left { removed: bool },
    /// A CDP method was called.
    Cdp {
        method: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        #[serde(skip_serializing_if = "is_false")]
        refused: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A call of computer use.
    Computer {
        call: String,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        x: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        y: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// A page has another address.
    Page { target: String, url: String },
    /// Control changed hands.
    Control { by: Somebody, from: Option<Somebody>, to: Option<Somebody> },
    /// Who may act changed.
    Mode { by: Somebody, mode: &'static str },
    /// So many entries were lost.
    Gap { lost: u64 },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl What {
    /// Whether an entry is this again. Of a pointer that moves, only the last place matters.
    fn is_again(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Computer { call, status, body: None, .. }, Self::Computer { call: other, status: others, .. })
                if call.ends_with("/mouse/move") =>
            {
                call == other && status == others
            }
            (Self::Cdp { .. } | Self::Computer { .. }, _) => self == next,
            _ => false,
        }
    }
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    Noted(Noted),
    /// Nothing more comes.
    End,
}

/// An entry on its way.
#[derive(Debug)]
struct Noted {
    at: SystemTime,
    who: Option<Arc<Who>>,
    what: What,
    count: u32,
}

/// An entry as it is written.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    at: String,
    #[serde(flatten)]
    what: &'a What,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a Who>,
    #[serde(skip_serializing_if = "is_one")]
    count: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

/// The last entries, for readers.
#[derive(Default)]
struct Kept {
    entries: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, id: u64, line: Arc<str>) {
        self.bytes += line.len();
        self.entries.push_back((id, line));
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((_, line)) = self.entries.pop_front() else { break };
            self.bytes -= line.len();
        }
    }
}

struct Shared {
    lost: AtomicU64,
    kept: Mutex<Kept>,
    /// Number of the last entry.
    last: watch::Sender<u64>,
    wants_contents: bool,
}

/// A trail that is being made.
pub(crate) struct Trail {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// Records into a trail.
#[derive(Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

impl Trail {
    /// Begins one, in a file if there is to be one. Contents are noted only if asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn begin(path: Option<PathBuf>, wants_contents: bool) -> io::Result<Self> {
        let file = path.map(Pages::open).transpose()?;
        let shared = Arc::new(Shared {
            lost: AtomicU64::new(0),
            kept: Mutex::default(),
            last: watch::Sender::new(0),
            wants_contents,
        });
        let (queue, noted) = sync_channel(QUEUE);
        let writer = Writer { shared: shared.clone(), file, next: 1 };
        let thread = std::thread::Builder::new().name("trail".into()).spawn(move || writer.run(&noted))?;
        Ok(Self { shared, queue, thread })
    }

    /// For those who have something to record.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder { shared: self.shared.clone(), queue: self.queue.clone() }
    }

    /// Answers a reader with a stream of events, from after the one with this number.
    pub(crate) fn reader(&self) -> glasshouse_neko::Trail {
        let shared = self.shared.clone();
        Box::new(move |last| read(shared.clone(), last.unwrap_or(0)))
    }

    /// Writes what is there, and no more.
    pub(crate) fn end(self) {
        // Fails only when the writer is gone already.
        let _ = self.queue.send(Message::End);
        let _ = self.thread.join();
    }
}

impl Recorder {
    pub(crate) fn wants_contents(&self) -> bool {
        self.shared.wants_contents
    }

    /// Records something. Never waits.
    pub(crate) fn note(&self, who: Option<&Arc<Who>>, what: What, count: u32) {
        let noted = Noted { at: SystemTime::now(), who: who.cloned(), what, count };
        if self.queue.try_send(Message::Noted(noted)).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An address as it is noted: without what may be secret in it, unless contents are.
    pub(crate) fn url(&self, url: &str) -> String {
        if self.wants_contents() { cut(url) } else { bare(url) }
    }
}

/// An address without user, password, query and fragment; of those that are content themselves, the scheme only.
fn bare(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return if scheme == "about" { cut(url) } else { cut(&format!("{scheme}:")) };
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or_default();
    cut(&format!("{scheme}://{host}{path}"))
}

/// The beginning of a text.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    file: Option<Pages>,
    next: u64,
}

impl Writer {
    /// Works until the end, or until all recorders are gone.
    fn run(mut self, noted: &Receiver<Message>) {
        // One that may come again.
        let mut pending: Option<(Noted, Instant)> = None;
        loop {
            let next = match &pending {
                None => noted.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((_, since)) => noted.recv_timeout(TOGETHER.saturating_sub(since.elapsed())),
            };
            let lost = self.shared.lost.swap(0, Ordering::Relaxed);
            match next {
                Ok(Message::Noted(next)) => {
                    let is_again = |(first, _): &&mut (Noted, Instant)| {
                        lost == 0 && first.who == next.who && first.what.is_again(&next.what)
                    };
                    if let Some((first, _)) = pending.as_mut().filter(is_again) {
                        first.count = first.count.saturating_add(next.count);
                        first.what = next.what;
                        continue;
                    }
                    if let Some((first, _)) = pending.take() {
                        self.write(&first);
                    }
                    self.gap(lost);
                    pending = Some((next, Instant::now()));
                }
                Ok(Message::End) | Err(_) => {
                    if let Some((first, _)) = pending.take() {
                        self.write(&first);
                    }
                    self.gap(lost);
                    if !matches!(next, Err(RecvTimeoutError::Timeout)) {
                        return;
                    }
                }
            }
        }
    }

    fn gap(&mut self, lost: u64) {
        if lost > 0 {
            self.write(&Noted { at: SystemTime::now(), who: None, what: What::Gap { lost }, count: 1 });
        }
    }

    fn write(&mut self, noted: &Noted) {
        let Noted { at, who, what, count } = noted;
        let id = self.next;
        let line = Line { id, at: glasshouse_room::time::rfc3339(*at), what, who: who.as_deref(), count: *count };
        // Only maps with keys that are no text would fail.
        let Ok(line) = serde_json::to_string(&line) else { return };
        self.next += 1;
        if let Some(file) = &mut self.file
            && let Err(error) = file.write(&line)
        {
            tracing::warn!(%error, "the trail's file cannot be written any more; the stream goes on");
            self.file = None;
        }
        self.shared.kept.lock().push(id, line.into());
        self.shared.last.send_replace(id);
    }
}

/// A file that is begun anew when it is full.
struct Pages {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Pages {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let whole = format!("{line}\n");
        if self.length > 0 && self.length + whole.len() as u64 > MAX_FILE {
            fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
            self.file = append(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(whole.as_bytes())?;
        self.length += whole.len() as u64;
        Ok(())
    }
}

fn append(path: &std::path::Path) -> io::Result<File> {
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits();
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_links.cast_signed()).open(path)
}

/// A reader's place.
struct Reader {
    shared: Arc<Shared>,
    last: u64,
    news: watch::Receiver<u64>,
    ready: VecDeque<Event>,
}

fn read(shared: Arc<Shared>, last: u64) -> Response {
    let news = shared.last.subscribe();
    let reader = Reader { shared, last, news, ready: VecDeque::new() };
    let events = stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.ready.pop_front() {
                return Some((Ok::<_, Infallible>(event), reader));
            }
            reader.news.borrow_and_update();
            reader.fill();
            // An error says that the trail has ended.
            if reader.ready.is_empty() && reader.news.changed().await.is_err() {
                return None;
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

impl Reader {
    /// Takes what has come since; says what it has missed.
    fn fill(&mut self) {
        const AT_ONCE: usize = 64;
        let kept = self.shared.kept.lock();
        let Some((oldest, _)) = kept.entries.front() else { return };
        // A number from another session says nothing about this one.
        if self.last > kept.entries.back().map_or(0, |(id, _)| *id) {
            self.last = 0;
        }
        if self.last > 0 && self.last + 1 < *oldest {
            let lost = format!("{{\"lost\":{}}}", oldest - self.last - 1);
            self.ready.push_back(Event::default().event("gap").data(lost));
        }
        let first = usize::try_from((self.last + 1).saturating_sub(*oldest)).unwrap_or(usize::MAX);
        for (id, line) in kept.entries.iter().skip(first).take(AT_ONCE) {
            self.ready.push_back(Event::default().id(id.to_string()).data(&**line));
            self.last = *id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Arc<Who> {
        Arc::new(Who { id: "cdp-1".into(), name: "P".into(), way: "cdp", token: "1a2b3c4d".into() })
    }

    fn cdp(method: &str) -> What {
        What::Cdp { method: method.into(), target: None, refused: false, message: None }
    }

    #[test]
    fn addresses_without_secrets() {
        for (url, wanted) in [
            ("https://u:p@a.example:1/b/c?d=e#f", "https://a.example:1/b/c"),
            ("https://a.example", "https://a.example"),
            ("https://a.example?x@y", "https://a.example"),
            ("data:text/html,secret", "data:"),
            ("javascript:secret()", "javascript:"),
            ("blob:https://a/secret", "blob:https://a/secret"),
            ("about:blank#x", "about:blank"),
            ("file:///etc/x?y", "file:///etc/x"),
            ("", ":"),
        ] {
            assert_eq!(bare(url), wanted, "{url}");
        }
    }

    #[test]
    fn equal_ones_are_counted_and_others_are_in_order() {
        let trail = Trail::begin(None, false).unwrap();
        // Another queue, so that all of it is there before the first is looked at, however long that takes.
        let (queue, noted) = sync_channel(QUEUE);
        let recorder = Recorder { queue, ..trail.recorder() };
        let who = who();
        for _ in 0..3 {
            recorder.note(Some(&who), cdp("A.b"), 2);
        }
        recorder.note(Some(&who), cdp("C.d"), 1);
        recorder.note(None, What::Mode { by: Somebody { id: "a".into(), name: "Ann".into() }, mode: "together" }, 1);
        recorder.queue.send(Message::End).unwrap();
        Writer { shared: trail.shared.clone(), file: None, next: 1 }.run(&noted);
        let lines: Vec<_> = trail.shared.kept.lock().entries.iter().map(|(_, line)| line.to_string()).collect();
        assert_eq!(lines.len(), 3);
        let line = |index: usize| serde_json::from_str::<serde_json::Value>(&lines[index]).unwrap();
        assert_eq!((&line(0)["method"], &line(0)["count"]), (&"A.b".into(), &6.into()));
        assert_eq!((&line(1)["method"], line(1).get("count")), (&"C.d".into(), None));
        assert_eq!(line(1)["who"]["token"], "1a2b3c4d");
        assert_eq!((&line(2)["kind"], &line(2)["by"]["name"]), (&"mode".into(), &"Ann".into()));
    }

    #[test]
    fn the_file_is_bounded_and_private() {
        let folder = std::env::temp_dir().join(format!("glasshouse-trail-{}", std::process::id()));
        let path = folder.join("x.jsonl");
        let mut pages = Pages::open(path.clone()).unwrap();
        let line = "x".repeat(1_023);
        for _ in 0..3 * MAX_FILE / 1_024 {
            pages.write(&line).unwrap();
        }
        let sizes: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes, [MAX_FILE; 2]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("x.1.jsonl", &path).unwrap();
        assert!(Pages::open(path).is_err(), "no link is followed");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn who_does_not_keep_up_hears_of_the_gap_and_memory_is_bounded() {
        let trail = Trail::begin(None, false).unwrap();
        for id in 1..=3 * KEPT as u64 {
            trail.shared.kept.lock().push(id, "{}".into());
        }
        let mut reader = Reader {
            shared: trail.shared.clone(),
            last: 5,
            news: trail.shared.last.subscribe(),
            ready: VecDeque::new(),
        };
        reader.fill();
        assert_eq!(reader.last, 2 * KEPT as u64 + 64, "as many as fit, after the gap");
        assert_eq!(reader.ready.len(), 65);
        reader.ready.clear();
        reader.fill();
        assert_eq!(reader.ready.len(), 64, "and no gap any more");
        let long: Arc<str> = "x".repeat(KEPT_BYTES / 2).into();
        for id in 0..10 {
            trail.shared.kept.lock().push(4_000 + id, long.clone());
        }
        assert!(trail.shared.kept.lock().bytes <= KEPT_BYTES);
    }

    #[test]
    fn what_does_not_fit_is_a_counted_gap() {
        let folder = std::env::temp_dir().join(format!("glasshouse-gap-{}", std::process::id()));
        let path = folder.join("x.jsonl");
        let trail = Trail::begin(Some(path.clone()), false).unwrap();
        let recorder = trail.recorder();
        // The writer cannot go on while somebody reads.
        let kept = trail.shared.kept.lock();
        let all = 3 * QUEUE as u64;
        for index in 0..all {
            recorder.note(None, cdp(&format!("A.b{index}")), 1);
        }
        drop(kept);
        trail.end();
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
        let there = lines.iter().filter(|line| line["kind"] == "cdp").count() as u64;
        assert!(lost > 0);
        assert_eq!(lost + there, all, "each is there or counted");
        fs::remove_dir_all(folder).unwrap();
    }
}
