//! `/s/{id}/…`: passed on to the session's own socket, HTTP and WebSocket, both ways as fast as the slower side reads.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use glasshouse_fleet::{Error, Use, socket};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;

use crate::{
    Shared,
    caller::{ClientOf, Id},
    client::Client,
    media::Media,
    metrics::Direction,
    problem::{Answer, Problem},
    vnc,
};

/// How long a client may pause while it sends a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a session may take to begin its answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes on their way in each direction of a WebSocket.
const BUFFER: usize = 16 * 1024;

/// Says where viewers reach the port for media.
pub(crate) const MEDIA: &str = "x-glasshouse-media";

/// Headers of one connection only (RFC 9110, 7.6.1), and those that only we may say.
const DROPPED: [&str; 15] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Paths that programs look at to see how a session is, or what was done in it, which is no use of it.
const UNUSED: [&str; 4] = ["healthz", "health", "metrics", "api/trail"];

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/s/{id}", any(pass)).route("/s/{id}/", any(pass)).route("/s/{id}/{*rest}", any(pass))
}

async fn pass(State(shared): State<Arc<Shared>>, ClientOf(client): ClientOf, Id(id): Id, request: Request) -> Answer {
    let path = request.uri().path();
    // What follows the id, as it was written; routing has seen that it is there.
    let Some((_, rest)) = path.split_once(id.as_str()) else { return Err(Problem::missing()) };
    let Some(rest) = rest.strip_prefix('/') else {
        // A page's addresses are relative to its folder. Only for one that exists, as for all else.
        shared.fleet.enter(&id, false).await.map_err(refused)?;
        let folder = format!("{}/s/{id}/", client.prefix);
        return Ok(axum::response::Redirect::permanent(&folder).into_response());
    };
    if vnc::has(rest) && wanted_upgrade(request.headers())? {
        let rest = rest.to_owned();
        return vnc::pass(shared, client, id, &rest, request).await;
    }
    let entered = shared.fleet.enter(&id, !UNUSED.contains(&rest)).await.map_err(refused)?;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let target: Uri = format!("{}{rest}{query}", entered.path()).parse().map_err(|_| Problem::missing())?;
    forward(&shared, &client, (entered, ()), target, request, std::future::pending()).await
}

/// Passes a request on to a session. A WebSocket lasts until either side ends it, or `over` is; what comes with the use of
/// the session is kept as long.
pub(crate) async fn forward<T: Send + Unpin + 'static>(
    shared: &Arc<Shared>,
    client: &Client,
    (mut entered, kept): (Use, T),
    target: Uri,
    mut request: Request,
    over: impl Future<Output = ()> + Send + 'static,
) -> Answer {
    let upgrade = wanted_upgrade(request.headers())?;
    let from_client = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut passed = Request::new(Body::from_stream(patient(body)));
    *passed.method_mut() = parts.method;
    *passed.uri_mut() = target;
    *passed.headers_mut() = parts.headers;
    if !has_body(passed.headers()) {
        *passed.body_mut() = Body::empty();
    }
    set_headers(passed.headers_mut(), client, shared.media.get(), upgrade)?;

    let connected = socket::connect::<Body>(&entered.socket()).await;
    let mut sender = connected.map_err(|error| entered.explained(error))?;
    let answer = tokio::time::timeout(ANSWER, sender.send_request(passed)).await;
    let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "session", "the session did not answer within 60 s");
    let mut response = answer.map_err(|_| late())?.map_err(|error| Error::Session(error.to_string()))?;
    let Some(from_client) = from_client.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) else {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Session("it changed the protocol unasked".into()).into());
        }
        drop_connection_headers(response.headers_mut());
        return Ok(response.map(|body| Body::new(Held { body, _kept: (entered, kept) })));
    };
    let from_session = hyper::upgrade::on(&mut response);
    entered.connected();
    let shared = shared.clone();
    tokio::spawn(async move {
        let _kept = (entered, kept);
        let (Ok(client), Ok(session)) = tokio::join!(from_client, from_session) else { return };
        shared.metrics.sockets.inc();
        let (mut client, mut session) = (TokioIo::new(client), TokioIo::new(session));
        let copied = tokio::select! {
            copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut session, BUFFER, BUFFER) => copied.ok(),
            () = over => None,
        };
        shared.metrics.sockets.dec();
        if let Some((from_client, to_client)) = copied {
            for (direction, bytes) in [("in", from_client), ("out", to_client)] {
                shared.metrics.bytes.get_or_create(&Direction { direction }).inc_by(bytes);
            }
        }
    });
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
    let accept = parts.headers.get(header::SEC_WEBSOCKET_ACCEPT).cloned();
    parts.headers.clear();
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in [(header::SEC_WEBSOCKET_PROTOCOL, protocol), (header::SEC_WEBSOCKET_ACCEPT, accept)] {
        if let Some(value) = value {
            parts.headers.insert(name, value);
        }
    }
    Ok(Response::from_parts(parts, Body::empty()))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != HeaderValue::from_static("0"))
}

