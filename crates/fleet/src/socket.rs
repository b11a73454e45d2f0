//! HTTP to a session over the Unix socket in its directory, which only we and it can reach.

use std::{path::Path, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Bytes},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::Error;

/// How long a session may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer to one of our own requests may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Largest answer to one of our own requests: a screenshot.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Opens a connection for one request, which may be upgraded.
///
/// # Errors
/// Nobody listens there.
pub async fn connect<B>(socket: &Path) -> Result<http1::SendRequest<B>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::time::timeout(CONNECT, UnixStream::connect(socket)).await;
    let stream = stream.map_err(|_| silent())?.map_err(|error| Error::Session(error.to_string()))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    // Ends with the sender, or with the upgraded connection.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// Asks a session something in our own name.
///
/// # Errors
/// It does not answer within 20 s, or with more than 32 MiB.
pub async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    token: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Error> {
    let exchange = async {
        let mut sender = connect::<Full<Bytes>>(socket).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Error::Session(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(|error| Error::Session(error.to_string()))?.to_bytes()))
    };
    tokio::time::timeout(ANSWER, exchange).await.map_err(|_| silent())?
}

fn silent() -> Error {
    Error::Session("it is silent".into())
}

fn wrong(error: &hyper::Error) -> Error {
    Error::Session(error.to_string())
}
