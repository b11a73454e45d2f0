//! The session's own routes, asked in this process as the caller would ask them.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
};
use bytes::Bytes;
use serde_json::Value;
use tower::ServiceExt;

/// Largest answer in bytes; a picture of the largest screen has less.
const MAX_ANSWER: usize = 48 * 1024 * 1024;

/// What went wrong, in words that help a model to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A good answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Asks in the name of a caller.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) routes: Router,
    pub(crate) prefix: String,
    pub(crate) authorization: HeaderValue,
}

impl Client {
    /// Asks; anything but success is a failure, with the words of the route.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Failure> {
        let uri = format!("{}{path}", self.prefix);
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            // The outer request's host was looked at.
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Body::from(body.to_string())).unwrap_or_default();
        let request = request.body(body).map_err(|error| Failure::new(error.to_string()))?;
        let response = match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let body =
            to_bytes(body, MAX_ANSWER).await.map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
        if parts.status.is_success() {
            return Ok(Answer { headers: parts.headers, body });
        }
        Err(Failure::new(explain(parts.status, &body)))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        json(&self.ask(Method::GET, path, None).await?.body)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        json(&self.ask(Method::POST, path, Some(body)).await?.body)
    }
}

fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::new(format!("the session's answer is no JSON: {error}")))
}

/// The words of an error answer, of whichever shape.
fn explain(status: StatusCode, body: &[u8]) -> String {
    let value = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let said = ["detail", "message"].iter().find_map(|key| value[key].as_str()).map(str::to_owned);
    said.or_else(|| {
        Some(String::from_utf8_lossy(body).trim().to_owned()).filter(|text| !text.is_empty() && text.len() < 500)
    })
    .unwrap_or_else(|| format!("the session answers {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_words() {
        let of = |body: &str| explain(StatusCode::FORBIDDEN, body.as_bytes());
        assert_eq!(of(r#"{"detail":"no","message":"other"}"#), "no");
        assert_eq!(of(r#"{"code":403,"message":"not host"}"#), "not host");
        assert_eq!(of("plain\n"), "plain");
        assert_eq!(of(""), "the session answers 403 Forbidden");
    }
}
