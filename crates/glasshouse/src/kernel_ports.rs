//! Ports of a session's own, laid out as those of a kernel-images container: its API, and the browser's DevTools.
//!
//! These systems know no logins, so whoever reaches such a port is let in unless tokens are demanded. Web pages are not: their
//! browsers say where they are from, and under which name they reach us.

mod listen;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use glasshouse_cdp::{Gate, refuse_foreign};
use glasshouse_computer::Computer;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use self::listen::Limits;
use crate::{automation::Automation, cli::SessionOptions};

/// Longest answer of the gate that is changed here, in bytes.
const MAX_VERSION: usize = 64 * 1024;
/// What each port may cost.
const LIMITS: Limits = Limits { sockets: 512, head_within: Duration::from_secs(30) };

/// The ports, before anything answers.
pub(crate) struct Ports {
    api: Option<TcpListener>,
    cdp: Option<TcpListener>,
}

/// The ports while they are served; closed when dropped.
pub(crate) struct Serving {
    /// Where the API is.
    pub(crate) api: Option<SocketAddr>,
    /// Where the DevTools are.
    pub(crate) cdp: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Ports {
    /// Opens those that are asked for.
    pub(crate) async fn bind(options: &SessionOptions, is_managed: bool) -> anyhow::Result<Self> {
        if is_managed && (options.kernel_api.is_some() || options.kernel_cdp.is_some()) {
            bail!("--kernel-api and --kernel-cdp are for a session without a server: there, use /s/ID/ and its token");
        }
        let open = async |address: Option<SocketAddr>, option: &str| match address {
            None => Ok(None),
            Some(address) => {
                let listener = TcpListener::bind(address).await;
                listener.map(Some).with_context(|| format!("cannot listen on {address}; choose another with {option}"))
            }
        };
        Ok(Self {
            api: open(options.kernel_api, "--kernel-api").await?,
            cdp: open(options.kernel_cdp, "--kernel-cdp").await?,
        })
    }

    /// The token that requests for the API get; made, if there is none.
    pub(crate) fn token(&self, token: &mut Option<String>) -> anyhow::Result<Option<String>> {
        if self.api.is_some() && token.is_none() {
            *token = Some(glasshouse_cdp::random_token()?);
        }
        Ok(token.clone())
    }

    /// Answers on them.
    pub(crate) fn serve(
        self,
        options: &SessionOptions,
        token: Option<String>,
        computer: &Computer,
        automation: Option<&Automation>,
    ) -> anyhow::Result<Serving> {
        let mut serving = Serving { api: None, cdp: None, tasks: Vec::new() };
        let guard = |token: Option<String>| {
            let bearer = token.filter(|_| !options.kernel_token).map(|token| format!("Bearer {token}"));
            let bearer = bearer.map(|bearer| HeaderValue::from_str(&bearer)).transpose();
            let bearer = bearer.context("the token cannot be sent in a header: use letters and digits")?;
            anyhow::Ok(Guard { hosts: options.allowed_hosts.clone(), origins: options.cors.clone(), bearer })
        };
        if let Some(listener) = self.api {
            serving.api = Some(listener.local_addr()?);
            let (computer, guard) = (computer.clone(), guard(token)?);
            serving.tasks.push(serve(listener, move |request| api(computer.clone(), guard.clone(), request)));
        }
        if let Some(listener) = self.cdp {
            let Some(Automation { gate, token, .. }) = automation else {
                bail!("--kernel-cdp needs a Chromium that programs may drive: see --cdp-clients");
            };
            serving.cdp = Some(listener.local_addr()?);
            let (gate, guard) = (gate.clone(), guard(Some(token.clone()))?);
            serving.tasks.push(serve(listener, move |request| cdp(gate.clone(), guard.clone(), request)));
        }
        Ok(serving)
    }
}

fn serve<F, A>(listener: TcpListener, answer: F) -> JoinHandle<()>
where
    F: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    tokio::spawn(listen::serve(listener, LIMITS, answer))
}

