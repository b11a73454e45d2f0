//! `/api/v1/login`: people sign in, and their browsers show it by a cookie.
//!
//! The cookie goes to the API only, never to a session: `Path` is the API's. No script reads it (`HttpOnly`), no other site's
//! page sends it (`SameSite=Strict`), and what changes something needs an `Origin` of our own besides.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::{Audit, Grant, Login, Power, Users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Config, Shared,
    caller::{Body, Caller, ClientOf},
    client::Client,
    login_brake::Brake,
    oidc::Oidc,
    problem::{Answer, Problem},
};

/// Name of the cookie.
const COOKIE: &str = "glasshouse_login";
/// What accounts of the users file begin with.
const USER: &str = "user:";
/// When too many sign in at once, how long to wait.
const BUSY: Duration = Duration::from_secs(2);

/// How people sign in.
pub(crate) struct SignIn {
    pub(crate) users: Option<Arc<Users>>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) brake: Brake,
    /// For how long a browser stays signed in, in seconds.
    pub(crate) seconds: u64,
}

impl SignIn {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            users: config.users.clone(),
            oidc: config.oidc.clone().map(Oidc::new),
            brake: Brake::default(),
            seconds: config.login_seconds,
        }
    }

    /// Whether who signed in once may still be.
    pub(crate) fn is_current(&self, grant: &Grant) -> bool {
        let Some(login) = &grant.login else { return false };
        match login.account.strip_prefix(USER) {
            Some(name) => self.users.as_ref().is_some_and(|users| users.is_current(name, &login.mark)),
            None => self.oidc.as_ref().is_some_and(|oidc| oidc.mark() == login.mark),
        }
    }
}

/// Who signs in.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Credentials {
    /// Name of the users file.
    #[schema(required = true, max_length = 64)]
    name: String,
    /// Password.
    #[schema(required = true, max_length = 1024)]
    password: String,
}

/// Somebody who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Person {
    /// For people.
    name: String,
    /// What they may do: with everything if `admin` is among it, else with sessions of their own.
    powers: Vec<Power>,
}

/// How people sign in here, and who has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ways {
    /// Whether with a name and a password.
    password: bool,
    /// Whether with an OpenID provider: a browser is sent to `login/oidc`.
    oidc: bool,
    /// Whose cookie came with the request.
    user: Option<Person>,
}

impl Person {
    fn new(grant: &Grant) -> Option<Self> {
        let login = grant.login.as_ref()?;
        Some(Self { name: login.name.clone(), powers: grant.powers.list() })
    }
}

/// The secret of a browser's cookie.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    named(headers, COOKIE)
}

/// Value of a cookie, when there is one of that name.
pub(crate) fn named<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// Whether a request that shows a cookie was made by a page of ours. [`crate::client::check`] has compared `Origin`, if there
/// is one, with the host that was asked.
pub(crate) fn is_by_own_page(method: &Method, headers: &HeaderMap) -> bool {
    let is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    let only_looks = matches!(*method, Method::GET | Method::HEAD);
    headers.get("sec-fetch-site").is_none_or(is_own) && (only_looks || headers.contains_key(header::ORIGIN))
}

/// A cookie of ours; one without a value is taken back.
pub(crate) fn set_cookie(
    client: &Client,
    name: &str,
    path: &str,
    same_site: &str,
    value: Option<(&str, u64)>,
) -> Option<HeaderValue> {
    let secure = if client.scheme == "https" { "; Secure" } else { "" };
    let (value, seconds) = value.unwrap_or_default();
    let prefix = &client.prefix;
    let text =
        format!("{name}={value}; Path={prefix}{path}; HttpOnly; SameSite={same_site}; Max-Age={seconds}{secure}");
    // Of characters that a header may have: names of ours, secrets, and prefixes that were checked.
    HeaderValue::from_str(&text).ok()
}

fn login_cookie(client: &Client, value: Option<(&str, u64)>) -> Option<HeaderValue> {
    set_cookie(client, COOKIE, "/api/v1", "Strict", value)
}

/// Entry of the audit log about signing in.
pub(crate) fn audit(client: &Client, who: &str, action: &'static str, target: &str, detail: &str) -> Audit {
    Audit {
        who: who.to_owned(),
        origin: client.address.to_string(),
        action,
        target: target.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Signs a browser in: the cookie, and whom it stands for.
pub(crate) async fn enter(
    shared: &Shared,
    client: &Client,
    headers: &HeaderMap,
    login: Login,
    powers: glasshouse_fleet::Powers,
    way: &str,
) -> Result<(HeaderValue, Grant), Problem> {
    let seconds = shared.sign_in.seconds;
    let (secret, grant) = shared.fleet.sign_in(login, powers, seconds).await?;
    let value = login_cookie(client, Some((&secret, seconds))).ok_or_else(Problem::missing)?;
    // The browser forgets the one that it had.
    if let Some(old) = cookie(headers).and_then(|secret| shared.fleet.login(secret)) {
        let _ = shared.fleet.revoke_token(&old.token).await;
    }
    shared.fleet.audit(audit(client, grant.who(), "login", &grant.token, way)).await;
    Ok((value, grant))
}

/// How people sign in here, and who has.
#[utoipa::path(get, path = "/api/v1/login", tag = "login", responses(
    (status = 200, description = "The ways.", body = Ways),
), security(()))]
pub(crate) async fn ways(State(shared): State<Arc<Shared>>, caller: Result<Caller, Problem>) -> Response {
    let user = caller.ok().and_then(|caller| Person::new(&caller.grant));
    let SignIn { users, oidc, .. } = &shared.sign_in;
    let ways = Ways { password: users.is_some(), oidc: oidc.is_some(), user };
    ([(header::CACHE_CONTROL, "no-store")], Json(ways)).into_response()
}

