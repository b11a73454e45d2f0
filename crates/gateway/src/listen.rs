//! Accepting connections: with time-outs and limits that `axum::serve` does not have.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use crate::{
    Gateway,
    client::Peer,
    media,
    tls::{self, Agreed},
};

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// How long the head of a request may take, and a connection may be silent between two.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Largest head of a request in bytes, and most headers in it.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// How long what we send may stay unacknowledged; a client that does not read is gone then.
const UNREAD: Duration = Duration::from_secs(60);
/// How long answers under way may take when we stop.
const FAREWELL: Duration = Duration::from_secs(2);
/// When no connection can be accepted, such as for too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Serves a gateway on a listener until `stop` is done; what runs by then is ended, sessions excepted.
///
/// # Errors
/// None at present; connections that fail are theirs alone.
pub async fn serve(listener: TcpListener, gateway: Gateway, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (router, tls) = (gateway.router(), gateway.shared.config.tls.clone());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stopping, is_stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                // Never closed.
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (permit, stream) = match accepted {
            (permit, Ok((stream, _))) => (permit, stream),
            (_, Err(error)) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Ok(peer) = prepare(&stream) else { continue };
        let (router, tls, mut is_stopping) = (router.clone(), tls.clone(), is_stopping.clone());
        let shared = gateway.shared.clone();
        connections.spawn(async move {
            let _permit = permit;
            if let Some(port) = shared.media.get() {
                let said = tokio::time::timeout(HEAD_WITHIN, media::speaks_ice(&stream));
                let said = tokio::select! {
                    said = said => said.ok().flatten(),
                    () = async { drop(is_stopping.wait_for(|stopping| *stopping).await) } => None,
                };
                match said {
                    Some(false) => {}
                    Some(true) => return (port.ice)(stream),
                    None => return,
                }
            }
            let Some(tls) = tls else { return converse(stream, peer, router, is_stopping).await };
            let agreed = tokio::select! {
                agreed = tls::agree(&tls, stream, HEAD_WITHIN) => agreed,
                () = async { drop(is_stopping.wait_for(|stopping| *stopping).await) } => return,
            };
            match agreed {
                Ok(Agreed::Tls(stream)) => converse(*stream, Peer { is_tls: true, ..peer }, router, is_stopping).await,
                Ok(Agreed::Plain(stream)) => converse(stream, peer, router, is_stopping).await,
                Err(error) => tracing::debug!(%error, client = %peer.remote, "no keys were agreed on"),
            }
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let _ = tokio::time::timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
    Ok(())
}

/// Speaks HTTP with a client until either side ends it.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut is_stopping: watch::Receiver<bool>,
) {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async { drop(is_stopping.wait_for(|stopping| *stopping).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client = %peer.remote, "a connection failed");
    }
}

fn prepare(stream: &TcpStream) -> io::Result<Peer> {
    let peer = Peer { remote: stream.peer_addr()?.ip(), local: stream.local_addr()?.ip(), is_tls: false };
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD))?;
    Ok(peer)
}
