//! The proxy that a session's traffic may have to go through.

use std::{io, net::IpAddr, str::FromStr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};

use super::address::{self, Host};

/// A proxy, written `http://user:password@host:port`, or with `https` or `socks5`.
#[derive(Clone)]
pub struct Upstream {
    kind: Kind,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
    /// For `https`; the host's certificate authorities, unless others were given.
    tls: Option<Arc<ClientConfig>>,
    /// Names are resolved and judged here and the proxy is given addresses. If not, the proxy is given names, and what
    /// they lead to is for it to judge.
    resolve_here: bool,
    /// The proxy itself must be on a public address.
    is_public: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks5,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the credentials: this ends up in logs.
        write!(f, "{:?} proxy {}:{}", self.kind, self.host, self.port)
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Without the text itself, which may hold a password.
        let wrong =
            |why: &str| format!("upstream proxy: {why}: write http://user:password@host:port, or with https or socks5");
        let (kind, rest) = text.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let (kind, usual) = match kind {
            "http" => (Kind::Http, 8080),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(wrong("unknown scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        let credentials = match credentials {
            Some(text) => {
                let (user, password) = text.split_once(':').unwrap_or((text, ""));
                let decode = |text| decode(text).ok_or_else(|| wrong("bad % in the credentials"));
                let (user, password) = (decode(user)?, decode(password)?);
                // RFC 1929 has one byte for each length; RFC 7617 forbids ':' in the user.
                if user.len() > 255 || password.len() > 255 || user.contains(':') {
                    return Err(wrong("credentials are too long, or ':' is in the user"));
                }
                Some((user, password))
            }
            None => None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong("bad port"))?),
            _ => (authority, usual),
        };
        let host = Host::parse(host).map_err(|_| wrong("bad host"))?;
        let host = host.to_string().trim_matches(['[', ']']).to_owned();
        let tls = if kind == Kind::Https { Some(tls_of_the_host()?) } else { None };
        Ok(Self { kind, host, port, credentials, tls, resolve_here: true, is_public: false })
    }
}

/// Undoes percent-encoding (RFC 3986 2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

