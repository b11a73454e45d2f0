//! Errors, bodies and tokens as clients of this API know them.

use std::{borrow::Cow, collections::HashMap};

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::problem::Problem;

/// Largest JSON of a request, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Largest error of ours, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

pub(super) type Reply = Result<Response, Fail>;

/// An error: JSON with `message`, or text when the request could not be read.
#[derive(Debug)]
pub(super) struct Fail {
    status: StatusCode,
    text: Cow<'static, str>,
    is_plain: bool,
}

impl Fail {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), is_plain: false }
    }

    pub(super) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn missing(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    pub(super) fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(super) fn plain(text: impl Into<Cow<'static, str>>) -> Self {
        Self { is_plain: true, ..Self::bad(text) }
    }
}

impl From<Problem> for Fail {
    fn from(problem: Problem) -> Self {
        let status = match problem.status() {
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => StatusCode::INTERNAL_SERVER_ERROR,
            status => status,
        };
        Self::new(status, problem.to_string())
    }
}

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        if self.is_plain {
            return (self.status, self.text.into_owned()).into_response();
        }
        (self.status, axum::Json(json!({ "message": self.text }))).into_response()
    }
}

/// Gives errors that are not of this API's handlers its shape.
pub(super) async fn reshape(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind != Some(b"application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_PROBLEM).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let answer = axum::Json(json!({ "message": problem["detail"] }));
    (parts.status, parts.headers, answer).into_response()
}

/// A token in the address counts as a Bearer, for clients that can send no header.
pub(super) async fn token_in_address(mut request: Request) -> Request {
    if !request.headers().contains_key(header::AUTHORIZATION)
        && let Some(token) = query(request.uri()).get("token")
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
    {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}

/// The words of a query.
pub(super) fn query(uri: &Uri) -> HashMap<String, String> {
    let words = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    words.map(|words| words.0.into_iter().collect()).unwrap_or_default()
}

/// A word that has to be there.
pub(super) fn needed(uri: &Uri, name: &str) -> Result<String, Fail> {
    let word = query(uri).remove(name).filter(|word| !word.is_empty());
    word.ok_or_else(|| Fail::plain(format!("Query argument {name} is required, but not found")))
}

/// A body that is JSON, whatever its type is said to be; nothing at all is an object without anything.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Fail;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fail> {
        let bytes = bytes(request, MAX_BODY).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Ok(Self(value)),
            Err(_) if bytes.is_empty() => Err(Fail::plain("can't decode JSON body: EOF")),
            Err(error) => Err(Fail::plain(format!("can't decode JSON body: {error}"))),
        }
    }
}

async fn bytes(request: Request, most: usize) -> Result<Bytes, Fail> {
    let too_large = |_| {
        let text = format!("the body is too large, or ended early: the limit is {most} bytes");
        Fail::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    to_bytes(request.into_body(), most).await.map_err(too_large)
}
