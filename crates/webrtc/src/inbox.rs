//! What other threads hand to the engine: requests and media, each in a bounded queue behind a short lock.

use std::{collections::VecDeque, net::TcpStream, sync::Arc};

use glasshouse_media::{AudioPacket, Patch, Rendition, VideoFrame};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{ConnectOptions, Error, Offer, SharedPort, Sources, VideoChoice, ViewerId, ViewerStats};

/// Requests that may wait; more are refused.
const MAX_COMMANDS: usize = 16_384;
/// Bytes of data channel messages among them.
const MAX_DATA: usize = 16 << 20;
/// Frames and sound packets that may wait; more are dropped and their renditions start again at a key frame.
const MAX_MEDIA: usize = 256;

/// Where the answer to a request goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request.
pub(crate) enum Command {
    Attach(Box<dyn Sources>),
    AcceptTcp(TcpStream),
    Announce(SharedPort),
    Connect(ViewerId, ConnectOptions, Reply<Offer>),
    Accept(ViewerId, ConnectOptions, String, &'static str, Reply<String>),
    Answer(ViewerId, String, Reply<()>),
    Offer(ViewerId, String, Reply<String>),
    RestartIce(ViewerId, Reply<Offer>),
    RemoteCandidate(ViewerId, String, Reply<()>),
    SetVideo(ViewerId, VideoChoice),
    SetAudio(ViewerId, bool),
    SetPaused(ViewerId, bool),
    SendData(ViewerId, bytes::Bytes),
    BroadcastData(Option<ViewerId>, bytes::Bytes),
    Close(ViewerId),
    Stats(ViewerId, Reply<ViewerStats>),
    Stop,
}

impl Command {
    fn data(&self) -> usize {
        match self {
            Self::SendData(_, message) | Self::BroadcastData(_, message) => message.len(),
            _ => 0,
        }
    }
}

/// Media on its way to the viewers.
pub(crate) enum Media {
    Video(Arc<VideoFrame>),
    Audio(Arc<AudioPacket>),
    Patch(Patch),
}

/// Everything that waited, taken at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) commands: VecDeque<Command>,
    pub(crate) media: VecDeque<Media>,
    /// Renditions that lost a frame because the engine did not keep up.
    pub(crate) missed: Vec<Rendition>,
    data: usize,
    closed: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.media.is_empty() && self.missed.is_empty()
    }
}

/// The queues and the bell.
pub(crate) struct Inbox {
    waiting: Mutex<Batch>,
    waker: mio::Waker,
}

impl Inbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self { waiting: Mutex::default(), waker }
    }

    /// Queues a request; `false` when too many wait.
    pub(crate) fn command(&self, command: Command) -> bool {
        let always = matches!(command, Command::Close(_) | Command::Stop);
        let mut waiting = self.waiting.lock();
        let data = command.data();
        if waiting.closed {
            return matches!(command, Command::Stop);
        }
        if !always && (waiting.commands.len() >= MAX_COMMANDS || waiting.data + data > MAX_DATA) {
            return false;
        }
        let ring = waiting.is_empty();
        waiting.data += data;
        waiting.commands.push_back(command);
        drop(waiting);
        self.ring(ring);
        true
    }

    pub(crate) fn media(&self, media: Media) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        let ring = waiting.is_empty();
        if waiting.media.len() < MAX_MEDIA {
            waiting.media.push_back(media);
        } else if let Media::Video(frame) = media
            && !waiting.missed.contains(&frame.rendition)
        {
            waiting.missed.push(frame.rendition);
        }
        drop(waiting);
        self.ring(ring);
    }

    fn ring(&self, ring: bool) {
        if ring && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the WebRTC engine");
        }
    }

    /// Drops what waits and everything that comes later, so that nobody waits for an answer from a thread that ended.
    pub(crate) fn close(&self) {
        *self.waiting.lock() = Batch { closed: true, ..Batch::default() };
    }

    /// Swaps what waits with an emptied batch, whose memory is used again.
    pub(crate) fn take(&self, batch: &mut Batch) {
        batch.commands.clear();
        batch.media.clear();
        batch.missed.clear();
        batch.data = 0;
        std::mem::swap(&mut *self.waiting.lock(), batch);
    }
}
