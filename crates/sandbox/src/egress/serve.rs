//! Serving one connection of a session.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{
    Access, Shared, Verdict,
    address::Host,
    http::{self, BadRequest, Body, Forward},
    page,
    policy::{Policy, Route},
    relay::{self, Meter},
    socks,
    upstream::Stream,
};

/// Accepts until the task is dropped.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        // The place first: more connections than there are places wait in the listener's queue.
        let Ok(place) = Arc::clone(&shared.places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let _place = place;
                    shared.open.fetch_add(1, Ordering::Relaxed);
                    let open = Open(&shared);
                    serve(&shared, stream).await;
                    drop(open);
                });
            }
            Err(error) => {
                tracing::warn!("the session's way out cannot accept: {error}");
                // It is most likely out of descriptors; some come free as others close.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection as open while it lives, also when its task is dropped.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a host was not connected to.
enum NotDialled {
    Refused(String),
    Failed(String),
}

/// A connection to a host.
struct Dialled {
    stream: Stream,
    address: Option<IpAddr>,
}

/// A request as it goes into the log.
struct Logged<'a> {
    shared: &'a Shared,
    start: Instant,
    protocol: &'static str,
    host: String,
    port: u16,
}

impl Logged<'_> {
    fn end(self, address: Option<IpAddr>, verdict: Verdict, (sent, received): (u64, u64)) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if matches!(verdict, Verdict::Refused(_)) {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(log) = &self.shared.log {
            let Self { protocol, host, port, .. } = self;
            log(&Access { protocol, host, port, address, verdict, sent, received, duration: self.start.elapsed() });
        }
    }
}

impl NotDialled {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(why) => Verdict::Refused(why.clone()),
            Self::Failed(why) => Verdict::Failed(why.clone()),
        }
    }

    fn page(&self) -> Vec<u8> {
        match self {
            Self::Refused(why) => page::response("403 Forbidden", "This page is blocked", why),
            Self::Failed(why) => page::response("502 Bad Gateway", "This page cannot be reached", why),
        }
    }
}

async fn serve(shared: &Shared, mut stream: TcpStream) {
    let policy = Arc::clone(&shared.policy.read().unwrap_or_else(std::sync::PoisonError::into_inner));
    // Fails only on a socket that is closed already.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let within = policy.limits.head_within;
    let peeked = timeout(within, stream.peek(&mut first)).await;
    // Errors past this point are the session's or the host's going away; the log has what matters.
    let _ = match (peeked, first) {
        (Ok(Ok(1)), [5]) => serve_socks(shared, &policy, &mut stream).await,
        (Ok(Ok(1)), _) => serve_http(shared, &policy, &mut stream).await,
        _ => Ok(()),
    };
}

async fn serve_http(shared: &Shared, policy: &Policy, stream: &mut TcpStream) -> io::Result<()> {
    let logged = |protocol, host: String, port| Logged { shared, start: Instant::now(), protocol, host, port };
    let limits = &policy.limits;
    let read = timeout(limits.head_within, http::request(stream, limits.head)).await;
    let (request, rest) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(BadRequest::Gone(error))) => return Err(error),
        Ok(Err(BadRequest::Answer(status, why))) => {
            logged("HTTP", String::new(), 0).end(None, Verdict::Failed(why.clone()), (0, 0));
            return relay::write_all(stream, &page::response(status, "This is not a request for a proxy", &why)).await;
        }
        Err(_) => return Ok(()),
    };
    match request {
        http::Request::Connect { host, port } => {
            let entry = logged("CONNECT", host.to_string(), port);
            let mut dialled = match dial(shared, policy, &host, port).await {
                Ok(dialled) => dialled,
                Err(not) => {
                    entry.end(None, not.verdict(), (0, 0));
                    return relay::write_all(stream, &not.page()).await;
                }
            };
            relay::write_all(stream, b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            let meter = Meter::new(&shared.sent, &shared.received, limits.idle);
            let done = send(&mut dialled.stream, &rest, &meter).await;
            if done.is_ok() {
                let _ = relay::relay(stream, &mut dialled.stream, &meter).await;
            }
            entry.end(dialled.address, Verdict::Allowed, meter.counts());
            done
        }
        http::Request::Forward(forward) => {
            let entry = logged("HTTP", forward.host.to_string(), forward.port);
            let mut dialled = match dial(shared, policy, &forward.host, forward.port).await {
                Ok(dialled) => dialled,
                Err(not) => {
                    entry.end(None, not.verdict(), (0, 0));
                    return relay::write_all(stream, &not.page()).await;
                }
            };
            let meter = Meter::new(&shared.sent, &shared.received, limits.idle);
            let done = send_on(stream, &mut dialled.stream, &forward, rest, &meter).await;
            entry.end(dialled.address, Verdict::Allowed, meter.counts());
            done
        }
    }
}

