//! Answering on a port of its own, with a bound on its sockets and on how long a client may take to ask.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{extract::Request, response::Response, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

/// Most headers of a request, and most bytes of its head.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;
/// How long what we send may stay unacknowledged: a client whose system does not take it is gone.
const UNREAD: Duration = Duration::from_secs(60);
/// How long a connection is silent before its client's system is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What a port may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Sockets at a time, those that became WebSockets included; more wait in the kernel's queue.
    pub(super) sockets: usize,
    /// How long the head of a request may take, and a connection may be silent between two.
    pub(super) head_within: Duration,
}

/// Answers on a port until dropped; then its connections end as well.
pub(super) async fn serve<F, A>(mut listener: TcpListener, limits: Limits, answer: F)
where
    F: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.sockets));
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        // The trait's `accept` waits out errors such as too many open files; the inherent one would return them.
        let (stream, _) = Listener::accept(&mut listener).await;
        while connections.try_join_next().is_some() {}
        prepare(&stream);
        connections.spawn(converse(Seated { stream, _place: place }, limits.head_within, answer.clone()));
    }
}

/// Speaks HTTP with a client until either side ends it, or the connection has become something else.
async fn converse<F, A>(stream: Seated, head_within: Duration, answer: F)
where
    F: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answer(request.map(axum::body::Body::new));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection failed");
    }
}

/// What cannot be set costs time or memory only.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 3).with_retries(3);
    let set = [stream.set_nodelay(true), socket.set_tcp_keepalive(&alive), socket.set_tcp_user_timeout(Some(UNREAD))];
    if let Some(error) = set.into_iter().find_map(Result::err) {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
}

/// A connection with its place, which it keeps when it becomes a WebSocket and we hear no more of it.
struct Seated {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::{
        extract::{FromRequestParts, WebSocketUpgrade},
        response::IntoResponse,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    /// Only bounds a failure.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Port {
        address: SocketAddr,
        task: JoinHandle<()>,
    }

    impl Drop for Port {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    async fn open<F, A>(limits: Limits, answer: F) -> Port
    where
        F: Fn(Request) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Port { address: listener.local_addr().unwrap(), task: tokio::spawn(serve(listener, limits, answer)) }
    }

    /// Asks over a connection of its own, which is closed then.
    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("no answer").unwrap();
        said
    }

    #[tokio::test]
    async fn who_does_not_ask_loses_its_place() {
        let limits = Limits { sockets: 4, head_within: Duration::from_millis(300) };
        let port = open(limits, |_| async { "served".into_response() }).await;
        let mut slow = Vec::new();
        for at in 0..12 {
            let mut stream = TcpStream::connect(port.address).await.unwrap();
            // Some say nothing at all, some begin and do not end.
            if at % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
            }
            slow.push(stream);
        }
        // All places are taken, more than once over, and yet:
        assert!(ask(port.address).await.ends_with("served"));
        for mut stream in slow {
            let mut said = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is still open").ok();
            assert!(!said.windows(6).any(|part| part == b"served"));
        }
    }

    #[tokio::test]
    async fn a_head_of_any_length_is_refused_beyond_its_bound() {
        let port = open(Limits { sockets: 2, head_within: PATIENCE }, |_| async { "served".into_response() }).await;
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await;
        let line = [b"x: ".as_slice(), &[b'y'; 1_000], b"\r\n"].concat();
        // It is closed long before all of it is sent.
        for _ in 0..10_000 {
            if stream.write_all(&line).await.is_err() {
                break;
            }
        }
        let mut said = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is still open").ok();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&said));
        assert!(ask(port.address).await.ends_with("served"));
    }

    #[tokio::test]
    async fn no_more_sockets_than_places_and_a_websocket_keeps_its_own() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let leave = Arc::new(Notify::new());
        let (counted, highest, left) = (now.clone(), most.clone(), leave.clone());
        let port = open(Limits { sockets: 3, head_within: PATIENCE }, move |request| {
            let (now, most, leave) = (counted.clone(), highest.clone(), left.clone());
            async move {
                let (mut parts, _) = request.into_parts();
                if let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
                    return upgrade.on_upgrade(async move |socket| {
                        leave.notified().await;
                        drop(socket);
                    });
                }
                most.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, Ordering::AcqRel);
                "served".into_response()
            }
        })
        .await;
        let mut socket = TcpStream::connect(port.address).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(head).await.unwrap();
        let mut first = [0; 12];
        timeout(PATIENCE, socket.read_exact(&mut first)).await.expect("no answer").unwrap();
        assert_eq!(&first, b"HTTP/1.1 101");
        let asked: Vec<_> = (0..40).map(|_| tokio::spawn(ask(port.address))).collect();
        for one in asked {
            assert!(one.await.unwrap().ends_with("served"));
        }
        let with_socket = most.swap(0, Ordering::AcqRel);
        assert!((1..=2).contains(&with_socket), "{with_socket} at a time beside the WebSocket");
        leave.notify_one();
        let mut rest = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is still open").ok();
    }
}
