//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::{Error, FieldError};
use serde::Serialize;
use utoipa::ToSchema;

/// How long to wait when memory is short or sessions have to end first, in seconds.
const RETRY_FULL: u64 = 10;

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Kind of the problem, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:glasshouse:problem:invalid")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// One line for people: what was wrong and what to do.
    detail: String,
    /// Fields of the request that cannot be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

/// A field that cannot be used.
#[derive(Debug, Serialize, ToSchema)]
struct Wrong {
    /// Path of the field, such as `screen.width`.
    field: String,
    /// What to give instead.
    message: String,
}

/// What a handler answers.
pub(crate) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:glasshouse:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 422 for one field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    fn fields(wrong: Vec<FieldError>) -> Self {
        let detail = Error::Invalid(wrong.clone()).to_string();
        let errors = wrong.into_iter().map(|wrong| Wrong { field: wrong.field, message: wrong.message }).collect();
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    /// The kind in one word, for metrics.
    pub(crate) fn name(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// Status and text, for those who say them in another shape.
    pub(crate) fn parts(&self) -> (StatusCode, &str) {
        (StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &self.detail)
    }

    pub(crate) fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", Error::NotFound.to_string())
    }

    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(crate) fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after.as_secs_f64().ceil() as u64), ..self }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Invalid(wrong) => Self::fields(wrong),
            Error::NotFound => Self::missing(),
            Error::NoProfile(_) => Self::new(StatusCode::NOT_FOUND, "not-found", text),
            Error::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", text),
            Error::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", text),
            Error::Full(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "full", text).retry(Duration::from_secs(RETRY_FULL))
            }
            Error::TooMany(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", text).retry(Duration::from_secs(RETRY_FULL))
            }
            Error::Waiting => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "waiting", text).retry(Duration::from_secs(RETRY_FULL))
            }
            Error::TooFast(wait) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", text).retry(wait.max(Duration::from_secs(1)))
            }
            Error::NoMemory { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "memory", text).retry(Duration::from_secs(RETRY_FULL))
            }
            Error::Session(_) => Self::new(StatusCode::BAD_GATEWAY, "session", text),
            Error::Database { .. } | Error::Io { .. } => {
                tracing::error!(error = text, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "something failed here: see the log of the server",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(crate) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this address: see /api")
}

pub(crate) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this address does not take this method: see /api")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_retries() {
        let problem = Problem::field("screen.width", "from 320 to 3840 pixels");
        let text = serde_json::to_value(&problem).unwrap();
        assert_eq!(text["errors"][0]["field"], "screen.width");
        assert_eq!((text["status"].as_u64(), problem.into_response().status().as_u16()), (Some(422), 422));
        let response = Problem::from(Error::TooFast(Duration::from_millis(2_100))).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
            (429, &HeaderValue::from(3))
        );
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