fn tls_of_the_host() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("upstream proxy: this host has no certificate authorities: install ca-certificates".into());
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("upstream proxy: {error}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl Upstream {
    /// Gives the proxy names instead of addresses, and leaves it to it what they lead to. For proxies in other networks.
    #[must_use]
    pub fn resolving_there(mut self) -> Self {
        self.resolve_here = false;
        self
    }

    /// Connects to the proxy on a public address only. For one that somebody named who may not reach private ones.
    #[must_use]
    pub fn on_public_address(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Uses this instead of the host's certificate authorities; for `https`.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    pub(super) fn resolves_here(&self) -> bool {
        self.resolve_here
    }

    /// Connects through the proxy. `address` is where the host leads, if it was resolved here.
    pub(super) async fn connect(&self, host: &Host, address: Option<IpAddr>, port: u16) -> io::Result<Stream> {
        let target = match address {
            Some(address) => Host::Address(address.to_canonical()),
            None => host.clone(),
        };
        let mut tcp = self.dial().await?;
        tcp.set_nodelay(true)?;
        match (self.kind, &self.tls) {
            (Kind::Http, _) => {
                self.http(&mut tcp, &target, port).await?;
                Ok(Stream::Tcp(tcp))
            }
            (Kind::Socks5, _) => {
                self.socks(&mut tcp, &target, port).await?;
                Ok(Stream::Tcp(tcp))
            }
            (Kind::Https, Some(config)) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                let mut tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
                self.http(&mut tls, &target, port).await?;
                Ok(Stream::Tls(Box::new(tls)))
            }
            (Kind::Https, None) => Err(io::Error::other("no TLS configuration")),
        }
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        if !self.is_public {
            return TcpStream::connect((self.host.as_str(), self.port)).await;
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let is_public = |ip: IpAddr| address::refused(ip.to_canonical()).is_none() && !address::is_own(ip);
        let public: Vec<_> = found.filter(|found| is_public(found.ip())).collect();
        if public.is_empty() {
            return Err(io::Error::other("the upstream proxy is not on a public address"));
        }
        TcpStream::connect(&public[..]).await
    }

    async fn http(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), host: &Host, port: u16) -> io::Result<()> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some((user, password)) = &self.credentials {
            let basic = base64(format!("{user}:{password}").as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        // Byte by byte, because what follows the head is not ours; it is short.
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 16 * 1024 {
                return Err(io::Error::other("the upstream proxy answered with too long a head"));
            }
            head.push(stream.read_u8().await?);
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&head).map_err(|error| io::Error::other(format!("the upstream proxy's answer: {error}")))?;
        match response.code {
            Some(200..=299) => Ok(()),
            Some(407) => Err(io::Error::other("the upstream proxy does not accept its credentials")),
            code => Err(io::Error::other(format!("the upstream proxy answered {}", code.unwrap_or(0)))),
        }
    }

    /// RFC 1928, RFC 1929.
    async fn socks(&self, stream: &mut TcpStream, host: &Host, port: u16) -> io::Result<()> {
        const NONE: u8 = 0;
        const PASSWORD: u8 = 2;
        let methods: &[u8] = if self.credentials.is_some() { &[5, 1, PASSWORD] } else { &[5, 1, NONE] };
        stream.write_all(methods).await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        match (answer, &self.credentials) {
            ([5, NONE], None) => {}
            ([5, PASSWORD], Some((user, password))) => {
                let mut message = vec![1];
                for text in [user, password] {
                    message.push(u8::try_from(text.len()).map_err(io::Error::other)?);
                    message.extend(text.as_bytes());
                }
                stream.write_all(&message).await?;
                stream.read_exact(&mut answer).await?;
                if answer[1] != 0 {
                    return Err(io::Error::other("the upstream proxy does not accept its credentials"));
                }
            }
            _ => return Err(io::Error::other("the upstream proxy wants another kind of login")),
        }
        let mut request = vec![5, 1, 0];
        match host {
            Host::Address(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Host::Address(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Host::Name(name) => {
                request.extend([3, u8::try_from(name.len()).map_err(io::Error::other)?]);
                request.extend(name.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return Err(io::Error::other(format!("the upstream proxy answered {}", answer[1])));
        }
        let rest = match answer[3] {
            1 => 4,
            4 => 16,
            3 => stream.read_u8().await?.into(),
            _ => return Err(io::Error::other("the upstream proxy answered nonsense")),
        };
        let mut skipped = [0; 257];
        stream.read_exact(&mut skipped[..rest + 2]).await?;
        Ok(())
    }
}

/// RFC 4648 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let bits =
            part.iter().enumerate().fold(0_u32, |bits, (index, byte)| bits | u32::from(*byte) << (16 - 8 * index));
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= part.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// A connection to the outside.
pub(super) enum Stream {
    /// As it is.
    Tcp(TcpStream),
    /// Within TLS to an upstream proxy.
    Tls(Box<TlsStream<TcpStream>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn addresses_of_proxies() {
        let upstream: Upstream = "socks5://us%40er:p%3aw@proxy.example:1081".parse().unwrap();
        assert_eq!(upstream.credentials, Some(("us@er".into(), "p:w".into())));
        assert_eq!((upstream.kind, upstream.host.as_str(), upstream.port), (Kind::Socks5, "proxy.example", 1081));
        assert!(!format!("{upstream:?}").contains("p:w"));
        let upstream: Upstream = "http://[::1]:3128".parse().unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("::1", 3128));
        for wrong in ["proxy:1", "ftp://proxy", "http://proxy:x", "http://u%zz@proxy", "http://u%0d%0a@proxy"] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
    }
}
