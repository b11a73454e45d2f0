//! Who is asking, with which token, and what the body says.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use glasshouse_fleet::{Audit, Grant, Power, SessionId};
use serde::de::DeserializeOwned;

use crate::{Shared, client::Client, login, problem::Problem};

/// Largest body of a request to the API in bytes.
const MAX_BODY: usize = 512 * 1024;
/// Longest time that a client can prefer to wait, in seconds.
const MAX_PREFERRED: u64 = 120;
/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// Whom a request acts for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) grant: Grant,
    pub(crate) address: IpAddr,
    /// The token itself, to see later whether it is still good.
    pub(crate) secret: String,
    /// The session that the path names, when it is one of the caller's own account.
    pub(crate) own: Option<SessionId>,
}

impl Caller {
    /// Whether the caller may do something with the fleet as a whole.
    pub(crate) fn fleet(&self, power: Power) -> Result<(), Problem> {
        if self.grant.allows_fleet(power) { Ok(()) } else { Err(lacks(power, "the fleet")) }
    }

    /// Whether the caller may do something with sessions that they make.
    pub(crate) fn own(&self, power: Power) -> Result<(), Problem> {
        if self.grant.allows_own(power) { Ok(()) } else { Err(lacks(power, "the fleet")) }
    }

    /// Whether the caller may do something with a session. One that its token is not for does not exist for it.
    pub(crate) fn session(&self, power: Power, id: &SessionId) -> Result<(), Problem> {
        if !self.grant.covers(id) && self.own.as_ref() != Some(id) {
            return Err(Problem::missing());
        }
        if self.grant.powers.allow(power) { Ok(()) } else { Err(lacks(power, "this session")) }
    }

    /// Entry of the audit log for something that the caller did.
    pub(crate) fn did(&self, action: &'static str, target: impl ToString, detail: impl Into<String>) -> Audit {
        Audit {
            who: self.grant.who().to_owned(),
            origin: self.address.to_string(),
            action,
            target: target.to_string(),
            detail: detail.into(),
        }
    }
}

fn lacks(power: Power, what: &str) -> Problem {
    let power = serde_json::to_value(power).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    Problem::forbidden(&format!("the token does not have the power {power} over {what}"))
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let unauthorized = || {
            let detail = "a token is needed: Authorization: Bearer gh_…; people sign in at the root of the server";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        };
        let (secret, grant) = match (bearer(&parts.headers), login::cookie(&parts.headers)) {
            (Some(token), _) => (token, shared.fleet.grant(token)),
            (None, Some(_)) if !login::is_by_own_page(&parts.method, &parts.headers) => {
                return Err(Problem::forbidden("pages of other sites may not do this"));
            }
            (None, Some(cookie)) => (cookie, shared.signed_in(cookie)),
            (None, None) => return Err(unauthorized()),
        };
        let (secret, grant) = (secret.to_owned(), grant.ok_or_else(unauthorized)?);
        let address = parts.extensions.get::<Client>().map(|client| client.address).ok_or_else(unauthorized)?;
        let mut own = None;
        if grant.is_own_only()
            && let Ok(Id(id)) = Id::from_request_parts(parts, shared).await
            && shared.fleet.owns(&grant, &id).await?
        {
            own = Some(id);
        }
        Ok(Self { grant, address, secret, own })
    }
}

/// The session that a path names.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(path)| path.get("id").cloned()).ok_or_else(Problem::missing)?;
        SessionId::parse(&id).map(Self).ok_or_else(Problem::missing)
    }
}

/// What the words of a path stand for, by their names in the route.
#[derive(Debug)]
pub(crate) struct Words(std::collections::HashMap<String, String>);

impl Words {
    /// One of them.
    pub(crate) fn get(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Words {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What cannot be decoded is the name of nothing.
        let path = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, state).await;
        path.map(|Path(words)| Self(words)).map_err(|_| Problem::missing())
    }
}

/// The words behind the question mark, each with its value, in order.
#[derive(Debug)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|_| Problem::field("query", "pairs like name=value, percent-encoded"))
    }
}

impl Query {
    /// Whole number of a parameter within a range; any other parameter is an error.
    pub(crate) fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        if let Some((other, _)) = self.0.iter().find(|(key, _)| key != name) {
            return Err(unknown(other));
        }
        match &self.0[..] {
            [] => Ok(None),
            [(_, value)] => number(name, value, range).map(Some),
            _ => Err(Problem::field(name, "once only")),
        }
    }
}

/// An unknown parameter.
pub(crate) fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::field(shown, "there is no such parameter here")
}

/// A whole number within a range.
pub(crate) fn number(name: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Problem> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| digits && range.contains(number));
    number.ok_or_else(|| Problem::field(name, format!("a whole number from {} to {}", range.start(), range.end())))
}

/// The body as it came, and as JSON.
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) bytes: Bytes,
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?").to_owned());
        let read = axum::body::to_bytes(request.into_body(), MAX_BODY);
        let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive within 20 s");
        let read = tokio::time::timeout(BODY_WITHIN, read).await.map_err(|_| late())?;
        let large =
            |_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is larger than 512 KiB, or broken");
        let bytes = read.map_err(large)?;
        // Everything has a default.
        if bytes.is_empty() {
            return Ok(Self { value: T::default(), bytes });
        }
        let is_json = kind.as_deref().is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            kind == "application/json"
        });
        if !is_json {
            let detail = "the body must be JSON: Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail));
        }
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
        let value = value.map_err(|error| {
            let (path, error) = (error.path().to_string(), error.into_inner());
            if error.is_data() { wrong_field(&path, &error) } else { not_json(&error) }
        })?;
        reader.end().map_err(|error| not_json(&error))?;
        Ok(Self { value, bytes })
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "json", format!("the body is not JSON: {error}"))
}

fn wrong_field(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    Problem::field(if path == "." { "body" } else { path }, text)
}

/// The key of a request that may come twice.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut all = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), next) = (all.next(), all.next()) else { return Ok(Self(None)) };
        let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && next.is_none());
        key.map(|key| Self(Some(key.to_owned())))
            .ok_or_else(|| Problem::field("Idempotency-Key", "1 to 255 characters of ASCII, once"))
    }
}

/// For how many seconds a client prefers to wait rather than to be refused (`Prefer: wait=N`, RFC 7240). What cannot be
/// understood is no preference, as that says.
#[derive(Debug)]
pub(crate) struct Prefer(pub(crate) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let mut wishes = values.flat_map(|value| value.split(',')).filter_map(|wish| wish.split_once('='));
        let wait = wishes.find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
        Ok(Self(
            wait.and_then(|(_, seconds)| seconds.trim().parse().ok()).map(|seconds: u64| seconds.min(MAX_PREFERRED)),
        ))
    }
}

/// The client of a request.
pub(crate) struct ClientOf(pub(crate) Client);

impl<S: Send + Sync> FromRequestParts<S> for ClientOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let nobody = IpAddr::from([0, 0, 0, 0]);
        let client = parts.extensions.get::<Client>().cloned();
        Ok(Self(client.unwrap_or_else(|| Client {
            address: nobody,
            local: nobody,
            host: String::new(),
            scheme: "http",
            prefix: String::new(),
        })))
    }
}