/// Signs a browser in with a name and a password. It shows that by a cookie, which the answer sets.
#[utoipa::path(post, path = "/api/v1/login", tag = "login", request_body = Credentials, responses(
    (status = 200, description = "Who is signed in now.", body = Person, headers(("Set-Cookie" = String, description = "For the API only."))),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "The name or the password is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "Nobody signs in with a password here.", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts from this address, or with this name.", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds to wait."))),
), security(()))]
pub(crate) async fn sign_in(
    State(shared): State<Arc<Shared>>,
    ClientOf(client): ClientOf,
    headers: HeaderMap,
    body: Body<Credentials>,
) -> Answer {
    let SignIn { users, brake, .. } = &shared.sign_in;
    let Some(users) = users else {
        return Err(Problem::forbidden("nobody signs in with a password here: start the server with --users"));
    };
    let Credentials { name, password } = body.value;
    brake.take(client.address, Some(&name), Instant::now()).map_err(too_fast)?;
    let found = users.check(&name, &password).await.map_err(|_| {
        brake.give_back(client.address, Some(&name));
        too_fast(BUSY)
    })?;
    drop(password);
    let Some((user, mark)) = found else {
        // Of names that nobody has, none is written down: one may be a password that was typed in the wrong place.
        let shown = if users.has(&name) { name.as_str() } else { "" };
        shared.fleet.audit(audit(&client, "anonymous", "login.failed", shown, "password")).await;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong-login", "the name or the password is wrong"));
    };
    brake.give_back(client.address, Some(&name));
    let login = Login { account: format!("{USER}{name}"), name, mark };
    let (cookie, grant) = enter(&shared, &client, &headers, login, user.powers, "password").await?;
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(Person::new(&grant))).into_response())
}

/// Signs a browser out, of the rooms that it is in as well.
#[utoipa::path(delete, path = "/api/v1/login", tag = "login", responses(
    (status = 204, description = "It is signed out, if it ever was in."),
    (status = 403, description = "A page of another site asks.", body = Problem, content_type = "application/problem+json"),
), security(()))]
pub(crate) async fn sign_out(
    State(shared): State<Arc<Shared>>,
    ClientOf(client): ClientOf,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    if let Some(grant) = cookie(&headers).and_then(|secret| shared.fleet.login(secret)) {
        if !is_by_own_page(&method, &headers) {
            return Err(Problem::forbidden("pages of other sites may not do this"));
        }
        // Gone meanwhile is as good.
        let _ = shared.fleet.revoke_token(&grant.token).await;
        shared.fleet.audit(audit(&client, grant.who(), "logout", &grant.token, "")).await;
        shared.fleet.unlink_everywhere(&grant.token).await;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = login_cookie(&client, None) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

pub(crate) fn too_fast(wait: Duration) -> Problem {
    let wait = Duration::from_secs(wait.as_secs_f64().ceil().max(1.0) as u64);
    let detail = format!("too many attempts to sign in: try again in {} s", wait.as_secs());
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", detail).retry(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(scheme: &'static str, prefix: &str) -> Client {
        let nobody = [127, 0, 0, 1].into();
        Client { address: nobody, local: nobody, host: "a".into(), scheme, prefix: prefix.into() }
    }

    #[test]
    fn cookies() {
        let value = login_cookie(&client("http", ""), Some(("ghl_x", 60))).unwrap();
        assert_eq!(value, "glasshouse_login=ghl_x; Path=/api/v1; HttpOnly; SameSite=Strict; Max-Age=60");
        let gone = login_cookie(&client("https", "/desk"), None).unwrap();
        assert_eq!(gone, "glasshouse_login=; Path=/desk/api/v1; HttpOnly; SameSite=Strict; Max-Age=0; Secure");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; glasshouse_loginx=1"));
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("x; glasshouse_login=ghl_y; z=1"));
        assert_eq!(cookie(&headers), Some("ghl_y"));
    }

    #[test]
    fn a_cookie_counts_on_our_own_pages_only() {
        let with = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
        };
        assert!(is_by_own_page(&Method::GET, &with(&[])));
        assert!(is_by_own_page(&Method::POST, &with(&[("origin", "http://a"), ("sec-fetch-site", "same-origin")])));
        assert!(!is_by_own_page(&Method::POST, &with(&[])), "who changes something says from where");
        for site in ["cross-site", "same-site", "x"] {
            assert!(!is_by_own_page(&Method::GET, &with(&[("sec-fetch-site", site)])), "{site}");
        }
    }
}
