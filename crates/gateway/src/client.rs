//! Who is at the other end of a connection, and which requests are let in at all: host names against DNS rebinding, origins
//! against other sites' pages.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};

use crate::{Config, Shared, problem::Problem};

/// Addresses that one request may have been passed on by.
const MAX_HOPS: usize = 20;
/// Longest path that a proxy may have taken away, in bytes.
const MAX_PREFIX: usize = 256;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) remote: IpAddr,
    pub(crate) local: IpAddr,
    /// Whether it is encrypted.
    pub(crate) is_tls: bool,
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
    /// Path that everything is below for the client, without a slash at its end: of a proxy that takes part of it away,
    /// and our own.
    pub(crate) prefix: String,
}

impl Peer {
    /// Whether nothing that is said can leave this machine.
    fn is_this_machine(&self) -> bool {
        let remote = self.remote.to_canonical();
        remote.is_loopback() || remote == self.local.to_canonical()
    }
}

impl Client {
    /// Address of the console for the client, without the slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.prefix)
    }
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

/// Whether a page of this origin may do more than look: our own, and those that are allowed.
fn is_origin_allowed(headers: &HeaderMap, host: &str, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    if allowed.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes())) {
        return true;
    }
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// One value of a header, if it is there once and readable.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then(|| value.trim()).filter(|value| !value.is_empty())
}

/// An address as proxies write it: bare, or with a port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

fn client_of(config: &Config, peer: Peer, request: &Request) -> Client {
    let headers = request.headers();
    let host = match headers.get(header::HOST) {
        // An unreadable name is never an allowed one.
        Some(host) => host.to_str().unwrap_or("?").to_owned(),
        None => request.uri().authority().map(ToString::to_string).unwrap_or_default(),
    };
    let mut client = Client {
        address: peer.remote.to_canonical(),
        local: peer.local.to_canonical(),
        host,
        scheme: if peer.is_tls { "https" } else { "http" },
        prefix: config.path_prefix.clone(),
    };
    let is_trusted = |address| config.trusted_proxies.iter().any(|network| network.contains(address));
    if !is_trusted(client.address) {
        return client;
    }
    let passed_by = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let passed_by: Vec<_> = passed_by.flat_map(|value| value.split(',')).map(str::trim).collect();
    // From the right: each proxy adds whom it was asked by, and what is left of the first that is not trusted can be made up.
    for hop in passed_by.iter().rev().take(MAX_HOPS) {
        let Some(address) = hop_address(hop) else { break };
        client.address = address.to_canonical();
        if !is_trusted(client.address) {
            break;
        }
    }
    if let Some(host) = only(headers, "x-forwarded-host") {
        host.clone_into(&mut client.host);
    }
    match only(headers, "x-forwarded-proto") {
        Some("https" | "wss") => client.scheme = "https",
        Some("http" | "ws") => client.scheme = "http",
        _ => {}
    }
    if let Some(taken) = only(headers, "x-forwarded-prefix").and_then(prefix) {
        client.prefix.insert_str(0, &taken);
    }
    client
}

/// A path that a proxy has taken away, with a slash before and none behind it. It goes into addresses and cookies: letters,
/// digits, `.`, `_`, `-` and `~` only, and nothing that leads out of it.
fn prefix(text: &str) -> Option<String> {
    let is_good = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte))
    };
    let path = text.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    (path.len() <= MAX_PREFIX && path.split('/').all(is_good)).then(|| format!("/{path}"))
}

/// Leads to the encrypted side of the same address. What changes something, or is a secret, has been sent in the open already.
fn encrypted(request: &Request, host: &str) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match *request.method() {
        Method::GET | Method::HEAD if path.starts_with('/') => {
            Redirect::permanent(&format!("https://{host}{path}")).into_response()
        }
        _ => Problem::forbidden("this server speaks https: begin the address with https://").into_response(),
    }
}

/// Finds out who asks, and refuses who may not.
pub(crate) async fn check(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody knows who asks").into_response();
    };
    let client = client_of(&shared.config, peer, &request);
    if !is_host_allowed(&client.host, &shared.config.allowed_hosts) {
        let detail = "this host name is not allowed: use an IP address, or name it with --allowed-host";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail).into_response();
    }
    let needs_tls = shared.config.tls.is_some() && !peer.is_tls && !peer.is_this_machine();
    if needs_tls && !shared.is_trusted(peer.remote.to_canonical()) {
        return encrypted(&request, &client.host);
    }
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if (!only_looks || upgrades) && !is_origin_allowed(request.headers(), &client.host, &shared.config.allowed_origins)
    {
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
    fn only_trusted_proxies_speak_for_others() {
        let config = Config {
            path_prefix: "/own".into(),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            ..Config::default()
        };
        let seen = |remote: &str, headers: &[(&str, &str)]| {
            let peer = Peer { remote: remote.parse().unwrap(), local: [127, 0, 0, 1].into(), is_tls: false };
            let request = headers.iter().fold(Request::builder().header("host", "own:1"), |request, (name, value)| {
                request.header(*name, *value)
            });
            let client = client_of(&config, peer, &request.body(axum::body::Body::empty()).unwrap());
            (client.address.to_string(), client.url())
        };
        let says = [
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3:4711 , 10.1.1.1"),
            ("x-forwarded-host", "desk.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/desk/"),
        ];
        let own = |address: &str| (address.to_owned(), "http://own:1/own".to_owned());
        assert_eq!(seen("9.9.9.9", &says), own("9.9.9.9"));
        // What is left of the last that nobody vouches for can be made up.
        let through = ("3.3.3.3".to_owned(), "https://desk.example/desk/own".to_owned());
        assert_eq!(seen("10.0.0.1", &says), through);
        assert_eq!(seen("::ffff:10.0.0.1", &says), through);
        assert_eq!(seen("::1", &[("x-forwarded-for", "[2001:db8::5]")]).0, "2001:db8::5");
        assert_eq!(seen("::1", &[("x-forwarded-for", "[2001:db8::5]:80")]).0, "2001:db8::5");
        assert_eq!(seen("::1", &[("x-forwarded-for", "1.1.1.1, unknown")]).0, "::1");
        for prefix in ["desk", "/", "//evil.example", "/a/../b", "/a;Path=/", "/a b", "/%2e", ""] {
            assert_eq!(seen("::1", &[("x-forwarded-prefix", prefix)]), own("::1"), "{prefix}");
        }
        // Said twice, it is not said.
        let twice = [("x-forwarded-host", "a.example"), ("x-forwarded-host", "b.example")];
        assert_eq!(seen("::1", &twice), own("::1"));
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
        assert!(is_origin_allowed(&HeaderMap::new(), "a", &[]));
        assert!(is_origin_allowed(&with("https://a:1"), "a:1", &[]));
        assert!(!is_origin_allowed(&with("https://b"), "a", &[]));
        assert!(is_origin_allowed(&with("https://b"), "a", &["https://b".into()]));
        assert!(!is_origin_allowed(&with("https://b:1"), "a", &["https://b".into()]));
        assert!(!is_origin_allowed(&with("null"), "a", &[]));
    }
}
