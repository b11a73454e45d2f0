//! What we ask an OpenID provider for: HTTP/1.1 over TLS, without following redirects, within limits.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use axum::http::{Request, Response, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};

/// How long an exchange may take, from the name to the last byte.
const WITHIN: Duration = Duration::from_secs(10);
/// Largest answer in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Why a provider was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// An address that is not asked.
    #[error("{0} is no address that may be asked: https is needed")]
    Address(String),
    /// No answer in time.
    #[error("no answer within 10 s")]
    Silent,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It is too large, or broken.
    #[error("its answer is broken, or larger than 256 KiB")]
    Body,
}

/// An answer to come.
pub(crate) type Asked = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, HttpError>> + Send>>;

/// A client for one provider.
#[derive(Clone)]
pub(crate) struct Http {
    tls: TlsConnector,
    /// Without encryption, to this machine only.
    allows_plain: bool,
}

impl Http {
    /// With the certificates that this machine trusts. `allows_plain` is for a provider on this machine.
    pub(crate) fn new(allows_plain: bool) -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of this machine's certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        #[allow(clippy::expect_used)] // The provider has the versions that rustls takes for safe.
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)), allows_plain }
    }

    /// The client as openidconnect wants it. Boxed: its futures must not depend on how long we are borrowed.
    pub(crate) fn asker(&self) -> impl Fn(Request<Vec<u8>>) -> Asked + Send + Sync + 'static {
        let http = self.clone();
        move |request| {
            let http = http.clone();
            Box::pin(async move { http.send(request).await })
        }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        tokio::time::timeout(WITHIN, self.exchange(request)).await.unwrap_or(Err(HttpError::Silent))
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        let uri = request.uri().clone();
        let wrong = || {
            HttpError::Address(format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default()))
        };
        let host = uri.host().ok_or_else(wrong)?;
        let name = host.trim_matches(['[', ']']).to_owned();
        match uri.scheme_str() {
            Some("https") => {
                let server = ServerName::try_from(name.clone()).map_err(|_| wrong())?;
                let stream = TcpStream::connect((name, uri.port_u16().unwrap_or(443))).await?;
                talk(self.tls.connect(server, stream).await?, &uri, request).await
            }
            Some("http") if self.allows_plain && is_loopback(&name) => {
                talk(TcpStream::connect((name, uri.port_u16().unwrap_or(80))).await?, &uri, request).await
            }
            _ => Err(wrong()),
        }
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, HttpError> {
    let wrong = || HttpError::Address(uri.host().unwrap_or_default().to_owned());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender at the latest.
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().ok_or_else(wrong)?;
    parts.headers.insert(header::HOST, authority.as_str().parse().map_err(|_| wrong())?);
    parts.uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| wrong())?;
    let response = sender.send_request(Request::from_parts(parts, Full::new(Bytes::from(body)))).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| HttpError::Body)?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_encrypted_unless_it_is_this_machine() {
        let ask = |uri: &str, allows_plain| {
            let request = Request::builder().uri(uri).body(Vec::new()).unwrap();
            async move { Http::new(allows_plain).send(request).await }
        };
        assert!(matches!(ask("http://127.0.0.1:1/", false).await, Err(HttpError::Address(_))));
        assert!(matches!(ask("http://192.0.2.1/", true).await, Err(HttpError::Address(_))));
        assert!(matches!(ask("ftp://127.0.0.1/", true).await, Err(HttpError::Address(_))));
        assert!(matches!(ask("http://127.0.0.1:1/", true).await, Err(HttpError::Io(_))));
        assert!(is_loopback("[::1]") && is_loopback("127.0.0.2") && !is_loopback("localhost.example"));
    }
}