/// Whom a port lets in.
#[derive(Clone)]
struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// What requests are given, where no token is demanded.
    bearer: Option<HeaderValue>,
}

impl Guard {
    /// Lets a request in with what it needs, or says why not.
    fn admit(&self, headers: &mut HeaderMap, uri: &Uri) -> Result<(), Box<Response>> {
        if let Some(refusal) = refuse_foreign(headers, uri, &self.hosts, &self.origins) {
            return Err(Box::new(refusal));
        }
        // What a page asks for without saying where it is from, such as a picture.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if !headers.contains_key(header::ORIGIN) && matches!(site, Some(b"cross-site" | b"same-site")) {
            let text = "web pages may not use this port: connect from a program";
            return Err(Box::new((StatusCode::FORBIDDEN, text).into_response()));
        }
        if let Some(bearer) = &self.bearer {
            headers.insert(header::AUTHORIZATION, bearer.clone());
        }
        Ok(())
    }
}

async fn api(computer: Computer, guard: Guard, mut request: Request) -> Response {
    let uri = request.uri().clone();
    if let Err(refusal) = guard.admit(request.headers_mut(), &uri) {
        return *refusal;
    }
    if !Computer::is_kernel(uri.path()) {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    computer.answer(request).await
}

async fn cdp(gate: Gate, guard: Guard, mut request: Request) -> Response {
    let uri = request.uri().clone();
    if let Err(refusal) = guard.admit(request.headers_mut(), &uri) {
        return *refusal;
    }
    let token = uri.query().and_then(|query| query.split('&').find(|part| part.starts_with("token=")));
    let target = |path: &str| match (token, &guard.bearer) {
        (Some(token), None) => format!("{path}?{token}").parse(),
        _ => path.parse::<Uri>(),
    };
    let is_version = uri.path().trim_end_matches('/') == "/json/version";
    let is_socket = request.headers().contains_key(header::UPGRADE);
    if !is_version && !is_socket {
        let text = "this port speaks WebSocket; /json/version has the address";
        return (StatusCode::UPGRADE_REQUIRED, text).into_response();
    }
    // Whatever path a client has: all lead to the browser.
    let Ok(inner) = target(if is_version { "/json/version" } else { "/devtools/browser" }) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    *request.uri_mut() = inner;
    let response = gate.answer(request).await;
    if !is_version || !response.status().is_success() {
        return match response.status() {
            StatusCode::SERVICE_UNAVAILABLE if is_version => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream not ready").into_response()
            }
            _ => response,
        };
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_VERSION).await.unwrap_or_default();
    let Ok(Value::Object(mut version)) = serde_json::from_slice(&body) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "upstream not ready").into_response();
    };
    let query = token.filter(|_| guard.bearer.is_none()).map(|token| format!("/?{token}")).unwrap_or_default();
    version.insert("webSocketDebuggerUrl".into(), format!("ws://{host}{query}").into());
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(Value::Object(version).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_out() {
        let guard =
            Guard { hosts: Vec::new(), origins: Vec::new(), bearer: Some(HeaderValue::from_static("Bearer x")) };
        let admit = |headers: &[(&'static str, &'static str)]| {
            let mut headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let admitted = guard.admit(&mut headers, &Uri::from_static("/spec.json"));
            admitted.map(|()| headers.contains_key("authorization")).map_err(|refusal| refusal.status().as_u16())
        };
        assert_eq!(admit(&[("host", "127.0.0.1:10001")]), Ok(true));
        assert_eq!(admit(&[("host", "localhost:10001"), ("sec-fetch-site", "none")]), Ok(true));
        assert_eq!(admit(&[("host", "evil.example")]), Err(421));
        assert_eq!(admit(&[("host", "127.0.0.1:1"), ("origin", "https://evil.example")]), Err(403));
        assert_eq!(admit(&[("host", "127.0.0.1:1"), ("origin", "null")]), Err(403));
        assert_eq!(admit(&[("host", "127.0.0.1:1"), ("sec-fetch-site", "cross-site")]), Err(403));
    }
}