async fn serve_socks(shared: &Shared, policy: &Policy, stream: &mut TcpStream) -> io::Result<()> {
    let start = Instant::now();
    let asked = match timeout(policy.limits.head_within, socks::request(stream)).await {
        Ok(asked) => asked?,
        Err(_) => return Ok(()),
    };
    let (host, port) = match asked {
        socks::Request::Connect { host, port } => (host, port),
        socks::Request::Bad(why) => {
            let entry = Logged { shared, start, protocol: "SOCKS5", host: String::new(), port: 0 };
            entry.end(None, Verdict::Failed(why), (0, 0));
            return Ok(());
        }
    };
    let entry = Logged { shared, start, protocol: "SOCKS5", host: host.to_string(), port };
    match dial(shared, policy, &host, port).await {
        Ok(mut dialled) => {
            socks::reply(stream, socks::Reply::Succeeded).await?;
            let meter = Meter::new(&shared.sent, &shared.received, policy.limits.idle);
            let _ = relay::relay(stream, &mut dialled.stream, &meter).await;
            entry.end(dialled.address, Verdict::Allowed, meter.counts());
            Ok(())
        }
        Err(not) => {
            entry.end(None, not.verdict(), (0, 0));
            let reply = match not {
                NotDialled::Refused(_) => socks::Reply::Refused,
                NotDialled::Failed(_) => socks::Reply::Unreachable,
            };
            socks::reply(stream, reply).await
        }
    }
}

/// Judges a host and connects to it.
async fn dial(shared: &Shared, policy: &Policy, host: &Host, port: u16) -> Result<Dialled, NotDialled> {
    let failed = |error: io::Error| NotDialled::Failed(format!("{host}: {error}"));
    match timeout(policy.limits.connect_within, dial_unhurried(shared, policy, host, port)).await {
        Ok(done) => done,
        Err(_) => Err(failed(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"))),
    }
}

async fn dial_unhurried(shared: &Shared, policy: &Policy, host: &Host, port: u16) -> Result<Dialled, NotDialled> {
    let failed = |error: io::Error| NotDialled::Failed(format!("{host}: {error}"));
    if let Route::Exposed(to) = policy.route(host, port).map_err(NotDialled::Refused)? {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let stream = connect(address, to).await.map_err(failed)?;
        return Ok(Dialled { stream: Stream::Tcp(stream), address: Some(address) });
    }
    if let (Some(upstream), Host::Name(_)) = (&policy.upstream, host)
        && !upstream.resolves_here()
    {
        let stream = upstream.connect(host, None, port).await.map_err(failed)?;
        return Ok(Dialled { stream, address: None });
    }
    let addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => (shared.resolve)(name.clone(), port).await.map_err(failed)?,
    };
    let mut refused = None;
    let mut error = None;
    for address in addresses {
        // Judged and then used as it is: nothing resolves the name again.
        if let Err(why) = policy.check(host, address, port) {
            refused = refused.or(Some(why));
            continue;
        }
        let connected = match &policy.upstream {
            Some(upstream) => upstream.connect(host, Some(address), port).await,
            None => connect(address, port).await.map(Stream::Tcp),
        };
        match connected {
            Ok(stream) => return Ok(Dialled { stream, address: Some(address) }),
            Err(why) => error = Some(why),
        }
    }
    match (error, refused) {
        (Some(error), _) => Err(failed(error)),
        (None, Some(why)) => Err(NotDialled::Refused(why)),
        (None, None) => Err(failed(io::Error::new(io::ErrorKind::NotFound, "it has no address"))),
    }
}

async fn connect(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.to_canonical(), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn send(stream: &mut Stream, bytes: &[u8], meter: &Meter<'_>) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    match stream {
        Stream::Tcp(stream) => relay::write_all(stream, bytes).await?,
        Stream::Tls(stream) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
        }
    }
    meter.count_sent(bytes.len());
    Ok(())
}

/// Sends a request on, and its answer back.
async fn send_on(
    inside: &mut TcpStream,
    outside: &mut Stream,
    forward: &Forward,
    mut rest: Vec<u8>,
    meter: &Meter<'_>,
) -> io::Result<()> {
    send(outside, &forward.head, meter).await?;
    if let Body::Length(length) = forward.body {
        // What is behind the body would be another request, which has not been judged.
        rest.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }
    send(outside, &rest, meter).await?;
    if forward.body == Body::Rest {
        return relay::relay(inside, outside, meter).await;
    }
    if let Body::Length(length) = forward.body {
        let mut left = length.saturating_sub(rest.len() as u64);
        let mut buffer = vec![0; 32 * 1024];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = relay::read(inside, &mut buffer[..most]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            send(outside, &buffer[..count], meter).await?;
            left -= count as u64;
        }
    }
    answer(inside, outside, meter).await
}

/// Sends the answer back with a head that says that the connection ends with it.
async fn answer(inside: &mut TcpStream, outside: &mut Stream, meter: &Meter<'_>) -> io::Result<()> {
    const LONGEST_HEAD: usize = 256 * 1024;
    let mut bytes = Vec::with_capacity(4096);
    let mut part = [0; 4096];
    loop {
        match http::close_after(&bytes).map_err(io::Error::other)? {
            Some((head, length)) => {
                relay::write_all(inside, &head).await?;
                meter.count_received(length);
                bytes.drain(..length);
                if !head.starts_with(b"HTTP/1.1 1") {
                    break;
                }
            }
            None => {
                use tokio::io::AsyncReadExt;
                let count = match outside {
                    Stream::Tcp(stream) => relay::read(stream, &mut part).await?,
                    Stream::Tls(stream) => stream.read(&mut part).await?,
                };
                if count == 0 || bytes.len() > LONGEST_HEAD {
                    let page =
                        page::response("502 Bad Gateway", "This page cannot be reached", "its server sent no answer");
                    return relay::write_all(inside, &page).await;
                }
                bytes.extend_from_slice(&part[..count]);
            }
        }
    }
    relay::write_all(inside, &bytes).await?;
    meter.count_received(bytes.len());
    relay::answer(inside, outside, meter).await
}
