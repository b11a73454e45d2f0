//! Where a request comes from: the page that made it, and whose token it has.

use axum::http::{HeaderMap, Uri, header};

/// Whether a page of this origin may connect: our own, and those that are allowed. Programs name none.
pub(crate) fn is_allowed(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(axum::http::uri::Authority::as_str),
    };
    let is_own = match (origin.split_once("://"), host) {
        (Some((_, authority)), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    };
    is_own || allowed.iter().any(|allowed| allowed == "*" || allowed == origin)
}

/// The token of a request: `Authorization: Bearer`, `?token=`, or the sub-protocol `token.…`, whichever comes first.
pub(crate) fn token_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let raw = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
    if let Some(raw) = raw.filter(|raw| !raw.is_empty()) {
        return decode(raw);
    }
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix("token."))
        .map(str::to_owned)
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn origins() {
        let uri = Uri::from_static("/websockify");
        let from = |origin: &str| headers(&[(header::HOST, "localhost:8080"), (header::ORIGIN, origin)]);
        assert!(is_allowed(&headers(&[(header::HOST, "a")]), &uri, &[]));
        assert!(is_allowed(&from("http://LOCALHOST:8080"), &uri, &[]));
        assert!(is_allowed(&from("https://a.example"), &uri, &["https://a.example".into()]));
        for foreign in ["http://localhost:1", "null", "localhost:8080", "https://evil.example"] {
            assert!(!is_allowed(&from(foreign), &uri, &["https://a.example".into()]), "{foreign}");
        }
    }

    #[test]
    fn tokens() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let none = HeaderMap::new();
        assert_eq!(token_of(&none, &uri("/websockify")), None);
        assert_eq!(token_of(&none, &uri("/websockify?token=")), None);
        assert_eq!(token_of(&none, &uri("/websockify?a=b&token=x%2Dy")).as_deref(), Some("x-y"));
        assert_eq!(token_of(&none, &uri("/websockify?token=%zz")), None);
        let bearer = headers(&[(header::AUTHORIZATION, "bearer abc")]);
        assert_eq!(token_of(&bearer, &uri("/websockify?token=x")).as_deref(), Some("abc"));
        let protocol = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "binary, token.abc")]);
        assert_eq!(token_of(&protocol, &uri("/websockify")).as_deref(), Some("abc"));
    }
}
