//! One TCP port for HTTP and for ICE over TCP, told apart by the first byte.

use std::{io, net::SocketAddr, time::Duration};

use axum::serve::Listener;
use glasshouse_neko::Peer;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::linger::{Lingering, Places};

/// Connections whose first byte is awaited, at most; more are closed at once.
const MAX_WAITING: usize = 1_024;
/// How long a connection may stay silent before its first byte. Browsers open spare ones ahead of need.
const FIRST_BYTE: Duration = Duration::from_secs(30);

/// How long a connection is silent before its client's system is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Accepts HTTP connections and hands the others to the WebRTC engine.
pub(crate) struct Port {
    local: SocketAddr,
    http: mpsc::Receiver<(TcpStream, Peer)>,
    accepting: JoinHandle<()>,
    places: Places,
}

impl Port {
    /// Takes a bound listener; `ice` receives connections that speak ICE over TCP.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn new(
        listener: TcpListener,
        ice: impl Fn(std::net::TcpStream) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (sender, http) = mpsc::channel(64);
        let waiting = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_WAITING));
        let accepting = tokio::spawn(async move {
            let mut listener = listener;
            loop {
                // The trait's `accept` waits out errors such as too many open files; the inherent one would return them.
                let (stream, remote) = Listener::accept(&mut listener).await;
                let Ok(permit) = waiting.clone().try_acquire_owned() else { continue };
                let (sender, ice) = (sender.clone(), ice.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    sort(stream, remote, &sender, ice).await;
                });
            }
        });
        Ok(Self { local, http, accepting, places: Places::default() })
    }
}

/// A connection for ICE begins with the 16-bit length (RFC 4571) of a STUN message, which is far shorter than the 5,120 bytes
/// that this allows; HTTP begins with a letter and TLS with 0x16.
const LARGEST_ICE_LENGTH_BYTE: u8 = 0x13;

async fn sort(
    stream: TcpStream,
    remote: SocketAddr,
    http: &mpsc::Sender<(TcpStream, Peer)>,
    ice: impl Fn(std::net::TcpStream),
) {
    let mut first = [0u8; 1];
    let Ok(Ok(1)) = tokio::time::timeout(FIRST_BYTE, stream.peek(&mut first)).await else { return };
    let Ok(local) = stream.local_addr() else { return };
    // A failure costs latency only.
    let _ = stream.set_nodelay(true);
    // A client that is silent may be gone; one that is stopped in a debugger is not, and its system answers.
    let alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 3).with_retries(3);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
    if first[0] <= LARGEST_ICE_LENGTH_BYTE {
        if let Ok(stream) = stream.into_std() {
            ice(stream);
        }
    } else {
        // The receiver is gone only when the server stops.
        let _ = http.send((stream, Peer { remote, local })).await;
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for Port {
    type Io = Lingering;
    type Addr = Peer;

    async fn accept(&mut self) -> (Lingering, Peer) {
        match self.http.recv().await {
            Some((stream, peer)) => (Lingering::new(stream, self.places.clone()), peer),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { remote: self.local, local: self.local })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn http_and_ice_share_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ice = Arc::new(AtomicUsize::new(0));
        let mut port = {
            let ice = ice.clone();
            Port::new(listener, move |_| {
                ice.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap()
        };

        let silent = TcpStream::connect(address).await.unwrap();
        let mut stun = TcpStream::connect(address).await.unwrap();
        stun.write_all(&[0, 20, 0, 1, 0, 0]).await.unwrap();
        let mut http = TcpStream::connect(address).await.unwrap();
        http.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

        let (_, peer) = port.accept().await;
        assert_eq!(peer.remote, http.local_addr().unwrap());
        assert_eq!(peer.local, address);
        while ice.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ice.load(Ordering::SeqCst), 1);
        drop(silent);
    }
}
