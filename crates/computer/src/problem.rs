//! Errors as sandbox-agent shows them: problem details (RFC 9457) with types of its own.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rustix::io::Errno;
use serde_json::json;
use utoipa::ToSchema;

/// What went wrong (RFC 9457), as the document of the API has it.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it describes what is made below")]
pub(crate) struct Details {
    /// Kind of the problem, for programs: `urn:sandbox-agent:error:` and a name.
    #[schema(example = "urn:sandbox-agent:error:desktop_invalid_action")]
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// One line for people: what was wrong and what to do.
    detail: String,
    /// The name again, when it is about the desktop.
    #[schema(nullable = false)]
    code: Option<String>,
}

/// What a handler answers.
pub(crate) type Answer = Result<Response, Problem>;

/// An error answer: what is wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// Last part of the type.
    name: &'static str,
    detail: Cow<'static, str>,
    /// Whether it is one of the desktop's, which say their name in `code` as well.
    is_coded: bool,
    is_no_program: bool,
    /// What the system said, where that is the reason.
    errno: Option<Errno>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, name, detail: detail.into(), is_coded: false, is_no_program: false, errno: None }
    }

    fn coded(status: StatusCode, name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { is_coded: true, ..Self::new(status, name, detail) }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    pub(crate) fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_invalid", detail)
    }

    pub(crate) fn denied(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_denied", detail)
    }

    /// Somebody else has control.
    pub(crate) fn held(detail: String) -> Self {
        Self::new(StatusCode::LOCKED, "control_held", detail)
    }

    pub(crate) fn missing(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(crate) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", detail)
    }

    pub(crate) fn failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "stream_error", detail)
    }

    pub(crate) fn late(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    }

    pub(crate) fn busy(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    /// A value that an action on the desktop cannot have.
    pub(crate) fn action(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::coded(StatusCode::BAD_REQUEST, "desktop_invalid_action", detail)
    }

    pub(crate) fn input(error: &dyn std::fmt::Display) -> Self {
        Self::coded(StatusCode::BAD_GATEWAY, "desktop_input_failed", error.to_string())
    }

    pub(crate) fn screenshot(error: &dyn std::fmt::Display) -> Self {
        Self::coded(StatusCode::BAD_GATEWAY, "desktop_screenshot_failed", error.to_string())
    }

    pub(crate) fn clipboard(error: &dyn std::fmt::Display) -> Self {
        Self::coded(StatusCode::INTERNAL_SERVER_ERROR, "clipboard_failed", error.to_string())
    }

    pub(crate) fn runtime(error: &dyn std::fmt::Display) -> Self {
        Self::coded(StatusCode::SERVICE_UNAVAILABLE, "desktop_runtime_failed", error.to_string())
    }

    pub(crate) fn no_window(id: &str) -> Self {
        let short: String = id.chars().take(32).collect();
        Self::coded(StatusCode::NOT_FOUND, "window_not_found", format!("there is no window {short}: list them anew"))
    }

    pub(crate) fn no_focus() -> Self {
        Self::coded(StatusCode::NOT_FOUND, "no_focused_window", "no window has the focus")
    }

    pub(crate) fn no_app(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::coded(StatusCode::NOT_FOUND, "app_not_found", detail)
    }

    /// There is no such program: with processes a failure like others, for the desktop [`Problem::no_app`].
    pub(crate) fn no_program(detail: String) -> Self {
        Self { is_no_program: true, ..Self::failed(detail) }
    }

    /// The same, with what the system said.
    pub(crate) fn because(self, errno: Option<Errno>) -> Self {
        Self { errno, ..self }
    }

    /// What the system said, where that is the reason.
    pub(crate) fn errno(&self) -> Option<Errno> {
        self.errno
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether it is about a program that is not there.
    pub(crate) fn is_no_program(&self) -> bool {
        self.is_no_program
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": format!("urn:sandbox-agent:error:{}", self.name),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if self.is_coded {
            body["code"] = self.name.into();
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
