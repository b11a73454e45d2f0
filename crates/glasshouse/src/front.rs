//! The port of a server: HTTP, and the media of all its sessions over UDP and over TCP with the same number.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use glasshouse_fleet::Fleet;
use glasshouse_gateway::{Count, Media};
use glasshouse_webrtc::{Counts, Door};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

/// How many numbers are tried when any will do.
const TRIES: u32 = 16;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// When no connection can be accepted, such as for too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// The port, open.
pub(crate) struct Front {
    /// For HTTP, and for ICE that comes to the same address.
    pub(crate) listener: TcpListener,
    /// What the gateway has to know.
    pub(crate) media: Media,
    _elsewhere: Option<Elsewhere>,
}

impl Front {
    /// Opens it: HTTP at `listen`, and media there or at another address of this machine.
    ///
    /// # Errors
    /// Somebody has the port, or it is not allowed.
    pub(crate) async fn open(listen: SocketAddr, media: Option<IpAddr>, fleet: &Fleet) -> anyhow::Result<Self> {
        let is_elsewhere = media.is_some_and(|media| media != listen.ip());
        let mut tries = if listen.port() == 0 { TRIES } else { 1 };
        loop {
            tries -= 1;
            let listener = bind(listen, is_elsewhere)
                .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))?;
            let at = SocketAddr::new(media.unwrap_or(listen.ip()), listener.local_addr()?.port());
            let found = fleet.clone();
            let opened = Door::open(at, move |tag| found.media_socket(tag)).and_then(|door| {
                // Without HTTP, for those who come to other addresses.
                let ice = if is_elsewhere { Some(bind(at, true)?) } else { None };
                Ok((Arc::new(door), ice))
            });
            match opened {
                Ok((door, ice)) => {
                    let elsewhere = ice.map(|listener| Elsewhere::start(listener, door.clone()));
                    return Ok(Self { listener, media: described(door), _elsewhere: elsewhere });
                }
                // Free for TCP, but not for UDP: another number may be free for both.
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot use {at} for media, which takes UDP and TCP with the number of --listen; choose \
                             another number there, or another address with --media-address"
                        )
                    });
                }
            }
        }
    }
}

/// With `is_shared`, another listener of this user's can have the number at other addresses.
fn bind(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // What former connections have left must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(is_shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn described(door: Arc<Door>) -> Media {
    Media {
        address: door.address().to_string(),
        ice: {
            let door = door.clone();
            Arc::new(move |stream| door.accept_tcp(stream))
        },
        counts: Arc::new(move || counts(door.counts())),
    }
}

fn counts(counts: Counts) -> Vec<Count> {
    let Counts { datagrams, bytes, udp, tcp, strange, refused } = counts;
    vec![
        ("glasshouse_media_first_datagrams", "Datagrams of peers that have no socket of their own", datagrams),
        ("glasshouse_media_first_bytes", "Bytes of datagrams of peers that have no socket of their own", bytes),
        ("glasshouse_media_udp_handed", "UDP sockets that were handed to sessions", udp),
        ("glasshouse_media_tcp_handed", "TCP connections that were handed to sessions", tcp),
        ("glasshouse_media_strange", "First packets that were for no session", strange),
        ("glasshouse_media_refused", "First packets for a session that were over a limit, or not taken", refused),
    ]
}

/// Accepts connections for media at another address than that of HTTP, until it is dropped.
struct Elsewhere(JoinHandle<()>);

impl Elsewhere {
    fn start(listener: TcpListener, door: Arc<Door>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => door.accept_tcp(stream),
                    Err(error) => {
                        tracing::debug!(%error, "a connection for media cannot be accepted");
                        tokio::time::sleep(BREATH).await;
                    }
                }
            }
        }))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.abort();
    }
}
