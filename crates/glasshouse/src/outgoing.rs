//! Requests of ours to HTTP servers elsewhere: HTTP/1.1, with TLS or without, no redirects.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// How long a connection may take, its TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub(crate) struct Outgoing {
    tls: Option<TlsConnector>,
}

impl Outgoing {
    /// For addresses like this one: certificates are read for https only.
    ///
    /// # Errors
    /// It is no address of a web server.
    pub(crate) fn for_address(uri: &Uri) -> anyhow::Result<Self> {
        let tls = match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => None,
            (Some("https"), Some(_)) => Some(connector()?),
            _ => bail!("{uri} is no address: http:// or https:// and a host are needed"),
        };
        Ok(Self { tls })
    }

    /// Sends a request to its address; returns when the answer begins.
    ///
    /// # Errors
    /// The server cannot be reached, or speaks something else.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let uri = request.uri().clone();
        let authority = uri.authority().context("the address has no host")?.clone();
        let mut sender = tokio::time::timeout(CONNECT, self.connect(&uri)).await.context("no connection in time")??;
        request.headers_mut().insert(header::HOST, authority.as_str().parse().context("no host")?);
        *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse().context("no path")?;
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self, uri: &Uri) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let host = uri.host().context("the address has no host")?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.with_context(|| format!("cannot reach {host}:{port}"))?;
        stream.set_nodelay(true)?;
        // Each ends with the answer, or when nobody reads it any more.
        Ok(match &self.tls {
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).context("the host has no name for TLS")?;
                let stream = tls.connect(name, stream).await.context("TLS fails")?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        })
    }
}

/// TLS with the certificates that this machine trusts.
fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of this machine's certificates cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
