//! Errors in the original's shape: `{"error": string}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::Error;
use serde_json::json;

use crate::problem::Problem;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "session not found")
    }

    pub(super) fn full() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "max concurrent sessions reached")
    }

    pub(super) fn unreachable() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "runner unreachable")
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem.parts() {
            (StatusCode::NOT_FOUND, _) => Self::missing(),
            // What the original has no status for.
            (StatusCode::TOO_MANY_REQUESTS, detail) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
            (StatusCode::UNPROCESSABLE_ENTITY, detail) => Self::bad(detail),
            (status, detail) => Self::new(status, detail),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Full(_) => Self::full(),
            Error::Session(_) => Self::unreachable(),
            error => Problem::from(error).into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use glasshouse_fleet::FieldError;

    use super::*;

    #[test]
    fn errors_have_the_originals_statuses() {
        let of = |error: Error| {
            let refusal = Refusal::from(error);
            (refusal.status.as_u16(), refusal.error)
        };
        assert_eq!(of(Error::NotFound), (404, "session not found".to_owned()));
        assert_eq!(of(Error::Session("x".into())), (502, "runner unreachable".to_owned()));
        assert_eq!(of(Error::TooFast(Duration::from_secs(1))).0, 503);
        let field = FieldError { field: "url".into(), message: "an address".into() };
        let (status, error) = of(Error::Invalid(vec![field]));
        assert!(status == 400 && error.contains("url"), "{status} {error}");
    }
}
