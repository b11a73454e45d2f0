//! Answers that begin at once and end later, so that nothing on the way takes them for lost.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

/// 200, and the JSON when it is there. Dropped with the connection.
pub(crate) fn later<T: Serialize>(value: impl Future<Output = T> + Send + 'static) -> Response {
    let body = stream::once(async move {
        let text = serde_json::to_vec(&value.await).unwrap_or_default();
        Ok::<_, Infallible>(Bytes::from(text))
    });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(body)).into_response()
}
