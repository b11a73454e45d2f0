//! Several requests in one.

use axum::{
    body::{self, Body as HttpBody},
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use glasshouse_room::merge;
use serde::Serialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Answer, ApiError, Body, PeerOf, ok};
use crate::{Peer, Server};

/// Requests in one batch at most.
const MAX_ITEMS: usize = 100;
/// Largest inner answer that is passed on, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Item {
    path: String,
    method: String,
    body: Option<Value>,
}

#[derive(Serialize)]
struct ItemAnswer {
    path: String,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    status: u16,
}

pub(super) async fn run(State(server): State<Server>, PeerOf(peer): PeerOf, headers: HeaderMap, body: Body) -> Answer {
    // Not 400: neko's clients have seen this one so far.
    let wrong = || ApiError::status(StatusCode::INTERNAL_SERVER_ERROR);
    let items = parse(&body.json().map_err(|_| wrong())?).ok_or_else(wrong)?;
    if items.len() > MAX_ITEMS {
        return Err(ApiError::bad("more than 100 requests in a batch"));
    }
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let (status, body) = one(&server, peer, &headers, &item).await;
        answers.push(ItemAnswer { path: item.path, method: item.method, body, status: status.as_u16() });
    }
    ok(&answers)
}

fn parse(value: &Value) -> Option<Vec<Item>> {
    if value.is_null() {
        return Some(Vec::new());
    }
    let parse_one = |value| {
        let mut item = Item::default();
        merge::object(value, |key, field| match key {
            "path" => field.string(&mut item.path),
            "method" => field.string(&mut item.method),
            "body" => {
                item.body = Some(field.value.clone());
                Ok(())
            }
            _ => Ok(()),
        })
        .ok()
        .map(|()| item)
    };
    value.as_array()?.iter().map(parse_one).collect()
}

/// Sends one item through the routes.
async fn one(server: &Server, peer: Peer, headers: &HeaderMap, item: &Item) -> (StatusCode, Option<Value>) {
    let refused = |message| {
        let code = StatusCode::BAD_REQUEST;
        (code, Some(json!({ "code": code.as_u16(), "message": message })))
    };
    if !item.path.starts_with("/api") {
        return refused("this path is not allowed in batch requests");
    }
    let path = item.path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    // Percent-encoding is not decoded before routes are matched, so that there is no other way to write these.
    if path == "/api/batch" || path == "/api/ws" {
        return refused("this path is excluded from batch requests");
    }
    let method = if item.method.is_empty() { Ok(Method::GET) } else { item.method.parse::<Method>() };
    let body = item.body.as_ref().map(Value::to_string).unwrap_or_default();
    let request = method
        .ok()
        .and_then(|method| Request::builder().method(method).uri(&item.path).body(HttpBody::from(body)).ok());
    let Some(mut request) = request else { return refused("this request cannot be made") };
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
            request.headers_mut().append(name, value.clone());
        }
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = match super::api(server).with_state::<()>(server.clone()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    match body::to_bytes(response.into_body(), MAX_ANSWER).await {
        Err(_) => (StatusCode::BAD_GATEWAY, None),
        Ok(bytes) if bytes.is_empty() => (status, None),
        // What is no JSON goes as a string if it is text, and not at all otherwise.
        Ok(bytes) => {
            let text = || std::str::from_utf8(&bytes).ok().map(|text| Value::String(text.to_owned()));
            (status, serde_json::from_slice(&bytes).ok().or_else(text))
        }
    }
}
