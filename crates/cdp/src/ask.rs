//! HTTP/1.1 towards Chromium, as much of it as its DevTools server speaks.

use std::io;

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Stream;

/// Longest head of an answer in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Name that Chromium accepts from anybody; it refuses names that could be a web page's.
pub(crate) const HOST: &str = "localhost";

/// An answer up to its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: Option<String>,
    /// Length of the body in bytes.
    pub(crate) length: u64,
    /// Of a WebSocket's handshake.
    pub(crate) accept: Option<String>,
    pub(crate) extensions: Option<String>,
    /// What came after the head.
    pub(crate) rest: BytesMut,
    pub(crate) stream: Box<dyn Stream>,
}

/// Sends a request without a body. `path` and `headers` hold no line breaks.
pub(crate) async fn ask(
    mut stream: Box<dyn Stream>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = BytesMut::with_capacity(4 * 1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the browser closed the connection"));
        }
        if let Some(mut answer) = parse(&head)? {
            let rest = head.split_off(answer.1);
            answer.0.rest = rest;
            return Ok(answer.0.with(stream));
        }
        if head.len() > MAX_HEAD {
            return Err(io::Error::other("the browser's answer is too long"));
        }
    }
}

/// An answer without its stream.
struct Head {
    status: StatusCode,
    kind: Option<String>,
    length: u64,
    accept: Option<String>,
    extensions: Option<String>,
    rest: BytesMut,
}

impl Head {
    fn with(self, stream: Box<dyn Stream>) -> Answer {
        let Self { status, kind, length, accept, extensions, rest } = self;
        Answer { status, kind, length, accept, extensions, rest, stream }
    }
}

/// The head of an answer and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let bad = || io::Error::other("the browser's answer is no HTTP");
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes).map_err(|_| bad())? else { return Ok(None) };
    let find = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(|value| value.trim().to_owned())
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(bad)?;
    let length = match find("content-length") {
        Some(length) => length.parse().map_err(|_| bad())?,
        None => 0,
    };
    let head = Head {
        status,
        kind: find("content-type"),
        length,
        accept: find("sec-websocket-accept"),
        extensions: find("sec-websocket-extensions"),
        rest: BytesMut::new(),
    };
    Ok(Some((head, end)))
}

impl Answer {
    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn body(mut self, limit: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.length).ok().filter(|length| *length <= limit).ok_or_else(|| {
            io::Error::other(format!("the browser's answer has {} bytes, the limit is {limit}", self.length))
        })?;
        let mut body = self.rest;
        while body.len() < length {
            if self.stream.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.truncate(length);
        Ok(body.freeze())
    }

    /// The body as it comes, in pieces of at most 16 KiB.
    pub(crate) fn flow(self) -> axum::body::Body {
        let pieces = futures_util::stream::try_unfold((self, 0), |(mut answer, sent): (Self, u64)| async move {
            let left = answer.length - sent;
            if left == 0 {
                return Ok::<_, io::Error>(None);
            }
            let mut piece = std::mem::take(&mut answer.rest);
            if piece.is_empty() {
                piece.reserve(16 * 1024);
                if answer.stream.read_buf(&mut piece).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let sent = sent + piece.len() as u64;
            Ok(Some((piece.freeze(), (answer, sent))))
        });
        axum::body::Body::from_stream(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canned(bytes: &'static [u8]) -> Box<dyn Stream> {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let _ = near.write_all(bytes).await;
        });
        Box::new(far)
    }

    #[tokio::test]
    async fn answers_are_read_and_bounded() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length:5\r\nContent-Type:a/b\r\n\r\nhello!";
        let answer = ask(canned(text), "GET", "/", &[]).await.unwrap();
        assert_eq!((answer.status, answer.kind.as_deref()), (StatusCode::OK, Some("a/b")));
        assert_eq!(answer.body(5).await.unwrap(), "hello");
        let answer = ask(canned(text), "GET", "/", &[]).await.unwrap();
        assert!(answer.body(4).await.is_err());
        let answer = ask(canned(text), "GET", "/", &[]).await.unwrap();
        assert_eq!(axum::body::to_bytes(answer.flow(), 100).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn junk_is_an_error() {
        for text in [&b""[..], b"HTTP/1.1 200", b"\x00\x01\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"] {
            assert!(ask(canned(text), "GET", "/", &[]).await.is_err(), "{}", String::from_utf8_lossy(text));
        }
        let endless: &'static [u8] =
            Box::leak(b"HTTP/1.1 200 OK\r\nA: ".iter().copied().chain([b'a'; 40_000]).collect());
        assert!(ask(canned(endless), "GET", "/", &[]).await.is_err());
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
        assert!(ask(canned(short), "GET", "/", &[]).await.unwrap().body(100).await.is_err());
    }
}
