//! What a list of many sessions shows of each: a small picture and what it uses. Looking is no use of a session: it neither
//! wakes it nor keeps it from being idle.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use glasshouse_fleet::{Error, Power, SessionId, Use, socket};
use http_body_util::{BodyExt, Empty, Limited};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Shared,
    caller::{Caller, Id},
    problem::{Answer, Problem},
};

/// How long a session may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Largest answer in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// What a session uses now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Usage {
    /// Processor time since the start; null where nothing counts it.
    pub(crate) cpu_seconds: Option<f64>,
    /// Memory, cached files included; null where nothing counts it.
    pub(crate) memory_bytes: Option<u64>,
    /// Bytes of picture and sound that went to the viewers who are connected now.
    sent_bytes: u64,
    /// Viewers.
    viewers: u64,
}

/// A small picture of a session's screen; of one that is frozen, the last.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/thumbnail", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
    ("If-None-Match" = Option<String>, Header, description = "`ETag` of the picture that the caller has."),
), responses(
    (status = 200, description = "The picture, at most 560 pixels wide.", content_type = "image/jpeg", body = Vec<u8>),
    (status = 204, description = "It was frozen before there was one."),
    (status = 304, description = "Nothing has changed."),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn thumbnail(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Answer {
    caller.session(Power::View, &id)?;
    let (entered, (status, tag, picture)) =
        ask(&shared, &id, "/managed/thumbnail", headers.get(header::IF_NONE_MATCH)).await?;
    let mut response = match status {
        StatusCode::OK => ([(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"))], picture).into_response(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => status.into_response(),
        status => return Err(entered.explained(Error::Session(format!("no picture: {status}"))).into()),
    };
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    // The picture is of that moment, and for this caller.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}

/// What a session uses.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/usage", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "What it uses now.", body = Usage),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn usage(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer<Response> {
    caller.session(Power::View, &id)?;
    let usage = used(&shared, &id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(usage)).into_response())
}

/// What a session says that it uses.
pub(crate) async fn used(shared: &Shared, id: &SessionId) -> Answer<Usage> {
    let (entered, (status, _, body)) = ask(shared, id, "/managed/usage", None).await?;
    let usage: Option<Usage> = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK);
    let silent = || entered.explained(Error::Session(format!("it does not say what it uses: {status}")));
    Ok(usage.ok_or_else(silent)?)
}

/// What a session answers: status, `ETag` and body.
type Answered = (StatusCode, Option<HeaderValue>, Bytes);

/// Asks a session's own side, which no path of a client's reaches.
async fn ask(
    shared: &Shared,
    id: &SessionId,
    path: &str,
    known: Option<&HeaderValue>,
) -> Result<(Use, Answered), Problem> {
    let entered = shared.fleet.enter(id, false).await?;
    let failed = |error: hyper::Error| Error::Session(error.to_string());
    let exchange = async {
        let mut sender = socket::connect::<Empty<Bytes>>(&entered.socket()).await?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|_| Error::NotFound)?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        if let Some(known) = known {
            request.headers_mut().insert(header::IF_NONE_MATCH, known.clone());
        }
        let response = sender.send_request(request).await.map_err(failed)?;
        let (status, tag) = (response.status(), response.headers().get(header::ETAG).cloned());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, tag, body.map_err(|error| Error::Session(error.to_string()))?.to_bytes()))
    };
    let answer = tokio::time::timeout(ANSWER, exchange).await;
    let answer: Result<_, Error> = answer.unwrap_or_else(|_| Err(Error::Session("it is silent".into())));
    let answer = answer.map_err(|error| entered.explained(error))?;
    Ok((entered, answer))
}
