//! Closing a connection so that the last words arrive: a socket closed with unread bytes is reset, and the client's kernel
//! then drops what we have said last, such as why its message was too big.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    sync::Semaphore,
    time::timeout,
};

/// Connections that are being closed in this way at once; more are closed without.
const MAX_LINGERING: usize = 256;
/// How long a client may go on sending.
const LIMIT: Duration = Duration::from_secs(2);
/// How much of what it sends is read, at most.
const MAX_BYTES: u64 = 64 << 20;

/// How many connections may still be closed in this way.
#[derive(Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LINGERING)))
    }
}

/// A connection that, when dropped, is read until its client has stopped or some limit is reached.
pub(crate) struct Lingering {
    /// Taken by drop alone.
    stream: Option<TcpStream>,
    places: Places,
}

impl Lingering {
    pub(crate) fn new(stream: TcpStream, places: Places) -> Self {
        Self { stream: Some(stream), places }
    }

    fn stream(self: Pin<&mut Self>) -> Option<Pin<&mut TcpStream>> {
        self.get_mut().stream.as_mut().map(Pin::new)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let (Some(mut stream), Ok(runtime)) = (self.stream.take(), Handle::try_current()) else { return };
        let Ok(place) = self.places.0.clone().try_acquire_owned() else { return };
        runtime.spawn(async move {
            let _place = place;
            if stream.shutdown().await.is_ok() {
                let mut rest = stream.take(MAX_BYTES);
                let _ = timeout(LIMIT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            }
        });
    }
}

fn closed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Lingering {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().map_or_else(closed, |stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().map_or_else(closed, |stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().map_or_else(closed, |stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().map_or_else(closed, |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().map_or_else(closed, |stream| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn last_words_arrive_though_the_client_goes_on_sending() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = Lingering::new(stream, Places::default());
        // Far more than fits into the kernel's buffers, and nobody reads it.
        let (mut reader, mut writer) = client.split();
        let sending = async {
            for _ in 0..64 {
                if writer.write_all(&[0; 65_536]).await.is_err() {
                    return false;
                }
            }
            true
        };
        let answering = async {
            server.read_exact(&mut [0; 100_000]).await.unwrap();
            server.write_all(b"too big").await.unwrap();
            drop(server);
        };
        let mut heard = Vec::new();
        let (sent, (), _) = tokio::join!(sending, answering, async {
            // A reset would be an error here.
            reader.read_to_end(&mut heard).await.unwrap()
        });
        assert!(sent, "the connection was reset");
        assert_eq!(heard, b"too big");
    }
}