/// A session that cannot be used yet can be soon.
pub(crate) fn refused(error: Error) -> Problem {
    match error {
        Error::Conflict(text) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "creating", text).retry(Duration::from_secs(1))
        }
        error => error.into(),
    }
}

/// Whether the client wants a WebSocket; anything else that it could turn the connection into is refused.
pub(crate) fn wanted_upgrade(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::UPGRADE) {
        None => Ok(false),
        Some(protocol) if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") => Ok(true),
        // `h2c` is offered by clients that go on without it.
        Some(_) if !names_upgrade(headers) => Ok(false),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "upgrade", "only WebSocket is spoken here")),
    }
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in DROPPED {
        headers.remove(name);
    }
}

/// What a session is told of the client; it believes that because it comes over its socket.
fn set_headers(headers: &mut HeaderMap, client: &Client, media: Option<&Media>, upgrade: bool) -> Result<(), Problem> {
    drop_connection_headers(headers);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Problem::missing());
    headers.insert(header::HOST, value(&client.host)?);
    headers.insert("x-glasshouse-remote", value(&client.address.to_string())?);
    headers.insert("x-glasshouse-local", value(&client.local.to_string())?);
    headers.remove(MEDIA);
    if let Some(media) = media {
        headers.insert(MEDIA, value(&media.address)?);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static(client.scheme));
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

/// A body whose sender may pause, but not for long.
pub(crate) fn patient(body: Body) -> impl futures_util::Stream<Item = Result<Bytes, axum::Error>> {
    stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(PAUSE, body.next()).await {
            Ok(part) => part.map(|part| (part, Some(body))),
            Err(_) => Some((Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut))), None)),
        }
    })
}

/// An answer, during which the session is in use.
struct Held<T> {
    body: Incoming,
    _kept: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_words_about_the_client_reach_a_session() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-secret"),
            ("x-secret", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-glasshouse-remote", "1.2.3.4"),
            ("x-glasshouse-remote", "5.6.7.8"),
            (MEDIA, "6.6.6.6:6"),
            ("transfer-encoding", "chunked"),
            ("accept", "x"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let client = Client {
            address: "9.9.9.9".parse().unwrap(),
            local: "127.0.0.1".parse().unwrap(),
            host: "a:1".into(),
            scheme: "https",
            prefix: String::new(),
        };
        set_headers(&mut headers, &client, None, false).unwrap();
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(headers.get_all("x-glasshouse-remote").iter().collect::<Vec<_>>(), ["9.9.9.9"]);
        assert_eq!(headers["host"], "a:1");
        assert!(
            ["connection", "x-secret", "x-forwarded-for", "transfer-encoding", MEDIA]
                .iter()
                .all(|gone| !names.contains(gone))
        );
        assert!(names.contains(&"accept"));
    }

    #[test]
    fn upgrades() {
        let with = |upgrade: &'static str, connection: &'static str| {
            HeaderMap::from_iter([
                (header::UPGRADE, HeaderValue::from_static(upgrade)),
                (header::CONNECTION, HeaderValue::from_static(connection)),
            ])
        };
        assert!(wanted_upgrade(&with("WebSocket", "Upgrade")).unwrap());
        assert!(!wanted_upgrade(&HeaderMap::new()).unwrap());
        assert!(wanted_upgrade(&with("h2c", "keep-alive, Upgrade")).is_err());
    }
}
