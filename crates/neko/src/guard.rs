//! Which requests are let in at all: host names against DNS rebinding, origins against other sites' pages.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{Server, rest::ApiError};

/// Whether a request addressed to this `Host` may be answered: loopback names and IP addresses always, others when they
/// are allowed. A web page on a name of its own cannot reach us by pointing that name here.
pub(crate) fn is_host_allowed(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || literal.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether a page of this origin may open the WebSocket: the own origin, and those of the CORS list.
pub(crate) fn is_origin_allowed(headers: &HeaderMap, host: Option<&str>, cors: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Not a browser.
        return true;
    };
    let Ok(origin) = origin.to_str() else { return false };
    if is_listed(origin, cors) {
        return true;
    }
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn is_listed(origin: &str, cors: &[String]) -> bool {
    cors.iter().any(|allowed| allowed == "*" || allowed == origin)
}

/// The host that a request is addressed to.
pub(crate) fn host_of<'a>(headers: &'a HeaderMap, uri: &'a axum::http::Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        // An unreadable name is never an allowed one.
        Some(host) => Some(host.to_str().unwrap_or("?")),
        None => uri.authority().map(axum::http::uri::Authority::as_str),
    }
}

/// Refuses requests to host names that are not ours.
pub(crate) async fn check_host(State(server): State<Server>, request: Request, next: Next) -> Response {
    let allowed = &server.inner.config.allowed_hosts;
    match host_of(request.headers(), request.uri()) {
        Some(host) if !is_host_allowed(host, allowed) => {
            server.inner.metrics.reject("host");
            let message = "this host name is not allowed: use an IP address, or add it to the allowed hosts";
            ApiError::new(StatusCode::MISDIRECTED_REQUEST, message).into_response()
        }
        _ => next.run(request).await,
    }
}

/// CORS as neko does it; not in use when no origins are configured.
pub(crate) async fn cors(State(server): State<Server>, request: Request, next: Next) -> Response {
    let origins = &server.inner.config.cors;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .filter(|origin| origin.to_str().is_ok_and(|origin| is_listed(origin, origins)))
        .cloned();
    let method = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
    let wanted_headers = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_preflight = request.method() == Method::OPTIONS && method.is_some();
    if !is_preflight {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Link"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        return response;
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
        headers.append(header::VARY, HeaderValue::from_static(name));
    }
    let is_method = |method: &HeaderValue| matches!(method.as_bytes(), b"GET" | b"POST" | b"DELETE" | b"OPTIONS");
    let wanted = wanted_headers.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let (Some(origin), Some(method), Some(names)) = (origin, method.filter(is_method), allowed_headers(wanted)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
        if let Some(names) = names {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    }
    response
}

/// The asked headers in canonical writing, `None` inside when there are none; `None` when one is not allowed.
fn allowed_headers(wanted: &str) -> Option<Option<HeaderValue>> {
    let mut names = Vec::new();
    for name in wanted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let known = ["Accept", "Authorization", "Content-Type", "X-Csrf-Token", "Origin"];
        names.push(*known.iter().find(|known| known.eq_ignore_ascii_case(name))?);
    }
    Some((!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let allowed = ["desk.example.org".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:80",
            "a.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "192.0.2.7:1",
            "desk.example.org",
            "Desk.Example.org.:443",
        ] {
            assert!(is_host_allowed(host, &allowed), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "?", "a:b:c"] {
            assert!(!is_host_allowed(host, &allowed), "{host}");
        }
        assert!(is_host_allowed("anything", &["*".to_owned()]));
    }

    #[test]
    fn origins() {
        let with = |origin: &str| HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        assert!(is_origin_allowed(&HeaderMap::new(), Some("localhost:1"), &[]));
        assert!(is_origin_allowed(&with("http://localhost:1"), Some("localhost:1"), &[]));
        assert!(!is_origin_allowed(&with("http://localhost:2"), Some("localhost:1"), &[]));
        assert!(!is_origin_allowed(&with("null"), Some("localhost:1"), &[]));
        assert!(is_origin_allowed(&with("https://a.example"), Some("b"), &["https://a.example".into()]));
        assert!(is_origin_allowed(&with("https://a.example"), Some("b"), &["*".into()]));
    }
}
