//! Who is at the other end of a connection, and which requests are let in at all: host names against DNS rebinding, origins
//! against other sites' pages.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{Shared, problem::Problem};

/// Addresses that one request may have been passed on by.
const MAX_HOPS: usize = 20;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) remote: IpAddr,
    pub(crate) local: IpAddr,
}

/// The client of a request, behind all proxies that are trusted.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Our own address that the connection came to.
    pub(crate) local: IpAddr,
    /// Host and port that it asked for.
    pub(crate) host: String,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// A range of addresses: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no range of addresses.
#[derive(Debug)]
pub struct NetworkError(String);

impl std::fmt::Display for NetworkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected an address or a range such as 10.0.0.0/8, got {:?}", self.0)
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits <= most { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

impl Network {
    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((own, own_is_v4), (other, other_is_v4)) = (number(self.address), number(address.to_canonical()));
        let differ = (own ^ other).checked_shr(128 - u32::from(self.bits)).unwrap_or(0);
        own_is_v4 == other_is_v4 && differ == 0
    }
}

/// Whether a request addressed to this host may be answered: loopback names and addresses always, others when allowed.
fn is_host_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || literal.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name))
}

/// Whether a page of this origin may do more than look: only our own.
fn is_origin_allowed(headers: &HeaderMap, host: &str) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// One value of a header, if it is there once and readable.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then(|| value.trim()).filter(|value| !value.is_empty())
}

fn client_of(shared: &Shared, peer: Peer, request: &Request) -> Client {
    let headers = request.headers();
    let host = match headers.get(header::HOST) {
        // An unreadable name is never an allowed one.
        Some(host) => host.to_str().unwrap_or("?").to_owned(),
        None => request.uri().authority().map(ToString::to_string).unwrap_or_default(),
    };
    let mut client =
        Client { address: peer.remote.to_canonical(), local: peer.local.to_canonical(), host, scheme: "http" };
    if !shared.is_trusted(client.address) {
        return client;
    }
    let passed_by = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let passed_by: Vec<_> = passed_by.flat_map(|value| value.split(',')).map(str::trim).collect();
    // From the right: each proxy adds whom it was asked by, and what is left of the first that is not trusted can be made up.
    for hop in passed_by.iter().rev().take(MAX_HOPS) {
        let Ok(address) = hop.parse::<IpAddr>() else { break };
        client.address = address.to_canonical();
        if !shared.is_trusted(client.address) {
            break;
        }
    }
    if let Some(host) = only(headers, "x-forwarded-host") {
        host.clone_into(&mut client.host);
    }
    if only(headers, "x-forwarded-proto") == Some("https") {
        client.scheme = "https";
    }
    client
}

/// Finds out who asks, and refuses who may not.
pub(crate) async fn check(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody knows who asks").into_response();
    };
    let client = client_of(&shared, peer, &request);
    if !is_host_allowed(&client.host, &shared.config.allowed_hosts) {
        let detail = "this host name is not allowed: use an IP address, or name it with --allowed-host";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail).into_response();
    }
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if (!only_looks || upgrades) && !is_origin_allowed(request.headers(), &client.host) {
        return Problem::forbidden("pages of other sites may not do this").into_response();
    }
    request.extensions_mut().insert(client);
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network: Network = "10.1.0.0/16".parse().unwrap();
        assert!(network.contains("10.1.255.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.255.1".parse().unwrap()));
        assert!(!network.contains("10.2.0.1".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!("::/0".parse::<Network>().unwrap().contains("::1".parse().unwrap()));
        assert!(!"::/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!("127.0.0.1".parse::<Network>().unwrap().contains("127.0.0.1".parse().unwrap()));
        for wrong in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_and_origins() {
        let allowed = ["desk.example".to_owned()];
        for host in ["localhost:1", "127.0.0.1:8080", "[::1]:8080", "a.localhost", "Desk.example.:443"] {
            assert!(is_host_allowed(host, &allowed), "{host}");
        }
        for host in ["", "?", "evil.example", "127.0.0.1.evil.example", "a:b:c"] {
            assert!(!is_host_allowed(host, &allowed), "{host}");
        }
        let with = |origin: &str| HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        assert!(is_origin_allowed(&HeaderMap::new(), "a"));
        assert!(is_origin_allowed(&with("https://a:1"), "a:1"));
        assert!(!is_origin_allowed(&with("https://b"), "a"));
        assert!(!is_origin_allowed(&with("null"), "a"));
    }
}
