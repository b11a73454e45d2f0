//! The HTTP side of the proxy: CONNECT, and requests with a whole URL (RFC 9112, RFC 9110).

use std::io;

use tokio::net::TcpStream;

use super::{address::Host, relay};

/// Most header lines of a request.
const HEADERS: usize = 128;

/// Headers that are about the connection to us, not about the request (RFC 9110 7.6.1).
const HOP_BY_HOP: &[&str] =
    &["connection", "proxy-connection", "keep-alive", "proxy-authorization", "proxy-authenticate", "te", "host"];

/// What a session asks for.
pub(super) enum Request {
    /// A tunnel.
    Connect { host: Host, port: u16 },
    /// A request to be sent on.
    Forward(Forward),
}

/// A request to be sent on, and what of it is here already.
pub(super) struct Forward {
    pub(super) host: Host,
    pub(super) port: u16,
    /// The head for the origin server.
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
}

/// How much of what a session sends after a head belongs to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// All: it has chunks, or the protocol changes.
    Rest,
}

/// Why a request could not be read.
pub(super) enum BadRequest {
    /// The connection ended or failed: there is nobody to answer.
    Gone(io::Error),
    /// It is wrong: status and reason of the answer.
    Answer(&'static str, String),
}

/// Reads the head of a request; returns what follows it, too.
pub(super) async fn request(stream: &TcpStream, limit: usize) -> Result<(Request, Vec<u8>), BadRequest> {
    let (head, rest) = read_head(stream, limit).await?;
    parse(&head).map(|request| (request, rest)).map_err(|why| BadRequest::Answer("400 Bad Request", why))
}

async fn read_head(stream: &TcpStream, limit: usize) -> Result<(Vec<u8>, Vec<u8>), BadRequest> {
    let mut bytes = Vec::with_capacity(2048);
    let mut part = [0; 2048];
    loop {
        let count = relay::read(stream, &mut part).await.map_err(BadRequest::Gone)?;
        if count == 0 {
            return Err(BadRequest::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        // The end may be cut in two.
        let searched = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&part[..count]);
        if let Some(at) = bytes[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(searched + at + 4);
            if bytes.len() <= limit {
                return Ok((bytes, rest));
            }
        }
        if bytes.len() > limit {
            let why = format!("the head of the request is larger than {limit} bytes");
            return Err(BadRequest::Answer("431 Request Header Fields Too Large", why));
        }
    }
}

fn parse(head: &[u8]) -> Result<Request, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err("the request is incomplete".into()),
        Err(error) => return Err(format!("the request is malformed: {error}")),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err("the request is incomplete".into());
    };
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Ok(Request::Connect { host, port });
    }
    let Some(rest) = strip_scheme(target) else {
        return Err(format!("{target:?} is not a whole http URL, which is what a proxy is asked for"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    if named.contains('@') {
        return Err("a URL with a user name is not sent on".into());
    }
    let (host, port) = authority(named, Some(80))?;
    let path = path.split('#').next().unwrap_or("");
    let body = body(request.headers)?;
    let mut new =
        format!("{method} {}{path} HTTP/1.1\r\nHost: {named}\r\n", if path.starts_with('/') { "" } else { "/" })
            .into_bytes();
    let upgrade = request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("upgrade"));
    let mut connection: Vec<String> = Vec::new();
    for header in request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection")) {
        let value = String::from_utf8_lossy(header.value).to_ascii_lowercase();
        connection.extend(value.split(',').map(|token| token.trim().to_owned()));
    }
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if HOP_BY_HOP.contains(&name.as_str()) || (connection.contains(&name) && name != "upgrade") {
            continue;
        }
        new.extend_from_slice(header.name.as_bytes());
        new.extend_from_slice(b": ");
        new.extend_from_slice(header.value);
        new.extend_from_slice(b"\r\n");
    }
    // One request a connection: each is judged for itself.
    new.extend_from_slice(if upgrade { b"Connection: upgrade\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
    Ok(Request::Forward(Forward { host, port, head: new, body: if upgrade { Body::Rest } else { body } }))
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}

/// Host and port; `usual` is the port if none is given.
fn authority(text: &str, usual: Option<u16>) -> Result<(Host, u16), String> {
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let (host, port) = match colon {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let port = match port {
        None | Some("") => usual.ok_or_else(|| format!("{text:?} has no port"))?,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_err(|_| format!("{port} is not a port"))?
        }
        Some(port) => return Err(format!("{port:?} is not a port")),
    };
    if port == 0 {
        return Err("0 is not a port".into());
    }
    Ok((Host::parse(host)?, port))
}

fn body(headers: &[httparse::Header<'_>]) -> Result<Body, String> {
    let named = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let chunked = named("transfer-encoding").next().is_some();
    let mut length = None;
    for header in named("content-length") {
        let value = std::str::from_utf8(header.value).unwrap_or("").trim();
        let value = if value.bytes().all(|byte| byte.is_ascii_digit()) { value.parse::<u64>().ok() } else { None };
        let value = value.ok_or("the request has a malformed Content-Length")?;
        if length.is_some_and(|length| length != value) {
            return Err("the request has two lengths".into());
        }
        length = Some(value);
    }
    // What two servers read differently smuggles requests (RFC 9112 11.2).
    match (chunked, length) {
        (true, Some(_)) => Err("the request has two lengths".into()),
        (true, None) => Ok(Body::Rest),
        (false, length) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

/// Makes the head of a response say that the connection ends after it, so that a session asks us anew for the next
/// page. `None` while the head is not complete.
pub(super) fn close_after(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the server's answer is malformed: {error}")),
    };
    if matches!(response.code, Some(100..=199)) {
        // Another head follows, or another protocol.
        return Ok(Some((bytes[..length].to_vec(), length)));
    }
    let mut head =
        format!("HTTP/1.1 {} {}\r\n", response.code.unwrap_or(502), response.reason.unwrap_or("")).into_bytes();
    for header in response.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "proxy-authenticate") {
            continue;
        }
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(head: &str) -> Result<Forward, String> {
        match parse(head.as_bytes())? {
            Request::Forward(forward) => Ok(forward),
            Request::Connect { .. } => Err("connect".into()),
        }
    }

    #[test]
    fn a_request_is_rewritten_for_its_server() {
        let asked = "GET http://Example.com:81/a?b#c HTTP/1.1\r\nHost: other.org\r\nProxy-Connection: keep-alive\r\n\
                     Proxy-Authorization: Basic eA==\r\nConnection: x-drop, keep-alive\r\nX-Drop: 1\r\nAccept: */*\r\n\r\n";
        let forward = forward(asked).unwrap();
        assert_eq!((forward.host, forward.port), (Host::Name("example.com".into()), 81));
        assert_eq!(
            String::from_utf8(forward.head).unwrap(),
            "GET /a?b HTTP/1.1\r\nHost: Example.com:81\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(forward.body, Body::Length(0));
    }

    #[test]
    fn paths_and_lengths() {
        let asked = forward("POST HTTP://[2606:4700::1]?q HTTP/1.1\r\nContent-Length: 7\r\n\r\n").unwrap();
        assert_eq!((asked.port, asked.body), (80, Body::Length(7)));
        assert!(asked.head.starts_with(b"POST /?q HTTP/1.1\r\nHost: [2606:4700::1]\r\n"));
        let asked = forward("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(asked.body, Body::Rest);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for wrong in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\n\r\n",
            "GET http://a:0/ HTTP/1.1\r\n\r\n",
            "GET http://a:+80/ HTTP/1.1\r\n\r\n",
            "GET http:///x HTTP/1.1\r\n\r\n",
            "CONNECT a HTTP/1.1\r\n\r\n",
            "CONNECT a:b:1 HTTP/1.1\r\n\r\n",
            "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST http://a/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn answers_close() {
        let (head, length) =
            close_after(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\n\r\nbody").unwrap().unwrap();
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
        assert_eq!(length, 49);
        assert!(close_after(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
        assert!(close_after(b"nonsense\r\n\r\n").is_err());
    }
}
