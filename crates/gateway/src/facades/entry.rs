//! Who comes by a facade: with a token of the fleet as `Authorization: Bearer`, as `?token=` or in a cookie; or anybody, where
//! facades are open.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Redirect},
};
use glasshouse_fleet::{Fleet, Grant, Power};

use crate::{
    Shared,
    caller::{self, Caller, ClientOf},
    client::Client,
    login,
    problem::{Answer, Problem},
};

/// Name of the cookie that has the token.
const COOKIE: &str = "glasshouse-token";
/// Whom the audit log and the limits name for those who come without a token.
const ANYBODY: &str = "facade";

/// Whom a request to a facade acts for.
///
/// # Errors
/// 401: there is no token that is good, and facades are not open.
pub(super) fn caller(shared: &Shared, parts: &Parts) -> Result<Caller, Problem> {
    let refused = || {
        let detail = "a token is needed: Authorization: Bearer gh_…, ?token=gh_… or the cookie glasshouse-token; \
                      or start the server with --facade-open";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    };
    let address = parts.extensions.get::<Client>().map(|client| client.address).ok_or_else(refused)?;
    let given = secret_of(&parts.headers, &parts.uri);
    if let Some((secret, grant)) = given.and_then(|secret| Some((secret.clone(), shared.fleet.grant(&secret)?))) {
        return Ok(Caller { grant, address, secret, own: None });
    }
    if !shared.config.facades.open {
        return Err(refused());
    }
    let powers = [Power::View, Power::Control].into_iter().collect();
    let grant = Grant { token: ANYBODY.to_owned(), session: None, powers, expires_at: None, login: None };
    Ok(Caller { grant, address, secret: String::new(), own: None })
}

/// Until the token of a caller is good no more; for ever for one that has none.
pub(super) async fn over(fleet: Fleet, caller: Caller) {
    if caller.secret.is_empty() {
        return std::future::pending().await;
    }
    crate::connect::revoked(fleet, caller.grant, caller.secret).await;
}

/// `/api/login?token=gh_…`: gives a browser the cookie, and leads it to the page at the root.
pub(super) async fn sign_in(State(shared): State<Arc<Shared>>, ClientOf(client): ClientOf, uri: Uri) -> Answer {
    let refused = || Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed: /api/login?token=gh_…");
    let secret = token_of_query(&uri).filter(|secret| shared.fleet.grant(secret).is_some()).ok_or_else(refused)?;
    let cookie = cookie(&secret, &client.prefix, client.scheme).ok_or_else(refused)?;
    let mut response = Redirect::to(&format!("{}/", client.prefix)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A cookie that takes the place of a token in every request, for pages that know of none. Scripts cannot read it, other
/// sites' pages do not send it, and it ends with the browser.
fn cookie(secret: &str, path_prefix: &str, scheme: &str) -> Option<HeaderValue> {
    let secure = if scheme == "https" { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{COOKIE}={secret}; Path={path_prefix}/; HttpOnly; SameSite=Strict{secure}")).ok()
}

/// The token of a request, from the most deliberate place to the least.
fn secret_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(secret) = caller::bearer(headers) {
        return Some(secret.to_owned());
    }
    token_of_query(uri).or_else(|| login::named(headers, COOKIE).map(str::to_owned))
}

/// Tokens have no character that a query encodes.
fn token_of_query(uri: &Uri) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == "token").map(|(_, secret)| secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_token_can_be() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(secret_of(&headers, &uri("/api/sessions")), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; glasshouse-token=gh_c"));
        assert_eq!(secret_of(&headers, &uri("/")).as_deref(), Some("gh_c"));
        assert_eq!(secret_of(&headers, &uri("/?x=1&token=gh_q")).as_deref(), Some("gh_q"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer gh_b"));
        assert_eq!(secret_of(&headers, &uri("/?token=gh_q")).as_deref(), Some("gh_b"));
    }

    #[test]
    fn a_cookie_is_for_our_own_pages_only() {
        let cookie = cookie("gh_x", "/desk", "https").unwrap();
        assert_eq!(cookie, "glasshouse-token=gh_x; Path=/desk/; HttpOnly; SameSite=Strict; Secure");
        assert!(super::cookie("a\nb", "", "http").is_none());
    }
}
