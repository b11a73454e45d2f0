//! The way to the browser.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// How long to wait between two attempts in the first second, in which most browsers are there, and later.
const SOON: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_millis(50);

/// Opens byte streams to Chromium's DevTools port, one for each client.
#[derive(Clone)]
pub struct Upstream {
    open: Arc<dyn Fn() -> Opening + Send + Sync>,
}

impl Upstream {
    /// Any function that opens a new stream. It is asked again for a while when it fails.
    pub fn new<F, O>(open: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = io::Result<Box<dyn Stream>>> + Send + 'static,
    {
        Self { open: Arc::new(move || Box::pin(open())) }
    }

    /// A TCP port.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(move || async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    /// A unix socket.
    #[must_use]
    pub fn unix(path: PathBuf) -> Self {
        Self::new(move || {
            let path = path.clone();
            async move { Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>) }
        })
    }

    /// Opens a stream, once.
    ///
    /// # Errors
    ///
    /// The browser does not listen.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        (self.open)().await
    }

    /// Opens a stream; tries again for `patience`, because a browser may be starting.
    pub(crate) async fn open(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        let start = Instant::now();
        let deadline = start + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match tokio::time::timeout(left, self.connect()).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            let pause = if start.elapsed() < Duration::from_secs(1) { SOON } else { LATER };
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}
