//! Which requests are looked at: host names against DNS rebinding, origins against web pages, and tokens.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::{Refusal, problem::Problem};

/// Whether a request addressed to this `Host` may be answered: loopback names and IP addresses always, others when they
/// are allowed. A web page on a name of its own cannot reach us by pointing that name here.
pub(crate) fn is_host_allowed(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    is_plain(host)
        && (name == "localhost"
            || name.ends_with(".localhost")
            || literal.parse::<IpAddr>().is_ok()
            || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name)))
}

/// Whether a name can be put into an address as it is.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The host that a request is addressed to.
pub(crate) fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        // An unreadable name is never an allowed one.
        Some(host) => Some(host.to_str().unwrap_or("?")),
        None => uri.authority().map(axum::http::uri::Authority::as_str),
    }
}

/// Refuses requests that a web page elsewhere may have made.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri, hosts: &[String], origins: &[String]) -> Result<(), Problem> {
    let host = host_of(headers, uri).unwrap_or_default();
    if !is_host_allowed(host, hosts) {
        let text = "this host name is not allowed: use an IP address, or add it to the allowed hosts";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, text));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    if is_own || origins.iter().any(|allowed| allowed == "*" || allowed == origin) {
        return Ok(());
    }
    let text = "web pages of this origin may not drive the browser: connect from a program, or allow the origin";
    Err(Problem::new(StatusCode::FORBIDDEN, text))
}

/// A request's token.
pub(crate) struct Given {
    pub(crate) token: String,
    /// As it was in the address, if it was there.
    pub(crate) in_address: Option<String>,
}

/// The token of a request: `Authorization: Bearer` or `?token=`.
pub(crate) fn token_of(headers: &HeaderMap, query: &str) -> Result<Given, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.to_str().unwrap_or_default();
        let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return match token {
            Some((_, token)) => Ok(Given { token: token.trim().to_owned(), in_address: None }),
            None => Err(Problem::unauthorized("write the token as 'Authorization: Bearer TOKEN' or as ?token=TOKEN")),
        };
    }
    let raw = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    match raw {
        Some(raw) if !raw.is_empty() => {
            let token = decode(raw).ok_or_else(|| Problem::unauthorized("the token in the address is not readable"))?;
            let is_plain = raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte));
            Ok(Given { token, in_address: is_plain.then(|| raw.to_owned()) })
        }
        _ => Err(Problem::unauthorized("a token is needed: add ?token=TOKEN to the address, or send it as a Bearer")),
    }
}

/// What is told to somebody whose token is no good.
pub(crate) fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown => Problem::unauthorized("this token is not known here: use the session's own, or a new one"),
        Refusal::Expired => Problem::unauthorized("this token has expired: ask for a new one"),
    }
}

/// First value of a word in a query.
pub(crate) fn word_of(query: &str, name: &str) -> Option<String> {
    let raw = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    decode(&raw.replace('+', " "))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(headers: &[(&str, &str)]) -> u16 {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>();
        let uri = Uri::from_static("/json");
        let (hosts, origins) = (["desk.example".to_owned()], ["https://ok.example".to_owned()]);
        check(&headers, &uri, &hosts, &origins).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn hosts_and_origins() {
        for host in ["localhost:1", "a.localhost", "127.0.0.1", "[::1]:8080", "192.0.2.7:1", "Desk.Example.:443"] {
            assert_eq!(status(&[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "a:b:c"] {
            assert_eq!(status(&[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&[]), 421);
        let origin = |origin| status(&[("host", "localhost:1"), ("origin", origin)]);
        assert_eq!(origin("http://localhost:1"), 200);
        assert_eq!(origin("https://ok.example"), 200);
        for other in ["http://localhost:2", "null", "https://evil.example", "", "http://desk.example"] {
            assert_eq!(origin(other), 403, "{other}");
        }
    }

    #[test]
    fn where_a_token_can_be() {
        let mut headers = HeaderMap::new();
        let token =
            |headers: &HeaderMap, query| token_of(headers, query).map(|given| (given.token, given.in_address)).ok();
        assert_eq!(token(&headers, ""), None);
        assert_eq!(token(&headers, "token="), None);
        assert_eq!(token(&headers, "a=1&token=d%2De"), Some(("d-e".into(), Some("d%2De".into()))));
        assert_eq!(token(&headers, "token=%zz"), None);
        assert_eq!(token(&headers, "token=\"x"), Some(("\"x".into(), None)));
        headers.insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
        assert_eq!(token(&headers, "token=d"), None);
        headers.insert(header::AUTHORIZATION, "bearer xyz".parse().unwrap());
        assert_eq!(token(&headers, "token=d"), Some(("xyz".into(), None)));
    }
}
