//! The description of computer use, made of its code: `/v1/openapi.json`. It needs no token.

use std::sync::{Arc, OnceLock};

use axum::{Router, http::header, routing::get};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::{Shared, desktop, files, problem::Details, processes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Glasshouse: computer use",
        description = "The desktop, programs and files of one session. Paths are below the session's own: `/s/{id}/` behind a server of many."
    ),
    components(schemas(Details))
)]
struct Document;

pub(crate) fn router() -> Router<Arc<Shared>> {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/v1/openapi.json", get(async move || (headers, text())))
}

fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

fn document() -> Value {
    let mut all = Document::openapi();
    for part in [desktop::Document::openapi(), processes::Document::openapi(), files::Document::openapi()] {
        all.merge(part);
    }
    let mut all = serde_json::to_value(all).unwrap_or_default();
    all["components"]["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
    all["security"] = json!([{ "token": [] }]);
    for operations in all["paths"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        for operation in operations.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            complete(operation);
        }
    }
    all
}

/// A name of its own, as a function's is only in its file, and how it fails, which is the same for all.
fn complete(operation: &mut Value) {
    let name = format!(
        "{}_{}",
        operation["tags"][0].as_str().unwrap_or_default(),
        operation["operationId"].as_str().unwrap_or_default()
    );
    operation["operationId"] = name.into();
    operation["responses"]["default"] = json!({
        "description": "What was wrong, and what to do.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
        let document = document();
        let operations = || {
            let paths = document["paths"].as_object().unwrap().values();
            paths.flat_map(|operations| operations.as_object().unwrap().values())
        };
        let names: HashSet<_> = operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), operations().count());
        assert!(names.contains("mouse_click") && names.contains("processes_run") && names.contains("files_read"));
        assert!(
            operations().all(|operation| operation["summary"].is_string()),
            "each has a line that says what it does"
        );
        let text = text();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "there is no {name}");
        }
    }
}
