//! What people see who come with a browser: the console, and the description of the API, readable.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde_json::Value;
use tower::ServiceExt;
use utoipa::OpenApi;

use crate::{Shared, api::Document};

/// No scripts, nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
code{font-family:ui-monospace,monospace}h2{margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}\
table{border-collapse:collapse}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}";

/// `/openapi.json`.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document()).into_response()
}

/// `/api`: the same, for people.
pub(crate) async fn reference() -> Response {
    static PAGE: OnceLock<String> = OnceLock::new();
    html(PAGE.get_or_init(|| {
        let document = serde_json::from_str(document()).unwrap_or_default();
        render(&document)
    }))
}

/// The console at the root, and the files that it loads.
pub(crate) fn router(console: Option<MethodRouter>) -> Router<Arc<Shared>> {
    let Some(files) = console else { return Router::new().route("/", get(front)) };
    let root = files.clone();
    let page = move |mut request: Request| {
        *request.uri_mut() = Uri::from_static("/console.html");
        root.clone().oneshot(request)
    };
    Router::new().route("/", get(page)).route_service("/icon.svg", files.clone()).route_service("/assets/{file}", files)
}

/// `/`, when there is no console.
async fn front() -> Response {
    html(&format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Glasshouse</title><style>{STYLE}</style><h1>Glasshouse</h1>\
         <p>Sessions are made with <code>glasshouse new</code> on this machine, or with the <a href=api>API</a> \
         (<a href=openapi.json>OpenAPI</a>) and a token.</p>"
    ))
}

fn html(text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, text.to_owned()).into_response()
}

fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| Document::openapi().to_json().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Name of the kind of a schema.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    let many = schema["oneOf"].as_array().or(schema["anyOf"].as_array()).or(schema["allOf"].as_array());
    if let Some(many) = many {
        return many.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("<code>{}</code>", text(value))).collect::<Vec<_>>().join(", ");
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        name => text(name),
    };
    if schema["items"].is_object() { format!("{name} of {}", kind(&schema["items"])) } else { name }
}

fn render(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Glasshouse API</title><style>{STYLE}</style>\
         <h1>Glasshouse API</h1><p>Every request needs <code>Authorization: Bearer gh_…</code>. \
         Errors are <code>application/problem+json</code>. For programs: <a href=openapi.json>openapi.json</a>.</p>\
         <p>The desktop, programs and files of a session are described by the session itself: \
         <code>/s/{{id}}/v1/openapi.json</code>.</p>"
    );
    let nothing = serde_json::Map::new();
    // Writing to a string does not fail.
    for (path, methods) in document["paths"].as_object().unwrap_or(&nothing) {
        for (method, operation) in methods.as_object().unwrap_or(&nothing) {
            let _ = write!(
                page,
                "<h2><code>{} {}</code></h2><p>{}</p>",
                method.to_uppercase(),
                escape(path),
                text(&operation["summary"])
            );
            if operation["description"].is_string() {
                let _ = write!(page, "<p>{}</p>", text(&operation["description"]));
            }
            page.push_str("<table>");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
                let about = text(&parameter["description"]);
                let _ =
                    write!(page, "<tr><td><code>{name}</code><td>{place}<td>{}<td>{about}", kind(&parameter["schema"]));
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if body.is_object() {
                let _ = write!(page, "<tr><td>body<td><td>{}<td>", kind(body));
            }
            for (status, answer) in operation["responses"].as_object().unwrap_or(&nothing) {
                let content = answer["content"].as_object().and_then(|content| content.values().next());
                let schema = content.map(|content| kind(&content["schema"])).unwrap_or_default();
                let _ = write!(page, "<tr><td>{}<td><td>{schema}<td>{}", escape(status), text(&answer["description"]));
            }
            page.push_str("</table>");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap_or(&nothing) {
        let _ = write!(page, "<h2 id=\"{0}\">{0}</h2><p>{1}</p>", escape(name), text(&schema["description"]));
        if !schema["properties"].is_object() {
            let _ = write!(page, "<p>{}</p>", kind(schema));
            continue;
        }
        page.push_str("<table>");
        for (name, property) in schema["properties"].as_object().unwrap_or(&nothing) {
            let about = text(&property["description"]);
            let _ = write!(page, "<tr><td><code>{}</code><td>{}<td>{about}", escape(name), kind(property));
        }
        page.push_str("</table>");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document: Value = serde_json::from_str(document()).unwrap();
        assert_eq!(document["openapi"].as_str().map(|version| &version[..2]), Some("3."));
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 25, "{:?}", paths.keys().collect::<Vec<_>>());
        let spec = &document["components"]["schemas"]["Spec"]["properties"];
        assert!(spec["screen"].is_object() && spec["labels"].is_object(), "{spec}");
        let page = render(&document);
        assert!(page.contains("POST /api/v1/sessions/{id}/freeze"));
        assert!(page.contains("id=\"Spec\""));
    }
}
