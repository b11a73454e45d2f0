//! Where the gate is, as its client sees it; and Chromium's answers with that in place of the browser's own address.

use axum::http::{HeaderMap, request::Parts};
use serde_json::Value;

use crate::guard;

/// The gate's address for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Public {
    is_secure: bool,
    /// Host, and port if there is one.
    authority: String,
    /// Path before `/devtools`, without a slash at its end.
    prefix: String,
    /// The token as it was in the request's address, if it was there.
    token: Option<String>,
}

impl Public {
    /// From a request. `X-Forwarded-Proto`, `-Host` and `-Prefix` count when `is_forwarded` says so.
    pub(crate) fn of(
        parts: &Parts,
        prefix: &str,
        is_forwarded: bool,
        allowed_hosts: &[String],
        token: Option<String>,
    ) -> Self {
        let forwarded = |name| if is_forwarded { first(&parts.headers, name) } else { None };
        let host = forwarded("x-forwarded-host").filter(|host| guard::is_host_allowed(host, allowed_hosts));
        let authority = host.or_else(|| guard::host_of(&parts.headers, &parts.uri)).unwrap_or("localhost");
        let outer = forwarded("x-forwarded-prefix").filter(|prefix| is_path(prefix)).unwrap_or_default();
        let scheme = forwarded("x-forwarded-proto").or(parts.uri.scheme_str());
        let join = |part: &str| match part.trim_matches('/') {
            "" => String::new(),
            part => format!("/{part}"),
        };
        Self {
            is_secure: scheme.is_some_and(|scheme| ["https", "wss"].iter().any(|one| one.eq_ignore_ascii_case(scheme))),
            authority: authority.to_owned(),
            prefix: join(outer) + &join(prefix),
            token,
        }
    }

    /// The WebSocket address of a path such as `/devtools/page/1`.
    pub(crate) fn socket(&self, path: &str) -> String {
        format!("ws{}://{}", if self.is_secure { "s" } else { "" }, self.bare(path))
    }

    /// The address of `/cdp` for HTTP clients, with this token.
    pub(crate) fn entrance(&self, token: &str) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}/cdp?token={token}", self.authority, self.prefix)
    }

    fn bare(&self, path: &str) -> String {
        let token = self.token.as_deref().map(|token| format!("?token={token}")).unwrap_or_default();
        format!("{}{}{path}{token}", self.authority, self.prefix)
    }

    /// Puts the gate's address into `/json/version`, a target or a list of targets. Returns what has no address.
    pub(crate) fn rewrite(&self, value: &mut Value) {
        match value {
            Value::Array(targets) => targets.iter_mut().for_each(|target| self.rewrite(target)),
            Value::Object(target) => {
                let Some(path) = target.get("webSocketDebuggerUrl").and_then(Value::as_str).and_then(path_of) else {
                    // An address that we do not understand would lead past the gate.
                    target.remove("webSocketDebuggerUrl");
                    target.remove("devtoolsFrontendUrl");
                    return;
                };
                let path = path.to_owned();
                if let Some(frontend) = target.get("devtoolsFrontendUrl").and_then(Value::as_str) {
                    let front = frontend.split_once('?').map_or(frontend, |(front, _)| front);
                    let scheme = if self.is_secure { "wss" } else { "ws" };
                    let frontend = format!("{front}?{scheme}={}", escape(&self.bare(&path)));
                    target.insert("devtoolsFrontendUrl".into(), frontend.into());
                }
                target.insert("webSocketDebuggerUrl".into(), self.socket(&path).into());
            }
            _ => {}
        }
    }
}

/// The path of a WebSocket address of the browser.
pub(crate) fn path_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let path = &rest[rest.find('/')?..];
    path.starts_with("/devtools/").then_some(path)
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    let value = value.split(',').next().unwrap_or_default().trim();
    (!value.is_empty()).then_some(value)
}

fn is_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%".contains(&byte);
    path.len() <= 200 && path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_plain)
}

/// For a value in a query; `:` and `/` stay, as in Chromium's own addresses.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:/[]".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde_json::json;

    use super::*;

    fn public(headers: &[(&str, &str)], prefix: &str, is_forwarded: bool, token: Option<&str>) -> Public {
        let mut request = Request::get("/cdp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Public::of(&parts, prefix, is_forwarded, &["desk.example".into()], token.map(Into::into))
    }

    #[test]
    fn addresses_lead_back_to_the_gate() {
        let forwarded = [
            ("host", "10.0.0.1:80"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "desk.example, inner"),
            ("x-forwarded-prefix", "/s/7/"),
        ];
        let cases = [
            (public(&[("host", "localhost:1")], "/", true, None), "ws://localhost:1/devtools/page/A"),
            (public(&[("host", "[::1]:1")], "/desk/", true, Some("T")), "ws://[::1]:1/desk/devtools/page/A?token=T"),
            (public(&forwarded, "/", true, Some("T")), "wss://desk.example/s/7/devtools/page/A?token=T"),
            (public(&forwarded, "x", true, None), "wss://desk.example/s/7/x/devtools/page/A"),
            (public(&forwarded, "", false, None), "ws://10.0.0.1:80/devtools/page/A"),
            (
                public(
                    &[("host", "localhost"), ("x-forwarded-host", "evil.example"), ("x-forwarded-prefix", "//evil")],
                    "",
                    true,
                    None,
                ),
                "ws://localhost/devtools/page/A",
            ),
        ];
        for (public, wanted) in cases {
            assert_eq!(public.socket("/devtools/page/A"), wanted);
        }
    }

    #[test]
    fn targets_are_rewritten() {
        let public = public(&[("host", "h.localhost:8")], "/p", false, Some("T"));
        let mut targets = json!([
            {
                "id": "A",
                "devtoolsFrontendUrl": "https://x.example/inspector.html?ws=localhost:99/devtools/page/A",
                "webSocketDebuggerUrl": "ws://localhost:99/devtools/page/A",
            },
            { "id": "B", "webSocketDebuggerUrl": "ws://localhost:99/elsewhere", "devtoolsFrontendUrl": "x" },
        ]);
        public.rewrite(&mut targets);
        assert_eq!(
            targets,
            json!([
                {
                    "id": "A",
                    "devtoolsFrontendUrl": "https://x.example/inspector.html?ws=h.localhost:8/p/devtools/page/A%3Ftoken%3DT",
                    "webSocketDebuggerUrl": "ws://h.localhost:8/p/devtools/page/A?token=T",
                },
                { "id": "B" },
            ])
        );
        let mut other = json!("text");
        public.rewrite(&mut other);
        assert_eq!(other, "text");
    }
}
