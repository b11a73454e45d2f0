//! Who is who: passwords, session tokens, and the brake on guessing.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, Uri, header};

use crate::{
    Provider,
    links::{Links, Role},
    secret::{self, Hash},
};

const FAILURES: u32 = 10;
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered at most.
const MAX_ADDRESSES: usize = 10_000;

/// Who may log in; holds hashes only.
enum Passwords {
    Multiuser { user: Hash, admin: Hash },
    NoAuth,
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A session of the room.
    Session(String),
    /// The virtual session of the API token.
    Api,
}

/// Tokens and passwords of a room.
pub(crate) struct Auth {
    passwords: Passwords,
    api_token: Option<Hash>,
    tokens: HashMap<Hash, String>,
    pub(crate) links: Links,
    /// Labels of the links that sessions came by.
    came_by: HashMap<String, String>,
    failures: HashMap<IpAddr, (Instant, u32)>,
}

impl Auth {
    pub(crate) fn new(provider: &Provider, api_token: Option<&str>) -> Self {
        let passwords = match provider {
            Provider::Multiuser { user_password, admin_password } => {
                Passwords::Multiuser { user: secret::hash(user_password), admin: secret::hash(admin_password) }
            }
            Provider::NoAuth => Passwords::NoAuth,
        };
        Self {
            passwords,
            api_token: api_token.filter(|token| !token.is_empty()).map(secret::hash),
            tokens: HashMap::new(),
            links: Links::default(),
            came_by: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Whether anybody is admin.
    pub(crate) fn needs_no_password(&self) -> bool {
        matches!(self.passwords, Passwords::NoAuth)
    }

    /// Whether a password is right, and then whom it makes.
    pub(crate) fn check_password(&self, password: &str) -> Option<Role> {
        match &self.passwords {
            Passwords::NoAuth => Some(Role::Admin),
            Passwords::Multiuser { user, admin } => {
                let hash = secret::hash(password);
                let (is_admin, is_user) = (secret::equal(&hash, admin), secret::equal(&hash, user));
                if is_admin { Some(Role::Admin) } else { is_user.then_some(Role::Member) }
            }
        }
    }

    /// Makes a token for a session.
    pub(crate) fn add_token(&mut self, session: &str) -> String {
        let token = secret::random(64);
        self.tokens.insert(secret::hash(&token), session.to_owned());
        token
    }

    /// Notes by which link a session came.
    pub(crate) fn set_came_by(&mut self, session: &str, label: String) {
        self.came_by.insert(session.to_owned(), label);
    }

    /// Sessions that came by links with a label.
    pub(crate) fn came_by(&self, label: &str) -> Vec<String> {
        self.came_by.iter().filter(|(_, by)| *by == label).map(|(session, _)| session.clone()).collect()
    }

    /// Forgets a session's token.
    pub(crate) fn remove_session(&mut self, session: &str) {
        self.came_by.remove(session);
        self.tokens.retain(|_, owner| owner != session);
    }

    pub(crate) fn identify(&self, token: &str) -> Option<Identity> {
        let hash = secret::hash(token);
        if self.api_token.as_ref().is_some_and(|api| secret::equal(api, &hash)) {
            return Some(Identity::Api);
        }
        self.tokens.get(&hash).map(|session| Identity::Session(session.clone()))
    }

    /// Whether an address failed too often to try again now.
    pub(crate) fn is_braked(&self, address: IpAddr, now: Instant) -> bool {
        self.failures
            .get(&network(address))
            .is_some_and(|(since, count)| *count >= FAILURES && now < *since + FAILURE_WINDOW)
    }

    /// Notes a failed login.
    pub(crate) fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.failures.len() >= MAX_ADDRESSES {
            self.failures.retain(|_, (since, _)| now < *since + FAILURE_WINDOW);
            if self.failures.len() >= MAX_ADDRESSES {
                self.failures.clear();
            }
        }
        let (since, count) = self.failures.entry(network(address)).or_insert((now, 0));
        if now >= *since + FAILURE_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

/// What is braked together: an IPv4 address, or the /64 that one IPv6 customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        v4 => v4,
    }
}

/// The token of a request: `Authorization: Bearer`, `?token=`, or the WebSocket sub-protocol `token.…`.
pub(crate) fn token_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let parts: Vec<_> = value.split("Bearer ").collect();
        if let [_, token] = parts[..] {
            return Some(token.trim().to_owned());
        }
    }
    let from_query = query_value(uri.query().unwrap_or_default(), "token").filter(|token| !token.is_empty());
    from_query.or_else(|| {
        headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|protocol| protocol.trim().strip_prefix("token."))
            .map(str::to_owned)
    })
}

/// First value of a key in a query string, percent-decoded.
pub(crate) fn query_value(query: &str, key: &str) -> Option<String> {
    let pair = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then_some(value)
    })?;
    let mut bytes = Vec::with_capacity(pair.len());
    let mut rest = pair.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let provider = Provider::Multiuser { user_password: "u".into(), admin_password: "a".into() };
        Auth::new(&provider, Some("api"))
    }

    #[test]
    fn passwords_and_tokens() {
        let mut auth = auth();
        assert_eq!(auth.check_password("a"), Some(Role::Admin));
        assert_eq!(auth.check_password("u"), Some(Role::Member));
        assert_eq!(auth.check_password(""), None);
        let token = auth.add_token("ann-1");
        assert_eq!(token.len(), 64);
        assert_eq!(auth.identify(&token), Some(Identity::Session("ann-1".into())));
        assert_eq!(auth.identify("api"), Some(Identity::Api));
        auth.remove_session("ann-1");
        assert_eq!(auth.identify(&token), None);
    }

    #[test]
    fn guessing_is_braked_per_network_for_a_minute() {
        let (mut auth, now) = (auth(), Instant::now());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..FAILURES {
            assert!(!auth.is_braked(address("2001:db8::1"), now));
            auth.failed(address("2001:db8::1"), now);
        }
        assert!(auth.is_braked(address("2001:db8::2"), now));
        assert!(!auth.is_braked(address("2001:db8:1::1"), now));
        assert!(!auth.is_braked(address("2001:db8::1"), now + FAILURE_WINDOW));
    }

    #[test]
    fn where_a_token_can_be() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(token_of(&headers, &uri("/api/ws")), None);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "glasshouse, token.abc".parse().unwrap());
        assert_eq!(token_of(&headers, &uri("/api/ws")).as_deref(), Some("abc"));
        assert_eq!(token_of(&headers, &uri("/api/ws?a=1&token=d%2De+f")).as_deref(), Some("d-e f"));
        headers.insert(header::AUTHORIZATION, "Bearer  xyz ".parse().unwrap());
        assert_eq!(token_of(&headers, &uri("/api/ws?token=d")).as_deref(), Some("xyz"));
    }
}
